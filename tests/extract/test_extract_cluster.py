"""Units spread over processes: workers killed in the middle cost their unit only, and the store is the same to the byte."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import frames_by_hand
import pytest
import torch

from layerscout.cache.store import Store
from layerscout.cluster import IN_FLIGHT
from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.extract import cluster
from layerscout.extract.config import ExtractConfig
from layerscout.extract.run import plan, run

distributed = pytest.importorskip("distributed", reason="comes with the extra 'cluster', and runs wherever that is installed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of the workers that were killed

UNITS, ROWS_PER_CHUNK = 60, 6


@pytest.fixture(scope="module")
def scheduler(quick_workers: None) -> Iterator[Any]:
    """A scheduler with two worker processes that are started again when they die."""
    settings: dict[str, Any] = {
        "n_workers": 2,
        "threads_per_worker": 1,
        "memory_limit": 0,
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": 50,
    }
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with distributed.LocalCluster(host="127.0.0.1", env=paths, **settings) as found:
        yield found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lengths = (40, 1, 33, UNITS * ROWS_PER_CHUNK - 40 - 1 - 33 - 4)
    episodes = frames_by_hand.random_episodes(lengths, frames_by_hand.PLANES)
    return frames_by_hand.write(tmp_path_factory.mktemp("data") / "data.h5", episodes)


def config(data: Path, root: Path, **changes: Any) -> ExtractConfig:
    small = {"rows_per_chunk": ROWS_PER_CHUNK, "batch": 4, "passport_clips": 0}
    return ExtractConfig(**({"backbone": "synthetic", "data": data, "root": root} | small | changes))


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return run(plan(config(data, tmp_path_factory.mktemp("alone"))))


def files_of(store: Store) -> dict[str, bytes]:
    """Every file that numbers come from; manifest and card hold times and are no such files."""
    found = (path for path in sorted(store.path.rglob("*")) if path.is_file() and path.name not in {"manifest.json", "README.md"})
    return {path.relative_to(store.path).as_posix(): path.read_bytes() for path in found}


def test_killed_workers_cost_their_unit_only(scheduler: Any, data: Path, alone: Store, tmp_path: Path) -> None:
    """Each of the two is killed once, with SIGKILL, when some units are done; units that had a marker then are not computed again."""
    with distributed.Client(scheduler) as client:
        victims = list(client.run(os.getpid).values())
    killed: list[int] = []
    done_before: dict[str, int] = {}

    def markers() -> list[Path]:
        return sorted((tmp_path / "staging").rglob("units/*.json"))

    def kill() -> None:
        for wanted, victim in zip((2, 5), victims, strict=True):
            while len(markers()) < wanted:
                time.sleep(0.002)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)
            done_before.update({path.as_posix(): path.stat().st_mtime_ns for path in markers()})

    watch = threading.Thread(target=kill, daemon=True)
    watch.start()
    writes: list[list[str]] = []
    whole = cluster.each_done

    def watched(*arguments: Any) -> Iterator[Any]:
        yield from whole(*arguments)
        writes.append([path.as_posix() for path in markers()])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "each_done", watched)
        store = run(plan(config(data, tmp_path, scheduler=scheduler.scheduler_address)))
    watch.join(10)
    assert killed == victims
    assert store.id == alone.id
    assert files_of(store) == files_of(alone)
    assert store.manifest.provenance["workers"] == 2
    (written,) = writes
    assert done_before.keys() <= set(written)
    numbers = [Path(path).stem for path in written]
    assert sorted(set(numbers), key=int) == [str(unit) for unit in range(UNITS)]
    assert len(numbers) - UNITS <= len(victims) * IN_FLIGHT, "only what a worker had not told of when it died is done twice"
    assert len({Path(path).parents[1] for path in written}) <= 2 + len(victims), "a worker, and each that replaces one, loads once"
    assert not (tmp_path / "staging").exists() or not list((tmp_path / "staging").rglob("*.json")), "nothing is left behind"


def test_what_a_stopped_run_finished_is_not_done_again(scheduler: Any, data: Path, alone: Store, tmp_path: Path) -> None:
    whole, units = cluster.each_done, []

    def stopping(client: Any, do: Any, shared: Any, waiting: Any) -> Iterator[Any]:
        for count, found in enumerate(whole(client, do, shared, waiting)):
            units.append(found[0])
            yield found
            if count == 3 and len(units) == 4:
                raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cluster, "each_done", stopping)
        with pytest.raises(KeyboardInterrupt):
            run(plan(config(data, tmp_path, scheduler=scheduler.scheduler_address)))
        first = set(units)
        store = run(plan(config(data, tmp_path, scheduler=scheduler.scheduler_address)))
    assert not first & set(units[len(first) :])
    assert files_of(store) == files_of(alone)


@pytest.mark.usefixtures("quick_workers")
def test_processes_of_this_machine_are_a_cluster_too(data: Path, alone: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    store = run(plan(config(data, tmp_path, scheduler="local:1")))
    assert files_of(store) == files_of(alone)


def test_a_worker_that_finds_other_weights_is_refused(scheduler: Any, data: Path, tmp_path: Path) -> None:
    planned = plan(config(data, tmp_path, scheduler=scheduler.scheduler_address))
    planned.identity["backbone"]["weights_digest"] = "sha256:other"
    with pytest.raises(DataError, match="a worker finds another model at synthetic"):
        run(planned)


def test_without_the_extra_the_extra_is_named(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"extract\.scheduler needs dask\.distributed") as failed:
        run(plan(config(data, tmp_path, scheduler="local:1")))
    assert failed.value.hint == "in a checkout of layerscout: pip install '.[cluster]'"


def test_one_process_a_gpu(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="local:3 asks for 3 processes, one a GPU, and torch sees 2"):
        run(plan(config(data, tmp_path, device="cuda", scheduler="local:3")))


@pytest.mark.parametrize("scheduler", ["here", "local:0", "10.0.0.7:8786", "tcp://"])
def test_what_is_no_scheduler_is_refused(scheduler: str) -> None:
    from layerscout.settings import build

    with pytest.raises(UsageError, match=r"extract\.scheduler"):
        build(ExtractConfig, {"backbone": "synthetic", "data": "x", "scheduler": scheduler}, "extract")
