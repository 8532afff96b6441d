"""The hub through a server of our own: descriptions without a download, digests from its listing, downloads that continue, no network."""

from __future__ import annotations

import hashlib
import io
import json
import shutil

import checkpoints_denoisers as denoisers
import checkpoints_encoders as encoders
import golden
import hub_by_hand
import pytest
import torch

from layerscout.cache.writing import checks
from layerscout.errors import BudgetError, DataError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.checkpoints.places import downloading
from layerscout.progress import Reporter

CPU = torch.device("cpu")
SMALL = {"size": [32, 32], "frames": 5}


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    return denoisers.save_text(denoisers.save_wan(tmp_path_factory.mktemp("wan") / "it"), "UMT5EncoderModel")


@pytest.fixture(scope="module")
def videomae(tmp_path_factory):
    return encoders.save(tmp_path_factory.mktemp("videomae") / "it", "videomae")


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def in_cache(hub, folder, name="org/wan", revision="main", only="*"):
    """Put a folder into the cache as the hub's library does: blobs, and links to them."""
    cache, commit = hub.cache / f"models--{name.replace('/', '--')}", hub_by_hand.commit_of(folder)
    (cache / "refs").mkdir(parents=True, exist_ok=True)
    (cache / "refs" / revision).write_text(commit)
    for path in folder.rglob(only):
        if path.is_file():
            blob = cache / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            link = cache / "snapshots" / commit / path.relative_to(folder)
            blob.parent.mkdir(exist_ok=True), link.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, blob)
            link.symlink_to(blob)
    return cache / "snapshots" / commit


# --- described


def test_a_description_and_its_digest_download_nothing(wan, hub):
    hub.add("org/wan", wan)
    backbone, local = find_backbone("wan:org/wan", SMALL), find_backbone(f"wan:{wan}", SMALL)
    assert backbone.layers == local.layers
    assert backbone.identity == local.identity
    assert backbone.weights_digest() == local.weights_digest()
    weights = [path for path in wan.rglob("*.safetensors") if path.parent.name in ("transformer", "vae")]
    assert backbone.weights.bytes == sum(path.stat().st_size for path in weights)
    assert backbone.weights.missing_bytes() >= backbone.weights.bytes
    assert not hub.cache.exists()
    assert hub.sent < 60_000  # documents and headers
    assert {path.split("/")[1] for _, path in hub.asked} == {"api", "org"}
    assert [path for _, path in hub.asked if path.startswith("/api/")] == ["/api/models/org/wan/revision/main"]


def test_small_files_whose_digest_the_hub_does_not_state_are_known_when_they_are_here(wan, hub):
    hub.add("org/wan", wan, large=10**9)
    backbone = find_backbone("wan:org/wan", SMALL)
    assert backbone.weights.digest() is None
    with pytest.raises(DataError, match="known only when its weights are here"):
        backbone.weights_digest()
    backbone.weights.fetch()
    assert backbone.weights_digest() == find_backbone(f"wan:{wan}", SMALL).weights_digest()


def test_an_encoders_digest_is_the_same_before_and_after_its_download(videomae, hub):
    hub.add("org/mae", videomae)
    before = find_backbone("videomae:org/mae").weights_digest()
    backbone = find_backbone("videomae:org/mae")
    loaded = backbone.load(CPU)
    assert backbone.weights_digest() == before == find_backbone("videomae:org/mae").weights_digest()
    theirs = find_backbone(f"videomae:{videomae}").load(CPU).module.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in loaded.module.state_dict().items())


def test_quantised_weights_are_refused_before_they_are_downloaded(wan, hub, tmp_path):
    copy = shutil.copytree(wan, tmp_path / "copy")
    config = copy / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"quantization_config": {"quant_method": "torchao"}}))
    hub.add("org/quantised", copy)
    with pytest.raises(DataError, match="org/quantised of the hub/transformer is quantised by torchao"):
        find_backbone("wan:org/quantised", SMALL)
    assert not hub.cache.exists()


