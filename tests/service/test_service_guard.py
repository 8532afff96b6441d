"""Who and what is let in: names, origins, sizes, tokens, paths; every refusal is one row of a matrix."""

from __future__ import annotations

import re
import stat
import time

import pytest
from team import BASE, QUICK, Browser, World, served

from layerscout import settings
from layerscout.errors import DataError, UsageError
from layerscout.service.problems import HttpProblem
from layerscout.service.security import sessions
from layerscout.service.security.limits import Allowance
from layerscout.service.security.tokens import UserTokens, add_user, hash_of, remove_user
from layerscout.service.settings import ServeConfig

STORE = "ls1-" + "0" * 32


def refusals(browser: Browser, cases: list[tuple[str, str, str, dict]], allowed: tuple[int, ...]) -> list[str]:
    """Send requests that must all be refused, and return those that were not, each as a row of the matrix."""
    let_in = []
    for what, method, path, options in cases:
        answer = browser.client.request(method, path, follow_redirects=False, **options)
        print(f"{answer.status_code}  {what:44} {method} {path[:60]}")
        if answer.status_code not in allowed:
            let_in.append(f"{what}: {answer.status_code} {path}")
    return let_in


def test_no_path_leads_out_of_a_root(browser: Browser, world: World) -> None:
    secret = world.root / "service" / "secret"
    assert secret.is_file()
    words = [
        "%2e%2e",
        "..%2f..%2fservice%2fsecret",
        "%252e%252e%252f",
        "....//",
        "/etc/passwd",
        "\\..\\",
        "ls1-../../x",
        "~",
        "%00",
        "file:///etc/passwd",
        "C:\\",
    ]
    places = [
        "/stores/{}",
        "/stores/{}/look",
        "/rankings/{}",
        "/rankings/{}/selection.json",
        "/jobs/{}",
        "/datasets/{}/frames/0/0.png",
        "/runs/{}",
        "/static/x/{}",
    ]
    places += ["/api/v1/stores/{}", "/api/v1/rankings/{}", "/api/v1/jobs/{}/log", "/api/v1/rankings/" + world.ranking + "/files/{}"]
    cases = [("a path in the address", "GET", place.format(word), {}) for place in places for word in words]
    cases += [
        ("a place in the question", "POST", "/api/v1/jobs", {"json": {"store": word.replace("%2f", "/")}})
        for word in (*words, "s3://bucket/x", str(world.root))
    ]
    cases += [
        ("a place as the twin", "POST", "/api/v1/plans", {"json": {"store": world.store, "twin": str(world.root / "stores" / world.twin)}})
    ]
    cases += [
        ("a setting that is a place", "POST", "/api/v1/plans", {"json": {"store": world.store, name: "/tmp"}})
        for name in ("root", "out", "scheduler")
    ]
    assert refusals(browser, cases, (303, 400, 404, 405, 413, 422)) == []
    assert all(secret.read_bytes() not in browser.client.get(case[2]).content for case in cases if case[1] == "GET")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8347",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "",
        "169.254.169.254",
        "[::2]:8347",
        "127.0.0.1:8347@evil.example",
    ],
)
def test_a_foreign_name_is_refused(browser: Browser, host: str) -> None:
    for path in ("/stores", "/api/v1/health", "/login", "/static/x/style.css"):
        answer = browser.client.get(path, headers={"host": host})
        assert answer.status_code == 421
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8347", "localhost:1", "[::1]:8347", "LOCALHOST"])
def test_the_servers_own_names_are_let_in(browser: Browser, host: str) -> None:
    assert browser.client.get("/api/v1/health", headers={"host": host}).status_code == 200


