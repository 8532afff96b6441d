"""One block's weights read alone from a checkpoint: the same bits, few bytes, from any place; damage is named."""

from __future__ import annotations

import json
import re
import shutil
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import hub_by_hand
import passport_families as families
import pytest
import torch

from layerscout.cache.remote.address import check_address
from layerscout.cache.remote.bucket import ObjectPlace
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.checkpoints.block_file import plan_block, read_block
from layerscout.extract.checkpoints.places import byte_ranges, opening
from layerscout.extract.checkpoints.places.opening import open_source
from layerscout.extract.checkpoints.skeleton import skeleton

SAVED = [name for name, family in families.FAMILIES.items() if family.save]


class RangeHandler(SimpleHTTPRequestHandler):
    """A folder over HTTP, with byte ranges; it notes what was asked for, and fails as it is told to."""

    def do_HEAD(self) -> None:
        self.server.asked.append(("HEAD", self.path, None))
        self.send_response(200)
        self.send_header("X-Repo-Commit", "c0ffee")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "1")
        self.end_headers()

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        self.server.asked.append(("GET", self.path, self.headers.get("Authorization")))
        if self.server.failures:
            self.send_error(self.server.failures.pop(0))
            return
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.end_headers()
            return
        try:
            content = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            self.send_error(404)
            return
        if wanted is None or self.server.whole_only:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(content)}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        self.server.sent += stop - start
        self.wfile.write(content[start:stop])

    def log_message(self, *arguments) -> None:
        """Say nothing."""


@pytest.fixture
def serve():
    running = []

    def start(folder) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(folder)))
        server.asked, server.failures, server.moved, server.whole_only, server.sent = [], [], {}, False, 0
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def wan(tmp_path_factory):
    return families.save("wan-2.1", tmp_path_factory.mktemp("wan"))


@pytest.fixture
def copied(wan, tmp_path):
    """A copy of a checkpoint, to be damaged."""
    return shutil.copytree(wan.folder, tmp_path / "copy") / "transformer"


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert list(mine) == list(theirs)
    for name, value in mine.items():
        assert value.dtype == theirs[name].dtype, name
        assert torch.equal(value, theirs[name]), name
    assert not any(parameter.requires_grad for parameter in one.parameters())
    assert not any(module.training for module in one.modules())


def tensor_bytes(block: torch.nn.Module) -> int:
    return sum(value.numel() * value.element_size() for value in block.state_dict().values())


def header_bytes(file) -> int:
    return 8 + struct.unpack("<Q", file.read_bytes()[:8])[0]


@pytest.mark.parametrize("name", SAVED)
def test_every_block_is_that_of_the_whole_model(name, tmp_path):
    saved = families.save(name, tmp_path)
    shards = list((saved.folder / saved.family.part).glob("*.safetensors"))
    for layer in saved.backbone.layers:
        read = read_block(saved.folder, layer.module, saved.family.part)
        same_weights(read.block, saved.loaded.module.get_submodule(layer.module))
        assert read.bytes_read == tensor_bytes(read.block) + sum(header_bytes(saved.folder / file) for file in read.files)
        assert read.bytes_read == plan_block(saved.folder, layer.module, saved.family.part).bytes_read
        assert all(file.startswith(saved.family.part) for file in read.files)
        assert read.bytes_total == sum(file.stat().st_size - header_bytes(file) for file in shards)


def test_a_block_in_bfloat16_keeps_in_float32_what_its_family_does(tmp_path):
    saved = families.save("wan-2.1", tmp_path, torch.bfloat16)
    read = read_block(saved.folder, "blocks.1", "transformer", torch.bfloat16)
    same_weights(read.block, saved.loaded.module.get_submodule("blocks.1"))
    assert {value.dtype for value in read.block.state_dict().values()} == {torch.bfloat16, torch.float32}


