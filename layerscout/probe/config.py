"""The settings of the probe: frozen, closed to unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from layerscout.settings import Config

PENALTIES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
WEIGHTS = (0.45, 0.45, 0.10)
# names, places and speed: they change no number
RUN_ONLY = frozenset({"store", "others", "twin", "out", "root", "threads", "partials", "scheduler", "shard"})
RANKING_ONLY = frozenset({"layers", "top_k", "weights", "normalisation", "score"})  # they change the ranking, no layer's evidence


class ProbeConfig(Config):
    """What to probe and how.

    ``store``, ``others`` and ``twin`` are a store's id, path, name or URL; ``others`` are ranked together with the first one, and the
    twin holds the first one's blocks in the untrained backbone. All must be of the same dataset and have the same rows.
    ``groups`` episode groups are nested into ``folds`` folds; both are counts. ``penalties`` are ridge penalties divided
    by the number of training rows, so that one grid fits any amount of data. ``targets`` are index columns of the store, or
    ``return_to_go``, discounted by ``discount`` a step; None: state, return-to-go and expert action. ``confirmation`` is the
    share of episodes that have no part in the ranking and then score its best layers. ``score`` says which of the two
    scores orders; both are always computed. ``shifts`` is how many circularly shifted
    copies of the reward make the null. ``weights`` belong to reward R², transition R² and effective rank. ``inner`` says
    on which of the other folds a penalty is chosen: its partner in a ``pair``, or ``all`` of them in turn (a solver twice as slow).
    ``precision`` is that of the products (sums are always float64). With ``float32``, a layer whose figures it would move by more
    than 10⁻⁶ is measured again in float64, and the ranking says so. ``max_nonfinite`` is the share of a layer's rows that may hold
    a NaN or an infinity. ``partials`` says whether the sums of single spans of rows are kept under ``root``: ``auto`` where they
    take half of the rows' bytes at most. ``scheduler`` is a dask scheduler's address, or ``local`` for processes on this
    machine; ``shard``, as ``i/n``, computes every n-th partial from the i-th (counted from 0) and stops.
    ``threads`` None means one a core.
    """

    store: str
    others: tuple[str, ...] = ()
    twin: str | None = None
    out: Path = Path("outputs/probe")
    root: Path | None = None
    folds: int = Field(default=5, ge=3, le=100)
    groups: int = Field(default=20, ge=3, le=1000)
    penalties: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(default=PENALTIES, min_length=1)
    targets: tuple[str, ...] | None = None
    discount: float = Field(default=1.0, ge=0, le=1)
    confirmation: float = Field(default=0.2, ge=0, le=0.5)
    shifts: int = Field(default=50, ge=0, le=1000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    top_k: int = Field(default=2, ge=1)
    score: Literal["S", "S-skill"] = "S"
    weights: tuple[float, float, float] = WEIGHTS
    normalisation: Literal["clip", "affine"] = "clip"
    inner: Literal["pair", "all"] = "pair"
    layers: tuple[str, ...] | None = None
    threads: int | None = Field(default=None, ge=1)
    precision: Literal["float32", "float64"] = "float32"
    max_nonfinite: float = Field(default=1e-3, ge=0, le=0.5)
    partials: Literal["auto", "always", "never"] = "auto"
    scheduler: str | None = Field(default=None, pattern=r"^(local|(tcp|tls|ucx|ws|wss)://.+)$")
    shard: str | None = Field(default=None, pattern=r"^\d+/[1-9]\d*$")

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
