"""Which arm is the best, what it must beat, and what one comparison says, on records whose figures are worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from example_records import example_ranking
from plain_records import plain_arm, plain_record, plain_run

from layerscout.cache.records import Arm, Estimate, Ranking, RunRecord
from layerscout.report.chapters import gate_of, restrict_to_head, scored_arms
from layerscout.report.claims import (
    candidate_arms,
    claims_of,
    describe_association,
    learning_speeds,
    score_and_return,
    transition_and_speed,
)
from layerscout.report.verdict import (
    best_arm,
    compare_arms,
    compare_with_controls,
    controls_of,
    final_by_seed,
    final_returns,
    judge_record,
    post_adapters,
)


def arms_only(*arms: Arm) -> RunRecord:
    return plain_record(arms, {})


def names(arms: Any) -> list[str]:
    return [arm.name for arm in arms]


# --- the best arm


def test_the_best_arm_is_the_ranked_one_of_the_highest_score() -> None:
    record = arms_only(plain_arm("a", score=0.2), plain_arm("b", score=0.5), plain_arm("c", "middle", score=0.9), plain_arm("d", score=0.5))
    best = best_arm(record)
    assert best is not None
    assert best.name == "b"  # of equals the first; a middle layer is a control, whatever its score
    assert best_arm(arms_only(plain_arm("c", "middle", score=0.9))) is None


def test_without_scores_the_ranking_decides_and_without_it_the_record() -> None:
    record = arms_only(*(plain_arm(name) for name in ("blocks.0", "unknown", "blocks.6", "blocks.5")))
    assert names([best_arm(record), best_arm(record, example_ranking())]) == ["blocks.0", "blocks.5"]
    scored = arms_only(plain_arm("blocks.5"), plain_arm("blocks.0", score=-3.0))
    assert names([best_arm(scored, example_ranking())]) == ["blocks.0"]  # any score before none


def test_the_best_arm_of_a_head_is_of_that_head() -> None:
    record = arms_only(plain_arm("a", score=0.9, head="mlp"), plain_arm("b", score=0.1, head="linear"))
    assert names([best_arm(record), best_arm(record, None, "linear")]) == ["a", "b"]
    assert best_arm(record, None, "none") is None


# --- the controls


def test_what_the_best_layer_must_beat() -> None:
    best = plain_arm("a", score=0.9)
    controls = [
        plain_arm("pixels", "pixels"),
        plain_arm("scratch", "scratch", head="cnn-64", layer="scratch", store_id=None),
        plain_arm("cnn", "cnn", head="cnn-64"),
        plain_arm("worst", "worst", layer="z"),
        plain_arm("middle elsewhere", "middle", layer="a", store_id="t"),  # the same block of another store is another layer
        plain_arm("twin", "twin", layer="a", store_id="u"),
    ]
    others = [
        plain_arm("b", score=0.5),
        plain_arm("c", "layer"),
        plain_arm("middle", "middle", layer="a"),  # the best layer itself, under another name
        plain_arm("pixels linear", "pixels", head="linear"),
        plain_arm("twin of b", "twin", layer="b", store_id="u"),
    ]
    record = arms_only(best, *(one for pair in zip(others, controls, strict=False) for one in pair), controls[-1])
    assert sorted(names(controls_of(record, best))) == sorted(names(controls))


def test_where_its_own_twin_was_not_trained_every_twin_is_a_control() -> None:
    best = plain_arm("a", score=0.9)
    record = arms_only(best, plain_arm("twin of b", "twin", layer="b"), plain_arm("twin of c", "twin", layer="c"))
    assert names(controls_of(record, best)) == ["twin of b", "twin of c"]


def test_post_adapters_are_those_of_layers_in_their_order() -> None:
    scratch = plain_arm("scratch", "scratch", head="cnn")
    assert post_adapters(arms_only(scratch, plain_arm("a", head="x"), plain_arm("b", head="y"), plain_arm("c", head="x"))) == ("x", "y")
    assert post_adapters(arms_only(scratch, plain_arm("cnn", "cnn", head="other"))) == ("cnn",)
    assert post_adapters(arms_only()) == ()


# --- one comparison


def two(first: Any, second: Any) -> Any:
    ours, theirs = plain_arm("a", score=1.0), plain_arm("p", "pixels")
    record = plain_record((ours, theirs), {"a": first, "p": second})
    return compare_arms(record, ours, theirs)


def test_only_seeds_that_both_finished_are_compared() -> None:
    found = two([1.0, None, 3.0, 4.0], [0.0, 9.0, 1.0, None])
    assert (found.seeds, found.paired, found.mean_difference) == (2, True, 1.5)  # 1 − 0 and 3 − 1
    assert found.p == 0.5  # of the four sign patterns two are as far from 0
    assert found.difference.low == pytest.approx(1.5 - 12.7062 * 0.5, rel=1e-4)  # t of one degree of freedom, s / √2 = 0.5


def test_a_comparison_turned_round_says_the_opposite() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.standard_normal(5).tolist(), rng.standard_normal(5).tolist()
    there, back = two(ours, theirs), two(theirs, ours)
    assert there.mean_difference == pytest.approx(-back.mean_difference)
    assert (there.difference.low, there.difference.high) == pytest.approx((-back.difference.high, -back.difference.low))
    assert there.p == back.p
    assert there.improvement.value == pytest.approx(1 - back.improvement.value)


def test_runs_in_another_order_and_of_another_arm_change_nothing() -> None:
    arm, other = plain_arm("a", score=1.0), plain_arm("p", "pixels")
    runs = [plain_run("a", 2, 0.5), plain_run("p", 0, 9.0), plain_run("a", 0, 0.25), plain_run("a", 1, None)]
    record = arms_only(arm, other).model_copy(update={"runs": tuple(runs)})
    assert final_by_seed(record, "a") == {2: 0.5, 0: 0.25}
    assert final_returns(record, "a").tolist() == [0.25, 0.5]
    assert final_returns(record, "nobody").shape == (0,)


def unpaired(first: list[float], second: list[float]) -> Any:
    ours, theirs = plain_arm("a", score=1.0), plain_arm("p", "pixels")
    runs = [plain_run("a", seed, value) for seed, value in enumerate(first)]
    runs += [plain_run("p", 100 + seed, value) for seed, value in enumerate(second)]
    record = arms_only(ours, theirs).model_copy(update={"runs": tuple(runs)})
    return compare_arms(record, ours, theirs)


def test_arms_that_share_no_seed_are_held_against_each_other_by_welch() -> None:
    from scipy import stats

    first, second = [1.0, 2.0, 4.0], [0.0, 0.5, 0.25, 1.0]
    found = unpaired(first, second)
    assert (found.paired, found.seeds, found.difference_name) == (False, 3, "difference of means (no seed is shared)")
    assert found.mean_difference == pytest.approx(np.mean(first) - np.mean(second))
    assert found.p == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue)
    alone = unpaired([1.0], [0.0, 0.5])
    assert (alone.paired, alone.seeds, alone.difference, alone.p) == (True, 0, None, None)


def test_holms_correction_is_over_the_comparisons_that_have_a_p() -> None:
    best, controls = plain_arm("a", score=1.0), [plain_arm(name, "pixels") for name in "pqr"]
    finals = {"a": [1.0] * 6, "p": [0.0] * 6, "q": [0.0, 0.0, 2.0, 0.0, 0.0, 0.0], "r": [None] * 6}
    rows = compare_with_controls(plain_record((best, *controls), finals), best, controls)
    assert [one.p for one in rows] == [2 / 64, pytest.approx(14 / 64), None]  # of q, one sign of six is the other way: 2 · (1 + 6) patterns
    assert [one.p_holm for one in rows] == [4 / 64, pytest.approx(14 / 64), None]
    assert [one.significant for one in rows] == [False, False, False]
    assert rows[2].mean_difference == 0.0


def judged(seeds: int, **finals: Any) -> Any:
    arms = [plain_arm("a", score=1.0), *(plain_arm(name, "pixels") for name in finals if name != "a")]
    return judge_record(
        plain_record(arms, {name: [value] * seeds if isinstance(value, float) else value for name, value in finals.items()})
    )


def test_one_control_is_called_by_its_name() -> None:
    found = judged(6, a=1.0, p=0.25)
    assert found.outcome == "supported"
    assert found.sentence == (
        "The ranked-best layer a returned 1.000 [1.000, 1.000] and beat its control p "
        "(nearest: p, paired difference +0.750 [+0.750, +0.750] over 6 seeds): supported at 5 %, p = 0.031."
    )
    assert (found.p, found.smallest_p) == (2 / 64, 2 / 64)


def test_the_nearest_control_is_the_one_that_earned_most() -> None:
    found = judged(7, a=1.0, p=0.25, q=0.75, r=-1.0)
    assert "(nearest: q, paired difference +0.250" in found.sentence
    assert "beat every one of its 3 controls" in found.sentence


def test_pairs_are_counted_with_the_control_that_has_fewest() -> None:
    found = judged(7, a=1.0, p=[0.0] * 5 + [None] * 2, q=[0.0] + [None] * 6)
    assert found.outcome == "too few seeds"
    assert found.sentence == (
        "The ranked-best layer a returned 1.000 [1.000, 1.000] and was ahead of 2 of 2 controls on average, but there are too few seeds to say "
        "whether that is luck: 1 finished pair with q (p = 1.000 at the very best); the claim needs at least 6 pairs with every control."
    )
    nobody = judged(6, a=1.0, p=[None] * 6)
    assert "0 finished pairs with p; the claim needs" in nobody.sentence
    assert nobody.smallest_p is None


def test_a_difference_of_nothing_at_all_is_no_zero_below_zero() -> None:
    found = judged(6, a=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], p=[0.0001, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert "-0.000 [" not in found.sentence
    assert "+0.000" in found.sentence


# --- claims


def claims(record: RunRecord, ranking: Ranking | None = None) -> dict[str, Any]:
    ranking = ranking or example_ranking()
    return {one.statement: one for one in claims_of(record, ranking, judge_record(record, ranking), "mlp")}


def test_a_claim_about_all_controls_that_holds_is_one_about_each() -> None:
    arms = [plain_arm("a", score=1.0), *(plain_arm(name, "pixels") for name in "pq")]
    whole = claims(plain_record(arms, {"a": [1.0] * 6, "p": [0.0] * 6, "q": [0.5] * 6}))
    for name in "pq":
        one = whole[f"The ranked-best layer beats {name}."]
        assert (one.supported, one.word) == (True, "supported")
        assert one.sentence.endswith("after Holm 0.062; part of the first claim, which holds.")
    behind = claims(plain_record(arms, {"a": [1.0] * 8, "p": [0.0] * 8, "q": [1.5] * 8}))
    assert [behind[f"The ranked-best layer beats {name}."].word for name in "pq"] == ["supported", "not supported"]
    assert behind["The ranked-best layer beats q."].sentence.startswith("Paired difference -0.500 [-0.500, -0.500] over 8 seeds, p = 0.008")


def test_what_one_task_cannot_test_is_described() -> None:
    levels = {"blocks.5": 0.9, "blocks.6": 0.8, "blocks.4": 0.5, "blocks.7": 0.1}
    arms = [plain_arm(name, score=score) for name, score in zip(levels, (0.6, 0.5, 0.4, 0.3), strict=True)]
    found = claims(plain_record(arms, {name: [level, level + 0.01] for name, level in levels.items()}))
    score = found["A higher score means a higher return."]
    assert (score.supported, score.tested, score.word) == (False, False, "not tested")
    assert score.sentence.startswith("Spearman ρ = 1.00 [1.00, 1.00], Kendall τ = 1.00 [1.00, 1.00] over 4 layers")
    assert score.sentence.endswith("Taking the best-scored layer cost 0.000 in return against the best layer trained.")
    few = claims(plain_record(arms[:3], {arm.name: [levels[arm.name]] for arm in arms[:3]}))
    assert few["A higher score means a higher return."].sentence == describe_association(None, 3)
    assert describe_association(None, 3) == "n/a: a rank correlation needs at least 4 layers that differ, and 3 were trained."


def test_a_layer_that_was_trained_under_two_names_counts_once_and_without_a_run_not_at_all() -> None:
    arms = [
        plain_arm("a", score=1.0),
        plain_arm("a (middle)", "middle", layer="a"),
        plain_arm("a elsewhere", "worst", layer="a", store_id="t"),
    ]
    arms += [plain_arm("b", "layer"), plain_arm("c", "layer", head="linear"), plain_arm("twin", "twin")]
    record = plain_record(arms, {arm.name: [0.5] for arm in arms if arm.name != "b"})
    assert names(candidate_arms(record, "mlp")) == ["a", "a elsewhere"]


def test_speed_is_the_area_under_a_curve_of_runs_that_finished() -> None:
    runs = [
        plain_run("a", 0, 1.0, evaluations=((0, (0.0,)), (10, (1.0, 3.0)))),  # from 0 to 2: 1 on average
        plain_run("a", 1, None, evaluations=((0, (5.0,)), (10, (5.0,)))),
        plain_run("a", 2, 4.0, returns=(4.0,)),
        plain_run("a", 3, 4.0, returns=()),
    ]
    record = arms_only(plain_arm("a")).model_copy(update={"runs": tuple(runs)})
    assert learning_speeds(record, "a").tolist() == [1.0, 4.0]
    assert transition_and_speed(record, example_ranking(), "mlp") is None
    assert score_and_return(record, "mlp") is None


# --- parts of a record


def test_a_part_has_one_head_and_whole_networks_and_only_their_runs() -> None:
    arms = [plain_arm("a", head="x"), plain_arm("b", head="y"), plain_arm("s", "scratch", head="z"), plain_arm("c", "cnn", head="z")]
    part = restrict_to_head(plain_record(arms, {arm.name: [1.0, None] for arm in arms}), "x")
    assert names(part.arms) == ["a", "s", "c"]
    assert [run.arm for run in part.runs] == ["a", "a", "s", "s", "c", "c"]


def test_arms_with_a_score_stand_in_the_figure_once_candidates_first() -> None:
    arms = [
        plain_arm("pixels", "pixels", score=0.1),
        plain_arm("a", score=0.5),
        plain_arm("b", "layer"),
        plain_arm("twin", "twin", score=0.2),
    ]
    record = plain_record(arms, {"pixels": [0.0], "a": [1.0], "b": [1.0], "twin": [None]})
    assert names(scored_arms(record, "mlp")) == ["a", "pixels"]


@pytest.mark.parametrize(
    ("kinds", "learned"),
    [(("pixels", "ranked"), "not learned"), (("pixels", "twin"), "not learned"), (("pixels", "scratch"), "learned")],
)
def test_a_task_is_learned_on_a_layer_and_only_without_layers_on_anything(kinds: tuple[str, ...], learned: str) -> None:
    """The pixels earn 1 and the other arm nothing: what no layer learned was not learned here, unless there are no layers."""
    from layerscout.cache.records import ReferenceReturn

    references = tuple(ReferenceReturn(name=name, mean=mean) for name, mean in (("random", 0.0), ("constant", 0.1), ("data", 0.5)))
    record = plain_record([plain_arm(kind, kind) for kind in kinds], {kinds[0]: [1.0] * 5, kinds[1]: [0.0] * 5}, references=references)
    assert gate_of(record).learned == learned


def test_an_estimate_without_seeds_to_vary_has_no_interval() -> None:
    found = judged(1, a=1.0, p=0.0)
    assert found.returned == Estimate(value=1.0)
    assert found.sentence.startswith("The ranked-best layer a returned 1.000 and was ahead of 1 of 1 controls")
