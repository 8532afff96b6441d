"""SIGKILL before every step that touches the disk, then the same job again: the files of an unbroken run, and no leftovers.

Run as a program, this file is the parent that forks, kills and repeats: the libraries are imported once for all kills.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from identity_by_hand import make_identity

import layerscout
from layerscout.cache import files, manifest
from layerscout.cache.catalog import prune
from layerscout.cache.opening import find_store
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing import staging
from layerscout.cache.writing.writer import StoreWriter

ROWS, ROWS_PER_CHUNK = 5, 3
SPECS = (LayerSpec("blocks.0", 3, "float16", "layer", 0, "blocks.0"),)
IDENTITY = make_identity(SPECS)
COLUMNS = {"episode": "i4", "step": "i4", "action": "i4", "reward": "f4", "terminated": "?", "truncated": "?", "padding": "i2"}
STEPS = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "link")  # of the module os; and io.open


def job(root: Path) -> Store:
    """What ``layerscout extract`` does: look for the store, else write what is missing and commit."""
    store = find_store(root, IDENTITY)
    if store is None:
        writer = StoreWriter.open(root, IDENTITY, SPECS, ROWS, ROWS_PER_CHUNK)
        for unit in writer.pending():
            rows = np.arange(*writer.span(unit))
            layers = {"blocks.0": np.stack([rows, rows / 2, -rows], axis=1).astype(np.float16)}
            writer.write_unit(unit, layers, {name: (rows % 2).astype(kind) for name, kind in COLUMNS.items()})
        store = writer.commit({"command": "test"})
    return store


@contextmanager
def killed_before(step: int) -> Iterator[None]:
    """Count the steps and kill this process right before one of them; of a write, the first half is still done."""
    counter, lock = count(1), threading.Lock()

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            with lock:  # nothing else happens between the count and the end
                if next(counter) == step:
                    if real is os_write:
                        real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return wrapper

    os_write = os.write
    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    io.open = counted(io.open)
    yield


def forked(root: Path, step: int) -> bool:
    """Do the job in a child that is killed before a step; False when it ended before that step came."""
    child = os.fork()
    if child == 0:
        with killed_before(step):
            job(root)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or status == 0, f"the child failed before step {step}: {status}"
    return os.WIFSIGNALED(status)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check(root: Path, unbroken: dict[str, bytes]) -> str:
    """Do the job again and compare; return what the killed process left in staging until ``prune``."""
    killed_at = "published" if list(root.glob(f"stores/*/{manifest.NAME}")) else "unpublished"
    store = job(root)
    found = tree(store.path)
    assert found.keys() == unbroken.keys(), "no file more, no file less"
    for path in found:
        if path != manifest.NAME:
            assert found[path] == unbroken[path], path
    stated, expected = (json.loads(each[manifest.NAME])["objects"] for each in (found, unbroken))
    assert stated == expected
    left = [path for path in root.glob("staging/*/*") if path.is_dir()]
    assert not [path for attempt in left if killed_at == "unpublished" for path in attempt.rglob("*/c/*")], "no data is left"
    for attempt in left:
        os.utime(attempt, (time.time() - 2 * staging.LEASE_SECONDS,) * 2)  # one that had only begun is dead when it is old
    outcome = prune.carry_out_deletion(prune.plan_prune(root))
    assert not outcome.left
    assert not [path for path in root.rglob("*") if path.is_file() and store.path not in path.parents], "prune leaves the store alone"
    assert tree(store.path) == found
    return f"{killed_at}, {len(left)} left"


def main(root: Path, threads: int, first: int, stride: int) -> None:
    files.WRITERS = threads
    os.fsync = lambda descriptor: None  # the disk's own time shows nothing here
    unbroken = tree(job(root / "unbroken").path)
    seen: dict[str, int] = {}
    for step in count(first, stride):
        if not forked(root / str(step), step):
            break
        result = check(root / str(step), unbroken)
        seen[result] = seen.get(result, 0) + 1
    print(json.dumps({"steps": step, "seen": seen}))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked; runs on every POSIX system")
@pytest.mark.parametrize(("threads", "first", "stride"), [(1, 1, 1), (4, 2, 9)], ids=["every step", "four writers"])
def test_a_kill_before_any_step_changes_no_byte_of_the_outcome(tmp_path, threads, first, stride):
    command = [sys.executable, __file__, str(tmp_path), str(threads), str(first), str(stride)]
    environment = os.environ | {"PYTHONPATH": str(Path(layerscout.__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    print(told)
    assert told["steps"] > 100, "the wrapped functions are those that the writer calls"
    assert {result.partition(",")[0] for result in told["seen"]} == {"published", "unpublished"}


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
