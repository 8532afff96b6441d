"""A plan in, a committed store of every layer's activations out: only what is missing is done, unit by unit."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import torch

import layerscout
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.naming import name_store
from layerscout.cache.store import Store
from layerscout.errors import DataError
from layerscout.extract.passes.fill import fill_units, open_writer
from layerscout.extract.passes.work import Extractor
from layerscout.extract.passports.stored_passports import BATCH, keep_passports
from layerscout.extract.plan import PIXELS, ExtractPlan, plan, with_weights_here
from layerscout.progress import SILENT, Reporter
from layerscout.settings import command_of

__all__ = ["PIXELS", "ExtractPlan", "plan", "run"]


def run(planned: ExtractPlan, reporter: Reporter = SILENT) -> Store:
    """Do what the plan lacks and commit; the same command continues after a kill, unit by unit, bit-equal.

    Weights that are still on the hub are downloaded first; that too continues where it was cut off.
    """
    planned = with_weights_here(planned, reporter)
    if planned.existing:
        reporter.say(f"already there: {planned.existing.id}")
        store = planned.existing
    else:
        latents = None if planned.latents is None else planned.latents.existing or extract(planned.latents, None, reporter)
        store = extract(planned, latents, reporter)
    if planned.config.name:
        name_store(planned.root, planned.config.name, store)
    return store


def extract(planned: ExtractPlan, latents: Store | None, reporter: Reporter = SILENT) -> Store:
    """Fill and commit one store, here or on a cluster.

    Parameters
    ----------
    latents
        Store of the latents to start from, if they are kept.
    """
    writer = open_writer(planned)
    writer.told(command_of("extract", planned.config))
    pending = writer.pending()
    began, began_cpu = time.monotonic(), time.process_time()
    spans = [writer.span(unit) for unit in pending]
    rows = sum(stop - start for start, stop in spans)
    what = f"{'encode with' if planned.of_latents else 'extract'} {planned.backbone.name}"
    loaded, batch = None, BATCH
    with reporter.task(what, planned.rows, "rows") as task:
        task.resume(planned.rows - rows)
        if not pending:
            measured: dict[str, Any] = {}
        elif planned.config.scheduler:
            from layerscout.extract.cluster import fill_on_cluster

            writer.release()
            measured = fill_on_cluster(planned, pending, task)
            writer = open_writer(planned)  # takes over what the workers finished
        else:
            with Trajectories(planned.config.data, planned.data) as data, closing(Extractor(planned, data, latents)) as extractor:
                fill_units(extractor, writer, pending, task.advance)
                figures = extractor.meter.figures(rows, extractor.workers)
                measured = {"batch": extractor.batch, "threads": extractor.workers, "measured": figures}
                loaded, batch = extractor.loaded, extractor.batch
    if planned.config.passport_clips and not planned.of_latents:
        measured["passports"] = keep_passports(writer, planned, loaded, batch)
    seconds = time.monotonic() - began
    try:
        facts = provenance(planned)
    except DataError:  # the dataset is another one now; what workers elsewhere computed last may be of it
        writer.discard()
        raise
    return writer.commit(
        facts
        | measured
        | {
            "seconds": round(seconds, 3),
            "cpu_seconds": round(time.process_time() - began_cpu, 3),
            "rows_per_second": round(rows / max(seconds, 1e-9), 1),
        }
    )


def provenance(planned: ExtractPlan) -> dict[str, Any]:
    """Return what a store's manifest tells of how it was made, beside its identity and its times.

    Raises
    ------
    DataError
        The dataset is not the one that was planned any more.
    """
    config, backbone = planned.config, planned.backbone
    with Trajectories(config.data, planned.data) as data:
        attributes = dict(data.attributes)
    facts = {
        "layerscout": layerscout.__version__,
        "torch": torch.__version__,
        "backbone": config.backbone,
        "backbone_options": config.backbone_options,
        "data": str(config.data.absolute()),
        "command": command_of("extract", config),
        "dataset_attributes": attributes,
        "device": config.device,
    }
    if backbone.weights is not None and (commit := backbone.weights.commit):
        facts["backbone_commit"] = commit
    # for every time slot of the tokens the newest environment step in it, relative to the row's
    return facts if backbone.seen is None else facts | {"slots_see_steps": list(backbone.seen)}
