"""What the probe found: every layer's evidence in order, what measuring took, and the layers that are handed to agents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from layerscout.cache.records.base import Estimate, Record, as_table_value
from layerscout.showing import Shown, flat_record


class Confirmation(Record):
    """What a layer reaches on episodes that had no part in the ranking: fitted on all others, at the penalty chosen there."""

    reward_r2: Estimate | None
    transition_r2: Estimate | None
    effective_rank: Estimate | None  # of these episodes' rows alone
    score: Estimate | None  # the one that orders
    bits_action: Estimate | None = None  # of the fit on all others
    state_r2: Estimate | None = None


class LayerScore(Record):
    """Everything that was measured about a layer. A figure that the data cannot give is None and shown as n/a.

    ``role`` is "layer" for a candidate, "control" for raw pixels, "twin" for the same block of the untrained backbone.
    ``depth`` counts candidates from 0 in forward order. R² are out-of-fold, unclipped.
    """

    name: str
    role: Literal["layer", "control", "twin"]
    depth: int
    width: int
    store_id: str = ""
    label: str = ""  # tells stores apart in a ranking of several
    reward_r2: Estimate | None
    transition_r2: Estimate | None
    effective_rank: Estimate  # exp(entropy) of the covariance spectrum / width, in (0, 1]
    score: Estimate | None
    skill_score: Estimate | None = None  # S-skill: transition_skill in place of transition R², log_rank in place of rank
    reward_r2_shuffled: Estimate | None  # reward shuffled: mean over the copies, 2.5 and 97.5 percentiles
    persistence_r2: float | None  # z_{t+1} = z_t
    autoregression_r2: float | None = None  # z_{t+1} = a + b z_t, each feature by itself
    transition_gain: float | None  # transition_r2 - max(0, persistence_r2, AR(1))
    transition_skill: Estimate | None = None  # 1 - squared error / that of the best trivial forecast, at least 0
    transition_r2_without_action: float | None = None
    transition_r2_weighted: float | None = None  # features weighted by their variance
    bits_action: float | None = None
    bits_action_by_chance: float | None = None
    bits_total: float | None = None  # what z_t and a_t together tell of z_{t+1}
    correlation_rank: float | None = None  # exp(entropy) of the correlation spectrum, in dimensions
    log_rank: float | None = None  # ln correlation_rank / ln min(rows, width)
    participation_ratio: float | None = None  # (Σ λ)² / Σ λ² of the covariance, in dimensions
    rankme: float | None = None  # exp(entropy) of the singular values of the uncentred activations, in dimensions
    rankme_centred: float | None = None
    live_features: int | None = None
    massive_features: int | None = None
    nonfinite_rows: int = 0
    targets: dict[str, Estimate | None] = Field(default_factory=dict)  # R² of every other target
    control_score: Estimate | None = None  # S-ctrl: how plainly the layer shows what the agent's own actions change, and the state
    measures: dict[str, Estimate | None] = Field(default_factory=dict)  # measures beside the score, by name; see probe/evidence/measures
    behind_best: Estimate | None = None  # best candidate's score minus this one's, paired by episode group
    p_top_k: float | None = None  # chance to be among the best top_k, over resampled episode groups
    p_top_k_weights: float | None = None  # share of nearby weightings of the score that put it there
    confirmation: Confirmation | None = None
    method: Literal["exact", "sketch", "dual"] = "exact"
    method_error: float | None = None
    flags: tuple[str, ...] = ()

    def ordered_by(self, score_kind: str) -> Estimate | None:
        """The score that a ranking of this kind ("S/1", "S-ctrl/1", …) shows; one by S-ctrl is ordered by ranks, and shows what a layer has by itself."""
        return {"S-skill": self.skill_score, "S-ctrl": self.control_score}.get(score_kind.partition("/")[0], self.score)


class RankedStore(Record):
    """One of the stores whose layers stand in a ranking: its id, its video model, and the label before its layers' names."""

    store_id: str
    backbone: str
    label: str


class Ranking(Record, Shown):
    """All layers of one or more stores in order, best candidate first, with what was measured and how."""

    format: Literal["layerscout-ranking/1"] = "layerscout-ranking/1"
    store_id: str
    twin_store_id: str | None
    stores: tuple[RankedStore, ...] = ()
    dataset_digest: str
    backbone: str
    score_version: str
    score_kind: Literal["S/1", "S-across/1", "S-skill/1", "S-ctrl/1"] = "S/1"  # the score that orders
    weights: tuple[float, float, float]
    normalisation: str
    top_k: int | None = None
    rows: int
    episodes: int
    confirmation_episodes: int = 0  # not among ``episodes``
    folds: int
    notes: tuple[str, ...] = ()
    layers: tuple[LayerScore, ...]

    @property
    def candidates(self) -> tuple[LayerScore, ...]:
        """The layers that compete, best score first."""
        return tuple(layer for layer in self.layers if layer.role == "layer")

    def frame_rows(self) -> list[dict[str, Any]]:
        """Return one row a layer: its place among the candidates, then every figure of its `LayerScore`, an interval in three columns."""
        rows = [flat_record(layer) for layer in self.layers]
        return [{"rank": place if row["role"] == "layer" else None} | row for place, row in enumerate(rows, 1)]

    def summary(self) -> tuple[str, Sequence[str], list[Sequence[object]]]:
        """Return the order of the layers, with what decided it."""
        columns = (
            "rank",
            "layer",
            "store",
            self.score_kind.partition("/")[0],
            "bits of action",
            "reward R²",
            "transition R²",
            "gain",
            "effective rank",
            "flags",
        )
        rows: list[Sequence[object]] = []
        for row, layer in zip(self.frame_rows(), self.layers, strict=True):
            estimates = (
                layer.ordered_by(self.score_kind),
                layer.bits_action,
                layer.reward_r2,
                layer.transition_r2,
                layer.transition_gain,
                layer.effective_rank,
            )
            place, which = row["rank"] or layer.role, layer.label or layer.store_id[:12]
            rows.append((place, layer.name, which, *map(as_table_value, estimates), " ".join(layer.flags)))
        return f"layers of {self.backbone}: {self.rows:,} transitions of {self.episodes:,} episodes, {self.score_kind}", columns, rows


COST_NAME = "cost.json"  # beside ranking.json


class Cost(Record):
    """What measuring all layers took on this machine, in one go. Apart from the ranking, which is the same however long it took."""

    format: Literal["layerscout-cost/1"] = "layerscout-cost/1"
    wall_seconds: float
    cpu_seconds: float


class Choice(Record):
    """One representation handed to RL and why. ``kind`` is the arm's part in the comparison ("layer": no control, just another layer)."""

    kind: Literal["ranked", "middle", "worst", "twin", "pixels", "layer"]
    store_id: str
    layer: str
    rank: int | None  # 1 = best; None for what is not a candidate
    score: float | None


class Selection(Record):
    """The layers handed to RL with the controls that must run beside them."""

    format: Literal["layerscout-selection/1"] = "layerscout-selection/1"
    ranking: str  # path of ranking.json, relative to this file
    store_id: str
    dataset_digest: str
    backbone: str
    score_kind: Literal["S/1", "S-across/1", "S-skill/1", "S-ctrl/1"] | None = None  # of the choices' scores, as the next two
    weights: tuple[float, float, float] | None = None
    normalisation: str | None = None
    choices: tuple[Choice, ...]
