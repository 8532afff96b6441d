"""Settings in, the whole application out: pages, API, and the guard around both."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from layerscout.service.problems import MEDIA_TYPE, HttpProblem, as_problem, problem_details
from layerscout.service.security.guard import Guard
from layerscout.service.settings import ServeConfig
from layerscout.service.state import ServiceState

HEAVY = 2  # plans and looks into layers that are worked out at once; readers have threads of their own


def warm_up(state: ServiceState) -> None:
    """Look at every place, and load what the first question needs, before somebody waits for it."""
    with suppress(Exception):  # whoever asks first is told what is wrong
        state.version()
        importlib.import_module("layerscout.probe.plan")


def make_app(config: ServeConfig) -> Guard:
    """Return the application; jobs are taken from when it starts until it ends."""
    from anyio import CapacityLimiter
    from fastapi import FastAPI, Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.exceptions import HTTPException, RequestValidationError

    from layerscout.service.api import openapi
    from layerscout.service.data.judging import Judge
    from layerscout.service.web import pages
    from layerscout.service.web.view import PageCache, PageView, address_of, render

    state = ServiceState(config)

    @asynccontextmanager
    async def living(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(state.start)
        threading.Thread(target=warm_up, args=(state,), name="warm-up", daemon=True).start()
        yield
        app.state.ending.set()
        await run_in_threadpool(state.stop)

    app = FastAPI(title="layerscout", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=living)
    app.state.judge = Judge(state)
    app.state.service, app.state.pages, app.state.streams, app.state.ending = state, PageCache(), 0, asyncio.Event()
    app.state.heavy = CapacityLimiter(HEAVY)
    for routes in (*pages.ALL, *openapi.ALL):
        app.include_router(routes)
    openapi.describe(app)

    async def answered(request: Request, error: Exception) -> Response:
        problem = as_problem(error)
        problem.args = (state.tidy(str(problem)),)
        if problem.status == 500:
            traceback.print_exception(error, file=sys.stderr)
        api = request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", "")
        if api:
            import json

            body = json.dumps(problem_details(problem, request.url.path))
            return Response(body, problem.status, problem.headers, media_type=MEDIA_TYPE)
        details = problem_details(problem, request.url.path)
        view = PageView(details["title"], "problem.html", {"problem": str(problem), "hint": problem.hint})
        body = render(view, request.state.who, address_of(request), state).decode()
        return Response(body, problem.status, problem.headers, media_type="text/html; charset=utf-8")

    async def strange(request: Request, error: Any) -> Response:
        status = getattr(error, "status_code", 400)
        words = {404: "there is nothing at this address", 405: f"{request.method} is not possible here"}.get(status, str(error.detail))
        return await answered(
            request, HttpProblem(status, words, "the start page leads everywhere", headers=dict(getattr(error, "headers", None) or {}))
        )

    async def misfit(request: Request, error: Any) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return await answered(
            request, HttpProblem(422, f"{where or 'the request'}: {first['msg']}", "the API's document describes every field")
        )

    app.add_exception_handler(RequestValidationError, misfit)
    app.add_exception_handler(HTTPException.__mro__[1], strange)
    app.add_exception_handler(Exception, answered)
    for kind in (HttpProblem, *HttpProblem.__mro__[1:2]):
        app.add_exception_handler(kind, answered)
    return Guard(app, state)
