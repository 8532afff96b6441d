"""Tokens in, sessions out: the page to log in, and our style sheet and script."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from layerscout.service.problems import HttpProblem
from layerscout.service.requests import service_of
from layerscout.service.security import sessions
from layerscout.service.security.guard import cookie_header
from layerscout.service.web.forms import read_form
from layerscout.service.web.view import PageView, assets, respond

ROUTES = APIRouter(include_in_schema=False)


@ROUTES.get("/")
async def home() -> Response:
    """Lead to the page of decisions, which comes first."""
    return RedirectResponse("/decisions", 303)


@ROUTES.get("/login")
async def login(request: Request) -> Response:
    """Show the form that asks for a token."""
    after = request.query_params.get("next", "/")
    return await respond(request, lambda: PageView("Who are you?", "login.html", {"after": after, "wrong": False}))


@ROUTES.post("/login")
async def enter(request: Request) -> Response:
    """Begin a session with a token; the session has a new cookie, so that nobody can have planted it."""
    state, given = service_of(request), read_form(await request.body())
    after = given.get("next", "/")
    after = after if after.startswith("/") and not after.startswith(("//", "/\\")) else "/"
    user = await run_in_threadpool(state.tokens.owner_of, given.get("token", "")) if state.tokens else None
    if not user:
        state.allowance.spend("login")
        return await respond(request, lambda: PageView("Who are you?", "login.html", {"after": after, "wrong": True}, status=401))
    cookie = cookie_header(sessions.new_cookie(state.secret, user), request.headers.get("x-forwarded-proto") == "https")
    return RedirectResponse(after, 303, headers={"Set-Cookie": cookie})


@ROUTES.post("/logout")
async def leave(request: Request) -> Response:
    """Forget the session's cookie and go to the log-in page."""
    return RedirectResponse(
        "/login", 303, headers={"Set-Cookie": cookie_header("", request.headers.get("x-forwarded-proto") == "https", 0)}
    )


@ROUTES.get("/static/{digest}/{name}")
async def asset(digest: str, name: str) -> Response:
    """Our style sheet or our script; its address changes with its content."""
    known, files = assets()
    if digest != known or name not in files:
        raise HttpProblem(404, "there is no such file", "open the page again", "data")
    kind, content = files[name]
    return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})
