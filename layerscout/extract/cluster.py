"""A plan and a dask scheduler in, the files of every missing unit out: the same bytes as on one machine, whatever dies on the way.

A task is a unit's number. A worker loads the model for its first unit, keeps it, and writes into an attempt of its own; the
folder of all stores and the dataset must be on a disk that the client and all workers share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from layerscout.cache.dataset.trajectories import BoundDataset, Trajectories
from layerscout.cache.identity import identity_digest
from layerscout.cache.writing.writer import StoreWriter
from layerscout.cluster import connected, each_done, local_processes
from layerscout.errors import DataError, UsageError
from layerscout.extract import plan as planning
from layerscout.extract.config import ExtractConfig
from layerscout.extract.device import cores
from layerscout.extract.passes.fill import fill_units, open_writer
from layerscout.extract.passes.work import Extractor
from layerscout.extract.plan import ExtractPlan
from layerscout.progress import Task

LOCAL = "local:"
ModelKey = tuple[str, BoundDataset, bool, str, bool]  # settings, dataset, whether latents are wanted, identity's digest, on this machine
_IN_MEMORY: dict[ModelKey, tuple[Extractor, StoreWriter]] = {}  # what a worker process has loaded: one model at a time
_LOADING = Lock()


def fill_on_cluster(planned: ExtractPlan, pending: Sequence[int], task: Task) -> dict[str, Any]:
    """Have workers compute the pending units; return what the manifest tells of them.

    Raises
    ------
    MissingExtraError
        dask.distributed is not installed.
    UsageError
        The scheduler does not answer, or there are fewer GPUs than processes.
    DataError
        A worker sees other weights or other settings of the model than the client, or a unit cannot be computed.
    """
    config = planned.config
    scheduler = str(config.scheduler)
    here = torch.cuda.device_count() if config.device == "cuda" else cores(config.threads)  # of local alone
    workers = local_processes(scheduler, max(1, here))
    if workers and config.device == "cuda" and workers > torch.cuda.device_count():
        message = f"{scheduler} asks for {workers} processes, one a GPU, and torch sees {torch.cuda.device_count()}"
        raise UsageError(message, hint=f"--scheduler {LOCAL}{torch.cuda.device_count()}")
    threads = config.threads or (max(1, cores() // workers) if workers else None)
    shared = {"root": planned.root.absolute(), "data": Path(config.data).absolute(), "threads": threads}
    settings = config.model_copy(update=shared).model_dump_json()
    identity = identity_digest(planned.identity)
    described: ModelKey = settings, planned.data, planned.of_latents, identity, bool(workers)
    layout = planned.layout
    with connected(None if workers else scheduler, workers, "extract.scheduler") as client:
        for unit, _ in each_done(client, _compute, (described,), deque(pending)):
            start, stop = layout.span(unit)
            task.advance(stop - start)
        seen = len(client.nthreads())
        client.run(_release)
    return {"batch": config.batch, "threads": threads, "workers": seen}


def _compute(described: ModelKey, unit: int) -> None:
    """One unit, in a worker."""
    with _LOADING:  # a worker may have several threads
        if described not in _IN_MEMORY:
            _release()
            _IN_MEMORY[described] = _load(*described)
        extractor, writer = _IN_MEMORY[described]
    fill_units(extractor, writer, [unit])


def _load(settings: str, data: BoundDataset, of_latents: bool, identity: str, local: bool) -> tuple[Extractor, StoreWriter]:
    """Make the client's plan again, load the model and begin an attempt.

    The dataset is bound to what the client planned: where its file is seen in the same state, its digest is believed, because
    finding it means reading the whole dataset; else it is found and compared. The weights are hashed here.
    """
    config = ExtractConfig.model_validate_json(settings)
    if local and config.device == "cuda":
        from distributed import get_worker

        config = config.model_copy(update={"device": f"cuda:{get_worker().name}"})  # they are called 0, 1, 2, ...
    whole = planning.plan(config, data)
    planned = whole.latents if of_latents else whole
    if planned is None or identity_digest(planned.identity) != identity:
        raise DataError(
            f"a worker finds another model at {config.backbone} than the command did",
            hint="all machines must see the same checkpoint and run the same versions",
        )
    latents = whole.latents.existing if whole.latents is not None and not of_latents else None
    return Extractor(planned, Trajectories(config.data, data), latents), open_writer(planned, resume=False)


def _release() -> None:
    """Let go of model and attempt, in a worker: what was finished stays for whoever opens the store next."""
    for extractor, writer in _IN_MEMORY.values():
        extractor.close()
        writer.release()
    _IN_MEMORY.clear()