def test_a_revision_is_named_after_the_id(wan, hub, tmp_path):
    other = shutil.copytree(wan, tmp_path / "other")
    config = other / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"latents_mean": [9.0] * 4}))
    repository = hub.add("org/wan", wan)
    repository.commits["refs/pr/7"] = other
    main, seventh = (find_backbone(f"wan:org/wan{at}", SMALL) for at in ("", "@refs/pr/7"))
    assert seventh.identity == find_backbone(f"wan:{other}", SMALL).identity != main.identity
    commit = hub_by_hand.commit_of(other)
    exact = find_backbone(f"wan:org/wan@{commit}", SMALL)
    assert exact.identity == seventh.identity
    exact.weights.fetch()
    assert (hub.cache / "models--org--wan" / "snapshots" / commit / "vae" / "config.json").is_file()
    with pytest.raises(DataError, match="org/wan has no revision 'v9' on the hub"):
        find_backbone("wan:org/wan@v9")


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("wan:org/nothing", "the hub has no model org/nothing, or it is private", "auth login"),
        ("wan:org/gated", "asks for its terms to be accepted", "org/gated"),
        ("wan:org/na--me", "is no hub id", "check the id"),
        ("wan:./models/wan", "no checkpoint folder ./models/wan", "hub id"),
        ("wan:models/wan/transformer", "no checkpoint folder models/wan/transformer", "hub id"),
        ("wan:org/wan@", "no checkpoint folder org/wan@", "hub id"),
        ("wan:file:///wan", "no checkpoint folder file:///wan", "hub id"),
    ],
)
def test_what_the_hub_does_not_give_is_said_in_one_line(spec, message, hint, wan, hub):
    hub.add("org/gated", wan, gated=True)
    with pytest.raises(DataError, match=message) as error:
        find_backbone(spec)
    assert hint in error.value.hint
    assert "\n" not in str(error.value)


def test_files_behind_terms_are_told_so(videomae, hub):
    hub.add("org/mae", videomae, gated="files")
    with pytest.raises(DataError, match="403") as error:
        find_backbone("videomae:org/mae")
    assert "accept the terms" in error.value.hint


# --- downloaded


def test_a_download_brings_what_loading_needs_and_no_more(wan, hub, tmp_path):
    copy = shutil.copytree(wan, tmp_path / "copy")
    (copy / "transformer" / "diffusion_pytorch_model.bin").write_bytes(b"pickled" * 1000)
    (copy / "transformer" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another" * 1000)
    (copy / "README.md").write_text("read me")
    hub.add("org/wan", copy)
    told = io.StringIO()
    backbone = find_backbone("wan:org/wan", SMALL | {"text": "empty"})
    backbone.weights.fetch(Reporter(stream=told))
    missing = backbone.weights.missing_bytes()
    here = {path.name for path in (hub.cache / "models--org--wan" / "snapshots").rglob("*") if not path.is_dir()}
    assert missing == 0
    assert {"config.json", "tokenizer.json", "model.safetensors", "diffusion_pytorch_model.safetensors.index.json"} <= here
    assert "model_index.json" in here, "what the description read is there without a network"
    assert not {"diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors", "README.md"} & here
    assert "download org/wan" in told.getvalue()
    asked = len(hub.asked)
    backbone.weights.fetch()
    assert len(hub.asked) == asked, "nothing is asked for twice"
    seen = golden.activations(backbone, golden.clips(backbone))
    theirs = find_backbone(f"wan:{copy}", SMALL | {"text": "empty"})
    assert all(torch.equal(value, seen[name]) for name, value in golden.activations(theirs, golden.clips(theirs)).items())


def test_a_download_that_was_cut_off_is_continued(wan, hub, monkeypatch):
    monkeypatch.setattr(downloading, "PAUSE", 0.001)
    hub.add("org/wan", wan)
    backbone = find_backbone("wan:org/wan", SMALL)
    total, before = backbone.weights.missing_bytes(), hub.sent
    hub.cut = [5_000, 6_000, 100, *[0] * 60]  # connections end early, then bring nothing any more
    with pytest.raises(DataError, match=r"could not get \S+/org/wan/resolve/\S+: the connection ended early"):
        backbone.weights.fetch()
    came = hub.sent - before
    assert 5_000 <= came < total
    hub.cut.clear()
    backbone.weights.fetch()
    assert backbone.weights.missing_bytes() == 0
    assert find_backbone("wan:org/wan", SMALL).weights_digest() == find_backbone(f"wan:{wan}", SMALL).weights_digest()
    assert hub.sent - before <= total, "what had come is not asked for again"
    assert not list(hub.cache.rglob("*.incomplete"))


def test_connections_that_break_are_taken_up_again(videomae, hub, monkeypatch):
    monkeypatch.setattr(downloading, "PAUSE", 0.001)
    hub.add("org/mae", videomae)
    hub.cut = [7_000] * 6
    told = []
    backbone = find_backbone("videomae:org/mae")
    hub.sent, total = 0, backbone.weights.missing_bytes()
    reporter = Reporter(quiet=True)
    monkeypatch.setattr(reporter, "_update", lambda task: told.append(task.done))
    backbone.weights.fetch(reporter)
    assert hub.sent == total == told[-1]
    assert told == sorted(told)


def test_a_partial_file_that_is_damaged_is_begun_anew(videomae, hub):
    hub.add("org/mae", videomae)
    backbone = find_backbone("videomae:org/mae")
    content = (videomae / "model.safetensors").read_bytes()
    blob = hub.cache / "models--org--mae" / "blobs" / f"{hashlib.sha256(content).hexdigest()}{downloading.PARTIAL}"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" + content[1:100])
    with pytest.raises(DataError, match="came with sha256"):
        backbone.weights.fetch()
    backbone.weights.fetch()
    assert backbone.load(CPU)


def test_a_disk_without_room_is_told_before_anything_is_written(wan, hub, monkeypatch):
    hub.add("org/wan", wan)
    backbone = find_backbone("wan:org/wan", SMALL)
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(BudgetError, match=r"org/wan needs \S+ GB under") as error:
        backbone.weights.fetch()
    assert "HF_HUB_CACHE" in error.value.hint
    assert not hub.cache.exists()


def test_a_file_that_is_not_the_hubs_is_refused(videomae, hub):
    hub.add("org/mae", videomae)
    find_backbone("videomae:org/mae").weights.fetch()
    file = next(hub.cache.rglob("model.safetensors")).resolve()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match="is not the file that the hub lists") as error:
        find_backbone("videomae:org/mae").weights_digest()
    assert "delete that file" in error.value.hint


