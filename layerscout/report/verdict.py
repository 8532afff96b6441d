"""Runs and a ranking in, one honest sentence out: did the ranked-best layer beat the controls?

The claim, fixed before anybody looks at the numbers, is "the ranked-best layer beat *every* control". It needs all
comparisons at once, so it is tested by the largest of their p values, and when it holds each of its parts holds
(Hochberg 1988, first step). Otherwise each control is a claim of its own, and those p values are corrected after Holm.

References
----------
Hochberg 1988, "A sharper Bonferroni procedure for multiple tests of significance", Biometrika 75.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Arm, Estimate, Ranking, RunRecord
from layerscout.report.numbers.comparing import improvement, welch
from layerscout.report.numbers.statistics import bootstrap, holm, mean_interval, p_of_all, seeds_needed, sign_flip_p, smallest_p
from layerscout.report.tables import format_estimate
from layerscout.showing import counted

SIGNIFICANCE = 0.05  # of every claim
ROUNDING = 1e-12  # share of the largest return below which a mean difference is the last bits of adding up
OWN_NETWORK = ("scratch", "cnn")  # kinds of arms that are a whole network: the head is not a factor there
CHOICES = ("ranked", "layer")  # kinds of arms that are layers to choose from, not controls to beat
VerdictOutcome = Literal["supported", "partly supported", "not supported", "too few seeds", "not run"]


@dataclass(frozen=True)
class ControlComparison:
    """The ranked-best layer against one control: positive differences favour the layer.

    Paired by seed and tested by sign flips; by Welch's test where the two share no seed, and then ``seeds`` is the smaller side's.
    """

    control: str
    kind: str
    seeds: int  # pairs in which both runs finished
    paired: bool
    difference: Estimate | None
    p: float | None
    p_holm: float | None
    improvement: Estimate | None  # chance that a random run of the layer beats a random run of the control

    @property
    def difference_name(self) -> str:
        """ "paired difference" where both arms share seeds, else "difference of means (no seed is shared)"."""
        return "paired difference" if self.paired else "difference of means (no seed is shared)"

    @property
    def mean_difference(self) -> float:
        """The mean difference; 0 when no pair finished."""
        return self.difference.value if self.difference else 0.0

    @property
    def significant(self) -> bool:
        """Whether the difference, whichever way it points, is significant at 5 % as a claim of its own."""
        return self.p_holm is not None and self.p_holm <= SIGNIFICANCE


@dataclass(frozen=True)
class Verdict:
    """The answer to the experiment's main question and the figures behind it."""

    outcome: VerdictOutcome
    sentence: str
    best: str | None
    returned: Estimate | None  # interquartile mean over seeds
    comparisons: tuple[ControlComparison, ...]
    p: float | None  # of "beat every control"
    smallest_p: float | None  # what this number of seeds could reach at best


def final_by_seed(record: RunRecord, arm: str) -> dict[int, float]:
    """Seed → final return of the arm's runs that finished; runs that failed are left out."""
    return {run.seed: run.final for run in record.runs if run.arm == arm and run.final is not None}


def final_returns(record: RunRecord, arm: str) -> Float[np.ndarray, " seed"]:
    """Return the final returns of an arm's finished runs in the order of their seeds."""
    return np.array([value for _, value in sorted(final_by_seed(record, arm).items())], dtype=np.float64)


def post_adapters(record: RunRecord) -> tuple[str, ...]:
    """Return the post-adapters that were tried; they are compared within, never across."""
    return tuple(dict.fromkeys(arm.head for arm in record.arms if arm.kind not in OWN_NETWORK)) or tuple(
        arm.head for arm in record.arms[:1]
    )


def best_arm(record: RunRecord, ranking: Ranking | None = None, head: str | None = None) -> Arm | None:
    """Return the arm of the best-scored ranked layer, or None when no ranked layer ran.

    Without scores (an undefined reward R² leaves none) the ranking's own order decides, then the record's.
    """
    ranked = [arm for arm in record.arms if arm.kind == "ranked" and head in (None, arm.head)]
    place = {layer.name: position for position, layer in enumerate(ranking.candidates)} if ranking else {}
    # min keeps the first of equals, so the record's order breaks ties
    return min(ranked, key=lambda arm: (-arm.score if arm.score is not None else np.inf, place.get(arm.layer, len(place))), default=None)


