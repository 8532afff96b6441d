"""A plan and a dask scheduler in, every layer's evidence out: the same bits as on one machine, whatever dies on the way.

Tasks carry paths and names only. What a task computes it leaves as a file, in the folder of partials or of evidence, so these
must be on a disk that the client and all workers share. A task that is done twice writes the same file twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from layerscout import progress
from layerscout.cache.root import default_root
from layerscout.cluster import CONNECT_SECONDS, connected, each_done, local_processes
from layerscout.errors import BudgetError
from layerscout.probe import plan as planning
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.plan import Job, ProbePlan
from layerscout.probe.solve.accuracy import RoundingExceeded
from layerscout.probe.work import load_evidence, measure_layer, write_span_partials

ProbeTask = tuple[str, int, tuple[Any, ...]]  # what to do, for which job of the plan, with what


def measure_all(plan: ProbePlan, reporter: progress.Reporter = progress.SILENT) -> dict[Job, LayerEvidence]:
    """Have a cluster measure the layers of a plan that are pending.

    Raises
    ------
    MissingExtraError
        dask.distributed is not installed.
    UsageError
        The scheduler does not answer.
    BudgetError
        A worker has less memory than one layer takes.
    LayerscoutError
        A task failed on something that the user can mend.
    """
    shared = {"root": Path(plan.config.root or default_root()).absolute(), "out": plan.config.out.absolute()}
    settings = plan.config.model_copy(update=shared).model_dump_json()
    numbers = {job: number for number, job in enumerate(plan.jobs)}
    reading: dict[int, int] = {}
    waiting: deque[ProbeTask] = deque()

    def read(number: int, precision: str, float32_effect: float | None) -> int:
        """Line up the spans of a layer that must be read, and the fit when there is none."""
        absent = [] if plan.work.is_wide(plan.jobs[number]) else plan.work.absent(plan.jobs[number], precision)
        reading[number] = len(absent)
        waiting.extend(("partials", number, (start, stop, precision, float32_effect)) for start, stop in absent)
        if not absent:
            waiting.append(("measure", number, (precision, float32_effect)))
        return len(absent) + 1

    total = sum(read(numbers[job], plan.config.precision, None) for job in plan.pending)
    with _client(plan) as client, reporter.task("probe", total, "spans and fits") as task:
        for (what, number, words), found in each_done(client, _do, (settings,), waiting, (RoundingExceeded,)):
            if what == "partials":
                reading[number] -= 1
                if not reading[number]:
                    waiting.appendleft(("measure", number, words[2:]))
            elif isinstance(found, RoundingExceeded):  # float32 does not suffice
                read(number, "float64", found.amount)
            task.advance(1, layer=plan.jobs[number].spec.name)
    return {job: load_evidence(plan, job) for job in plan.pending}


def _do(settings: str, task: ProbeTask) -> None:
    """One task, in a worker."""
    from threadpoolctl import threadpool_limits

    what, number, words = task
    plan = _planned(settings)
    with threadpool_limits(limits=1, user_api="blas"):
        if what == "partials":
            write_span_partials(plan, plan.jobs[number], *words[:3])
        elif (found := measure_layer(plan, plan.jobs[number], *words)) is not None:
            raise RoundingExceeded(found)


@lru_cache(maxsize=2)
def _planned(settings: str) -> ProbePlan:
    """The client's plan, made again from the same stores: a worker reads the index columns once."""
    return planning.plan(ProbeConfig.model_validate_json(settings))


@contextmanager
def _client(plan: ProbePlan) -> Iterator[Any]:
    # one thread a worker, so that a worker's memory is one layer's; the plan has counted how many fit
    most = plan.cost.at_once(len(plan.work.to_read))
    workers = min(local_processes(str(plan.config.scheduler), most), most)
    local = workers > 0
    with connected(None if local else plan.config.scheduler, workers, "probe.scheduler", CONNECT_SECONDS) as client:
        if not local:
            _require_memory(plan, client)
        yield client


def _require_memory(plan: ProbePlan, client: Any) -> None:
    for address, share in _limits(client).items():
        if share < plan.cost.layer_memory:
            message = f"worker {address} has {share / 1e9:.1f} GB a thread, and one layer takes {plan.cost.layer_memory / 1e9:.1f} GB"
            raise BudgetError(message, hint="start the workers with more memory, or with --nthreads 1")


def _limits(client: Any) -> dict[str, float]:
    """Bytes of memory a thread of every worker that has a limit."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: worker["memory_limit"] / worker["nthreads"] for address, worker in workers.items() if worker["memory_limit"]}
