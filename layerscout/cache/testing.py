"""The contract of every way to keep stores, to inherit from in tests; small stores whose numbers are all known.

A back-end is tested by a class of a few lines (pytest finds its methods; hypothesis must be installed):

    class TestMine(StoreContract):
        @pytest.fixture
        def backend(self, tmp_path):
            return MyBackend(tmp_path)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from layerscout.cache import manifest as manifests
from layerscout.cache.store import Store
from layerscout.cache.writing.small_store import SmallStore, made_up, small_stores
from layerscout.errors import DataError

__all__ = ["Backend", "SmallStore", "StoreContract", "made_up", "refused", "small_stores", "swap"]

READERS = 4


class Backend(Protocol):
    """What a test needs of a way to keep stores; nothing is kept at its start."""

    def publish(self, small: SmallStore) -> str:
        """Publish a store by the back-end's own means and return the digest of the manifest that is published after that."""

    def read(self, wanted: str, layers: Sequence[str] | None = None) -> Store:
        """Open a store as a newcomer would, every byte verified: nothing that was read before may help. DataError if it is not whole."""

    def paths(self) -> list[str]:
        """List every file that is kept."""

    def get(self, path: str) -> bytes:
        """Return the bytes of the file at ``path``."""

    def put(self, path: str, data: bytes) -> None:
        """Write or replace a file behind the back-end's back."""

    def delete(self, path: str) -> None:
        """Delete a file behind the back-end's back."""


class StoreContract:
    """The laws that every way to keep stores must obey, as tests; a subclass gives the fixture ``backend``."""

    examples = 5  # how many stores hypothesis makes up

    def test_what_was_published_comes_back(self, backend: Backend) -> None:
        """Every array of one fixed store reads back equal to what was written."""
        small = made_up(0)
        backend.publish(small)
        small.check(backend.read(small.id))

    def test_every_kind_of_store_comes_back(self, backend: Backend) -> None:
        """The same of ``examples`` stores of random layers, shapes and types, and their manifests have the digest of publishing."""
        from hypothesis import given, settings

        @settings(max_examples=self.examples, deadline=None, database=None)
        @given(small=small_stores())
        def comes_back(small: SmallStore) -> None:
            digest = backend.publish(small)
            found = backend.read(small.id)
            assert found.manifest.digest == digest
            small.check(found)

        comes_back()

    def test_without_a_manifest_there_is_no_store(self, backend: Backend) -> None:
        """Deleting the manifest, which is written last, makes reading a DataError that names it."""
        small = made_up(0)
        backend.publish(small)
        backend.delete(_path(backend, manifests.NAME))
        refused(lambda: backend.read(small.id), "manifest")

    def test_an_unknown_store_is_an_error_that_names_the_nearest(self, backend: Backend) -> None:
        """An id with another last digit is refused, and the message names that id."""
        small = made_up(0)
        backend.publish(small)
        wrong = small.id[:-1] + ("0" if small.id[-1] != "0" else "1")
        refused(lambda: backend.read(wrong), wrong)

    def test_the_first_publisher_wins(self, backend: Backend) -> None:
        """Publishing again, be it the same bytes or those of another run, changes no file and returns the first digest."""
        first, second = made_up(0), made_up(0).of_another_run()
        digest = backend.publish(first)
        before = {path: backend.get(path) for path in backend.paths()}
        assert backend.publish(second) == digest
        assert backend.publish(first) == digest
        assert {path: backend.get(path) for path in backend.paths()} == before
        first.check(backend.read(first.id))

    def test_a_partial_copy_is_invisible(self, backend: Backend) -> None:
        """With half of the files and the manifest gone, reading is refused."""
        small = made_up(0)
        backend.publish(small)
        for path in backend.paths()[::2]:
            backend.delete(path)
        if any(path.endswith(manifests.NAME) for path in backend.paths()):
            backend.delete(_path(backend, manifests.NAME))
        refused(lambda: backend.read(small.id), small.id)

    def test_damage_of_any_kind_to_any_kind_of_file_is_found(self, backend: Backend) -> None:
        """A flipped bit, lost or added bytes, an empty file, a lost file and swapped chunks are refused by the file's name."""
        small = made_up(0)
        backend.publish(small)
        layer = small.specs[0].name
        documents = (manifests.NAME, manifests.IDENTITY_NAME, "zarr.json", f"layers/{layer}/zarr.json")
        chunks = ((f"layers/{layer}/c/0/0", f"layers/{layer}/c/1/0"), ("index/reward/c/0", "index/reward/c/1"))
        for name in (*documents, *itertools.chain(*chunks)):
            path = _path(backend, name)
            intact = backend.get(path)
            middle = len(intact) // 2
            flipped = intact[:middle] + bytes([intact[middle] ^ 1]) + intact[middle + 1 :]
            for damaged in (flipped, intact[:-2], intact + b"\0", b""):
                backend.put(path, damaged)
                refused(lambda: backend.read(small.id), name)
            backend.delete(path)
            refused(lambda: backend.read(small.id), name)
            backend.put(path, intact)
        for one, other in chunks:
            swap(backend, _path(backend, one), _path(backend, other))
            refused(lambda: backend.read(small.id), one.rpartition("/c/")[0])
            swap(backend, _path(backend, one), _path(backend, other))
        small.check(backend.read(small.id))

    def test_some_layers_can_be_read_alone(self, backend: Backend) -> None:
        """One layer reads without the others; a layer whose name is wrong is refused with the nearest name."""
        small = made_up(0)
        backend.publish(small)
        for spec in small.specs:
            small.check(backend.read(small.id, [spec.name]), [spec.name])
        refused(lambda: backend.read(small.id, ["blocks.00"]).layer("blocks.00"), "did you mean")

    def test_many_may_read_at_once(self, backend: Backend) -> None:
        """Four threads that read the store at once all find it whole."""
        small = made_up(0)
        backend.publish(small)
        with ThreadPoolExecutor(READERS) as pool:
            for found in pool.map(lambda _: backend.read(small.id), range(READERS)):
                small.check(found)

    def test_many_may_publish_at_once(self, backend: Backend) -> None:
        """Of four threads that publish two runs of one store, all return one digest, and one run's arrays are the ones that are kept."""
        runs = [made_up(0), made_up(0).of_another_run()] * 2
        with ThreadPoolExecutor(len(runs)) as pool:
            digests = set(pool.map(backend.publish, runs))
        found = backend.read(runs[0].id)
        assert digests == {found.manifest.digest}
        winner = next(run for run in runs if np.array_equal(run.layers["blocks.0"], found.layer("blocks.0").all()))
        winner.check(found)


def refused(call: Callable[[], object], word: str) -> DataError:
    """Assert that a call ends in a DataError whose message has a word, and return it."""
    try:
        call()
    except DataError as error:
        found = error
    else:
        raise AssertionError(f"no error; one about {word!r} was due")
    assert word in str(found), f"{word!r} is not in {str(found)!r}"
    assert found.hint
    return found


def swap(backend: Backend, one: str, other: str) -> None:
    """Let two files change places."""
    first, second = backend.get(one), backend.get(other)
    backend.put(one, second)
    backend.put(other, first)


def _path(backend: Backend, name: str) -> str:
    """Return where a file of the only store lies: what ends in its name and, of several, is that of the store itself."""
    found = [path for path in backend.paths() if path.endswith(f"/{name}")]
    folders = {path: path.removesuffix(name) for path in found}
    whole = [path for path in found if any(other.startswith(f"{folders[path]}index/") for other in backend.paths())]
    return min(whole or found, key=len)
