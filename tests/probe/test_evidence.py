"""Intervals, ranks and bits meet their closed forms; what is undefined is None; memory stays below the estimate."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from synthetic_layers import MemoryReader, columns_of, controllable_state, prepare, probe, rows_of, with_reward

from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.components import jackknife, transition_skill
from layerscout.probe.evidence.evidence import measure
from layerscout.probe.moments.moments import accumulate, moment_bytes
from layerscout.probe.ranking.score import layer_flags
from layerscout.probe.solve.rank import effective_rank


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Forty episodes of one controllable world, seen through a good layer."""
    rng = np.random.default_rng(0)
    columns = columns_of([50] * 40, rng)
    state = controllable_state(columns, 6, rng)
    mixed = state @ rng.standard_normal((6, 16)) + 0.3 * rng.standard_normal((len(state), 16))
    return mixed.astype(np.float32), with_reward(columns, state[:, 0])


def test_memory_stays_below_the_estimate() -> None:
    config = ProbeConfig(store="memory", shifts=5)
    transitions, split = prepare(columns_of([100] * 60, np.random.default_rng(0)), config)
    layer = np.random.default_rng(0).standard_normal((6060, 128), dtype=np.float32).astype(np.float16)
    tracemalloc.start()
    moments = accumulate("z", MemoryReader(layer), transitions, split, config.precision)
    measure("z", "layer", 0, moments, transitions, split, config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < moment_bytes(6060, 128, 3, 7, split.groups, split.folds, config.precision)


def test_equal_rewards_and_absent_rewards_are_undefined(world) -> None:
    layer, columns = world
    for value in (1.0, np.nan):
        found = probe(layer, with_reward(columns, np.full(len(columns["step"]), value)))
        assert found.reward_r2 is None
        assert found.reward_r2_left is None
        assert found.reward_r2_shifted == ()
        assert "REWARD_NULL" not in layer_flags(found, 40)
        assert found.transition_r2 is not None


def test_a_constant_layer_has_no_transition_figure_and_one_dimension(world) -> None:
    found = probe(np.full((len(world[1]["step"]), 5), 2.5, dtype=np.float32), world[1])
    assert found.transition_r2 is found.persistence_r2 is found.bits_action is None
    assert found.effective_rank == pytest.approx(1 / 5)
    assert -0.1 < found.reward_r2 <= 0  # the training mean, told of other episodes


def test_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).standard_normal(20)
    left = tuple((values.sum() - values) / 19)
    found = jackknife(float(values.mean()), left)
    low, high = scipy.stats.t.interval(0.95, 19, values.mean(), scipy.stats.sem(values))
    assert found.low == pytest.approx(low)
    assert found.high == pytest.approx(high)
    assert jackknife(None, left) is None
    assert jackknife(0.5, None).low is None


def test_values_without_a_group_are_those_of_the_other_rows(world) -> None:
    """Predictions stay, one group's rows go: exact for the reward, to a small part of the spread for the others."""
    layer, columns = world
    penalties = (0.01,)
    config = ProbeConfig(store="memory", penalties=penalties)
    found = probe(layer, columns, penalties=penalties, precision="float64")
    rows = rows_of(layer, columns, config)
    reward, after = np.empty(len(rows.now)), np.empty_like(rows.after)
    for fold in range(5):
        train, test = rows.fold != fold, rows.fold == fold
        model = make_pipeline(StandardScaler(), Ridge(alpha=0.01 * train.sum()))
        reward[test] = model.fit(rows.now[train], rows.scalars[train, 0]).predict(rows.now[test])
        after[test] = model.fit(rows.inputs[train], rows.after[train]).predict(rows.inputs[test])
    kept = [rows.group != group for group in range(len(np.unique(rows.group)))]
    np.testing.assert_allclose(found.reward_r2_left, [r2_score(rows.scalars[keep, 0], reward[keep]) for keep in kept], atol=1e-9)
    transition = [r2_score(rows.after[keep], after[keep]) for keep in kept]
    assert np.abs(np.subtract(found.transition_r2_left, transition)).max() < 0.2 * np.std(transition)
    assert np.std(found.transition_r2_left) == pytest.approx(np.std(transition), rel=0.1)
    rank = [effective_rank(np.linalg.eigvalsh(np.cov(rows.now[keep].T))) / 16 for keep in kept]
    assert np.abs(np.subtract(found.effective_rank_left, rank)).max() < 0.2 * np.std(rank)
    logs = [np.log(effective_rank(np.linalg.eigvalsh(np.corrcoef(rows.now[keep].T)))) / np.log(16) for keep in kept]
    assert np.abs(np.subtract(found.log_rank_left, logs)).max() < 0.2 * np.std(logs)


