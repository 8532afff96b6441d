"""The files by which stages speak: Ranking, Selection, RunRecord. JSON in, frozen models out, and back."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import stdev
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from layerscout.cache.durable import write_atomic as write_atomic
from layerscout.cache.sealing import seal, unseal
from layerscout.errors import DataError, UnsealedFile
from layerscout.showing import Shown, flat_record, mean

AGAIN = "run the stage that writes it again"


class Record(BaseModel):
    """Base of all records: immutable, closed to unknown keys, NaN refused (a missing number is None)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Record):
    """A number with its 95 % interval; the interval is None when it cannot be had."""

    value: float
    low: float | None = None
    high: float | None = None


class Confirmation(Record):
    """What a layer reaches on episodes that had no part in the ranking: fitted on all others, at the penalty chosen there."""

    reward_r2: Estimate | None
    transition_r2: Estimate | None
    effective_rank: Estimate | None  # of these episodes' rows alone
    score: Estimate | None


class LayerScore(Record):
    """One layer's evidence. A figure that the data cannot give is None and shown as n/a.

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
    reward_r2_shuffled: Estimate | None  # reward circularly shifted: mean over shifts, 2.5 and 97.5 percentiles
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
    targets: dict[str, Estimate | None] = {}  # R² of every other target
    behind_best: Estimate | None = None  # best candidate's score minus this one's, paired by episode group
    p_top_k: float | None = None  # chance to be among the best top_k, over resampled episode groups
    p_top_k_weights: float | None = None  # share of nearby weightings of the score that put it there
    confirmation: Confirmation | None = None
    method: Literal["exact", "sketch", "dual"] = "exact"
    method_error: float | None = None
    flags: tuple[str, ...] = ()


class RankedStore(Record):
    """One of the stores that a ranking draws layers from."""

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
    score_kind: Literal["S/1", "S-across/1", "S-skill/1"] = "S/1"  # the score that orders
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
        places = {layer: place for place, layer in enumerate(self.candidates, 1)}
        return [{"rank": places.get(layer)} | flat_record(layer) for layer in self.layers]

    def summary(self) -> tuple[str, Sequence[str], list[Sequence[object]]]:
        """Return the order of the layers, with what decided it."""
        columns = ("rank", "layer", "store", "score", "reward R²", "transition R²", "gain", "effective rank", "flags")
        rows: list[Sequence[object]] = []
        for row, layer in zip(self.frame_rows(), self.layers, strict=True):
            estimates = (layer.score, layer.reward_r2, layer.transition_r2, layer.transition_gain, layer.effective_rank)
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
    score_kind: Literal["S/1", "S-across/1", "S-skill/1"] | None = None  # of the choices' scores, as the next two
    weights: tuple[float, float, float] | None = None
    normalisation: str | None = None
    choices: tuple[Choice, ...]


class Budget(Record):
    """What one run was allowed and used; equal for all arms of a comparison, except where the arms differ by nature.

    Times are not those of one run: ``wall_seconds`` is that of the group of arms that trained side by side,
    ``cpu_seconds`` the arm's equal share of the group's CPU time, over all its seeds.
    """

    environment_steps: int
    updates: int
    trainable_parameters: int
    flops: float  # multiply-adds times two, forward and backward, counted from the network shapes
    backbone_clips: int  # clips that went through the video model during training
    wall_seconds: float
    cpu_seconds: float


class Run(Record):
    """One agent: (arm, seed). ``returns`` are undiscounted episode returns in the order they ended."""

    arm: str
    seed: int
    returns: tuple[float, ...]
    evaluations: tuple[
        tuple[int, tuple[float, ...]], ...
    ]  # (when, returns of greedy rollouts); when = updates offline, else environment steps
    final: float | None  # mean of the last 50 returns (or of all, if fewer); None when the run failed
    status: Literal["done", "failed"]
    reason: str = ""


class Arm(Record):
    """One representation with its head; its runs differ only by seed."""

    name: str
    kind: str
    layer: str
    store_id: str | None
    head: str
    score: float | None
    width: int
    budget: Budget


class RunRecord(Record, Shown):
    """One comparison: every arm and every run under one budget."""

    format: Literal["layerscout-runs/1"] = "layerscout-runs/1"
    environment: str
    mode: Literal["offline", "online", "in-loop"]
    selection: str | None
    random_policy_return: float | None
    best_possible: float | None = None  # return that no policy can beat on average, where it is known
    arms: tuple[Arm, ...]
    runs: tuple[Run, ...]

    def frame_rows(self) -> list[dict[str, Any]]:
        """Return one row a run: its arm and that arm's budget, its seed, how it ended, and its mean return at the last evaluation."""
        arms = {arm.name: flat_record(arm, leave_out=("name",)) for arm in self.arms}
        return [
            flat_record(run, leave_out=("returns", "evaluations"))
            | {"evaluation": mean(run.evaluations[-1][1]) if run.evaluations else None}
            | arms[run.arm]
            for run in self.runs
        ]

    def summary(self) -> tuple[str, Sequence[str], list[Sequence[object]]]:
        """Return the mean final return of every arm over its seeds; the report has the intervals and the tests."""
        rows: list[Sequence[object]] = []
        for arm in self.arms:
            runs = [run for run in self.runs if run.arm == arm.name]
            finals = [run.final for run in runs if run.final is not None]
            spread = stdev(finals) if len(finals) > 1 else None
            failed = sum(run.status == "failed" for run in runs)
            rows.append((arm.name, arm.kind, as_table_value(mean(finals)), as_table_value(spread), len(runs), failed, as_table_value(arm.score)))
        columns = ("arm", "kind", "mean return", "std across seeds", "seeds", "failed", "score")
        return f"agents of {self.environment}, {self.mode}", columns, rows


