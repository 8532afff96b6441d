"""Wide layers: the dual answer is the exact one, the sketch is near it and says how near."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_layers import MemoryReader, columns_of, controllable_state, prepare, probe, with_reward

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.wide import sketch, wide
from layerscout.probe.wide.wide import is_wide, measure_wide, wide_bytes

PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
NOT_NUMBERS = {"name", "role", "depth", "width", "method", "method_error", "precision", "float32_error"}


def layer_and_columns(episodes: int, width: int, steps: int = 20, dtype: str = "float32") -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A few directions that matter, noise in all, one constant feature, a mean far from zero."""
    rng = np.random.default_rng(0)
    columns = columns_of([steps] * (episodes - 2) + [1, 2 * steps - 1], rng)
    state = controllable_state(columns, 6, rng)
    layer = np.tanh(state @ rng.standard_normal((6, width)) / 2) + 0.5 * rng.standard_normal((len(state), width)) + 3.0
    layer[:, 5] = 2.0
    return layer.astype(dtype), with_reward(columns, state[:, 0] + rng.standard_normal(len(state)))


def measured(layer: np.ndarray, columns: dict[str, np.ndarray], chunk_rows: int = 100, **settings: object) -> LayerEvidence:
    config = ProbeConfig(store="memory", penalties=PENALTIES, shifts=3, **settings)
    transitions, split = prepare(columns, config)
    return measure_wide("z", "layer", 0, MemoryReader(layer, chunk_rows), transitions, split, config)


def exact(layer: np.ndarray, columns: dict[str, np.ndarray], **settings: object) -> LayerEvidence:
    return probe(layer, columns, penalties=PENALTIES, shifts=3, precision="float64", **settings)


@pytest.fixture
def small_sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wide, "DUAL_ROWS", 100)
    monkeypatch.setattr(sketch, "LEADING", 128)
    monkeypatch.setattr(sketch, "RANDOM", 64)
    monkeypatch.setattr(sketch, "BLOCK_ROWS", 256)


def numbers(value: object) -> list[float]:
    """Every number in a figure, however nested; None is NaN."""
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple):
        return [number for item in value for number in numbers(item)]
    return [np.nan if value is None else float(value)]


@pytest.mark.parametrize("inner", ["pair", "scalars", "all"])
def test_the_dual_answer_is_the_exact_one_in_every_figure(inner: str) -> None:
    layer, columns = layer_and_columns(episodes=20, width=300, steps=12)
    found = measured(layer, columns, inner=inner, precision="float64")
    oracle = exact(layer, columns, inner=inner)
    assert found.method == "dual"
    assert found.method_error is None
    assert found.confirmation is not None
    assert found.rows < 300
    for one, other in ((found, oracle), (found.confirmation, oracle.confirmation)):
        # on the confirmation set the dual way differentiates the rank where it is, the other way where it was for the rows that rank
        left_out = NOT_NUMBERS | {"measures"} | ({"confirmation"} if one is found else {"effective_rank_left", "log_rank_left"})
        wanted = other.model_dump()
        for name, figure in one.model_dump(exclude=left_out).items():
            figures = numbers(figure)  # of the spectrum, the dual way knows as many values as rows; the others are 0
            np.testing.assert_allclose(figures, numbers(wanted[name])[: len(figures)], rtol=1e-6, atol=1e-7, err_msg=name)
    ahead, theirs = (each.measures["reward R², 4 steps"].model_dump() for each in (found, oracle))
    np.testing.assert_allclose(numbers(ahead), numbers(theirs), rtol=1e-6)


