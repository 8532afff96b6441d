"""Options of a video denoiser and what a checkpoint was trained for in, a checked way to read it out.

Two regimes, and each checkpoint knows only those it was trained for. ``denoise``: the clip's own latents at a low share
of noise. ``condition``: clean frames of the past beside slots of pure noise that stand for the future.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from layerscout.errors import UsageError
from layerscout.settings import Config

Regime = Literal["denoise", "condition"]
NOISE_SEED = 5
NOISE = f"fixed, seed {NOISE_SEED}"  # as an identity names it
LOW_NOISE = 0.2  # share of noise in ``denoise`` unless said otherwise
WHERE = "--set extract.backbone_options"


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
class Training:
    """What one checkpoint was trained for, and how its latents relate to frames and pixels.

    ``title`` is what messages call it. ``step`` is how many frames a latent frame stands for, after the first; ``pixels`` are the
    sides of a latent cell, ``cell`` those of a token. ``regimes`` are those it knows, the default first, and ``frames`` the default
    clip length of each; ``longest`` is how many frames ``condition`` may hold (1 for models that know one image only, None for any
    number). ``size`` in pixels and ``future`` in latent slots are this checkpoint's defaults.
    """

    title: str
    step: int
    pixels: int
    cell: int
    regimes: tuple[Regime, ...]
    frames: dict[Regime, int]
    longest: int | None = 1
    size: tuple[int, int] = (256, 256)
    future: int = 3


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
        """Latent frames that the model sees in a pass: those of the clip, then ``future`` ones of noise."""
        return self.past + self.future

    @property
    def identity(self) -> dict[str, Any]:
        """What of it changes numbers and is in no other part of a store's identity (clip and frame size are)."""
        future = {"future_slots": self.future} if self.future else {}
        return {"regime": self.regime, "sigma": self.sigma, "noise": NOISE} | future

    def latent_size(self, pixels: int) -> tuple[int, int]:
        """Rows and columns of a latent frame whose cells have ``pixels`` pixels a side."""
        return self.size[0] // pixels, self.size[1] // pixels


def checked_reading(training: Training, options: DenoiserOptions) -> Reading:
    """Check options against what one checkpoint was trained for, and fill in its defaults.

    Raises
    ------
    UsageError
        The regime, the noise, the frame count or the size is not possible; the message names the nearest that is.
    """
    title, trained = training.title, training.regimes
    regime = options.regime or trained[0]
    if regime not in trained:
        raise UsageError(
            f"{title} was not trained for regime '{regime}', only for {' and '.join(trained)}", hint=f"{WHERE}.regime={trained[0]}"
        )
    count = options.frames or training.frames[regime]
    if regime == "condition" and training.longest is not None and count > training.longest:
        raise UsageError(f"{title} is conditioned on {training.longest} frame(s), not {count}", hint=f"{WHERE}.frames={training.longest}")
    check_frames(title, count, training.step)
    size = options.size or training.size
    check_size(size, training.cell)
    sigma = options.sigma
    if regime == "condition" and sigma not in (None, 1.0):
        raise UsageError(f"regime 'condition' has pure noise in its future slots, sigma 1, not {sigma}", hint="leave sigma out")
    if regime == "denoise" and sigma == 1.0:
        raise UsageError("sigma 1 in regime 'denoise' is pure noise: nothing of the clip is left", hint=f"{WHERE}.sigma={LOW_NOISE}")
    if regime == "condition":
        sigma = 1.0
    slots = (options.future or training.future) if regime == "condition" else 0
    return Reading(count, size, regime, LOW_NOISE if sigma is None else sigma, slots, (count - 1) // training.step + 1)


def check_frames(title: str, count: int, step: int) -> None:
    """Refuse a clip length that is not step * k + 1, naming the nearest that are."""
    if (count - 1) % step:
        below = count - (count - 1) % step
        raise UsageError(
            f"{title} takes {step}k+1 frames, not {count}; the nearest are {below} and {below + step}",
            hint=f"{WHERE}.frames={below + step}",
        )


def check_size(size: tuple[int, int], cell: int) -> None:
    """Refuse a frame that whole tokens do not fill, naming the nearest size that they do."""
    if any(side % cell or side <= 0 for side in size):
        nearest = [max(1, round(side / cell)) * cell for side in size]
        raise UsageError(
            f"frame size {size} is not a multiple of {cell} pixels; the nearest is {tuple(nearest)}",
            hint=f"{WHERE}.size=[{nearest[0]},{nearest[1]}]",
        )


def newest_steps(frames: int, step: int, group: int = 1) -> tuple[int, ...]:
    """Return the newest environment step that each token slot of a clip holds, relative to the clip's last.

    A causal VAE puts frame 0 into latent frame 0 and frames up to ``step * i`` into latent frame i. ``group`` latent frames
    share a token slot; an incomplete group is filled up before the first latent frame.
    """
    latents = (frames - 1) // step + 1
    lacking = -latents % group
    return tuple(step * (group * slot + group - 1 - lacking) - (frames - 1) for slot in range((latents + lacking) // group))
