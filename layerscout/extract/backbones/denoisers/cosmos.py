"""Cosmos checkpoints (1.0, Predict 2, Predict 2.5) from a folder or a hub id, read layer by layer.

Text2World is read in ``denoise``. Video2World is read in ``condition``: clean latent frames of the past, marked by a mask,
and pure noise for the future. Three generations differ in how noise and time are told:

- 1.0: s above the data, input divided by sqrt(s^2 + sd^2), time ln(s) / 4, one for the whole clip;
- Predict 2: the straight path (1 - t) z + t e from s = 80 on, t = s / (s + 1), one time a latent frame;
- Predict 2.5: the straight path from t = 1 on.

diffusers asks torchvision to resize a mask of zeros; the zeros are given here at their final size instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.assemble import assemble, check_channels, source_of
from layerscout.extract.backbones.denoisers.denoiser import (
    DenoiserOptions,
    LatentBackbone,
    Reading,
    Regime,
    block_layers,
    need_source,
    settle,
    video,
)
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.loading import load_model
from layerscout.settings import build as build_settings

KIND = "CosmosTransformer3DModel"
TEXT_LENGTH = 512
LOUDEST = 80.0  # s of pure noise in 1.0 and Predict 2
ALMOST_CLEAN = {"1.0": 0.001, "2": 0.0001, "2.5": 0.0001}  # s (2.5: t) at which the past is shown
FRAMES_A_SECOND = {"1.0": 30, "2": 16, "2.5": None}  # as each generation's pipeline tells its positions
TRAINED: dict[tuple[str, int], tuple[Regime, ...]] = {  # by generation and extra channels
    ("1.0", 0): ("denoise",),
    ("1.0", 1): ("condition",),
    ("2", 1): ("condition",),
    ("2.5", 1): ("condition", "denoise"),
}

Latents = Float[Tensor, "clip channel slot row column"]


class CosmosOptions(DenoiserOptions):
    """``frames`` is 8k+1 (17; 9 in ``condition``) for 1.0 and 4k+1 (9; 5) after it; ``text`` is ``zeros``, ``empty`` or a file.

    ``sigma`` is the share of noise in standard deviation for 1.0, and on the straight path after it.
    """


@dataclass(frozen=True)
class Mixture:
    """How a clip's slots are mixed: ``keep`` z + ``past`` e where it is shown, ``future`` e elsewhere; and the times told of both."""

    keep: float
    past: float
    future: float
    past_time: float
    future_time: float


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a regime that it was not trained for, a wrong frame count, or a size that its patches do not divide.
    DataError
        The folder is no Cosmos world model.
    """
    name = need_source("cosmos", source)
    chosen = build_settings(CosmosOptions, options, "extract.backbone_options")
    checkpoint = source_of(name, chosen.text, scheduler=True)
    folder = checkpoint.described()
    needed = ("num_attention_heads", "attention_head_dim", "num_layers", "patch_size", "in_channels", "max_size", "text_embed_dim")
    transformer = read_config(folder / "transformer", kind=KIND, needed=needed)
    vae, scheduler = read_config(folder / "vae"), read_config(folder / "scheduler", name="scheduler_config.json")
    generation = generation_of(name, transformer, vae)
    channels = vae.get("latent_channels" if generation == "1.0" else "z_dim", 16)
    check_channels(name, transformer["in_channels"], [channels + more for of, more in TRAINED if of == generation])
    step = vae.get("temporal_compression_ratio", 8) if generation == "1.0" else 4
    pixels = vae.get("spatial_compression_ratio", 8) if generation == "1.0" else 8
    cell = pixels * transformer["patch_size"][1]
    reading = settle(
        f"Cosmos {generation}",
        chosen,
        trained=TRAINED[generation, transformer["in_channels"] - channels],
        step=step,
        cell=cell,
        frames={"denoise": 2 * step + 1, "condition": step + 1},
    )
    if generation == "1.0" and reading.sigma == 0.0:
        raise UsageError("Cosmos 1.0 has no noise level 0: its time is the noise's logarithm", hint="sigma 0.01 or more")
    latent = (reading.slots, reading.size[0] // pixels, reading.size[1] // pixels)
    recorded = len(vae.get("latents_mean") or ()) // channels if generation == "1.0" else 0  # latent frames that have statistics
    slots, *sides = transformer["max_size"]
    most = (min(slots, recorded or slots), *sides)
    if any(length > limit for length, limit in zip(latent, most, strict=True)):
        raise UsageError(f"{name} takes latents up to {most}, not {latent}", hint="choose a smaller size, or fewer frames")
    spread = scheduler.get("sigma_data") or 1.0  # of the data in the schedule of 1.0; later ones have none
    return assemble(
        "cosmos",
        checkpoint,
        reading,
        step=step,
        cell=cell,
        layers=block_layers(KIND, transformer, Cosmos.lists, transformer["num_attention_heads"] * transformer["attention_head_dim"]),
        configs=(transformer, vae, scheduler),
        identity={
            "text": prompts.describe(chosen.text, TEXT_LENGTH, text_width(transformer)),
            "frames_a_second": FRAMES_A_SECOND[generation],
            "almost_clean": ALMOST_CLEAN[generation],
        },
        latent_shape=(channels, reading.past, *latent[1:]),
        open_with=lambda folder, device, dtype: Cosmos(folder, chosen.text, reading, generation, spread, latent[1:], device, dtype),
    )


def generation_of(source: str, transformer: dict[str, Any], vae: dict[str, Any]) -> str:
    """Tell the generation from the VAE and the text that the model takes; refuses relatives with more inputs."""
    if transformer.get("img_context_dim_in") or transformer.get("controlnet_block_every_n"):
        raise DataError(f"{source} takes an image embedding or controls", hint="this backbone reads Text2World and Video2World")
    found = {"AutoencoderKLCosmos": "1.0", "AutoencoderKLWan": "2"}.get(vae.get("_class_name", ""))
    if found is None:
        raise DataError(f"{source} has a VAE of class {vae.get('_class_name')}, which no Cosmos has", hint="choose its own backbone")
    return "2.5" if found == "2" and transformer.get("use_crossattn_projection") else found


def text_width(transformer: dict[str, Any]) -> int:
    """Features of a text token before the model's own projection."""
    return transformer["crossattn_proj_in_channels" if transformer.get("use_crossattn_projection") else "text_embed_dim"]