def test_a_block_may_lie_in_several_shards_and_only_these_are_opened(wan, serve, tmp_path):
    wan.loaded.module.save_pretrained(tmp_path / "transformer", max_shard_size="10KB")
    server = serve(tmp_path)
    read = read_block(server.url, "blocks.1", "transformer")
    same_weights(read.block, wan.loaded.module.get_submodule("blocks.1"))
    assert len(read.files) > 1
    shards = {path for _, path, _ in server.asked if path.endswith(".safetensors")} - {"/transformer/diffusion_pytorch_model.safetensors"}
    assert shards - {"/transformer/model.safetensors"} == {f"/{file}" for file in read.files}
    documents = sum((tmp_path / "transformer" / name).stat().st_size for name in ("config.json", f"{byte_name()}.index.json"))
    # beside what is counted only the two documents, and one byte of a file to learn its size
    assert read.bytes_read + documents <= server.sent <= read.bytes_read + documents + len(server.asked)


def byte_name() -> str:
    return "diffusion_pytorch_model.safetensors"


def test_one_file_without_an_index(wan, tmp_path):
    wan.loaded.module.save_pretrained(tmp_path / "transformer")
    read = read_block(tmp_path, "blocks.2", "transformer")
    same_weights(read.block, wan.loaded.module.get_submodule("blocks.2"))
    assert read.files == (f"transformer/{byte_name()}",)
    assert read.bytes_read < 0.6 * read.bytes_total


def test_buffers_that_no_file_holds_are_real(wan):
    """Rotary tables are worked out when a model is made; only weights are left out."""
    model = skeleton(json.loads((wan.folder / "transformer" / "config.json").read_text()), "here")
    assert all(parameter.is_meta for parameter in model.parameters())
    made, loaded = dict(model.named_buffers()), dict(wan.loaded.module.named_buffers())
    assert made.keys() == loaded.keys() != set()
    assert all(torch.equal(value, loaded[name]) for name, value in made.items())


# --- places


def test_a_server_that_stumbles_is_asked_again(wan, serve, monkeypatch):
    monkeypatch.setattr(byte_ranges, "PAUSE", 0.001)
    server = serve(wan.folder)
    server.failures = [503, 429, 500]
    same_weights(read_block(server.url, "blocks.0", "transformer").block, wan.loaded.module.get_submodule("blocks.0"))
    server.failures = [503] * byte_ranges.TRIES
    with pytest.raises(DataError, match="503"):
        read_block(server.url, "blocks.0", "transformer")
    server.failures = [403]
    with pytest.raises(DataError, match="403"):
        read_block(server.url, "blocks.0", "transformer")


def test_a_server_without_byte_ranges_is_refused(wan, serve):
    server = serve(wan.folder)
    server.whole_only = True
    with pytest.raises(DataError, match="does not serve byte ranges"):
        read_block(server.url, "blocks.0", "transformer")


def test_a_secret_goes_to_its_own_server_alone(wan, serve):
    front, back = serve(wan.folder), serve(wan.folder)
    path = "/transformer/config.json"
    front.moved[path] = f"{back.url}{path}"
    source = byte_ranges.WebSource(front.url, {"Authorization": "Bearer x"})
    assert byte_ranges.document(source, path[1:]) == (wan.folder / path[1:]).read_bytes()
    assert {secret for _, _, secret in front.asked} == {"Bearer x"}
    assert {secret for _, _, secret in back.asked} == {None}


def test_a_hub_id_is_read_at_one_commit_and_nothing_is_downloaded(wan, hub):
    hub.add("org/wan", wan.folder)
    read = read_block("org/wan", "blocks.1", "transformer")
    same_weights(read.block, wan.loaded.module.get_submodule("blocks.1"))
    commit = hub_by_hand.commit_of(wan.folder)
    assert {path for path in hub.bodies() if f"/resolve/{commit}/" not in path} == set()
    assert hub.sent < read.bytes_read + 20_000
    assert not hub.cache.exists()


