"""Workers that are killed in the middle change nothing but time; what cannot work is refused with the next step."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from committed import commit
from synthetic_layers import MemoryStore, columns_of, controllable_state, with_reward

from layerscout.cache.store import Store
from layerscout.errors import BudgetError, DataError, MissingExtraError, UsageError
from layerscout.probe import cluster
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.plan import ProbePlan, plan
from layerscout.probe.work import load_evidence, measure_layer

distributed = pytest.importorskip("distributed", reason="comes with the extra 'cluster', and runs wherever that is installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::ResourceWarning")]  # sockets of the workers that were killed


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
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two spans of rows; the reward of the layer "faint" lies in directions with a millionth of its variance."""
    rng = np.random.default_rng(0)
    columns = columns_of([2000] * 40, rng)
    state = controllable_state(columns, 3, rng)
    columns = with_reward(columns, state[:, 0])
    loud = rng.standard_normal((len(state), 3)) @ rng.standard_normal((3, 8))
    layers = {
        "plain": (state @ rng.standard_normal((3, 8)) + rng.standard_normal(loud.shape)),
        "faint": loud + 1e-3 * state @ rng.standard_normal((3, 8)),
    }
    memory = MemoryStore("", columns, {name: layer.astype(np.float32) for name, layer in layers.items()})
    return commit(tmp_path_factory.mktemp("root"), memory, rows_per_chunk=8192)


def planned(store: Store, out: Path, **settings: Any) -> ProbePlan:
    return plan(ProbeConfig(store=store.id, root=store.path.parent.parent, out=out, shifts=3, **settings))


def alone(store: Store, out: Path) -> list[LayerEvidence]:
    """The evidence of one process without partials."""
    work = planned(store, out, partials="never")
    for job in work.jobs:
        if (float32_effect := measure_layer(work, job, "float32")) is not None:
            assert measure_layer(work, job, "float64", float32_effect) is None
    return [load_evidence(work, job) for job in work.jobs]


def test_killed_workers_change_nothing_but_time(scheduler: Any, store: Store, tmp_path: Path) -> None:
    expected = alone(store, tmp_path / "alone")
    assert [item.precision for item in expected] == ["float32", "float64"]
    with distributed.Client(scheduler) as client:
        victims = list(client.run(os.getpid).values())
    folder, killed = store.path.parent.parent / "partials", []

    def kill() -> None:
        """Kill each worker once, the second when more work is done."""
        for wanted, victim in enumerate(victims, start=1):
            while len(list(folder.rglob("*.sums"))) < wanted:
                time.sleep(0.005)
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)

    watch = threading.Thread(target=kill, daemon=True)
    watch.start()
    work = planned(store, tmp_path / "cluster", scheduler=scheduler.scheduler_address)
    found = cluster.measure_all(work)
    watch.join(10)
    assert killed == victims
    assert [found[job] for job in work.jobs] == expected


def test_a_fault_of_the_data_arrives_as_it_is(scheduler: Any, store: Store, tmp_path: Path) -> None:
    chunk = store.path / "layers" / "plain" / "c" / "3" / "0"
    whole = chunk.read_bytes()
    try:
        chunk.write_bytes(whole[:-9] + bytes(9))
        with pytest.raises(DataError, match="c/3/0 is damaged"):
            cluster.measure_all(planned(store, tmp_path, scheduler=scheduler.scheduler_address, groups=7))
    finally:
        chunk.write_bytes(whole)


def test_workers_with_too_little_memory_are_refused(scheduler: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_limits", lambda client: {"tcp://w": 1e6})
    with pytest.raises(BudgetError, match=r"worker tcp://w has 0\.0 GB a thread"):
        cluster.measure_all(planned(store, tmp_path, scheduler=scheduler.scheduler_address, seed=1))


def test_a_scheduler_that_does_not_answer_is_named(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.2)
    with pytest.raises(UsageError, match=r"tcp://127\.0\.0\.1:9 does not answer"):
        cluster.measure_all(planned(store, tmp_path, scheduler="tcp://127.0.0.1:9", seed=1))


def test_without_the_extra_the_extra_is_named(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"needs dask\.distributed") as failed:
        cluster.measure_all(planned(store, tmp_path, scheduler="local", seed=1))
    assert failed.value.hint == "in a checkout of layerscout: pip install '.[cluster]'"
