"""A plan in; every layer measured, the ranking, the selection, their tables and the figure out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from layerscout import progress
from layerscout.cache import records
from layerscout.cache.records import COST_NAME, Cost, Ranking
from layerscout.cache.records.making import save_command
from layerscout.memory import hold_freed
from layerscout.probe.costs import require_room
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.keys import EVIDENCE_FOLDER, RANKING_NAME
from layerscout.probe.moments.moments import ReusableSums
from layerscout.probe.outputs import rank, write_outputs
from layerscout.probe.plan import ProbePlan, plan
from layerscout.probe.questions.sources import Job
from layerscout.probe.work import load_evidence, measure_layer, write_span_partials
from layerscout.processor import slow_kernels

LARGE = 2**27  # bytes of a layer's sums from which on it pays to keep freed memory

__all__ = ["ProbePlan", "plan", "run", "run_shard"]


def run(plan: ProbePlan, reporter: progress.Reporter = progress.SILENT) -> Ranking:
    """Measure what is missing, rank, and write every output; the same plan again does no work.

    Each layer's evidence is kept as soon as it is measured, so a probe that was stopped continues with the next layer, and
    another weighting of the score reads no activations.

    Raises
    ------
    BudgetError
        Not even one layer fits in memory.
    DataError
        An activation is NaN or infinite, or a chunk of the store is damaged.
    """
    if plan.existing is not None:
        reporter.say(f"{plan.config.out / RANKING_NAME} is already there for these settings")
        return plan.existing
    require_room(plan.cost)
    _warn(reporter)
    began = (time.monotonic(), time.process_time())
    if plan.pending:
        (plan.config.out / COST_NAME).unlink(missing_ok=True)  # it was of other evidence
        save_command("probe", plan.config, plan.config.out / EVIDENCE_FOLDER)  # until the ranking is there, which has its own
    if not plan.pending:
        measured: dict[Job, LayerEvidence] = {}
    elif plan.config.scheduler is not None:
        from layerscout.probe.cluster import measure_all

        measured = measure_all(plan, reporter)
    else:
        measured = _measure_all(plan, reporter)
    evidence = [measured[job] if found is None else found for job, found in zip(plan.jobs, plan.done, strict=True)]
    ranking, selection = rank(plan, evidence)
    write_outputs(plan, evidence, ranking, selection)
    reporter.say(f"best layer: {ranking.candidates[0].name} ({plan.config.out / RANKING_NAME})")
    if len(measured) == len(plan.jobs) and plan.config.scheduler is None:  # a part of the work, or that of other processes, is no cost
        wall, cpu = time.monotonic() - began[0], time.process_time() - began[1]
        records.save(Cost(wall_seconds=round(wall, 3), cpu_seconds=round(cpu, 3)), plan.config.out / COST_NAME)
    return ranking


def run_shard(plan: ProbePlan, reporter: progress.Reporter = progress.SILENT) -> dict[str, Any]:
    """Compute this shard's partials of what a plan must read, and nothing else; shards need not know of each other.

    The pieces are dealt by their place in the whole, so that it does not matter which ones are there already. Layers that leave
    no partials, because they are wider than they have rows or than products can be, are left to the last command.

    Raises
    ------
    BudgetError
        Memory or disk does not suffice.
    DataError
        A chunk of the store is damaged.
    """
    number, count = plan.config.shard_of
    every = [(job, *span) for job in plan.jobs if not plan.work.is_wide(job) for span in plan.work.spans(job)]
    wanted = set(plan.work.to_read)
    own = [piece for piece in every[number::count] if piece in wanted]
    if own:
        require_room(plan.cost)
        _warn(reporter)
    with reporter.task("probe", len(own), "spans") as task:
        lock = threading.Lock()

        def one(piece: tuple[Job, int, int]) -> None:
            write_span_partials(plan, *piece, plan.config.precision)
            with lock:
                task.advance(1, layer=piece[0].spec.name)

        _in_threads(one, own, max(plan.cost.at_once(len(own)), 1))
    facts = {
        "shard": plan.config.shard,
        "partials": len(own),
        "of": len(every),
        "folder": str(plan.work.partials_folder(plan.jobs[0]).folder),
    }
    return facts | {"next": "when every shard is done, run the same command without --shard"}


def _warn(reporter: progress.Reporter) -> None:
    from threadpoolctl import threadpool_info

    if warning := slow_kernels(threadpool_info()):
        reporter.say(f"warning: {warning}")


def _measure_all(plan: ProbePlan, reporter: progress.Reporter) -> dict[Job, LayerEvidence]:
    if plan.cost.layer_memory > LARGE:
        hold_freed()
    with reporter.task("probe", sum(len(plan.work.spans(job)) + 1 for job in plan.pending), "spans and fits") as task:
        lock, own = threading.Lock(), threading.local()

        def advance(**facts: Any) -> None:
            with lock:
                task.advance(1, **facts)

        def one(job: Job) -> None:
            own.space = getattr(own, "space", None) or ReusableSums()
            if (float32_effect := measure_layer(plan, job, plan.config.precision, advance=advance, space=own.space)) is not None:
                measure_layer(plan, job, "float64", float32_effect, space=own.space)
            advance(layer=job.spec.name)

        _in_threads(one, plan.pending, plan.cost.workers)
    return {job: load_evidence(plan, job) for job in plan.pending}


def _in_threads(work: Callable[[Any], None], pieces: Sequence[Any], workers: int) -> None:
    import dask
    import dask.threaded
    from threadpoolctl import threadpool_limits

    # threads share one BLAS: left alone, each product would spread over all cores and the threads would fight for them
    with threadpool_limits(limits=1, user_api="blas"):
        # were the scheduler told by its name, dask would first import distributed
        dask.compute(*(dask.delayed(work)(piece) for piece in pieces), scheduler=dask.threaded.get, num_workers=workers)
