"""Compiled blocks: every layer fires on every batch, with the same numbers up to rounding; what cannot be compiled is an error."""

from __future__ import annotations

from functools import partial

import frames_by_hand
import golden
import numpy as np
import pytest
import torch
from passport_families import FAMILIES
from torch import nn
from torch._inductor.exc import InvalidCxxCompiler

from layerscout.errors import DataError, MissingExtraError
from layerscout.extract.backbones.base import LayerInfo, TokenGrid
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.config import ExtractConfig
from layerscout.extract.passes.capture import Capture
from layerscout.extract.run import plan, run

CPU = torch.device("cpu")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the compiler's own packages


@pytest.fixture
def traced_only(monkeypatch):
    """Everything of torch.compile but the machine code, which takes many seconds."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch._dynamo.reset()


def test_a_compiled_model_gives_the_same_rows_up_to_rounding_under_another_name(tmp_path, traced_only):
    data = frames_by_hand.write(tmp_path / "data.h5", frames_by_hand.random_episodes((12, 25)))
    poolings, layers = ("all/mean", "future/grid4", "last/energy"), ("blocks.0", "blocks.2")
    common = {"backbone": "tiny", "data": data, "root": tmp_path, "pooling": poolings, "layers": layers, "dtype": "float32"}
    eager = run(plan(ExtractConfig(**common)))
    compiled = run(plan(ExtractConfig(**common, compile=True, batch=16, rows_per_chunk=24)))  # the last batches are not full
    assert compiled.identity["recipe"] == eager.identity["recipe"] | {"compile": True}
    assert compiled.id != eager.id
    for name in eager.specs:
        expected = eager.layer(name).all()
        np.testing.assert_allclose(compiled.layer(name).all(), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_blocks_of_one_class_share_one_program_and_one_shape_is_compiled(tmp_path, monkeypatch):
    compiled = []

    def backend(graph, inputs):
        compiled.append(tuple(inputs[-1].shape))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch._dynamo.reset()
    data = frames_by_hand.write(tmp_path / "data.h5", frames_by_hand.random_episodes((12, 25)))
    run(plan(ExtractConfig(backbone="tiny", data=data, root=tmp_path, compile=True, batch=16, rows_per_chunk=24)))
    assert len(compiled) < len(find_backbone("tiny").layers), "eight blocks, three sizes of batches before padding"


class Nested(LoadedBackbone):
    """Two stages of two blocks; stages and blocks are layers. ``skip`` leaves out the last block from the second pass on."""

    def __init__(self, skip: bool = False) -> None:
        self.device, self.skip, self.passes = CPU, skip, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.module = nn.ModuleList([nn.Sequential(nn.Linear(3, 3), nn.Tanh()) for _ in range(2)])

    def forward(self, clip):
        tokens = clip.float().mean(3) / 255
        self.passes += 1
        tokens = self.module[0](tokens)
        if not self.skip or self.passes == 1:
            self.module[1](tokens)

    def tokens(self, output, layer):
        return output.flatten(1, 2)

    def truncate(self, last):
        pass


GRID = TokenGrid(time=2, height=4, width=1, past=2)
LAYERS = [LayerInfo(name, name, depth, 3, 12) for depth, name in enumerate(["0.0", "0.1", "0", "1.0", "1.1", "1"])]


@pytest.mark.parametrize("family", ["videomae", "wan-2.1-image", "hunyuan"])
def test_no_family_breaks_the_graph(tmp_path, traced_only, family):
    chosen = FAMILIES[family]
    chosen.save(tmp_path)
    backbone = find_backbone(f"{chosen.backbone}:{tmp_path}", chosen.options)
    poolings = ("all/mean", "all/grid2", "last/max", "last/energy")
    eager = Capture(backbone.load(CPU, torch.float32), backbone.layers, backbone.grid, poolings)
    compiled = Capture(backbone.load(CPU, torch.float32), backbone.layers, backbone.grid, poolings)
    compiled.compile(backbone.layers)
    torch._dynamo.utils.counters.clear()
    clips = golden.clips(backbone, 2)
    expected, found = eager(clips), compiled(clips)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], values, atol=1e-5) for name, values in expected.items())
    assert not torch._dynamo.utils.counters["graph_break"]


def random_clips() -> torch.Tensor:
    return torch.randint(0, 256, (2, 2, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_layers_inside_layers_are_all_captured_by_machine_code_too(kept_code):
    """What a user gets, with the C++ compiler."""
    expected = Capture(Nested(), LAYERS, GRID, "all/tokens")(random_clips())
    compiled = Capture(Nested(), LAYERS, GRID, "all/tokens")
    compiled.compile(LAYERS)
    for _ in range(2):
        found = compiled(random_clips())
        assert found.keys() == expected.keys()
        assert all(torch.allclose(found[name], values, atol=1e-6) for name, values in expected.items())


def test_a_layer_that_does_not_fire_in_a_later_batch_is_noticed(traced_only):
    compiled = Capture(Nested(skip=True), LAYERS, GRID, "all/mean")
    compiled.compile(LAYERS)
    compiled(random_clips())
    with pytest.raises(DataError, match=r"layer '1\.0' never ran"):
        compiled(random_clips())


def test_without_a_compiler_the_next_step_is_told(tmp_path, monkeypatch):
    def backend(graph, inputs):
        raise InvalidCxxCompiler

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch._dynamo.reset()
    data = frames_by_hand.write(tmp_path / "data.h5", frames_by_hand.random_episodes((5,)))
    with pytest.raises(MissingExtraError, match=r"torch\.compile does not work here: .*compiler") as failed:
        run(plan(ExtractConfig(backbone="tiny", data=data, root=tmp_path, layers=("blocks.0",), compile=True)))
    assert "g++" in failed.value.hint
    assert not (tmp_path / "stores").exists()
