"""Small parts that agents are made of, each against a plain loop: draws, sums ahead, noise, groups, and states that come back."""

from __future__ import annotations

import json
import sys
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from layerscout.errors import DataError, UsageError
from layerscout.rl.agents.base import discounts, learning_device, normal_noise
from layerscout.rl.comparison.groups import alike
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.rl.memory.replay import Batch
from layerscout.rl.memory.sampling import aligned, draw_indices, gather, look_ahead, take
from layerscout.rl.networks.layers import Head
from layerscout.rl.networks.parts import FirstFeatures
from layerscout.rl.seeing.filming import gif_of, png_of, save_film
from layerscout.rl.transfer.folders import require_same
from layerscout.rl.transfer.states import (
    module_state,
    optimiser_state,
    put_module_state,
    put_optimiser_state,
    put_streams_state,
    streams_state,
)

# --- draws


def test_places_are_drawn_below_each_runs_own_size():
    drawn = draw_indices(np.array([1, 3, 1000]), 400, run_generators([0, 1, 2], 0))
    assert drawn.dtype == np.int64
    assert set(drawn[0]) == {0}
    assert set(drawn[1]) == {0, 1, 2}
    assert 900 < drawn[2].max() < 1000


def test_a_memory_that_grows_keeps_the_streams_in_step():
    """The same doubles are drawn whatever the size, so that what follows them does not depend on it."""
    small, large = run_generators([4], 0), run_generators([4], 0)
    few, many = draw_indices(np.array([10]), 50, small), draw_indices(np.array([1000]), 50, large)
    np.testing.assert_array_equal(many // 100, few)
    assert small[0].random() == large[0].random()


def test_streams_are_of_a_seed_and_a_purpose_and_go_on_from_plain_data():
    one, same, purpose, seed = (run_generators([seed], purpose)[0] for seed, purpose in ((3, 1), (3, 1), (3, 2), (4, 1)))
    first = one.random(4)
    np.testing.assert_array_equal(first, same.random(4))
    assert not set(first) & {*purpose.random(4), *seed.random(4)}
    kept = json.loads(json.dumps(generator_states([one])))
    expected = one.standard_normal(5)
    restore_generators([same], kept)
    np.testing.assert_array_equal(same.standard_normal(5), expected)
    with pytest.raises(ValueError, match="shorter"):
        restore_generators([one, same], kept)


def test_noise_of_a_run_is_its_own_generators_and_normal():
    noise = normal_noise(run_generators([0, 1], 0), (4000, 2))
    assert (noise.shape, noise.dtype) == ((2, 4000, 2), np.float32)
    np.testing.assert_array_equal(noise[1], normal_noise(run_generators([1], 0), (4000, 2))[0])
    assert noise.mean() == pytest.approx(0.0, abs=0.03)
    assert noise.std() == pytest.approx(1.0, abs=0.03)


# --- sums ahead


@pytest.mark.parametrize("steps", [1, 2, 4, 50])
def test_sums_ahead_are_those_of_a_walk_that_stops_at_its_end(steps):
    reward, ends = np.arange(1.0, 11.0, dtype=np.float32), {3, 9}
    first = np.array([0, 2, 3, 8, 4, 9])
    last, total, factor = look_ahead(first, reward, lambda at: np.isin(at, list(ends)), lambda at: at + 1, steps, 0.5)
    for place, start in enumerate(first.tolist()):
        at, found, discount = start, float(reward[start]), 0.5
        while at not in ends and at - start < steps - 1:
            at += 1
            found += discount * float(reward[at])
            discount *= 0.5
        assert (last[place], total[place], factor[place]) == (at, pytest.approx(found), pytest.approx(discount))


def test_places_are_taken_as_numbers_and_as_vectors():
    places = np.array([[5, 0], [2, 2]])
    numbers, vectors = np.arange(6).reshape(2, 3), np.arange(12).reshape(2, 3, 2)
    np.testing.assert_array_equal(take(numbers, 2, places), [[5, 0], [2, 2]])
    np.testing.assert_array_equal(take(vectors, 2, places), [[[10, 11], [0, 1]], [[4, 5], [4, 5]]])
    np.testing.assert_array_equal(gather(vectors.reshape(6, 2), places), take(vectors, 2, places))


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64, np.float16, np.bool_])
def test_what_is_gathered_lies_on_a_boundary_of_64_bytes(dtype):
    for shape in ((3,), (2, 5, 7)):
        array = aligned(shape, np.dtype(dtype))
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.ctypes.data % 64 == 0
    column = np.ones((4, 3), dtype)
    found = gather(column, np.array([[1, 2]]))
    assert found.dtype == dtype
    assert found.ctypes.data % 64 == 0
    assert not np.shares_memory(found, column)


