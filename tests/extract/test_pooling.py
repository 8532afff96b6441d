"""Pooling against plain loops over tokens, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import TokenGrid
from layerscout.extract.pooling import parse, pixel_features, pool, width

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


@pytest.mark.parametrize("name", NAMES)
def test_pooling_equals_a_loop_over_tokens(name):
    tokens = torch.randn(3, GRID.tokens, 5, generator=torch.Generator().manual_seed(0))
    pooled = pool(tokens, name, GRID)
    assert pooled.dtype == torch.float32
    assert pooled.shape == (3, width(name, GRID, 5))
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


@pytest.mark.parametrize("name", ["mean", "all/max", "last/grid0", "last/grid", "past/mean", "all/grid100", "", "all/mean "])
def test_unknown_names_are_refused(name):
    with pytest.raises(UsageError, match="unknown pooling") as error:
        parse(name, GRID)
    assert "last/grid4" in error.value.hint


def test_a_grid_must_divide_the_tokens():
    with pytest.raises(UsageError, match="does not divide the token grid 4x6"):
        parse("all/grid4", GRID)


def test_future_slots_must_exist():
    with pytest.raises(UsageError, match="needs future slots"):
        parse("future/mean", TokenGrid(time=3, height=2, width=2, past=3))


def test_pixels_are_cell_means_of_every_frame_in_minus_one_to_one():
    clip = torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = clip.double().unflatten(2, (8, 4)).unflatten(4, (8, 4)).mean((3, 5)) / 127.5 - 1  # [clip, time, row, column, channel]
    torch.testing.assert_close(pixel_features(clip).double(), expected.permute(0, 1, 4, 2, 3).flatten(1), atol=1e-5, rtol=0)
    planes = torch.randint(0, 256, (2, 2, 8, 8, 2), dtype=torch.uint8)
    torch.testing.assert_close(pixel_features(planes), (planes / 127.5 - 1).permute(0, 1, 4, 2, 3).flatten(1))
