"""The settings of the probe: frozen, closed to unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from layerscout.cluster import SCHEDULER, check_scheduler
from layerscout.settings import Config, Flag, Positional

PENALTIES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
WEIGHTS = (0.45, 0.45, 0.10)
# names, places and speed: they change no number
RUN_ONLY = frozenset({"store", "others", "twin", "out", "root", "threads", "partials", "scheduler", "shard"})
RANKING_ONLY = frozenset({"layers", "top_k", "weights", "normalisation", "score"})  # they change the ranking, no layer's evidence


class ProbeConfig(Config):
    """What to probe and how. All stores must be of the same dataset and have the same rows; only ``store`` can have a twin."""

    store: Annotated[str, Positional("STORE")] = Field(description="A store's id, the beginning of one, a name, a folder or a URL.")
    others: Annotated[tuple[str, ...], Positional("OTHER")] = Field(default=(), description="Stores that are ranked together with it.")
    twin: str | None = Field(default=None, description="Store of the untrained backbone on the same data.")
    out: Path = Field(default=Path("outputs/probe"), description="The folder that receives the results.")
    root: Path | None = Field(default=None, description="Folder of all stores; left out: LAYERSCOUT_ROOT, or the user's cache.")
    folds: int = Field(default=5, ge=3, le=100, description="Folds of whole episodes, for fitting and testing.")
    groups: int = Field(default=20, ge=3, le=1000, description="Groups of episodes nested into the folds, for the intervals.")
    penalties: Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], Flag("--penalty")] = Field(
        default=PENALTIES, min_length=1, description="Ridge penalties, divided by the number of training rows; rising."
    )
    targets: Annotated[tuple[str, ...] | None, Flag("--target")] = Field(
        default=None, description="Index columns to probe, or return_to_go; left out: state, return_to_go and expert_action where they are."
    )
    discount: float = Field(default=1.0, ge=0, le=1, description="Of the return-to-go, a step.")
    confirmation: float = Field(
        default=0.2, ge=0, le=0.5, description="Share of the episodes kept apart to score the best layers; 0: none."
    )
    shifts: int = Field(default=50, ge=0, le=1000, description="Shuffled copies of the reward that make the null.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Draws the shuffled copies.")
    top_k: int = Field(default=2, ge=1, description="Layers to hand to agents.")
    score: Literal["auto", "S-ctrl", "S", "S-skill"] = Field(
        default="auto", description="Which of the scores orders; all are computed. auto: S-ctrl where every layer has one, else S."
    )
    measures: bool = Field(default=True, description="Also what stands beside the score: advantage, inverse dynamics, later effects.")
    weights: Annotated[tuple[float, float, float], Flag("--weight")] = Field(
        default=WEIGHTS, description="Of reward R², transition R² and effective rank; their sum is 1."
    )
    normalisation: Literal["clip", "affine"] = Field(
        default="clip", description="clip: R² cut to [0, 1]; affine: (R² + 1) / 2, cut likewise."
    )
    inner: Literal["scalars", "pair", "all"] = Field(
        default="scalars",
        description="Where a fold's penalty is chosen: on all other folds in turn, for reward and targets (scalars) or the transition too "
        "(all, slower); or on its partner in a pair of folds.",
    )
    layers: Annotated[tuple[str, ...] | None, Flag("--layer")] = Field(default=None, description="Only these candidates; none: all.")
    threads: int | None = Field(default=None, ge=1, description="Layers measured at once; left out: one a core.")
    precision: Literal["float32", "float64"] = Field(default="float32", description="Of the products; sums are always float64.")
    max_nonfinite: float = Field(default=1e-3, ge=0, le=0.5, description="Share of a layer's rows that may hold a NaN or an infinity.")
    partials: Literal["auto", "always", "never"] = Field(
        default="auto", description="Keep sums of spans of rows under the root; auto: where they take half of the rows' bytes at most."
    )
    scheduler: Annotated[str | None, AfterValidator(check_scheduler)] = Field(default=None, description=SCHEDULER)
    shard: str | None = Field(
        default=None, pattern=r"^\d+/[1-9]\d*$", description="i/n: only every n-th piece of the pass from the i-th, counted from 0."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> ProbeConfig:
        if self.groups < self.folds:
            raise ValueError(f"groups ({self.groups}) are nested into folds ({self.folds}), so there must be at least as many")
        if min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-9:
            raise ValueError(f"weights {self.weights} must be at least 0 and sum to 1")
        if 0 < self.confirmation < 0.01:
            raise ValueError(f"confirmation ({self.confirmation}) must be 0, or from 0.01 to 0.5")
        if self.shard is not None and self.shard_of[0] >= self.shard_of[1]:
            raise ValueError(f"shard {self.shard}: shards are counted from 0, so the last one is {self.shard_of[1] - 1}/{self.shard_of[1]}")
        if self.shard is not None and (self.scheduler is not None or self.partials == "never"):
            raise ValueError("a shard is all partials, and works without a scheduler: leave out scheduler and partials")
        if list(self.penalties) != sorted(set(self.penalties)):
            raise ValueError("penalties must rise")
        return self

    @property
    def shard_of(self) -> tuple[int, int]:
        """Which shard of how many; the whole is shard 0 of 1."""
        number, count = (self.shard or "0/1").split("/")
        return int(number), int(count)
