"""What agents earned: every arm with its budget, and every run with its returns."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import stdev
from typing import Any, Literal

from layerscout.cache.records.base import Record, as_table_value
from layerscout.showing import Shown, flat_record, mean


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


class ReferenceReturn(Record):
    """What a policy that learns nothing here earns in the same environment: the line that an agent's return is read against.

    ``random`` acts uniformly at random, ``constant`` always takes the best single action, ``data`` is the policy that the dataset was
    collected with (its own episodes), ``optimal`` is a policy that none can beat. ``low`` and ``high`` bound the mean over episodes at 95 %;
    they are None where the figure is exact or has fewer than two episodes.
    """

    name: Literal["random", "constant", "data", "optimal"]
    mean: float
    low: float | None = None
    high: float | None = None
    episodes: int = 0
    note: str = ""  # which action, which dataset


class Run(Record):
    """What one agent, that is one arm with one seed, earned. ``returns`` are undiscounted episode returns in the order they ended."""

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
    """A representation with a head, as agents were trained on it; its runs differ only by seed."""

    name: str
    kind: str
    layer: str
    store_id: str | None
    head: str
    score: float | None
    width: int
    budget: Budget


class RunRecord(Record, Shown):
    """A comparison of arms under one budget: every arm, and every run of it."""

    format: Literal["layerscout-runs/1"] = "layerscout-runs/1"
    environment: str
    mode: Literal["offline", "online", "in-loop"]
    selection: str | None
    random_policy_return: float | None
    best_possible: float | None = None  # return that no policy can beat on average, where it is known
    references: tuple[ReferenceReturn, ...] = ()
    episodes_apart: bool = False  # whether each seed was evaluated on episodes of its own; in older records all seeds played the same
    dataset_digest: str | None = None  # of the dataset that the stores were made from; None in older records
    algorithm: str | None = None
    algorithm_reason: str = ""  # why this learner: what the settings say, or what the data's coverage suggests
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
            rows.append(
                (arm.name, arm.kind, as_table_value(mean(finals)), as_table_value(spread), len(runs), failed, as_table_value(arm.score))
            )
        columns = ("arm", "kind", "mean return", "std across seeds", "seeds", "failed", "score")
        return f"agents of {self.environment}, {self.mode}", columns, rows
