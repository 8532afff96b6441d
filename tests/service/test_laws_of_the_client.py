"""The client against answers of a server that is told what to say: every request as documented, every refusal as the command's own error."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from layerscout.errors import BudgetError, DataError, LayerscoutError, MissingExtraError, UsageError
from layerscout.service import client
from layerscout.service.client import OUTPUTS, Client
from layerscout.service.problems import MEDIA_TYPE, HttpProblem, as_error, as_problem, problem_details

URL = "http://team.example:8347"
JOB = "6" * 32
VIEW = {
    "id": JOB,
    "kind": "probe",
    "question": {},
    "store": "ls1-x",
    "who": "ada",
    "submitted": 1.0,
    "state": "queued",
    "memory": 1,
    "started": None,
    "ended": None,
    "answer": None,
    "error": None,
    "progress": {"done": 0, "total": 0, "unit": "", "seconds_left": None, "said": "", "layer": "", "waiting_before": 0},
}


def team(answer: Callable[[Any], Any], **options: Any) -> Client:
    return Client(URL, transport=httpx2.MockTransport(answer), **options)


def problem(error: Exception) -> Any:
    found = as_problem(error)
    return httpx2.Response(found.status, headers={"content-type": MEDIA_TYPE}, content=json.dumps(problem_details(found, "/x")))


def job(**changes: Any) -> Any:
    return httpx2.Response(200, json=VIEW | changes)


# --- what is sent


@pytest.mark.parametrize(
    ("call", "method", "target", "body"),
    [
        (lambda one: one.job(JOB), "GET", f"/jobs/{JOB}", None),
        (lambda one: one.cancel(JOB), "POST", f"/jobs/{JOB}/cancel", {}),
        (lambda one: one.retry(JOB), "POST", f"/jobs/{JOB}/retry", {}),
        (lambda one: one.verify("best"), "POST", "/stores/best/verify", {}),
        (lambda one: one.submit({"store": "best", "folds": 3}), "POST", "/jobs", {"store": "best", "folds": 3}),
    ],
)
def test_a_request_about_a_job_is_one_with_the_users_token(call: Any, method: str, target: str, body: Any) -> None:
    seen: list[Any] = []

    def answer(request: Any) -> Any:
        seen.append(request)
        return job()

    with team(answer, token="secret") as one:
        assert call(one).id == JOB
    (request,) = seen
    assert (request.method, request.url.raw_path.decode()) == (method, f"/api/v1{target}")
    assert request.headers["authorization"] == "Bearer secret"
    assert (json.loads(request.content) if request.content else None) == body


@pytest.mark.parametrize(
    ("call", "target"),
    [
        (
            lambda one: one.stores("a&b é", ("rows>1", "x=2"), "id:asc", 3),
            "/stores?q=a%26b+%C3%A9&filter=rows%3E1&filter=x%3D2&sort=id%3Aasc&page=3",
        ),
        (lambda one: one.jobs(), "/jobs"),
        (lambda one: one.jobs("failed"), "/jobs?state=failed"),
        (lambda one: one.rankings("sha256:1"), "/rankings?dataset=sha256%3A1"),
        (lambda one: one.rankings(store="ls1-x"), "/rankings?store=ls1-x"),
        (lambda one: one.what_if(JOB, (0.25, 1e-7, 1.0)), f"/rankings/{JOB}/what-if?w=0.25&w=1e-07&w=1"),
        (lambda one: one.compare((JOB, "7" * 32)), f"/compare?ids={JOB}&ids={'7' * 32}"),
        (lambda one: one.decision("sha256:abc"), "/decisions/abc"),
        (lambda one: one.decision("abc"), "/decisions/abc"),
        (lambda one: one.look("best", rows=True), "/stores/best/look?layer=&episode=0&target=reward&rows=true"),
    ],
)
def test_what_is_asked_for_stands_in_the_address(call: Any, target: str) -> None:
    """Encoded, so that no word of it is taken for another parameter."""
    seen: list[str] = []

    def answer(request: Any) -> Any:
        seen.append(request.url.raw_path.decode().replace("%20", "+"))
        return problem(DataError("enough"))

    assert "authorization" not in team(answer)._http.headers
    with team(answer) as one, pytest.raises(DataError, match="enough"):
        call(one)
    assert seen == [f"/api/v1{target}"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?b", "a#b", "a%2fb", "a\\b"])
def test_what_is_no_name_is_never_sent(name: str) -> None:
    with team(lambda request: pytest.fail("sent")) as one:
        for call in (one.store, one.job, one.cancel, one.ranking, one.selection, one.notes, one.runs, one.verify, one.decision):
            with pytest.raises(UsageError, match="is no id or name"):
                call(name)
        with pytest.raises(UsageError):
            next(one.events(name))


def test_an_address_may_end_in_a_bar() -> None:
    assert Client(f"{URL}//").url == URL


# --- what is answered


@pytest.mark.parametrize(
    "error",
    [
        UsageError("folds is 2", "give 3 or more"),
        DataError("store x is damaged", "layerscout store verify x"),
        BudgetError("it takes 9 GB", "ask for less"),
        MissingExtraError("not installed", "pip install"),
        HttpProblem(404, "no store 'x' here", "look at the list", "data"),
        HttpProblem(429, "60 submissions a minute are allowed", "try again in 1 s"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_what_it_was(error: LayerscoutError) -> None:
    """The way there and back keeps the message, the hint, the kind and the exit code."""
    with team(lambda request: problem(error)) as one, pytest.raises(LayerscoutError) as raised:
        one.job(JOB)
    found = raised.value
    assert (str(found), found.hint, found.kind, found.exit_code) == (str(error), error.hint, error.kind, error.exit_code)


@pytest.mark.parametrize(
    ("error", "status", "kind", "words"),
    [
        (OSError(28, "No space left on device"), 507, "budget", "No space left on device"),
        (MemoryError(), 507, "budget", "out of memory"),
        (RuntimeError("can't start new thread"), 507, "budget", "can't start new thread"),
        (KeyError("/secret/place"), 500, "bug", "this is a bug: KeyError"),
        (FileNotFoundError(2, "No such file", "/secret/place"), 500, "bug", "this is a bug: FileNotFoundError"),
    ],
)
def test_a_shortage_is_told_as_one_and_a_bug_keeps_its_words_to_itself(error: Exception, status: int, kind: str, words: str) -> None:
    found = as_problem(error)
    assert (found.status, found.kind, str(found)) == (status, kind, words)
    assert found.hint
    assert "secret" not in json.dumps(problem_details(found, "/x"))
    back = as_error(problem_details(found, "/x"))
    assert (back.kind, back.exit_code) == (kind, {"budget": 5, "bug": 1}[kind])


def test_an_error_document_may_lack_everything() -> None:
    found = as_error({})
    assert (str(found), found.hint, found.kind, found.exit_code) == ("the server refused", "", "error", 1)
    assert str(as_error({"title": "Refused", "detail": ""})) == "Refused"


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>hello</html>"),
        httpx2.Response(200, json={"id": JOB}),  # of another version, say
        httpx2.Response(200, content=b""),
        httpx2.Response(303, headers={"location": "/login"}),
        httpx2.Response(502, text="Bad gateway"),
        httpx2.Response(500, headers={"content-type": MEDIA_TYPE}, content=b'{"detail": "cut'),
        httpx2.Response(500, headers={"content-type": MEDIA_TYPE}, content=b"[]"),
    ],
    ids=lambda answer: f"{answer.status_code} {answer.text[:12]}",
)
def test_whoever_is_no_server_of_ours_is_told_so(answer: Any) -> None:
    told = f"^{URL} answered {answer.status_code}, and is no server of layerscout"
    with team(lambda request: answer) as one, pytest.raises(DataError, match=told):
        one.job(JOB)


def test_a_server_that_goes_away_is_told_in_one_line() -> None:
    def gone(request: Any) -> Any:
        raise httpx2.ConnectError("")

    with team(gone) as one:
        for call in (one.health, lambda: next(one.events(JOB))):
            with pytest.raises(DataError, match=f"^the server at {URL} does not answer: ConnectError$"):
                call()


class Torn(httpx2.SyncByteStream):
    """A stream of events that breaks after some."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts

    def __iter__(self):
        yield from self.parts
        raise httpx2.ReadError("the line broke")


