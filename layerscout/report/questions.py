"""One comparison in, three questions kept apart out: does pretraining help, does a frozen layer help, does the ranking help? Each has its own test."""

from __future__ import annotations

import numpy as np

from layerscout.cache.records import Arm, Ranking, RunRecord
from layerscout.report.claims import Claim, candidate_arms
from layerscout.report.numbers.statistics import mean_interval, seeds_needed, sign_flip_p, smallest_p
from layerscout.report.tables import format_estimate
from layerscout.report.verdict import OWN_NETWORK, SIGNIFICANCE, ControlComparison, best_arm, compare_arms, controls_of, final_by_seed

PRETRAINING, FROZEN, RANKING = "Pretraining helps.", "A frozen layer helps.", "The ranking helps."


def three_questions(record: RunRecord, ranking: Ranking | None = None, head: str | None = None) -> tuple[Claim, ...]:
    """Return what a comparison says to three questions that one verdict over all controls would mix.

    pretraining
        The best-ranked layer returns more than the same layer of the untrained backbone.
    frozen layer
        It returns more than raw pixels *and* more than a network from scratch: both tests must hold, so the larger p decides.
    ranking
        It returns more than a layer picked blind, that is than the mean over all ranked layers: the mean regret of choosing by
        rank is below that of a blind pick. It need not beat the layer next to it. Asked only where every ranked layer was trained. The seeds
        are what is drawn anew in this test, and the layers are fixed: it tells that this pick was a good one here, not that the score picks well elsewhere,
        and the sentence says how many of the layers would have done as well.

    All are sign-flip tests of differences paired by seed, two-sided at 5 %, each a question of its own. What a question needs and was not trained makes it n/a.

    Parameters
    ----------
    ranking
        Where the layers stand, for arms that carry no score.
    head
        The post-adapter; by default the best-ranked arm's own.
    """
    best = best_arm(record, ranking, head)
    if best is None or not final_by_seed(record, best.name):
        return ()
    controls = controls_of(record, best)
    twins = [arm for arm in controls if arm.kind == "twin" and arm.layer == best.layer]
    pixels = [arm for arm in controls if arm.kind == "pixels"]
    networks = [arm for arm in controls if arm.kind in OWN_NETWORK]
    return (
        _against(PRETRAINING, record, best, {"the untrained twin of this layer": twins}),
        _against(FROZEN, record, best, {"the raw pixels": pixels, "a network from scratch": networks}),
        _ranking_helps(record, best, ranking),
    )


def _against(statement: str, record: RunRecord, best: Arm, needed: dict[str, list[Arm]]) -> Claim:
    """Judge the best layer against every arm of every kind that the question needs."""
    found = [compare_arms(record, best, arm) for arms in needed.values() for arm in arms]
    if missing := [name for name, arms in needed.items() if not arms]:
        return Claim(statement, False, f"n/a: no agent was trained on {' or '.join(missing)}.", tested=False)
    sentence = "; ".join(
        f"{one.difference_name} to {one.control} {format_estimate(one.difference, sign='+')}, p = {_p(one)}" for one in found
    )
    known = [one.p for one in found if one.p is not None]
    holds = len(known) == len(found) and max(known) <= SIGNIFICANCE and min(one.mean_difference for one in found) > 0
    short = min(one.seeds for one in found)
    return _claim(statement, holds, f"{best.name}: {sentence}", short)


def _ranking_helps(record: RunRecord, best: Arm, ranking: Ranking | None) -> Claim:
    """Judge choosing by rank against a blind pick among all ranked layers (without a ranking: among all trained ones), by regret."""
    layers = candidate_arms(record, best.head)
    ranked = len(layers) if ranking is None else len(ranking.candidates)
    if len(layers) < ranked:
        sentence = (
            f"n/a: {len(layers)} of the {ranked} ranked layers have agents, and a blind pick could have been any; train with --all-layers."
        )
        return Claim(RANKING, False, sentence, tested=False)
    returns = [final_by_seed(record, arm.name) for arm in layers]
    seeds = sorted(set.intersection(*map(set, returns)) if returns else set())
    if len(layers) < 3 or not seeds:
        return Claim(RANKING, False, f"n/a: {len(layers)} layers have agents on common seeds, and a blind pick takes three.", tested=False)
    table = np.array([[own[seed] for seed in seeds] for own in returns])
    chosen = next(place for place, arm in enumerate(layers) if arm.name == best.name)
    gained = table[chosen] - table.mean(axis=0)
    means = table.mean(axis=1)
    p = sign_flip_p(gained)
    regrets = f"regret {means.max() - means[chosen]:.3f}, of a blind pick {means.max() - means.mean():.3f}"
    as_good = int((means >= means[chosen]).sum())
    sentence = (
        f"{best.name} against one of the {len(layers)} ranked layers picked blind, of which {as_good} (itself counted) earned at least as much: {regrets}; "
        f"paired difference {format_estimate(mean_interval(gained), sign='+')}, p = {'n/a' if p is None else f'{p:.3f}'}"
    )
    return _claim(RANKING, p is not None and p <= SIGNIFICANCE and gained.mean() > 0, sentence, len(seeds))


def _claim(statement: str, holds: bool, sentence: str, seeds: int) -> Claim:
    if not seeds or smallest_p(seeds) > SIGNIFICANCE:
        return Claim(statement, False, f"{sentence}. {seeds} seeds cannot tell this from luck; {seeds_needed()} could.", tested=False)
    return Claim(statement, holds, f"{sentence}, {seeds} seeds.")


def _p(one: ControlComparison) -> str:
    return "n/a" if one.p is None else f"{one.p:.3f}"
