"""S-ctrl on episodes that had no part in the ranking; and when it orders without being asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from synthetic_layers import MemoryStore, columns_of, controllable_state, prepare, probe, with_reward

from layerscout.cache.records import Ranking
from layerscout.probe.config import ProbeConfig
from layerscout.probe.plan import plan_stores
from layerscout.probe.ranking.control import control_parts_held, control_score, control_score_held
from layerscout.probe.run import run


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A layer of 5 features that a continuous action of two columns pushes, and a state of two columns that it shows in part."""
    rng = np.random.default_rng(3)
    columns = columns_of([40] * 80, rng)
    last = columns["action"] < 0
    force = np.where(last[:, None], np.nan, rng.standard_normal((len(last), 2)))
    layer = rng.standard_normal((len(last), 5))
    pushed = np.flatnonzero(columns["step"] > 0)
    layer[pushed] += np.nan_to_num(force[pushed - 1]) @ rng.standard_normal((2, 5))
    state = layer @ rng.standard_normal((5, 2)) + rng.standard_normal((len(last), 2))
    return layer.astype(np.float32), columns | {"action": force, "state": state}


def test_held_out_bits_are_those_of_two_regressions_of_the_action(world) -> None:
    """½ log₂ of the ratio of what [z] and what [z, z'] leave of the action, both fitted on the rows that ranked."""
    layer, columns = world
    found = probe(layer, columns, shifts=0, precision="float64")
    transitions, split = prepare(columns, ProbeConfig(store="memory", shifts=0))
    group = split.group_of_episode[transitions.episode]
    train, test = (np.isin(group, groups) for groups in (split.ranking, split.confirmation))
    now, after = (layer[transitions.row + ahead].astype(np.float64) for ahead in (0, 1))

    def left(x: np.ndarray) -> np.ndarray:
        model = LinearRegression().fit(x[train], transitions.inputs[train])
        return np.asarray(transitions.inputs[test] - model.predict(x[test]))

    def bits(rows: np.ndarray) -> float:
        first, second = (np.cov(part[rows].T, bias=True) for part in (left(now), left(np.hstack([now, after]))))
        by_chance = np.log2((train.sum() - 7) / (train.sum() - 12))  # 5 and 10 predictors, 2 columns of the action
        return float(np.log2(np.linalg.det(first) / np.linalg.det(second)) / 2 + by_chance)

    held = found.confirmation
    assert held.bits_action == pytest.approx(bits(np.ones(test.sum(), bool)), abs=2e-3)  # the fit has a noise floor of 10⁻⁴
    np.testing.assert_allclose(held.bits_action_left, [bits(group[test] != one) for one in split.confirmation], atol=2e-3)
    assert held.bits_action == pytest.approx(found.bits_action, abs=0.15)


def test_held_out_state_is_the_mean_over_its_columns_of_the_fit_on_all_that_ranked(world) -> None:
    layer, columns = world
    penalties = (1e-3, 1e-1, 10.0)
    found = probe(layer, columns, shifts=2, precision="float64", penalties=penalties, targets=("state", "return_to_go"))
    transitions, split = prepare(columns, ProbeConfig(store="memory", shifts=2, targets=("state", "return_to_go")))
    group = split.group_of_episode[transitions.episode]
    train, test = (np.isin(group, groups) for groups in (split.ranking, split.confirmation))
    now = layer[transitions.row].astype(np.float64)
    places = [place for place, name in enumerate(transitions.target_names) if name == "state"]
    state = np.column_stack([transitions.scalars[:, place] for place in places])
    best = max(
        r2_score(
            state[test],
            make_pipeline(StandardScaler(), Ridge(alpha=penalty * train.sum())).fit(now[train], state[train]).predict(now[test]),
        )
        for penalty in penalties
    )
    assert len(places) == 2
    assert found.confirmation.state.r2 == pytest.approx(best, abs=2e-3)
    assert len(found.confirmation.state.left) == len(split.confirmation)


def test_held_out_bits_of_noise_average_to_zero() -> None:
    """60 features and 640 rows: without the correction a layer that tells nothing would come out at −0.15."""
    rng = np.random.default_rng(0)
    bits = []
    for _ in range(30):
        columns = columns_of([20] * 40, rng)
        layer = rng.standard_normal((len(columns["step"]), 60)).astype(np.float32)
        bits.append(probe(layer, columns, shifts=0, penalties=(1.0,)).confirmation.bits_action)
    assert abs(np.mean(bits)) < 3 * np.std(bits) / np.sqrt(30)
    assert np.std(bits) < 0.1


