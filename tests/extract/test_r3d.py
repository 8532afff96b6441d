"""R3D-18, held to a stand-in of torchvision's structure: which modules are layers, their grids, and no harm from operations in place.

torchvision itself is not installed where this runs (its usual build breaks other libraries); the stand-in has its structure,
with narrower layers where weights are needed.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import golden
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.extract.backbones import r3d
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import digest_tensors
from layerscout.extract.backbones.networks import r3d as networks
from layerscout.extract.passes.capture import Capture

CPU = torch.device("cpu")
NARROW = (4, 8, 12, 16)  # features of the four stages
SMALL = {"frames": 8, "size": 32}


class Conv3DSimple(nn.Conv3d):
    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__(inside, outside, kernel_size=(3, 3, 3), stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(Conv3DSimple(inside, outside, stride), nn.BatchNorm3d(outside), nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(Conv3DSimple(outside, outside), nn.BatchNorm3d(outside))
        self.relu = nn.ReLU(inplace=True)
        down = nn.Sequential(nn.Conv3d(inside, outside, 1, (stride,) * 3, bias=False), nn.BatchNorm3d(outside))
        self.downsample = down if stride != 1 else None

    def forward(self, video):
        residual = video if self.downsample is None else self.downsample(video)
        video = self.conv2(self.conv1(video))
        video += residual
        return self.relu(video)


class BasicStem(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False), nn.BatchNorm3d(width), nn.ReLU(inplace=True))


class VideoResNet(nn.Module):
    """The names, the order and the in-place ReLUs of ``torchvision.models.video.r3d_18``."""

    def __init__(self, widths: tuple[int, ...] = NARROW, classes: int = 10) -> None:
        super().__init__()
        self.stem = BasicStem(widths[0])
        for stage, (inside, outside) in enumerate(zip((widths[0], *widths), widths, strict=False), start=1):
            blocks = [BasicBlock(inside, outside, 1 if stage == 1 else 2), BasicBlock(outside, outside, 1)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool3d((1, 1, 1)), nn.Linear(widths[-1], classes)

    def forward(self, video):
        for part in (self.stem, self.layer1, self.layer2, self.layer3, self.layer4, self.avgpool):
            video = part(video)
        return self.fc(video.flatten(1))


def torchvision_with(monkeypatch, make, state):
    """A torchvision with the one model, whose download is ``state``; returns what was asked of the download."""
    asked = []

    def get_state_dict(**how):
        asked.append(how)
        return state

    video = ModuleType("torchvision.models.video")
    video.r3d_18 = lambda weights=None: make()  # type: ignore[attr-defined]
    video.R3D_18_Weights = SimpleNamespace(KINETICS400_V1=SimpleNamespace(get_state_dict=get_state_dict))  # type: ignore[attr-defined]
    models, package = ModuleType("torchvision.models"), ModuleType("torchvision")
    package.models, models.video = models, video  # type: ignore[attr-defined]
    package.__spec__ = ModuleSpec("torchvision", None)
    for module in (package, models, video):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


@pytest.fixture
def torchvision(monkeypatch):
    """A torchvision whose model is narrower, and a description of it."""
    state = golden.fill(VideoResNet()).state_dict()
    monkeypatch.setattr(r3d, "WIDTHS", NARROW)
    return SimpleNamespace(state=state, asked=torchvision_with(monkeypatch, VideoResNet, state))


def test_the_description_is_that_of_the_network_itself(monkeypatch):
    """By arithmetic, and by a blank pass through the structure of the published size: layers, grids, parameters, and the identity."""
    torchvision_with(monkeypatch, lambda: VideoResNet(r3d.WIDTHS, 400), {})
    for options in ({}, {"frames": 5, "size": 50, "stride": 2}, {"frames": 1, "size": 17}):
        described = find_backbone("r3d18", options)
        found = networks.network(described, None)
        for part in ("clip", "grid", "layers", "default_pooling", "identity"):
            assert getattr(found, part) == getattr(described, part), part
    assert sum(layer.parameters for layer in described.layers) == 33_371_472 - 400 * 513, "all of the published network but its head"


def test_a_torchvision_with_another_network_is_refused(torchvision, monkeypatch):
    monkeypatch.setattr(r3d, "WIDTHS", (4, 8, 12, 24))
    with pytest.raises(DataError, match="not the one that 'r3d18' describes"):
        find_backbone("r3d18", SMALL).load(CPU)


def test_weights_that_changed_since_their_digest_was_told_are_refused(torchvision, tmp_path):
    file = tmp_path / "own.safetensors"
    save_file(torchvision.state, file)
    backbone = find_backbone(f"r3d18:{file}", SMALL)
    backbone.weights_digest()
    save_file({name: value + 1 for name, value in torchvision.state.items()}, file)
    with pytest.raises(DataError, match="changed since their digest was taken"):
        backbone.load(CPU)


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
    model = VideoResNet().eval()
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


def test_a_torchvision_for_another_torch_is_told_as_such(tmp_path, monkeypatch):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("torchvision", "torchvision.models", "torchvision.models.video"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(MissingExtraError, match=r"does not fit this torch .*torchvision::nms"):
        find_backbone("r3d18").load(CPU)
