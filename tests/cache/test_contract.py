"""Every way to keep stores passes the contract that layerscout ships."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from backends import S3, FolderBackend, LocalBackend, ObjectBackend, open_object_place, s3_server
from obstore.store import MemoryStore

from layerscout.cache.remote.bucket import ObjectPlace
from layerscout.cache.testing import Backend, StoreContract


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


class TestRoot(StoreContract):
    @pytest.fixture
    def backend(self, tmp_path) -> Backend:
        return LocalBackend(tmp_path / "root")


class TestFolder(StoreContract):
    @pytest.fixture
    def backend(self, tmp_path) -> Backend:
        return FolderBackend(tmp_path / "place", tmp_path)


class TestMemory(StoreContract):
    examples = 15

    @pytest.fixture
    def backend(self, tmp_path) -> Backend:
        return ObjectBackend(ObjectPlace("memory://", MemoryStore()), tmp_path)


@pytest.mark.slow  # the others hold the same laws without a server
class TestS3(StoreContract):
    @pytest.fixture
    def backend(self, server, tmp_path) -> Backend:
        return ObjectBackend(open_object_place(f"{server.bucket()}/team/a"), tmp_path)