def test_a_feature_that_lives_in_one_episode_does_not_rule_the_interval(world) -> None:
    layer, columns = world
    rare = np.where(columns["episode"] == 7, np.random.default_rng(0).standard_normal(len(columns["episode"])), 0.0)[:, None]
    found = probe(np.hstack([layer, rare]).astype(np.float32), columns)
    assert found.live_features == 17
    assert np.ptp(found.transition_r2_left) < 2 * np.ptp(probe(layer, columns).transition_r2_left)


def test_effective_rank_has_its_closed_forms() -> None:
    assert effective_rank(np.ones(7)) == pytest.approx(7)
    assert effective_rank(np.array([0.0, 0.0, 5.0])) == pytest.approx(1)
    assert effective_rank(np.array([0.5, 0.5, 0.0, 0.0])) == pytest.approx(2)
    rng = np.random.default_rng(0)
    columns = columns_of([100] * 20, rng)
    white = probe(rng.standard_normal((2020, 10)).astype(np.float32), columns, shifts=0)
    assert white.effective_rank > 0.99
    line = rng.standard_normal((2020, 1)) * rng.standard_normal(10)
    assert probe(line.astype(np.float32), columns, shifts=0).effective_rank == pytest.approx(0.1, abs=1e-4)


def test_ranks_are_those_of_the_named_matrices(world) -> None:
    layer, columns = world
    far = layer + np.linspace(-30, 30, 16, dtype=np.float32)
    found = probe(far, columns, shifts=0, precision="float64")
    now = rows_of(far, columns, ProbeConfig(store="memory", shifts=0)).now
    assert found.rankme == pytest.approx(effective_rank(np.linalg.svd(now, compute_uv=False)), rel=1e-6)
    assert found.rankme_centred == pytest.approx(effective_rank(np.linalg.svd(now - now.mean(axis=0), compute_uv=False)), rel=1e-6)
    values = np.linalg.eigvalsh(np.cov(now.T))[::-1]
    assert found.participation_ratio == pytest.approx(values.sum() ** 2 / np.sum(values**2), rel=1e-6)
    np.testing.assert_allclose(found.spectrum, values / values.sum(), rtol=1e-6)
    correlation = effective_rank(np.linalg.eigvalsh(np.corrcoef(now.T)))
    assert found.correlation_rank == pytest.approx(correlation, rel=1e-6)
    assert found.log_rank == pytest.approx(np.log(correlation) / np.log(16), rel=1e-6)
    few = probe(far[: 51 * 5], {name: column[: 51 * 5] for name, column in columns.items()}, shifts=0, confirmation=0.0, folds=3)
    assert few.log_rank == pytest.approx(np.log(few.correlation_rank) / np.log(16))


def test_one_feature_fills_its_one_dimension(world) -> None:
    layer, columns = world
    found = probe(layer[:, :1], columns, shifts=0)
    assert found.effective_rank == found.log_rank == found.rankme == pytest.approx(1)
    assert found.confirmation.log_rank == 1


def test_skill_is_what_is_explained_beyond_the_best_trivial_forecast() -> None:
    transition, persistence, autoregression = np.array(
        [[0.9, 0.5, -0.2, 1.0, 0.3], [0.8, -1.0, -3.0, 1.0, 0.6], [0.6, -0.5, 0.0, 0.9, 0.2]]
    )
    np.testing.assert_allclose(transition_skill(transition, persistence, autoregression), [0.5, 0.5, 0.0, 0.0, 0.0])


