"""A job in; how far it is, once or as it goes on, out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from layerscout.errors import MissingExtraError, install
from layerscout.service.jobs.progress import progress_of
from layerscout.service.jobs.records import ENDED, job_folder
from layerscout.service.problems import HttpProblem
from layerscout.service.requests import service_of
from layerscout.service.state import ServiceState
from layerscout.service.words import STATES, duration

try:
    from fastapi import Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import StreamingResponse
except ImportError:
    raise MissingExtraError("the service needs FastAPI, which is not installed", hint=install("serve")) from None

LOOK_SECONDS, MOST_STREAMS = 0.5, 200


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
