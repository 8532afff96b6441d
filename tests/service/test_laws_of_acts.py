"""What readers may change, and against whose allowance; and how a job stands, in words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asked import request, written

from layerscout.service.acts import change_job, keep_note, submit_verification
from layerscout.service.data.notes import Notes
from layerscout.service.following import standing
from layerscout.service.jobs.queue import Queue
from layerscout.service.jobs.records import JobOutcome, job_folder
from layerscout.service.problems import HttpProblem

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")


BEGIN = {"time": 100.0, "event": "begin", "total": 10, "unit": "files"}


def state_of(queue: Queue, **changes: Any) -> Any:
    spent: list[str] = []
    facts: dict[str, Any] = {
        "taking_jobs": lambda: queue,
        "runner": SimpleNamespace(wake=lambda: spent.append("woken")),
        "allowance": SimpleNamespace(spend=spent.append),
        "tidy": lambda text: text.replace("/secret/", ""),
        "spent": spent,
    }
    return SimpleNamespace(**facts | changes)


def test_a_retry_is_counted_against_whoever_asks_and_a_cancel_is_not(queue: Queue) -> None:
    state = state_of(queue)
    queue.submit(request())
    assert change_job(state, request().id, "cancel", "ada").state == "cancelled"
    assert state.spent == ["woken"]
    assert change_job(state, request().id, "retry", "ada").state == "queued"
    assert state.spent == ["woken", "ada", "woken"]
    with pytest.raises(HttpProblem, match=f"cannot be told to '{'x' * 40}'") as refused:
        change_job(state, request().id, "x" * 50, "ada")
    assert (refused.value.status, refused.value.hint) == (404, "cancel or retry")


def test_a_verification_is_one_job_a_store_and_counted_each_time(queue: Queue) -> None:
    state = state_of(
        queue,
        catalogue=SimpleNamespace(find=lambda name: name),
        verification=lambda found, who: request(9, kind="verify", store=found, who=who),
    )
    first, second = (submit_verification(state, "ls1-y", who) for who in ("ada", "bob"))
    assert (first.id, first.kind, first.store, second.who) == (second.id, "verify", "ls1-y", "ada")
    assert state.spent == ["ada", "woken", "bob", "woken"]


def test_a_note_needs_its_ranking_before_it_costs_anything(queue: Queue, tmp_path: Path) -> None:
    def missing(name: str) -> None:
        raise HttpProblem(404, "no ranking", kind="data")

    state = state_of(queue, results=SimpleNamespace(find=missing), notes=Notes(tmp_path / "notes"))
    with pytest.raises(HttpProblem):
        keep_note(state, "0" * 32, "ada", "x")
    assert state.spent == []
    state.results.find = lambda name: None
    assert keep_note(state, "0" * 32, "ada", "x").text == "x"
    assert state.spent == ["ada"]


def test_a_jobs_standing_hides_the_servers_places_and_ends_its_clock(queue: Queue) -> None:
    state = state_of(queue)
    queue.submit(request())
    folder = job_folder(queue.service, request().id)
    written(folder, BEGIN | {"time": 0.0}, {"event": "progress", "done": 1, "total": 2}, {"event": "say", "text": "reading /secret/x"})
    told = standing(state, request().id)
    assert (told["words"], told["said"], told["seconds_left"], told["left"], told["answer"]) == ("waiting", "reading x", None, "n/a", None)
    queue.claim(100)
    told = standing(state, request().id)
    assert told["words"] == "running"
    assert told["seconds_left"] > 0
    queue.cancel(request().id)
    assert standing(state, request().id)["words"] == "stopping"
    queue.finish(request().id, JobOutcome(state="failed", ended=1.0, error={"message": "at /secret/x", "hint": "h", "kind": "data"}))
    told = standing(state, request().id)
    assert (told["error"], told["seconds_left"]) == ({"message": "at x", "hint": "h", "kind": "data"}, None)


@pytest.mark.parametrize(("kind", "answer"), [("probe", f"/rankings/{request().id}"), ("verify", "/stores/ls1-x")])
def test_a_job_that_is_done_leads_to_its_answer(queue: Queue, kind: str, answer: str) -> None:
    queue.submit(request(kind=kind))
    queue.claim(100)
    assert standing(state_of(queue), request().id)["answer"] is None
    queue.finish(request().id, JobOutcome(state="done", ended=1.0))
    assert standing(state_of(queue), request().id)["answer"] == answer
