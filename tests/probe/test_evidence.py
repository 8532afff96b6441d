"""Layers with a known fault are flagged; moments, intervals, ranks and bits meet their closed forms."""

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

from layerscout.errors import DataError
from layerscout.probe import moments as moments_module
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence import jackknife, measure
from layerscout.probe.moments import accumulate, moment_bytes
from layerscout.probe.rank import effective_rank
from layerscout.probe.score import flags


@pytest.fixture(scope="module")
def world() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Forty episodes of one controllable world, seen through good and useless layers."""
    rng = np.random.default_rng(0)
    columns = columns_of([50] * 40, rng)
    state = controllable_state(columns, 6, rng)
    columns = with_reward(columns, state[:, 0])
    rows, width = len(state), 16
    mixed = state @ rng.standard_normal((6, width)) + 0.3 * rng.standard_normal((rows, width))
    clock = np.repeat(columns["step"][:, None] / 50, width, axis=1) * rng.standard_normal(width) + 1e-3 * rng.standard_normal((rows, width))
    steps = 0.05 * rng.standard_normal((rows, width))
    walk = np.concatenate([np.cumsum(steps[columns["episode"] == episode], axis=0) + rng.standard_normal(width) for episode in range(40)])
    dead = np.full((rows, width), 3.0)
    dead[:, 0] = state[:, 0]
    layers = {"good": mixed, "clock": clock, "walk": walk, "dead": dead, "noise": rng.standard_normal((rows, width))}
    return {name: layer.astype(np.float32) for name, layer in layers.items()}, columns


@pytest.mark.parametrize(
    ("name", "raised", "not_raised"),
    [
        (
            "good",
            set(),
            {"PERSISTENCE", "NO_ACTION", "COLLAPSED", "DEAD_DIMS", "REWARD_NULL", "UNDERSAMPLED", "FEW_EPISODES", "ALPHA_EDGE"},
        ),
        ("clock", {"PERSISTENCE", "NO_ACTION", "COLLAPSED", "REWARD_NULL"}, {"DEAD_DIMS"}),
        ("walk", {"PERSISTENCE", "NO_ACTION"}, {"DEAD_DIMS", "COLLAPSED"}),
        ("dead", {"DEAD_DIMS", "COLLAPSED"}, {"NO_ACTION", "REWARD_NULL"}),
        ("noise", {"PERSISTENCE", "NO_ACTION", "REWARD_NULL"}, {"DEAD_DIMS", "COLLAPSED"}),
    ],
)
def test_flags_tell_useless_layers(world, name: str, raised: set[str], not_raised: set[str]) -> None:
    layers, columns = world
    found = set(flags(probe(layers[name], columns), episodes=40))
    assert raised <= found
    assert not (not_raised & found)


def test_slow_layers_have_high_transition_r2_and_no_gain(world) -> None:
    layers, columns = world
    walk, noise = probe(layers["walk"], columns), probe(layers["noise"], columns)
    assert walk.transition_r2 > 0.95
    assert abs(walk.bits_action) < 0.05
    assert noise.persistence_r2 < -0.9
    assert abs(noise.transition_r2) < 0.02


def test_a_grid_that_ends_too_early_is_flagged(world) -> None:
    layers, columns = world
    assert "ALPHA_EDGE" in flags(probe(layers["good"], columns, penalties=(30.0, 100.0)), episodes=40)


def test_small_samples_are_flagged() -> None:
    rng = np.random.default_rng(0)
    columns = columns_of([9] * 6, rng)
    found = flags(probe(rng.standard_normal((60, 8)).astype(np.float32), columns), episodes=6)
    assert {"UNDERSAMPLED", "FEW_EPISODES"} <= set(found)


def test_chunks_of_the_store_change_no_bit(world) -> None:
    layers, columns = world
    layer = layers["good"].astype(np.float16)
    whole = probe(layer, columns, chunk_rows=10**6, shifts=3)
    for chunk_rows in (1, 7, 51, 500):
        assert probe(layer, columns, chunk_rows=chunk_rows, shifts=3) == whole


def test_spans_change_only_rounding(world, monkeypatch: pytest.MonkeyPatch) -> None:
    layers, columns = world
    whole = probe(layers["good"], columns, precision="float64", shifts=3)
    monkeypatch.setattr(moments_module, "SPAN_BYTES", 37 * 16 * 8)
    parts = probe(layers["good"], columns, precision="float64", shifts=3)
    assert parts.transition_r2 == pytest.approx(whole.transition_r2, abs=1e-12)
    assert parts.bits_action == pytest.approx(whole.bits_action, abs=1e-9)


def test_moments_are_those_of_the_rows_group_by_group(world) -> None:
    layers, columns = world
    config = ProbeConfig(store="memory", shifts=2)
    transitions, split = prepare(columns, config)
    found = accumulate("z", MemoryReader(layers["good"]), transitions, split, "float64")
    rows = rows_of(layers["good"] - found.shift, columns, config)
    targets = np.hstack([rows.after, rows.scalars])
    for group in range(split.groups):
        x, y = rows.inputs[rows.group == group], targets[rows.group == group]
        assert found.groups.count[group] == len(x)
        np.testing.assert_allclose(found.groups.xx[group], x.T @ x, atol=1e-9)
        np.testing.assert_allclose(found.groups.xy[group], x.T @ y, atol=1e-9)
        np.testing.assert_allclose(found.groups.yy[group], (y**2).sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.groups.xx.sum(axis=0)[:16, :16] + found.edges, rows.after.T @ rows.after, atol=1e-8)


class EndlessReader:
    """A layer that is made as it is read, so that only the probe's own memory counts."""

    def __init__(self, rows: int, width: int) -> None:
        self.shape = (rows, width)

    def read(self, start: int, stop: int) -> np.ndarray:
        return np.random.default_rng(start).standard_normal((stop - start, self.shape[1]), dtype=np.float32).astype(np.float16)

    def chunks(self):
        for start in range(0, self.shape[0], 500):
            yield start, self.read(start, min(start + 500, self.shape[0]))


