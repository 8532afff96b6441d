"""The ways to keep stores that are put to the contract, and a real S3 API on loopback that counts what is asked of it."""

from __future__ import annotations

import itertools
import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.request import Request, urlopen

import obstore
import pytest

from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.opening import open_store
from layerscout.cache.remote.bucket import ObjectPlace
from layerscout.cache.remote.place import FolderPlace, Place, open_place
from layerscout.cache.remote.published import find_published
from layerscout.cache.remote.transfer import pull, push
from layerscout.cache.store import Store
from layerscout.cache.testing import SmallStore
from layerscout.errors import DataError


class FolderFiles:
    """Files of a folder, for tests that go behind a back-end's back."""

    folder: Path

    def paths(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def get(self, path: str) -> bytes:
        return (self.folder / path).read_bytes()

    def put(self, path: str, data: bytes) -> None:
        (self.folder / path).write_bytes(data)

    def delete(self, path: str) -> None:
        (self.folder / path).unlink()


class LocalBackend(FolderFiles):
    """A root: published by the writer, read where it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def publish(self, small: SmallStore) -> str:
        return small.write(self.folder).manifest.digest

    def read(self, wanted: str, layers: Sequence[str] | None = None) -> Store:
        store = open_store(self.folder, wanted)
        problems = verify_store(store.path, full=True).problems
        if problems:
            raise DataError(f"{problems[0].path}: {problems[0].kind}: {problems[0].detail}", hint="see store verify")
        return store


class PlaceBackend:
    """A place: published by push, read by a pull into an empty root."""

    def __init__(self, place: Place, scratch: Path) -> None:
        self.place, self.scratch, self._rooms = place, scratch, itertools.count()

    def publish(self, small: SmallStore) -> str:
        done = push(small.write(self._room()), self.place)
        return done.other_digest or done.digest

    def read(self, wanted: str, layers: Sequence[str] | None = None) -> Store:
        return pull(find_published(self.place, wanted), self._room(), layers)

    def _room(self) -> Path:
        return self.scratch / str(next(self._rooms))


class FolderBackend(FolderFiles, PlaceBackend):
    """A folder that others can see, such as a network disk."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        PlaceBackend.__init__(self, FolderPlace(f"file://{folder}", folder), scratch)
        self.folder = folder


class ObjectBackend(PlaceBackend):
    """A bucket, or memory that behaves like one."""

    def __init__(self, place: ObjectPlace, scratch: Path) -> None:
        PlaceBackend.__init__(self, place, scratch)
        self._handle = place.handle

    def paths(self) -> list[str]:
        return sorted(item["path"] for batch in obstore.list(self._handle) for item in batch)

    def get(self, path: str) -> bytes:
        return bytes(obstore.get(self._handle, path).bytes())

    def put(self, path: str, data: bytes) -> None:
        obstore.put(self._handle, path, data)

    def delete(self, path: str) -> None:
        obstore.delete(self._handle, path)


@dataclass
class S3:
    """A server of the S3 API on loopback. ``requests`` lists (method, path, bytes sent back) of everything that was asked."""

    endpoint: str
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    at_work: set[int] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        access = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        return access | {"AWS_ENDPOINT_URL": self.endpoint}

    def bucket(self) -> str:
        """Make a bucket and return its URL."""
        name = f"layers-{uuid.uuid4().hex[:12]}"  # moto keeps its buckets as long as the process lives
        with urlopen(Request(f"{self.endpoint}/{name}", method="PUT")):
            return f"s3://{name}"

    def settle(self) -> None:
        """Wait until everything that dead processes asked for is done."""
        while True:
            before = len(self.requests)
            time.sleep(0.1)
            if not self.at_work and len(self.requests) == before:
                return

    def got(self, word: str) -> list[str]:
        """Return the paths of the objects that were sent back whole, if the word is in them."""
        return [path for method, path, _ in self.requests if method == "GET" and word in path]


@contextmanager
def s3_server() -> Iterator[S3]:
    """Serve the S3 API on a free port."""
    moto = pytest.importorskip("moto.server", reason="needs moto: pip install '.[test]'")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    s3 = S3(f"http://{host}:{port}")
    serve, one_at_a_time = moto.DomainDispatcherApplication.__call__, Lock()

    def recorded(application: Any, environ: dict[str, Any], start: Any) -> Any:
        def counting(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            length = int(dict(headers).get("Content-Length", 0)) if environ["REQUEST_METHOD"] == "GET" else 0
            s3.requests.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], length))
            return start(status, headers, *rest)

        # Amazon compares and writes in one step; moto's threads could both find nothing and both write
        s3.at_work.add(id(environ))
        try:
            with one_at_a_time if "HTTP_IF_NONE_MATCH" in environ else nullcontext():
                return serve(application, environ, counting)
        finally:
            s3.at_work.discard(id(environ))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moto.DomainDispatcherApplication, "__call__", recorded)
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        try:
            yield s3
        finally:
            server.stop()


def open_object_place(url: str) -> ObjectPlace:
    """Open a bucket."""
    place = open_place(url)
    assert isinstance(place, ObjectPlace)
    return place
