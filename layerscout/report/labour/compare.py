"""Arms that worked for a wage in, what each earned with its interval and how it stands beside the first, paired by seed, out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from layerscout.cache.records import Estimate
from layerscout.cache.records.work import WorkArm, WorkRecord
from layerscout.report.numbers.statistics import holm, mean_interval, sign_flip_p


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


def mean_of_known(values: tuple[float | None, ...]) -> Estimate | None:
    """Return the mean over the seeds that have a figure, with Student's interval; None where none has."""
    return mean_interval(np.array([value for value in values if value is not None]))


def answers(record: WorkRecord) -> tuple[str, ...]:
    """Say in sentences which seeds failed, whether drawing by novelty earned its keep, and whether novelty foretold the gain in marginal product."""
    found = [f"{arm.name}: seed {seed} stopped learning: {reason}." for arm in record.arms for seed, reason in sorted(arm.reasons.items())]
    rows = standings(record)
    for row in rows:
        if row.arm.settings.get("replay") == "novelty" and row.difference is not None:
            novelty = row.arm.settings.get("novelty", "none")
            found.append(_earned_its_keep(row, str(novelty), rows[0].arm.name, len(record.seeds)))
    with_novelty = [row for row in rows if row.novel is not None]
    for row in with_novelty:
        assert row.novel is not None, "chosen by that"
        clear = row.novel.low is not None and row.novel.high is not None and not row.novel.low <= 0.0 <= row.novel.high
        verb = "goes with" if clear else "does not tell"
        found.append(f"{row.arm.name}: an hour's novelty {verb} its gain in marginal product (correlation {words(row.novel, 2)}).")
    return tuple(found)


def _earned_its_keep(row: EarnedArm, novelty: str, other: str, seeds: int) -> str:
    assert row.difference is not None, "chosen by that"
    sure = row.p is not None and row.p < 0.05
    said = "earns more" if row.difference.value > 0 else "earns less"
    verdict = f"{said} than {other}" if sure else f"is not told apart from {other}"
    p = "n/a" if row.p is None else f"{row.p:.3f}"
    return f"{row.arm.name} (drawing by |error| · novelty, {novelty}) {verdict}: {words(row.difference, 2)} $/h, p = {p}, {seeds} seeds."


def words(estimate: Estimate | None, digits: int, factor: float = 1.0) -> str:
    """Write a figure with its interval as tables and sentences do; n/a where there is none."""
    if estimate is None:
        return "n/a"
    value = f"{factor * estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{factor * estimate.low:.{digits}f}, {factor * estimate.high:.{digits}f}]"
