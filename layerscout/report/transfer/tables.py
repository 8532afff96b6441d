"""A record of students with teachers in, its tables out: iterations and steps to the targets, the paper's beside ours, the teachers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from layerscout.cache.records import as_table_value
from layerscout.cache.records.transfer import TransferArm, TransferRecord
from layerscout.pages.tables import UNDEFINED, Column, Table
from layerscout.report.captions import percent
from layerscout.report.numbers.savings import (
    Saving,
    kinds_of_teachers,
    savings_at,
    share_range,
    standing_score,
    targets_of,
)
from layerscout.report.transfer.published import TABLE, published_for

SUMMARY = ("arm", "teacher", "K", "reduced", "95 %", "steps", "reduced in steps", "best", "last", "kept", "ESS share")
HINTS = {
    "K": "iterations until the mean over seeds, over three evaluations, reaches the target; n/a: never",
    "reduced": "1 − K / K of the baseline",
    "95 %": "interval of it over the seeds of both arms, percentile bootstrap; the baseline's best is found anew in every resample",
    "steps": "environment steps of a student and of its teacher's play until then",
    "reduced in steps": "1 − steps / steps of the baseline",
    "best": "best mean score over seeds and three evaluations",
    "last": "the last one: the asymptote of this budget",
    "kept": "smallest and largest share of the teacher's steps that were kept in an iteration",
    "ESS share": "mean effective share of the kept steps if they were weighted by π / π_T",
}


def summary_rows(record: TransferRecord, place: int = 0) -> list[tuple[str, ...]]:
    """Return every arm's cells at one of the targets."""
    savings, kinds = savings_at(record, place), kinds_of_teachers(record)
    return [_row(arm, savings.get(arm.name), kinds) for arm in record.arms]


def _row(arm: TransferArm, found: Saving | None, kinds: dict[str, str]) -> tuple[str, ...]:
    teacher = "" if arm.teacher is None else f"{arm.teacher} ({kinds[arm.teacher]})"
    kept, effective = share_range(arm, "kept"), [float(np.mean(row)) for row in arm.effective if row is not None]
    last = (f"{percent(kept[0])} to {percent(kept[1])}" if kept else "", f"{np.mean(effective):.2f}" if effective else "")
    if found is None:
        return (arm.name, teacher, *[UNDEFINED] * 7, *last)
    between = UNDEFINED if found.low is None and found.high is None else f"{percent(found.low)} to {percent(found.high)}"
    steps = count(found.steps)
    scores = (f"{found.best:.2f}", f"{found.last:.2f}")
    return (
        arm.name,
        teacher,
        count(found.iterations),
        percent(found.reduced),
        between,
        steps,
        percent(found.reduced_steps),
        *scores,
        *last,
    )


def savings_table(record: TransferRecord, place: int = 0) -> Table:
    """Return the table of all arms at one of the targets; swept ones stand back."""
    quiet = frozenset(at for at, arm in enumerate(record.arms) if arm.swept)
    return Table(tuple(Column(name, HINTS.get(name, "")) for name in SUMMARY), tuple(summary_rows(record, place)), quiet=quiet)


def teachers_table(record: TransferRecord) -> Table:
    """Return every teacher with what it earns in the students' task, which says what kind it is."""
    kinds = kinds_of_teachers(record)
    columns = (
        "Teacher",
        Column(
            "Kind", "similar: earns the target; different: between untrained students and the target; harmful: less than untrained students"
        ),
        Column("Score", "mean return of its likeliest actions in the students' task"),
        Column("Sampled", "mean return of actions as it draws them"),
        Column("Steps that made it", "environment steps of its own training; shared by all students, and in no K"),
        "Where it is from",
    )
    rows = tuple(
        (one.name, kinds[one.name], as_table_value(one.score, 2), as_table_value(one.sampled, 2), count(one.training_steps), one.source)
        for one in record.teachers
    )
    return Table(columns, rows, words=True)


