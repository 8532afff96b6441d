"""Arms that worked for a wage in, what each earned with its interval and how it stands beside the first, paired by seed, out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from layerscout.cache.records import Estimate
from layerscout.cache.records.work import WorkArm, WorkRecord
from layerscout.report.numbers.statistics import holm, mean_interval, sign_flip_p

HOW_DRAWN = ("replay", "weighting", "novelty", "denoiser")  # settings that say which stored steps are learned from


@dataclass(frozen=True)
class EarnedArm:
    """An arm beside the first one. ``p`` is of a two-sided sign-flip test on paired seeds, ``adjusted`` after Holm over all arms."""

    arm: WorkArm
    profit: Estimate | None
    error: Estimate | None
    difference: Estimate | None
    p: float | None
    adjusted: float | None
    foretold: Estimate | None
    novel: Estimate | None


def ablated(record: WorkRecord) -> tuple[WorkArm, ...]:
    """Return the arms that are compared with the first: those at the same prices and under the same limit."""
    first = record.arms[0]
    return tuple(arm for arm in record.arms if arm.swept is None and (arm.prices, arm.limit) == (first.prices, first.limit))


def standings(record: WorkRecord) -> tuple[EarnedArm, ...]:
    """Compare every arm with the first by the expected profit of its policy in the end."""
    arms = ablated(record)
    ours = np.array(arms[0].last.profit)
    apart = [np.array(arm.last.profit) - ours for arm in arms]
    p_values = [None if place == 0 else sign_flip_p(difference) for place, difference in enumerate(apart)]
    known = [p for p in p_values if p is not None]
    adjusted = iter(holm(known)) if known else iter(())
    return tuple(
        EarnedArm(
            arm,
            mean_interval(np.array(arm.last.profit)),
            mean_interval(np.array(arm.last.error)),
            mean_interval(difference) if place else None,
            p,
            None if p is None else next(adjusted),
            mean_of_known(arm.foretold),
            mean_of_known(arm.novel),
        )
        for place, (arm, difference, p) in enumerate(zip(arms, apart, p_values, strict=True))
    )


def drawn_evenly(record: WorkRecord, arm: WorkArm) -> WorkArm | None:
    """Return the arm that differs from another in nothing but that its replay draws evenly; None where there is none."""
    alike = [one for one in ablated(record) if one.settings.get("replay") != "novelty" and _but_for_drawing(one) == _but_for_drawing(arm)]
    return next(iter(alike), None)


def _but_for_drawing(arm: WorkArm) -> dict[str, Any]:
    return {name: value for name, value in arm.settings.items() if name not in HOW_DRAWN}


def mean_of_known(values: tuple[float | None, ...]) -> Estimate | None:
    """Return the mean over the seeds that have a figure, with Student's interval; None where none has."""
    return mean_interval(np.array([value for value in values if value is not None]))


def answers(record: WorkRecord) -> tuple[str, ...]:
    """Say in sentences which seeds failed, whether drawing by novelty earned its keep, and whether novelty foretold the gain in marginal product."""
    found = [f"{arm.name}: seed {seed} stopped learning: {reason}." for arm in record.arms for seed, reason in sorted(arm.reasons.items())]
    novel = [arm for arm in ablated(record) if arm.settings.get("replay") == "novelty"]
    found += [_earned_its_keep(arm, other, len(record.seeds)) for arm in novel if (other := drawn_evenly(record, arm)) is not None]
    with_novelty = [row for row in standings(record) if row.novel is not None]
    for row in with_novelty:
        assert row.novel is not None, "chosen by that"
        clear = row.novel.low is not None and row.novel.high is not None and not row.novel.low <= 0.0 <= row.novel.high
        verb = "goes with" if clear else "does not tell"
        found.append(f"{row.arm.name}: an hour's novelty {verb} its gain in marginal product (correlation {words(row.novel, 2)}).")
    return tuple(found)


def _earned_its_keep(arm: WorkArm, other: WorkArm, seeds: int) -> str:
    apart = np.array(arm.last.profit) - np.array(other.last.profit)
    difference, p = mean_interval(apart), sign_flip_p(apart)
    sure = p is not None and p < 0.05
    said = "earns more" if apart.mean() > 0 else "earns less"
    verdict = f"{said} than {other.name}" if sure else f"is not told apart from {other.name}"
    novelty, told = arm.settings.get("novelty", "none"), "n/a" if p is None else f"{p:.3f}"
    return f"{arm.name} (drawing by |error| · novelty, {novelty}) {verdict}: {words(difference, 2)} $/h, p = {told}, {seeds} seeds."


def words(estimate: Estimate | None, digits: int, factor: float = 1.0) -> str:
    """Write a figure with its interval as tables and sentences do; n/a where there is none."""
    if estimate is None:
        return "n/a"
    value = f"{factor * estimate.value:z.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{factor * estimate.low:z.{digits}f}, {factor * estimate.high:z.{digits}f}]"
