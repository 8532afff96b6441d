"""A plan in; every layer measured, the ranking, the selection, their tables and the figure out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from layerscout import progress
from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.cache.records import COST_NAME, Cost, RankedStore, Ranking, Selection
from layerscout.cache.records.sealing import seal
from layerscout.memory import hold_freed
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.moments.moments import ReusableSums
from layerscout.probe.page.figure import write_ranking_figures
from layerscout.probe.page.page import write_page
from layerscout.probe.page.tables import FIGURE_NAMES, write_ranking_tables
from layerscout.probe.plan import KEY_NAME, RANKING_NAME, SELECTION_NAME, ProbePlan, plan, ranking_key, require_room
from layerscout.probe.questions.sources import Job, backbone_name, dataset_digest, store_labels
from layerscout.probe.questions.targets import REWARD
from layerscout.probe.ranking.choose import choose
from layerscout.probe.ranking.compare import rank_layers
from layerscout.probe.ranking.score import VERSIONS, kind_of
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
    require_room(plan)
    _warn(reporter)
    began = (time.monotonic(), time.process_time())
    if plan.pending:
        (plan.config.out / COST_NAME).unlink(missing_ok=True)  # it was of other evidence
    if not plan.pending:
        measured: dict[Job, LayerEvidence] = {}
    elif plan.config.scheduler is not None:
        from layerscout.probe.cluster import measure_all

        measured = measure_all(plan, reporter)
    else:
        measured = _measure_all(plan, reporter)
    evidence = [measured[job] if found is None else found for job, found in zip(plan.jobs, plan.done, strict=True)]
    ranking = _conclude(plan, evidence, reporter)
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
    every = [(job, *span) for job in plan.jobs if not plan.wide(job) for span in plan.spans(job)]
    wanted = set(plan.to_read)
    own = [piece for piece in every[number::count] if piece in wanted]
    if own:
        require_room(plan)
        _warn(reporter)
    with reporter.task("probe", len(own), "spans") as task:
        lock = threading.Lock()

        def one(piece: tuple[Job, int, int]) -> None:
            write_span_partials(plan, *piece, plan.config.precision)
            with lock:
                task.advance(1, layer=piece[0].spec.name)

        _in_threads(one, own, max(plan.at_once(len(own)), 1))
    facts = {"shard": plan.config.shard, "partials": len(own), "of": len(every), "folder": str(plan.partials_folder(plan.jobs[0]).folder)}
    return facts | {"next": "when every shard is done, run the same command without --shard"}


def _warn(reporter: progress.Reporter) -> None:
    from threadpoolctl import threadpool_info

    if warning := slow_kernels(threadpool_info()):
        reporter.say(f"warning: {warning}")


def _measure_all(plan: ProbePlan, reporter: progress.Reporter) -> dict[Job, LayerEvidence]:
    if plan.layer_memory > LARGE:
        hold_freed()
    with reporter.task("probe", sum(len(plan.spans(job)) + 1 for job in plan.pending), "spans and fits") as task:
        lock, own = threading.Lock(), threading.local()

        def advance(**facts: Any) -> None:
            with lock:
                task.advance(1, **facts)

        def one(job: Job) -> None:
            own.space = getattr(own, "space", None) or ReusableSums()
            if (float32_effect := measure_layer(plan, job, plan.config.precision, advance=advance, space=own.space)) is not None:
                measure_layer(plan, job, "float64", float32_effect, space=own.space)
            advance(layer=job.spec.name)

        _in_threads(one, plan.pending, plan.workers)
    return {job: load_evidence(plan, job) for job in plan.pending}


def _in_threads(work: Callable[[Any], None], pieces: Sequence[Any], workers: int) -> None:
    import dask
    from threadpoolctl import threadpool_limits

    # threads share one BLAS: left alone, each product would spread over all cores and the threads would fight for them
    with threadpool_limits(limits=1, user_api="blas"):
        dask.compute(*(dask.delayed(work)(piece) for piece in pieces), scheduler="threads", num_workers=workers)


def _conclude(plan: ProbePlan, evidence: Sequence[LayerEvidence], reporter: progress.Reporter) -> Ranking:
    config, store, out = plan.config, plan.store, plan.config.out
    held = plan.split.confirmation_episodes
    episodes = len(plan.transitions.lengths) - held
    kind = kind_of(config.score, len(plan.stores))
    layers = rank_layers(evidence, config, episodes, [(job.store.id, job.label) for job in plan.jobs])
    choices, choice_notes = choose(layers, config.top_k, store.id, plan.twin.id if plan.twin else None, kind)
    digest, name = dataset_digest(store), backbone_name(store)
    ranking = Ranking(
        store_id=store.id,
        twin_store_id=plan.twin.id if plan.twin else None,
        dataset_digest=digest,
        backbone=name,
        stores=tuple(
            RankedStore(store_id=each.id, backbone=backbone_name(each), label=word)
            for each, word in zip(plan.stores, store_labels(config, plan.stores), strict=True)
        ),
        score_version=VERSIONS[kind],
        score_kind=VERSIONS[kind],
        top_k=config.top_k,
        weights=config.weights,
        normalisation=config.normalisation,
        rows=evidence[0].rows,
        episodes=episodes,
        confirmation_episodes=held,
        folds=plan.split.folds,
        notes=(*plan.transitions.notes, *plan.split.notes, *_silence(plan), *_exceptions(plan, evidence), *choice_notes),
        layers=layers,
    )
    selection = Selection(
        ranking=RANKING_NAME,
        store_id=store.id,
        dataset_digest=digest,
        backbone=name,
        score_kind=ranking.score_kind,
        weights=config.weights,
        normalisation=config.normalisation,
        choices=choices,
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / KEY_NAME).unlink(missing_ok=True)  # until the last file is there, nothing answers for these settings
    # numbers before anything is drawn of them
    records.save(ranking, out / RANKING_NAME)
    records.save(selection, out / SELECTION_NAME)
    write_ranking_tables(ranking, selection, out)
    by_layer: dict[tuple[str, str, str], LayerEvidence] = {
        (job.store.id, job.role, job.spec.name): item for job, item in zip(plan.jobs, evidence, strict=True)
    }
    write_page(ranking, by_layer, selection, config, {job.store.id: job.store.identity for job in plan.jobs}, out)
    write_ranking_figures(ranking, [out / name for name in FIGURE_NAMES])
    answers = {"key": ranking_key(config, plan.stores, plan.twin), "settings": config.model_dump(mode="json")}
    write_atomic(out / KEY_NAME, seal(json.dumps(answers, indent=1).encode() + b"\n"))
    reporter.say(f"best layer: {ranking.candidates[0].name} ({out / RANKING_NAME})")
    return ranking


def _silence(plan: ProbePlan) -> tuple[str, ...]:
    if REWARD in plan.transitions.target_names:
        return ()
    return (f"without reward R², {plan.config.weights[0]:.0%} of S says nothing: that part counts as 0 for every layer",)


def _exceptions(plan: ProbePlan, evidence: Sequence[LayerEvidence]) -> tuple[str, ...]:
    """Name the layers that were not measured like the others."""
    notes = []
    if again := [(job, item.float32_error) for job, item in zip(plan.jobs, evidence, strict=True) if item.float32_error is not None]:
        worst = max(error for _, error in again if error is not None)
        named = ", ".join(_name(job) for job, _ in again)
        notes.append(f"float32 products would have moved R² by up to {worst:.0e}: measured with float64 products: {named}")
    without_fit = [
        _name(job)
        for job, item in zip(plan.jobs, evidence, strict=True)
        if item.precision != plan.config.precision and item.float32_error is None and not plan.wide(job)
    ]
    if without_fit:
        why = "so dependent are the features, or so large or small their squares"
        notes.append(f"float32 products gave no fit, {why}: measured with float64 products: {', '.join(without_fit)}")
    for job, item in zip(plan.jobs, evidence, strict=True):
        if item.nonfinite_rows:
            notes.append(f"{_name(job)}: {item.nonfinite_rows} rows with a NaN or an infinity, left out with their transitions")
    return tuple(notes)


def _name(job: Job) -> str:
    return " ".join(part for part in (job.label, job.spec.name, "of the twin" if job.role == "twin" else "") if part)
