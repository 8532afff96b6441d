"""Options of a video denoiser in; what every family shares out: checked clips, noise at a share, latents, block lists.

Two regimes, and each checkpoint knows only those it was trained for. ``denoise``: the clip's own latents at a low share
of noise. ``condition``: clean frames of the past beside slots of pure noise that stand for the future.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import LayerInfo
from layerscout.extract.backbones.loaded import LoadedBackbone, fixed_noise, scale_pixels
from layerscout.settings import Config

Regime = Literal["denoise", "condition"]
NOISE_SEED = 5
NOISE = f"fixed, seed {NOISE_SEED}"  # as an identity names it
TRAIN_STEPS = 1000  # timesteps of every family's schedule
LOW_NOISE = 0.2  # share of noise in ``denoise`` unless said otherwise


class DenoiserOptions(Config):
    """What every denoiser takes.

    ``frames`` of the clip; ``size`` in pixels (height, width); ``regime``; ``sigma`` the share of noise, 0 to 1;
    ``future`` latent slots of noise in ``condition``; ``text`` is ``zeros``, ``empty`` or a safetensors file. What is None
    is the checkpoint's default: 256 x 256 pixels, the first regime that it was trained for, 0.2 noise in ``denoise`` (always
    1 in ``condition``), 3 slots, unless its positions fix them.
    """

    frames: int | None = Field(default=None, ge=1)
    size: tuple[int, int] | None = None
    regime: Regime | None = None
    sigma: float | None = Field(default=None, ge=0.0, le=1.0)
    future: int | None = Field(default=None, ge=1)
    text: str = "zeros"


@dataclass(frozen=True)
class Reading:
    """Options after they were checked for one checkpoint. ``future`` is 0 in ``denoise``; ``slots`` counts latent frames."""

    frames: int
    size: tuple[int, int]
    regime: Regime
    sigma: float
    future: int
    past: int

    @property
    def slots(self) -> int:
        return self.past + self.future

    @property
    def identity(self) -> dict[str, Any]:
        """What of it changes numbers and is in no other part of a store's identity (clip and frame size are)."""
        future = {"future_slots": self.future} if self.future else {}
        return {"regime": self.regime, "sigma": self.sigma, "noise": NOISE} | future


def need_source(name: str, source: str | None) -> str:
    """Return the checkpoint's folder or hub id.

    Raises
    ------
    UsageError
        None was given.
    """
    if source is None:
        raise UsageError(f"backbone '{name}' needs a checkpoint", hint=f"write {name}:FOLDER or {name}:HUB-ID")
    return source


