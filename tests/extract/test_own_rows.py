"""Modules of one's own whose rows depend on more than their clip, or whose code was edited: never one id for two kinds of numbers."""

from __future__ import annotations

import frames_by_hand
import pytest
import torch
from torch import nn

from layerscout import registry
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.modules import from_module
from layerscout.extract.backbones.own_code import code_of
from layerscout.extract.config import ExtractConfig
from layerscout.extract.passes.row_check import check_compiled, difference
from layerscout.extract.run import plan, run


class Plain(nn.Module):
    """Two layers, ``a`` and ``b``; what lies between them differs from case to case."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv3d(3, 8, (1, 8, 8), stride=(1, 8, 8)), nn.Identity()

    def forward(self, video):
        self.b(self.mix(self.a(video)))

    def mix(self, values):
        return values


class OfBatch(Plain):
    def mix(self, values):
        return values - values.mean(0, keepdim=True)


class OfLargest(Plain):
    """As published networks do that scale by the largest flow of the batch."""

    def mix(self, values):
        return values / values.abs().amax()


class OfCalls(Plain):
    def mix(self, values, seen=[]):  # noqa: B006 - the fault that is looked for
        seen.append(0)
        return values * len(seen)


class OfChance(Plain):
    def mix(self, values):
        return torch.nn.functional.dropout(values, 0.1, training=True)


class OfStatistics(Plain):
    """A norm that keeps running statistics although the model is frozen."""

    def mix(self, values):
        return torch.nn.functional.batch_norm(values, None, None, training=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return frames_by_hand.write(tmp_path_factory.mktemp("data") / "data.h5", frames_by_hand.random_episodes((12, 25)))


def register(monkeypatch, kind: type[nn.Module]) -> None:
    build = staticmethod(lambda source, options: from_module("own", kind, ["a", "b"], frames=2, size=(32, 32)))
    monkeypatch.setitem(globals(), "build", build)
    monkeypatch.setitem(registry.REGISTRY["backbone"], "own", f"{__name__}:build")


def config(data, root, **changes) -> ExtractConfig:
    return ExtractConfig(backbone="own", data=data, root=root, passport_clips=0, **changes)


@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_a_module_whose_rows_are_their_clips_is_taken(data, tmp_path, monkeypatch, compute):
    register(monkeypatch, Plain)
    stores = [run(plan(config(data, tmp_path / batch, batch=batch, compute=compute))) for batch in ("7", "auto")]
    assert stores[0].id == stores[1].id


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (OfBatch, "layer 'b' of own backbone 'own' gives other rows when the batch around them changes"),
        (OfLargest, "layer 'b' of own backbone 'own' gives other rows when the batch around them changes"),
        (OfStatistics, "layer 'b' of own backbone 'own' gives other rows when the batch around them changes"),
        (OfCalls, "layer 'b' of own backbone 'own' gives other rows in a second pass"),
        (OfChance, "layer 'b' of own backbone 'own' gives other rows in a second pass"),
    ],
)
def test_a_module_whose_rows_depend_on_more_is_refused_before_anything_is_stored(data, tmp_path, monkeypatch, kind, expected):
    register(monkeypatch, kind)
    for changes in ({"batch": 7}, {"batch": 64}, {"batch": "auto", "compute": "bfloat16"}):
        with pytest.raises(UsageError, match=expected):
            run(plan(config(data, tmp_path, **changes)))
    assert not list(tmp_path.rglob("c/*"))


def test_built_in_backbones_are_not_checked_and_name_no_code(monkeypatch):
    for name in ("tiny", "synthetic", "transnet"):
        found = find_backbone(name)
        assert not found.own
        assert "code" not in found.identity


def test_an_edited_forward_is_another_backbone(data, tmp_path, monkeypatch):
    def text(gain: str) -> str:
        return f"""
import torch
from torch import nn
from layerscout.extract.backbones.modules import from_module

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv3d(3, 8, (1, 8, 8), stride=(1, 8, 8))
        self.b = nn.Identity()
    def forward(self, video):
        self.b({gain} * self.a(video))

def build(source, options):
    return from_module("own", Net, ["a", "b"], frames=2, size=(32, 32))
"""

    def found(gain: str):
        folder = tmp_path / f"gain{gain}"
        folder.mkdir()
        (folder / f"own_net_{gain}.py").write_text(text(gain))
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setitem(registry.REGISTRY["backbone"], "own", f"own_net_{gain}:build")
        return find_backbone("own")

    first, second = found("1"), found("2")
    assert first.identity["code"] != second.identity["code"]
    assert {**first.identity, "code": ""} == {**second.identity, "code": ""}
    assert find_backbone("own").identity == second.identity, "the same code is the same backbone"


def test_values_of_classes_and_instances_count_and_places_do_not():
    class Net(Plain):
        gain, folder = 1.0, "/home/somebody"

        def __init__(self, slope=0.1, file="/tmp/a"):
            super().__init__()
            self.slope, self.file, self._cache = slope, file, 3

    def code(**changes) -> str:
        return code_of(Net(**changes).modules())

    before = code()
    assert code(file="/elsewhere") == before
    assert code(slope=0.2) != before
    Net.folder = "/home/else"
    assert code() == before
    Net.gain = 2.0
    assert code() != before


def test_code_that_was_typed_into_a_prompt_counts_by_its_instructions():
    def made(gain: float) -> str:
        space = {"Plain": Plain, "__name__": "typed"}
        exec(f"class Net(Plain):\n    def mix(self, values):\n        return values * {gain}\n", space)
        return code_of(space["Net"]().modules())

    assert made(1.0) == made(1.0) != made(2.0)


def test_the_text_of_its_file_counts_where_a_backbone_is_described_by_hand(monkeypatch):
    from layerscout.extract.backbones import synthetic

    monkeypatch.setitem(globals(), "build", lambda source, options: synthetic.build(None, {}))
    monkeypatch.setitem(registry.REGISTRY["backbone"], "own", f"{__name__}:build")
    found = find_backbone("own")
    assert found.own
    assert found.identity["code"].startswith("sha256:")


def test_a_compiled_model_that_computes_otherwise_is_refused():
    eager = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    columns = {"a": slice(0, 3), "b": slice(3, 6)}
    check_compiled(eager, eager * (1 + 1e-6), columns, torch.float32)
    broken = eager.clone()
    broken[2, 4] += 1.0
    with pytest.raises(DataError, match="layer 'b' differs by"):
        check_compiled(eager, broken, columns, torch.float32)
    with pytest.raises(DataError, match="layer 'a' differs by nan"):
        check_compiled(eager, eager * float("nan"), columns, torch.float32)
    assert difference(torch.zeros(2, 3), torch.zeros(2, 3)) == 0.0
