"""A store or dataset that a stranger made up: it is refused, or does no harm. It opens no other file, runs nothing, fills no memory."""

from __future__ import annotations

import ast
import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
import pytest
from hdf5_edits import edited

import layerscout
from layerscout.cache import manifest as manifests
from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.dataset.trajectories import Trajectories, TrajectoryWriter
from layerscout.cache.opening import find_store, open_store
from layerscout.cache.store import Store
from layerscout.errors import DataError

LAYER, MEGABYTE = "transformer_blocks.3", 10**6
DEEP = b'{"a":' * 200_000 + b"1" + b"}" * 200_000
SECRET = b"the owner's private key"


@contextmanager
def little_memory() -> Iterator[None]:
    """NumPy's arrays are counted too; a store or file of this size needs next to nothing."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 20 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.fixture
def store(example, tmp_path) -> Store:
    return example.store(tmp_path / "root")


def forge(store: Store, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest and give it the digest that goes with it: a stranger can do that, too."""
    path = store.path / manifests.NAME
    fields = json.loads(path.read_bytes())
    del fields["digest"]
    change(fields)
    path.write_bytes(manifests.manifest_text(fields | {"digest": manifests.digest_of(fields)}))


def put(*place: Any) -> Callable[[dict[str, Any]], None]:
    """``put("layers", 0, "name", "x")`` sets fields["layers"][0]["name"] to "x"."""

    def change(fields: dict[str, Any]) -> None:
        target: Any = fields
        for key in place[:-2]:
            target = target[key]
        target[place[-2]] = place[-1]

    return change


def read_everything(path: Path) -> None:
    opened = Store.open(path)
    for name in opened.specs:
        opened.layer(name).all()
    for name in opened.columns:
        opened.index(name)


def test_the_forger_forges_well(store):
    forge(store, put("provenance", "by", "somebody"))
    assert Store.open(store.path).manifest.provenance["by"] == "somebody"


# --- the manifest of a store


@pytest.mark.parametrize("name", ["..", "../../escaped", "/etc/passwd", "a/b", "a\\b", "zarr.json", "", "a\n", "\0", "x" * 300, ".hidden"])
def test_names_that_lead_elsewhere_are_refused(store, name):
    for place in (("layers", 0, "name"), ("columns", 0, "name")):
        intact = (store.path / manifests.NAME).read_bytes()
        forge(store, put(*place, name))
        with pytest.raises(DataError, match=r"(?s)manifest\.json is no manifest: .*(cannot name|lack)"):
            Store.open(store.path)
        (store.path / manifests.NAME).write_bytes(intact)


@pytest.mark.parametrize(
    "path", ["../../../escaped", "/etc/passwd", f"layers/{LAYER}/c/0/../0/0", f"layers/{LAYER}/c/9/0", "identity.json/"]
)
def test_paths_that_the_layers_do_not_need_are_refused(store, path):
    forge(store, put("objects", 1, "path", path))  # the first is the card, which a store may lack
    with pytest.raises(DataError, match="does not list the files"):
        Store.open(store.path)


@pytest.mark.parametrize("number", [0, 1])
def test_a_file_listed_twice_is_refused(store, number):
    intact = (store.path / manifests.NAME).read_bytes()
    forge(store, lambda fields: fields["objects"].__setitem__(1, fields["objects"][2]))
    with pytest.raises(DataError, match="does not list the files"):
        Store.open(store.path)
    (store.path / manifests.NAME).write_bytes(intact)
    forge(store, lambda fields: fields["objects"].append(fields["objects"][number]))
    with pytest.raises(DataError, match="files, its layers need"):
        Store.open(store.path)


@pytest.mark.parametrize("number", [10**15, 2**63, 10**40, 10**4000, 0, -1, 1.5, "many", [1]], ids=lambda number: str(number)[:9])
@pytest.mark.parametrize(
    "place",
    [("rows",), ("rows_per_chunk",), ("layers", 0, "width"), ("objects", 5, "size"), ("objects", 5, "crc32c"), ("columns", 0, "width")],
)
def test_lies_about_sizes_are_refused_and_take_no_memory(store, place, number):
    if place == ("objects", 5, "crc32c") and isinstance(number, int):
        expected = r"manifest\.json|damaged|not the file"  # any number can be stated; no file has it
    else:
        expected = r"manifest\.json|missing"
    forge(store, put(*place, number))
    with little_memory(), pytest.raises(DataError, match=expected):
        read_everything(store.path)


