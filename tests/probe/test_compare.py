"""Layers side by side: paired differences, chances over groups and over weights, all by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from test_score import WEIGHTS, known

from layerscout.probe.config import ProbeConfig
from layerscout.probe.ranking.compare import (
    CONCENTRATION,
    DRAWS,
    chance_by_groups,
    chance_by_weights,
    rank_layers,
    score_behind_best,
)


def test_a_difference_is_the_jackknife_of_the_paired_scores() -> None:
    rng = np.random.default_rng(0)
    best, other = rng.random((9, 3)), rng.random((9, 3))
    found = score_behind_best(best, other, WEIGHTS)
    difference = (best - other) @ np.array(WEIGHTS)
    left = difference[1:]
    error = np.sqrt(7 / 8 * np.sum((left - left.mean()) ** 2))
    reach = scipy.stats.t.ppf(0.975, 7) * error
    assert found.value == pytest.approx(difference[0])
    assert (found.low, found.high) == pytest.approx((max(difference[0] - reach, -1.0), min(difference[0] + reach, 1.0)))
    whole = score_behind_best(best, other[:1], WEIGHTS)  # one of them has no values without a group
    assert (whole.value, whole.low, whole.high) == (pytest.approx(difference[0]), None, None)


def test_a_difference_stays_between_minus_one_and_one() -> None:
    left = np.vstack([np.ones((1, 3)), np.tile([[0.0] * 3, [1.0] * 3], (4, 1))])
    assert score_behind_best(left, 0 * left, WEIGHTS).high == 1.0
    assert score_behind_best(0 * left, left, WEIGHTS).low == -1.0


def test_chances_over_groups_are_shares_of_linearised_samples() -> None:
    scores = np.random.default_rng(1).random((4, 7))
    times = np.random.default_rng(5).multinomial(6, np.full(6, 1 / 6), size=DRAWS)
    drawn = np.array([scores[:, 0] - 5 / 6 * (scores[:, 1:] @ (sample - 1)) for sample in times])
    for top_k in (1, 2):
        first = np.argsort(-drawn, axis=1, kind="stable")[:, :top_k]
        expected = [np.mean((first == place).any(axis=1)) for place in range(4)]
        assert chance_by_groups(scores, top_k, 5) == pytest.approx(expected, abs=0)
        assert sum(chance_by_groups(scores, top_k, 5)) == pytest.approx(top_k)
    assert chance_by_groups(scores, 9, 5) == [1.0] * 4


def test_ties_go_to_the_layer_that_is_ranked_first() -> None:
    assert chance_by_groups(np.ones((3, 5)), 1, 0) == [1.0, 0.0, 0.0]
    assert chance_by_weights(np.ones((3, 3)), WEIGHTS, 2, 0) == [1.0, 1.0, 0.0]


def test_chances_over_weights_are_those_of_a_dirichlet_around_the_weights() -> None:
    parts = np.eye(3)  # a layer is first exactly when its weight is the largest
    found = chance_by_weights(parts, WEIGHTS, 1, 3)
    drawn = np.random.default_rng(3).dirichlet(CONCENTRATION * np.array(WEIGHTS), size=DRAWS)
    assert found == pytest.approx([np.mean(drawn.argmax(axis=1) == place) for place in range(3)], abs=0)
    # a weight of 0 stays 0, and the others are drawn around themselves
    without = chance_by_weights(parts, (0.5, 0.0, 0.5), 1, 3)
    pair = np.random.default_rng(3).dirichlet(CONCENTRATION * np.array([0.5, 0.5]), size=DRAWS)
    assert without == pytest.approx([np.mean(pair[:, 0] > pair[:, 1]), 0.0, np.mean(pair[:, 1] > pair[:, 0])], abs=0)


def test_the_best_is_behind_nobody_and_only_the_best_are_confirmed() -> None:
    config = ProbeConfig(store="memory", top_k=2)
    evidence = [known(name, depth, reward) for depth, (name, reward) in enumerate((("a", 0.2), ("b", 0.6), ("c", 0.4)))]
    found = rank_layers([*evidence, known("pixels", -1, 0.9, role="control")], config, 40)
    assert [layer.name for layer in found] == ["b", "c", "a", "pixels"]
    assert found[0].behind_best is None
    assert found[1].behind_best.value == pytest.approx(0.45 * 0.2)
    assert found[2].behind_best.value == pytest.approx(0.45 * 0.4)
    assert [layer.confirmation is not None for layer in found] == [True, True, False, False]
    assert [layer.p_top_k for layer in found] == [1.0, 1.0, 0.0, None]
    assert found[3].p_top_k_weights is None


def test_weights_are_drawn_as_closely_as_is_said() -> None:
    """A weight of 0.45 has a standard deviation of 0.07, one of 0.10 of 0.04."""
    drawn = np.random.default_rng(0).dirichlet(CONCENTRATION * np.array(WEIGHTS), size=DRAWS)
    np.testing.assert_allclose(drawn.std(axis=0), [0.07, 0.07, 0.04], atol=0.005)


def test_the_rank_is_fair_to_widths_as_soon_as_candidates_come_from_two_stores() -> None:
    config, evidence = ProbeConfig(store="memory"), [known("a", 0, 0.2), known("b", 1, 0.6)]
    alone, together = (0.45 * 0.6 + 0.45 * 0.5 + 0.1 * rank for rank in (0.3, 0.6))
    origins = [("ls1-x", "x"), ("ls1-x", "x")]
    assert rank_layers(evidence, config, 40, origins)[0].score.value == pytest.approx(alone)
    assert rank_layers(evidence, config, 40, [("ls1-x", "x"), ("ls1-y", "y")])[0].score.value == pytest.approx(together)
    others = [known("pixels", -1, 0.1, role="control"), known("a", 0, 0.1, role="twin")]
    mixed = rank_layers([*evidence, *others], config, 40, [*origins, ("ls1-y", "y"), ("ls1-z", "z")])
    assert mixed[0].score.value == pytest.approx(alone), "controls and twins are no candidates"


def test_layers_of_one_name_are_told_apart_by_store_and_role() -> None:
    config, evidence = ProbeConfig(store="memory", top_k=1), [known("a", 0, 0.2), known("a", 0, 0.6)]
    found = rank_layers(evidence, config, 40, [("ls1-x", "x"), ("ls1-y", "y")])
    assert [(layer.store_id, layer.label, layer.reward_r2.value) for layer in found] == [("ls1-y", "y", 0.6), ("ls1-x", "x", 0.2)]
    twin = rank_layers([known("a", 0, 0.2), known("a", 0, 0.6, role="twin")], config, 40)
    assert [(layer.role, layer.reward_r2.value) for layer in twin] == [("layer", 0.2), ("twin", 0.6)]


def test_a_layer_without_intervals_leaves_no_chance_over_groups_to_any() -> None:
    whole = known("a", 0, 0.2).model_copy(update={"reward_r2_left": None})
    found = rank_layers([whole, known("b", 1, 0.6)], ProbeConfig(store="memory", top_k=1), 40)
    assert [layer.p_top_k for layer in found] == [None, None]
    assert [layer.p_top_k_weights for layer in found] == [1.0, 0.0]