def controls_of(record: RunRecord, best: Arm) -> tuple[Arm, ...]:
    """Return what the best layer must beat: every arm with its head, or with a network of its own, that is not itself a layer to choose."""
    rivals = [arm for arm in record.arms if arm.kind in OWN_NETWORK or (arm.kind not in CHOICES and arm.head == best.head)]
    same = [arm for arm in rivals if arm.kind in ("middle", "worst") and (arm.store_id, arm.layer) == (best.store_id, best.layer)]
    twins = [arm for arm in rivals if arm.kind == "twin" and arm.layer == best.layer]
    # where every layer's untrained twin was trained, only the best layer's own is a control; the others answer another question
    return tuple(arm for arm in rivals if arm not in same and (arm.kind != "twin" or not twins or arm in twins))


def compare_with_controls(record: RunRecord, best: Arm, others: Sequence[Arm]) -> tuple[ControlComparison, ...]:
    """Compare ``best`` with each control on the seeds that both finished, and correct the p values after Holm."""
    rows = [compare_arms(record, best, arm) for arm in others]
    adjusted = iter(holm([row.p for row in rows if row.p is not None]))
    return tuple(replace(row, p_holm=next(adjusted)) if row.p is not None else row for row in rows)


def compare_arms(record: RunRecord, best: Arm, control: Arm) -> ControlComparison:
    """Compare two arms; ``p_holm`` is left open, because it depends on the other comparisons."""
    ours, theirs = final_by_seed(record, best.name), final_by_seed(record, control.name)
    first, second = final_returns(record, best.name), final_returns(record, control.name)
    seeds = sorted(ours.keys() & theirs.keys())
    chance = improvement([first], [second])
    if not seeds and min(len(first), len(second)) > 1:
        difference, p = welch(first, second)
        return ControlComparison(control.name, control.kind, min(len(first), len(second)), False, difference, p, None, chance)
    differences = np.array([ours[seed] - theirs[seed] for seed in seeds], dtype=np.float64)
    difference = _without_rounding(mean_interval(differences), max(map(abs, (*ours.values(), *theirs.values())), default=0.0))
    return ControlComparison(control.name, control.kind, len(seeds), True, difference, sign_flip_p(differences), None, chance)


def _without_rounding(difference: Estimate | None, largest: float) -> Estimate | None:
    """Return a mean difference of exactly 0 where only the last bits of the returns differ: it is a tie, and nobody is ahead."""
    if difference is None or abs(difference.value) > ROUNDING * largest:
        return difference
    return difference.model_copy(update={"value": 0.0})


def judge_record(record: RunRecord | None, ranking: Ranking | None = None, head: str | None = None) -> Verdict:
    """Judge whether the ranked-best layer returned more than every control.

    Parameters
    ----------
    record
        The finished comparison; None when training has not run.
    ranking
        Where the layers stand, for arms that carry no score.
    head
        The post-adapter to judge; by default the best-ranked arm's own.
    """
    if record is None:
        return no_verdict("Not run yet: there is a ranking, but no agent has been trained on it.")
    best = best_arm(record, ranking, head)
    if best is None:
        return no_verdict("Nothing to judge: no ranked layer was among the trained arms.")
    others = controls_of(record, best)
    returned = bootstrap([final_returns(record, best.name)])
    if returned is None:
        return no_verdict(f"Nothing to judge: every run on the ranked-best layer {best.name} failed.", best.name)
    if not others:
        return no_verdict(
            f"Nothing to judge: layer {best.name} returned {format_estimate(returned)}, but no control ran beside it.", best.name
        )
    comparisons = compare_with_controls(record, best, others)
    return judge_comparisons(best, returned, comparisons)