def mixture(generation: str, reading: Reading, spread: float) -> Mixture:
    """Return how noise is mixed in and told to the model.

    Parameters
    ----------
    spread
        Standard deviation of the data in the schedule of 1.0.

    References
    ----------
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, table 1, for 1.0.
    """
    known, clean, sigma = bool(reading.future), ALMOST_CLEAN[generation], reading.sigma
    if generation == "1.0":
        level = spread * sigma / (1.0 - sigma**2) ** 0.5 if not known else LOUDEST
        shown = clean if known else level
        share = shown / math.hypot(shown, spread)
        time = 0.25 * math.log(level)
        return Mixture((1.0 - share**2) ** 0.5, share, level / math.hypot(level, spread), time, time)
    if not known:
        return Mixture(1.0 - sigma, sigma, 0.0, sigma, sigma)
    if generation == "2":
        loudest = LOUDEST / (LOUDEST + 1.0)
        return Mixture(1.0, 0.0, loudest, clean / (clean + 1.0), loudest)
    return Mixture(1.0, 0.0, 1.0, clean, 1.0)


class Cosmos(LatentBackbone):
    """A Cosmos world model in memory."""

    def __init__(
        self,
        folder: Path,
        text: str,
        reading: Reading,
        generation: str,
        spread: float,
        latent: tuple[int, int],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        import diffusers

        vae = diffusers.AutoencoderKLCosmos if generation == "1.0" else diffusers.AutoencoderKLWan
        super().__init__(
            load_model(diffusers.CosmosTransformer3DModel, folder / "transformer", dtype, device),
            # both VAEs in float32, as their pipelines run Wan's; a CPU has no other pooling for that of 1.0
            load_model(vae, folder / "vae", torch.float32, device),
            device,
            dtype,
        )
        module: Any = self.module
        self._blank = 1 if module.config.concat_padding_mask else 0  # channels of zeros: nothing of a frame is padding
        module.register_to_config(concat_padding_mask=False)
        self._shown = module.config.in_channels - self._latent_channels  # channels of the mask of the past
        self._reading, self._generation = reading, generation
        self._mix = mixture(generation, reading, spread)
        self._mean, self._spread = self._statistics("latents_mean", 0.0), self._statistics("latents_std", 1.0)
        self._noise = self.noise((self._latent_channels, reading.slots, *latent))
        self._text = prompts.load(text, folder, TEXT_LENGTH, text_width(module.config), zero_padding=True).embedding.to(device, dtype)

    @property
    def _latent_channels(self) -> int:
        config: Any = self.vae.config
        return config.latent_channels if "latent_channels" in config else config.z_dim

    def _statistics(self, name: str, otherwise: float) -> Tensor:
        """One number a channel, or one a channel and slot (1.0); slots beyond those of the clip are left out."""
        values = getattr(self.vae.config, name)
        table = torch.full((self._latent_channels, 1), otherwise) if values is None else torch.tensor(values)
        return table.view(1, self._latent_channels, -1, 1, 1)[:, :, : self._reading.past].to(self.device)

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Latents:
        return (self.latent_mode(video(clip)) - self._mean) / self._spread

    def denoise(self, latents: Latents) -> None:
        count, past, mix = len(latents), self._reading.past, self._mix
        shown = mix.keep * latents + mix.past * self._noise[:, :, :past]
        noisy = torch.cat([shown, (mix.future * self._noise[:, :, past:]).expand(count, -1, -1, -1, -1)], dim=2)
        beside = noisy.new_zeros(count, self._shown + self._blank, *noisy.shape[2:])
        if self._reading.future:
            beside[:, : self._shown, :past] = 1.0
        time = torch.full((count, 1, self._reading.slots, 1, 1), mix.future_time, device=self.device)
        time[:, :, :past] = mix.past_time
        self.module(
            hidden_states=noisy.to(self.dtype),
            condition_mask=beside.to(self.dtype),
            timestep=time[:, 0, -1, 0, 0] if self._generation == "1.0" else time,
            encoder_hidden_states=self._text.expand(count, -1, -1),
            fps=FRAMES_A_SECOND[self._generation],
        )
