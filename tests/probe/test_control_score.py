"""S-ctrl: ranks inside a ranking, an absolute form for one layer, and nothing where there is no action."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_layers import columns_of

from layerscout.cache.records import Estimate
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence, TargetFigure
from layerscout.probe.evidence.measures import CONTROL_RANK
from layerscout.probe.ranking.compare import chance_by_groups, chance_by_ranks, rank_layers
from layerscout.probe.ranking.control import control_parts, control_ranks, control_score, mean_rank

GROUPS = 20


@pytest.fixture(scope="module")
def plain() -> LayerEvidence:
    from synthetic_layers import probe

    rng = np.random.default_rng(0)
    columns = columns_of([12] * 40, rng)
    return probe(rng.standard_normal((len(columns["step"]), 4)).astype(np.float32), columns, shifts=0)


def layer(plain: LayerEvidence, name: str, depth: int, bits: float | None, state: float | None = None, **changes: object) -> LayerEvidence:
    rng = np.random.default_rng(depth)
    left = None if bits is None else tuple((bits + 0.01 * rng.standard_normal(GROUPS)).tolist())
    figure = None if state is None else TargetFigure(r2=state, left=tuple((state + 0.01 * rng.standard_normal(GROUPS)).tolist()))
    known = {"bits_action": bits, "bits_action_left": left, "action_columns": 2, "targets": {} if state is None else {"state": figure}}
    return plain.model_copy(update={"name": name, "depth": depth, **known, **changes})


def ranked(evidence: list[LayerEvidence], **settings: object) -> list:
    return list(rank_layers(evidence, ProbeConfig(store="memory", score="S-ctrl", **settings), 40))


def test_the_absolute_form_is_the_share_of_the_actions_effect_that_stands_out(plain: LayerEvidence) -> None:
    found = control_score(layer(plain, "a", 0, 1.5))
    assert found.value == pytest.approx(1 - 2 ** (-2 * 1.5 / 2))
    assert found.low < found.value < found.high
    assert control_score(layer(plain, "a", 0, -0.01)).value == 0
    both = control_score(layer(plain, "a", 0, 1.5, state=0.6))
    assert both.value == pytest.approx((1 - 2**-1.5) / 2 + 0.3)
    assert control_score(layer(plain, "a", 0, 1.5, state=-3.0)).value == pytest.approx((1 - 2**-1.5) / 2)


def test_without_bits_there_is_no_score_and_without_their_interval_none_of_it(plain: LayerEvidence) -> None:
    assert control_score(layer(plain, "a", 0, None)) is None
    assert control_parts(layer(plain, "a", 0, 1.0, action_columns=0)) is None
    alone = control_score(layer(plain, "a", 0, 1.0, state=0.5).model_copy(update={"bits_action_left": None}))
    assert (alone.low, alone.high) == (None, None)


def test_layers_stand_in_the_order_of_their_bits(plain: LayerEvidence) -> None:
    found = ranked([layer(plain, "a", 0, 0.2), layer(plain, "b", 1, 2.0), layer(plain, "c", 2, 1.0), layer(plain, "d", 3, None)])
    assert [one.name for one in found] == ["b", "c", "a", "d"]
    assert [one.measures.get(CONTROL_RANK) and one.measures[CONTROL_RANK].value for one in found] == [1.0, 0.5, 0.0, None]
    assert found[0].behind_best is None
    assert found[1].behind_best.value == pytest.approx(found[0].control_score.value - found[1].control_score.value)
    assert found[3].behind_best is None
    assert [one.p_top_k_weights for one in found] == [None] * 4


def test_with_a_state_the_two_ranks_count_alike_whatever_their_scale(plain: LayerEvidence) -> None:
    """The first is best by bits and worst by state, the second second by both: ranks tie with the last, and depth decides."""
    found = ranked([layer(plain, "a", 0, 9.0, 0.90), layer(plain, "b", 1, 1.0, 0.91), layer(plain, "c", 2, 0.9, 0.92)], top_k=1)
    assert [one.name for one in found] == ["a", "b", "c"]
    assert [one.measures[CONTROL_RANK].value for one in found] == [0.5, 0.5, 0.5]
    better = ranked([layer(plain, "a", 0, 9.0, 0.90), layer(plain, "b", 1, 1.0, 0.93), layer(plain, "c", 2, 0.9, 0.92)], top_k=1)
    assert [one.name for one in better] == ["b", "a", "c"]
    assert sum(one.p_top_k for one in better) == pytest.approx(1)
    assert better[0].p_top_k > 0.5


def test_a_layer_is_behind_the_best_by_the_mean_of_both_parts(plain: LayerEvidence) -> None:
    found = ranked([layer(plain, "a", 0, 2.0, 0.9), layer(plain, "b", 1, 1.0, 0.3)])
    assert found[1].behind_best.value == pytest.approx(found[0].control_score.value - found[1].control_score.value)
    assert found[1].behind_best.value == pytest.approx((2**-1.0 - 2**-2.0 + 0.6) / 2)


def test_one_layer_alone_is_the_best_for_certain(plain: LayerEvidence) -> None:
    (found,) = ranked([layer(plain, "a", 0, 1.0)])
    assert (found.behind_best, found.p_top_k) == (None, 1.0)


def test_a_layer_whose_bits_have_no_interval_leaves_no_chance_to_any(plain: LayerEvidence) -> None:
    alone = layer(plain, "b", 1, 2.0).model_copy(update={"bits_action_left": None})
    found = ranked([layer(plain, "a", 0, 1.0), alone])
    assert [(one.name, one.p_top_k) for one in found] == [("b", None), ("a", None)]
    assert (found[1].behind_best.low, found[1].behind_best.high) == (None, None)
    both = ranked([alone, layer(plain, "a", 0, 1.0).model_copy(update={"bits_action_left": None})])
    assert [(one.name, one.p_top_k) for one in both] == [("b", None), ("a", None)]


def test_ties_share_their_mean_rank_and_one_layer_is_best(plain: LayerEvidence) -> None:
    assert mean_rank(np.array([[3.0, 1.0, 3.0]])).tolist() == [0.75, 0.0, 0.75]
    assert mean_rank(np.array([[3.0]])).tolist() == [1.0]
    assert control_ranks([]) == []


def test_chances_by_ranks_of_one_part_are_those_by_that_part() -> None:
    scores = np.random.default_rng(0).standard_normal((5, GROUPS + 1)) * 0.1 + np.arange(5)[:, None] * 0.02
    assert chance_by_ranks(scores[:, :, None], 2, 0) == chance_by_groups(scores, 2, 0)


def test_no_layer_has_bits_and_nothing_fails(plain: LayerEvidence) -> None:
    found = ranked([layer(plain, "a", 0, None), layer(plain, "b", 1, None)])
    assert [(one.name, one.control_score, one.p_top_k) for one in found] == [("a", None, None), ("b", None, None)]


def test_s_stays_in_every_ranking_and_orders_when_asked(plain: LayerEvidence) -> None:
    evidence = [layer(plain, "a", 0, 0.2, reward_r2=0.9), layer(plain, "b", 1, 2.0, reward_r2=0.1)]
    by_s = rank_layers(evidence, ProbeConfig(store="memory", score="S"), 40)
    assert [one.name for one in by_s] == ["a", "b"]
    assert [isinstance(one.control_score, Estimate) for one in by_s] == [True, True]
    assert [one.score for one in ranked(evidence)[::-1]] == [one.score for one in by_s]
