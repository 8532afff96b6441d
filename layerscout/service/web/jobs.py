"""Jobs in; their list, the page of one that follows its progress, and what can be done to them, out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, StreamingResponse

from layerscout.pages.tables import Cell, Column, Table
from layerscout.service.jobs.progress import progress_of, read_log
from layerscout.service.jobs.records import ENDED, ServiceJob, job_folder
from layerscout.service.problems import HttpProblem
from layerscout.service.requests import service_of
from layerscout.service.state import ServiceState
from layerscout.service.web.tables import Address, Linked, plain_view, sorted_view
from layerscout.service.web.view import PageView, address_of, respond
from layerscout.service.web.words import STATES, duration, moment, short

ROUTES = APIRouter(include_in_schema=False)
LOOK_SECONDS, MOST_STREAMS = 0.5, 200


@ROUTES.get("/jobs")
async def jobs(request: Request) -> Response:
    """Show the list of jobs."""
    state = service_of(request)
    return await respond(request, lambda: list_view(state, address_of(request)))


@ROUTES.get("/jobs/{job_id}")
async def job(request: Request, job_id: str) -> Response:
    """Show one job: its question, how far it is, and what came of it."""
    state = service_of(request)
    return await respond(request, lambda: job_view(state, address_of(request), job_id))


@ROUTES.post("/jobs/{job_id}/{act}")
async def act(request: Request, job_id: str, act: str) -> Response:
    """Cancel or retry a job."""
    state = service_of(request)
    await run_in_threadpool(change, state, job_id, act, request.state.who)
    return RedirectResponse(f"/jobs/{job_id}", 303)


@ROUTES.post("/stores/{store_id}/verify")
async def verify(request: Request, store_id: str) -> Response:
    """Read every file of a store, as a job."""
    state = service_of(request)
    made = await run_in_threadpool(submit_verification, state, store_id, request.state.who)
    return RedirectResponse(f"/jobs/{made.id}", 303)


@ROUTES.get("/jobs/{job_id}/events")
async def events(request: Request, job_id: str) -> Response:
    """The job's progress as it comes."""
    return await stream(request, job_id)


def submit_verification(state: ServiceState, store_id: str, who: str) -> ServiceJob:
    """Put a job that reads every file of the store into the queue; it counts against ``who``'s allowance."""
    queue = state.taking_jobs()
    request = state.verification(state.catalogue.find(store_id), who)
    state.allowance.spend(who)
    made, _ = queue.submit(request)
    if state.runner:
        state.runner.wake()
    return made


def change(state: ServiceState, job_id: str, act: str, who: str) -> ServiceJob:
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


async def stream(request: Request, job_id: str) -> Response:
    """Return a job's progress as server-sent events, until it ends or the reader leaves.

    Raises
    ------
    HttpProblem
        There is no such job (404), or too many read streams already (503).
    """
    state = service_of(request)
    await run_in_threadpool(standing, state, job_id)
    if request.app.state.streams >= MOST_STREAMS:
        raise HttpProblem(503, f"{MOST_STREAMS} pages follow jobs already", "the job's own page tells how far it is")
    return StreamingResponse(
        _events(request, state, job_id), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


async def _events(request: Request, state: ServiceState, job_id: str) -> AsyncIterator[str]:
    request.app.state.streams += 1
    try:
        sent, quiet = "", 0
        while not await request.is_disconnected() and not request.app.state.ending.is_set():
            found = await run_in_threadpool(standing, state, job_id)
            text = json.dumps(found, allow_nan=False)
            if text != sent:
                yield f"event: progress\ndata: {text}\n\n"
                sent, quiet = text, 0
            elif (quiet := quiet + 1) % 30 == 0:
                yield ": still here\n\n"  # so that a proxy keeps the line open, and a reader that left is noticed
            if found["state"] in ENDED:
                return
            await asyncio.sleep(LOOK_SECONDS)
    finally:
        request.app.state.streams -= 1


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


def list_view(state: ServiceState, address: Address) -> PageView:
    """The newest 200 jobs as a table, or those in the state that the address names."""
    chosen = address.get("state")
    found = state.queue.newest(state=chosen if chosen in STATES else None) if state.queue else []
    columns = (Column("Job"), Column("What"), Column("Video model"), Column("Asked by"), Column("Asked"), Column("State"), Column("Took"))
    rows = tuple(
        (
            Linked(short(one.id), href=f"/jobs/{one.id}"),
            Cell(one.kind),
            Cell(str(one.about.get("backbone", "n/a"))),
            Cell(one.who),
            Cell(moment(one.submitted), value=one.submitted),
            Cell(STATES[one.state]),
            Cell(duration(one.ended - one.started) if one.ended and one.started else "–"),
        )
        for one in found
    )
    running = len(state.runner.running) if state.runner else 0
    values = {"states": STATES, "chosen": chosen, "running": running, "limits": state.limits}
    return PageView("Jobs", "jobs.html", values, (sorted_view("jobs", Table(columns, rows), address, "Jobs"),))


def job_view(state: ServiceState, address: Address, job_id: str) -> PageView:
    """Return the page of a job: how far it is, what it does, what it said."""
    queue = state.taking_jobs()
    found = queue.find(job_id)
    settings = Table(
        ("Setting", "Value"), tuple((key, "n/a" if value is None else str(value)) for key, value in found.question.items()), words=True
    )
    log = state.tidy(read_log(job_folder(queue.service, job_id)))
    values = {
        "known": {one.id for one in state.catalogue.all()},
        "job": found,
        "now": standing(state, job_id),
        "log": log,
        "stores": found.about.get("stores", [found.store]),
    }
    what = "Ranking the layers" if found.kind == "probe" else "Verifying the files"
    return PageView(
        f"{what} of {found.about.get('backbone', 'a store')}", "job.html", values, (plain_view("settings", settings, address, "Settings"),)
    )