def settle(
    family: str,
    options: DenoiserOptions,
    *,
    trained: Sequence[Regime],
    step: int,
    cell: int,
    frames: dict[Regime, int],
    longest: int | None = None,
    size: tuple[int, int] = (256, 256),
    future: int = 3,
) -> Reading:
    """Check options against what one checkpoint can take.

    Parameters
    ----------
    trained
        The regimes it was trained for; the first is the default.
    step
        Frames a latent frame after the first: clips have step * k + 1 frames.
    cell
        Pixels a token: both sides of a frame are multiples of it.
    frames
        Default number of frames by regime.
    longest
        The most frames that ``condition`` may hold (1 for models that know one image only).
    size, future
        Defaults of this checkpoint.

    Raises
    ------
    UsageError
        The regime, the noise, the frame count or the size is not possible; the message names the nearest that is.
    """
    where = "--set extract.backbone_options"
    regime = options.regime or trained[0]
    if regime not in trained:
        raise UsageError(
            f"{family} was not trained for regime '{regime}', only for {' and '.join(trained)}", hint=f"{where}.regime={trained[0]}"
        )
    count = options.frames or frames[regime]
    if regime == "condition" and longest is not None and count > longest:
        raise UsageError(f"{family} is conditioned on {longest} frame(s), not {count}", hint=f"{where}.frames={longest}")
    check_frames(family, count, step)
    size = options.size or size
    check_size(size, cell)
    sigma = options.sigma
    if regime == "condition" and sigma not in (None, 1.0):
        raise UsageError(f"regime 'condition' has pure noise in its future slots, sigma 1, not {sigma}", hint="leave sigma out")
    if regime == "denoise" and sigma == 1.0:
        raise UsageError("sigma 1 in regime 'denoise' is pure noise: nothing of the clip is left", hint=f"{where}.sigma={LOW_NOISE}")
    if regime == "condition":
        sigma = 1.0
    slots = (options.future or future) if regime == "condition" else 0
    return Reading(count, size, regime, LOW_NOISE if sigma is None else sigma, slots, (count - 1) // step + 1)


def check_frames(family: str, count: int, step: int) -> None:
    """Refuse a clip length that is not step * k + 1, naming the nearest that are."""
    if (count - 1) % step:
        below = count - (count - 1) % step
        raise UsageError(
            f"{family} takes {step}k+1 frames, not {count}; the nearest are {below} and {below + step}",
            hint=f"--set extract.backbone_options.frames={below + step}",
        )


def check_size(size: tuple[int, int], cell: int) -> None:
    """Refuse a frame that whole tokens do not fill, naming the nearest size that they do."""
    if any(side % cell or side <= 0 for side in size):
        nearest = [max(1, round(side / cell)) * cell for side in size]
        raise UsageError(
            f"frame size {size} is not a multiple of {cell} pixels; the nearest is {tuple(nearest)}",
            hint=f"--set extract.backbone_options.size=[{nearest[0]},{nearest[1]}]",
        )


def newest_steps(frames: int, step: int, group: int = 1) -> tuple[int, ...]:
    """Return the newest environment step that each token slot of a clip holds, relative to the clip's last.

    A causal VAE puts frame 0 into latent frame 0 and frames up to ``step * i`` into latent frame i. ``group`` latent frames
    share a token slot; an incomplete group is filled up before the first latent frame.
    """
    latents = (frames - 1) // step + 1
    lacking = -latents % group
    return tuple(step * (group * slot + group - 1 - lacking) - (frames - 1) for slot in range((latents + lacking) // group))


def block_layers(kind: str, config: dict[str, Any], lists: Sequence[str], width: int) -> tuple[LayerInfo, ...]:
    """Describe every block of some lists of a diffusers model, in order, without weights (built on torch's meta device)."""
    import diffusers

    with torch.device("meta"):
        model = getattr(diffusers, kind).from_config(config)
    named = [(f"{name}.{i}", block) for name in lists for i, block in enumerate(getattr(model, name))]
    return tuple(
        LayerInfo(name, name, depth, width, sum(parameter.numel() for parameter in block.parameters()))
        for depth, (name, block) in enumerate(named)
    )


def flow_noise(latents: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], sigma: float) -> Float[Tensor, "*shape"]:
    """x = (1 - sigma) z + sigma e: the straight path of flow matching, whose timestep is 1000 sigma after any shift.

    References
    ----------
    Lipman et al., Flow Matching for Generative Modeling, eq. 23 with sigma_min = 0; Esser et al., 2403.03206, eq. 13.
    """
    return (1.0 - sigma) * latents + sigma * noise


def vp_level(alphas: Float[Tensor, " timestep"], sigma: float) -> tuple[int, float, float]:
    """Return (timestep, share of signal, share of noise) of the schedule's step nearest to a noise share ``sigma``.

    ``alphas`` are cumulative; the shares are sqrt(alpha) and sqrt(1 - alpha). An integer timestep means another noise in
    every schedule, so it is never an option itself.

    References
    ----------
    Ho et al., Denoising Diffusion Probabilistic Models, eq. 4.
    """
    timestep = int(torch.argmin((alphas.sqrt() - (1 - sigma**2) ** 0.5).abs()))
    return timestep, float(alphas[timestep]) ** 0.5, float(1 - alphas[timestep]) ** 0.5


def video(clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip channel time height width"]:
    """Pixels in [-1, 1] as a VAE takes them."""
    return scale_pixels(clip).permute(0, 2, 1, 3, 4)


class LatentBackbone(LoadedBackbone):
    """A denoiser in memory: ``encode`` is the VAE's part of a pass (and may be stored), ``denoise`` the rest.

    ``encode`` answers in float32 whatever the model computes in, so latents that were stored give the same activations
    bit for bit. ``lists`` names the model's block lists in the order they run.
    """

    lists: tuple[str, ...] = ("transformer_blocks",)

    def __init__(self, module: nn.Module, vae: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.module, self.vae, self.device, self.dtype = module, vae, device, dtype
        self._whole = {name: cast(nn.ModuleList, getattr(module, name)) for name in self.lists}

    @abstractmethod
    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip *latent"]:
        """Latents of clips, normalised as the family wants them; no noise yet."""

    @abstractmethod
    def denoise(self, latents: Float[Tensor, "clip *latent"]) -> None:
        """Add the noise, and run the model."""

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        self.denoise(self.encode(clip))

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        return output[0] if isinstance(output, tuple) else output

    def latent_mode(self, frames: Float[Tensor, "clip channel time height width"]) -> Float[Tensor, "clip channel slot row column"]:
        """The most likely latents (never a sample, which would be hidden noise), in float32, not normalised."""
        vae: Any = copy.copy(self.vae)  # some keep the state of a pass on themselves, and several threads encode at once
        weight = next(vae.parameters())
        return vae.encode(frames.to(weight.dtype)).latent_dist.mode().to(torch.float32)

    def noise(self, shape: Sequence[int]) -> Float[Tensor, "1 *shape"]:
        """The noise of one clip, to be made once: the same for every row, batch and machine."""
        return fixed_noise((1, *shape), NOISE_SEED).to(self.device)

    def truncate(self, last: LayerInfo) -> None:
        wanted, _, index = last.module.rpartition(".")
        stop = None
        for name, blocks in self._whole.items():
            if name == wanted:
                stop = int(index) + 1
                setattr(self.module, name, blocks[:stop])
            else:
                setattr(self.module, name, blocks if stop is None else blocks[:0])
