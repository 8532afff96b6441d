"""Laws of the adapters and convolutions: each run is the plain network of its own weights, and is counted as what it is."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import ClipSpec, TokenGrid
from layerscout.rl.comparison.in_loop import token_grid
from layerscout.rl.networks.adapters import QUERIES, InputAdapter, OutputAdapter
from layerscout.rl.networks.convolutions import ConvNetwork, RunConv2d, as_pictures
from layerscout.rl.networks.layers import RunNetwork, weight_generators

FRAMES = (2, 16, 16, 3)  # time, height, width, channel
PATCH, WIDTH = 8, 6


def clips(runs: int, batch: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (runs, batch, *FRAMES), dtype=np.uint8))


def input_adapter(kind: str, seeds: list[int]) -> InputAdapter:
    return InputAdapter(FRAMES, PATCH, WIDTH, seeds, kind=kind)  # type: ignore[arg-type]


def output_adapter(reduce: str, seeds: list[int]) -> OutputAdapter:
    return OutputAdapter((2, 2, 2), WIDTH, 3, seeds, grid=2, hidden=(5,), reduce=reduce)  # type: ignore[arg-type]


MAKERS = {
    "patch": lambda seeds: input_adapter("patch", seeds),
    "linear": lambda seeds: input_adapter("linear", seeds),
    "conv": lambda seeds: input_adapter("conv", seeds),
    "network": lambda seeds: ConvNetwork(FRAMES, 4, seeds, channels=(3, 4, 5), hidden=(6,)),
}


def test_a_run_convolves_with_its_own_weights():
    layer = RunConv2d(3, 5, (16, 16), 4, 2, 1, weight_generators([1, 2], 0))
    pictures = torch.rand(2, 7, 3, 16, 16)
    maps = layer(pictures)
    assert maps.shape == (2, 7, 5, *layer.size_out)
    for run in range(2):
        torch.testing.assert_close(maps[run], torch.nn.functional.conv2d(pictures[run], layer.weight[run], layer.bias[run], 2, 1))
    bound = 1 / math.sqrt(3 * 16)
    assert 0.9 * bound < layer.weight.abs().max() <= bound


@pytest.mark.parametrize("name", MAKERS)
def test_a_run_is_the_same_alone_and_beside_others(name):
    alone, beside = MAKERS[name]([5]), MAKERS[name]([9, 5, 1])
    frames = clips(3, 4)
    torch.testing.assert_close(beside(frames)[1:2], alone(frames[1:2]))


@pytest.mark.parametrize("name", MAKERS)
def test_costs_are_those_of_the_weights(name):
    network: RunNetwork = MAKERS[name]([0, 1])
    numbers = sum(parameter[0].numel() for parameter in network.parameters())
    assert network.trainable_parameters().tolist() == [numbers, numbers]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(clips(2, 1))
    assert network.multiply_adds().tolist() == [counter.get_total_flops() // 4] * 2  # two runs, two operations a product


def test_every_kind_of_input_adapter_gives_the_block_its_tokens_in_its_scale():
    statistics = (torch.full((WIDTH,), 3.0), torch.full((WIDTH,), 0.1))
    for kind in ("patch", "linear", "conv"):
        adapter = InputAdapter(FRAMES, PATCH, WIDTH, [0], statistics, kind)  # type: ignore[arg-type]
        tokens = adapter(clips(1, 5))
        assert tokens.shape == (1, 5, 2 * 2 * 2, WIDTH)
        assert (tokens - 3.0).abs().max() < 0.5


def test_a_frame_changes_only_its_own_tokens():
    frames = clips(1, 1)
    changed = frames.clone()
    changed[:, :, 1] = 255 - changed[:, :, 1]
    for kind in ("patch", "linear", "conv"):
        adapter = input_adapter(kind, [0])
        before, after = adapter(frames), adapter(changed)
        torch.testing.assert_close(before[:, :, :4], after[:, :, :4])
        assert (before[:, :, 4:] - after[:, :, 4:]).abs().min() > 0 or kind == "conv"


def test_attention_does_not_depend_on_the_order_of_tokens_and_a_grid_does():
    tokens = torch.rand(2, 3, 8, WIDTH)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    attention, grid = output_adapter("attention", [0, 1]), output_adapter("grid", [0, 1])
    torch.testing.assert_close(attention(tokens), attention(tokens[:, :, order]))
    assert (grid(tokens) - grid(tokens[:, :, order])).abs().max() > 1e-3


def test_attention_with_equal_agreement_is_the_mean():
    adapter = output_adapter("attention", [0])
    with torch.no_grad():
        adapter.queries.zero_()
    tokens = torch.rand(1, 3, 8, WIDTH)
    torch.testing.assert_close(adapter(tokens), adapter.head(tokens.mean(2).repeat(1, 1, QUERIES)))


def test_attention_finds_the_token_that_its_query_agrees_with():
    adapter = output_adapter("attention", [0])
    tokens = torch.eye(8)[None, None, :, :WIDTH] * 2.0
    with torch.no_grad():
        adapter.queries.zero_()
        adapter.queries[0, 0, 2] = 1e3
    expected = torch.cat([tokens[:, :, 2], tokens.mean(2).repeat(1, 1, QUERIES - 1)], dim=-1)
    torch.testing.assert_close(adapter(tokens), adapter.head(expected))


def test_pictures_hold_the_frames_one_after_the_other():
    frames = clips(1, 2)
    pictures = as_pictures(frames)
    assert pictures.shape == (1, 2, 6, 16, 16)
    torch.testing.assert_close(pictures[0, 1, 3:], frames[0, 1, 1].permute(2, 0, 1).float() / 127.5 - 1.0)


def test_gradients_of_a_run_do_not_leak_into_its_neighbours():
    network = ConvNetwork(FRAMES, 4, [0, 1], channels=(3, 4, 5), hidden=(6,))
    network(clips(2, 3))[0].sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad[0].abs().max() > 0
        assert not parameter.grad[1].any()


def test_a_patch_too_small_for_two_convolutions_is_refused():
    with pytest.raises(UsageError, match="even patch"):
        InputAdapter(FRAMES, 2, WIDTH, [0], kind="conv")


def test_slots_show_the_frames_they_are_given():
    adapter = InputAdapter(FRAMES, PATCH, WIDTH, [0], shown=(1, 1, 0))
    with torch.no_grad():
        adapter.position.zero_()
    plain = InputAdapter(FRAMES, PATCH, WIDTH, [0])
    plain.embed.load_state_dict(adapter.embed.state_dict())
    with torch.no_grad():
        plain.position.zero_()
    frames = clips(1, 2)
    first, second = plain(frames).split(4, dim=2)
    torch.testing.assert_close(adapter(frames), torch.cat([second, second, first], dim=2))


@pytest.mark.parametrize(
    ("frames", "time", "past", "fixed", "expected"),
    [
        (3, 4, 3, False, (0, 1, 2)),
        (3, 4, 3, True, (0, 1, 2, 2)),
        (9, 3, 3, True, (2, 5, 8)),
        (5, 5, 5, True, (0, 1, 2, 3, 4)),
        (1, 3, 1, True, (0, 0, 0)),
    ],
)
def test_every_slot_of_a_block_with_position_tables_shows_a_frame_and_the_last_one_the_newest(frames, time, past, fixed, expected):
    passport = SimpleNamespace(
        input_shape=(time, 4, 4),
        fixed_tokens=16 * time if fixed else None,
        grid=TokenGrid(time, 4, 4, past),
        input_mean=torch.zeros(8),
        layer=SimpleNamespace(name="b", width=8),
    )
    clip = ClipSpec(tuple(range(1 - frames, 1)), (32, 32, 3))
    grid, shown = token_grid(passport, clip)
    assert shown == expected
    assert grid == (len(expected), 4, 4)


@pytest.mark.parametrize(("given", "message"), [((1, 4, 8), "no squares"), ((1, 4, 4), "takes 1 x 4 x 8 tokens of 8 features and gives")])
def test_a_block_that_the_loop_cannot_feed_is_refused(given, message):
    passport = SimpleNamespace(
        input_shape=(1, 4, 8),
        input_mean=torch.zeros(8),
        fixed_tokens=None,
        grid=TokenGrid(*given, 1),
        layer=SimpleNamespace(name="b", width=8),
    )
    with pytest.raises(UsageError, match=message):
        token_grid(passport, ClipSpec((0,), (32, 32, 3)))