def published_table(record: TransferRecord) -> Table:
    """Return the paper's figures beside ours where there is a row for this environment, then its other rows."""
    savings, kinds = savings_at(record), kinds_of_teachers(record)
    rows: list[tuple[str, ...]] = []
    for teacher, kind in kinds.items():
        if (paper := published_for(record.environment, kind)) is None:
            continue
        for place, arm in enumerate(("ks", "it", "repaint")):
            ours = record.arm(arm, teacher)  # type: ignore[arg-type]
            found = None if ours is None else savings.get(ours.name)
            mine = (
                (UNDEFINED,) * 4
                if found is None
                else (count(found.iterations), percent(found.reduced), percent(found.reduced_steps), f"{found.best:.2f}")
            )
            theirs = (count(getattr(paper, arm)), percent(paper.reduced(arm)), f"{paper.best[place]:g}")
            rows.append((f"{paper.environment}, {kind}, {arm}", *theirs, *mine))
    heads = (
        "Experiment",
        Column("K", group="The paper"),
        Column("reduced"),
        Column("best"),
        Column("K", group="Here"),
        Column("reduced"),
        Column("reduced in steps"),
        Column("best"),
    )
    return Table(heads, tuple(rows))


def other_rows() -> Table:
    """Return the paper's whole table."""
    columns = ("Experiment", "Target", "K baseline", "K KS", "K IT", "K REPAINT", "best KS", "best IT", "best REPAINT")
    rows = tuple(
        (
            f"{one.environment}, {one.teacher}",
            f"{one.target:g}",
            str(one.baseline),
            *(
                f"{count(getattr(one, arm))} ({percent(one.reduced(arm))})" if getattr(one, arm) else UNDEFINED
                for arm in ("ks", "it", "repaint")
            ),
            *(f"{value:g}" for value in one.best),
        )
        for one in TABLE
    )
    return Table(columns, rows)


def sweep_table(record: TransferRecord, teacher: str, setting: str) -> Table | None:
    """Return the arms that differ in one setting, that of all included; None where there are none."""
    arms = swept_arms(record, teacher, setting)
    if not arms:
        return None
    savings = savings_at(record)
    rows = []
    for value, arm in arms:
        found = savings.get(arm.name)
        figures = (
            (UNDEFINED,) * 4
            if found is None
            else (count(found.iterations), percent(found.reduced), f"{found.best:.2f}", f"{found.last:.2f}")
        )
        rows.append(("the arm's own" if value is None else f"{value:g}", *figures))
    return Table((setting, "K", "reduced", "best", "last"), tuple(rows))


def swept_arms(record: TransferRecord, teacher: str, setting: str) -> list[tuple[float | None, TransferArm]]:
    """Return arms with their values of a setting, by value; a value that is left to the kind of arm is None and comes first."""
    swept = [arm for arm in record.arms if (arm.teacher, arm.swept) == (teacher, setting)]
    if not swept:
        return []
    plain = record.arm(swept[0].kind, teacher)
    found = [(arm.settings.get(setting), arm) for arm in (*([plain] if plain else []), *swept)]
    return sorted(found, key=lambda one: (one[0] is not None, one[0] or 0.0))


def facts_of(record: TransferRecord) -> dict[str, str]:
    """Heading → words: environment, what students see, seeds, iterations, targets, and what untrained students earn."""
    targets = targets_of(record)
    of = "fixed" if record.target is not None else "the baseline's best"
    return {
        "environment": record.environment,
        "options": ", ".join(f"{name} {value}" for name, value in record.options.items()) or "none",
        "students see": f"{record.eyes} ({record.width:,} numbers)",
        "seeds an arm": str(record.seeds),
        "iterations": str(record.iterations),
        "target": f"{targets[0]:.2f} ({of})" if targets else UNDEFINED,
        "stricter targets": ", ".join(f"{target:g}" for target in record.stricter) or "none",
        "untrained students earn": f"{standing_score(record):.2f}",
    }


def count(value: int | None) -> str:
    """A whole number with commas between thousands; undefined for None."""
    return UNDEFINED if value is None else f"{value:,}"


def curves_rows(record: TransferRecord) -> tuple[Sequence[str], list[Sequence[object]]]:
    """Return every seed's curves as columns and rows of plain values."""
    rows = record.frame_rows()
    return tuple(rows[0]), [tuple(row.values()) for row in rows]