def test_a_form_needs_the_sessions_token_and_our_own_page(browser: Browser, world: World) -> None:
    good, form = browser.token(), {"store": world.store, "act": "cost"}
    stranger = sessions.form_token(b"x" * 32, browser.client.cookies[sessions.COOKIE])
    cases = [
        ("no token", "POST", "/probe", {"data": form}),
        ("an empty token", "POST", "/probe", {"data": form | {"csrf": ""}}),
        ("another secret's token", "POST", "/probe", {"data": form | {"csrf": stranger}}),
        (
            "another session's token",
            "POST",
            "/probe",
            {"data": form | {"csrf": good}, "headers": {"cookie": f"{sessions.COOKIE}={sessions.new_cookie(b'x' * 32, 'local')}"}},
        ),
        ("sent by another site", "POST", "/probe", {"data": form | {"csrf": good}, "headers": {"origin": "https://evil.example"}}),
        (
            "from a sandboxed frame",
            "POST",
            "/probe",
            {"data": form | {"csrf": good}, "headers": {"origin": "null", "sec-fetch-site": "cross-site"}},
        ),
        ("told so by the browser", "POST", "/probe", {"data": form | {"csrf": good}, "headers": {"sec-fetch-site": "cross-site"}}),
        ("a simple request to the API", "POST", "/api/v1/jobs", {"content": b'{"store": "x"}', "headers": {"content-type": "text/plain"}}),
        ("a form to the API", "POST", "/api/v1/jobs", {"data": form}),
        ("JSON to the API from elsewhere", "POST", "/api/v1/jobs", {"json": form, "headers": {"origin": "https://evil.example"}}),
        ("another port of this machine", "POST", "/api/v1/jobs", {"json": form, "headers": {"origin": "http://127.0.0.1:9999"}}),
        ("a form of another kind", "POST", "/probe", {"files": {"csrf": good.encode()}}),
        ("cancel without a token", "POST", f"/jobs/{'0' * 32}/cancel", {"data": {}}),
        ("a note without a token", "POST", f"/rankings/{world.ranking}/notes", {"data": {"text": "x"}}),
        ("verify without a token", "POST", f"/stores/{world.store}/verify", {"data": {}}),
    ]
    assert refusals(browser, cases, (403, 415)) == []
    browser.client.cookies.clear()
    assert browser.send("/probe", form).status_code == 200
    assert browser.client.post("/probe", data=form | {"csrf": browser.token()}, headers={"origin": "null"}).status_code == 403
    assert (
        browser.client.post(
            "/probe", data=form | {"csrf": browser.token()}, headers={"origin": "null", "sec-fetch-site": "same-origin"}
        ).status_code
        == 200
    )
    own = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert browser.client.post("/probe", data=form | {"csrf": browser.token()}, headers=own).status_code == 200


def test_what_is_too_large_is_refused(browser: Browser, world: World) -> None:
    token = browser.token()
    cases = [
        ("a body of a megabyte", "POST", "/probe", {"data": {"csrf": token, "store": "x" * 2**20}}),
        ("JSON of a megabyte", "POST", "/api/v1/jobs", {"json": {"store": "x" * 2**20}}),
        (
            "a body in pieces",
            "POST",
            "/api/v1/jobs",
            {"content": iter([b"x" * 2**16] * 3), "headers": {"content-type": "application/json"}},
        ),
        (
            "a stated length",
            "POST",
            "/api/v1/jobs",
            {"content": b"{}", "headers": {"content-type": "application/json", "content-length": "99999999999"}},
        ),
        ("no length", "POST", "/api/v1/jobs", {"content": b"{}", "headers": {"content-type": "application/json", "content-length": "-1"}}),
        ("a long query", "GET", "/stores?q=" + "x" * 5000, {}),
        ("many parameters", "GET", "/stores?" + "a=1&" * 200, {}),
        ("a long path", "GET", "/stores/" + "x" * 2000, {}),
        ("a long list", "POST", "/api/v1/plans", {"json": {"store": world.store, "layers": ["x"] * 1000}}),
        ("deep JSON", "POST", "/api/v1/plans", {"content": b"[" * 30000, "headers": {"content-type": "application/json"}}),
        ("a long note", "POST", f"/api/v1/rankings/{world.ranking}/notes", {"json": {"text": "x" * 5000}}),
    ]
    assert refusals(browser, cases, (400, 413, 422)) == []


def test_headers_that_browsers_obey_are_on_every_answer(browser: Browser) -> None:
    for path in ("/stores", "/api/v1/health", "/nothing", "/api/v1/nothing", "/static/x/y"):
        headers = browser.client.get(path).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe-inline" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["x-frame-options"], headers["referrer-policy"]) == (
            "nosniff",
            "DENY",
            "no-referrer",
        )
        assert not [name for name in headers if name.startswith("access-control")]
    page = browser.page("/stores")
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page)
    cookie = browser.client.get("/stores", headers={"cookie": "layerscout=x"}).headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))


