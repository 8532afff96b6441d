"""Every request in; those that may pass out, with who asks; the rest refused. Headers that browsers obey on every answer.

A plain ASGI layer around the whole application, so that no page can forget it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from layerscout.service.problems import MEDIA_TYPE, HttpProblem, as_problem, problem_details
from layerscout.service.security import sessions
from layerscout.service.settings import LOOPBACK
from layerscout.service.state import ServiceState
from layerscout.service.web.tables import Address
from layerscout.service.web.view import PageView, render

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LARGEST_BODY, LONGEST_QUERY, MOST_PARAMETERS, LONGEST_PATH = 2**16, 4096, 100, 1024
OPEN = ("/login", "/static/", "/api/v1/health")  # to whoever is not known yet
SAFE = ("GET", "HEAD", "OPTIONS")
FORM, JSON = "application/x-www-form-urlencoded", "application/json"
HEADERS = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Checks name, size, origin, user and form token of every request before the application sees it."""

    def __init__(self, inner: Any, state: ServiceState) -> None:
        self.inner, self.state = inner, state

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        cookie = _cookie(headers.get("cookie", ""))
        fresh = None
        try:
            check_size(scope, headers)
            check_name(headers.get("host", ""), allowed_hosts(self.state))
            who, cookie, fresh = self.identify(scope["path"], headers, cookie)
            body = await _body(receive) if scope["method"] not in SAFE else b""
            if scope["method"] not in SAFE:
                self.check_origin(scope["path"], headers, cookie, body)
        except Exception as error:
            await _refuse(scope, send, as_problem(error), headers, self.state)
            return
        scope["state"] = {
            **scope.get("state", {}),
            "who": who,
            "cookie": cookie,
            "form_token": sessions.form_token(self.state.secret, cookie),
        }
        await self.inner(scope, _again(body, receive), _with_headers(send, fresh, headers))

    def identify(self, path: str, headers: dict[str, str], cookie: str) -> tuple[str, str, str | None]:
        """Return who asks, the session's cookie, and that cookie again when it is new.

        Raises
        ------
        HttpProblem
            Nobody that is known (401).
        """
        tokens = self.state.tokens
        user = sessions.user_of(self.state.secret, cookie)
        if tokens is None:
            fresh = sessions.new_cookie(self.state.secret, "local") if user is None else None
            return "local", fresh or cookie, fresh
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and (named := tokens.owner_of(token.strip())):
            return named, "", None
        if user is not None and user in tokens.users():
            return user, cookie, None
        if path == OPEN[0] or path.startswith(OPEN[1:]):
            fresh = sessions.new_cookie(self.state.secret, "nobody") if user != "nobody" else None
            return "nobody", fresh or cookie, fresh
        raise HttpProblem(
            401, "this server wants to know who you are", "log in at /login, or send Authorization: Bearer TOKEN", headers=WANTED
        )

    def check_origin(self, path: str, headers: dict[str, str], cookie: str, body: bytes) -> None:
        """Refuse what another site made a browser send.

        Raises
        ------
        HttpProblem
            The request comes from elsewhere or lacks the session's form token (403), or is of a kind that is not read here (415).
        """
        origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
        # told to send no referrer, a browser calls its own page's origin null too; then it must say itself that the page is ours
        foreign = site not in ("", "same-origin", "none") or (origin == "null" and site != "same-origin")
        if foreign or (origin not in ("", "null") and _host_of(origin) != headers.get("host", "")):
            raise HttpProblem(403, "this request was sent from another site", "open the page of this server and send it from there")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if path.startswith("/api/"):
            if kind != JSON and (body or kind):
                raise HttpProblem(415, f"the body is {kind or 'of no stated kind'}, expected {JSON}", "send Content-Type: application/json")
            return
        if kind != FORM:
            raise HttpProblem(415, f"the body is {kind or 'of no stated kind'}, expected a form", "use the pages' own forms, or /api/v1")
        if body.count(b"&") > MOST_PARAMETERS:
            raise HttpProblem(413, f"a form may have {MOST_PARAMETERS + 1} fields", "send less")
        sent = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        if not cookie or not sessions.fits(self.state.secret, cookie, sent.get(sessions.FIELD, "")):
            raise HttpProblem(403, "the form is too old, or not from a page of this server", "open the page again and send it once more")