def test_rows_and_chunks_that_fit_each_other_and_not_the_files_are_refused(store):
    def larger(fields: dict[str, Any]) -> None:
        fields["rows"] = fields["rows"] * 10**6
        fields["rows_per_chunk"] = fields["rows_per_chunk"] * 10**6

    forge(store, larger)
    with little_memory(), pytest.raises(DataError):
        Store.open(store.path)


def test_metadata_that_lies_to_other_readers_does_not_lie_to_us(example, store):
    """The stranger lists the digest of what they changed; then our reader believes the manifest, whose sizes the files must have."""
    path = store.path / f"layers/{LAYER}/zarr.json"
    document = json.loads(path.read_bytes())
    content = json.dumps(document | {"shape": [10**12, 10**6]}).encode()
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"zarr\.json is missing or does not have"):
        Store.open(store.path)

    def listed(fields: dict[str, Any]) -> None:
        item = next(item for item in fields["objects"] if item["path"] == f"layers/{LAYER}/zarr.json")
        item |= {"size": len(content), "crc32c": google_crc32c.value(content)}

    forge(store, listed)
    np.testing.assert_array_equal(Store.open(store.path).layer(LAYER).all(), example.layers[LAYER])


@pytest.mark.parametrize("name", [manifests.NAME, manifests.IDENTITY_NAME])
@pytest.mark.parametrize(
    "content", [DEEP, b"[" * 200_000, b"9" * 10_000, b"\xff\xfe", b"null", b"[]", b'"text"', b"{}"], ids=lambda c: repr(c[:6])
)
def test_json_of_any_shape_is_refused(store, name, content):
    (store.path / name).write_bytes(content)
    size = len(content)
    if name == manifests.IDENTITY_NAME:
        forge(store, lambda fields: next(i for i in fields["objects"] if i["path"] == name).update(size=size))
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        Store.open(store.path)
    assert verify_store(store.path).problems


def test_a_manifest_of_any_size_is_not_read(store):
    with (store.path / manifests.NAME).open("r+b") as file:
        file.truncate(10**12)  # takes no room on disk
    with little_memory(), pytest.raises(DataError, match="more than the"):
        Store.open(store.path)


def test_references_of_any_shape_are_refused(store, tmp_path):
    path = tmp_path / "root" / "refs" / "best.json"
    path.parent.mkdir()
    for content in (DEEP, b"{}", b"[]", b'{"store_id": "../../etc"}', b'{"store_id": 3}', b"\xff"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"best\.json"):
            open_store(tmp_path / "root", "best")


def test_a_store_that_cannot_be_read_serves_nobody_and_stops_nobody(example, store, tmp_path):
    (store.path / manifests.IDENTITY_NAME).write_bytes(DEEP)
    assert find_store(tmp_path / "root", example.fewer("pixels").identity) is None


# --- links instead of files: followed, as people use them; but nothing leaves them except the listed bytes


def test_a_chunk_that_is_a_link_gives_the_listed_bytes_or_nothing(example, store, tmp_path):
    path = store.path / f"layers/{LAYER}/c/0/0"
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    np.testing.assert_array_equal(Store.open(store.path).layer(LAYER).all(), example.layers[LAYER])
    assert [problem.path for problem in verify_store(store.path).problems] == [f"layers/{LAYER}/c/0/0"], "verify tells of it"
    elsewhere.write_bytes((SECRET * 9)[: elsewhere.stat().st_size])
    for read in (lambda reader: reader.all(), lambda reader: reader.rows(np.array([0])), lambda reader: reader.read(0, 1)):
        with pytest.raises(DataError, match="is damaged") as caught:
            read(Store.open(store.path).layer(LAYER))
        assert SECRET[:8].decode() not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("name", [manifests.NAME, manifests.IDENTITY_NAME, "zarr.json"])
