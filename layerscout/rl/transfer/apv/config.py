"""The settings of APV: sizes of the model, and how it is pretrained; frozen, closed to unknown keys, and readable without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from layerscout.settings import Config, Positional

# what the published figures were made with: 64 x 64 pixels, 600,000 updates of 16 windows of 25 frames
PAPER: dict[str, Any] = {
    "model": {"size": 64, "depth": 48, "stages": 4, "published": True, "latents": 32, "classes": 32, "deter": 1024, "hidden": 1024},
    "lr": 3e-4,
    "updates": 600_000,
}
SCALES: dict[str, dict[str, Any]] = {"cpu": {}, "paper": PAPER}


class APVModelConfig(Config):
    """Sizes of the action-free model; equal for pretraining and for every agent on it. The defaults are those of ``cpu``."""

    size: int = Field(default=32, ge=8, description="Side of a frame, in pixels.")
    channels: int = Field(default=3, ge=1, le=4, description="Colours of a frame.")
    depth: int = Field(default=8, ge=1, description="Channels of the encoder's first convolution; each further one has twice as many.")
    stages: int = Field(default=3, ge=1, le=6, description="Convolutions of the encoder, and of the decoder.")
    published: bool = Field(
        default=False,
        description="The published convolutions for 64 x 64 pixels: without padding, the decoder's with kernels 5, 5, 6, 6; else every one halves or doubles.",
    )
    latents: int = Field(default=8, ge=1, description="Categorical variables of the latent state.")
    classes: int = Field(default=8, ge=2, description="Classes of each.")
    deter: int = Field(default=128, ge=1, description="Width of the recurrent state.")
    hidden: int = Field(default=128, ge=1, description="Width of the hidden layers.")

    @property
    def stochastic(self) -> int:
        """Width of the latent state, all classes of all variables."""
        return self.latents * self.classes

    @property
    def features(self) -> int:
        """Width of latent and recurrent state together: what heads and decoder read."""
        return self.stochastic + self.deter

    @property
    def maps(self) -> tuple[tuple[int, int], ...]:
        """Channels and side of what every convolution of the encoder gives."""
        sides, side = [], self.size
        for _ in range(self.stages):
            side = (side - 4) // 2 + 1 if self.published else side // 2
            sides.append(side)
        return tuple((self.depth * 2**stage, side) for stage, side in enumerate(sides))

    @property
    def embedding(self) -> int:
        """Numbers that the encoder makes of a frame."""
        channels, side = self.maps[-1]
        return channels * side * side

    @model_validator(mode="after")
    def _fits_together(self) -> APVModelConfig:
        if self.published and (self.size, self.stages) != (64, 4):
            raise ValueError("the published convolutions are four, for frames of 64 x 64 pixels")
        if not self.published and self.size % 2**self.stages:
            raise ValueError(f"{self.stages} convolutions halve a side {self.stages} times: {self.size} is no multiple of {2**self.stages}")
        return self


class PretrainAPVConfig(Config):
    """Action-free pretraining: a recurrent latent-variable model learns to predict videos, of whose actions nothing is known."""

    data: Annotated[Path, Positional("DATA")] = Field(
        description="A trajectory file, or videos and other datasets as layerscout import takes them."
    )
    out: Path = Field(default=Path("outputs/apv"), description="Where the model goes, and what is needed to continue.")
    scale: Literal["cpu", "paper"] = Field(
        default="cpu", description="Sizes: cpu learns 32 x 32 pixels in minutes, paper is the published model for a GPU."
    )
    updates: int = Field(default=2_000, ge=1, description="Gradient steps (paper: 600000). More may be asked for later.")
    batch: int = Field(default=16, ge=1, description="Windows of frames in one update.")
    length: int = Field(default=25, ge=2, description="Frames of a window.")
    lr: float = Field(default=1e-3, gt=0.0, description="Step size of Adam (paper: 3e-4).")
    kl_weight: float = Field(default=0.1, ge=0.0, description="Weight of the divergence between latents seen and latents foretold.")
    kl_balance: float = Field(default=0.8, ge=0.0, le=1.0, description="Share of that weight that draws what is foretold to what is seen.")
    free_nats: float = Field(default=0.0, ge=0.0, description="Divergence that costs nothing, in nats.")
    gradient_clip: float = Field(default=100.0, gt=0.0, description="Largest gradient norm.")
    held_out: float = Field(default=0.1, ge=0.0, le=0.5, description="Share of the episodes that is only measured on.")
    look_every: int = Field(default=200, ge=1, description="Updates between two measurements, each followed by a checkpoint.")
    fps: float | None = Field(default=None, gt=0.0, description="Of videos: take the frames shown at so many ticks a second.")
    stride: int = Field(default=1, ge=1, description="Of videos: take every so many-th frame.")
    seed: int = Field(default=0, ge=0, description="Of first weights, windows and latents.")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="What products are computed in; weights stay float32.")
    compile: bool = Field(default=False, description="Compile the model, where a compiler is there.")
    device: str = Field(default="cpu", description="cpu, cuda or cuda:0.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; left out: as many as this process may use.")
    model: APVModelConfig = Field(default_factory=APVModelConfig, description="Sizes of the model, where they differ from the scale's.")

    @model_validator(mode="before")
    @classmethod
    def _at_scale(cls, given: Any) -> Any:
        """Lay what was said over the sizes of the scale."""
        if not isinstance(given, dict) or given.get("scale", "cpu") not in SCALES:
            return given
        scale = SCALES[given.get("scale", "cpu")]
        model = given.get("model", {})
        return {**scale, **given, "model": {**scale.get("model", {}), **model} if isinstance(model, dict) else model}