def test_files_of_the_hub_that_are_here_already_are_not_asked_for(wan, hub):
    hub.add("org/wan", wan.folder)
    commit = hub_by_hand.commit_of(wan.folder)
    cache = hub.cache / "models--org--wan"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text(commit)
    shutil.copytree(wan.folder, cache / "snapshots" / commit)
    same_weights(read_block("org/wan", "blocks.1", "transformer").block, wan.loaded.module.get_submodule("blocks.1"))
    assert hub.bodies() == []


def test_a_bucket_is_read_by_ranges(wan, monkeypatch):
    import obstore
    from obstore.store import MemoryStore

    held = MemoryStore()
    for file in (wan.folder / "transformer").iterdir():
        obstore.put(held, f"transformer/{file.name}", file)
    monkeypatch.setattr(opening, "open_place", lambda url: ObjectPlace(url, held))
    read = read_block("s3://bucket/wan", "blocks.1", "transformer")
    same_weights(read.block, wan.loaded.module.get_submodule("blocks.1"))
    assert read.bytes_read == read_block(wan.folder, "blocks.1", "transformer").bytes_read
    obstore.delete(held, read.files[0])
    with pytest.raises(DataError, match="misses diffusion_pytorch_model"):
        read_block("s3://bucket/wan", "blocks.1", "transformer")


def test_a_folder_by_its_url(wan):
    same_weights(read_block(wan.folder.as_uri(), "blocks.0", "transformer").block, wan.loaded.module.get_submodule("blocks.0"))


def test_addresses_of_other_forms_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no checkpoint folder"):
        open_source(tmp_path / "none")
    with pytest.raises(UsageError, match="is not the URL of a place"):
        open_source("ftp://somewhere/model")


# --- damage


def rewritten(file, change) -> None:
    """Change the header of a safetensors file."""
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    fields = json.loads(content[8 : 8 + length])
    change(fields)
    header = json.dumps(fields).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])


def shard(folder):
    """The shard that holds the first tensor of blocks.1, and that tensor's name."""
    listed = json.loads((folder / f"{byte_name()}.index.json").read_text())["weight_map"]
    name = min(name for name in listed if name.startswith("blocks.1."))
    return folder / listed[name], name


def moved(by: int, which: int = 0):
    def change(fields) -> None:
        entry = sorted((entry for name, entry in fields.items() if name != "__metadata__"), key=lambda e: e["data_offsets"])[which]
        entry["data_offsets"] = [offset + by for offset in entry["data_offsets"]]

    return change


def set_first(**values):
    def change(fields) -> None:
        next(entry for name, entry in fields.items() if name != "__metadata__").update(values)

    return change


@pytest.mark.parametrize(
    "change",
    [
        moved(4),
        moved(-4, which=1),
        moved(10**12, which=-1),
        set_first(shape=[3, 5]),
        set_first(shape=[-1]),
        set_first(shape=[2**70]),
        set_first(dtype="PICKLE"),
        set_first(data_offsets=[0]),
        set_first(data_offsets=["0", "4"]),
        lambda fields: fields.update(extra={}),
        lambda fields: fields.pop(next(name for name in fields if name != "__metadata__")),
    ],
)
def test_headers_that_lie_are_refused(copied, change):
    file, _ = shard(copied)
    rewritten(file, change)
    with pytest.raises(DataError, match=re.escape(file.name)):
        read_block(copied.parent, "blocks.1", "transformer")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 3) + b"{]}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}x",
    ],
)
def test_files_that_are_no_safetensors_are_refused(copied, content):
    file, _ = shard(copied)
    file.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(file.name)):
        read_block(copied.parent, "blocks.1", "transformer")


def test_a_file_that_ends_early_is_refused(copied):
    file, _ = shard(copied)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match=re.escape(file.name)):
        read_block(copied.parent, "blocks.1", "transformer")


