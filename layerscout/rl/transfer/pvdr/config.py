"""The settings of visual dynamics representations: frozen, closed to unknown keys, and readable without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from layerscout.extract.backbones.pvdr import PvdrShape
from layerscout.settings import Config, Positional


class PretrainPvdrConfig(Config):
    """What is learned from videos before anything is played: first the tokenizer, then the dynamics of its tokens."""

    data: Annotated[Path, Positional("DATA")] = Field(
        description="A trajectory file, or whatever layerscout import takes: videos, pictures, another project's file. No action is read."
    )
    out: Path = Field(default=Path("outputs/pvdr"), description="Folder of the pretrained model: weights, shape, card.")
    shape: PvdrShape = Field(default=PvdrShape(), description="What the networks are made of: frames, codes, z.")
    tokenizer_updates: int = Field(default=1000, ge=1, description="Updates of the tokenizer.")
    tokenizer_batch: int = Field(default=32, ge=1, description="Frames of one of them.")
    tokenizer_lr: float = Field(default=4e-3, gt=0.0, description="Largest step size of the tokenizer.")
    updates: int = Field(default=4000, ge=1, description="Updates of encoder, prior and decoder.")
    batch: int = Field(default=16, ge=1, description="Clips of one of them.")
    lr: float = Field(default=3e-3, gt=0.0, description="Largest step size; it rises for 30 updates and falls linearly to a tenth.")
    beta: float = Field(default=0.1, ge=0.0, description="Weight of the divergence of the encoder's z from the prior's.")
    still: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="Share of an update's clips that stand still, one frame repeated: recordings of what always moves never show that.",
    )
    share: float = Field(default=1.0, gt=0.0, le=1.0, description="Share of the episodes that is trained on.")
    held_out: float = Field(default=0.1, ge=0.0, lt=1.0, description="Share of the episodes that is only judged on.")
    checkpoint_every: int = Field(default=250, ge=1, description="Updates between checkpoints; the same command continues.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Decides everything that is drawn.")
    fps: float | None = Field(default=None, gt=0.0, description="Of videos: frames a second that are taken.")
    stride: int = Field(default=1, ge=1, description="Of videos: every how many-th frame is taken.")
    threads: int | None = Field(default=None, ge=1, description="CPU threads; left out: as many as this process may use.")


ArmName = Literal["pvdr", "scratch", "supervised", "random-plans", "cloning"]


class PvdrConfig(Config):
    """What agents do while they play towards goal pictures; all arms play and learn equally often."""

    model: Path = Field(default=Path("outputs/pvdr"), description="Folder of the pretrained model, from layerscout pretrain pvdr.")
    arms: tuple[ArmName, ...] = Field(
        default=("pvdr", "scratch", "supervised", "random-plans", "cloning"),
        min_length=1,
        description="pvdr; scratch: dynamics that begin without pretraining; supervised: without reinforcement; "
        "random-plans: plans that no goal chose; cloning: actions of hindsight goals, cloned on the prior's layer.",
    )
    prefill: int = Field(default=1024, ge=1, description="First environment steps, of random actions that are held; they count.")
    hold: float = Field(default=8.0, ge=1.0, description="Steps for which one of these is held, on average.")
    environments: int = Field(default=32, ge=1, description="Games of one run side by side.")
    samples: int = Field(default=16, ge=1, description="Plans among which the one nearest to the goal is chosen, at every step.")
    distance: Literal["pixels", "blurred", "both", "transport"] = Field(
        default="transport", description="How nearness of pictures is judged, see `picture_distance`."
    )
    compared: Literal["all", "last"] = Field(
        default="all",
        description="Frames of a plan that are compared with the goal: all, by their mean distance, or the last alone, by which plans put off moving.",
    )
    adapt_updates: int = Field(default=50, ge=0, description="Updates of the dynamics after every round of play.")
    adapt_lr: float = Field(default=5e-4, gt=0.0, description="Their step size.")
    adapt_batch: int = Field(default=16, ge=1, description="Clips of one of them.")
    adapt_beta: float = Field(default=0.1, ge=0.0, description="Weight of the divergence in them, as beta in pretraining.")
    align_updates: int = Field(default=300, ge=1, description="Supervised updates of the alignment after every round.")
    align_lr: float = Field(default=2e-3, gt=0.0, description="Largest step size of these; it falls to a tenth in every round.")
    align_batch: int = Field(default=64, ge=1, description="Steps of one of them.")
    hidden: int = Field(default=128, ge=1, description="Width of the alignment's two hidden layers, and of the critic's.")
    adherence: float = Field(default=1.0, ge=0.0, description="Weight of staying near the plan, in the reward of the alignment.")
    progress: float = Field(default=1.0, ge=0.0, description="Weight of coming nearer to the goal.")
    arrival: float = Field(default=1.0, ge=0.0, description="Reward of reaching it.")
    gamma: float = Field(default=0.9, ge=0.0, le=1.0, description="Discount of that reward.")
    lam: float = Field(default=0.95, ge=0.0, le=1.0, description="λ of its advantages.")
    clip: float = Field(default=0.2, gt=0.0, description="Bound of the ratio of probabilities.")
    epochs: int = Field(default=8, ge=1, description="Passes over a round's steps.")
    imitation: float = Field(default=1.0, ge=0.0, description="Weight of learning from (z, action) in them, which keeps what z means.")
    reinforce_lr: float = Field(default=3e-4, gt=0.0, description="Step size of alignment and critic in them.")
