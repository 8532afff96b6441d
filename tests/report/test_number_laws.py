"""The numbers of a report at their edges: smallest p values, ties, order, scale, one seed, one task, nothing at all."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from example_records import example_runs
from scipy import stats

from layerscout.cache.records import Estimate, Run
from layerscout.report.numbers import association, comparing, curves, decisions, profiles, reliability, speed, summaries, within
from layerscout.report.numbers import statistics as own

TIED = (0.1, 0.2, 0.3, -0.6)  # adds up to nothing, but for the last bits


def run(final: float | None = 0.0, **changes: object) -> Run:
    """A finished run, or a failed one without a final return."""
    whole = {"arm": "a", "seed": 0, "returns": (), "evaluations": (), "final": final, "status": "done" if final is not None else "failed"}
    return Run(**(whole | changes))


def task(name: str, measures: list[list[float]], returns: list[list[float]]) -> within.TaskCells:
    return within.TaskCells(name, np.array(measures, dtype=float), np.array(returns, dtype=float))


# statistics


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 7.3, 1e30, -1.0])
def test_p_of_differences_does_not_depend_on_their_order_scale_or_sign(scale: float) -> None:
    for order in itertools.permutations(TIED):
        assert own.sign_flip_p(np.array(order) * scale) == 1.0
    lopsided = np.array((0.3, 0.4, 0.5, -0.1, 0.2))
    assert {own.sign_flip_p(np.array(order) * scale) for order in itertools.permutations(lopsided)} == {4 / 32}


@pytest.mark.parametrize("seeds", [13, 40])
def test_p_of_drawn_flips_is_never_nothing(seeds: int) -> None:
    p = own.sign_flip_p(np.ones(seeds))
    assert p >= 1 / (own.FLIPS + 1)
    if seeds == 40:  # no other of the drawn patterns is all of one sign
        assert p == 1 / (own.FLIPS + 1)


def test_all_patterns_of_signs_are_there_up_to_twelve_seeds_and_the_observed_one_first_beyond() -> None:
    for seeds in (1, 2, own.EXACT_SEEDS):
        patterns = own.sign_patterns(seeds)
        assert patterns.shape == (2**seeds, seeds)
        assert len(np.unique(patterns, axis=0)) == 2**seeds
    drawn = own.sign_patterns(own.EXACT_SEEDS + 1)
    assert drawn.shape == (own.FLIPS + 1, own.EXACT_SEEDS + 1)
    assert set(np.unique(drawn)) == {-1, 1}
    assert (drawn[0] == 1).all()
    assert abs(drawn.mean()) < 0.01
    assert (own.EXACT_SEEDS, own.FLIPS) == (12, 20_000)


def test_the_interval_of_a_bootstrap_is_the_middle_95_percent_of_its_draws() -> None:
    values = [np.array([1.0, 2.0, 5.0]), np.array([0.0, 4.0])]
    found = own.bootstrap(values, own.mean_over_seeds, draws=300, seed=3)
    generator = np.random.default_rng(3)
    drawn = np.concatenate([one[generator.integers(len(one), size=(300, len(one)))] for one in values], axis=1).mean(axis=1)
    assert (found.value, found.low, found.high) == (2.4, *np.percentile(drawn, [2.5, 97.5]))
    assert own.bootstrap([np.array([1.0, 2.0]), np.array([3.0])]) == Estimate(value=2.0)
    assert own.bootstrap([np.array([1.0, 2.0]), np.array([])]).low is not None  # a task without a run is no task
    assert own.bootstrap(values) == own.bootstrap(values, draws=2000, seed=0)
    assert own.bootstrap([np.array([7.0, 7.0])]) == Estimate(value=7.0, low=7.0, high=7.0)


def test_students_interval_is_scipys_and_of_one_value_there_is_none() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = own.mean_interval(values)
    assert (found.low, found.high) == pytest.approx(stats.t.interval(0.95, 3, values.mean(), stats.sem(values)))
    assert found.value == 4.0
    assert own.mean_interval(values[:1]) == Estimate(value=1.0)
    assert own.mean_interval(values[:0]) is None
    pair = own.mean_interval(values[:2])
    assert pair.high - pair.value == pytest.approx(12.7062 * 0.5, abs=1e-3)  # t of one degree of freedom


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (3, 3), (4, 2), (7, 5), (8, 4), (11, 7)])
def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end(count: int, kept: int) -> None:
    values = np.arange(count, dtype=float) ** 3
    cut = (count - kept) // 2
    assert own.interquartile_mean(values[::-1]) == values[cut : count - cut].mean()


def test_smallest_p_is_capped_and_corrected() -> None:
    assert [own.smallest_p(seeds) for seeds in (1, 2, 3, 5, 6)] == [1.0, 0.5, 0.25, 0.0625, 0.03125]
    assert own.smallest_p(3, 3) == 0.75
    assert own.smallest_p(2, 5) == 1.0
    assert own.seeds_needed(level=0.0625) == 5  # at the level is enough
    assert own.seeds_needed(level=0.0624) == 6
    assert own.seeds_needed(level=1.0) == 1


def test_holm_never_falls_and_never_passes_one() -> None:
    assert own.holm([0.04, 0.02, 0.5]) == pytest.approx([0.08, 0.06, 0.5])
    assert own.holm([0.9, 0.8]) == [1.0, 1.0]
    assert own.holm([0.01, 0.01]) == [0.02, 0.02]
    assert own.p_of_all([0.01, 0.2, 0.03]) == 0.2


def test_a_warning_of_few_seeds_names_what_they_can_reach() -> None:
    assert own.seed_warning(6) is None
    assert own.seed_warning(5, level=0.0625) is None
    one, five = own.seed_warning(1), own.seed_warning(5)
    assert one.startswith("With one seed no comparison can reach p < 0.05: the smallest p of a paired test is 1.")
    assert five == "With 5 seeds no comparison can reach p < 0.05: the smallest p of a paired test is 0.0625. At least 6 seeds are needed."
    assert "At least 8 seeds" in own.seed_warning(5, level=0.01)


# association


def test_an_association_needs_four_layers_that_differ() -> None:
    seeds = [np.array([value, value + 0.1]) for value in (0.0, 1.0, 2.0, 3.0)]
    assert association.associate(np.arange(3.0), seeds[:3]) is None
    assert association.associate(np.ones(4), seeds) is None
    assert association.associate(np.arange(4.0), [np.ones(2)] * 4) is None
    found = association.associate(np.array([3.0, 2.0, 1.0, 0.0]), seeds)
    assert (found.layers, found.spearman.value, found.kendall.value) == (4, -1.0, -1.0)
    assert found.regret == 3.0
    assert found.spearman.low == found.kendall.low == -1.0
    noisy = [np.random.default_rng(place).normal(place, 3, 5) for place in range(6)]
    assert association.associate(np.arange(6.0), noisy) == association.associate(np.arange(6.0), noisy, draws=2000, seed=0)


def test_an_interval_is_widened_to_hold_its_value() -> None:
    assert association.widened_to_value(0.9, (0.1, 0.8)) == Estimate(value=0.9, low=0.1, high=0.9)
    assert association.widened_to_value(0.0, (0.1, 0.8)) == Estimate(value=0.0, low=0.0, high=0.8)
    assert association.widened_to_value(0.5, (0.1, 0.8)) == Estimate(value=0.5, low=0.1, high=0.8)


def test_intervals_of_an_association_are_percentiles_over_resampled_seeds() -> None:
    scores = np.array([0.1, 0.5, 0.2, 0.9, 0.4, 0.7, 0.3, 0.6])
    returns = [np.array([1.0, 2.0, 4.0]) * place for place in (1, 3, 2, 1.5, 5, 4, 0.5, 2.5)]
    rho, tau = association.seed_intervals(scores, returns, 200, 4)
    generator = np.random.default_rng(4)
    means = np.stack([values[generator.integers(3, size=(200, 3))].mean(axis=1) for values in returns], axis=1)
    drawn = [stats.spearmanr(scores, row)[0] for row in means]
    assert (rho.low, rho.high) == pytest.approx(tuple(np.nanpercentile(drawn, [2.5, 97.5])))
    drawn = [stats.kendalltau(scores, row)[0] for row in means]
    assert (tau.low, tau.high) == pytest.approx(tuple(np.nanpercentile(drawn, [2.5, 97.5])))


@pytest.mark.parametrize(("best", "lost"), [(1, 3.5), (2, 3.0), (3, 1.0), (4, 0.0), (9, 0.0)])
def test_regret_is_the_best_of_all_minus_the_best_of_those_chosen_and_ties_share_the_last_places(best: int, lost: float) -> None:
    scores, returns = np.array([0.9, 0.9, 0.5, 0.1]), np.array([1.0, 0.0, 3.0, 4.0])
    assert association.regret_at(scores, returns, best) == pytest.approx(lost)
    assert association.regret_at(scores[::-1], returns[::-1], best) == pytest.approx(lost)  # whatever the order of equal scores
    one = task("a", [scores.tolist()], [[value] for value in returns])
    assert decisions.regret(one, scores, best) == pytest.approx(lost / 4)
    assert decisions.regret(one, scores, best, np.array([True, True, True, False])) >= 0.25  # the best of all may not be chosen


# within tasks


def test_ranks_are_centred_shares_with_ties_at_their_mean() -> None:
    assert within.centred_ranks(np.array([3.0, 1.0, 3.0, 9.0])).tolist() == [0.0, -0.375, 0.0, 0.375]
    assert within.centred_ranks(np.array([[1.0, 2.0], [5.0, 5.0]])).tolist() == [[-0.25, 0.25], [0.0, 0.0]]


def test_a_task_knows_a_measure_only_if_every_layer_has_it() -> None:
    one = task("a", [[1.0, np.nan, 2.0], [3.0, 2.0, 1.0]], [[1.0, np.nan], [2.0, 4.0], [3.0, 3.0]])
    assert one.known.tolist() == [False, True]
    assert one.means.tolist() == [1.0, 3.0, 3.0]
    rho, tau = within.task_correlations(one)
    assert np.isnan(rho[0])
    assert rho[1] == pytest.approx(stats.spearmanr([3, 2, 1], [1, 3, 3])[0])
    assert tau[1] == pytest.approx(stats.kendalltau([3, 2, 1], [1, 3, 3])[0])


# reliability


def test_halves_of_seeds_are_apart_and_whole() -> None:
    returns = np.array([[1.0, 2.0, 4.0, 8.0], [1.0, 2.0, 4.0, np.nan]])
    halves = reliability.half_means(returns, np.random.default_rng(0))
    assert halves.shape == (2, 200, 2)
    assert np.allclose(halves[:, :, 0].sum(axis=0) * 2, 15)  # two and two
    assert np.allclose(halves[0, :, 1] * 2 + halves[1, :, 1], 7)  # two and one
    assert len(np.unique(halves[0, :, 0])) == 6


def test_reliability_needs_two_seeds_and_stays_between_nothing_and_one() -> None:
    measures = [[0.0, 1.0, 2.0]]
    assert reliability.reliability([task("a", measures, [[1.0], [2.0], [3.0]])]) is None
    assert reliability.reliability([task("a", measures, [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])]) is None
    repeated = task("a", measures, [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    assert reliability.reliability([repeated]) == pytest.approx(1.0)
    assert reliability.reliability([repeated, task("b", measures, [[1.0, np.nan], [2.0, 2.0], [3.0, 3.0]])]) == pytest.approx(1.0)
    opposed = task("a", measures, [[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    assert reliability.reliability([opposed]) == 0.0
    # half the pairs of two seeds that agree by ρ½ step up to 2 ρ½ / (1 + ρ½)
    mixed = task("a", measures, [[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])
    assert reliability.reliability([mixed]) == pytest.approx(2 * 0.5 / 1.5)
    loud = task("a", measures, np.random.default_rng(0).normal(size=(3, 6)).tolist())
    assert reliability.reliability([loud]) == reliability.reliability([loud], seed=0) != reliability.reliability([loud], seed=1)


# decisions


def test_shares_of_equal_returns_are_one_and_nothing_is_divided_by_nothing() -> None:
    assert decisions.as_shares(np.array([2.0, 2.0])).tolist() == [1.0, 1.0]
    assert decisions.as_shares(np.array([[10.0, 15.0, 20.0], [1.0, 1.0, 1.0]])).tolist() == [[0.0, 0.5, 1.0], [1.0, 1.0, 1.0]]


def test_random_regret_of_more_layers_than_there_are_is_nothing() -> None:
    returns = np.array([0.0, 1.0, 5.0])
    assert decisions.random_regret(returns, 1) == pytest.approx(3.0)
    assert decisions.random_regret(returns, 2) == pytest.approx(4 / 3)
    assert decisions.random_regret(returns, 3) == decisions.random_regret(returns, 9) == 0.0


def test_violation_is_that_of_the_worst_wrong_pair_of_each_layer() -> None:
    returns = np.array([0.0, 1.0, 5.0])
    assert decisions.rank_violation(np.array([1.0, 2.0, 3.0]), returns) == 0
    assert decisions.rank_violation(np.array([2.0, 1.0, 3.0]), returns) == pytest.approx((1 + 1 + 0) / 3)
    assert decisions.rank_violation(np.array([3.0, 2.0, 1.0]), returns) == pytest.approx((5 + 4 + 5) / 3)
    assert decisions.rank_violation(np.array([1.0, 1.0]), np.array([0.0, 5.0])) == 2.5  # a tie is wrong for the worse of the two
    assert decisions.rank_violation(np.array([1.0, 1.0, 0.0]), np.array([0.0, 5.0, 2.0])) == pytest.approx((5 + 0 + 2) / 3)
    assert decisions.rank_violation(np.array([1.0, 2.0]), np.array([5.0, 5.0])) == 0.0
    exact = np.mean([decisions.rank_violation(np.array(order, dtype=float), returns) for order in itertools.permutations(range(3))])
    assert decisions.random_violation(returns) == pytest.approx(exact, abs=0.15)
    assert decisions.random_violation(returns) == decisions.random_violation(returns, draws=1000, seed=0)


def test_saved_seconds_pay_for_the_probe() -> None:
    assert decisions.seconds_saved(np.array([0.1, 0.9, 0.5]), np.array([10.0, 20.0, 40.0]), 1, 5.0) == 45.0
    assert decisions.seconds_saved(np.array([0.1, 0.9, 0.5]), np.array([10.0, 20.0, 40.0]), 2, 5.0) == 5.0


# comparing


def test_a_tie_counts_one_half() -> None:
    assert comparing.probability_of_improvement(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == 0.875
    assert comparing.probability_of_improvement(np.array([1.0]), np.array([1.0])) == 0.5
    assert comparing.improvement([np.array([1.0, 2.0])], [np.array([])]) is None
    assert comparing.improvement([], []) is None
    assert comparing.improvement([np.array([2.0])], [np.array([1.0, 3.0])]) == Estimate(value=0.5)
    assert comparing.improvement([np.array([2.0, 3.0])], [np.array([1.0])]) == Estimate(value=1.0)
    full, one, none = np.array([1.0, 2.0]), np.array([1.0]), np.array([])
    assert comparing.improvement([full, full], [full, none]) is None  # a task that one side never finished
    assert comparing.improvement([full, one], [full, full]).low is None  # an interval needs two runs in every task
    with pytest.raises(ValueError, match="shorter"):
        comparing.improvement([full, full], [full])
    pair = ([np.array([1.0, 3.0]), np.array([0.0, 1.0])], [np.array([2.0, 2.0]), np.array([0.0, 0.0])])
    found = comparing.improvement(*pair)
    assert found.value == 0.625
    assert found == comparing.improvement(*pair, draws=2000, seed=0)
    assert 0.25 <= found.low < found.value < found.high <= 1.0


def test_the_interval_of_improvement_resamples_both_sides_within_tasks() -> None:
    spread = np.random.default_rng(9)
    a, b = [spread.normal(0.5, 1, 9)], [spread.normal(0, 1, 7)]
    found = comparing.improvement(a, b, draws=400, seed=2)
    generator = np.random.default_rng(2)
    ours, theirs = a[0][generator.integers(9, size=(400, 9))], b[0][generator.integers(7, size=(400, 7))]
    drawn = [np.mean([(x > y) + 0.5 * (x == y) for x in one for y in other]) for one, other in zip(ours, theirs, strict=True)]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])))


def test_welch_says_only_what_the_runs_allow() -> None:
    assert comparing.welch(np.array([]), np.array([1.0])) == comparing.welch(np.array([1.0]), np.array([])) == (None, None)
    assert comparing.welch(np.array([3.0]), np.array([1.0, 2.0])) == (Estimate(value=1.5), None)
    assert comparing.welch(np.array([3.0, 3.0]), np.array([1.0, 1.0])) == (Estimate(value=2.0), None)
    estimate, p = comparing.welch(np.array([1.0, 2.0, 4.0]), np.array([5.0, 9.0]))
    oracle = stats.ttest_ind([1.0, 2.0, 4.0], [5.0, 9.0], equal_var=False)
    assert p == pytest.approx(oracle.pvalue)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(oracle.confidence_interval()))


# curves and speed


def test_a_running_mean_is_of_all_so_far_while_there_are_few() -> None:
    values = np.arange(1.0, 8.0)
    assert curves.running_mean(values, 3).tolist() == [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert curves.running_mean(values[:1], 3).tolist() == [1.0]
    assert curves.running_mean(np.ones(60))[-1] == 1.0
    assert curves.WINDOW == 50


def test_curves_stand_at_the_work_that_every_run_has() -> None:
    runs = [run(evaluations=((0, (1.0, 3.0)), (10, (4.0,)), (20, ()))), run(evaluations=((0, (0.0,)), (10, (2.0,)), (30, (5.0,))))]
    x, values = curves.over_work(runs)
    assert x.tolist() == [0.0, 10.0]
    assert values.tolist() == [[2.0, 4.0], [0.0, 2.0]]
    x, values = curves.over_episodes([run(returns=tuple(map(float, range(5)))), run(returns=(2.0, 4.0, 6.0))])
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert values.tolist() == [[0.0, 0.5, 1.0], [2.0, 3.0, 4.0]]
    x, values = curves.over_episodes([run(returns=tuple(map(float, range(1000))))])
    assert len(x) == curves.POINTS == 200
    assert (x[0], x[-1]) == (1.0, 1000.0)
    assert values[0, -1] == np.mean(range(950, 1000))


def test_the_band_of_a_curve_resamples_whole_seeds() -> None:
    values = np.array([[0.0, 2.0], [1.0, 5.0], [4.0, 4.0]])
    found = curves.average_curve("a", "updates", np.array([1.0, 2.0]), values)
    picks = np.random.default_rng(0).integers(3, size=(500, 3))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5], axis=0)
    assert found.mean.tolist() == pytest.approx([5 / 3, 11 / 3])
    assert found.low.tolist() == pytest.approx(low.tolist())
    assert found.high.tolist() == pytest.approx(high.tolist())
    assert found.seeds == 3
    pair = curves.average_curve("a", "updates", np.array([1.0]), values[:2, :1])
    assert (pair.low[0], pair.high[0]) == (0.0, 1.0)  # two seeds have a band
    assert curves.average_curve("a", "updates", np.array([1.0]), values[:1, :1]).low is None
    assert curves.average_curve("a", "updates", np.zeros(0), np.zeros((3, 0))).low is None


def test_curves_of_a_record_share_one_axis_and_leave_failures_out() -> None:
    record = example_runs(mode="offline", fail=(("scratch", 3),))
    found = curves.learning_curves(record)
    assert {one.axis for one in found} == {"updates"}
    assert {one.arm: one.seeds for one in found} == {arm.name: 5 if arm.name == "scratch" else 6 for arm in record.arms}
    some = record.model_copy(
        update={"runs": tuple(one.model_copy(update={"evaluations": ()}) if one.seed == 0 else one for one in record.runs)}
    )
    assert {one.axis for one in curves.learning_curves(some)} <= {"episodes (running mean of 50)"}
    assert curves.learning_curves(record.model_copy(update={"runs": ()})) == ()
    arm = record.arms[0].name
    rolled = run(arm=arm, evaluations=((0, (1.0,)), (5, (2.0,))))  # without training episodes
    trained = run(arm=arm, seed=1, returns=(1.0, 3.0))
    (alone,) = curves.learning_curves(record.model_copy(update={"runs": (rolled,)}))
    assert (alone.axis, alone.mean.tolist()) == ("updates", [1.0, 2.0])
    (mixed,) = curves.learning_curves(record.model_copy(update={"runs": (rolled, trained)}))  # one was never evaluated
    assert (mixed.axis, mixed.mean.tolist(), mixed.seeds) == ("episodes (running mean of 50)", [1.0, 2.0], 1)


def test_work_to_a_level_is_the_first_that_reaches_it() -> None:
    climbing = run(evaluations=((0, (0.0,)), (10, (0.5, 0.5)), (20, (1.0,)), (30, (0.2,)), (40, ())))
    assert speed.work_to_level(climbing, 0.5) == 10.0
    assert speed.work_to_level(climbing, 0.51) == 20.0
    assert speed.work_to_level(climbing, 1.1) is None
    assert speed.work_to_level(run(), 0.0) is None
    lucky = run(returns=(0.0,) * 20 + (10.0,) + (0.0,) * 20)
    assert speed.work_to_level(lucky, 1.0) is None  # one episode is no arrival
    assert speed.work_to_level(lucky, 10 / 21) == 21.0
    assert speed.area_under_curve(climbing) == pytest.approx((0.25 + 0.75 + 0.6) / 3)
    assert speed.area_under_curve(run(evaluations=((7, (2.0, 4.0)),))) == 3.0
    assert speed.area_under_curve(run(evaluations=((0, (2.0,)), (10, (4.0,))))) == 3.0
    assert speed.area_under_curve(run()) is None
    assert speed.evaluation_return(climbing) == 0.2
    assert speed.evaluation_return(run()) is None


def test_a_median_arrival_needs_more_than_half_of_the_runs() -> None:
    def runs(*steps: int | None) -> list[Run]:
        return [run(evaluations=((step, (1.0,)),) if step is not None else ((5, (0.0,)),)) for step in steps]

    assert speed.median_arrival(runs(10, 20, 30), 1.0) == speed.Arrival(20.0, 3, 3)
    assert speed.median_arrival(runs(10, 20, None), 1.0) == speed.Arrival(20.0, 2, 3)
    assert speed.median_arrival(runs(10, None), 1.0) == speed.Arrival(None, 1, 2)
    assert speed.median_arrival([], 1.0) == speed.Arrival(None, 0, 0)


def test_the_learned_level_is_three_quarters_of_the_way() -> None:
    record = example_runs().model_copy(update={"random_policy_return": -1.0, "best_possible": 3.0})
    assert speed.learned_level(record) == 2.0
    assert speed.learned_level(record.model_copy(update={"random_policy_return": None})) is None
    assert speed.learned_level(record.model_copy(update={"best_possible": -1.0})) is None
    tops = [own.interquartile_mean(np.array([one.final for one in record.runs if one.arm == arm.name])) for arm in record.arms]
    assert speed.learned_level(record.model_copy(update={"best_possible": None})) == pytest.approx(-1 + 0.75 * (max(tops) + 1))
    assert speed.learned_level(record.model_copy(update={"best_possible": None, "runs": ()})) is None


# profiles and summaries


def test_a_profile_counts_what_lies_strictly_above() -> None:
    levels = np.array([0.0, 1.0, 2.0])
    assert profiles.share_above(np.array([1.0, 2.0]), levels).tolist() == [1.0, 0.5, 0.0]
    assert profiles.performance_profile([], levels) is None
    assert profiles.performance_profile([np.array([])], levels) is None
    assert profiles.performance_profile([np.array([1.0])], levels).low is None
    assert profiles.performance_profile([np.array([1.0, 2.0]), np.array([1.0])], levels).high is None
    found = profiles.performance_profile([np.array([0.5, 1.5, 1.5])], levels, draws=200, seed=1)
    drawn = np.array([0.5, 1.5, 1.5])[np.random.default_rng(1).integers(3, size=(200, 3))]
    low, high = np.percentile([(drawn > level).mean(axis=1) for level in levels], [2.5, 97.5], axis=1)
    assert (found.low.tolist(), found.high.tolist()) == (low.tolist(), high.tolist())
    pair = profiles.performance_profile([np.array([0.5, 1.5])], levels)
    assert (pair.low[1], pair.share[1], pair.high[1]) == (0.0, 0.5, 1.0)  # two runs have a band
    many, fine = [np.random.default_rng(8).normal(1, 1, 23), np.random.default_rng(9).normal(1, 1, 31)], np.linspace(-1, 3, 40)
    whole = profiles.performance_profile(many, fine)
    again = profiles.performance_profile(many, fine, draws=1000, seed=0)
    assert np.array_equal(whole.low, again.low)
    generator = np.random.default_rng(0)
    drawn = np.concatenate([one[generator.integers(len(one), size=(1000, len(one)))] for one in many], axis=1)
    shares = [(drawn > level).mean(axis=1) for level in fine]
    assert again.low == pytest.approx(np.percentile(shares, 2.5, axis=1))
    assert again.high == pytest.approx(np.percentile(shares, 97.5, axis=1))


def test_common_levels_reach_beyond_every_return() -> None:
    levels = profiles.common_levels([np.array([0.0, 2.0]), np.array([10.0])])
    assert (levels[0], levels[-1], len(levels)) == (-0.4, 10.4, 201)
    flat = profiles.common_levels([np.array([3.0, 3.0])])
    assert (flat[0], flat[-1]) == (2.5, 3.5)
    huge = profiles.common_levels([np.array([-1e30])])
    assert huge[0] < -1e30 < huge[-1]


def test_the_gap_to_the_best_is_never_made_up() -> None:
    assert profiles.optimality_gap([np.array([1.0, 3.0])], None) is None
    assert profiles.optimality_gap([np.array([1.0, 3.0])], 2.0).value == 0.5
    assert profiles.optimality_gap([np.array([])], 2.0) is None


def test_a_summary_averages_finished_runs_only() -> None:
    record = example_runs(fail=(("pixels", 1), ("pixels", 2)))
    one = next(found for found in summaries.arm_summaries(record) if found.arm.name == "pixels")
    finals = np.array([done.final for done in record.runs if done.arm == "pixels" and done.final is not None])
    assert (one.seeds, one.failed, len(finals)) == (6, 2, 4)
    assert (one.last, one.spread) == pytest.approx((finals.mean(), finals.std(ddof=1)))
    assert one.iqm == own.bootstrap([finals])
    done = [run for run in record.runs if run.arm == "pixels" and run.status == "done"]
    assert one.overall == pytest.approx(np.mean([summaries.overall_return(run) for run in done]))
    rolled = [run.model_copy(update={"evaluations": ((9, (float(place), 1.0)),)}) for place, run in enumerate(done)]
    greedy = summaries.summarise_arm(record.model_copy(update={"runs": tuple(rolled)}), one.arm, None)
    ends = np.array([(place + 1) / 2 for place in range(4)])
    assert greedy.evaluation == ends.mean()
    assert greedy.evaluation_iqm == own.bootstrap([ends]) == greedy.auc
    assert one.auc == own.bootstrap([np.array([speed.area_under_curve(run) for run in done])])
    assert one.level == speed.learned_level(record)
    assert one.arrival.runs == 4
    assert one.gap == profiles.optimality_gap([finals], record.best_possible)
    assert summaries.most_seeds(record) == 6
    assert summaries.most_seeds(record.model_copy(update={"arms": ()})) == 0
    nobody = example_runs(fail=tuple(("pixels", seed) for seed in range(6)))
    lost = next(found for found in summaries.arm_summaries(nobody) if found.arm.name == "pixels")
    assert (lost.last, lost.spread, lost.overall, lost.iqm, lost.evaluation, lost.auc, lost.arrival) == (None,) * 7
    single = next(found for found in summaries.arm_summaries(example_runs(seeds=1)))
    assert single.spread is None
    pair = next(found for found in summaries.arm_summaries(example_runs(seeds=2)))
    assert pair.spread is not None
    unknown = summaries.summarise_arm(record, record.arms[0], None)
    assert (unknown.level, unknown.arrival) == (None, None)


def test_episodes_are_counted_once_whether_trained_or_rolled_out() -> None:
    trained = run(returns=(1.0, 2.0), evaluations=((5, (7.0,)), (9, (8.0, 9.0))))
    assert list(summaries.episodes_of(trained)) == [
        (1.0, "train", None),
        (2.0, "train", None),
        (7.0, "eval", 5),
        (8.0, "eval", 9),
        (9.0, "eval", 9),
    ]
    assert summaries.overall_return(trained) == 1.5
    offline = run(returns=(8.0, 9.0), evaluations=((5, (7.0,)), (9, (8.0, 9.0))))
    assert list(summaries.episodes_of(offline)) == [(7.0, "eval", 5), (8.0, "eval", 9), (9.0, "eval", 9)]
    assert summaries.overall_return(offline) == 8.0
    once = run(returns=(8.0, 9.0), evaluations=((9, (8.0, 9.0)),))
    assert list(summaries.episodes_of(once)) == [(8.0, "eval", 9), (9.0, "eval", 9)]
    assert list(summaries.episodes_of(run(returns=(1.0, 1.0), evaluations=((3, (1.0,)),)))) == [
        (1.0, "train", None),
        (1.0, "train", None),
        (1.0, "eval", 3),
    ]
    assert summaries.overall_return(run()) is None
