"""A plan in; every layer measured, the ranking, the selection, their tables and the figure out."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

from layerscout import progress
from layerscout.cache import records
from layerscout.cache.records import Ranking, Selection
from layerscout.errors import BudgetError
from layerscout.probe.evidence import Evidence, measure
from layerscout.probe.figure import draw
from layerscout.probe.moments import accumulate
from layerscout.probe.plan import KEY_NAME, RANKING_NAME, SELECTION_NAME, Job, Plan, dataset, evidence_path, key, plan
from layerscout.probe.report import FIGURE_NAMES, write_tables
from layerscout.probe.score import SCORE_VERSION, choose, layer_score, order

__all__ = ["Plan", "plan", "run"]


def run(plan: Plan, reporter: progress.Reporter = progress.SILENT) -> Ranking:
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
    workers = plan.workers
    if workers < 1:
        message = f"probing one layer of width {max(job.spec.width for job in plan.pending)} takes {plan.layer_memory / 1e9:.1f} GB of memory, more than is free"
        raise BudgetError(message, hint=f"set probe.groups={plan.config.folds}, or name narrower layers in probe.layers")
    measured = _measure_all(plan, workers, reporter)
    evidence = [measured[job] if found is None else found for job, found in zip(plan.jobs, plan.done, strict=True)]
    return _conclude(plan, evidence, reporter)


def _measure_all(plan: Plan, workers: int, reporter: progress.Reporter) -> dict[Job, Evidence]:
    import dask
    from threadpoolctl import threadpool_limits

    if not plan.pending:
        return {}
    lock = threading.Lock()
    with reporter.task("probe", len(plan.pending), "layers") as task:

        def one(job: Job) -> Evidence:
            reader = job.store.layer(job.spec.name)
            moments = accumulate(job.spec.name, reader, plan.transitions, plan.split, plan.config.precision)
            evidence = measure(job.spec.name, job.role, job.spec.depth, moments, plan.split, plan.config)
            records.save(evidence, evidence_path(plan.config, job))
            with lock:
                task.advance(1, layer=job.spec.name)
            return evidence

        # threads share one BLAS: left alone, each product would spread over all cores and the layers would fight for them
        with threadpool_limits(limits=1, user_api="blas"):
            found = dask.compute(*(dask.delayed(one)(job) for job in plan.pending), scheduler="threads", num_workers=workers)
    return dict(zip(plan.pending, found, strict=True))


def _conclude(plan: Plan, evidence: Sequence[Evidence], reporter: progress.Reporter) -> Ranking:
    config, store, out = plan.config, plan.store, plan.config.out
    episodes = len(plan.transitions.lengths)
    layers = order([layer_score(item, config.weights, config.normalisation, episodes) for item in evidence])
    choices, choice_notes = choose(layers, config.top_k, store.id, plan.twin.id if plan.twin else None)
    digest, backbone = dataset(store), str(store.identity["backbone"].get("name", store.identity["backbone"]["weights_digest"]))
    ranking = Ranking(
        store_id=store.id,
        twin_store_id=plan.twin.id if plan.twin else None,
        dataset_digest=digest,
        backbone=backbone,
        score_version=SCORE_VERSION,
        weights=config.weights,
        normalisation=config.normalisation,
        rows=len(plan.transitions),
        episodes=episodes,
        folds=plan.split.folds,
        notes=(*plan.transitions.notes, *_silence(plan), *choice_notes),
        layers=layers,
    )
    selection = Selection(ranking=RANKING_NAME, store_id=store.id, dataset_digest=digest, backbone=backbone, choices=choices)
    out.mkdir(parents=True, exist_ok=True)
    (out / KEY_NAME).unlink(missing_ok=True)  # until the last file is there, nothing answers for these settings
    records.save(selection, out / SELECTION_NAME)
    write_tables(ranking, evidence, selection, out)
    draw(ranking, [out / name for name in FIGURE_NAMES])
    records.save(ranking, out / RANKING_NAME)
    answers = {"key": key(config, store, plan.twin), "settings": config.model_dump(mode="json")}
    records.write_atomic(out / KEY_NAME, json.dumps(answers, indent=1).encode() + b"\n")
    reporter.say(f"best layer: {ranking.candidates[0].name} ({out / RANKING_NAME})")
    return ranking


def _silence(plan: Plan) -> tuple[str, ...]:
    if plan.transitions.scalars.shape[1]:
        return ()
    return (f"without reward R², {plan.config.weights[0]:.0%} of S says nothing: that part counts as 0 for every layer",)
