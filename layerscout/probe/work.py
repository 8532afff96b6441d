"""A plan's pieces of work: one span's partials, one layer's evidence. Each is the same in a thread, a shard or a cluster."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from layerscout.cache import records
from layerscout.probe.evidence.evidence import Evidence, measure
from layerscout.probe.moments import partials
from layerscout.probe.moments.moments import Space, accumulate, empty, views
from layerscout.probe.moments.rows import pilot_mean
from layerscout.probe.moments.spans import add_up
from layerscout.probe.plan import Job, Plan, evidence_path
from layerscout.probe.solve.accuracy import LARGEST_BLUR, Blurred
from layerscout.probe.solve.ridge import Indefinite
from layerscout.probe.wide.wide import measure_wide


def fill(plan: Plan, job: Job, start: int, stop: int, precision: str) -> None:
    """Write those partials of one span of a layer that are not there."""
    chosen, reader = plan.moves(start, stop), job.store.layer(job.spec.name)
    paths = plan.shelf(job).paths(reader, chosen, precision)
    if paths is None or all(path.is_file() for path in paths):
        return
    sizes = chosen.inputs.shape[1], chosen.scalars.shape[1]
    latents, columns = views(empty(plan.split.groups, job.spec.width, *sizes), job.spec.width)
    wanted = None if paths[0].is_file() else latents, None if paths[1].is_file() else columns
    borders = add_up(reader, chosen, pilot_mean(reader, precision), *wanted)
    for path, sums in zip(paths, wanted, strict=True):
        if sums is not None:
            partials.write(path, sums, borders)


def conclude(
    plan: Plan,
    job: Job,
    precision: str,
    blurred: float | None = None,
    advance: Callable[[], None] = lambda: None,
    space: Space | None = None,
) -> float | None:
    """Measure a layer and keep its evidence, from partials where they are, else from its rows.

    Parameters
    ----------
    blurred
        By how much float32 products would have moved an R², when that is why the precision is float64.
    advance
        Called after each span.
    space
        For the moments; one that is used for layer after layer saves time.

    Returns
    -------
    None; or, when float32 products would move an R² by more than ``LARGEST_BLUR``, by how much (infinity when they gave no fit at
    all), and no evidence was kept.
    """
    reader, path = job.store.layer(job.spec.name), evidence_path(plan.config, job, plan.store)
    if plan.wide(job):
        records.save(measure_wide(job.spec.name, job.role, job.spec.depth, reader, plan.transitions, plan.split, plan.config), path)
        advance()
        return None
    moments = accumulate(
        job.spec.name,
        reader,
        plan.transitions,
        plan.split,
        precision,
        plan.config.max_nonfinite,
        shelf=plan.shelf(job),
        choose=plan.moves,
        scratch=plan.scratch(),
        advance=advance,
        space=space,
    )
    config = plan.config.model_copy(update={"precision": precision})
    allowed = LARGEST_BLUR if precision == "float32" else np.inf
    try:
        evidence = measure(job.spec.name, job.role, job.spec.depth, moments, plan.transitions, plan.split, config, allowed)
    except Blurred as found:
        return found.amount
    except Indefinite:
        if precision != "float32":
            raise
        return np.inf
    evidence = evidence.model_copy(update={"precision": precision, "float32_error": None if blurred == np.inf else blurred})
    records.save(evidence, path)
    return None


def evidence_of(plan: Plan, job: Job) -> Evidence:
    """Read the evidence that ``conclude`` kept."""
    return records.load(Evidence, evidence_path(plan.config, job, plan.store))
