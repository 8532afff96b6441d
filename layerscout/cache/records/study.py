"""The file study.json: score against return over several tasks. JSON in, frozen models out, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from layerscout.cache.records.base import Estimate, Record, as_table_value
from layerscout.cache.records.runs import ReferenceReturn
from layerscout.showing import Shown, flat_record

Finding = Literal["goes with return", "misleads", "undecided", "cannot be tested", "n/a"]
StudyVerdict = Literal["supported", "contradicted", "not supported", "cannot be tested", "not learned", "cannot be judged"]
HypothesisVerdict = Literal["supported", "partly supported", "not supported", "refuted", "cannot be tested"]


class StudyLayer(Record):
    """One cell of one task, a layer of a backbone with its weights and its pooling: what the probes said and what agents earned on it."""

    task: str
    layer: str
    depth: int
    kind: str  # of its arm
    backbone: str = ""
    weights: Literal["pretrained", "untrained"] | None = None  # None in records of before both were measured
    pooling: str = ""
    store_id: str | None = None
    measures: dict[str, float | None]
    returns: tuple[float | None, ...]  # by seed, in the order of the task's ``seeds``; None where a run failed or is missing
    evaluations: tuple[float | None, ...]  # mean return of the last greedy evaluation, in the same order
    budgets: dict[int, tuple[float | None, ...]] = Field(default_factory=dict)  # updates → the same, evaluated after so many
    untrained_returns: tuple[float | None, ...]  # of the same block of the untrained backbone; empty when it was not trained on
    environment_steps: int
    updates: int
    trainable_parameters: int
    flops: float
    wall_seconds: float
    cpu_seconds: float


class StudyTask(Record):
    """One task's own answer. Regrets and violations are in its units of return; seconds are CPU seconds over all seeds.

    Figures of score and return are None where the task was not learned, or where nobody can tell.
    """

    name: str
    folder: str
    environment: str
    backbone: str
    seeds: tuple[int, ...]
    layers: int  # cells
    ranked_layers: int  # how many the ranking has; more than ``layers`` when only some were trained
    trained_layers: int | None = None  # how many of those have agents; untrained twins are not among them
    failed: int
    learned: Literal["learned", "not learned", "cannot be judged"] | None = None  # None in records of before it was asked
    learned_why: str = ""
    advice: str = ""
    best: str | None = None
    best_return: float | None = None
    seeds_above_trivial: float | None = None  # share of the best cell's seeds that beat random and constant actions
    references: tuple[ReferenceReturn, ...] = ()
    episodes_apart: bool = False
    algorithm: str | None = None
    algorithm_reason: str = ""
    dataset_digest: str | None = None
    stores: tuple[str, ...] = ()
    rows: int | None = None
    settings: dict[str, str] = Field(default_factory=dict)  # file of saved settings → its digest
    spearman: Estimate | None
    p: float | None  # whole series change places; None where there are too few of them
    needed: float | None
    within_groups: float | None = None  # Spearman with ranks inside each backbone with its weights
    reliability: float | None
    regret_1: float | None
    regret_3: float | None
    random_regret_1: float | None
    random_regret_3: float | None
    middle_regret: float | None
    violation: float | None
    random_violation: float | None
    training_seconds: float
    probing_seconds: float | None
    saved_1: float | None  # by training only the best-scored layer instead of all, probing paid
    saved_3: float | None


class StudyMeasure(Record):
    """One score or component over all learned tasks that know it. Regrets and violations are shares of each task's spread of returns."""

    name: str
    tasks: int
    layers: int
    spearman: Estimate | None  # mean over tasks of the rank correlation within each
    kendall: Estimate | None
    p: float | None  # t test over tasks
    p_flip: float | None = None  # sign flips over tasks
    p_holm: float | None  # of the t test, over all measures but the primary one, whose p needs no correction
    needed: float | None  # smallest mean that the t test would have called significant, with the tasks' own spread
    within_groups: Estimate | None = None  # the same mean, with ranks inside each backbone with its weights
    p_within_groups: float | None = None
    beside_primary: Estimate | None  # this Spearman minus the primary's, task by task
    regret_1: Estimate | None
    regret_3: Estimate | None
    violation: Estimate | None
    finding: Finding


class StudyContrast(Record):
    """Two figures compared task by task: the mean difference over tasks, with the t test's p and that of all sign flips."""

    kind: Literal["correlation", "regret@1", "regret@3"]
    first: str
    second: str
    tasks: int
    difference: Estimate | None
    p: float | None
    p_flip: float | None


class StudyHypothesis(Record):
    """What became of a hypothesis, at one budget of updates."""

    name: str
    statement: str
    updates: int | None
    outcome: HypothesisVerdict
    plain: str = ""  # in plain words, without figures
    sentence: str


class StudyPair(Record):
    """A block against the same block without training, paired by seed; ``layer`` is None for the mean over the blocks of a task."""

    task: str
    layer: str | None
    seeds: int
    blocks: int | None = None  # how many the mean is over
    difference: Estimate | None
    p: float | None
    p_holm: float | None  # over tasks, for the means over blocks; None for single blocks, which are not tested one by one


class StudyAnalysis(Record):
    """All tasks with one mode, one post-adapter and one metric. ``updates``: returns were read after so many, not at the end."""

    mode: str
    head: str
    metric: Literal["final", "evaluation"]
    updates: int | None = None
    primary: str
    outcome: StudyVerdict
    sentence: str
    notes: tuple[str, ...]
    tasks: tuple[StudyTask, ...]
    measures: tuple[StudyMeasure, ...]
    contrasts: tuple[StudyContrast, ...] = ()
    hypotheses: tuple[StudyHypothesis, ...] = ()
    reliability: float | None
    random_regret_1: float | None
    random_regret_3: float | None
    middle_regret: float | None
    random_violation: float | None
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
    version: str | None = None  # of layerscout, that wrote it
    analyses: tuple[StudyAnalysis, ...]

    def frame_rows(self) -> list[dict[str, Any]]:
        """Return one row a layer of a task of the first analysis: its measures, and the return of every seed."""
        rows = []
        for layer in self.analyses[0].layers:
            row = flat_record(layer, leave_out=("returns", "evaluations", "untrained_returns", "measures", "budgets"))
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
