"""A request in; the state that all requests share, and threads of its own for what takes long, out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from layerscout.errors import MissingExtraError, install
from layerscout.service.data.judging import Judge
from layerscout.service.state import ServiceState

try:
    from anyio import to_thread
    from fastapi import Request
except ImportError:
    raise MissingExtraError("the service needs FastAPI, which is not installed", hint=install("serve")) from None


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
