"""What routes of the API share: the answers that any may give, and records of the service as the API's models."""

from __future__ import annotations

from typing import Any

from layerscout.service.data.catalogue import Shelved
from layerscout.service.data.results import FoundResult
from layerscout.service.data.verified import kept_verification
from layerscout.service.jobs.progress import progress_of
from layerscout.service.jobs.question import NAMES
from layerscout.service.jobs.records import ServiceJob, job_folder
from layerscout.service.problems import MEDIA_TYPE, TITLES
from layerscout.service.schemas import JobError, JobView, ProblemDetails, ProgressView, RankingBrief, StoreBrief
from layerscout.service.state import ServiceState

ANY_STORE = NAMES
ANY_RESULT = r"^[0-9a-f]{32}$"
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": title, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}}
    for status, title in TITLES.items()
}


def brief_store(state: ServiceState, one: Shelved) -> StoreBrief:
    """Return a store as lists show it."""
    entry, verified = one.entry, kept_verification(state.service, one.id)
    return StoreBrief(
        id=one.id,
        names=list(entry.names),
        backbone=entry.backbone,
        dataset=entry.dataset,
        rows=entry.rows,
        layers=list(one.layers),
        bytes=entry.bytes,
        created=entry.created,
        by=one.by,
        pinned=entry.pinned,
        verified=verified.when if verified else None,
        damage=entry.damage and state.tidy(entry.damage),
        here=one.root.folder is not None,
    )


def brief_ranking(found: FoundResult) -> RankingBrief:
    """Return a ranking as lists show it."""
    fields = {name: getattr(found, name) for name in RankingBrief.model_fields}
    return RankingBrief(**fields | {"stores": list(found.stores), "weights": list(found.weights)})


def answered_elsewhere(found: FoundResult) -> ServiceJob:
    """Return the job that a ranking of the command line would have been."""
    about = {"backbone": found.backbone, "stores": list(found.stores), "layers": found.layers, "rows": found.rows}
    return ServiceJob(found.id, "probe", {}, about, found.stores[0] if found.stores else "", "the command line", found.when, "done", 0)


def job_view(state: ServiceState, job: ServiceJob) -> JobView:
    """Return a job with how far it is."""
    queue = state.taking_jobs()
    progress = progress_of(job_folder(queue.service, job.id))
    facts = vars(progress) | {"waiting_before": queue.waiting_before(job), "said": state.tidy(progress.said)}
    if job.state != "running":
        facts["seconds_left"] = None
    fields = {name: getattr(job, name) for name in JobView.model_fields if hasattr(job, name)}
    fields |= {"progress": ProgressView(**facts), "answer": job.id if job.kind == "probe" and job.state == "done" else None}
    error = job.error and {**job.error, "message": state.tidy(job.error["message"])}
    return JobView(**fields | {"error": JobError(**error) if error else None})


__all__ = ["ANY_RESULT", "ANY_STORE", "RESPONSES", "ProblemDetails", "brief_ranking", "brief_store", "job_view"]
