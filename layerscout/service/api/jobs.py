"""Questions and jobs over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import PlainTextResponse

from layerscout.service.acts import change_job
from layerscout.service.api.common import ANY_RESULT, RESPONSES, answered_elsewhere, job_view
from layerscout.service.jobs.progress import read_log
from layerscout.service.jobs.question import ProbeQuestion
from layerscout.service.jobs.records import job_folder
from layerscout.service.requests import apart, service_of, stream
from layerscout.service.schemas import JobList, JobView, PlanCost
from layerscout.service.state import ServiceState

ROUTES = APIRouter(prefix="/api/v1", tags=["jobs"], responses=RESPONSES)
JobId = Annotated[str, Path(description="A job's id.", pattern=ANY_RESULT, examples=["6888dfad7491402bdc0454a36a6cb67b"])]
Question: Any = ProbeQuestion


@ROUTES.post("/plans", summary="What would a question cost?")
async def plan(request: Request, question: Question) -> PlanCost:
    """Plan a question and do nothing: rows, bytes, memory, seconds, and whether it was answered before."""
    quote = await apart(request, service_of(request).quotes.quote, question)
    return PlanCost(id=quote.id, answer=quote.answer, memory=quote.memory, facts=quote.facts)


@ROUTES.post("/jobs", status_code=202, summary="Ask a question")
async def submit(request: Request, response: Response, question: Question) -> JobView:
    """Submit a probe. The same question is one job, whoever asks; one that was answered before is done at once (200)."""
    found: JobView = await apart(request, submitted, service_of(request), question, request.state.who)
    response.status_code = 200 if found.state == "done" else 202
    return found


def submitted(state: ServiceState, question: Any, who: str) -> JobView:
    """Queue a question, or return the job that its answer would have been."""
    queue = state.taking_jobs()
    quote = state.quotes.quote(question)
    asked = state.quotes.request(quote, question, who)
    if quote.answer is not None:
        return job_view(state, queue.as_done(asked))
    state.allowance.spend(who)
    job, _ = queue.submit(asked)
    if state.runner:
        state.runner.wake()
    return job_view(state, job)


@ROUTES.get("/jobs", summary="List jobs")
def jobs(
    request: Request,
    state: Annotated[
        Literal["queued", "running", "done", "failed", "cancelled"] | None,
        Query(description="Only jobs that stand so.", examples=["running"]),
    ] = None,
) -> JobList:
    """List the newest 200 jobs."""
    known = service_of(request)
    return JobList(jobs=[job_view(known, one) for one in known.taking_jobs().newest(state=state)])


@ROUTES.get("/jobs/{job}", summary="Show a job")
def job(request: Request, job: JobId) -> JobView:
    """Tell how a job stands and how far it is."""
    state = service_of(request)
    queue = state.taking_jobs()
    return job_view(
        state, queue.find(job) if queue.knows(job) or job not in state.results.all() else answered_elsewhere(state.results.find(job))
    )


@ROUTES.post("/jobs/{job}/cancel", summary="Cancel a job")
def cancel(request: Request, job: JobId) -> JobView:
    """Take a job out of the queue, or stop it. What it measured is kept."""
    state = service_of(request)
    return job_view(state, change_job(state, job, "cancel", request.state.who))


@ROUTES.post("/jobs/{job}/retry", summary="Try a job again")
def retry(request: Request, job: JobId) -> JobView:
    """Queue a job again that failed or was cancelled; it goes on from what was kept."""
    state = service_of(request)
    return job_view(state, change_job(state, job, "retry", request.state.who))


@ROUTES.get("/jobs/{job}/log", response_class=PlainTextResponse, summary="Read a job's log")
def log(request: Request, job: JobId) -> Response:
    """Return the end of what a job printed, as plain text."""
    state = service_of(request)
    queue = state.taking_jobs()
    return PlainTextResponse(state.tidy(read_log(job_folder(queue.service, queue.find(job).id))))


EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events named progress, each a JSON object with the job's state and progress.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@ROUTES.get("/jobs/{job}/events", response_class=Response, responses=EVENTS, summary="Follow a job")
async def events(request: Request, job: JobId) -> Response:
    """Send a job's progress as server-sent events until it ends."""
    return await stream(request, job)
