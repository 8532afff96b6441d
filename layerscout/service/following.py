"""A job in; how far it is, as plain data, out."""

from __future__ import annotations

from typing import Any

from layerscout.service.jobs.progress import progress_of
from layerscout.service.jobs.records import job_folder
from layerscout.service.state import ServiceState
from layerscout.service.words import STATES, duration


def standing(state: ServiceState, job_id: str) -> dict[str, Any]:
    """Return how far a job is, as plain data."""
    queue = state.taking_jobs()
    found = queue.find(job_id)
    progress = progress_of(job_folder(queue.service, job_id))
    facts: dict[str, Any] = {
        "id": found.id,
        "state": found.state,
        "words": STATES[found.state],
        "waiting_before": queue.waiting_before(found),
    }
    facts |= vars(progress) if found.state == "running" else {**vars(progress), "seconds_left": None}
    if found.state == "running" and found.cancelling:
        facts["words"] = "stopping"
    answer = f"/rankings/{found.id}" if found.kind == "probe" else f"/stores/{found.store}"
    facts["said"] = state.tidy(facts["said"])
    error = found.error and {**found.error, "message": state.tidy(found.error["message"])}
    return facts | {"answer": answer if found.state == "done" else None, "error": error, "left": duration(facts["seconds_left"])}
