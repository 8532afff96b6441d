"""The probe from moments equals scikit-learn on the rows: penalties, out-of-fold R², controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from synthetic_layers import columns_of, controllable_state, probe, rows_of, with_reward

from layerscout.probe.config import ProbeConfig

pytestmark = pytest.mark.numeric  # figures that must hold on every instruction set


def oracle(
    inputs: np.ndarray, targets: np.ndarray, fold: np.ndarray, config: ProbeConfig, partner_only: bool
) -> tuple[np.ndarray, list[float]]:
    """Nested cross-validation, plainly: out-of-fold predictions and the penalty of each fold."""
    folds = config.folds

    def fits(penalties: Iterable[float], train: np.ndarray, tested: np.ndarray) -> Iterator[np.ndarray]:
        """What a standardised ridge with each penalty says of other rows."""
        scaler = StandardScaler().fit(inputs[train])
        rows, others = scaler.transform(inputs[train]), scaler.transform(inputs[tested])
        for penalty in penalties:
            yield Ridge(alpha=penalty * train.sum()).fit(rows, targets[train]).predict(others).reshape(-1, targets.shape[1])

    predicted, chosen = np.empty_like(targets), []
    for tested in range(folds):
        partner = 0 if folds % 2 and tested == folds - 1 else tested ^ 1
        others = [partner] if partner_only else [other for other in range(folds) if other != tested]
        losses = np.zeros(len(config.penalties))
        for valid in others:
            train = (fold != tested) & (fold != valid)
            variance = targets[train].var(axis=0)
            scale = np.where(variance > 0, variance, np.inf)
            for place, said in enumerate(fits(config.penalties, train, fold == valid)):
                losses[place] += np.sum((targets[fold == valid] - said) ** 2 / scale)
        chosen.append(config.penalties[int(losses.argmin())])
        predicted[fold == tested] = next(fits(chosen[-1:], fold != tested, fold == tested))
    return predicted, chosen


def layer_and_columns(width: int, lengths: list[int], offset: float, actions: int = 3) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    columns = columns_of(lengths, rng, actions)
    state = controllable_state(columns, 4, rng)
    layer = np.tanh(state @ rng.standard_normal((4, width)) / 2) + 0.2 * rng.standard_normal((len(state), width)) + offset
    return layer.astype(np.float32), with_reward(columns, state[:, 0] + rng.standard_normal(len(state)))


PENALTIES = (1e-4, 1e-2, 0.1, 1.0)
RAGGED = [23, 1, 40, 17, 31, 22, 8, 35, 29, 27, 12, 19]
CASES = {
    "plain": {"width": 12, "lengths": RAGGED, "offset": 0.0},
    "far from zero": {"width": 12, "lengths": RAGGED, "offset": 100.0},
    "fewer rows than features": {"width": 60, "lengths": [9, 8, 7, 9, 8, 10, 7], "offset": 1.0},
    "one action only": {"width": 6, "lengths": RAGGED, "offset": 0.0, "actions": 1},
}


@cache  # one oracle for both precisions
def by_scikit_learn(case: str, inner: str) -> list[tuple[float, tuple[float, ...]]]:
    """R² and penalties of the transition, then of the reward and of each of its shifts."""
    config = ProbeConfig(store="memory", inner=inner, shifts=2, penalties=PENALTIES)
    rows = rows_of(*layer_and_columns(**CASES[case]), config)
    predicted, penalties = oracle(rows.inputs, rows.after, rows.fold, config, inner != "all")
    found = [(r2_score(rows.after, predicted), tuple(penalties))]
    for column in range(1 + config.shifts):
        predicted, penalties = oracle(rows.now, rows.scalars[:, [column]], rows.fold, config, inner == "pair")
        found.append((r2_score(rows.scalars[:, column], predicted), tuple(penalties)))
    return found


@pytest.mark.parametrize("inner", ["pair", "scalars", "all"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("float64", 1e-8)])
@pytest.mark.parametrize("case", CASES)
def test_equals_nested_scikit_learn(case: str, precision: str, tolerance: float, inner: str) -> None:
    found = probe(*layer_and_columns(**CASES[case]), precision=precision, inner=inner, shifts=2, penalties=PENALTIES)
    transition, reward, *shifted = by_scikit_learn(case, inner)
    assert found.transition_penalties == transition[1]
    assert found.reward_penalties == reward[1]
    measured = (found.transition_r2, found.reward_r2, *found.reward_r2_shifted)
    assert len(measured) == 2 + 2
    assert all(abs(value - expected) <= tolerance for value, (expected, _) in zip(measured, (transition, reward, *shifted), strict=True))


def test_without_action_is_the_same_probe_on_z_alone_at_the_same_penalty() -> None:
    layer, columns = layer_and_columns(**CASES["plain"])
    config = ProbeConfig(store="memory", precision="float64", penalties=(0.01,), shifts=0)
    rows = rows_of(layer, columns, config)
    predicted, _ = oracle(rows.now, rows.after, rows.fold, config, True)
    found = probe(layer, columns, precision="float64", penalties=(0.01,), shifts=0)
    assert abs(found.transition_r2_without_action - r2_score(rows.after, predicted)) <= 1e-8
    assert found.transition_r2 > found.transition_r2_without_action + 0.01


def test_dead_features_are_left_out_of_the_average_not_counted_as_perfect() -> None:
    layer, columns = layer_and_columns(**CASES["plain"])
    constant = np.full((len(layer), 20), 7.3, dtype=np.float32)
    alone, padded = probe(layer, columns), probe(np.hstack([layer, constant]), columns)
    assert padded.live_features == alone.live_features == 12
    assert abs(padded.transition_r2 - alone.transition_r2) <= 1e-6
    assert abs(padded.persistence_r2 - alone.persistence_r2) <= 1e-6
    assert abs(padded.bits_action - alone.bits_action) <= 1e-6
    assert abs(padded.effective_rank * 32 - alone.effective_rank * 12) <= 1e-6


def test_low_rank_layers_do_not_fit_the_rounding_of_products() -> None:
    """Copies of four features in float16: the smallest penalties meet a singular matrix."""
    rng = np.random.default_rng(1)
    columns = columns_of([40] * 15, rng)
    state = controllable_state(columns, 4, rng)
    layer = np.tile(state, (1, 30)).astype(np.float16)
    columns = with_reward(columns, state[:, 0])
    tiny = (1e-7,)
    found = [probe(layer, columns, penalties=tiny, shifts=0, precision=precision) for precision in ("float32", "float64")]
    alone = probe(state.astype(np.float16), columns, penalties=tiny, shifts=0, precision="float64")
    for copies in found:
        assert abs(copies.reward_r2 - alone.reward_r2) <= 1e-5
        assert abs(copies.transition_r2 - alone.transition_r2) <= 1e-5
        assert abs(copies.bits_action - alone.bits_action) <= 0.01


def ring() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """One-hot positions on a ring that the action moves: dependent features, some constant in a fold, some seen only at an end."""
    rng = np.random.default_rng(2)
    columns = columns_of([int(length) for length in rng.integers(2, 30, 40)], rng)
    place = np.zeros(len(columns["step"]), dtype=int)
    for row, step in enumerate(columns["step"]):
        place[row] = 7 if step == 0 else (place[row - 1] + columns["action"][row - 1] - 1) % 40
    seen = np.eye(40)[place]
    return np.hstack([2 * seen - 1, seen[:, :20], np.ones((len(seen), 3))]).astype(np.float16), with_reward(columns, place == 9)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_dependent_and_sometimes_constant_features_equal_scikit_learn(precision: str) -> None:
    layer, columns = ring()
    penalties = (1e-3, 1e-2, 0.1, 1.0)
    found = probe(layer, columns, precision=precision, penalties=penalties, shifts=3)
    config = ProbeConfig(store="memory", penalties=penalties, shifts=3)
    rows = rows_of(layer, columns, config)
    predicted, chosen = oracle(rows.inputs, rows.after, rows.fold, config, True)
    alive = rows.after.var(axis=0) > 0
    assert found.live_features == alive.sum()
    assert found.transition_penalties == tuple(chosen)
    # float32: the rounding that is added to every penalty is 1e-3 of the smallest one here
    assert abs(found.transition_r2 - r2_score(rows.after[:, alive], predicted[:, alive])) <= {"float32": 1e-4, "float64": 1e-8}[precision]
    assert found.bits_action > 1


def test_trivial_predictors_equal_their_plain_form() -> None:
    layer, columns = layer_and_columns(**CASES["plain"])
    config = ProbeConfig(store="memory")
    rows, found = rows_of(layer, columns, config), probe(layer, columns)
    assert abs(found.persistence_r2 - r2_score(rows.after, rows.now)) <= 1e-6
    predicted = np.empty_like(rows.after)
    for fold in range(config.folds):
        train, test = rows.fold != fold, rows.fold == fold
        for feature in range(layer.shape[1]):
            model = LinearRegression().fit(rows.now[train][:, [feature]], rows.after[train, feature])
            predicted[test, feature] = model.predict(rows.now[test][:, [feature]])
    assert abs(found.autoregression_r2 - r2_score(rows.after, predicted)) <= 1e-6
