"""Hooks see what the modules give, change nothing, and cannot miss a layer silently."""

from __future__ import annotations

import doctest

import pytest
import torch
from torch import nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import LayerInfo, TokenGrid
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.backbones.modules import from_module
from layerscout.extract.device import batches_in_threads
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import pool

CPU = torch.device("cpu")


def random_clips(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def tiny():
    return find_backbone("tiny")


def outputs_by_hand(backbone, clips) -> dict[str, torch.Tensor]:
    """Raw tokens of every block of the whole model, noted by wrapping each block's ``forward``."""
    loaded = backbone.load(torch.device("cpu"))
    seen = {}
    for layer in backbone.layers:
        block = loaded.module.get_submodule(layer.module)

        def noting(*arguments, inner=block.forward, layer=layer, **named):
            output = inner(*arguments, **named)
            seen[layer.name] = loaded.tokens(output, layer).clone()
            return output

        block.forward = noting
    with torch.inference_mode():
        loaded.forward(clips)
    return seen


@pytest.mark.parametrize("pooling", ["future/grid4", "all/mean", "last/grid2"])
def test_pooled_activations_are_those_of_the_modules(tiny, pooling):
    clips = random_clips(5)
    capture = Capture(tiny.load(torch.device("cpu")), tiny.layers, tiny.grid, pooling)
    expected = outputs_by_hand(tiny, clips)
    captured = capture(clips)
    assert list(captured) == [layer.name for layer in tiny.layers]
    for name, tokens in expected.items():
        assert torch.equal(captured[name], pool(tokens, pooling, tiny.grid))


@pytest.mark.parametrize("wanted", [[0], [3], [5, 1], [7]])
def test_stopping_after_the_last_wanted_layer_changes_no_value(tiny, wanted):
    clips = random_clips(4)
    everything = Capture(tiny.load(torch.device("cpu")), tiny.layers, tiny.grid, "all/mean")(clips)
    loaded = tiny.load(torch.device("cpu"))
    some = Capture(loaded, [tiny.layers[i] for i in wanted], tiny.grid, "all/mean")(clips)
    assert len(loaded.module.transformer_blocks) == max(wanted) + 1
    assert sorted(some) == sorted(tiny.layers[i].name for i in wanted)
    assert all(torch.equal(some[name], everything[name]) for name in some)


def test_each_pass_may_stop_at_another_layer(tiny):
    clips = random_clips(4)
    loaded = tiny.load(torch.device("cpu"))
    capture = Capture(loaded, tiny.layers, tiny.grid, "all/mean")
    everything = capture(clips)
    for name in ("blocks.2", "blocks.6", "blocks.0", "blocks.7"):
        only = capture(clips, only=[name])
        assert list(only) == [name]
        assert len(loaded.module.transformer_blocks) == tiny.layer(name).depth + 1
        assert torch.equal(only[name], everything[name])
    assert all(torch.equal(values, everything[name]) for name, values in capture(clips).items())


class Chain(LoadedBackbone):
    """Three linear blocks on the colours of every row of every frame, each called as often as ``calls`` says."""

    def __init__(self, calls: tuple[int, int, int] = (1, 1, 1)) -> None:
        self.device = torch.device("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.module = nn.ModuleList([nn.Linear(3, 3) for _ in calls])
        self.calls = calls

    def forward(self, clip):
        tokens = clip.float().mean(3) / 255
        for block, times in zip(self.module, self.calls, strict=True):
            for _ in range(times):
                tokens = block(tokens)
        self.result = tokens

    def tokens(self, output, layer):
        return output.flatten(1, 2)

    def truncate(self, last):
        pass


CHAIN_LAYERS = [LayerInfo(f"block.{i}", f"{i}", i, 3, 12) for i in range(3)]
CHAIN_GRID = TokenGrid(time=2, height=4, width=1, past=2)


@pytest.fixture
def clips():
    return torch.randint(0, 256, (2, 2, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_hooks_do_not_change_a_forward_pass_inside_or_outside_of_a_capture(clips):
    free, hooked = Chain(), Chain()
    with torch.inference_mode():
        free.forward(clips)
    pooled = Capture(hooked, CHAIN_LAYERS, CHAIN_GRID, "all/mean")(clips)
    assert torch.equal(free.result, hooked.result)
    torch.testing.assert_close(pooled["block.2"], free.result.mean((1, 2)))
    hooked.result = None
    with torch.inference_mode():
        hooked.forward(clips)  # nobody captures now: the hooks must be silent
    assert torch.equal(free.result, hooked.result)


def test_what_was_captured_does_not_alias_the_model(clips):
    capture = Capture(Chain(), CHAIN_LAYERS, CHAIN_GRID, "all/grid1")
    first = capture(clips)
    kept = {name: value.clone() for name, value in first.items()}
    capture(255 - clips)
    assert all(torch.equal(first[name], kept[name]) for name in kept)


def test_a_layer_that_never_runs_is_refused(clips):
    with pytest.raises(DataError, match=r"layer 'block\.1' never ran"):
        Capture(Chain(calls=(1, 0, 1)), CHAIN_LAYERS, CHAIN_GRID, "all/mean")(clips)


def test_a_layer_that_runs_twice_is_refused_and_the_next_pass_is_not_disturbed(clips):
    chain = Chain(calls=(1, 2, 1))
    capture = Capture(chain, CHAIN_LAYERS, CHAIN_GRID, "all/mean")
    with pytest.raises(DataError, match=r"layer 'block\.1' ran twice"):
        capture(clips)
    assert sorted(capture(clips, only=["block.0", "block.2"])) == ["block.0", "block.2"]


def test_passes_of_several_threads_do_not_mix(clips):
    capture = Capture(Chain(), CHAIN_LAYERS, CHAIN_GRID, "all/grid1")
    batches = [torch.roll(clips, shift, dims=1) for shift in range(8)]
    alone = [capture(batch) for batch in batches]
    for expected, found in zip(alone, batches_in_threads(capture, batches, 4), strict=True):
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_only_wanted_layers_are_hooked(clips):
    """A layer that runs twice does not matter when nobody asked for it."""
    pooled = Capture(Chain(calls=(1, 2, 1)), [CHAIN_LAYERS[0], CHAIN_LAYERS[2]], CHAIN_GRID, "all/mean")(clips)
    assert sorted(pooled) == ["block.0", "block.2"]


# --- several poolings, class tokens, tokens of another shape


def test_several_poolings_come_from_one_pass(tiny):
    clips = random_clips(3)
    names = ("all/mean", "future/grid4", "last/max")
    together = Capture(tiny.load(CPU), tiny.layers, tiny.grid, names)(clips)
    assert len(together) == len(names) * len(tiny.layers)
    for pooling in names:
        alone = Capture(tiny.load(CPU), tiny.layers, tiny.grid, pooling)(clips)
        for layer in tiny.layers:
            torch.testing.assert_close(together[f"{layer.name}@{pooling.replace('/', '-')}"], alone[layer.name], atol=2e-6, rtol=1e-5)


def test_what_is_captured_lies_side_by_side_in_one_buffer_with_the_room_asked_for(clips):
    capture = Capture(Chain(), CHAIN_LAYERS, CHAIN_GRID, ("all/mean", "last/tokens"))
    packed = capture.packed(clips, room=2)
    assert packed.is_contiguous()
    columns = capture.columns()
    assert packed.shape == (2, 3 * (3 + 12) + 2)
    assert [place.start for place in columns.values()] == [0, *[place.stop for place in columns.values()]][:-1]
    for name, values in capture(clips).items():
        assert torch.equal(packed[:, columns[name]], values)


def test_a_bare_pass_runs_the_model_and_captures_nothing(clips):
    chain = Chain()
    capture = Capture(chain, CHAIN_LAYERS, CHAIN_GRID, "all/mean")
    expected = capture(clips)
    result, chain.result = chain.result, None
    assert capture.bare(clips) is None
    assert torch.equal(chain.result, result)
    assert all(torch.equal(values, expected[name]) for name, values in capture(clips).items())


class WithClass(Chain):
    """The first token is the class token; layer 1 has a grid of its own, every second token."""

    def tokens(self, output, layer):
        tokens = output.flatten(1, 2)[:, 1:]
        return tokens[:, ::2] if layer.name == "block.1" else tokens

    def class_token(self, output, layer):
        return output.flatten(1, 2)[:, 0]


def test_class_tokens_are_apart_from_video_tokens_and_layers_may_have_grids_of_their_own(clips):
    layers = [CHAIN_LAYERS[0], LayerInfo("block.1", "1", 1, 3, 12, TokenGrid(1, 2, 2, 1))]
    chain = WithClass()
    seen = {}
    for layer in layers:
        chain.module[layer.depth].register_forward_hook(lambda module, inputs, output, name=layer.name: seen.update({name: output.clone()}))
    found = Capture(chain, layers, TokenGrid(7, 1, 1, 7), ("cls", "all/mean", "all/tokens"))(clips)
    for layer in layers:
        tokens = seen[layer.name].flatten(1, 2)
        video = tokens[:, 1::2] if layer.name == "block.1" else tokens[:, 1:]
        assert torch.equal(found[f"{layer.name}@cls"], tokens[:, 0])
        assert torch.equal(found[f"{layer.name}@all-tokens"], video.flatten(1))
        torch.testing.assert_close(found[f"{layer.name}@all-mean"], video.mean(1))


@pytest.mark.parametrize("grid", [TokenGrid(2, 4, 2, 2), TokenGrid(1, 4, 1, 1)], ids=["more", "fewer"])
def test_another_number_of_tokens_than_stated_is_refused(clips, grid):
    with pytest.raises(DataError, match=r"layer 'block\.0' gives tokens \(2, 8, 3\), expected"):
        Capture(Chain(), CHAIN_LAYERS, grid, "all/mean")(clips)


class InPlace(Chain):
    """After every block, what it gave is overwritten: ReLU in place, then zero."""

    def forward(self, clip):
        tokens = clip.float().mean(3) / 255 - 0.5
        for block in self.module:
            tokens = block(tokens)
            self.outputs.append(tokens.clone())
            kept = torch.relu(tokens)
            tokens.zero_()
            tokens = kept


@pytest.mark.parametrize("pooling", ["all/tokens", "last/tokens", "all/grid1", "all/mean", "all/max", "cls"])
def test_operations_in_place_after_a_block_change_nothing_that_was_captured(clips, pooling):
    chain = InPlace()
    chain.outputs = []
    chain.class_token = lambda output, layer: output.flatten(1, 2)[:, 0]
    found = Capture(chain, CHAIN_LAYERS, CHAIN_GRID, pooling)(clips)
    for output, values in zip(chain.outputs, found.values(), strict=True):
        tokens = output.flatten(1, 2)
        assert torch.equal(values, tokens[:, 0] if pooling == "cls" else pool(tokens, pooling, CHAIN_GRID))
        assert values.abs().sum() > 0


def test_closing_leaves_the_model_without_hooks_and_with_its_own_code(monkeypatch):
    backbone = find_backbone("tiny")
    loaded, shown = backbone.load(CPU), random_clips(2)
    monkeypatch.setattr(torch, "compile", lambda function, **how: lambda *arguments, **named: function(*arguments, **named))

    def state() -> list[object]:
        return [
            (len(module._forward_hooks), len(module._forward_pre_hooks), "forward" in vars(module)) for module in loaded.module.modules()
        ]

    before = state()
    with Capture(loaded, backbone.layers, backbone.grid, "all/mean") as capture:
        first = capture(shown)
        capture.compile(backbone.layers)
        assert all(torch.equal(values, first[name]) for name, values in capture(shown).items())
        assert state() != before
    assert state() == before


def test_a_second_capture_of_a_model_whose_passes_end_early_sees_its_layers():
    backbone = from_module(
        "own", lambda: torch.nn.Sequential(torch.nn.Conv3d(3, 4, 1), torch.nn.Conv3d(4, 5, 1)), ["0", "1"], frames=2, size=(4, 4)
    )
    loaded, shown = backbone.load(torch.device("cpu")), torch.zeros(2, 2, 4, 4, 3, dtype=torch.uint8)
    first = Capture(loaded, backbone.layers, backbone.grid, "all/mean")(shown)
    second = Capture(loaded, backbone.layers, backbone.grid, "all/mean")(shown)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_worked_example_runs():
    from layerscout.extract.passes import capture

    assert doctest.testmod(capture).attempted > 0
    assert doctest.testmod(capture).failed == 0