def test_memory_does_not_grow_with_rows_and_stays_below_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments_module, "SPAN_BYTES", 2**19)
    config = ProbeConfig(store="memory", shifts=5)
    peaks = []
    for episodes in (60, 240):
        transitions, split = prepare(columns_of([100] * episodes, np.random.default_rng(0)), config)
        tracemalloc.start()
        moments = accumulate("z", EndlessReader(101 * episodes, 128), transitions, split)
        measure("z", "layer", 0, moments, split, config)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < moment_bytes(128, 3, 6, split.groups, split.folds, "float64")


@pytest.mark.parametrize("row", [0, 17, 2039])
def test_a_bad_activation_is_named(world, row: int) -> None:
    layers, columns = world
    broken = layers["good"].astype(np.float16)
    broken[row, 5] = np.inf
    with pytest.raises(DataError, match=f"layer 'z' has the value inf in row {row}, feature 5"):
        probe(broken, columns)


def test_equal_rewards_and_absent_rewards_are_undefined(world) -> None:
    layers, columns = world
    for value in (1.0, np.nan):
        found = probe(layers["good"], with_reward(columns, np.full(len(columns["step"]), value)))
        assert found.reward_r2 is None
        assert found.reward_r2_left is None
        assert found.reward_r2_shifted == ()
        assert "REWARD_NULL" not in flags(found, 40)
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
    layers, columns = world
    penalties = (0.01,)
    config = ProbeConfig(store="memory", penalties=penalties)
    found = probe(layers["good"], columns, penalties=penalties, precision="float64")
    rows = rows_of(layers["good"], columns, config)
    reward, after = np.empty(len(rows.now)), np.empty_like(rows.after)
    for fold in range(5):
        train, test = rows.fold != fold, rows.fold == fold
        model = make_pipeline(StandardScaler(), Ridge(alpha=0.01 * train.sum()))
        reward[test] = model.fit(rows.now[train], rows.scalars[train, 0]).predict(rows.now[test])
        after[test] = model.fit(rows.inputs[train], rows.after[train]).predict(rows.inputs[test])
    kept = [rows.group != group for group in range(20)]
    np.testing.assert_allclose(found.reward_r2_left, [r2_score(rows.scalars[keep, 0], reward[keep]) for keep in kept], atol=1e-9)
    transition = [r2_score(rows.after[keep], after[keep]) for keep in kept]
    assert np.abs(np.subtract(found.transition_r2_left, transition)).max() < 0.2 * np.std(transition)
    assert np.std(found.transition_r2_left) == pytest.approx(np.std(transition), rel=0.1)
    rank = [effective_rank(np.linalg.eigvalsh(np.cov(rows.now[keep].T))) / 16 for keep in kept]
    assert np.abs(np.subtract(found.effective_rank_left, rank)).max() < 0.2 * np.std(rank)


def test_a_feature_that_lives_in_one_episode_does_not_rule_the_interval(world) -> None:
    layers, columns = world
    rare = np.where(columns["episode"] == 7, np.random.default_rng(0).standard_normal(len(columns["episode"])), 0.0)[:, None]
    found = probe(np.hstack([layers["good"], rare]).astype(np.float32), columns)
    assert found.live_features == 17
    assert np.ptp(found.transition_r2_left) < 2 * np.ptp(probe(layers["good"], columns).transition_r2_left)


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


def test_bits_of_action_have_their_closed_form_and_ignore_linear_maps() -> None:
    """z' = b a + noise with a fair coin a: bits = ½ log₂ (1 + b² / 4 / σ²); any invertible map of z leaves them."""
    rng = np.random.default_rng(0)
    columns = columns_of([100] * 60, rng, actions=2)
    layer = rng.standard_normal((len(columns["step"]), 3))
    pushed = np.flatnonzero(columns["step"] > 0)
    layer[pushed, 0] += 3.0 * columns["action"][pushed - 1]
    found = probe(layer.astype(np.float32), columns, shifts=0)
    assert found.bits_action == pytest.approx(0.5 * np.log2(1 + 9 / 4), abs=0.03)
    turned = probe((1e3 * layer @ rng.standard_normal((3, 3)) + 50).astype(np.float32), columns, shifts=0)
    assert turned.bits_action == pytest.approx(found.bits_action, abs=1e-3)
    assert found.bits_action_by_chance < 0.01


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