def test_a_stream_that_breaks_tells_what_came_and_then_that_it_broke() -> None:
    stream = Torn(b'event: progress\ndata: {"state": "queued"}\n\n', b": still here\n\n", b'event: progress\ndata: {"state": "run')
    with team(lambda request: httpx2.Response(200, stream=stream)) as one:
        events = one.events(JOB)
        assert next(events) == {"state": "queued"}
        with pytest.raises(DataError, match="does not answer: the line broke"):
            next(events)


def test_a_stream_of_a_job_that_is_not_there_is_refused_as_anywhere() -> None:
    with team(lambda request: problem(HttpProblem(404, "no job here", "look", "data"))) as one, pytest.raises(DataError, match="no job"):
        next(one.events(JOB))


# --- waiting


def test_waiting_tells_every_look_and_ends_with_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    states, slept, seen = ["queued", "running", "running", "done"], [], []
    answers = iter(states)
    monkeypatch.setattr(client.time, "sleep", slept.append)
    with team(lambda request: job(state=next(answers))) as one:
        assert one.wait(JOB, lambda view: seen.append(view.state)).state == "done"
    assert seen == states
    assert slept == [client.LOOK_SECONDS] * 3


def test_a_job_that_failed_raises_its_own_error_and_a_cancelled_one_says_so() -> None:
    error = {"message": "no memory", "hint": "ask for less", "kind": "budget", "exit_code": 5}
    with team(lambda request: job(state="failed", error=error)) as one, pytest.raises(BudgetError, match="no memory") as raised:
        one.wait(JOB)
    assert raised.value.hint == "ask for less"
    with team(lambda request: job(state="cancelled")) as one, pytest.raises(DataError, match=f"job {JOB} was cancelled at {URL}"):
        one.wait(JOB)


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_a_download_writes_every_output_and_the_one_that_answers_for_all_last(tmp_path) -> None:
    with team(lambda request: httpx2.Response(200, content=request.url.path.encode())) as one:
        written = one.download(JOB, tmp_path / "probe")
    assert [path.name for path in written] == list(OUTPUTS)
    assert written[-1].name == "probe.json"
    assert all(path.read_bytes() == f"/api/v1/rankings/{JOB}/files/{path.name}".encode() for path in written)


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_a_download_that_is_refused_in_the_middle_leaves_nothing_that_looks_whole(tmp_path) -> None:
    def answer(request: Any) -> Any:
        return problem(DataError("gone")) if request.url.path.endswith("probe.html") else httpx2.Response(200, content=b"x")

    with team(answer) as one, pytest.raises(DataError, match="gone"):
        one.download(JOB, tmp_path)
    assert not (tmp_path / "probe.json").exists()