def test_no_origin_is_ever_allowed_to_read(browser: Browser) -> None:
    answer = browser.client.options("/api/v1/stores", headers={"origin": "https://evil.example", "access-control-request-method": "GET"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.status_code == 405


# --- users


@pytest.fixture
def users(world: World, tmp_path):
    file = tmp_path / "tokens"
    token = add_user(file, "ada")
    with served(world.config(token_file=file)) as browser:
        yield browser, token, file


def test_without_the_right_token_nothing_is_told(users, world: World) -> None:
    browser, token, _ = users
    wrong = [token[:-1], token + "x", token.swapcase(), "", "x", "ada", hash_of(token), f"ada:{token}", "é" * 20]
    paths = (
        "/stores",
        "/jobs",
        f"/stores/{world.store}",
        f"/rankings/{world.ranking}",
        "/api/v1/stores",
        "/api/v1/openapi.json",
        "/board",
        "/",
    )
    cases = [
        (f"token {place}", "GET", path, {"headers": [(b"authorization", f"Bearer {one}".encode())]})
        for place, one in enumerate(wrong)
        for path in paths
    ]
    cases += [("the token in the address", "GET", f"{path}?token={token}", {}) for path in paths]
    cases += [("another scheme", "GET", path, {"headers": {"authorization": f"Basic {token}"}}) for path in paths]
    forged = sessions.new_cookie(b"x" * 32, "ada")
    cases += [("a forged cookie", "GET", path, {"headers": {"cookie": f"{sessions.COOKIE}={forged}"}}) for path in paths]
    cases += [("nobody's job", "POST", "/api/v1/jobs", {"json": {"store": world.store}})]
    assert refusals(browser, cases, (401,)) == []
    assert browser.client.get("/api/v1/stores", headers={"authorization": f"Bearer {token}"}).status_code == 200
    health = browser.client.get("/api/v1/health").json()
    assert (health["stores"], health["why"]) == (0, "")


def test_a_token_opens_a_session_and_removing_the_user_ends_it(users, world: World, capfd) -> None:
    browser, token, file = users
    assert (
        browser.client.get("/stores", headers={"accept": "text/html"}, follow_redirects=False).headers["location"] == "/login?next=/stores"
    )
    planted = browser.client.cookies.get(sessions.COOKIE, "")
    form = browser.token("/login")
    assert browser.send("/login", {"token": "wrong", "next": "/stores"}, form).status_code == 401
    entered = browser.send("/login", {"token": token, "next": "//evil.example"}, form)
    assert (entered.status_code, entered.headers["location"]) == (303, "/")
    assert browser.client.cookies[sessions.COOKIE] != planted
    assert "ada" in browser.page("/stores")
    assert token not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert remove_user(file, "ada")
    assert browser.client.get("/api/v1/stores").status_code == 401
    told = capfd.readouterr()
    assert token not in told.out + told.err


def test_cookies_end_and_cannot_be_changed() -> None:
    secret, now = b"k" * 32, time.time()
    cookie = sessions.new_cookie(secret, "ada", now)
    assert sessions.user_of(secret, cookie, now) == "ada"
    assert sessions.user_of(secret, cookie, now + sessions.LASTS + 1) is None
    assert sessions.user_of(secret, cookie.replace("ada", "bob"), now) is None
    assert sessions.user_of(b"l" * 32, cookie, now) is None
    assert not sessions.fits(secret, cookie, sessions.form_token(secret, sessions.new_cookie(secret, "ada", now)))


def test_a_file_of_users_that_others_may_change_is_refused(tmp_path) -> None:
    file = tmp_path / "tokens"
    add_user(file, "ada")
    first = file.read_text()
    token = add_user(file, "ada")  # a new one in place of the old one
    assert file.read_text() != first
    assert UserTokens(file).owner_of(token) == "ada"
    assert UserTokens(file).owner_of("x") is None
    with pytest.raises(UsageError, match="cannot name a user"):
        add_user(file, "a b\nroot")
    file.chmod(0o666)
    with pytest.raises(DataError, match="others may write"):
        UserTokens(file)
    file.chmod(0o600)
    file.write_text("ada secret\n")
    with pytest.raises(DataError, match="line 1"):
        UserTokens(file)
    with pytest.raises(DataError, match="no file"):
        UserTokens(tmp_path / "none")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.7", "::", "team.example"])
def test_an_address_that_others_reach_needs_users(host: str) -> None:
    with pytest.raises(UsageError, match="give token_file"):
        settings.build(ServeConfig, {"host": host}, "serve")
    assert ServeConfig(host=host, token_file="tokens").host == host


def test_submissions_are_counted_for_each_user_and_come_back(world: World, tmp_path) -> None:
    allowance = Allowance(3)
    for _ in range(3):
        allowance.spend("ada", 0.0)
    allowance.spend("bob", 0.0)
    with pytest.raises(HttpProblem) as refused:
        allowance.spend("ada", 1.0)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "20")
    allowance.spend("ada", 21.0)
    with served(world.copied(tmp_path).config(submissions=1)) as browser:
        question = {"store": world.other, **QUICK}
        first = browser.ask(**question)
        answer = browser.client.post("/api/v1/jobs", json={"store": world.other, "groups": 7, "folds": 3})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        browser.client.post(f"/api/v1/jobs/{first}/cancel", headers={"content-type": "application/json"})
