"""A record of students with teachers in, its figures out: curves by iteration and by steps, greedy and sampled, kept shares, sweeps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float

from layerscout.cache.records.transfer import TransferArm, TransferRecord
from layerscout.pages.charts import Level, Plot, Point, Series, as_drawing, draw_plot
from layerscout.pages.drawing import Drawing
from layerscout.pages.page import Draw
from layerscout.pages.palette import Look
from layerscout.report.numbers.savings import last_score, targets_of
from layerscout.report.transfer.tables import swept_arms

LOOKS = {
    "baseline": Look("grey", "dashed", ""),
    "ks": Look("green", "dashdot", ""),
    "it": Look("orange", "dotted", ""),
    "repaint": Look("blue", "strong", ""),
}
TARGETS = (Look("ink", "dotted", ""), Look("purple", "dotted", ""), Look("red", "dotted", ""))
TEACHER = Look("sky", "dashed", "")
RESAMPLES, SEED = 500, 0

Across = Literal["iteration", "steps"]
Curve = Literal["scores", "sampled", "kept"]


def draw_curves(record: TransferRecord, teacher: str | None, curve: Curve, across: Across) -> Draw:
    """Draw one curve of the baseline and of the arms with a teacher: means over seeds with a bootstrap band over seeds."""
    arms = [arm for arm in record.arms if arm.swept is None and arm.teacher in (None, teacher)]
    shown = tuple(_series(arm, curve, across) for arm in arms if curve != "kept" or any(row is not None for row in arm.kept))
    titles = {"scores": "return, greedy", "sampled": "return, as played", "kept": "share of the teacher's steps"}
    levels = () if curve == "kept" else _levels(record, teacher)
    axis = "iteration" if across == "iteration" else "environment steps, the teacher's with them"
    plot = Plot(shown, levels, x_title=axis, y_title=titles[curve])
    ends = ", ".join(f"{arm.name} {last_score(arm):.2f}" for arm in arms)
    return _drawn(plot, f"{titles[curve]} by {across}: at the end {ends}")


def draw_sweep(record: TransferRecord, teacher: str, setting: str) -> Draw | None:
    """Draw the last score over the values of one setting; None where fewer than two are known."""
    arms = [(value, arm) for value, arm in swept_arms(record, teacher, setting) if value is not None]
    if len(arms) < 2:
        return None
    points = tuple(
        Point(value, *_ends(arm.matrix("scores")[-3:].mean(axis=0)), f"{arm.name}: {last_score(arm):.2f}") for value, arm in arms
    )
    plot = Plot((Series("last score", Look("blue"), points),), _levels(record, teacher), x_title=setting, y_title="return, greedy")
    return _drawn(plot, f"Last score by {setting}: " + ", ".join(f"{value:g} {last_score(arm):.2f}" for value, arm in arms))


def _series(arm: TransferArm, curve: Curve, across: Across) -> Series:
    values = arm.matrix(curve)
    places: Sequence[float] = range(1, len(values) + 1) if across == "iteration" else arm.steps
    points = []
    for at, row in zip(places, values, strict=True):
        known = row[np.isfinite(row)]
        if len(known):
            mean, low, high = _ends(known)
            points.append(Point(float(at), mean, low, high, f"{arm.name} at {at:,.0f}: {mean:.3f} [{low:.3f}, {high:.3f}]"))
    return Series(arm.name, LOOKS[arm.kind], tuple(points), band=True, hint=arm.name)


def _levels(record: TransferRecord, teacher: str | None) -> tuple[Level, ...]:
    found = [Level(f"target {value:.2f}", look, value) for value, look in zip(targets_of(record), TARGETS, strict=False)]
    one = record.teacher(teacher)
    return (*found, *([] if one is None else [Level(f"the teacher, {one.score:.2f}", TEACHER, one.score)]))


def _ends(values: Float[np.ndarray, " seed"]) -> tuple[float, float, float]:
    """Mean over seeds with its percentile bootstrap interval."""
    drawn = np.random.default_rng(SEED).choice(values, (RESAMPLES, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _drawn(plot: Plot, label: str) -> Draw:
    def draw(width: float) -> Drawing:
        return as_drawing(draw_plot(plot, min(width, 820.0), 260.0 if width > 500 else 200.0), label)

    return draw


def figures_of(record: TransferRecord) -> dict[str, Callable[[float], Drawing]]:
    """Return all figures by the names of their files, in the order of the page."""
    found: dict[str, Draw] = {}
    names: list[str | None] = [one.name for one in record.teachers]
    for teacher in names or [None]:
        suffix = file_suffix(record, teacher)
        found[f"scores{suffix}"] = draw_curves(record, teacher, "scores", "iteration")
        found[f"sampled{suffix}"] = draw_curves(record, teacher, "sampled", "iteration")
        found[f"steps{suffix}"] = draw_curves(record, teacher, "scores", "steps")
        if any(row is not None for arm in record.arms if arm.teacher == teacher for row in arm.kept):
            found[f"kept{suffix}"] = draw_curves(record, teacher, "kept", "iteration")
        for setting in dict.fromkeys(arm.swept for arm in record.arms if arm.swept and arm.teacher == teacher):
            if teacher is not None and setting is not None and (drawn := draw_sweep(record, teacher, setting)) is not None:
                found[sweep_name(record, teacher, setting)] = drawn
    return found


def file_suffix(record: TransferRecord, teacher: str | None) -> str:
    """Return what tells a teacher's figures from another's in the names of files: nothing where there is one teacher."""
    names = [one.name for one in record.teachers]
    return f"-{_harmless(names, teacher)}" if teacher is not None and len(names) > 1 else ""


def sweep_name(record: TransferRecord, teacher: str, setting: str) -> str:
    """Return the name of the file of a swept setting's figure."""
    settings = [arm.swept for arm in record.arms if arm.swept]
    return f"sweep-{_harmless(settings, setting)}{file_suffix(record, teacher)}"


def _harmless(names: Sequence[str], name: str) -> str:
    """Return a stranger's name as part of a file's: itself where it can be one, else what is left of it and its place."""
    plain = re.sub(r"[^\w.-]+", "-", name)[:60]
    return plain if plain == name else f"{plain}-{names.index(name) + 1}"
