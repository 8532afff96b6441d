"""The score is the formula, the order is by score, layers are compared in pairs, the choices hold every control once."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from synthetic_layers import columns_of, probe

from layerscout.cache.records import Estimate, LayerScore, Ranking
from layerscout.errors import UsageError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.ranking.choose import choose
from layerscout.probe.ranking.compare import chance_by_groups, chance_by_weights, rank_layers
from layerscout.probe.ranking.score import composite, layer_flags, layer_score, normalise_r2, order_layers, score
from layerscout.settings import build

WEIGHTS = (0.45, 0.45, 0.10)


def layer(name: str, depth: int, value: float, role: str = "layer", store_id: str = "", label: str = "") -> LayerScore:
    figure = Estimate(value=0.5)
    return LayerScore(
        name=name,
        role=role,
        depth=depth,
        width=4,
        store_id=store_id,
        label=label,
        reward_r2=None,
        transition_r2=figure,
        effective_rank=figure,
        score=Estimate(value=value),
        reward_r2_shuffled=None,
        persistence_r2=0.1,
        transition_gain=0.4,
    )


def known(
    name: str, depth: int, reward: float, luck: np.ndarray | None = None, role: str = "layer", transition: float = 0.5, skill: float = 0.2
) -> LayerEvidence:
    """Evidence with given figures; ``luck`` is what leaving out each of 16 groups adds to reward R²."""
    luck = np.zeros(16) if luck is None else luck
    flat = {"transition_r2": transition, "transition_skill": skill, "effective_rank": 0.3, "log_rank": 0.6}
    figures = flat | {f"{part}_left": (value,) * 16 for part, value in flat.items()}
    figures |= {"reward_r2": reward, "reward_r2_left": tuple(reward + luck), "persistence_r2": 0.1, "autoregression_r2": 0.2}
    return LayerEvidence.model_validate(
        figures
        | {"name": name, "role": role, "depth": depth, "width": 8, "rows": 1000, "live_features": 8, "massive_features": 0}
        | {"reward_r2_shifted": (), "transition_r2_without_action": None, "transition_r2_weighted": None, "bits_action": None}
        | {"bits_action_by_chance": None, "bits_total": None, "correlation_rank": 4.0, "participation_ratio": 3.0}
        | {"rankme": 5.0, "rankme_centred": 5.0, "spectrum": (1.0,), "penalties": (1.0,), "transition_path": None, "reward_path": None}
        | {"targets": {"state": {"r2": 0.25, "left": None}, "ghost": None}, "transition_penalties": (), "reward_penalties": ()}
        | {"at_grid_edge": 0.0, "confirmation": figures}
    )


def test_score_is_the_formula() -> None:
    assert composite(0.6, 0.8, 0.3, WEIGHTS, "clip") == pytest.approx(0.45 * 0.6 + 0.45 * 0.8 + 0.1 * 0.3)
    assert composite(-0.5, 1.2, 0.3, WEIGHTS, "clip") == pytest.approx(0.45 + 0.03)
    assert composite(-0.5, 0.8, 0.3, WEIGHTS, "affine") == pytest.approx(0.45 * 0.25 + 0.45 * 0.9 + 0.03)
    assert composite(None, 0.8, 0.3, WEIGHTS, "affine") == pytest.approx(0.45 * 0.9 + 0.03)
    assert [normalise_r2(value, "affine") for value in (-3.0, -1.0, 0.0, 1.0)] == [0.0, 0.0, 0.5, 1.0]


def test_score_of_evidence_has_the_interval_of_the_whole_statistic() -> None:
    rng = np.random.default_rng(0)
    columns = columns_of([30] * 20, rng)
    evidence = probe(rng.standard_normal((620, 6)).astype(np.float32), columns, shifts=3)
    found = score(evidence, WEIGHTS, "affine")
    assert found.value == pytest.approx(composite(evidence.reward_r2, evidence.transition_r2, evidence.effective_rank, WEIGHTS, "affine"))
    assert found.low < found.value < found.high
    # with all the weight on the rank, the score is the rank and so is its interval
    alone = score(evidence, (0.0, 0.0, 1.0), "clip")
    groups = len(evidence.effective_rank_left)
    spread = np.sqrt((groups - 1) * np.var(evidence.effective_rank_left))
    assert alone.value - alone.low == pytest.approx(scipy.stats.t.ppf(0.975, groups - 1) * spread, rel=1e-3)


def test_s_skill_is_the_formula_with_skill_and_log_rank() -> None:
    evidence = known("a", 0, 0.4)
    found = score(evidence, WEIGHTS, "affine", "S-skill").value
    assert found == pytest.approx(0.45 * (0.4 + 1) / 2 + 0.45 * 0.2 + 0.10 * 0.6)
    kept = layer_score(evidence, WEIGHTS, "affine", 40)
    assert kept.skill_score.value == pytest.approx(found)
    assert kept.score.value == pytest.approx(0.45 * (0.4 + 1) / 2 + 0.45 * (0.5 + 1) / 2 + 0.10 * 0.3)
    assert kept.targets["state"].value == 0.25
    assert kept.targets["ghost"] is None


def test_the_chosen_score_orders_and_is_confirmed() -> None:
    """One layer has the better R², the other the better skill."""
    plain = known("plain", 0, 0.4, transition=0.9, skill=0.1)
    skilled = known("skilled", 1, 0.4, transition=0.5, skill=0.8)
    for kind, first in (("S", "plain"), ("S-skill", "skilled")):
        config = ProbeConfig(store="x", score=kind, top_k=1)
        best, other = rank_layers([plain, skilled], config, 40)
        assert best.name == first
        assert best.behind_best is None
        chosen = (lambda layer: layer.score) if kind == "S" else (lambda layer: layer.skill_score)
        assert other.behind_best.value == pytest.approx(chosen(best).value - chosen(other).value)
        assert best.confirmation.score.value == pytest.approx(chosen(best).value)  # the same figures, on as few groups
        assert other.confirmation is None


def test_a_paired_difference_forgets_the_luck_that_layers_share() -> None:
    """Both layers have good and bad groups together: their own intervals are wide, that of the difference is not."""
    luck = 0.05 * np.random.default_rng(0).standard_normal(16)
    better, worse = known("better", 0, 0.5, luck), known("worse", 1, 0.45, luck)
    first, second = rank_layers([better, worse], ProbeConfig(store="x"), 40)
    assert first.score.low < second.score.value
    assert second.behind_best.value == pytest.approx(0.45 * 0.05)
    assert second.behind_best.low == pytest.approx(second.behind_best.value)
    assert second.p_top_k == 1.0  # two layers, two places
    one = rank_layers([better, worse], ProbeConfig(store="x", top_k=1), 40)
    assert [layer.p_top_k for layer in one] == [1.0, 0.0]


def test_the_chance_to_be_on_top_is_that_of_the_mean_over_resampled_groups() -> None:
    """For a mean over groups the linearised bootstrap is the bootstrap itself."""
    rng = np.random.default_rng(0)
    groups = np.stack([rng.normal(place, 1.0, 20) for place in (0.3, 0.2, 0.0)])
    scores = np.column_stack([groups.mean(axis=1), (groups.sum(axis=1, keepdims=True) - groups) / 19])
    found = chance_by_groups(scores, 1, seed=0)
    drawn = np.random.default_rng(5).integers(0, 20, (20_000, 20))
    best = groups[:, drawn].mean(axis=2).argmax(axis=0)
    np.testing.assert_allclose(found, np.bincount(best, minlength=3) / 20_000, atol=0.03)
    assert sum(found) == pytest.approx(1)
    assert sum(chance_by_groups(scores, 2, seed=0)) == pytest.approx(2)
    assert found == chance_by_groups(scores, 1, seed=0)
    assert found != chance_by_groups(scores, 1, seed=1)


def test_the_chance_over_weights_has_its_closed_form() -> None:
    """Two layers that differ in one part each win when the weight of theirs is larger: a Beta distribution."""
    first, second = chance_by_weights(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (0.6, 0.4, 0.0), 1, seed=0)
    assert first == pytest.approx(scipy.stats.beta.sf(0.5, 0.6 * 50, 0.4 * 50), abs=0.03)
    assert first + second == pytest.approx(1)
    assert chance_by_weights(np.array([[0.3, 0.9, 0.5], [0.2, 0.8, 0.4]]), WEIGHTS, 1, seed=0) == [1.0, 0.0]


def test_several_stores_are_ranked_with_the_rank_that_is_fair_to_widths() -> None:
    narrow = known("narrow", 0, 0.4).model_copy(update={"effective_rank": 0.9, "log_rank": 0.3, "width": 4})
    wide = known("wide", 0, 0.4).model_copy(update={"effective_rank": 0.1, "log_rank": 0.7, "width": 400})
    config = ProbeConfig(store="x")
    assert rank_layers([narrow, wide], config, 40, [("ls1-a", "a")] * 2)[0].name == "narrow"
    best, other = rank_layers([narrow, wide], config, 40, [("ls1-a", "a"), ("ls1-b", "b")])
    assert (best.name, best.store_id, best.label) == ("wide", "ls1-b", "b")
    assert best.score.value == pytest.approx(0.45 * 0.4 + 0.45 * 0.5 + 0.10 * 0.7)
    assert other.behind_best.value == pytest.approx(0.10 * 0.4)


def test_controls_and_twins_are_not_among_the_best_and_not_confirmed() -> None:
    layers = [known("a", 0, 0.5), known("pixels", -1, 0.9, role="control"), known("a", 0, 0.8, role="twin")]
    best, *others = rank_layers(layers, ProbeConfig(store="x"), 40)
    assert (best.name, best.p_top_k, best.p_top_k_weights) == ("a", 1.0, 1.0)
    assert all(layer.p_top_k is layer.p_top_k_weights is layer.confirmation is None for layer in others)
    assert [layer.behind_best is None for layer in others] == [True, False]  # the best layer is held against untrained blocks, paired


def test_a_part_that_is_undefined_on_the_confirmation_set_alone_leaves_no_score_there() -> None:
    one = known("a", 0, 0.5)
    silent = one.confirmation.model_copy(update={"reward_r2": None, "reward_r2_left": None})
    [layer] = rank_layers([one.model_copy(update={"confirmation": silent})], ProbeConfig(store="x"), 40)
    assert layer.confirmation.score is None
    assert layer.confirmation.transition_r2.value == pytest.approx(0.5)


def test_without_intervals_there_is_no_chance_over_groups() -> None:
    """One group holds all the reward's variance, so that nothing is known without it."""
    layers = [known(name, depth, 0.5 - depth / 10).model_copy(update={"reward_r2_left": None}) for depth, name in enumerate("ab")]
    first, second = rank_layers(layers, ProbeConfig(store="x", top_k=1), 40)
    assert first.p_top_k is second.p_top_k is None
    assert second.behind_best.low is None
    assert (first.p_top_k_weights, second.p_top_k_weights) == (1.0, 0.0)