@pytest.mark.parametrize(("ahead", "expected"), [(None, [[0.9, 0.0, 0.9]]), ([[0.9, 0.81, 0.5]], [[0.9, 0.0, 0.5]])])
def test_nothing_counts_after_a_terminated_step(ahead, expected):
    ended = np.array([[False, True, False]])
    column = np.zeros((1, 3), np.float32)
    discount = None if ahead is None else np.array(ahead, np.float32)
    found = discounts(Batch(np.zeros((1, 6, 1)), column, column, ended, discount), 0.9)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


def test_a_batch_is_what_was_seen_before_and_after():
    states = np.arange(12).reshape(2, 6, 1)
    batch = Batch(states, np.zeros((2, 3), int), np.zeros((2, 3)), np.zeros((2, 3), bool))
    np.testing.assert_array_equal(batch.z[..., 0], [[0, 1, 2], [6, 7, 8]])
    np.testing.assert_array_equal(batch.next_z[..., 0], [[3, 4, 5], [9, 10, 11]])
    assert np.shares_memory(batch.z, states)


def test_a_device_that_is_not_there_is_refused_by_its_name():
    assert learning_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="device 'cuda:1' was asked for and there is no GPU"):
            learning_device("cuda:1")


# --- groups of arms


@pytest.mark.parametrize(
    ("widths", "parts"),
    [
        ([], []),
        ([64], [[64]]),
        ([64, 1023, 8], [[64, 1023, 8]]),  # padding costs little
        ([64, 1024, 256, 255], [[1024, 256], [64, 255]]),
        ([100_000, 30_000, 24_000, 5_000, 2_000, 4], [[100_000, 30_000], [24_000], [5_000, 2_000], [4]]),
        ([2048, 512, 2048, 511], [[2048, 512, 2048], [511]]),
    ],
)
def test_much_narrower_arms_train_apart_in_the_order_in_which_they_came(widths, parts):
    assert alike(widths, lambda width: width) == [tuple(part) for part in parts]


# --- a network that sees the first features


