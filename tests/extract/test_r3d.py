"""R3D-18, held to a stand-in of torchvision's structure: which modules are layers, their grids, and no harm from operations in place.

torchvision itself is not installed where this runs (its usual build breaks other libraries); the stand-in has the names,
the order and the in-place ReLUs of ``torchvision.models.video.r3d_18``, with narrower layers.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import golden
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import digest_tensors
from layerscout.extract.passes.capture import Capture

CPU = torch.device("cpu")
SMALL = {"frames": 8, "size": 32}


class BasicBlock(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(nn.Conv3d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm3d(outside), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(nn.Conv3d(outside, outside, 3, 1, 1, bias=False), nn.BatchNorm3d(outside))
        self.relu = nn.ReLU(inplace=True)
        down = nn.Sequential(nn.Conv3d(inside, outside, 1, stride, bias=False), nn.BatchNorm3d(outside))
        self.downsample = down if stride != 1 else None

    def forward(self, video):
        residual = video if self.downsample is None else self.downsample(video)
        video = self.conv2(self.conv1(video))
        video += residual
        return self.relu(video)


class StandIn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(3, 4, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(4), nn.ReLU(inplace=True))
        for stage, (inside, outside) in enumerate([(4, 4), (4, 8), (8, 12), (12, 16)], start=1):
            blocks = [BasicBlock(inside, outside, 1 if stage == 1 else 2), BasicBlock(outside, outside, 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool3d(1), nn.Linear(16, 10)

    def forward(self, video):
        for part in (self.stem, self.layer1, self.layer2, self.layer3, self.layer4, self.avgpool):
            video = part(video)
        return self.fc(video.flatten(1))


@pytest.fixture
def torchvision(monkeypatch):
    """A torchvision with the one model, whose download is a state made here."""
    state = golden.fill(StandIn()).state_dict()
    asked = []

    def get_state_dict(**how):
        asked.append(how)
        return state

    video = ModuleType("torchvision.models.video")
    video.r3d_18 = lambda weights=None: StandIn()  # type: ignore[attr-defined]
    video.R3D_18_Weights = SimpleNamespace(KINETICS400_V1=SimpleNamespace(get_state_dict=get_state_dict))  # type: ignore[attr-defined]
    models, package = ModuleType("torchvision.models"), ModuleType("torchvision")
    package.models, models.video = models, video  # type: ignore[attr-defined]
    for module in (package, models, video):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return SimpleNamespace(state=state, asked=asked)


def test_layers_are_the_stem_and_eight_blocks_with_their_grids(torchvision):
    backbone = find_backbone("r3d18", SMALL)
    grids = [(layer.name, (layer.grid.time, layer.grid.height, layer.grid.width), layer.width) for layer in backbone.layers]
    stages = [((8, 16, 16), 4), ((4, 8, 8), 8), ((2, 4, 4), 12), ((1, 2, 2), 16)]
    blocks = [(f"layer{i}.{block}", *stage) for i, stage in enumerate(stages, start=1) for block in range(2)]
    assert grids == [("stem", (8, 16, 16), 4), *blocks]
    assert not torchvision.asked, "a description needs no weights"
    assert find_backbone("r3d18").clip.frame_shape == (112, 112, 3)
    assert len(find_backbone("r3d18").clip.offsets) == 16


def test_tokens_are_what_the_network_gives_to_normalised_pixels(torchvision):
    backbone = find_backbone("r3d18", SMALL)
    clips = golden.clips(backbone, 2)
    model = StandIn().eval()
    model.load_state_dict(torchvision.state)
    mean, std = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
    seen = {}
    for layer in backbone.layers:
        model.get_submodule(layer.module).register_forward_hook(lambda m, a, o, name=layer.name: seen.update({name: o.clone()}))
    with torch.no_grad():
        model(((clips.float() / 255 - mean) / std).permute(0, 4, 1, 2, 3))
    pooled = Capture(backbone.load(CPU), backbone.layers, backbone.grid, "all/tokens")(clips)
    for name, output in seen.items():
        assert torch.equal(pooled[name], output.flatten(2).transpose(1, 2).flatten(1)), name
        assert (output >= 0).all()
    assert torchvision.asked == [{"progress": False, "check_hash": True, "weights_only": True}]


def test_weights_of_a_safetensors_file_count_and_no_other_file_is_read(torchvision, tmp_path):
    file = tmp_path / "own.safetensors"
    state = {name: value * 0.5 if value.is_floating_point() else value for name, value in torchvision.state.items()}
    save_file(state, file)
    backbone = find_backbone(f"r3d18:{file}", SMALL)
    assert backbone.weights_digest() == digest_tensors(state) != find_backbone("r3d18", SMALL).weights_digest()
    assert torch.equal(backbone.load(CPU).module.state_dict()["stem.0.weight"], state["stem.0.weight"])
    with pytest.raises(UsageError, match=r"cannot read own\.pt"):
        find_backbone("r3d18:own.pt")
    file.write_bytes(b"torn")
    with pytest.raises(DataError, match="has 4 bytes and no header"):
        find_backbone(f"r3d18:{file}", SMALL).load(CPU)


def test_without_torchvision_the_message_says_how_to_get_the_right_one(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingExtraError, match="needs torchvision") as error:
        find_backbone("r3d18")
    assert "--index-url https://download.pytorch.org/whl/cpu" in error.value.hint


def test_a_torchvision_for_another_torch_is_told_as_such(monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name.startswith("torchvision"):
                raise RuntimeError("operator torchvision::nms does not exist")

    for name in ("torchvision", "torchvision.models", "torchvision.models.video"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=r"does not fit this torch .*torchvision::nms"):
        find_backbone("r3d18")