WANTED = {"WWW-Authenticate": 'Bearer realm="layerscout"'}


def allowed_hosts(state: ServiceState) -> frozenset[str]:
    """Return the names, without port, under which this server may be called."""
    names = (name.lower() for name in (*LOOPBACK, state.config.host, *state.config.allow_hosts) if name not in ("0.0.0.0", "::"))
    return frozenset(f"[{name}]" if ":" in name and not name.startswith("[") else name for name in names)  # as browsers write them


def check_name(host: str, allowed: Iterable[str]) -> None:
    """Refuse a name that is not this server's: a page of another site may have rebound its own name to this address."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    if name.lower() not in allowed:
        raise HttpProblem(421, "this server does not go by the name that was asked for", "layerscout serve --allow-host NAME")


def check_size(scope: dict[str, Any], headers: dict[str, str]) -> None:
    """Refuse a body, a path or parameters beyond every use."""
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 20 or int(length) > LARGEST_BODY:
        raise HttpProblem(413, f"a request may have {LARGEST_BODY:,} bytes", "send less")
    query = scope["query_string"]
    if len(query) > LONGEST_QUERY or query.count(b"&") > MOST_PARAMETERS or len(scope["path"]) > LONGEST_PATH:
        raise HttpProblem(413, f"an address may have {LONGEST_QUERY:,} characters and {MOST_PARAMETERS} parameters", "ask for less")


async def _body(receive: Receive) -> bytes:
    found = b""
    while True:
        message = await receive()
        found += message.get("body", b"")
        if len(found) > LARGEST_BODY:
            raise HttpProblem(413, f"a request may have {LARGEST_BODY:,} bytes", "send less")
        if not message.get("more_body", False):
            return found


def _again(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def once() -> dict[str, Any]:
        nonlocal sent
        if not sent:
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return once


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # half a pair of brackets: no host, and so not this one
        return None


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(sessions.COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def cookie_header(value: str, secure: bool, lasts: int = sessions.LASTS) -> str:
    """Return a Set-Cookie header that scripts cannot read and other sites cannot use."""
    return f"{sessions.COOKIE}={value}; Path=/; Max-Age={lasts}; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}"


def _with_headers(send: Send, fresh: str | None, headers: dict[str, str]) -> Send:
    async def guarded(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = list(message.get("headers", []))
            given = {name.lower() for name, _ in own}
            own += [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given]
            if b"cache-control" not in given:
                own.append((b"cache-control", b"private, no-store"))
            if fresh and b"set-cookie" not in given:
                own.append((b"set-cookie", cookie_header(fresh, headers.get("x-forwarded-proto") == "https").encode()))
            message = {**message, "headers": own}
        await send(message)

    return guarded


async def _refuse(scope: dict[str, Any], send: Send, problem: HttpProblem, headers: dict[str, str], state: ServiceState) -> None:
    """Answer with problem details, or a browser with a page; one that nobody knows is sent to where it can log in."""
    page = "text/html" in headers.get("accept", "") and not scope["path"].startswith("/api/")
    more = [(name.lower().encode(), value.encode()) for name, value in problem.headers.items()]
    answer, body = problem.status, json.dumps(problem_details(problem, scope["path"])).encode()
    if problem.status == 401 and page and scope["method"] == "GET":
        answer, body, more = 303, b"", [(b"location", f"/login?next={quote(scope['path'], safe='/')}".encode())]
    elif page:
        view = PageView(problem_details(problem, "")["title"], "problem.html", {"problem": str(problem), "hint": problem.hint})
        body = render(view, "nobody", Address("/"), state)
        more.append((b"content-type", b"text/html; charset=utf-8"))
    else:
        more.append((b"content-type", MEDIA_TYPE.encode()))
    outgoing = _with_headers(send, None, headers)
    await outgoing({"type": "http.response.start", "status": answer, "headers": [*more, (b"content-length", str(len(body)).encode())]})
    await outgoing({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