def test_a_network_of_the_first_features_knows_nothing_of_the_others():
    inner = Head(3, 2, [0, 1], hidden=(5,))
    seeing = FirstFeatures(inner, 3)
    x = torch.randn(2, 4, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(seeing(x), inner(x[..., :3]))
    other = x.clone()
    other[..., 3:] = 9.0
    torch.testing.assert_close(seeing(other), seeing(x))
    output, tape = seeing.record(x, learned=4)
    torch.testing.assert_close(output, seeing(x))
    slope, found = torch.ones_like(output), [torch.empty_like(parameter) for parameter in seeing.parameters()]
    seeing.pull_back(tape, slope, found)
    expected = torch.autograd.grad(seeing(x).sum(), list(seeing.parameters()))
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert seeing.trainable_parameters().tolist() == inner.trainable_parameters().tolist()


# --- states that come back


def network(seed: int) -> tuple[torch.nn.Module, torch.optim.Adam]:
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    return module, torch.optim.Adam(module.parameters(), lr=0.1)


def descend(module: torch.nn.Module, optimiser: torch.optim.Adam, draws: torch.Generator, times: int) -> None:
    for _ in range(times):
        optimiser.zero_grad()
        module(torch.randn(5, 3, generator=draws)).square().mean().backward()
        optimiser.step()


def test_a_network_with_its_moments_and_streams_goes_on_bit_by_bit():
    module, optimiser = network(0)
    draws, generator = torch.Generator().manual_seed(1), np.random.default_rng(1)
    descend(module, optimiser, draws, 4)
    generator.random(3)
    state = {"module": module_state(module), "optimiser": optimiser_state(optimiser), **streams_state(generator, draws)}
    descend(module, optimiser, draws, 3)
    again, its = network(7)
    its_draws, its_generator = torch.Generator(), np.random.default_rng(9)
    put_module_state(again, state["module"])
    put_optimiser_state(its, state["optimiser"])
    put_streams_state(its_generator, its_draws, state)
    descend(again, its, its_draws, 3)
    for name, value in module_state(module).items():
        np.testing.assert_array_equal(value, module_state(again)[name], err_msg=name)
    assert generator.random() == its_generator.random()


def test_states_are_copies_that_learning_leaves_alone():
    module, optimiser = network(0)
    descend(module, optimiser, torch.Generator().manual_seed(1), 1)
    kept, moments = module_state(module), optimiser_state(optimiser)
    before = json.dumps({name: value.tolist() for name, value in kept.items()}), moments["0"]["exp_avg"].copy()
    descend(module, optimiser, torch.Generator().manual_seed(2), 2)
    assert json.dumps({name: value.tolist() for name, value in kept.items()}) == before[0]
    np.testing.assert_array_equal(moments["0"]["exp_avg"], before[1])


def test_step_sizes_are_todays_whatever_was_saved():
    module, optimiser = network(0)
    descend(module, optimiser, torch.Generator().manual_seed(1), 1)
    other = torch.optim.Adam(module.parameters(), lr=0.5)
    put_optimiser_state(other, optimiser_state(optimiser))
    assert other.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("made", "asked", "message"),
    [
        ({"size": 64}, {"size": 32}, "model was made with size = 64, and 32 is asked for"),
        ({}, {"size": None, "depth": 3}, "model was made with depth = None, and 3 is asked for"),
        ({"shape": {"codes": 8, "z": 2}}, {"shape": {"codes": 8, "z": 3}}, "model, shape was made with z = 2, and 3 is asked for"),
        ({"shape": 1}, {"shape": {"codes": 8}}, "model was made with shape = 1, and {'codes': 8} is asked for"),
    ],
)
def test_the_first_setting_that_differs_is_named_with_both_values(made, asked, message):
    with pytest.raises(DataError) as caught:
        require_same(made, asked, "model", hint="use another")
    assert (str(caught.value), caught.value.hint) == (message, "use another")
    require_same(made | {"more": 1}, made, "model")


# --- pictures that are kept


def test_a_picture_is_kept_pixel_by_pixel_and_a_film_frame_by_frame():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(png_of(pictures[0])))), pictures[0])
    film = Image.open(BytesIO(gif_of(pictures, 4.0)))
    assert (film.n_frames, film.size, film.info["duration"], film.info["loop"]) == (3, (8, 6), 250, 0)


@pytest.mark.parametrize(("side", "enlarged"), [(8, 128), (33, 132), (127, 254), (129, 129)])
def test_small_films_are_enlarged_by_whole_factors_to_even_sides(tmp_path, monkeypatch, side, enlarged):
    monkeypatch.setitem(sys.modules, "av", None)  # PyAV is not installed
    pictures = np.zeros((2, side, side + 1, 3), np.uint8)
    pictures[1] = 255
    path = save_film(pictures, tmp_path / "a" / "film.of.one")
    assert path.name == "film.of.one.gif"
    with Image.open(path) as film:
        width, height = film.size
    factor = enlarged // side
    assert (height, width) == (factor * side // 2 * 2, factor * (side + 1) // 2 * 2)
    assert height >= min(128, enlarged // 2 * 2)
