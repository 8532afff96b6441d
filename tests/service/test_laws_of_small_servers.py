"""A server over next to nothing: every page says what to do, nonsense in an address is never a bug, and every state of a job is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from asked import request
from example_records import example_ranking
from team import Browser, rows, served

from layerscout.cache import records
from layerscout.service.jobs.records import EVENTS, LOG, JobOutcome, job_folder
from layerscout.service.settings import ServeConfig
from layerscout.service.web.stores import _layers

NOTHING = ["²", "-1", "1e9", "9" * 4000, "٣", "0", "%00", "x" * 300, "<b>", "'", "nan", ".", "=", "a:asc", "a:b:c"]


@pytest.fixture(scope="module")
def place(tmp_path_factory, _no_waiting_for_the_disk) -> Path:
    """A root without stores, and results in which one ranking is whole and one has no layers."""
    found = tmp_path_factory.mktemp("small")
    (found / "root" / "stores").mkdir(parents=True)
    records.save(example_ranking(), found / "runs" / "whole" / "ranking.json")
    records.save(
        example_ranking().model_copy(update={"layers": (), "dataset_digest": "sha256:empty"}), found / "runs" / "empty" / "ranking.json"
    )
    return found


@pytest.fixture(scope="module")
def browser(place: Path):
    """A server that takes no jobs by itself: what is queued stays so."""
    with served(ServeConfig(roots=(str(place / "root"),), runs=(place / "runs",), memory="1GB", submissions=10_000)) as found:
        found.client.app.state.runner.stop()
        yield found


def ids_of(browser: Browser) -> dict[int, str]:
    """The rankings by how many layers they have."""
    return {one["layers"]: one["id"] for one in browser.client.get("/api/v1/rankings").json()["rankings"]}


def test_a_server_over_nothing_says_on_every_page_what_to_do(tmp_path: Path) -> None:
    with served(ServeConfig(roots=(str(tmp_path),), memory="1GB")) as bare:
        for path, words in (
            ("/decisions", "layerscout demo --preset quick"),
            ("/board", "layerscout store push"),
            ("/compare", "There are not two rankings here yet"),
            ("/jobs", "No jobs here yet"),
            ("/stores", ""),
            ("/rankings", ""),
            ("/runs", ""),
            ("/probe", "Rank the layers of a store"),
            ("/api", "/api/v1/health"),
        ):
            assert words in bare.page(path), path
        health = bare.client.get("/api/v1/health").json()
        assert (health["stores"], health["running"], health["takes_jobs"]) == (0, 0, True)


@pytest.mark.parametrize(
    "path",
    [
        "/stores?page={}",
        "/stores?sort={}",
        "/stores?filter={}",
        "/stores?q={}",
        "/rankings?sort={}",
        "/rankings?q={}",
        "/jobs?state={}",
        "/jobs?sort={}",
        "/board?sort={}",
        "/board?export={}",
        "/compare?ids={}",
        "/probe?store={}",
        "/probe?folds={}",
        "/login?next={}",
        "/stores/{}",
        "/jobs/{}",
        "/rankings/{}",
        "/runs/{}",
        "/decisions/{}",
        "/stores/{}/look?episode={}",
        "/datasets/{}/frames/{}/{}.png",
    ],
)
def test_nonsense_in_an_address_is_never_a_bug(browser: Browser, path: str) -> None:
    for word in NOTHING:
        answer = browser.client.get(path.replace("{}", word), headers={"accept": "text/html"})
        assert answer.status_code in (200, 303, 400, 404, 409, 413, 422), (path, word, answer.text[-300:])
        assert "this is a bug" not in answer.text, (path, word)
        assert "<b>" not in answer.text, (path, word)


@pytest.mark.parametrize(
    "query", ["w=²&w=1&w=1", "whatif=x:y", "sort=place:asc&panels=all", "panels=none", "held=layer:asc", "figures=layer:desc"]
)
def test_a_ranking_without_evidence_is_shown_under_any_parameters(browser: Browser, query: str) -> None:
    page = browser.page(f"/rankings/{ids_of(browser)[8]}?{query}")
    assert len(rows(page, "layers")) == 17
    assert len(rows(page, "what-if")) == 8


def test_a_ranking_without_layers_is_listed_everywhere_and_told_as_what_it_is(browser: Browser) -> None:
    name = ids_of(browser)[0]
    for path in ("/rankings", "/board", "/decisions", f"/compare?ids={name}+{ids_of(browser)[8]}"):
        browser.page(path)
    assert "this ranking has no layers" in browser.page(f"/rankings/{name}", 409)
    (task,) = (one for one in browser.client.get("/api/v1/decisions").json()["decisions"] if one["dataset"] == "sha256:empty")
    assert (task["layer"], task["surely_first"]) == (None, None)
    told = browser.client.get(f"/api/v1/decisions/{task['id']}").json()
    assert (told["how_sure"], told["command"], told["reasons"], told["rankings"]) == ("", "", [], [name])
    assert browser.client.get(f"/api/v1/rankings/{name}/pairs").json() == {"pairs": []}


def test_how_sure_a_first_place_is_is_not_said_where_it_was_not_measured(browser: Browser) -> None:
    """The example knows no distances to the best."""
    (task,) = (one for one in browser.client.get("/api/v1/decisions").json()["decisions"] if one["dataset"] == "sha256:0011aabb")
    assert (task["layer"], task["surely_first"]) == ("blocks.5", None)
    shown = {row[1]: row[3] for row in rows(browser.page("/decisions"), "tasks")}
    assert shown == {"tiny, blocks.5": "n/a", "not ranked yet": "n/a"}
    assert "How far blocks.6 lies behind was not measured." in browser.page(f"/decisions/{task['id']}")


def test_a_rankings_files_are_those_that_lie_there(browser: Browser, place: Path) -> None:
    name = ids_of(browser)[8]
    whole = browser.client.get(f"/api/v1/rankings/{name}/files/ranking.json")
    assert whole.content == (place / "runs" / "whole" / "ranking.json").read_bytes()
    assert whole.headers["x-layerscout-environment"] == "ENVIRONMENT"
    for missing in ("selection.json", "probe.html", "settings.json", "probe.json"):
        answer = browser.client.get(f"/api/v1/rankings/{name}/files/{missing}")
        assert answer.status_code == 404, missing
    assert browser.client.get(f"/api/v1/rankings/{name}/selection").status_code == 409
    assert browser.client.get(f"/rankings/{name}/selection.json").status_code == 409


def test_our_own_files_are_kept_for_ever_under_their_digest_and_not_under_another(browser: Browser) -> None:
    import re

    (style,) = re.findall(r'href="(/static/[^"]+/style\.css)"', browser.page("/stores"))
    found = browser.client.get(style)
    assert (found.status_code, found.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    for other in (style.replace("/static/", "/static/x"), style.replace("style", "other"), style.replace("style.css", "%2e%2e")):
        assert browser.client.get(other).status_code == 404, other


def test_what_cannot_be_done_at_an_address_is_said(browser: Browser) -> None:
    for method, path, status in (
        ("DELETE", "/api/v1/jobs", 405),
        ("PUT", "/api/v1/stores", 405),
        ("GET", "/api/v1/plans", 405),
        ("GET", "/api/v2/x", 404),
    ):
        told = browser.client.request(method, path)
        assert told.status_code == status, (method, path)
        assert told.json()["detail"] in (f"{method} is not possible here", "there is nothing at this address")
    assert "there is nothing at this address" in browser.page("/nowhere", 404)


# --- jobs


@pytest.fixture
def jobs(browser: Browser):
    """A queue whose jobs stand in every state, each with a log and events."""
    queue = browser.client.app.state.queue
    ends = {1: ("done", 40.0), 2: ("done", 720.0), 3: ("failed", 12600.0), 4: ("cancelled", 5.0)}
    for number in range(1, 7):
        queue.submit(request(number, kind="probe" if number != 2 else "verify", about={"backbone": f"model-{number}", "stores": ["ls1-x"]}))
    for number, (state, seconds) in ends.items():
        assert queue.claim(100, 1000.0).id == request(number).id
        error = {"message": "it <b>broke</b>", "hint": "mend it", "kind": "data", "exit_code": 4} if state == "failed" else None
        queue.finish(request(number).id, JobOutcome(state=state, ended=1000.0 + seconds, error=error))
    assert queue.claim(100).id == request(5).id
    for number in (3, 5):
        folder = job_folder(queue.service, request(number).id)
        (folder / LOG).write_bytes(b"line <one>\n\x1b[31mred\n")
        events = [{"time": 0.0, "event": "begin", "total": 8, "unit": "layers"}, {"event": "progress", "done": 2, "total": 8}]
        (folder / EVENTS).write_text("".join(json.dumps(one) + "\n" for one in events), encoding="utf-8")
    yield queue
    with queue.database.change() as connection:
        connection.execute("DELETE FROM jobs")


def test_jobs_are_sorted_by_how_long_they_took_and_not_by_the_words_for_it(browser: Browser, jobs: Any) -> None:
    assert [row[6] for row in rows(browser.page("/jobs?sort=took:asc"), "jobs")] == ["5 s", "40 s", "12 min", "3.5 h", "–", "–"]
    assert [row[6] for row in rows(browser.page("/jobs?sort=took:desc"), "jobs")][:2] == ["3.5 h", "12 min"]
    assert [row[5] for row in rows(browser.page("/jobs"), "jobs")] == ["waiting", "running", "cancelled", "failed", "done", "done"]
    assert [row[2] for row in rows(browser.page("/jobs?state=done"), "jobs")] == ["model-2", "model-1"]
    assert len(rows(browser.page("/jobs?state=nothing"), "jobs")) == 6
    exported = browser.client.get("/jobs?export=jobs.json").json()
    assert [one["job"] for one in exported] == [request(number).id[:12] for number in (6, 5, 4, 3, 2, 1)]  # twelve noughts, and no number


@pytest.mark.parametrize(
    ("number", "holds", "lacks"),
    [
        (1, ("Done", "It took 40 s.", "See the ranking", "Ranking the layers of model-1"), ("Try again", "Cancel</button>")),
        (2, ("Done", "It took 12 min.", "Back to the store", "Verifying the files of model-2"), ("Try again",)),
        (3, ("Failed", "it &lt;b&gt;broke&lt;/b&gt;. mend it", "Try again", "line &lt;one&gt;\n\\x1b[31mred"), ("Cancel</button>", "\x1b")),
        (4, ("Cancelled", "Try again"), ("Cancel</button>",)),
        (5, ("Running", "2 of 8 layers", "Cancel</button>", "ls1-x, not here any more"), ("Try again",)),
        (6, ("Waiting", "0 jobs before it", "Nothing was said yet."), ("Try again",)),
    ],
)
def test_a_jobs_page_says_how_it_stands_and_what_can_be_done(
    browser: Browser, jobs: Any, number: int, holds: tuple[str, ...], lacks: tuple[str, ...]
) -> None:
    page = browser.page(f"/jobs/{request(number).id}")
    assert [words for words in holds if words not in page] == []
    assert [words for words in lacks if words in page] == []


def test_a_program_is_told_of_a_job_what_its_page_says(browser: Browser, jobs: Any) -> None:
    def told(number: int) -> Any:
        return browser.client.get(f"/api/v1/jobs/{request(number).id}").json()

    assert (told(1)["answer"], told(2)["answer"], told(5)["answer"]) == (request(1).id, None, None)
    assert told(3)["error"] == {"message": "it <b>broke</b>", "hint": "mend it", "kind": "data", "exit_code": 4}
    assert (told(5)["progress"]["done"], told(5)["progress"]["total"], told(5)["progress"]["unit"]) == (2, 8, "layers")
    assert told(5)["progress"]["seconds_left"] > 0
    assert told(3)["progress"]["seconds_left"] is None
    assert browser.client.get(f"/api/v1/jobs/{request(3).id}/log").text == "line <one>\n\x1b[31mred\n"
    assert browser.client.get("/api/v1/jobs?state=nothing").status_code == 422
    assert [one["id"] for one in browser.client.get("/api/v1/jobs?state=failed").json()["jobs"]] == [request(3).id]
    answered = browser.client.get(f"/api/v1/jobs/{ids_of(browser)[8]}").json()  # of the command line
    assert (answered["who"], answered["state"], answered["kind"]) == ("the command line", "done", "probe")


def test_a_stream_of_a_job_that_has_ended_is_one_event(browser: Browser, jobs: Any) -> None:
    with browser.client.stream("GET", f"/jobs/{request(3).id}/events") as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert [line.partition(":")[0] for line in lines] == ["event", "data"]
    assert json.loads(lines[1].removeprefix("data: "))["error"]["message"] == "it <b>broke</b>"
    assert browser.client.get(f"/jobs/{'0' * 31}9/events").status_code == 404


def test_a_link_to_a_layer_holds_its_whole_name() -> None:
    layer = {"name": "a&b=c #1?", "depth": 0, "role": "layer", "width": 8, "dtype": "float32", "bytes": 32}
    from urllib.parse import parse_qs, urlsplit

    one: Any = type("One", (), {"id": "ls1-x"})
    cell: Any = _layers(one, {"layers": [layer]}).rows[0][0]
    assert parse_qs(urlsplit(cell.href).query) == {"layer": ["a&b=c #1?"]}
    assert urlsplit(cell.href).path == "/stores/ls1-x/look"
