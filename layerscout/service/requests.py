"""A request in; the state that all requests share, threads of its own for what takes long, and the stream of a job's progress, out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from layerscout.errors import MissingExtraError, install
from layerscout.service.data.judging import Judge
from layerscout.service.following import standing
from layerscout.service.jobs.records import ENDED
from layerscout.service.problems import HttpProblem
from layerscout.service.state import ServiceState

try:
    from anyio import to_thread
    from fastapi import Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import StreamingResponse
except ImportError:
    raise MissingExtraError("the service needs FastAPI, which is not installed", hint=install("serve")) from None

LOOK_SECONDS, MOST_STREAMS = 0.5, 200


def service_of(request: Request) -> ServiceState:
    """Return the state that all requests of this server share."""
    found: ServiceState = request.app.state.service
    return found


def judge_of(request: Request) -> Judge:
    """Return the judge that the server keeps, with what it worked out lately."""
    found: Judge = request.app.state.judge
    return found


async def apart(request: Request, work: Callable[..., Any], *given: Any) -> Any:
    """Do what takes long in threads of its own, so that those who only read never wait for it."""
    return await to_thread.run_sync(partial(work, *given), limiter=request.app.state.heavy)


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