def test_the_choice_of_several_stores_takes_the_controls_of_the_best_layers_store() -> None:
    """The best layer's twin is that of its own backbone, not one of the same name."""
    layers = [
        layer(name, 0, value, role, store, label)
        for name, value, role, store, label in (
            ("b0", 0.5, "layer", "ls1-a", "a"),
            ("b0", 0.7, "layer", "ls1-b", "b"),
            ("pixels", 0.1, "control", "ls1-a", "a"),
            ("pixels", 0.1, "control", "ls1-b", "b"),
            ("b0", 0.1, "twin", "ls1-t", "a"),
            ("b0", 0.1, "twin", "ls1-u", "b"),
        )
    ]
    choices, _ = choose(order_layers(layers), 1, "ls1-a", "ls1-t")
    assert [(choice.kind, choice.store_id) for choice in choices] == [
        ("ranked", "ls1-b"),
        ("worst", "ls1-a"),
        ("twin", "ls1-u"),
        ("pixels", "ls1-b"),
    ]


def test_rankings_of_before_can_be_read() -> None:
    """A layer without any of the later fields."""
    old = dict.fromkeys(("reward_r2", "transition_r2", "score", "reward_r2_shuffled", "persistence_r2", "transition_gain"))
    old |= {"name": "b0", "role": "layer", "depth": 0, "width": 4, "effective_rank": {"value": 0.5}}
    ranking = {"store_id": "s", "twin_store_id": None, "dataset_digest": "d", "backbone": "b", "score_version": "S/1"}
    ranking |= {"weights": WEIGHTS, "normalisation": "clip", "rows": 3, "episodes": 2, "folds": 3, "layers": [old]}
    found = Ranking.model_validate(ranking)
    assert (found.score_kind, found.confirmation_episodes, found.layers[0].method) == ("S/1", 0, "exact")


