"""The layer around the application, by itself: sizes and names at their edges, who asks, what is passed on and what is added to answers."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from layerscout.service.problems import HttpProblem
from layerscout.service.security import sessions
from layerscout.service.security.guard import (
    FORM,
    JSON,
    LARGEST_BODY,
    LONGEST_PATH,
    LONGEST_QUERY,
    MOST_PARAMETERS,
    Guard,
    allowed_hosts,
    check_name,
    check_size,
    cookie_header,
)
from layerscout.service.security.tokens import UserTokens, add_user, remove_user
from layerscout.service.settings import ServeConfig

SECRET = b"k" * 32
HOST = "127.0.0.1:8347"


def state_of(tokens: Any = None, **settings: Any) -> Any:
    return SimpleNamespace(tokens=tokens, secret=SECRET, config=ServeConfig(**settings), why="", runner=None, queue=None)


def scope_of(path: str = "/stores", method: str = "GET", query: bytes = b"", **headers: str) -> dict[str, Any]:
    given = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }


class Inner:
    """An application that keeps what it was asked, and answers with headers of its own."""

    def __init__(self, *headers: tuple[bytes, bytes]) -> None:
        self.headers, self.scope, self.messages = list(headers), {}, []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = scope
        self.messages = [await receive(), await receive()]
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"done"})


def ask(scope: dict[str, Any], *parts: bytes, inner: Any = None, state: Any = None) -> tuple[int, dict[str, str], bytes]:
    """Send one request through a guard; return its status, its headers and its body."""
    messages = [{"type": "http.request", "body": part, "more_body": at + 1 < len(parts)} for at, part in enumerate(parts or (b"",))]
    messages += [{"type": "http.disconnect"}] * 2
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Guard(inner or Inner(), state or state_of())(scope, receive, send))
    start, *bodies = sent
    names = [name.decode() for name, _ in start["headers"]]
    assert len(set(names)) == len(names), names  # no header twice
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, b"".join(part["body"] for part in bodies)


def refused_with(call: Any, *given: Any) -> int:
    with pytest.raises(HttpProblem) as refused:
        call(*given)
    return refused.value.status


# --- sizes


@pytest.mark.parametrize(
    ("scope", "length"),
    [
        (scope_of(), str(LARGEST_BODY)),
        (scope_of(query=b"x" * LONGEST_QUERY), "0"),
        (scope_of(query=b"&" * MOST_PARAMETERS), "0"),
        (scope_of("/" * LONGEST_PATH), "0"),
    ],
)
def test_what_is_as_large_as_it_may_be_passes(scope: dict[str, Any], length: str) -> None:
    check_size(scope, {"content-length": length})


@pytest.mark.parametrize(
    ("scope", "length"),
    [
        (scope_of(), str(LARGEST_BODY + 1)),
        (scope_of(), "-1"),
        (scope_of(), ""),
        (scope_of(), "1e3"),
        (scope_of(), "²"),  # a digit that is no number
        (scope_of(), "9" * 5000),  # more digits than Python reads
        (scope_of(query=b"x" * (LONGEST_QUERY + 1)), "0"),
        (scope_of(query=b"&" * (MOST_PARAMETERS + 1)), "0"),
        (scope_of("/" * (LONGEST_PATH + 1)), "0"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_one_more_than_may_be_is_refused_as_too_much(scope: dict[str, Any], length: str) -> None:
    assert refused_with(check_size, scope, {"content-length": length}) == 413


def test_a_body_in_pieces_is_counted_whole_and_passed_on_whole_and_once() -> None:
    scope = scope_of("/api/v1/jobs", "POST", content_type=JSON)
    inner = Inner()
    assert ask(scope, b'{"a"', b": 1}", inner=inner)[0] == 200
    assert inner.messages == [{"type": "http.request", "body": b'{"a": 1}', "more_body": False}, {"type": "http.disconnect"}]
    half = LARGEST_BODY // 2
    assert ask(scope, b"x" * half, b"x" * half)[0] == 200
    assert ask(scope, b"x" * half, b"x" * half, b"x")[0] == 413


# --- names


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "[::1]"),
        ({}, "LocalHost:80"),
        ({"host": "team.example", "token_file": "t"}, "TEAM.example:8347"),
        ({"host": "2001:db8::7", "token_file": "t"}, "[2001:db8::7]:8347"),
        ({"host": "2001:db8::7", "token_file": "t"}, "[2001:DB8::7]"),
        ({"allow_hosts": ("lab.example", "fd00::2")}, "Lab.Example"),
        ({"allow_hosts": ("lab.example", "fd00::2")}, "[fd00::2]:443"),
    ],
)
def test_a_server_goes_by_the_names_that_it_was_given(settings: dict[str, Any], host: str) -> None:
    check_name(host, allowed_hosts(state_of(**settings)))


@pytest.mark.parametrize(
    "host", ["0.0.0.0:8347", "[::]:8347", "::", "lab.example.", "lab.example:x", "lab.example:80:80", "[::1", "::1]", ":80"]
)
def test_every_address_of_a_machine_is_no_name_of_it(host: str) -> None:
    state = state_of(host="0.0.0.0", token_file="t", allow_hosts=("lab.example", "::"))
    assert refused_with(check_name, host, allowed_hosts(state)) == 421


# --- where a request was sent from


def origin_of(path: str, headers: dict[str, str], body: bytes = b"", cookie: str = "") -> None:
    Guard(None, state_of()).check_origin(path, {"host": HOST} | headers, cookie, body)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),  # curl -X POST, without anything
        ({"content-type": JSON}, b"{}"),
        ({"content-type": "Application/JSON ; charset=utf-8"}, b"{}"),
        ({"content-type": JSON, "origin": f"http://{HOST}"}, b"{}"),
        ({"content-type": JSON, "origin": "null", "sec-fetch-site": "same-origin"}, b"{}"),
        ({"content-type": JSON, "sec-fetch-site": "none"}, b"{}"),
    ],
)
def test_programs_and_own_pages_may_send_to_the_api(headers: dict[str, str], body: bytes) -> None:
    origin_of("/api/v1/jobs", headers, body)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 415),  # of no stated kind
        ({"content-type": "text/plain"}, b"", 415),
        ({"content-type": "application/jsonp"}, b"{}", 415),
        ({"content-type": JSON, "origin": "http://[::1"}, b"{}", 403),  # no address at all
        ({"content-type": JSON, "origin": "https://evil.example"}, b"{}", 403),
        ({"content-type": JSON, "origin": f"http://{HOST}.evil.example"}, b"{}", 403),
        ({"content-type": JSON, "origin": HOST}, b"{}", 403),  # without a scheme it names nobody
        ({"content-type": JSON, "sec-fetch-site": "same-site"}, b"{}", 403),
        ({"content-type": JSON, "origin": "null"}, b"{}", 403),
        ({"content-type": JSON, "origin": f"http://{HOST}", "sec-fetch-site": "cross-site"}, b"{}", 403),
    ],
)
def test_what_others_made_a_browser_send_is_refused(headers: dict[str, str], body: bytes, status: int) -> None:
    assert refused_with(origin_of, "/api/v1/jobs", headers, body) == status


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("/api/v1/jobs", "", "the body is of no stated kind, expected application/json"),
        ("/api/v1/jobs", "Text/Plain; x", "the body is text/plain, expected application/json"),
        ("/probe", "", "the body is of no stated kind, expected a form"),
        ("/probe", JSON, "the body is application/json, expected a form"),
    ],
)
def test_a_body_of_another_kind_is_told_which_one_is_read(path: str, kind: str, said: str) -> None:
    with pytest.raises(HttpProblem) as refused:
        origin_of(path, {"content-type": kind}, b"x")
    assert (str(refused.value), refused.value.status) == (said, 415)


def test_a_forms_token_is_that_of_its_own_cookie() -> None:
    cookie = sessions.new_cookie(SECRET, "ada")
    good = sessions.form_token(SECRET, cookie)
    kind = {"content-type": f"{FORM}; charset=UTF-8"}
    origin_of("/probe", kind, f"store=x&csrf={good}".encode(), cookie)
    for body, held in (
        (f"csrf={good}", ""),
        (f"csrf={good}", sessions.new_cookie(SECRET, "ada")),
        (f"csrf={good[:-1]}", cookie),
        (f"csrf={good}&csrf=x", cookie),  # the last one counts
        ("csrf=%FF%FE", cookie),
        ("", cookie),
    ):
        assert refused_with(origin_of, "/probe", kind, body.encode(), held) == 403, body
    assert refused_with(origin_of, "/probe", {"content-type": "multipart/form-data"}, b"", cookie) == 415


def test_a_form_of_more_fields_than_any_page_has_is_too_much_and_no_bug() -> None:
    cookie = sessions.new_cookie(SECRET, "ada")
    body = "&".join([f"csrf={sessions.form_token(SECRET, cookie)}", *(f"a{number}=1" for number in range(MOST_PARAMETERS + 1))])
    status = ask(scope_of("/probe", "POST", content_type=FORM, cookie=f"layerscout={cookie}"), body.encode())[0]
    assert status == 413


# --- who asks


@pytest.fixture
def users(tmp_path, _no_waiting_for_the_disk):
    file = tmp_path / "tokens"
    return add_user(file, "ada"), UserTokens(file), file


def test_a_bearer_needs_no_cookie_and_gets_none(users) -> None:
    token, tokens, _ = users
    guard = Guard(None, state_of(tokens))
    for word in ("Bearer", "bearer", "BEARER"):
        assert guard.identify("/stores", {"authorization": f"{word}  {token} "}, "") == ("ada", "", None)


def test_a_session_lasts_as_long_as_its_user(users) -> None:
    _, tokens, file = users
    guard, cookie = Guard(None, state_of(tokens)), sessions.new_cookie(SECRET, "ada")
    assert guard.identify("/stores", {}, cookie) == ("ada", cookie, None)
    assert remove_user(file, "ada")
    assert refused_with(guard.identify, "/stores", {}, cookie) == 401
    assert not remove_user(file, "ada")


def test_only_the_ways_in_are_open_to_nobody(users) -> None:
    _, tokens, _ = users
    guard = Guard(None, state_of(tokens))
    for path in ("/login", "/static/x/style.css", "/api/v1/health"):
        who, cookie, fresh = guard.identify(path, {}, "")
        assert (who, fresh) == ("nobody", cookie)
        assert guard.identify(path, {}, cookie) == ("nobody", cookie, None)  # and keeps its form's token
    for path in ("/", "/login/x", "/loginx", "/static", "/jobs", "/api/v1/stores", "//static/"):
        assert refused_with(guard.identify, path, {}, sessions.new_cookie(SECRET, "nobody")) == 401, path


def test_without_users_everybody_is_local_and_keeps_a_cookie() -> None:
    guard = Guard(None, state_of())
    who, cookie, fresh = guard.identify("/stores", {"authorization": "Bearer x"}, "forged")
    assert (who, fresh) == ("local", cookie)
    assert guard.identify("/stores", {}, cookie) == ("local", cookie, None)


# --- what is passed on, and what is added


def test_who_asks_and_the_forms_token_go_with_the_request() -> None:
    inner, cookie = Inner(), sessions.new_cookie(SECRET, "local")
    ask(scope_of(cookie=f"other=1; layerscout={cookie}"), inner=inner)
    assert inner.scope["state"] == {"who": "local", "cookie": cookie, "form_token": sessions.form_token(SECRET, cookie)}
    assert inner.messages[0]["body"] == b""


def test_headers_are_added_only_where_the_answer_has_none() -> None:
    _, headers, body = ask(scope_of())
    assert (headers["cache-control"], body) == ("private, no-store", b"done")
    assert "Secure" not in headers["set-cookie"]
    own = (b"cache-control", b"max-age=1"), (b"content-security-policy", b"sandbox"), (b"set-cookie", b"a=b")
    _, headers, _ = ask(scope_of(), inner=Inner(*own))
    assert (headers["cache-control"], headers["content-security-policy"], headers["set-cookie"]) == ("max-age=1", "sandbox", "a=b")
    assert headers["x-frame-options"] == "DENY"
    _, headers, _ = ask(scope_of(cookie=f"layerscout={sessions.new_cookie(SECRET, 'local')}"))
    assert "set-cookie" not in headers


def test_a_cookie_is_for_encrypted_lines_only_where_the_proxys_is_one() -> None:
    assert ask(scope_of(x_forwarded_proto="https"))[1]["set-cookie"].endswith("; Secure")
    assert cookie_header("", False, 0) == "layerscout=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize("cookie", ["layerscout=x", "=;;=", "layerscout", 'layerscout="\\"', "a=b; layerscout=é", "\x00=\x01"])
def test_a_cookie_of_nonsense_is_no_cookie(cookie: str) -> None:
    status, headers, _ = ask(scope_of(cookie=cookie))
    assert status == 200
    assert headers["set-cookie"].startswith("layerscout=local~")


def test_a_refusal_is_a_page_a_problem_or_the_way_to_log_in(users) -> None:
    state = state_of(users[1])
    status, headers, body = ask(scope_of("/rankings/a b", accept="text/html"), state=state)
    assert (status, headers["location"], body) == (303, "/login?next=/rankings/a%20b", b"")
    status, headers, body = ask(scope_of("/jobs", "POST", accept="text/html"), state=state)
    assert (status, headers["content-type"], b"log in at /login" in body) == (401, "text/html; charset=utf-8", True)
    for path, accept in (("/jobs", "*/*"), ("/api/v1/jobs", "text/html")):
        status, headers, body = ask(scope_of(path, accept=accept), state=state)
        told = json.loads(body)
        assert (status, told["status"], told["instance"], headers["www-authenticate"]) == (401, 401, path, 'Bearer realm="layerscout"')
        assert int(headers["content-length"]) == len(body)


def test_a_refused_head_says_the_length_of_what_it_does_not_send() -> None:
    _, headers, body = ask(scope_of("/x" * LONGEST_PATH, "HEAD"))
    assert body == b""
    assert int(headers["content-length"]) > 100


def test_what_is_no_request_goes_straight_through() -> None:
    seen: list[Any] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope, receive, send))

    asyncio.run(Guard(inner, state_of())({"type": "lifespan"}, 1, 2))  # type: ignore[arg-type]
    assert seen == [({"type": "lifespan"}, 1, 2)]