def test_a_wide_layer_is_not_told_to_fall_by_its_width_alone() -> None:
    """Where the truth is the same, few rows for many features leave the held-out figure where that of the ranking is."""
    rng = np.random.default_rng(1)
    differences = []
    for _ in range(10):
        columns = columns_of([20] * 60, rng)
        layer = 0.4 * controllable_state(columns, 80, rng, memory=0.3) + rng.standard_normal((len(columns["step"]), 80))
        found = probe(layer.astype(np.float32), columns, shifts=0, penalties=(1.0,))
        differences.append(found.confirmation.bits_action - found.bits_action)
    assert found.bits_action > 0.3
    assert abs(np.mean(differences)) < 3 * np.std(differences) / np.sqrt(10)


def test_the_confirmed_score_is_made_of_the_held_out_parts(world) -> None:
    layer, columns = world
    found = probe(layer, columns, shifts=0)
    held = found.confirmation
    effect = 1 - 2 ** (-2 * held.bits_action / found.action_columns)
    assert control_score_held(found).value == pytest.approx((effect + held.state.r2) / 2)
    assert control_score_held(found).low < control_score_held(found).value < control_score_held(found).high
    assert control_score_held(found).value == pytest.approx(control_score(found).value, abs=0.1)
    assert control_parts_held(found.model_copy(update={"confirmation": held.model_copy(update={"state": None})})) is None, (
        "half a score is none"
    )
    assert control_score_held(probe(layer, columns, shifts=0, confirmation=0)) is None
    assert control_score_held(probe(layer, columns, shifts=0, measures=False)) is None


def ranking_of(arrays: dict[str, np.ndarray], columns: dict[str, np.ndarray], out: Path, **settings: object) -> Ranking:
    config = ProbeConfig(store="ls1-memory", out=out, shifts=0, **settings)
    return run(plan_stores(config, MemoryStore("ls1-memory", columns, arrays)))


@pytest.fixture(scope="module")
def slow_and_pushed() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A layer that drifts slowly, which S prefers, and one that the action pushes."""
    rng = np.random.default_rng(1)
    columns = columns_of([30] * 60, rng)
    drift = np.cumsum(0.05 * rng.standard_normal((len(columns["step"]), 8)), axis=0)
    pushed = controllable_state(columns, 8, rng, memory=0.3)
    columns = with_reward(columns, drift[:, 0] + rng.standard_normal(len(drift)))
    return {"slow": drift.astype(np.float32), "pushed": pushed.astype(np.float32)}, columns


def test_control_orders_unless_it_is_asked_otherwise(slow_and_pushed, tmp_path: Path) -> None:
    arrays, columns = slow_and_pushed
    found = ranking_of(arrays, columns, tmp_path)
    assert found.score_kind == "S-ctrl/1"
    assert [layer.name for layer in found.candidates] == ["pushed", "slow"]
    assert found.candidates[0].confirmation.score is not None
    by_s = ranking_of(arrays, columns, tmp_path, score="S")
    assert (by_s.score_kind, [layer.name for layer in by_s.candidates]) == ("S/1", ["slow", "pushed"])


def test_without_actions_s_orders_and_says_so(slow_and_pushed, tmp_path: Path) -> None:
    arrays, columns = slow_and_pushed
    found = ranking_of(arrays, columns | {"action": np.full(len(columns["step"]), -1, np.int32)}, tmp_path)
    assert found.score_kind == "S/1"
    assert any(note.startswith("S orders") and note.endswith("of any layer") for note in found.notes)


def test_one_layer_without_bits_makes_s_order_and_is_named(slow_and_pushed, tmp_path: Path) -> None:
    arrays, columns = slow_and_pushed
    few = columns["episode"] < 12  # 360 rows
    wide = np.random.default_rng(0).standard_normal((few.sum(), 500)).astype(np.float32)
    arrays = {name: array[few] for name, array in arrays.items()} | {"wide": wide}
    found = ranking_of(arrays, {name: column[few] for name, column in columns.items()}, tmp_path, measures=False)
    assert found.score_kind == "S/1"
    assert any(note.startswith("S orders") and note.endswith("of wide") for note in found.notes)


def test_an_order_by_noise_is_said(slow_and_pushed, tmp_path: Path) -> None:
    arrays, columns = slow_and_pushed
    found = ranking_of({"slow": arrays["slow"]}, columns, tmp_path)
    assert found.score_kind == "S-ctrl/1"
    assert any("orders by noise" in note for note in found.notes)