def test_a_revision_that_moved_since_the_plan_is_noticed(videomae, hub, tmp_path):
    repository = hub.add("org/mae", videomae)
    backbone = find_backbone("videomae:org/mae")
    backbone.weights_digest()
    moved = shutil.copytree(videomae, tmp_path / "moved")
    (moved / "new.json").write_text("{}")
    repository.commits |= {"main": moved, "before": videomae}
    with pytest.raises(DataError, match=r"moved from \w+ to \w+ meanwhile") as error:
        backbone.weights.fetch()
    assert "again" in error.value.hint


# --- without a network


def test_the_cache_alone_answers_without_a_network(wan, hub, no_network):
    in_cache(hub, wan)
    backbone = find_backbone("wan:org/wan", SMALL)
    assert backbone.weights_digest() == find_backbone(f"wan:{wan}", SMALL).weights_digest()
    assert backbone.weights.missing_bytes() == 0
    assert backbone.load(CPU)


def test_a_cache_without_weights_says_so(wan, hub, no_network):
    in_cache(hub, wan, only="*.json")
    backbone = find_backbone("wan:org/wan", SMALL)
    assert backbone.layers == find_backbone(f"wan:{wan}", SMALL).layers
    for use in (backbone.weights_digest, lambda: backbone.load(CPU)):
        with pytest.raises(DataError, match="the weights of org/wan are not in the cache, and the hub is not reachable"):
            use()


def test_a_cache_that_lacks_one_shard_says_so(wan, hub, no_network):
    snapshot = in_cache(hub, wan)
    sorted((snapshot / "transformer").glob("*.safetensors"))[0].unlink()
    with pytest.raises(DataError, match="the weights of org/wan are not in the cache, and the hub is not reachable"):
        find_backbone("wan:org/wan", SMALL).weights_digest()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("wan:org/other", "org/other is not in the cache, and the hub is not reachable|could not get org/other"),
        ("wan:org/wan@v2", "revision v2 of org/wan is not in the cache, and the hub is not reachable|could not get org/wan"),
    ],
)
def test_what_is_not_in_the_cache_is_told_without_a_network(spec, message, wan, hub, no_network):
    in_cache(hub, wan)
    with pytest.raises(DataError, match=message):
        find_backbone(spec)


def test_offline_mode_is_obeyed(wan, hub, monkeypatch):
    from huggingface_hub import constants

    hub.add("org/wan", wan)
    in_cache(hub, wan)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert find_backbone("wan:org/wan", SMALL).load(CPU)
    assert hub.asked == []


def test_a_hub_with_no_answer_leaves_files_alone(videomae, hub):
    """A server's own fault is no reason to give up what is in the cache."""
    snapshot = in_cache(hub, videomae, "org/mae")
    hub.out_of_order = True
    before = files(snapshot)
    assert find_backbone("videomae:org/mae").load(CPU)
    assert files(snapshot) == before