def test_confirmation_is_the_fit_on_all_that_ranked_tested_on_the_rest(world) -> None:
    layer, columns = world
    settings = {"penalties": (1e-3, 1e-2, 10.0), "shifts": 2, "precision": "float64"}
    transitions, split = prepare(columns, ProbeConfig(store="memory", **settings))
    found = probe(layer, columns, **settings)
    group = split.group_of_episode[transitions.episode]
    train, test = (np.isin(group, groups) for groups in (split.ranking, split.confirmation))
    now, after = (layer[transitions.row + ahead].astype(np.float64) for ahead in (0, 1))
    inputs, reward = np.hstack([now, transitions.inputs]), transitions.scalars[:, 0]

    def predicted(x: np.ndarray, y: np.ndarray, path: tuple[float, ...]) -> np.ndarray:
        penalty = settings["penalties"][int(np.argmax(path))]
        model = make_pipeline(StandardScaler(), Ridge(alpha=penalty * train.sum()))
        return model.fit(x[train], y[train]).predict(x[test])

    said, ahead = predicted(now, reward, found.reward_path), predicted(inputs, after, found.transition_path)
    confirmed = found.confirmation
    assert confirmed.reward_r2 == pytest.approx(r2_score(reward[test], said), abs=1e-8)
    assert confirmed.transition_r2 == pytest.approx(r2_score(after[test], ahead), abs=1e-8)
    assert confirmed.persistence_r2 == pytest.approx(r2_score(after[test], now[test]), abs=1e-6)
    kept = [group[test] != left for left in split.confirmation]
    rewards = [r2_score(reward[test][keep], said[keep]) for keep in kept]
    np.testing.assert_allclose(confirmed.reward_r2_left, rewards, atol=1e-8)
    transition = [r2_score(after[test][keep], ahead[keep]) for keep in kept]
    assert np.std(confirmed.transition_r2_left) == pytest.approx(np.std(transition), rel=0.2)
    assert confirmed.effective_rank == pytest.approx(effective_rank(np.linalg.eigvalsh(np.cov(now[test].T))) / 16, abs=1e-6)
    rank = [effective_rank(np.linalg.eigvalsh(np.cov(now[test][keep].T))) / 16 for keep in kept]
    assert np.std(confirmed.effective_rank_left) == pytest.approx(np.std(rank), rel=0.5)  # by the derivative at the other rows


def test_bits_of_action_have_their_closed_form_and_ignore_linear_maps() -> None:
    """z' = b a + noise with a fair coin a: bits = ½ log₂ (1 + b² / 4 / σ²); any invertible map of z leaves them."""
    rng = np.random.default_rng(0)
    columns = columns_of([100] * 60, rng, actions=2)
    layer = rng.standard_normal((len(columns["step"]), 3))
    pushed = np.flatnonzero(columns["step"] > 0)
    layer[pushed, 0] += 3.0 * columns["action"][pushed - 1]
    found = probe(layer.astype(np.float32), columns, shifts=0, precision="float64")
    assert found.bits_action == pytest.approx(0.5 * np.log2(1 + 9 / 4), abs=0.03)
    turned = probe((1e3 * layer @ rng.standard_normal((3, 3)) + 50).astype(np.float32), columns, shifts=0, precision="float64")
    assert turned.bits_action == pytest.approx(found.bits_action, abs=2e-3)  # the noise floor is in the features' own axes
    assert found.bits_action_by_chance < 0.01
    rounded = probe(layer.astype(np.float32), columns, shifts=0, precision="float32")
    assert rounded.bits_action == pytest.approx(found.bits_action, abs=1e-5), "one ranking may hold layers of both precisions"


def test_bits_of_continuous_actions_and_in_total_have_their_closed_forms() -> None:
    """z' = ρ z + b a + noise, each of variance 1: action ½ log₂ (1 + b²), in total ½ log₂ of variance / noise."""
    rng = np.random.default_rng(0)
    columns = columns_of([200] * 60, rng)
    last = columns["action"] < 0
    force = np.where(last[:, None], np.nan, rng.standard_normal((len(last), 1)))
    layer = np.zeros((len(last), 2))
    variance = (1 + 2.0**2) / (1 - 0.8**2)
    for row, step in enumerate(columns["step"]):
        noise = rng.standard_normal(2)
        moved = [0.8 * layer[row - 1, 0] + 2.0 * np.nan_to_num(force[row - 1, 0]) + noise[0], noise[1]]
        layer[row] = noise * np.sqrt([variance, 1.0]) if step == 0 else moved
    found = probe(layer.astype(np.float32), columns | {"action": force}, shifts=0)
    assert found.bits_action == pytest.approx(0.5 * np.log2(1 + 4), abs=0.02)
    assert found.bits_total == pytest.approx(0.5 * np.log2(variance), abs=0.06)
    assert found.transition_skill == pytest.approx(1 - (1 + 1 / variance) / (2 - 0.8**2), abs=0.02)


def test_bits_of_independent_actions_average_to_zero() -> None:
    """Wide layers and few rows: without Wilks' correction chance alone would give more than a bit."""
    bits, by_chance = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        columns = columns_of([20] * 12, rng)
        found = probe(rng.standard_normal((12 * 21, 40)).astype(np.float32), columns, shifts=0, penalties=(1.0,))
        bits.append(found.bits_action)
        by_chance.append(found.bits_action_by_chance)
    assert abs(np.mean(bits)) < 3 * np.std(bits) / np.sqrt(30)
    assert np.mean(np.array(bits) > np.array(by_chance)) < 0.2
    assert np.std(bits) == pytest.approx(np.mean(by_chance) / 1.645, rel=0.5)
