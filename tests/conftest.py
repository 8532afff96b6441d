"""One thread a process; small datasets and stores that several files read, made once, because a video model takes seconds to import."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # before any library reads them: tests run side by side
    os.environ.setdefault(name, "1")

settings.register_profile("ci", derandomize=True, deadline=None)  # the same examples every time: a change decides, not luck
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_collection_finish() -> None:
    """What is imported by now stays to the end: the collector of cycles need not walk through torch again and again."""
    gc.collect()
    gc.freeze()


INTERCEPT, GRID = "layerscout/Intercept-v0", "layerscout/Grid-v0"


@pytest.fixture(scope="session")
def _no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@dataclass(frozen=True)
class Small:
    """Two datasets with their stores: Intercept through ``tiny`` and its twin, Grid's planes through ``synthetic``."""

    root: Path
    intercept: Path
    planes: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory, _no_waiting_for_the_disk) -> Small:
    from layerscout.worlds.collect import plan, run
    from layerscout.worlds.config import CollectConfig

    folder = tmp_path_factory.mktemp("small")
    intercept = CollectConfig(environment=INTERCEPT, steps=290, policy="epsilon:0.5:3", out=folder / "intercept.h5")
    planes = CollectConfig(environment=GRID, steps=400, policy="epsilon:0.6", options={"observation": "planes"}, out=folder / "planes.h5")
    return Small(folder / "root", run(plan(intercept)), run(plan(planes)))


@pytest.fixture(scope="session")
def tiny_store(small):
    return _extract("tiny", small.intercept, small.root)


@pytest.fixture(scope="session")
def untrained_store(small):
    return _extract("tiny-untrained", small.intercept, small.root)


@pytest.fixture(scope="session")
def synthetic_store(small):
    return _extract("synthetic", small.planes, small.root)


def _extract(backbone: str, data: Path, root: Path):
    from layerscout.extract.config import ExtractConfig
    from layerscout.extract.run import plan, run

    return run(plan(ExtractConfig(backbone=backbone, data=data, root=root, rows_per_chunk=128)))


@pytest.fixture
def kept_code(tmp_path_factory, monkeypatch):
    """Machine code of ``torch.compile`` is kept for this run of the tests alone: torch would take code made for other instructions, and give garbage."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers; the C++ headers take seconds to compile
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(shared / "inductor"))


@pytest.fixture(scope="session")
def quick_workers() -> None:
    """From here on, dask's worker processes fork from one that has imported what they need, instead of importing torch each."""
    import dask
    from distributed.utils import get_mp_context

    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    get_mp_context().set_forkserver_preload(["distributed", "layerscout.extract.cluster", "layerscout.extract.run", "layerscout.probe.run"])