def test_order_is_by_score_then_depth_and_never_ranks_controls() -> None:
    layers = [layer("a", 0, 0.2), layer("b", 1, 0.7), layer("c", 2, 0.7), layer("pixels", -1, 0.99, "control"), layer("b", 1, 0.98, "twin")]
    assert [(item.role, item.name) for item in order_layers(layers)] == [
        ("layer", "b"),
        ("layer", "c"),
        ("layer", "a"),
        ("control", "pixels"),
        ("twin", "b"),
    ]


def test_choices_hold_the_best_the_middle_the_worst_and_the_controls() -> None:
    scores = [0.1, 0.5, 0.3, 0.9, 0.8, 0.2]
    layers = [layer(f"b{depth}", depth, value) for depth, value in enumerate(scores)]
    layers += [layer(f"b{depth}", depth, 0.1, "twin") for depth in range(6)] + [layer("pixels", -1, 0.4, "control")]
    choices, notes = choose(order_layers(layers), 2, "store", "twin")
    assert [(choice.kind, choice.store_id, choice.layer, choice.rank) for choice in choices] == [
        ("ranked", "store", "b3", 1),
        ("ranked", "store", "b4", 2),
        ("worst", "store", "b0", 6),
        ("twin", "twin", "b3", None),
        ("pixels", "store", "pixels", None),
    ]
    assert notes == ("the middle layer b3 is already chosen as ranked",)