def test_missing_shards_and_weights_are_named(copied):
    file, name = shard(copied)
    content = file.read_bytes()
    file.unlink()
    with pytest.raises(DataError, match=f"misses {re.escape(file.name)}"):
        read_block(copied.parent, "blocks.1", "transformer")
    file.write_bytes(content)
    index = copied / f"{byte_name()}.index.json"
    listed = json.loads(index.read_text())
    other = next(held for held in listed["weight_map"].values() if held != file.name)
    index.write_text(json.dumps({"weight_map": listed["weight_map"] | {name: other}}))
    with pytest.raises(DataError, match=f"lacks {re.escape(name)}, which the index lists there"):
        read_block(copied.parent, "blocks.1", "transformer")
    index.write_text(json.dumps({"weight_map": {key: held for key, held in listed["weight_map"].items() if key != name}}))
    with pytest.raises(DataError, match=rf"holds {re.escape(name)}, which the index does not list"):
        read_block(copied.parent, "blocks.1", "transformer")


@pytest.mark.parametrize("held", ["weights.bin", "../secret.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "pytorch_model.pt"])
def test_an_index_may_name_safetensors_files_beside_it_only(copied, held):
    index = copied / f"{byte_name()}.index.json"
    listed = json.loads(index.read_text())["weight_map"]
    index.write_text(json.dumps({"weight_map": listed | {shard(copied)[1]: held}}))
    with pytest.raises(DataError, match="is not the name of a safetensors file"):
        read_block(copied.parent, "blocks.1", "transformer")


def test_pickled_weights_are_refused(copied):
    for file in copied.glob("*.safetensors*"):
        file.unlink()
    with pytest.raises(DataError, match="holds no weights"):
        read_block(copied.parent, "blocks.1", "transformer")
    (copied / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match=r"only the pickled diffusion_pytorch_model\.bin"):
        read_block(copied.parent, "blocks.1", "transformer")


def test_weights_that_are_not_those_of_the_configuration_are_refused(copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"ffn_dim": 16}))
    with pytest.raises(DataError, match=r"another shape than the configuration says: blocks\.1.*ffn"):
        read_block(copied.parent, "blocks.1", "transformer")
    (copied / "config.json").write_text(json.dumps(config | {"_class_name": "Nothing"}))
    with pytest.raises(DataError, match="of no model that can be built"):
        read_block(copied.parent, "blocks.1", "transformer")
    for content, expected in ((b"{", "not valid JSON"), (b"[]", "not a JSON table")):
        (copied / "config.json").write_bytes(content)
        with pytest.raises(DataError, match=expected):
            read_block(copied.parent, "blocks.1", "transformer")
    (copied / "config.json").unlink()
    with pytest.raises(DataError, match=r"has no transformer/config\.json"):
        read_block(copied.parent, "blocks.1", "transformer")


def test_a_block_that_is_not_there_is_refused(wan):
    with pytest.raises(DataError, match=r"has no block 'blocks.9'; did you mean 'blocks"):
        read_block(wan.folder, "blocks.9", "transformer")


@pytest.mark.parametrize(
    "address",
    [
        "https://me:SECRET@host/folder",
        "https://SECRET@host:8443/folder",
        "https://host/folder?token=SECRET",
        "http://host/folder#SECRET",
        "https://host:SECRET/folder",
        "s3://KEY:SECRET@bucket/folder",
    ],
)
def test_an_address_with_more_than_a_place_is_refused_untold(address: str) -> None:
    for ask in (lambda: plan_block(address, "blocks.0"), lambda: find_backbone(f"wan:{address}")):
        with pytest.raises(UsageError, match=r"holds a name, a password, a query or a fragment") as caught:
            ask()
        assert "SECRET" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("address", ["https://host/folder", "http://127.0.0.1:8000/a b", "http://[::1]:80/x", "http://[::1]/x"])
def test_a_port_is_part_of_a_place(address: str) -> None:
    check_address(address)
