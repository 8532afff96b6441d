"""Several processes at one identity at once: all end with the same whole store, whether leases are kept or not.

Run as a program, this file is one of them. Each adds its own number to the layers, so that mixed work shows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from identity_by_hand import make_identity

import layerscout
from layerscout.cache.catalog import prune
from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.opening import find_store
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing import staging
from layerscout.cache.writing.writer import StoreWriter

ROWS, ROUNDS = 23, 4
SPECS = tuple(LayerSpec(f"blocks.{depth}", 4, "float32", "layer", depth, f"blocks.{depth}") for depth in range(3))
IDENTITY = make_identity(SPECS) | {"logical_dtype": "float32"}
COLUMNS = {"episode": "i4", "step": "i4", "action": "i4", "reward": "f4", "terminated": "?", "truncated": "?", "padding": "i2"}


def write(root: Path, number: int, rows_per_chunk: int) -> Store:
    pause = np.random.default_rng([number, time.time_ns()])
    writer = StoreWriter.open(root, IDENTITY, SPECS, ROWS, rows_per_chunk)
    for unit in writer.pending():
        rows = np.arange(*writer.span(unit))
        layers = {spec.name: (1000 * number + 10 * rows[:, None] + np.arange(4)).astype(np.float32) for spec in SPECS}
        writer.write_unit(unit, layers, {name: (rows % 2).astype(kind) for name, kind in COLUMNS.items()})
        time.sleep(pause.uniform(0, 0.004))
    return writer.commit({"by": number})


def check(store: Store) -> None:
    """Every row is some process's, the same one's in all layers, and that of one chunk."""
    values = np.stack([store.layer(spec.name).all() for spec in SPECS])
    by, rest = np.divmod(values, 1000)
    np.testing.assert_array_equal(rest, np.broadcast_to(10 * np.arange(ROWS)[:, None] + np.arange(4), rest.shape))
    size = store.manifest.rows_per_chunk
    for start in range(0, ROWS, size):
        assert len(np.unique(by[:, start : start + size])) == 1, "a unit is one process's work"
    for name, kind in COLUMNS.items():
        np.testing.assert_array_equal(store.index(name), (np.arange(ROWS) % 2).astype(kind))


def read_all_the_time(roots: list[Path]) -> list[str]:
    """Look for each store until it is there: nothing at all, or the whole store, and that for ever."""
    digests = []
    for root in roots:
        while (store := find_store(root, IDENTITY)) is None:
            pass
        check(store)
        digests.append(store.manifest.digest)
    return digests


def main(folder: Path, role: str, number: int, leases: bool, rows_per_chunk: int) -> None:
    os.fsync = lambda descriptor: None
    if not leases:
        staging._alive = lambda claim: False  # every owner seems dead to every other
    roots = [folder / str(index) for index in range(ROUNDS)]
    (folder / f"{role}{number}.ready").touch()
    while not (folder / "go").exists():
        time.sleep(0.001)
    if role == "reader":
        print(json.dumps(read_all_the_time(roots)))
        return
    digests = []
    for index, root in enumerate(roots):
        (folder / f"{number}.{index}").touch()
        while len(list(folder.glob(f"*.{index}"))) < int(os.environ["WRITERS"]):  # all begin each round together
            pass
        digests.append(write(root, number, rows_per_chunk).manifest.digest)
    print(json.dumps(digests))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("leases", "chunks"),
    [(True, (3, 3)), (False, (3, 3)), (False, (3, 3, 5, 7))],
    ids=["two", "two without leases", "four of three chunk sizes without leases"],
)
def test_all_processes_end_with_one_whole_store(tmp_path, leases, chunks):
    environment = os.environ | {"PYTHONPATH": str(Path(layerscout.__file__).parents[1]), "WRITERS": str(len(chunks))}
    roles = [*(("writer", number, size) for number, size in enumerate(chunks)), ("reader", 0, 0)]
    commands = [[sys.executable, __file__, str(tmp_path), role, str(n), str(int(leases)), str(size)] for role, n, size in roles]
    running = [subprocess.Popen(c, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    deadline = time.monotonic() + 60
    try:
        while any(process.poll() is None for process in running) and not any(process.poll() for process in running):
            if len(list(tmp_path.glob("*.ready"))) == len(running):
                (tmp_path / "go").touch()
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        for process in running:  # those that wait for one that failed
            process.kill()
    ended = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * len(running), "\n".join(error[-3000:] for _, error in ended)
    told = [json.loads(output) for output, _ in ended]
    winners = set()
    for index in range(ROUNDS):
        (path,) = (tmp_path / str(index) / "stores").iterdir()
        store = Store.open(path)
        check(store)
        assert {digests[index] for digests in told} == {store.manifest.digest}, "every process returned, and the reader read, this one"
        assert verify_store(path, full=True).problems == ()
        winners.add(store.manifest.provenance["by"])
        assert not prune.carry_out_deletion(prune.plan_prune(tmp_path / str(index))).left
        assert not list((tmp_path / str(index) / "staging").rglob("*"))
    print(f"published by {sorted(winners)}")


@pytest.mark.parametrize("units", [0, 3, 8])
@pytest.mark.parametrize("seen", ["before", "during"])
def test_a_writer_that_was_swept_away_ends_with_the_store_that_was_published(tmp_path, monkeypatch, units, seen):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def write_units(writer: StoreWriter, some: list[int]) -> None:
        for unit in some:
            rows = np.arange(*writer.span(unit))
            writer.write_unit(
                unit,
                {spec.name: (10 * rows[:, None] + np.arange(4)).astype(np.float32) for spec in SPECS},
                {name: (rows % 2).astype(kind) for name, kind in COLUMNS.items()},
            )

    slow = StoreWriter.open(tmp_path, IDENTITY, SPECS, ROWS, 3)
    write_units(slow, slow.pending()[:units])
    first = write(tmp_path, 0, 3)  # and to this process, the slow writer's lease is that of a dead one
    assert not list((tmp_path / "staging").rglob("*"))
    write_units(slow, slow.pending())
    if seen == "during":  # the store appears only after the slow writer has looked
        looks = iter([False])
        there = StoreWriter._published
        monkeypatch.setattr(StoreWriter, "_published", lambda writer: next(looks, None) is None and there(writer))
    assert slow.commit({"by": "slow"}).manifest == first.manifest
    check(Store.open(first.path))
    assert not list((tmp_path / "staging").rglob("*"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