def test_one_layer_is_chosen_once() -> None:
    choices, notes = choose([layer("only", 0, 0.3)], 2, "store", None)
    assert [choice.kind for choice in choices] == ["ranked"]
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weights": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"groups": 3}, "at least as many"),
        ({"folds": 2}, "expected at least 3"),
        ({"penalties": (1.0, 0.1)}, "must rise"),
        ({"confirmation": 0.001}, "must be 0, or from 0.01 to 0.5"),
        ({"score": "S/1"}, "expected auto, S-ctrl, S or S-skill"),
        ({"fold": 5}, "did you mean 'folds'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(ProbeConfig, {"store": "x"} | settings, "probe")


def flags_of(episodes: int = 30, **figures: object) -> tuple[str, ...]:
    return layer_flags(known("a", 0, 0.5).model_copy(update=figures), episodes)


SHUFFLED = tuple(np.random.default_rng(0).standard_normal(50) / 100)


@pytest.mark.parametrize(
    ("flag", "raised", "at_the_limit"),
    [
        ("PERSISTENCE", {"transition_r2": 0.5, "autoregression_r2": 0.4801}, {"transition_r2": 0.5, "autoregression_r2": 0.4799}),
        ("NO_ACTION", {"bits_action": 0.1, "bits_action_by_chance": 0.1}, {"bits_action": 0.1001, "bits_action_by_chance": 0.1}),
        ("NO_ACTION", {"bits_action": 0.0}, {"bits_action": 0.0001}),
        ("NO_ACTION", {"bits_action": -1.0}, {"bits_action": None}),
        ("COLLAPSED", {"correlation_rank": 2.999}, {"correlation_rank": 3.0}),
        ("DEAD_DIMS", {"live_features": 7}, {"live_features": 8}),
        ("UNDERSAMPLED", {"rows": 79}, {"rows": 80}),
        ("ALPHA_EDGE", {"at_grid_edge": 0.51}, {"at_grid_edge": 0.5}),
        (
            "REWARD_NULL",
            {"reward_r2": float(np.percentile(SHUFFLED, 97.5)), "reward_r2_shifted": SHUFFLED},
            {"reward_r2": float(np.percentile(SHUFFLED, 97.5)) + 1e-9, "reward_r2_shifted": SHUFFLED},
        ),
        ("REWARD_NULL", {"reward_r2": -1.0, "reward_r2_shifted": SHUFFLED}, {"reward_r2": -1.0, "reward_r2_shifted": ()}),
        ("REWARD_NULL", {"reward_r2": -1.0, "reward_r2_shifted": SHUFFLED}, {"reward_r2": None, "reward_r2_shifted": SHUFFLED}),
    ],
)
def test_a_flag_is_raised_below_its_limit_and_not_at_it(flag: str, raised: dict, at_the_limit: dict) -> None:
    assert flag in flags_of(**raised)
    assert flag not in flags_of(**at_the_limit)


def test_few_episodes_are_fewer_than_thirty() -> None:
    assert "FEW_EPISODES" in flags_of(29)
    assert flags_of(30) == ()


def test_shuffled_rewards_are_shown_by_numpys_percentiles() -> None:
    found = layer_score(known("a", 0, 0.5).model_copy(update={"reward_r2_shifted": SHUFFLED}), WEIGHTS, "clip", 40).reward_r2_shuffled
    assert found.value == pytest.approx(np.mean(SHUFFLED))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(SHUFFLED, [2.5, 97.5])), abs=0)
    assert layer_score(known("a", 0, 0.5), WEIGHTS, "clip", 40).reward_r2_shuffled is None
