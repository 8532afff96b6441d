"""The settings of DreamerV2 with or without APV: frozen, closed to unknown keys, and readable without torch; steps and updates are those of one run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from layerscout.rl.transfer.apv.config import PAPER, APVModelConfig
from layerscout.settings import Config

TransferWay = Literal["apv", "apv-no-bonus", "naive", "untrained", "none"]
# of the authors' Meta-World runs, for a GPU
PAPER_AGENT: dict[str, Any] = {
    "model": PAPER["model"],
    "batch": 16,
    "length": 50,
    "lr": 3e-4,
    "actor_lr": 8e-5,
    "critic_lr": 8e-5,
    "entropy": 1e-4,
    "layers": 4,
    "width": 400,
    "queue": 4_096,
    "projection": 128,
    "warm_up": 5_000,
    "capacity": 2_000_000,
}
AGENT_SCALES: dict[str, dict[str, Any]] = {"cpu": {}, "paper": PAPER_AGENT}


class DreamerConfig(Config):
    """Settings of an agent that learns in a world model's imagination; equal for all runs of an arm.

    ``transfer`` names the arms: apv stacks a new model on the pretrained one and adds the video-based bonus, apv-no-bonus leaves the bonus out,
    naive starts DreamerV2's own model from the pretrained weights, untrained stacks on a model that learned nothing, none is DreamerV2 from scratch.
    """

    transfer: tuple[TransferWay, ...] = Field(
        default=("none",), min_length=1, description="The arms: what is done with the pretrained model."
    )
    pretrained: Path | None = Field(
        default=None, description="Folder of layerscout pretrain apv; the arms apv, apv-no-bonus and naive need it."
    )
    scale: Literal["cpu", "paper"] = Field(default="cpu", description="Sizes: cpu, or those of the published agent.")
    model: APVModelConfig = Field(
        default_factory=APVModelConfig, description="Sizes of the world model; those of the pretrained one, where there is one."
    )
    batch: int = Field(default=16, ge=1, description="Windows of steps in one update.")
    length: int = Field(default=25, ge=2, description="Steps of a window.")
    lr: float = Field(default=1e-3, gt=0.0, description="Step size of Adam, for the world model.")
    actor_lr: float = Field(default=3e-4, gt=0.0, description="Step size for the actor.")
    critic_lr: float = Field(default=3e-4, gt=0.0, description="Step size for the critic.")
    gradient_clip: float = Field(default=100.0, gt=0.0, description="Largest gradient norm of each optimiser.")
    kl_weight: float = Field(default=1.0, ge=0.0, description="Weight of the divergence of the action-conditional latents.")
    video_kl_weight: float = Field(
        default=0.0, ge=0.0, description="Weight of the divergence of the action-free latents below it; the authors' code has 0."
    )
    kl_balance: float = Field(default=0.8, ge=0.0, le=1.0, description="Share of the weight that draws what is foretold to what is seen.")
    free_nats: float = Field(default=0.0, ge=0.0, description="Divergence that costs nothing, in nats.")
    frozen_updates: int = Field(
        default=100, ge=0, description="First updates in which a pretrained encoder and action-free model do not move."
    )
    concatenate: bool = Field(default=False, description="The stacked model also sees the encoder's output itself.")
    discount_head: bool = Field(default=False, description="Foretell whether the task ends.")
    layers: int = Field(default=2, ge=1, description="Hidden layers of actor, critic and heads.")
    width: int = Field(default=128, ge=1, description="Width of them.")
    horizon: int = Field(default=15, ge=2, description="Steps of an imagined future.")
    gamma: float = Field(default=0.99, ge=0.0, le=1.0, description="Discount of a reward one step later.")
    returns: float = Field(default=0.95, ge=0.0, le=1.0, description="λ of the returns.")
    entropy: float = Field(default=1e-3, ge=0.0, description="Weight of the actor's entropy.")
    slow_interval: int = Field(default=100, ge=1, description="Updates between two copies of the critic.")
    bonus: float = Field(
        default=1.0, ge=0.0, description="Weight of the bonus in the reward that is learned (authors: 1, on dm_control 0.1)."
    )
    bonus_window: int = Field(default=5, ge=1, description="Steps whose features are averaged for the bonus.")
    neighbours: int = Field(default=16, ge=1, description="Nearest neighbours whose mean distance is the bonus.")
    queue: int = Field(default=1_024, ge=1, description="Averaged features that neighbours are looked for in.")
    projection: int = Field(default=32, ge=1, description="Width of the random projection of the features.")
    warm_up: int = Field(default=500, ge=1, description="Environment steps before the first update; actions are uniform until then.")
    train_interval: int = Field(default=5, ge=1, description="Environment steps between two updates.")
    capacity: int = Field(default=50_000, ge=1, description="Frames that one run keeps.")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="What products of the world model are computed in.")

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers that the reward, discount, actor and critic heads have."""
        return (self.width,) * self.layers

    @model_validator(mode="before")
    @classmethod
    def _at_scale(cls, given: Any) -> Any:
        """Lay what was said over the sizes of the scale."""
        if not isinstance(given, dict) or given.get("scale", "cpu") not in AGENT_SCALES:
            return given
        scale, model = AGENT_SCALES[given.get("scale", "cpu")], given.get("model", {})
        sizes = {"model": {**scale.get("model", {}), **model} if isinstance(model, dict) else model} if "model" in {*scale, *given} else {}
        return {**scale, **given, **sizes}

    @model_validator(mode="after")
    def _fits_together(self) -> DreamerConfig:
        pushed = self.batch * (self.length - self.bonus_window + 1)
        if self.queue < self.neighbours:
            raise ValueError(f"queue {self.queue} is smaller than the {self.neighbours} neighbours that are looked for in it")
        if pushed < 1 or self.queue < pushed:
            raise ValueError(
                f"queue {self.queue}: one update pushes {pushed} averages of {self.bonus_window} of {self.length} steps into it"
            )
        if self.warm_up < self.length:
            raise ValueError(f"warm_up {self.warm_up} is shorter than a window, {self.length}")
        if self.capacity < self.length:
            raise ValueError(f"capacity {self.capacity} holds no window of {self.length} steps")
        if len(set(self.transfer)) < len(self.transfer):
            raise ValueError("transfer names an arm twice")
        return self