def test_an_error_about_a_linked_document_tells_nothing_of_it(store, tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    (store.path / name).unlink()
    (store.path / name).symlink_to(secret)
    with pytest.raises(DataError) as caught:
        Store.open(store.path)
    assert SECRET[4:].decode() not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("kind", ["loop", "pipe", "folder", "endless device"])
@pytest.mark.parametrize("name", [manifests.NAME, manifests.IDENTITY_NAME, "zarr.json", f"layers/{LAYER}/c/0/0", "index/reward/c/0"])
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names; runs on every POSIX system")
def test_what_is_no_file_is_refused_and_nobody_waits(store, kind, name):
    path = store.path / name
    path.unlink()
    if kind == "loop":
        path.symlink_to(path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(DataError):
        Store.open(store.path)
    assert verify_store(store.path).problems


# --- trajectory files


def episode(steps: int = 3) -> Episode:
    return Episode(
        frames=np.zeros((steps + 1, 4, 4, 3), np.uint8),
        actions=np.zeros(steps, np.int64),
        rewards=np.zeros(steps, np.float32),
        terminated=np.arange(steps) == steps - 1,
        truncated=np.zeros(steps, bool),
        state=None,
        extra={"speed": np.zeros((steps, 2), np.float32)},
    )


@pytest.fixture
def data(tmp_path) -> Path:
    writer = TrajectoryWriter(tmp_path / "data.h5", {"environment": "x"})
    for steps in (3, 2):
        writer.append(episode(steps))
    path = writer.commit()
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["rewards"] = np.full(3, 7, np.float32)
        other["frames"] = np.full((4, 4, 4, 3), 7, np.uint8)
        other.create_group("episodes/000000")
    (tmp_path / "raw").write_bytes(SECRET * 9)
    return path


FIRST = "episodes/000000"


def instead(name: str, make: Callable[[h5py.Group], None]) -> Callable[[h5py.File], None]:
    """Replace a field of the first episode."""

    def change(file: h5py.File) -> None:
        del file[FIRST][name]
        make(file[FIRST])

    return change


def link(place: str, target: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[place]
        file[place] = target

    return change


def virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "rewards", (3,))
    group.create_virtual_dataset("rewards", layout)


def claims(name: str, shape: tuple[int, ...], dtype: str, **options: Any) -> Callable[[h5py.File], None]:
    return instead(name, lambda group: group.create_dataset(name, shape, dtype, **options))


def sparse(file: h5py.File) -> None:
    """An episode of 10¹² steps, of which not one was written."""
    group, steps = file[FIRST], 10**12
    for name, shape in (("frames", (steps + 1, 4, 4, 3)), ("terminated", (steps,)), ("truncated", (steps,)), ("actions", (steps,))):
        dtype = group[name].dtype
        del group[name]
        group.create_dataset(name, shape, dtype, chunks=(2**20, *shape[1:]))
    del group["rewards"], group["extra"]


def tiny_and_huge(file: h5py.File) -> None:
    """A packing that keeps a constant chunk of any size in some twenty bytes."""
    group, steps = file[FIRST], 2**22
    del group["actions"]
    group.create_dataset("actions", (steps,), "i8", chunks=(steps,), scaleoffset=0)[:] = 0


STRANGE: dict[str, Callable[[h5py.File], None]] = {
    "external link to a field": link(f"{FIRST}/rewards", h5py.ExternalLink("other.h5", "/rewards")),
    "external link to frames": link(f"{FIRST}/frames", h5py.ExternalLink("other.h5", "/frames")),
    "external link to an extra field": link(f"{FIRST}/extra/speed", h5py.ExternalLink("other.h5", "/rewards")),
    "external link to all extra fields": link(f"{FIRST}/extra", h5py.ExternalLink("other.h5", "/")),
    "external link to an episode": link(FIRST, h5py.ExternalLink("other.h5", "/episodes/000000")),
    "external link to all episodes": link("episodes", h5py.ExternalLink("other.h5", "/episodes")),
    "external link to nothing": link(f"{FIRST}/rewards", h5py.ExternalLink("/no/such/file", "/rewards")),
    "soft link": link(f"{FIRST}/rewards", h5py.SoftLink("/episodes/000001/rewards")),
    "soft link in circles": link(f"{FIRST}/rewards", h5py.SoftLink(f"/{FIRST}/rewards")),
    "soft link of all episodes in circles": link("episodes", h5py.SoftLink("/episodes")),
    "numbers in another file": claims("rewards", (3,), "f4", external=[("raw", 0, 12)]),
    "virtual array": instead("rewards", virtual),
    "Python objects": claims("rewards", (3,), h5py.string_dtype()),
    "ragged arrays": claims("rewards", (3,), h5py.vlen_dtype(np.float32)),
    "references": claims("rewards", (3,), h5py.ref_dtype),
    "opaque bytes": claims("rewards", (3,), np.dtype("V4")),
    "records": claims("rewards", (3,), np.dtype([("a", "f4")])),
    "text": claims("rewards", (3,), "S4"),
    "big-endian": claims("rewards", (3,), ">f4"),
    "10¹² steps without data": sparse,
    "claimed and not written": claims("rewards", (3,), "f4"),
    "some chunks not written": lambda file: instead(
        "frames", lambda g: g.create_dataset("frames", (4, 4, 4, 3), "u1", chunks=(1, 4, 4, 3))
    )(file),
    "a packing that makes much of little": tiny_and_huge,
    "a scalar": instead("terminated", lambda group: group.create_dataset("terminated", data=True)),
    "a group for an array": instead("rewards", lambda group: group.create_group("rewards")),
    "an array for a group": link(FIRST, np.zeros(3)),
    "extra fields that climb": lambda file: file[f"{FIRST}/extra"].create_dataset("..", data=np.zeros((3, 1), np.float32)),
    "attributes nested without end": lambda file: file.attrs.__setitem__("attributes", DEEP[:60_000].decode()),
    "attributes of another kind": lambda file: file.attrs.__setitem__("attributes", np.zeros(3)),
    "more episodes than there are": lambda file: file.attrs.__setitem__("episodes", 10**15),
    "fewer episodes than none": lambda file: file.attrs.__setitem__("episodes", -1),
    "episodes in words": lambda file: file.attrs.__setitem__("episodes", "two"),
    "episodes in a list": lambda file: file.attrs.__setitem__("episodes", [2, 2]),
    "half an episode": lambda file: file.attrs.__setitem__("episodes", 1.5),
    "a format of numbers": lambda file: file.attrs.__setitem__("format", np.arange(3)),
    "a digest of another kind": lambda file: file[FIRST].attrs.__setitem__("sha256", np.arange(3)),
}


REASONS = {  # those that a right digest would not give away
    "external link": "is a link",
    "soft link": "is a link",
    "numbers in": "lie in another file",
    "virtual": "lie in another file",
    "10¹² steps": "claims the shape",
    "claimed and": "claims the shape",
    "some chunks": "claims the shape",
    "a packing": "packed with the filter",
}


@pytest.mark.parametrize("name", STRANGE)
def test_strange_trajectory_files_are_refused(data, name):
    with edited(data) as file:
        STRANGE[name](file)
    reason = next((words for start, words in REASONS.items() if name.startswith(start)), "")
    with little_memory(), pytest.raises(DataError, match=rf"data\.h5.*{reason}"), Trajectories(data) as trajectories:
        trajectories.digest()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names; runs on every POSIX system")
def test_another_file_is_not_even_opened(data, tmp_path):
    """Whoever opens this pipe waits for ever."""
    os.mkfifo(tmp_path / "pipe.h5")
    with edited(data) as file:
        link(f"{FIRST}/rewards", h5py.ExternalLink(str(tmp_path / "pipe.h5"), "/x"))(file)
    with pytest.raises(DataError, match="'rewards' is a link"):
        Trajectories(data)


# --- code


FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"yaml.load", "yaml.unsafe_load", "eval", "exec", "pd.read_pickle", "os.system"}


@pytest.mark.parametrize("path", sorted(Path(layerscout.__file__).parent.rglob("*.py")), ids=lambda path: "/".join(path.parts[-2:]))
def test_no_file_is_read_in_a_way_that_runs_code(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {name.name.partition(".")[0] for name in node.names} & FORBIDDEN_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] not in FORBIDDEN_MODULES
        elif isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in FORBIDDEN_CALLS
            if ast.unparse(node.func) == "torch.load":  # accepts tensors alone, when it is told to
                assert {option.arg: ast.unparse(option.value) for option in node.keywords}.get("weights_only") == "True"
            for option in node.keywords:
                assert not (option.arg == "allow_pickle" and ast.unparse(option.value) != "False")
                assert not (option.arg == "shell" and ast.unparse(option.value) != "False")
                assert not (option.arg == "trust_remote_code" and ast.unparse(option.value) != "False")