def test_dual_without_actions_or_rewards() -> None:
    layer, columns = layer_and_columns(episodes=12, width=300)
    silent = columns | {"action": np.full_like(columns["action"], -1), "reward": np.full_like(columns["reward"], np.nan)}
    found, oracle = measured(layer, silent, precision="float64"), exact(layer, silent)
    assert found.reward_r2 is None
    assert found.transition_r2 == pytest.approx(oracle.transition_r2, abs=1e-9)
    assert found.transition_r2_without_action == pytest.approx(found.transition_r2, abs=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("small_sketch")
def test_a_sketch_is_near_the_exact_answer_and_shows_how_near() -> None:
    layer, columns = layer_and_columns(episodes=100, width=600)
    found, oracle = measured(layer, columns), exact(layer, columns)
    assert found.method == "sketch"
    apart = max(abs(found.reward_r2 - oracle.reward_r2), abs(found.transition_r2 - oracle.transition_r2))
    assert apart < 0.02
    assert found.method_error < 0.04
    assert apart < 2 * found.method_error  # measured on fewer rows, where a sketch does worse
    assert found.persistence_r2 == pytest.approx(oracle.persistence_r2, abs=1e-6)
    assert found.autoregression_r2 == pytest.approx(oracle.autoregression_r2, abs=1e-6)
    assert found.effective_rank == pytest.approx(oracle.effective_rank, rel=0.1)
    assert found.correlation_rank == pytest.approx(oracle.correlation_rank, rel=0.1)
    assert np.std(found.reward_r2_left) == pytest.approx(np.std(oracle.reward_r2_left), rel=0.2)
    assert np.std(found.transition_r2_left) == pytest.approx(np.std(oracle.transition_r2_left), rel=0.2)
    assert found.confirmation.reward_r2 == pytest.approx(oracle.confirmation.reward_r2, abs=0.02)
    assert found.confirmation.transition_r2 == pytest.approx(oracle.confirmation.transition_r2, abs=0.02)
    assert found.live_features == oracle.live_features == 599
    assert found.bits_action is found.rankme is None


@pytest.mark.usefixtures("small_sketch")
def test_a_sketch_with_every_direction_is_exact_but_for_one_scale_for_all_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "LEADING", 600)
    layer, columns = layer_and_columns(episodes=60, width=200)
    found, oracle = measured(layer, columns, precision="float64"), exact(layer, columns)
    assert found.reward_r2 == pytest.approx(oracle.reward_r2, abs=1e-3)
    assert found.transition_r2 == pytest.approx(oracle.transition_r2, abs=1e-3)
    assert found.effective_rank == pytest.approx(oracle.effective_rank, rel=1e-6)
    np.testing.assert_allclose(found.effective_rank_left, oracle.effective_rank_left, rtol=1e-6)
    assert found.spectrum == pytest.approx(oracle.spectrum[:199], abs=1e-9)


@pytest.mark.usefixtures("small_sketch")
@pytest.mark.parametrize("width", [250, 500])
def test_chunks_of_the_store_change_no_bit_and_the_seed_does(width: int) -> None:
    layer, columns = layer_and_columns(episodes=15, width=width, dtype="float16")
    whole = measured(layer, columns, chunk_rows=10**6)
    for chunk_rows in (7, 300):
        assert measured(layer, columns, chunk_rows=chunk_rows) == whole
    other = measured(layer, columns, seed=1)
    assert other.reward_r2 != whole.reward_r2
    assert other.reward_r2 == pytest.approx(whole.reward_r2, abs=0.05)


@pytest.mark.usefixtures("small_sketch")
@pytest.mark.parametrize("rows_of_a_dual", [10**6, 100])
def test_bad_rows_are_left_out_counted_and_refused_above_a_limit(monkeypatch: pytest.MonkeyPatch, rows_of_a_dual: int) -> None:
    monkeypatch.setattr(wide, "DUAL_ROWS", rows_of_a_dual)
    layer, columns = layer_and_columns(episodes=20, width=300)
    clean = measured(layer, columns)
    layer[[30, 31, 200], 7] = np.inf
    found = measured(layer, columns, max_nonfinite=0.05)
    assert found.nonfinite_rows == 3
    assert clean.rows - 6 <= found.rows < clean.rows
    assert found.reward_r2 == pytest.approx(clean.reward_r2, abs=0.1)
    with pytest.raises(DataError, match="layer 'z' has NaN or infinite values in 3 of "):
        measured(layer, columns, max_nonfinite=0.0)


def test_the_rule_and_the_memory() -> None:
    assert is_wide(8193, 10**6)
    assert is_wide(600, 599)
    assert not is_wide(8192, 8192)
    assert wide_bytes(16384, 3000, 2, 4, 52, 20) > 2 * 16384 * 3000  # the rows themselves
    grown = wide_bytes(16384, 10**7, 2, 4, 52, 20) / wide_bytes(16384, 10**5, 2, 4, 52, 20)
    assert grown == 1  # a sketch does not grow with the rows
