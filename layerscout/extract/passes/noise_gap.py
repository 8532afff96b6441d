"""Clips in, how badly a video diffusion model predicts each of them out: its squared error at a fixed noise level, over fixed noises."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from layerscout.errors import UsageError
from layerscout.extract.backbones import tiny
from layerscout.extract.backbones.base import Backbone, ClipSpec
from layerscout.extract.backbones.loaded import LoadedBackbone, fixed_noise, scale_pixels
from layerscout.extract.backbones.networks.latent_backbone import LatentBackbone
from layerscout.extract.backbones.networks.tiny.tiny import Tiny, predict

SIGMA, NOISES = 0.5, 4  # share of noise of ``tiny``, and how many noises an error is a mean of
FIRST_NOISE = 100  # seed of the first of them: none is the one that features are read with
WITHOUT_CLIPS = frozenset({"Cosmos", "Svd"})  # scale their inputs and outputs by rules of their own
SIGNS = {"Mochi": -1.0}  # foretells clean minus noise where the others foretell noise minus clean


class NoiseGap:
    """The denoising error of clips: (1 / n) Σ_i ‖prediction(x_σ,i) − target‖² / size, x_σ,i the clip under the i-th of n fixed noises.

    ``tiny`` predicts a picture from the three before it, under noise of share 0.5, in squared pixels of [−1, 1]. A denoiser with a VAE is read
    as its store is, in ``denoise`` and at the σ of its options: it predicts noise minus clean latents (flow matching) or the velocity
    √ᾱ noise − √(1 − ᾱ) clean (Salimans and Ho 2022, arXiv 2202.00512, appendix D), both in its latents' own unit.

    Parameters
    ----------
    backbone
        A description, see `find_backbone`.
    noises
        How many, at least 1.
    device
        Where to compute.

    Raises
    ------
    UsageError
        It is no denoiser, or one whose output says something else.
    """

    def __init__(self, backbone: Backbone, noises: int = NOISES, device: str = "cpu") -> None:
        check_denoiser(backbone)
        self._name, self._noises, self._sigma = backbone.name, noises, float(backbone.identity.get("sigma", SIGMA))
        of_tiny = backbone.name.startswith("tiny")
        self.clip = ClipSpec(tuple(range(-tiny.PAST, 1)), (tiny.SIZE, tiny.SIZE, 3)) if of_tiny else backbone.clip
        self._loaded: LoadedBackbone = backbone.load(torch.device(device), torch.float32)
        if type(self._loaded).__name__ in WITHOUT_CLIPS or not isinstance(self._loaded, Tiny | LatentBackbone):
            raise UsageError(
                f"the output of '{backbone.name}' is not compared with noise here", hint="tiny, wan, ltx, mochi, hunyuan or cogvideox"
            )

    @torch.inference_mode()
    def __call__(self, clips: UInt8[np.ndarray, "clip time height width channel"]) -> Float32[np.ndarray, " clip"]:
        """Return every clip's error, at least 0."""
        frames, loaded = torch.from_numpy(clips).to(self._loaded.device), self._loaded
        if isinstance(loaded, Tiny):
            return _of_pictures(loaded, frames, self._noises).cpu().numpy()
        return self._of_latents(loaded, frames).cpu().numpy()

    def _of_latents(self, loaded: Any, clips: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, " clip"]:
        latents, usual = loaded.encode(clips), loaded._noise
        # a schedule that keeps the variance predicts the velocity, the straight path predicts noise minus clean
        velocity = hasattr(loaded, "_keep")
        keep, share = (loaded._keep, loaded._share) if velocity else (1.0 - self._sigma, self._sigma)
        clean = _shown(loaded, latents, torch.zeros_like(usual)) / keep  # as the model is given it: some take cells as tokens
        total = torch.zeros(len(clips), device=clips.device)
        for number in range(self._noises):
            noise = fixed_noise(tuple(usual.shape), FIRST_NOISE + number).to(usual)
            noisy = _shown(loaded, torch.zeros_like(latents), noise) / share
            predicted = _predicted(loaded, latents, noise)
            if predicted.shape != clean.shape:
                raise UsageError(f"'{self._name}' takes more than noisy latents", hint="use a text-to-video checkpoint")
            target = keep * noisy - share * clean if velocity else SIGNS.get(type(loaded).__name__, 1.0) * (noisy - clean)
            total += (predicted.float() - target.float()).square().flatten(1).mean(1)
        return total / self._noises


def _of_pictures(loaded: Tiny, frames: UInt8[Tensor, "clip time height width channel"], noises: int) -> Float[Tensor, " clip"]:
    """The last picture under noise, predicted from those before it."""
    clean = scale_pixels(frames)
    past, last = clean[:, : tiny.PAST], clean[:, tiny.PAST :]
    timestep = torch.full((len(clean),), int(SIGMA * tiny.PURE_NOISE), device=clean.device)
    total = clean.new_zeros(len(clean))
    for number in range(noises):
        noise = fixed_noise((1, *last.shape[1:]), FIRST_NOISE + number).to(last)
        noised = (1.0 - SIGMA) * last + SIGMA * noise
        predicted = predict(loaded.module, torch.cat([past, noised], dim=1), timestep)[:, tiny.PAST :]
        total += (predicted - last).square().flatten(1).mean(1)
    return total / noises


def check_denoiser(backbone: Backbone) -> None:
    """Refuse what does not predict its clip under noise; loads no weights.

    Raises
    ------
    UsageError
        It is no video diffusion model, or is read in another regime.
    """
    regime = backbone.identity.get("regime")
    if not backbone.name.startswith("tiny") and regime != "denoise":
        what = "is no video diffusion model" if regime in (None, "none") else f"is read in '{regime}'"
        raise UsageError(
            f"backbone '{backbone.name}' {what}, and a denoising error needs one that predicts its clip under noise",
            hint="tiny, or a denoiser that takes regime=denoise (wan, ltx, mochi, hunyuan, cogvideox)",
        )


def recipe(backbone: Backbone) -> dict[str, Any]:
    """Return what decides the column that an extraction keeps, besides the model: for a store's identity."""
    of_tiny = {"sigma": SIGMA, "past": tiny.PAST} if backbone.name.startswith("tiny") else {}
    return {"noises": NOISES, "first_seed": FIRST_NOISE, "dtype": "float32"} | of_tiny


class _Seen(Exception):
    """Ends a pass where the model has been given its input."""


def _shown(loaded: Any, latents: Tensor, noise: Tensor) -> Tensor:
    """Return what the model would be given of these latents and this noise; the model does not run."""
    found: list[Tensor] = []

    def stop(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        found.append(named["hidden_states"])
        raise _Seen

    handle = loaded.module.register_forward_pre_hook(stop, with_kwargs=True)
    with contextlib.suppress(_Seen):
        _denoise(loaded, latents, noise, handle)
    return found[0]


def _predicted(loaded: Any, latents: Tensor, noise: Tensor) -> Tensor:
    found: list[Any] = []
    _denoise(loaded, latents, noise, loaded.module.register_forward_hook(lambda module, arguments, output: found.append(output)))
    return found[0][0] if isinstance(found[0], tuple) else found[0].sample


def _denoise(loaded: Any, latents: Tensor, noise: Tensor, handle: Any) -> None:
    """Run a pass under another noise than the model's own, and take the hook away after it."""
    usual = loaded._noise
    try:
        loaded._noise = noise
        loaded.denoise(latents)
    finally:
        loaded._noise = usual
        handle.remove()
