"""The file study.json: score against return over several tasks. JSON in, frozen models out, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from layerscout.cache.records.base import Estimate, Record, as_table_value
from layerscout.showing import Shown, flat_record

Finding = Literal["goes with return", "misleads", "undecided", "cannot be tested", "n/a"]


class StudyLayer(Record):
    """One layer in one task: what the probes said and what agents earned on it."""

    task: str
    layer: str
    depth: int
    kind: str  # of its arm
    measures: dict[str, float | None]
    returns: tuple[float | None, ...]  # by seed, in the order of the task's ``seeds``; None where a run failed or is missing
    evaluations: tuple[float | None, ...]  # mean return of the last greedy evaluation, in the same order
    untrained_returns: tuple[float | None, ...]  # of the same block of the untrained backbone; empty when it was not trained on
    environment_steps: int
    updates: int
    trainable_parameters: int
    flops: float
    wall_seconds: float
    cpu_seconds: float


class StudyTask(Record):
    """One task's own answer. Regrets and violations are in its units of return; seconds are CPU seconds over all seeds."""

    name: str
    folder: str
    environment: str
    backbone: str
    seeds: tuple[int, ...]
    layers: int
    ranked_layers: int  # how many the ranking has; more than ``layers`` when only some were trained
    failed: int
    spearman: Estimate | None
    p: float | None
    needed: float | None
    reliability: float | None
    regret_1: float | None
    regret_3: float | None
    random_regret_1: float
    random_regret_3: float
    middle_regret: float
    violation: float | None
    random_violation: float
    training_seconds: float
    probing_seconds: float | None
    saved_1: float | None  # by training only the best-scored layer instead of all, probing paid
    saved_3: float | None


class StudyMeasure(Record):
    """One score or component over all tasks that know it. Regrets and violations are shares of each task's spread of returns."""

    name: str
    tasks: int
    layers: int
    spearman: Estimate | None
    kendall: Estimate | None
    p: float | None
    p_holm: float | None  # over all measures but the primary one, whose p needs no correction
    needed: float | None
    beside_primary: Estimate | None  # this Spearman minus the primary's, on the same tasks and the same resamples
    regret_1: Estimate | None
    regret_3: Estimate | None
    violation: Estimate | None
    finding: Finding


class StudyPair(Record):
    """A block against the same block without training, paired by seed; ``layer`` is None for the mean over all layers of a task."""

    task: str
    layer: str | None
    seeds: int
    difference: Estimate | None
    p: float | None
    p_holm: float | None  # over tasks, for the means over layers; None for single layers, which are not tested one by one


class StudyAnalysis(Record):
    """All tasks with one mode, one post-adapter and one metric."""

    mode: str
    head: str
    metric: Literal["final", "evaluation"]
    primary: str
    outcome: Literal["supported", "contradicted", "not supported", "cannot be tested"]
    sentence: str
    notes: tuple[str, ...]
    tasks: tuple[StudyTask, ...]
    measures: tuple[StudyMeasure, ...]
    reliability: float | None
    random_regret_1: float
    random_regret_3: float
    middle_regret: float
    random_violation: float
    untrained: tuple[StudyPair, ...]
    layers: tuple[StudyLayer, ...]


class StudyRegistration(Record):
    """The file in which a study was fixed before it was run, and whether what was run is what it says.

    ``holds`` is whether the study may be called registered; ``reasons`` say why not.
    """

    path: str
    digest: str
    commit: str | None  # in which the file was first kept; None when it is in no repository
    committed: str | None = None  # when, ISO 8601
    title: str = ""
    holds: bool = False
    reasons: tuple[str, ...] = ()


class StudyRecord(Record, Shown):
    """Every analysis that the experiments allow; the first is the one to read."""

    format: Literal["layerscout-study/1"] = "layerscout-study/1"
    registration: StudyRegistration | None = None
    analyses: tuple[StudyAnalysis, ...]

    def frame_rows(self) -> list[dict[str, Any]]:
        """Return one row a layer of a task of the first analysis: its measures, and the return of every seed."""
        rows = []
        for layer in self.analyses[0].layers:
            row = flat_record(layer, leave_out=("returns", "evaluations", "untrained_returns", "measures"))
            rows.append(row | layer.measures | {f"return_{seed}": value for seed, value in enumerate(layer.returns)})
        return rows

    def summary(self) -> tuple[str, Sequence[str], list[Sequence[object]]]:
        """Return how far every score and component foretells the return, in the first analysis, and its verdict."""
        first = self.analyses[0]
        columns = ("measure", "tasks", "layers", "Spearman", "Kendall", "p", "regret", "finding")
        rows: list[Sequence[object]] = [
            (one.name, one.tasks, one.layers, *map(as_table_value, (one.spearman, one.kendall, one.p, one.regret_1)), one.finding)
            for one in first.measures
        ]
        return first.sentence, columns, rows