RecordType = TypeVar("RecordType", bound=Record)


def save(record: Record, path: Path) -> None:
    """Write a record, with the digest of its text as the last member, completely or not at all and forced to disk."""
    write_atomic(path, encode(record))


def encode(record: Record) -> bytes:
    """Return the text of a record's file; ``load`` compares its digest."""
    return seal(record.model_dump_json(indent=1).encode() + b"\n")


def load(model: type[RecordType], path: Path, *, warn: bool = True) -> RecordType:
    """Read a record.

    Parameters
    ----------
    warn
        Whether to warn of a file without a digest, as earlier versions wrote them.

    Raises
    ------
    DataError
        The file is missing, is not JSON, does not have this record's fields, or not the digest that it states.

    Warns
    -----
    UnsealedFile
        The file states no digest, so a change since it was written would not be noticed.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no file {path}", hint="give the path of the file that the earlier stage wrote") from None
    text, sealed = unseal(data, str(path), hint=f'{AGAIN}, or take out its last member, "digest", if the change is yours')
    record = validate(model, parse(text, path), path)
    if warn and not sealed:
        warnings.warn(f"{path} has no digest (an older version wrote it): a damaged figure would not be noticed", UnsealedFile, 2)
    return record


def save_settings(settings: BaseModel, path: Path) -> None:
    """Write the settings that a stage ran with beside its outputs, with a digest, as ``save`` writes records."""
    write_atomic(path, seal(settings.model_dump_json(indent=1).encode() + b"\n"))


def load_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of any keys, such as saved settings, without its digest.

    Raises
    ------
    DataError
        The file is not a JSON object, or does not have the digest that it states.
    """
    text, _ = unseal(path.read_bytes(), str(path), AGAIN)
    content = parse(text, path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__}, not an object of settings", hint=AGAIN)
    if "digest" in content:
        raise DataError(f"{path} is damaged: its digest is not the last member", hint=AGAIN)
    return content


def parse(data: bytes, path: Path | str) -> Any:
    """Return what JSON text says.

    Raises
    ------
    DataError
        It is not JSON, or nested deeper than a record ever is; ``path`` names it.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # ValueError: a wrong character, wrong UTF-8, a number of thousands of digits
        raise DataError(f"{path} is not valid JSON: {error}", hint=AGAIN) from None


def validate(model: type[RecordType], document: Any, path: Path | str) -> RecordType:
    """Return the record that plain data makes.

    Raises
    ------
    DataError
        It does not have this record's fields; ``path`` names it.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path} is not a {model.__name__}: {where}: {first['msg']}", hint=AGAIN) from None


def as_table_value(estimate: Estimate | float | None, digits: int = 3) -> str:
    """Format a figure for a table: "0.412 [0.380, 0.440]", "0.412", or "n/a"."""
    if estimate is None:
        return "n/a"
    if isinstance(estimate, float):
        return f"{estimate:z.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:z.{digits}f}"
    return f"{estimate.value:z.{digits}f} [{estimate.low:z.{digits}f}, {estimate.high:z.{digits}f}]"


def none_if_nan(value: float) -> float | None:
    """Turn NaN and infinities into None, so that no made-up number enters a record."""
    return float(value) if value == value and abs(value) != float("inf") else None
