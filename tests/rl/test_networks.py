"""Laws of the layers with a run axis: each run is the plain network of its own seed, whatever stands beside it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from layerscout.errors import UsageError
from layerscout.rl.networks.adapters import InputAdapter, OutputAdapter
from layerscout.rl.networks.in_loop_network import InLoopNetwork, OwnBlocks, count_multiply_adds
from layerscout.rl.networks.layers import Head, RunLinear, weight_generators
from layerscout.rl.networks.optimiser import flatten, views

FRAMES = (2, 8, 8, 3)  # time, height, width, channel


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Block(nn.Module):
    """A small residual block: [sample, token, width] → the same."""

    def __init__(self, width: int = 6, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.up, self.down = nn.Linear(width, 12), nn.Linear(12, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens + self.down(torch.relu(self.up(tokens)))


def in_loop(frozen: nn.Module, seeds: list[int], cost: int = 0) -> InLoopNetwork:
    g = InputAdapter(FRAMES, 4, 6, seeds)
    return InLoopNetwork(g, frozen, OutputAdapter(g.token_grid, 6, 3, seeds, grid=2, hidden=(5,)), cost)


def clips(runs: int, batch: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (runs, batch, *FRAMES), dtype=np.uint8))


def test_every_run_is_the_plain_network_with_its_weights() -> None:
    head = Head(7, 3, [1, 2], hidden=(20, 5))
    x = torch.randn(2, 9, 7, generator=torch.Generator().manual_seed(0))
    for run in range(2):
        plain = nn.Sequential(nn.Linear(7, 20), nn.ReLU(), nn.Linear(20, 5), nn.ReLU(), nn.Linear(5, 3))
        for linear, own in zip((plain[0], plain[2], plain[4]), head.layers, strict=True):
            linear.weight.data, linear.bias.data = own.weight[run].T, own.bias[run, 0]  # type: ignore[index]
        torch.testing.assert_close(head(x)[run], plain(x[run]))


def test_first_weights_depend_on_the_seed_alone() -> None:
    alone, beside = Head(7, 3, [5]), Head(7, 3, [9, 5, 1])
    for one, many in zip(alone.parameters(), beside.parameters(), strict=True):
        assert torch.equal(one[0], many[1])
        assert not torch.equal(many[0], many[1])


def test_first_weights_have_the_scale_of_torch() -> None:
    weight = RunLinear(50, 400, weight_generators([0], 0)).weight.detach()
    reference = nn.Linear(50, 400).weight.detach()
    assert weight.abs().max() <= 1 / math.sqrt(50)
    assert weight.std() == pytest.approx(float(reference.std()), rel=0.02)


@pytest.mark.parametrize(("kind", "hidden"), [("linear", ()), ("mlp", (20,)), ("mlp", (8, 20))])
def test_gradient_by_hand_is_autograd(kind: str, hidden: tuple[int, ...]) -> None:
    head = Head(7, 3, [1, 2], kind, hidden)  # type: ignore[arg-type]
    x, slope = torch.randn(2, 9, 7), torch.randn(2, 4, 3)
    values, tape = head.record(x, learned=4)
    torch.testing.assert_close(values, head(x))
    out = views(head, torch.zeros_like(flatten(head)))
    head.pull_back(tape, slope, out)
    for gradient, expected in zip(out, torch.autograd.grad(head(x[:, :4]), list(head.parameters()), slope), strict=True):
        torch.testing.assert_close(gradient, expected)


def test_flat_rows_are_the_parameters_and_change_no_output() -> None:
    head, x = Head(7, 3, [1, 2], hidden=(5,)), torch.randn(2, 9, 7)
    before = head(x).detach()
    flat = flatten(head)
    assert torch.equal(head(x), before)
    assert all(view.data_ptr() % 64 == flat.data_ptr() % 64 for view in views(head, flat))
    flat[0] = 0.0
    assert torch.equal(head(x)[0], torch.zeros(9, 3))
    assert torch.equal(head(x)[1], before[1])


def test_padded_arm_is_the_narrow_network() -> None:
    padded, narrow = Head(7, 3, [1, 1], live_widths=[7, 4]), Head(4, 3, [1])
    x = torch.randn(2, 9, 7)
    x[1, :, 4:] = 0.0
    torch.testing.assert_close(padded(x)[1:], narrow(x[1:, :, :4]))
    out = views(padded, torch.zeros_like(flatten(padded)))
    values, tape = padded.record(x, learned=9)
    padded.pull_back(tape, torch.ones_like(values), out)
    assert not out[0][1, 4:].any()  # so that the padding stays zero
    assert padded.trainable_parameters().tolist() == [8 * 64 + 65 * 3, 5 * 64 + 65 * 3]
    assert padded.multiply_adds().tolist() == [7 * 64 + 64 * 3, 4 * 64 + 64 * 3]


def test_live_widths_must_fit() -> None:
    with pytest.raises(UsageError, match="do not fit 2 runs of width 7"):
        Head(7, 3, [1, 2], live_widths=[7, 8])


def test_patches_are_square_pieces_in_the_order_time_row_column() -> None:
    adapter = InputAdapter(FRAMES, 4, 48, [0])
    adapter.embed.weight.data = torch.eye(48)[None]
    adapter.embed.bias.data.zero_()
    adapter.position.data.zero_()
    frames = clips(1, 2)
    tokens = adapter(frames).unflatten(2, (2, 2, 2))
    piece = frames[0, 1, 1, 4:, :4].float() / 127.5 - 1.0  # sample 1, time 1, patch row 1, patch column 0
    torch.testing.assert_close(tokens[0, 1, 1, 1, 0], piece.flatten())
    assert tokens.abs().max() <= 1.0


def test_input_statistics_shift_and_scale_the_tokens() -> None:
    mean, deviation = torch.linspace(-1, 1, 6), torch.linspace(0.5, 2, 6)
    plain, shifted = InputAdapter(FRAMES, 4, 6, [3]), InputAdapter(FRAMES, 4, 6, [3], (mean, deviation))
    torch.testing.assert_close(shifted(clips(1, 2)), plain(clips(1, 2)) * deviation + mean)


def test_grid_pooling_averages_cells_of_each_frame() -> None:
    adapter = OutputAdapter((2, 4, 4), 6, 3, [0], grid=2, kind="linear")
    tokens = torch.randn(1, 5, 32, 6)
    cells = tokens.reshape(5, 2, 4, 4, 6)
    pooled = torch.stack([cells[:, t, r : r + 2, c : c + 2].mean((1, 2)) for t in (0, 1) for r in (0, 2) for c in (0, 2)], dim=1)
    torch.testing.assert_close(adapter(tokens), adapter.head(pooled.reshape(1, 5, 48)))
    mean = OutputAdapter((2, 4, 4), 6, 3, [0], grid=0, kind="linear")
    torch.testing.assert_close(mean(tokens), mean.head(tokens.mean(2)))


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="patches of 3"):
        InputAdapter(FRAMES, 3, 6, [0])
    with pytest.raises(UsageError, match="grid of 3"):
        OutputAdapter((2, 4, 4), 6, 3, [0], grid=3)


def test_gradient_reaches_g_through_the_frozen_layer_and_not_its_weights() -> None:
    frozen = Block().requires_grad_(False)
    before = [parameter.clone() for parameter in frozen.parameters()]
    network = in_loop(frozen, [1, 2])
    values, tape = network.record(clips(2, 4), learned=4)
    out = views(network, torch.zeros_like(flatten(network)))
    network.pull_back(tape, torch.ones_like(values), out)
    assert all(gradient.abs().sum() > 0 for gradient in out)
    assert len(out) == 3 + 4  # g: weight, bias, position; h: two layers
    assert all(parameter.grad is None and torch.equal(parameter, old) for parameter, old in zip(frozen.parameters(), before, strict=True))
    assert not any("up" in name for name in network.state_dict())


def test_frozen_layer_is_called_once_for_all_runs() -> None:
    calls = []

    def frozen(tokens: torch.Tensor) -> torch.Tensor:
        calls.append(tuple(tokens.shape))
        return tokens

    in_loop(frozen, [1, 2])(clips(2, 4))  # type: ignore[arg-type]
    assert calls == [(8, 8, 6)]


def test_a_trainable_frozen_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="trainable parameters"):
        in_loop(Block(), [1, 2])


def test_own_blocks_are_the_blocks_and_each_run_trains_its_own() -> None:
    blocks = [Block(seed=1), Block(seed=2)]
    own = OwnBlocks(blocks)
    tokens = torch.randn(2, 4, 8, 6)
    torch.testing.assert_close(own(tokens), torch.stack([block(tokens[run]) for run, block in enumerate(blocks)]))
    gradients = torch.autograd.grad(own(tokens)[0].sum(), list(own.parameters()))
    assert all(gradient[0].abs().sum() > 0 and not gradient[1].any() for gradient in gradients)
    block_size = sum(parameter.numel() for parameter in blocks[0].parameters())
    assert own.trainable_parameters().tolist() == [block_size] * 2


def test_costs_of_the_in_loop_network() -> None:
    block = Block().requires_grad_(False)
    cost = count_multiply_adds(block, tokens=8, width=6)
    assert cost == 8 * 2 * 6 * 12
    trained = 48 * 6 * 8 + (2 * 4 * 6) * 5 + 5 * 3  # embedding of 8 tokens, then the head on 2 frames of 2 x 2 cells
    shared, own = in_loop(block, [1], cost), in_loop(OwnBlocks([block]), [1], cost)
    assert shared.multiply_adds().tolist() == own.multiply_adds().tolist() == [trained + cost]
    assert (shared.frozen_multiply_adds(), own.frozen_multiply_adds()) == (cost, 0)
    adapters = 49 * 6 + 8 * 6 + 49 * 5 + 6 * 3
    assert shared.trainable_parameters().tolist() == [adapters]
    assert own.trainable_parameters().tolist() == [adapters + sum(parameter.numel() for parameter in block.parameters())]
