"""What students earned with and without a teacher: every arm with its curves, its settings and its steps, iteration by iteration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import Field

from layerscout.cache.records.base import Record, as_table_value
from layerscout.showing import Shown

TRANSFER_NAME = "transfer.json"

ArmKind = Literal["baseline", "ks", "it", "repaint"]
SeedValues = tuple[float | None, ...]  # one a seed


class TransferTeacher(Record):
    """A teacher, and what it earns in the students' task before anybody learns from it.

    ``score`` is the mean return of its likeliest actions, ``sampled`` that of actions drawn as it draws them; ``training_steps`` are the
    environment steps that made it, None where nobody knows. ``source`` is its file, or the task in which it was trained.
    """

    name: str
    source: str
    score: float
    sampled: float | None
    training_steps: int | None


class TransferArm(Record):
    """Students of one arm; curves are iterations × seeds.

    ``scores`` are mean returns of greedy evaluation episodes after an iteration, ``untrained`` those before the first; ``sampled`` those of
    the training episodes that ended in it. ``kept`` is the share of the teacher's steps that were kept, ``effective`` the effective share of
    their ratios: both None where the teacher did not play. Steps are environment steps of one student in an iteration.
    """

    name: str
    kind: ArmKind
    teacher: str | None = None
    swept: str | None = None  # the setting that differs from the arm of the same kind, where one does
    settings: dict[str, Any]
    untrained: tuple[float, ...]
    scores: tuple[tuple[float, ...], ...]
    sampled: tuple[SeedValues, ...]
    kept: tuple[tuple[float, ...] | None, ...]
    effective: tuple[tuple[float, ...] | None, ...]
    student_steps: tuple[int, ...]
    teacher_steps: tuple[int, ...]
    reasons: dict[int, str] = Field(default_factory=dict)  # why seeds stopped learning
    cpu_seconds: float | None = None

    def matrix(self, name: Literal["scores", "sampled", "kept", "effective"]) -> Float[np.ndarray, "iteration seed"]:
        """Return a curve as an array; what is not there is NaN."""
        rows = [[None] * len(self.untrained) if row is None else row for row in getattr(self, name)]
        return np.array(rows, np.float64).reshape(len(rows), len(self.untrained))

    @property
    def steps(self) -> tuple[int, ...]:
        """Environment steps of student and teacher's play together, summed up to each iteration."""
        return tuple(np.cumsum(np.add(self.student_steps, self.teacher_steps)).tolist())


class TransferRecord(Record, Shown):
    """A comparison of ways to learn from teachers, under one budget of iterations.

    ``target`` is a fixed score; None: the baseline's own best. ``stricter`` are further ones. ``unverified`` says what the sources of the
    method leave open and how it was chosen here: a figure of this record is not the paper's method where they differ.
    """

    format: Literal["layerscout-transfer/1"] = "layerscout-transfer/1"
    method: Literal["repaint"] = "repaint"
    environment: str
    options: dict[str, Any] = Field(default_factory=dict)
    eyes: str  # what students see: the state, or a layer of a store
    width: int
    seeds: int
    iterations: int
    target: float | None = None
    stricter: tuple[float, ...] = ()
    unverified: tuple[str, ...]
    notes: tuple[str, ...] = ()
    teachers: tuple[TransferTeacher, ...]
    arms: tuple[TransferArm, ...]

    def arm(self, kind: ArmKind, teacher: str | None) -> TransferArm | None:
        """The arm of this kind that learned from this teacher at the settings of all; None where only swept ones are there, or none."""
        return next((arm for arm in self.arms if (arm.kind, arm.teacher, arm.swept) == (kind, teacher, None)), None)

    def teacher(self, name: str | None) -> TransferTeacher | None:
        """The teacher that arms name; None for a name that no teacher has."""
        return next((one for one in self.teachers if one.name == name), None)

    def frame_rows(self) -> list[dict[str, Any]]:
        """Return one row a seed of an arm and iteration: score, sampled return, kept share and steps until then."""
        rows = []
        for arm in self.arms:
            curves = {name: arm.matrix(name) for name in ("scores", "sampled", "kept", "effective")}
            for iteration, steps in enumerate(arm.steps):
                for seed in range(len(arm.untrained)):
                    values = {name: None if np.isnan(value := curve[iteration, seed]) else float(value) for name, curve in curves.items()}
                    who = {"arm": arm.name, "kind": arm.kind, "teacher": arm.teacher, "seed": seed, "iteration": iteration + 1}
                    rows.append(who | values | {"steps": steps})
        return rows

    def summary(self) -> tuple[str, Sequence[str], list[Sequence[object]]]:
        """Return every arm's last mean score; the report has the iterations to the target and the intervals."""
        rows: list[Sequence[object]] = [
            (arm.name, arm.teacher or "", as_table_value(float(np.mean(arm.scores[-1]))), len(arm.untrained), arm.steps[-1])
            for arm in self.arms
        ]
        return f"{self.method} in {self.environment}", ("arm", "teacher", "last score", "seeds", "steps"), rows
