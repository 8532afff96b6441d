"""A small store whose every number is known."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from backends import S3, s3_server
from identity_by_hand import make_identity

from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing.writer import StoreWriter

ROWS, ROWS_PER_CHUNK = 21, 8  # the last of three chunks is not full


@dataclass(frozen=True)
class Example:
    specs: tuple[LayerSpec, ...]
    identity: dict[str, Any]
    layers: dict[str, np.ndarray]
    index: dict[str, np.ndarray]

    def open(self, root: Path, rows_per_chunk: int = ROWS_PER_CHUNK) -> StoreWriter:
        return StoreWriter.open(root, self.identity, self.specs, ROWS, rows_per_chunk)

    def write(self, writer: StoreWriter, units: Iterable[int]) -> None:
        for unit in units:
            part = slice(*writer.span(unit))
            writer.write_unit(unit, {k: v[part] for k, v in self.layers.items()}, {k: v[part] for k, v in self.index.items()})

    def store(self, root: Path) -> Store:
        writer = self.open(root)
        self.write(writer, writer.pending())
        return writer.commit({"command": "test"})

    def fewer(self, *names: str) -> Example:
        """The same computation, asked for some of its layers only."""
        listed = [layer for layer in self.identity["layers"] if layer["name"] in names]
        specs = tuple(spec for spec in self.specs if spec.name in names)
        return Example(specs, self.identity | {"layers": listed}, {name: self.layers[name] for name in names}, self.index)


@pytest.fixture(autouse=True)
def forced_to_disk(monkeypatch) -> set[int]:
    """Inodes that were forced to disk. Waiting for the disk itself would take most of the tests' time and shows nothing here."""
    inodes: set[int] = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: inodes.add(os.fstat(descriptor).st_ino))
    return inodes


@pytest.fixture
def example() -> Example:
    random = np.random.default_rng(0)
    specs = (
        LayerSpec("transformer_blocks.3", 5, "float16", "layer", 0, "transformer_blocks.3"),
        LayerSpec("transformer_blocks.7", 3, "float16", "layer", 1, "transformer_blocks.7"),
        LayerSpec("pixels", 4, "float32", "control", 2, "pixels"),
    )
    layers = {spec.name: random.normal(size=(ROWS, spec.width)).astype(spec.dtype) for spec in specs}
    index = {
        "episode": np.repeat([0, 1, 2], 7).astype(np.int32),
        "step": np.tile(np.arange(7), 3).astype(np.int32),
        "action": np.tile([0, 1, 2, 0, 1, 2, -1], 3).astype(np.int32),
        "reward": np.tile([0, 1, 0, 0, -1, 0.5, np.nan], 3).astype(np.float32),
        "terminated": np.tile([0, 0, 0, 0, 0, 1, 0], 3).astype(bool),
        "truncated": np.zeros(ROWS, dtype=bool),
        "padding": np.tile([4, 3, 2, 1, 0, 0, 0], 3).astype(np.int16),
    }
    return Example(specs, make_identity(specs), layers, index)


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture
def url(server) -> str:
    return f"{server.bucket()}/team"


@pytest.fixture
def trusted_hdf5(monkeypatch):
    """Files that the test wrote itself need no other process to look through them, which takes a seventh of a second each."""
    monkeypatch.setattr("layerscout.cache.dataset.hdf5._look_through", lambda path, seconds, hint: None)


@pytest.fixture
def hub(monkeypatch):
    """A stand-in of the hub's API on this machine, and the hub's library turned to it."""
    import writable_hub
    from huggingface_hub import HfApi

    with writable_hub.serve() as served:
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # a protocol that this server does not speak
        monkeypatch.setenv("HF_TOKEN", writable_hub.TOKEN)
        monkeypatch.setattr(HfApi, "__init__", _at(served.url, HfApi.__init__))
        served.repositories["lab/layers"] = {".gitattributes": b""}
        yield served


def _at(url, original):
    def begin(self, *given, **named):
        original(self, *given, **(named | {"endpoint": url}))

    return begin
