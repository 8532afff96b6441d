"""Pooling against plain loops over tokens, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from layerscout.cache.arrays import LayerSpec
from layerscout.errors import UsageError
from layerscout.extract.backbones.base import TokenGrid
from layerscout.extract.passes.pooling import array_name, layer_of, parse_pooling, pixel_features, pool, pool_all, pooled_width

GRID = TokenGrid(time=4, height=4, width=6, past=3)
SLOTS = {"all": [0, 1, 2, 3], "last": [2], "future": [3]}
NAMES = [f"{where}/{how}" for where in SLOTS for how in ("mean", "grid1", "grid2")]


def pooled_by_hand(tokens: np.ndarray, name: str, grid: TokenGrid) -> np.ndarray:
    """One clip [token, feature], token by token in the order time, row, column."""
    where, how = name.split("/")
    cells = 1 if how == "mean" else int(how.removeprefix("grid"))
    sums = np.zeros((grid.time, cells, cells, tokens.shape[1]))
    counts = np.zeros((grid.time, cells, cells, 1))
    for number, token in enumerate(tokens):
        time, row, column = number // (grid.height * grid.width), number // grid.width % grid.height, number % grid.width
        cell = time, row * cells // grid.height, column * cells // grid.width
        sums[cell] += token
        counts[cell] += 1
    means = (sums / counts)[SLOTS[where]]
    return means.mean(axis=(0, 1, 2)) if how == "mean" else means.reshape(-1)


@pytest.mark.numeric
@pytest.mark.parametrize("name", NAMES)
def test_pooling_equals_a_loop_over_tokens(name):
    tokens = torch.randn(3, GRID.tokens, 5, generator=torch.Generator().manual_seed(0))
    pooled = pool(tokens, name, GRID)
    assert pooled.dtype == torch.float32
    assert pooled.shape == (3, pooled_width(name, GRID, 5))
    for clip in range(3):
        np.testing.assert_allclose(pooled[clip], pooled_by_hand(tokens[clip].double().numpy(), name, GRID), atol=1e-6)


def test_the_reduction_is_done_in_float32():
    tokens = torch.full((1, GRID.tokens, 1), 2048.0, dtype=torch.float16)
    tokens[0, 0] = 2050.0
    exact = 2048.0 + 2.0 / GRID.tokens
    assert float(pool(tokens, "all/mean", GRID)) == pytest.approx(exact, abs=1e-3)  # float16 would give 2048


def test_the_finest_grid_keeps_every_token():
    square = TokenGrid(time=2, height=3, width=3, past=2)
    tokens = torch.randn(2, 18, 4)
    torch.testing.assert_close(pool(tokens, "all/grid3", square), tokens.flatten(1))
    torch.testing.assert_close(pool(tokens, "last/grid3", square), tokens[:, 9:].flatten(1))


@pytest.mark.parametrize("name", ["mean", "all/median", "last/grid0", "last/grid", "past/mean", "all/grid100", "", "all/mean "])
def test_unknown_names_are_refused(name):
    with pytest.raises(UsageError, match="unknown pooling") as error:
        parse_pooling(name, GRID)
    assert "last/grid4" in error.value.hint


def test_a_grid_must_divide_the_tokens():
    with pytest.raises(UsageError, match="does not divide the token grid 4x6"):
        parse_pooling("all/grid4", GRID)


def test_future_slots_must_exist():
    with pytest.raises(UsageError, match="needs future slots"):
        parse_pooling("future/mean", TokenGrid(time=3, height=2, width=2, past=3))


def test_pixels_are_cell_means_of_every_frame_in_minus_one_to_one():
    clip = torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = clip.double().unflatten(2, (8, 4)).unflatten(4, (8, 4)).mean((3, 5)) / 127.5 - 1  # [clip, time, row, column, channel]
    torch.testing.assert_close(pixel_features(clip).double(), expected.permute(0, 1, 4, 2, 3).flatten(1), atol=1e-5, rtol=0)
    planes = torch.randint(0, 256, (2, 2, 8, 8, 2), dtype=torch.uint8)
    torch.testing.assert_close(pixel_features(planes), (planes / 127.5 - 1).permute(0, 1, 4, 2, 3).flatten(1))


# --- other ways to reduce, and several at once


@pytest.mark.parametrize("where", ["all", "last", "future"])
def test_the_maximum_is_taken_feature_by_feature(where):
    tokens = torch.randn(3, GRID.tokens, 5, generator=torch.Generator().manual_seed(0))
    volume = tokens.view(3, GRID.time, -1, 5)
    assert torch.equal(pool(tokens, f"{where}/max", GRID), volume[:, SLOTS[where]].flatten(1, 2).amax(1))


def test_energy_weighs_tokens_by_how_far_their_norm_stands_out():
    tokens = torch.randn(2, GRID.tokens, 5, generator=torch.Generator().manual_seed(0)).double().numpy()
    found = pool(torch.from_numpy(tokens), "all/energy", GRID)
    for clip, expected in zip(found, tokens, strict=True):
        norms = np.sqrt((expected**2).sum(axis=1))
        weights = np.exp((norms - norms.mean()) / norms.std())
        np.testing.assert_allclose(clip, (weights[:, None] / weights.sum() * expected).sum(axis=0), atol=1e-5)


def test_energy_ignores_the_order_of_tokens_and_scales_with_them():
    tokens = torch.randn(2, GRID.tokens, 5, generator=torch.Generator().manual_seed(0))
    found = pool(tokens, "all/energy", GRID)
    torch.testing.assert_close(pool(tokens[:, torch.randperm(GRID.tokens)], "all/energy", GRID), found)
    torch.testing.assert_close(pool(1000 * tokens, "all/energy", GRID), 1000 * found, rtol=1e-4, atol=1e-2)


def test_energy_of_equal_norms_is_the_mean():
    signs = torch.randint(0, 2, (2, GRID.tokens, 5), generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    torch.testing.assert_close(pool(signs, "all/energy", GRID), signs.mean(1))
    assert torch.isfinite(pool(torch.zeros(1, GRID.tokens, 5), "all/energy", GRID)).all()


def test_tokens_are_kept_in_their_order():
    tokens = torch.randn(2, GRID.tokens, 5)
    assert torch.equal(pool(tokens, "all/tokens", GRID), tokens.flatten(1))
    assert torch.equal(pool(tokens, "last/tokens", GRID), tokens.view(2, 4, 24, 5)[:, 2].flatten(1))
    assert pooled_width("last/tokens", GRID, 5) == 24 * 5


EVERY = [f"{where}/{how}" for where in SLOTS for how in ("mean", "grid1", "grid2", "max", "energy", "tokens")]


@pytest.mark.numeric
@pytest.mark.parametrize(
    "names",
    [EVERY, ["all/mean", "all/grid2"], ["last/grid2", "all/mean"], ["future/mean", "last/grid2", "last/grid1"], ["all/mean", "last/mean"]],
    ids=["every", "mean and grid", "other slots", "apart", "no grid"],
)
def test_several_poolings_at_once_are_each_one_alone(names):
    tokens = torch.randn(3, GRID.tokens, 5, generator=torch.Generator().manual_seed(0))
    together = pool_all(tokens, names, GRID)
    assert list(together) == names
    for name, values in together.items():
        assert values.dtype == torch.float32
        torch.testing.assert_close(values, pool(tokens, name, GRID), atol=1e-6, rtol=0)


def test_grids_that_do_not_nest_are_each_exact():
    grid = TokenGrid(time=2, height=12, width=12, past=2)
    tokens = torch.randn(2, grid.tokens, 3)
    for name, values in pool_all(tokens, ["all/grid4", "all/grid3", "all/grid2", "all/mean", "last/grid12"], grid).items():
        torch.testing.assert_close(values, pool(tokens, name, grid), atol=1e-6, rtol=0)


def test_the_class_token_needs_one():
    with pytest.raises(UsageError, match="needs a class token"):
        parse_pooling("cls", GRID)
    assert pooled_width("cls", GRID, 7, class_token=True) == 7


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True), st.lists(st.sampled_from(["cls", *EVERY]), min_size=1, unique=True)
)
def test_names_of_arrays_differ_lead_back_to_their_layer_and_can_be_stored(layer, names):
    arrays = [array_name(layer, name, len(names) == 1) for name in names]
    assert len(set(arrays)) == len(names)
    assert {layer_of(array) for array in arrays} == {layer}
    assert [LayerSpec(array, 1, "float16", "layer", 0, "").name for array in arrays] == arrays
