"""Jobs in; their list, the page of one that follows its progress, and what can be done to them, out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from layerscout.pages.tables import Cell, Column, Table
from layerscout.service.acts import change_job, submit_verification
from layerscout.service.following import standing
from layerscout.service.jobs.progress import read_log
from layerscout.service.jobs.records import job_folder
from layerscout.service.requests import service_of, stream
from layerscout.service.state import ServiceState
from layerscout.service.web.tables import Address, Linked, plain_view, sorted_view
from layerscout.service.web.view import PageView, address_of, respond
from layerscout.service.words import STATES, duration, moment, short

ROUTES = APIRouter(include_in_schema=False)


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
    await run_in_threadpool(change_job, state, job_id, act, request.state.who)
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
            Cell(duration(one.ended - one.started), value=one.ended - one.started) if one.ended and one.started else Cell("–"),
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
