"""Dry is dry: with --dry-run no command reaches the network, loads a weight or leaves a byte, on a disk that is there or one to come."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from pathlib import Path

import pytest
import torch
import typer
from calling import call, refused
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "extract"))  # tiny checkpoints, and a hub of our own

from layerscout.cache.opening import open_store
from layerscout.cache.provenance import backbone_source
from layerscout.cli import application
from layerscout.extract.checkpoints.tensors import values as tensor_values


@pytest.fixture(scope="module")
def done(tmp_path_factory, small, tiny_store):
    """A whole study whose every stage was run, a place it was pushed to, and a dataset of somebody else."""
    import checkpoints_denoisers as denoisers

    folder = tmp_path_factory.mktemp("done")
    data, root, place = folder / "data.h5", folder / "root", folder / "place"
    assert (
        call("collect", "layerscout/Grid-v0", "--steps", 700, "--out", data, "--set", 'options={"observation": "planes"}', "-q").exit_code
        == 0
    )
    store = json.loads(call("extract", "synthetic", data, "--root", root, "--json", "-q").stdout)["store"]
    probe = ["probe", store, "--root", root, "--out", folder / "probe", "--threads", 1, "--set", "shifts=3"]
    assert call(*probe, "-q").exit_code == 0
    assert call("store", "push", store, place.as_uri(), "--root", root, "-q").exit_code == 0
    wan = denoisers.save_wan(folder / "wan")
    pixels = shutil.copy(small.intercept, folder / "pixels.h5")
    for number in range(6):
        (folder / "pictures" / "one").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (40 * number, 0, 0)).save(folder / "pictures" / "one" / f"{number:03}.png")
    study = folder / "study.toml"
    study.write_text('[tasks.grid.collect]\nenvironment = "layerscout/Grid-v0"\nsteps = 900\n[presets.quick.collect]\nsteps = 50\n')
    made = {
        "pictures": folder / "pictures",
        "study": study,
        "folder": folder,
        "data": data,
        "root": root,
        "place": place,
        "store": store,
        "wan": wan,
        "pixels": pixels,
    }
    return made | {"tiny": tiny_store.id, "tinies": small.root}


@pytest.fixture
def dry(monkeypatch, tmp_path):
    """Neither a network nor a loader that works, and a home of its own."""

    def fails(*arguments, **named):
        raise AssertionError("a dry run did something")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, fails)
    monkeypatch.setattr(socket, "getaddrinfo", fails)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", fails)
    monkeypatch.setattr(tensor_values, "read_tensor", fails)
    monkeypatch.setattr(tensor_values, "read_tensors", fails)
    monkeypatch.setattr(torch, "load", fails)
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "LAYERSCOUT_ROOT"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir(home)


def everything(*folders: Path) -> dict[str, tuple[int, ...]]:
    """Every file and folder with its size, its inode and the times of its last changes."""
    found = {}
    for folder in folders:
        for path in [folder, *sorted(folder.rglob("*"))]:
            state = path.lstat()
            found[str(path)] = (state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
    return found


def commands(done, new: Path) -> dict[str, list[object]]:
    """Every command that has --dry-run, on what is there and on what is still to be done."""
    root, store, place, folder = done["root"], done["store"], done["place"], done["folder"]
    selection = folder / "probe" / "selection.json"
    small = ["--set", 'backbone_options={"size": [32, 32], "frames": 5}']
    shuffled = ["--set", 'backbone_options={"size": [32, 32], "frames": 5, "weights": "shuffled"}']
    train = ["train", "layerscout/Grid-v0", "--selection", selection, "--root", root, "--out", new / "train"]
    return {
        "demo": ["demo", "--out", new / "demo"],
        "demo quick": ["demo", "--preset", "quick", "--out", new / "demo"],
        "collect": ["collect", "layerscout/Grid-v0", "--steps", 50, "--out", new / "data.h5"],
        "collect again": [
            "collect",
            "layerscout/Grid-v0",
            "--steps",
            700,
            "--out",
            done["data"],
            "--set",
            'options={"observation": "planes"}',
        ],
        "import": ["import", done["pictures"], "--out", new / "imported.h5"],
        "extract": ["extract", "synthetic", done["data"], "--root", new / "root"],
        "extract again": ["extract", "synthetic", done["data"], "--root", root],
        "extract a pretrained model": ["extract", "tiny", done["pixels"], "--root", new / "root"],
        "extract from a checkpoint": ["extract", f"wan:{done['wan']}", done["pixels"], "--root", new / "root", *small],
        "extract a control": ["extract", f"wan:{done['wan']}", done["pixels"], "--root", new / "root", *shuffled],
        "extract with latents": ["extract", f"wan:{done['wan']}", done["pixels"], "--root", new / "root", "--latents", *small],
        "probe": ["probe", store, "--root", root, "--out", new / "probe"],
        "probe again": ["probe", store, "--root", root, "--out", folder / "probe", "--threads", 1, "--set", "shifts=3"],
        "probe a place": ["probe", f"{place.as_uri()}/{store}", "--root", new / "root", "--out", new / "probe"],
        "train offline": train,
        "train several steps ahead": [*train, "--set", "dqn.n_step=3", "--algorithm", "dqn"],
        "train online": [*train, "--mode", "online"],
        "train in the loop": [*train, "--mode", "in-loop"],
        "transfer": ["transfer", "layerscout/Intercept-v0", "--out", new / "transfer", "--set", 'teacher_options={"sideways": 1.2}'],
        "pretrain apv": ["pretrain", "apv", done["pixels"], "--out", new / "apv"],
        "pretrain pvdr": ["pretrain", "pvdr", done["pixels"], "--out", new / "pvdr"],
        "report": ["report", folder],
        "study": ["study", done["study"], "--out", new / "study"],
        "study quick": ["study", done["study"], "--out", new / "study", "--preset", "quick"],
        "passport": ["passport", store, "--root", root],
        "passport of a layer": ["passport", done["tiny"], "blocks.3", "--root", done["tinies"]],
        "push": ["store", "push", store, (new / "elsewhere").as_uri(), "--root", root],
        "pull": ["store", "pull", f"{place.as_uri()}/{store}", "--root", new / "root"],
        "rm": ["store", "rm", store, "--root", root],
        "prune": ["store", "prune", "--unreferenced", "--root", root],
        "export": ["store", "export", store, "--root", root, "--projector", new / "projector"],
        "pin": ["store", "pin", store, "--root", root],
        "unpin": ["store", "unpin", store, "--root", root],
        "name": ["store", "name", store, "best", "--root", root],
    }


NOWHERE = dict.fromkeys(("root", "store", "place", "folder", "data", "wan", "pixels", "tiny", "tinies", "pictures", "study"), Path("/n"))
NAMES = list(commands(NOWHERE, Path("/n")))


def test_every_command_that_has_a_dry_run_is_tried():
    found = typer.main.get_command(application()).commands
    groups = ("store", "pretrain")
    for group in groups:
        found |= {f"{group} {name}": command for name, command in found.pop(group).commands.items()}
    has = {name for name, command in found.items() if any("--dry-run" in parameter.opts for parameter in command.params)}
    tried = {" ".join(map(str, words[: 1 + (words[0] in groups)])) for words in commands(NOWHERE, Path("/n")).values()}
    assert tried == has


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_neither_asks_nor_loads_nor_writes(name, done, dry, tmp_path):
    new = tmp_path / "to-come"
    before = everything(done["folder"], done["tinies"], tmp_path)
    result = call(*commands(done, new)[name], "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told
    assert not [key for key in told if key.startswith("seconds")], "seconds are told when they are asked for"
    assert everything(done["folder"], done["tinies"], tmp_path) == before


@pytest.mark.parametrize("name", ["collect", "extract", "probe", "train offline", "train several steps ahead"])
def test_seconds_are_measured_when_they_are_asked_for(name, done, tmp_path):
    before = everything(done["folder"])
    told = json.loads(call(*commands(done, tmp_path / "new")[name], "--dry-run", "--measure", "--json").stdout)
    seconds = [value for key, value in told.items() if key.startswith("seconds")]
    assert len(seconds) == 1
    assert seconds[0] >= 0
    assert everything(done["folder"]) == before
    assert not (tmp_path / "new").exists()


def test_measuring_belongs_to_a_dry_run(done, tmp_path):
    refused(call(*commands(done, tmp_path / "new")["extract"], "--measure"), 2, "--measure tries out how long the work would take")
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_of_the_hub_is_planned_from_what_the_hub_tells(done, tmp_path, monkeypatch):
    """The store's id, the bytes to download and what is wrong with the weights are known before a byte of them is here."""
    import hub_by_hand
    from huggingface_hub import constants

    words = [
        "--root",
        tmp_path / "root",
        "--set",
        'backbone_options={"size": [32, 32], "frames": 5}',
        "--layer",
        "blocks.0",
        "--json",
        "-q",
    ]
    with hub_by_hand.serve() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        hub.add("org/wan", done["wan"])
        planned = json.loads(call("extract", "wan:org/wan", done["pixels"], *words, "--dry-run").stdout)
        assert not (tmp_path / "hub").exists()
        assert not (tmp_path / "root").exists()
        local = json.loads(call("extract", f"wan:{done['wan']}", done["pixels"], *words, "--dry-run").stdout)
        assert planned["store"] == local["store"]
        assert planned["weights_bytes"] == local["weights_bytes"] <= planned["download_bytes"]
        assert local["download_bytes"] == 0
        hub.add("org/small", done["wan"], large=10**9)
        unnamed = json.loads(call("extract", "wan:org/small", done["pixels"], *words, "--dry-run").stdout)
        assert unnamed["store"].startswith("known when the weights are here")
        assert unnamed["exists"] is None
        made = json.loads(call("extract", "wan:org/wan", done["pixels"], *words).stdout)
        assert made["store"] == planned["store"]
        source = backbone_source(open_store(tmp_path / "root", made["store"]))[0]
        assert source == f"wan:org/wan@{hub_by_hand.commit_of(done['wan'])}", "its branch may move on: the commit is kept"
        again = json.loads(call("extract", "wan:org/small", done["pixels"], *words).stdout)
        assert again["store"] == planned["store"], "the same weights are the same store, wherever they lie"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody answers
    offline = json.loads(call("extract", "wan:org/wan", done["pixels"], *words, "--dry-run").stdout)
    assert offline["exists"] == planned["store"]
