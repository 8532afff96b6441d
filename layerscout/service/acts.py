"""What readers may change, from a page or over HTTP, in; the change, against their allowance, out."""

from __future__ import annotations

from layerscout.service.data.notes import Note
from layerscout.service.jobs.records import ServiceJob
from layerscout.service.problems import HttpProblem
from layerscout.service.state import ServiceState


def keep_note(state: ServiceState, ranking_id: str, who: str, text: str) -> Note:
    """Add a note to a ranking that is here, against ``who``'s allowance."""
    state.results.find(ranking_id)
    state.allowance.spend(who)
    return state.notes.add(ranking_id, who, text)


def submit_verification(state: ServiceState, store_id: str, who: str) -> ServiceJob:
    """Put a job that reads every file of the store into the queue; it counts against ``who``'s allowance."""
    queue = state.taking_jobs()
    request = state.verification(state.catalogue.find(store_id), who)
    state.allowance.spend(who)
    made, _ = queue.submit(request)
    if state.runner:
        state.runner.wake()
    return made


def change_job(state: ServiceState, job_id: str, act: str, who: str) -> ServiceJob:
    """Cancel or retry a job."""
    queue = state.taking_jobs()
    if act not in ("cancel", "retry"):
        raise HttpProblem(404, f"a job cannot be told to '{act[:40]}'", "cancel or retry")
    if act == "retry":
        state.allowance.spend(who)
    found = queue.cancel(job_id) if act == "cancel" else queue.retry(job_id)
    if state.runner:
        state.runner.wake()
    return found