def no_verdict(sentence: str, best: str | None = None) -> Verdict:
    """Return the verdict for an experiment that cannot answer."""
    return Verdict("not run", sentence, best, None, (), None, None)


def judge_comparisons(best: Arm, returned: Estimate, comparisons: tuple[ControlComparison, ...]) -> Verdict:
    """Weigh the ranked-best layer against every control: outcome, one p for all (None if any is missing), and the sentence."""
    known = [one.p for one in comparisons if one.p is not None]
    p = p_of_all(known) if len(known) == len(comparisons) else None
    fewest = min((one.seeds for one in comparisons if one.paired), default=0)
    outcome, claim = outcome_of(comparisons, p)
    sentence = f"The ranked-best layer {best.name} returned {format_estimate(returned)} {claim}"
    return Verdict(outcome, sentence, best.name, returned, comparisons, p, smallest_p(fewest) if fewest else None)


def outcome_of(comparisons: Sequence[ControlComparison], p: float | None) -> tuple[VerdictOutcome, str]:
    """Return the outcome with the sentence's second half; ``p`` is that of the whole claim."""
    short = [one for one in comparisons if one.paired and (not one.seeds or smallest_p(one.seeds) > SIGNIFICANCE)]
    open_ends = [
        one for one in comparisons if one not in short and not (one.p is not None and one.p <= SIGNIFICANCE and one.mean_difference > 0)
    ]
    if short and not open_ends:  # an enough-seeded control that was not beaten settles the claim, whatever the others could show
        return "too few seeds", describe_shortage(comparisons, min(short, key=lambda one: one.seeds))
    if not open_ends and p is not None:
        return (
            "supported",
            f"and beat {name_controls(comparisons)} (nearest: {describe_closest(comparisons)}): supported at 5 %, p = {p:.3f}.",
        )
    beaten = [one.control for one in comparisons if one.significant and one.mean_difference > 0]
    rest = ", ".join(one.control for one in comparisons if one.control not in beaten)
    if beaten:
        names = f"and beat {', '.join(beaten)} (at 5 % after Holm)"
        return "partly supported", f"{names}, but not {rest} (nearest: {describe_closest(comparisons)}): only partly supported."
    better = [one.control for one in comparisons if one.significant and one.mean_difference < 0]
    tail = f"{', '.join(better)} did better at 5 % after Holm; " if better else ""
    end = "not supported at 5 %" + (f", p = {p:.3f}" if p is not None else "")
    ahead = [one.control for one in comparisons if one.difference and one.difference.low is not None and one.difference.low > 0]
    aside = f"; single intervals, not corrected for their number, put it above {', '.join(ahead)}" if ahead else ""
    return "not supported", f"and did not beat {name_controls(comparisons)} ({tail}nearest: {describe_closest(comparisons)}): {end}{aside}."


def describe_shortage(comparisons: Sequence[ControlComparison], shortest: ControlComparison) -> str:
    """Return what the few seeds show and how many the claim needs, in words."""
    ahead = sum(one.mean_difference > 0 for one in comparisons)
    best_p = f" (p = {smallest_p(shortest.seeds):.3f} at the very best)" if shortest.seeds else ""
    pairs = f"{counted(shortest.seeds, 'finished pair')} with {shortest.control}{best_p}"
    return (
        f"and was ahead of {ahead} of {len(comparisons)} controls on average, but there are too few seeds to say whether "
        f"that is luck: {pairs}; the claim needs at least {seeds_needed()} pairs with every control."
    )


def name_controls(comparisons: Sequence[ControlComparison]) -> str:
    """ "its control NAME" for one, "every one of its N controls" for more."""
    return f"its control {comparisons[0].control}" if len(comparisons) == 1 else f"every one of its {len(comparisons)} controls"


def describe_closest(comparisons: Sequence[ControlComparison]) -> str:
    """Return the control that came closest or was ahead, and by how much the layer differs from it."""
    closest = min((one for one in comparisons if one.seeds), key=lambda one: one.mean_difference)
    return f"{closest.control}, {closest.difference_name} {format_estimate(closest.difference, sign='+')} over {closest.seeds} seeds"
