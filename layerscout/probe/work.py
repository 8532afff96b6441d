"""A plan's pieces of work: one span's partials, one layer's evidence. Each is the same in a thread, a shard or a cluster."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from layerscout.probe.evidence.evidence import LayerEvidence, measure
from layerscout.probe.evidence.kept import load_evidence_of, save_evidence
from layerscout.probe.keys import EVIDENCE_FOLDER, evidence_key
from layerscout.probe.moments import partials
from layerscout.probe.moments.moments import OutOfRange, ReusableSums, accumulate, empty_sums, split_views
from layerscout.probe.moments.rows import pilot_mean
from layerscout.probe.moments.spans import add_up
from layerscout.probe.plan import Job, ProbePlan
from layerscout.probe.solve.accuracy import LARGEST_ROUNDING_EFFECT, RoundingExceeded
from layerscout.probe.solve.ridge import NotPositiveDefinite
from layerscout.probe.wide.wide import measure_wide


def write_span_partials(plan: ProbePlan, job: Job, start: int, stop: int, precision: str) -> None:
    """Read one span of a layer once and write those of its two files of sums that are missing; nothing to do where both are there."""
    chosen, reader = plan.work.transitions_of_span(start, stop), job.store.layer(job.spec.name)
    paths = plan.work.partials_folder(job).paths(reader, chosen, precision)
    if paths is None or all(path.is_file() for path in paths):
        return
    sizes = chosen.inputs.shape[1], chosen.scalars.shape[1]
    latents, columns = split_views(empty_sums(plan.split.groups, job.spec.width, *sizes), job.spec.width)
    wanted = None if paths[0].is_file() else latents, None if paths[1].is_file() else columns
    borders = add_up(reader, chosen, pilot_mean(reader, precision), *wanted)
    for path, sums in zip(paths, wanted, strict=True):
        if sums is not None:
            partials.write_partial(path, sums, borders)


def measure_layer(
    plan: ProbePlan,
    job: Job,
    precision: str,
    float32_effect: float | None = None,
    advance: Callable[[], None] = lambda: None,
    space: ReusableSums | None = None,
) -> float | None:
    """Measure a layer and keep its evidence, from partials where they are, else from its rows.

    Parameters
    ----------
    float32_effect
        By how much float32 products would have moved an R², when that is why the precision is float64.
    advance
        Called after each span.
    space
        For the moments; one that is used for layer after layer saves time.

    Returns
    -------
    None; or, when float32 products would move an R² by more than ``LARGEST_ROUNDING_EFFECT``, by how much (infinity when they gave no fit at
    all), and no evidence was kept.
    """
    reader, folder, key = job.store.layer(job.spec.name), plan.config.out / EVIDENCE_FOLDER, evidence_key(plan.config, job, plan.store)
    if plan.work.is_wide(job):
        found = measure_wide(job.spec.name, job.role, job.spec.depth, reader, plan.transitions, plan.split, plan.config)
        save_evidence(folder, key, found)
        advance()
        return None
    plan.config.out.mkdir(parents=True, exist_ok=True)  # sums that wait lie on a disk that is meant to be written to
    config = plan.config.model_copy(update={"precision": precision})
    allowed = LARGEST_ROUNDING_EFFECT if precision == "float32" else np.inf
    try:
        moments = accumulate(
            job.spec.name,
            reader,
            plan.transitions,
            plan.split,
            precision,
            plan.config.max_nonfinite,
            folder=plan.work.partials_folder(job),
            choose=plan.work.transitions_of_span,
            scratch=plan.config.out,
            advance=advance,
            space=space,
        )
        evidence = measure(job.spec.name, job.role, job.spec.depth, moments, plan.transitions, plan.split, config, allowed, reader)
    except RoundingExceeded as exceeded:
        return exceeded.amount
    except (NotPositiveDefinite, OutOfRange):
        if precision != "float32":
            raise
        return np.inf
    evidence = evidence.model_copy(update={"precision": precision, "float32_error": None if float32_effect == np.inf else float32_effect})
    save_evidence(folder, key, evidence)
    return None


def load_evidence(plan: ProbePlan, job: Job) -> LayerEvidence:
    """Read the evidence that ``measure_layer`` kept."""
    return load_evidence_of(plan.config.out / EVIDENCE_FOLDER, evidence_key(plan.config, job, plan.store))
