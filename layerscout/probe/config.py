"""The settings of the probe: frozen, closed to unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from layerscout.settings import Config

PENALTIES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
WEIGHTS = (0.45, 0.45, 0.10)
RUN_ONLY = frozenset({"store", "twin", "out", "root", "threads"})  # names, places and speed: they change no number
RANKING_ONLY = frozenset({"layers", "top_k", "weights", "normalisation"})  # they change the ranking, no layer's evidence


class ProbeConfig(Config):
    """What to probe and how.

    ``store`` and ``twin`` are a store's id, path or name; the twin holds the same blocks of the untrained backbone.
    ``groups`` episode groups are nested into ``folds`` folds; both are counts. ``penalties`` are ridge penalties divided
    by the number of training rows, so that one grid fits any amount of data. ``shifts`` is how many circularly shifted
    copies of the reward make the null. ``weights`` belong to reward R², transition R² and effective rank. ``inner`` says
    on which of the other folds a penalty is chosen: the ``next`` one, or ``all`` of them in turn (1.5 times slower).
    ``precision`` is that of the products (sums are always float64): ``float32`` takes half the time of a pass, which counts
    with 100 rows a feature or more, and cannot tell features apart that depend on each other to six digits.
    ``threads`` None means one a core.
    """

    store: str
    twin: str | None = None
    out: Path = Path("outputs/probe")
    root: Path | None = None
    folds: int = Field(default=5, ge=3, le=100)
    groups: int = Field(default=20, ge=3, le=1000)
    penalties: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(default=PENALTIES, min_length=1)
    shifts: int = Field(default=50, ge=0, le=1000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    top_k: int = Field(default=2, ge=1)
    weights: tuple[float, float, float] = WEIGHTS
    normalisation: Literal["clip", "affine"] = "clip"
    inner: Literal["next", "all"] = "next"
    layers: tuple[str, ...] | None = None
    threads: int | None = Field(default=None, ge=1)
    precision: Literal["float32", "float64"] = "float64"

    @model_validator(mode="after")
    def _fits_together(self) -> ProbeConfig:
        if self.groups < self.folds:
            raise ValueError(f"groups ({self.groups}) are nested into folds ({self.folds}), so there must be at least as many")
        if min(self.weights) < 0 or abs(sum(self.weights) - 1) > 1e-9:
            raise ValueError(f"weights {self.weights} must be at least 0 and sum to 1")
        if list(self.penalties) != sorted(set(self.penalties)):
            raise ValueError("penalties must rise")
        return self
