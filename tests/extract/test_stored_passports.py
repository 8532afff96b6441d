"""Passports kept by stage 1: what is written is verified, travels with the store, and runs the block without the model."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import checkpoints_denoisers as denoisers
import frames_by_hand
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.opening import open_store
from layerscout.cache.remote.mirror import Mirror
from layerscout.cache.remote.transfer import pull, push
from layerscout.cache.store import Store
from layerscout.cli import app
from layerscout.errors import DataError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.clips import ClipTable, clips_of
from layerscout.extract.config import ExtractConfig
from layerscout.extract.passports import stored_passports
from layerscout.extract.passports.passport import FrozenLayer, harvest, open_passport
from layerscout.extract.passports.stored_passports import calibration_spans, read_passport
from layerscout.extract.run import plan, run

OPTIONS = {"size": [32, 32], "frames": 5}


@dataclass(frozen=True)
class Made:
    """A store with everything that it was made from."""

    store: Store
    root: Path
    data: Path
    folder: Path
    config: ExtractConfig


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    place = tmp_path_factory.mktemp("kept")
    data = frames_by_hand.write(place / "data.h5", frames_by_hand.random_episodes((7, 9)))
    folder = denoisers.save_wan(place / "wan")
    config = ExtractConfig(backbone=f"wan:{folder}", data=data, root=place / "root", backbone_options=OPTIONS, name="kept", batch=4)
    return Made(run(plan(config)), place / "root", data, folder, config)


def block_input(made: Made, layer: str) -> torch.Tensor:
    passport = read_passport(made.store, layer)
    time, height, width = passport.input_shape
    generator = torch.Generator().manual_seed(0)
    return torch.randn((2, time * height * width, len(passport.input_mean)), generator=generator) * passport.input_rms + passport.input_mean


def test_every_layer_has_a_passport_that_is_the_harvested_one(made):
    assert made.store.passports == tuple(layer.name for layer in find_backbone(made.config.backbone, OPTIONS).layers)
    with Trajectories(made.data) as data:
        rows = ClipTable(data.lengths)
        clips = clips_of(data, rows, 0, len(rows), find_backbone(made.config.backbone, OPTIONS).clip)
    for name in made.store.passports:
        kept, whole = read_passport(made.store, name), harvest(find_backbone(made.config.backbone, OPTIONS), name, clips)
        assert kept.clips == len(clips) == made.store.rows
        assert kept.context.layout == whole.context.layout
        torch.testing.assert_close(kept.input_mean, whole.input_mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(kept.input_rms, whole.input_rms, atol=1e-5, rtol=1e-5)
        assert kept.block_digest == whole.block_digest


def test_a_block_is_opened_without_the_model_and_gives_the_same_bits(made, monkeypatch):
    loaded = find_backbone(made.config.backbone, OPTIONS).load(torch.device("cpu"))
    monkeypatch.setattr(stored_passports, "find_backbone", None)  # the whole model must not be needed
    for name in made.store.passports:
        opened = open_passport(made.store, name)
        tokens = block_input(made, name)
        own = read_passport(made.store, name).with_block(loaded.module.get_submodule(opened.passport.layer.module))
        with torch.no_grad():
            assert torch.equal(FrozenLayer(opened.passport)(tokens), FrozenLayer(own)(tokens))
        assert 0 < opened.bytes_read < 0.6 * opened.bytes_total
    assert open_passport(made.store, f"{name}@all-mean").passport.layer.name == name


def test_a_model_inside_the_package_is_loaded_whole(made, tmp_path):
    store = run(plan(ExtractConfig(backbone="tiny", data=made.data, root=tmp_path, layers=("blocks.2", "blocks.0"))))
    assert sorted(store.passports) == ["blocks.0", "blocks.2"]
    opened = open_passport(store, "blocks.2")
    assert opened.bytes_read is None
    assert torch.equal(FrozenLayer(opened.passport)(torch.ones(1, 4, 64)), FrozenLayer(opened.passport)(torch.ones(1, 4, 64)))


def test_passports_change_no_identity_and_may_be_left_out(made, tmp_path):
    bare = run(plan(made.config.model_copy(update={"root": tmp_path, "passport_clips": 0})))
    assert bare.id == made.store.id
    assert bare.passports == ()
    for name in bare.specs:
        np.testing.assert_array_equal(bare.layer(name).all(), made.store.layer(name).all())
    with pytest.raises(DataError, match=r"keeps no passport of layer 'blocks\.1'"):
        open_passport(bare, "blocks.1")


def test_layers_without_a_passport_are_told(made, tmp_path):
    data = frames_by_hand.write(tmp_path / "planes.h5", frames_by_hand.random_episodes((4,), shape=(8, 8, 2)))
    store = run(plan(ExtractConfig(backbone="synthetic", data=data, root=tmp_path)))
    assert store.passports == ()
    told = store.manifest.provenance["passports"]
    assert sorted(told["without"]) == ["bottleneck", "random_narrow", "random_wide", "structured_mid"]
    assert "has no passport" in told["without"]["bottleneck"]


# --- they are part of the store


def test_verify_reads_them(made, tmp_path):
    copy = Path(shutil.copytree(made.store.path, tmp_path / made.store.id))
    assert verify_store(copy, full=True).problems == ()
    for name, change in (("blocks.1.safetensors", "damaged"), ("blocks.2.json", "damaged"), ("blocks.0.safetensors", "missing")):
        file = copy / "passports" / name
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content) if change == "damaged" else file.unlink()
        assert {(problem.path, problem.kind) for problem in verify_store(copy).problems} >= {(f"passports/{name}", change)}
    with pytest.raises(DataError):
        Store.open(copy)


def test_a_damaged_passport_is_never_used(made, tmp_path):
    copy = Path(shutil.copytree(made.store.path, tmp_path / made.store.id))
    file = copy / "passports" / "blocks.1.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"blocks\.1\.safetensors is damaged"):
        read_passport(Store.open(copy), "blocks.1")


def test_they_are_pushed_pulled_and_fetched_one_by_one(made, tmp_path):
    place, here = tmp_path / "place", tmp_path / "here"
    push(made.store, place)
    whole = pull(place, here)
    assert whole.passport("blocks.1") == made.store.passport("blocks.1")
    mirror = pull(place, tmp_path / "there", layers=["blocks.1"])
    assert isinstance(mirror, Mirror)
    assert not (mirror.path / "passports").exists()
    assert mirror.passport("blocks.2") == made.store.passport("blocks.2")
    assert sorted(path.name for path in (mirror.path / "passports").iterdir()) == ["blocks.2.json", "blocks.2.safetensors"]
    assert verify_store(mirror.path, full=True).problems == ()
    shutil.rmtree(place)
    again = open_store(tmp_path / "there", made.store.id)
    assert again.passport("blocks.2") == made.store.passport("blocks.2")
    with pytest.raises(DataError, match=r"passport of blocks\.0"):
        again.passport("blocks.0")


def test_another_checkpoint_is_not_taken_for_it(made, tmp_path):
    copy = Path(shutil.copytree(made.folder, tmp_path / "wan"))
    model = find_backbone(f"wan:{copy}", OPTIONS).load(torch.device("cpu")).module
    with torch.no_grad():
        next(model.get_submodule("blocks.1").parameters()).add_(1e-3)
    shutil.rmtree(copy / "transformer")
    model.save_pretrained(copy / "transformer")
    manifest = made.store.manifest
    moved = manifest.model_copy(update={"provenance": manifest.provenance | {"backbone": f"wan:{copy}"}})
    store = Store(made.store.path, moved, made.store.identity)
    with pytest.raises(DataError, match=r"is not block blocks\.1"):
        open_passport(store, "blocks.1")
    assert open_passport(store, "blocks.2").passport.block is not None


# --- which clips


@pytest.mark.parametrize(
    ("rows", "clips", "batch"), [(1, 64, 8), (9, 64, 8), (100, 64, 8), (65, 64, 8), (1000, 20, 8), (50, 64, 3), (10, 1, 8)]
)
def test_calibration_rows_are_spread_and_never_twice(rows, clips, batch):
    spans = calibration_spans(rows, clips, batch)
    chosen = [row for span in spans for row in range(*span)]
    assert len(set(chosen)) == len(chosen)
    assert min(chosen) >= 0
    assert max(chosen) < rows
    assert all(0 < stop - start <= batch for start, stop in spans)
    if rows <= clips:
        assert chosen == list(range(rows))
    assert min(rows, clips) - batch <= len(chosen) <= clips + batch
    if len(spans) > 1:
        assert spans[-1][0] >= rows // 2


# --- the command


def test_the_command_tells_what_running_a_block_takes(made):
    root = ["--root", str(made.root)]
    told = CliRunner().invoke(app, ["passport", "kept", "blocks.1", "--json", *root])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    opened = open_passport(made.store, "blocks.1")
    assert facts["read_bytes"] == opened.bytes_read
    assert facts["checkpoint_bytes"] == opened.bytes_total
    assert facts["block"] == "WanTransformerBlock"
    assert facts["context_bytes"] == sum(entry["bytes"] for entry in facts["context"]) == opened.passport.context.bytes
    assert {entry["name"]: entry["per_clip"] for entry in facts["context"]}["temb"] is True
    text = CliRunner().invoke(app, ["passport", "kept", "blocks.1", *root]).stdout
    assert "block: WanTransformerBlock" in text
    assert "encoder_hidden_states" in text
    listed = CliRunner().invoke(app, ["passport", "kept", *root]).stdout
    assert all(name in listed for name in made.store.passports)
    wrong = CliRunner().invoke(app, ["passport", "kept", "blocks.7", *root])
    assert wrong.exit_code == 4
