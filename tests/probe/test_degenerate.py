"""Degenerate evidence, to every figure: n/a or a number within its bounds, never a crash."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_layers import MemoryReader, MemoryStore, columns_of, prepare, probe, with_reward

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence, measure
from layerscout.probe.moments.moments import OutOfRange, accumulate
from layerscout.probe.page.tables import FIGURE_NAMES, PAGE_NAME
from layerscout.probe.plan import plan_stores
from layerscout.probe.ranking.score import layer_flags, layer_score
from layerscout.probe.run import run
from layerscout.probe.solve.accuracy import RoundingExceeded
from layerscout.probe.wide.wide import measure_wide

EPISODES, STEPS, WIDTH = 24, 15, 6
RNG = np.random.default_rng(0)
COLUMNS = columns_of([STEPS] * EPISODES, RNG)
ROWS = len(COLUMNS["episode"])
PLAIN = RNG.standard_normal((ROWS, WIDTH)).astype(np.float32)
SCALES = (1e-38, 1e-30, 1e-22, 1e-15, 1e15, 1e19, 1e30, 1e37)


def one_live() -> np.ndarray:
    found = np.full((ROWS, WIDTH), 7.0, dtype=np.float32)
    found[:, 2] = PLAIN[:, 0]
    return found


LAYERS = {
    "plain": PLAIN,
    "one live feature": one_live(),
    "no live feature": np.full((ROWS, WIDTH), 7.0, dtype=np.float32),
    "zeros": np.zeros((ROWS, WIDTH), dtype=np.float32),
    "one feature": PLAIN[:, :1],
    "copies of one feature": np.tile(PLAIN[:, :1], (1, WIDTH)),
    "a clock": np.tile(np.arange(ROWS, dtype=np.float32)[:, None], (1, 2)),
    "a huge mean": PLAIN + np.float32(1e6),
    "scales from 1e-30 to 1e30": PLAIN * np.float32(10.0) ** np.linspace(-30, 30, WIDTH).astype(np.float32),
    **{f"scale {scale:g}": (PLAIN * np.float64(scale)).astype(np.float32) for scale in SCALES},
    "float16, one step from zero": (PLAIN > 0).astype(np.float16) * np.float16(6e-8),
}
OUT_OF_RANGE = ("scales from 1e-30 to 1e30", *(f"scale {scale:g}" for scale in SCALES if not 1e-17 < scale < 1e18))
REWARDS = {
    "exact": PLAIN[:, 0],
    "nearly exact": PLAIN[:, 0] + 1e-4 * RNG.standard_normal(ROWS),
    "noise": RNG.standard_normal(ROWS),
    "constant": np.ones(ROWS),
    "one reward": np.eye(1, ROWS, 20)[0],
    "tiny": 1e-30 * PLAIN[:, 0],
    "huge": 1e30 * PLAIN[:, 0],
    "a large mean": PLAIN[:, 0] + 1e6,
    "tied to the step": (COLUMNS["step"] > 10).astype(float),
}


def numbers_of(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for part in value.values():
            yield from numbers_of(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from numbers_of(part)
    elif isinstance(value, float):
        yield value


def check(found: LayerEvidence) -> None:
    """Every figure is finite, R² are at most 1, ranks lie between 1 and the width; so are the figures of the ranking."""
    assert all(math.isfinite(number) for number in numbers_of(found.model_dump()))
    squares = [found.reward_r2, found.transition_r2, found.transition_r2_without_action, found.transition_r2_weighted]
    squares += [*found.reward_r2_shifted, *(found.reward_r2_left or ()), *(found.transition_r2_left or ())]
    squares += [*(found.transition_path or ()), *(found.reward_path or ()), *(part.r2 for part in found.targets.values() if part)]
    assert all(value <= 1 for value in squares if value is not None)
    ranks = [found.correlation_rank, found.participation_ratio, found.rankme, found.rankme_centred]
    assert all(1 - 1e-9 <= rank <= found.width + 1e-6 for rank in ranks if rank is not None)
    assert 1 / found.width <= found.effective_rank <= 1
    assert 0 <= found.log_rank <= 1
    layer_flags(found, EPISODES)
    layer_score(found, (0.45, 0.45, 0.1), "clip", EPISODES)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_degenerate_layer_gives_numbers_or_nothing(name: str, precision: str) -> None:
    columns = with_reward(COLUMNS, PLAIN[:, 0] + RNG.standard_normal(ROWS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if precision == "float32" and name in OUT_OF_RANGE:  # the run measures such a layer again, in float64
            with pytest.raises(OutOfRange, match=r"squares of the activations of layer 'z' (exceed the range|are too small)") as refused:
                probe(LAYERS[name], columns)
            assert "probe.precision=float64" in str(refused.value.hint)
            return
        check(probe(LAYERS[name], columns, precision=precision))


@pytest.mark.parametrize("scale", [scale for scale in SCALES if scale != 1e-38])  # below the normal numbers digits are lost
def test_the_scale_of_a_layer_changes_none_of_its_figures(scale: float) -> None:
    columns = with_reward(COLUMNS, PLAIN[:, 0] + RNG.standard_normal(ROWS))
    plain, scaled = (probe(layer, columns, precision="float64") for layer in (PLAIN, LAYERS[f"scale {scale:g}"]))
    for field in ("reward_r2", "transition_r2", "bits_action", "bits_total", "effective_rank", "log_rank", "rankme", "persistence_r2"):
        assert getattr(scaled, field) == pytest.approx(getattr(plain, field), abs=1e-5), field
    if f"scale {scale:g}" not in OUT_OF_RANGE:
        assert probe(LAYERS[f"scale {scale:g}"], columns).reward_r2 == pytest.approx(plain.reward_r2, abs=1e-6)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", REWARDS)
def test_a_degenerate_reward_gives_numbers_or_nothing(name: str, precision: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = probe(PLAIN, with_reward(COLUMNS, REWARDS[name]), precision=precision)
    check(found)
    assert (found.reward_r2 is None) == (name == "constant")
    if name in ("exact", "tiny", "huge"):
        assert found.reward_r2 == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(
    "lengths",
    [[30] * 3, [1] * 40, [60, 1, 1, 1], [2] * 30, [1, 2, 3, 4, 5, 6, 7]],
    ids=["three episodes", "one step each", "one long", "two steps each", "few and short"],
)
@pytest.mark.parametrize("confirmation", [0.0, 0.2])
def test_few_and_short_episodes_give_numbers_or_nothing(lengths: list[int], confirmation: float) -> None:
    columns = columns_of(lengths, np.random.default_rng(0))
    layer = np.random.default_rng(1).standard_normal((len(columns["episode"]), 4)).astype(np.float32)
    check(probe(layer, columns, folds=3, groups=3, confirmation=confirmation))


def test_two_episodes_are_refused_with_the_number_that_is_needed() -> None:
    columns = columns_of([30, 30], np.random.default_rng(0))
    with pytest.raises(DataError, match="2 episodes with transitions; 3 folds need at least 3 episodes"):
        probe(PLAIN[:62], columns, folds=3, groups=3)


@pytest.mark.parametrize("actions", [100, 500])
def test_actions_by_the_hundred_give_numbers_or_nothing(actions: int) -> None:
    """Some are seen in the confirmation set only, so that their columns do not vary over the rows that rank."""
    columns = columns_of([20] * 30, np.random.default_rng(0), actions)
    layer = np.random.default_rng(1).standard_normal((len(columns["episode"]), 3)).astype(np.float32)
    found = probe(layer, columns, confirmation=0.2, shifts=2, folds=3, groups=3)
    check(found)
    assert found.confirmation is not None
    if actions == 100:
        assert found.bits_action is not None


WIDE = {
    "plain": np.random.default_rng(2).standard_normal((40, 60)),
    "one live feature": np.pad(np.random.default_rng(2).standard_normal((40, 1)), ((0, 0), (0, 59)), constant_values=3.0),
    "zeros": np.zeros((40, 60)),
    **{f"scale {scale:g}": np.random.default_rng(2).standard_normal((40, 60)) * scale for scale in SCALES[1:-1]},
}


@pytest.mark.parametrize("name", WIDE)
def test_a_degenerate_wide_layer_gives_numbers_or_nothing(name: str) -> None:
    layer = WIDE[name].astype(np.float32)
    columns = columns_of([9] * 4, np.random.default_rng(0))
    columns = with_reward(columns, layer[:, 0] if name == "plain" else np.random.default_rng(1).standard_normal(40))
    config = ProbeConfig(store="memory", folds=3, groups=4, confirmation=0, shifts=5)
    transitions, split = prepare(columns, config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(measure_wide("z", "layer", 0, MemoryReader(layer), transitions, split, config))


def test_a_ranking_of_degenerate_layers_is_written_and_drawn(tmp_path: Path) -> None:
    columns = with_reward(COLUMNS, PLAIN[:, 0])
    some = {name: layer for name, layer in LAYERS.items() if "scale " not in name or name in ("scale 1e-30", "scale 1e+30")}
    store = MemoryStore("ls1-degenerate", columns, {re.sub("[+,]", "", name).replace(" ", "-"): layer for name, layer in some.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ranking = run(plan_stores(ProbeConfig(store="degenerate", out=tmp_path, threads=1), store))
    assert len(ranking.layers) == len(some)
    assert any("so large or small their squares" in note and "scale-1e-30" in note for note in ranking.notes)
    found = {layer.name: layer for layer in ranking.layers}
    for scale in ("1e-30", "1e30"):
        assert found[f"scale-{scale}"].reward_r2.value == pytest.approx(1.0, abs=1e-6)
    assert all((tmp_path / name).stat().st_size for name in (*FIGURE_NAMES, PAGE_NAME))
    assert all(math.isfinite(number) for number in numbers_of(json.loads((tmp_path / "ranking.json").read_text())))


def test_numbers_are_written_before_anything_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from layerscout.probe import outputs as stage

    def broken(*words: Any) -> None:
        raise RuntimeError("no figure")

    monkeypatch.setattr(stage, "write_page", broken)
    monkeypatch.setattr(stage, "write_ranking_figures", broken)
    store = MemoryStore("ls1-drawn", with_reward(COLUMNS, REWARDS["noise"]), {"z": PLAIN})
    with pytest.raises(RuntimeError, match="no figure"):
        run(plan_stores(ProbeConfig(store="drawn", out=tmp_path, threads=1), store))
    assert json.loads((tmp_path / "ranking.json").read_text())["layers"][0]["name"] == "z"
    assert (tmp_path / "selection.json").is_file()


def test_a_layer_that_only_a_kept_apart_episode_moves_is_still() -> None:
    """What rounding leaves of features that do not vary over the episodes that rank is no dimension."""
    _, split = prepare(COLUMNS, ProbeConfig(store="memory"))
    held = np.flatnonzero(split.fold_of_group[split.group_of_episode] < 0)[0]
    layer = np.where((COLUMNS["episode"] == held)[:, None], 1.0 + PLAIN, 0.3).astype(np.float32)
    for precision in ("float32", "float64"):
        found = probe(layer, COLUMNS, precision=precision)
        assert (found.live_features, found.effective_rank * found.width, found.correlation_rank) == (0, 1, 1)
        assert found.participation_ratio == 1
        assert found.transition_r2 is None
        check(found)


def test_forecasts_by_each_feature_alone_do_not_fit_rounding() -> None:
    """Features that are 0 but for single rows: over most folds they are constant, which is the mean and no slope."""
    rng = np.random.default_rng(5)
    layer = (PLAIN * (rng.random(PLAIN.shape) < 0.01) + 0.1).astype(np.float32)
    both = [probe(layer, COLUMNS, precision=precision).autoregression_r2 for precision in ("float32", "float64")]
    assert both[0] == pytest.approx(both[1], abs=1e-4)
    assert both[0] > -0.2


def test_rounding_that_moves_any_fold_is_found() -> None:
    """Rows that stay the same over an episode: the first fold's penalty stands, another fold's moves."""
    rng = np.random.default_rng(3)
    columns = columns_of([25] * 40, rng)
    layer = np.repeat(rng.standard_normal((40, 48)), 26, axis=0).astype(np.float32)
    config = ProbeConfig(store="memory")
    transitions, split = prepare(columns, config)
    moments = accumulate("z", MemoryReader(layer), transitions, split, "float32")
    with pytest.raises(RoundingExceeded):
        measure("z", "layer", 0, moments, transitions, split, config, 1e-6)


@pytest.mark.parametrize("folds", [5, 12])
def test_features_that_only_a_fold_left_out_moves_are_still_in_the_others(folds: int) -> None:
    """Sparse spikes: what taking a fold's sums away would leave is rounding, by which every error would be divided. The oracle is rows."""
    rng = np.random.default_rng(7)
    columns = columns_of([9] * 40, rng)
    rows = len(columns["episode"])
    layer = (rng.standard_normal((rows, 420)) * (rng.random((rows, 420)) < 0.01)).astype(np.float32)
    config = ProbeConfig(store="memory", precision="float64", inner="pair", measures=False, shifts=0, confirmation=0, folds=folds)
    transitions, split = prepare(with_reward(columns, rng.standard_normal(rows)), config)
    reader = MemoryReader(layer)
    exact = measure("z", "layer", 0, accumulate("z", reader, transitions, split, "float64"), transitions, split, config)
    by_rows = measure_wide("z", "layer", 0, reader, transitions, split, config)
    np.testing.assert_allclose(exact.transition_path[3:], by_rows.transition_path[3:], rtol=1e-5)
    assert exact.transition_penalties == by_rows.transition_penalties
    assert exact.transition_r2 == pytest.approx(by_rows.transition_r2, abs=1e-7)
    assert exact.reward_r2 == pytest.approx(by_rows.reward_r2, abs=1e-7)
