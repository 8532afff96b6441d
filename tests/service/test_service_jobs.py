"""Questions become jobs that run once: whoever asks, whoever dies, and whatever happens to the database; with the command's own bytes."""

from __future__ import annotations

import html
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from team import QUICK, World, served

from layerscout.cache import records
from layerscout.errors import BudgetError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.keys import OUTPUTS
from layerscout.probe.run import plan, run
from layerscout.service.jobs.progress import progress_of
from layerscout.service.jobs.queue import LEASE_SECONDS, MOST_ATTEMPTS, Queue
from layerscout.service.jobs.quotes import Limits
from layerscout.service.jobs.records import OUTCOME, REQUEST, JobOutcome, JobRequest, job_folder


def request(number: int = 1, memory: int = 10) -> JobRequest:
    return JobRequest(
        id=f"{number:032x}", kind="probe", question={}, about={}, store="ls1-x", who="ada", submitted=float(number), memory=memory
    )


def queue_of(folder: Path, answered=lambda asked: False) -> Queue:
    return Queue(folder, answered)


@pytest.fixture
def queue(tmp_path):
    made = queue_of(tmp_path)
    yield made
    made.database.close()


# --- the whole way, in processes


def test_a_job_gives_the_commands_bytes_and_each_finds_the_others_answers(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    with served(
        here.config(),
    ) as browser:
        assert browser.ask(store=here.store, **QUICK) == here.ranking  # the command's answer, at once
        assert browser.job(here.ranking)["state"] == "done"
        with ThreadPoolExecutor(10) as pool:
            ids = set(pool.map(lambda _: browser.ask(store=here.other, **QUICK), range(50)))
        assert len(ids) == 1
        (job,) = ids
        assert browser.until(job, "done", "failed")["error"] is None
        folder = here.root / "service" / "results" / job
        assert sum(json.loads(line)["event"] == "begin" for line in (folder / "events.jsonl").read_text().splitlines()) == 1
    config = ProbeConfig(store=here.other, root=here.root, out=tmp_path / "mine", threads=1, **QUICK)
    planned = plan(config)
    assert planned.pending == ()  # the server's evidence is found
    fresh = ProbeConfig(store=world.other, root=world.root, out=tmp_path / "fresh", threads=1, **QUICK)
    run(plan(fresh))
    for name in OUTPUTS:
        if name != "probe.html":  # says on which day
            assert (folder / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes(), name


def test_a_server_that_is_killed_in_a_job_loses_nothing(world: World, tmp_path: Path) -> None:
    """Killed before its child reports anything; the next server goes on, and the answer is the command's."""
    here = world.copied(tmp_path)
    program = f"""
from layerscout.processor import name_core_type; name_core_type()
from layerscout.cli import main
main(["serve", "--root", {str(here.root)!r}, "--port", "0", "--memory", "2GB"])
"""
    server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = next(word for word in server.stdout.readline().split() if word.startswith("http://"))
        import httpx2

        question = {"store": here.other, "groups": 6, "folds": 3, "shifts": 3, "penalties": [1e-3, 1e-1]}
        with httpx2.Client(base_url=f"{address}/api/v1", timeout=60) as client:
            job = client.post("/jobs", json=question).json()["id"]
            end = time.monotonic() + 60
            while client.get(f"/jobs/{job}").json()["state"] == "queued":
                assert time.monotonic() < end
                time.sleep(0.02)
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        server.stdout.close()
    folder = job_folder(here.root / "service", job)
    assert (folder / REQUEST).is_file()
    with served(here.config(runs=())) as browser:
        found = browser.until(job, "done", "failed")
        assert (found["state"], found["error"]) == ("done", None)
    run(plan(ProbeConfig(store=world.other, root=world.root, out=tmp_path / "fresh", threads=1, **QUICK)))
    assert (folder / "ranking.json").read_bytes() == (tmp_path / "fresh" / "ranking.json").read_bytes()


def test_a_job_is_cancelled_and_tried_again_and_a_failure_says_why(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world.copied(tmp_path)
    with served(here.config(memory="2GB")) as browser:
        job = browser.ask(store=here.other, **QUICK)
        token = browser.token()
        assert browser.send(f"/jobs/{job}/cancel", {}, token).status_code == 303
        assert browser.until(job, "cancelled", "done")["state"] == "cancelled"
        assert "Try again" in browser.page(f"/jobs/{job}")
        chunk = next((here.root / "stores" / here.other / "layers" / "blocks.1").glob("c/*/*"))
        whole = chunk.read_bytes()
        chunk.write_bytes(whole[:-8] + b"damaged!")
        assert browser.send(f"/jobs/{job}/retry", {}, token).status_code == 303
        found = browser.until(job, "failed", "done")
        assert (found["state"], found["error"]["kind"], found["error"]["exit_code"]) == ("failed", "data", 4)
        assert str(here.root) not in json.dumps(found)
        page = browser.page(f"/jobs/{job}")
        assert found["error"]["message"] in html.unescape(page)
        assert str(here.root) not in page
        chunk.write_bytes(whole)
        shutil.move(here.root / "stores" / here.other, tmp_path / "gone")
        monkeypatch.setattr("layerscout.service.data.catalogue.FRESH_SECONDS", 0.0)  # it looks again at once, not after two seconds
        browser.send(f"/jobs/{job}/retry", {}, token)
        found = browser.until(job, "failed", "done")
        assert "no store" in found["error"]["message"]


def test_a_store_is_verified_as_a_job(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    with served(here.config()) as browser:
        for stray, words in ((None, "no problem"), ("stray.txt", "stray")):
            if stray:
                (here.root / "stores" / here.other / stray).write_text("x")
            answer = browser.send(f"/stores/{here.other}/verify", {})
            job = answer.headers["location"].rpartition("/")[2]
            assert browser.until(job, "done", "failed")["error"] is None
            assert words in browser.page(f"/stores/{here.other}")


def test_a_store_that_was_pushed_is_probed_by_the_server_itself(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    with served(here.config(probe_new=True)) as browser:
        end = time.monotonic() + 30
        while not (found := browser.client.get("/api/v1/jobs").json()["jobs"]):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert [(one["store"], one["who"]) for one in found] == [(here.other, "this server")]
        browser.client.post(f"/api/v1/jobs/{found[0]['id']}/cancel", json={})


# --- the queue


def test_two_servers_on_one_root_run_a_job_once(tmp_path: Path) -> None:
    queues = [queue_of(tmp_path) for _ in range(2)]
    queues[0].submit(request())
    with ThreadPoolExecutor(8) as pool:
        claimed = [job for job in pool.map(lambda at: queues[at % 2].claim(100), range(16)) if job]
    assert len(claimed) == 1
    for one in queues:
        one.database.close()


def test_a_stale_lease_is_taken_over_and_a_living_one_is_not(tmp_path: Path) -> None:
    first, second = queue_of(tmp_path), queue_of(tmp_path)
    first.owner, now = f"ffffffff:{os.getpid()}:1:x", 1000.0  # on another machine
    first.submit(request())
    assert first.claim(100, now)
    assert second.claim(100, now + 1) is None
    assert first.confirm([request().id], now + LEASE_SECONDS) == set()
    assert second.claim(100, now + LEASE_SECONDS + 1) is None
    taken = second.claim(100, now + 2 * LEASE_SECONDS + 1)
    assert taken is not None
    assert taken.attempts == 2
    assert first.confirm([request().id], now + 3 * LEASE_SECONDS) == {request().id}
    first.finish(request().id, JobOutcome(state="failed", ended=1.0))  # too late: it is another server's now
    assert second.find(request().id).state == "running"
    for one in (first, second):
        one.database.close()


def test_a_job_that_kills_every_server_fails_in_the_end(tmp_path: Path) -> None:
    made = queue_of(tmp_path)
    made.submit(request())
    host = made.owner.partition(":")[0]
    for attempt in range(MOST_ATTEMPTS):
        made.owner = f"{host}:999999999:1:{attempt}"  # no such process
        assert made.claim(100) is not None
    made.owner = f"{host}:999999999:1:last"
    assert made.claim(100) is None
    found = made.find(request().id)
    assert found.error
    assert (found.state, found.error["kind"]) == ("failed", "budget")
    made.database.close()


def test_jobs_begin_in_order_and_only_where_they_fit(queue: Queue) -> None:
    for number, memory in ((1, 50), (2, 10), (3, 10)):
        queue.submit(request(number, memory))
    assert queue.claim(20).id == request(2).id
    assert queue.waiting_before(queue.find(request(3).id)) == 1
    assert queue.claim(100).id == request(1).id


def test_a_job_that_does_not_fit_is_refused_before_it_is_queued(world: World) -> None:
    with pytest.raises(BudgetError, match="memory"):
        Limits(1, 1000).threads(2000)
    assert Limits(1, 4000).threads(1000) >= 1
    with served(world.config(memory="10kB")) as browser:
        answer = browser.client.post("/api/v1/jobs", json={"store": world.other, "groups": 6, "folds": 3})
        assert (answer.status_code, answer.json()["kind"], answer.json()["exit_code"]) == (507, "budget", 5)
        page = browser.send("/probe", {"store": world.other, "groups": "6", "folds": "3", "act": "submit"})
        assert (page.status_code, "takes" in page.text, 'value="6"' in page.text) == (507, True, True)  # what was typed stays
        assert browser.client.get("/api/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize("when", ["before the insert", "after the insert", "at the start", "in it", "after the result"])
def test_the_kill_matrix_of_a_server(tmp_path: Path, when: str) -> None:
    """What lies on disk when a server dies at that moment is enough for the next one: nothing is lost, nothing runs twice to another result."""
    answers: set[str] = set()
    dying = queue_of(tmp_path, lambda asked: asked.id in answers)
    dying.owner = f"{dying.owner.partition(':')[0]}:999999999:1:x"
    asked = request()
    if when == "before the insert":
        records.save(asked, job_folder(tmp_path, asked.id) / REQUEST)
    else:
        dying.submit(asked)
    if when in ("at the start", "in it", "after the result"):
        assert dying.claim(100)
    if when == "after the result":
        answers.add(asked.id)
        records.save(JobOutcome(state="done", ended=1.0), job_folder(tmp_path, asked.id) / OUTCOME)
    dying.database.close()
    after = queue_of(tmp_path, lambda asked: asked.id in answers)
    after.recover()
    claimed = after.claim(100)
    assert claimed is not None
    assert claimed.id == asked.id
    assert after.claim(100) is None
    after.finish(asked.id, JobOutcome(state="done", ended=2.0))
    assert after.find(asked.id).state == "done"
    again, new = after.submit(asked)
    assert (again.state, new) == (
        ("done", False) if when == "after the result" else ("queued", True)
    )  # without an answer it is asked again
    after.database.close()


def test_a_database_that_was_deleted_is_made_again_from_the_files(tmp_path: Path) -> None:
    made = queue_of(tmp_path, lambda asked: asked.id == request(1).id)
    for number in (1, 2, 3):
        made.submit(request(number))
    records.save(
        JobOutcome(state="failed", ended=5.0, error={"message": "m", "hint": "h", "kind": "data", "exit_code": 4}),
        job_folder(tmp_path, request(2).id) / OUTCOME,
    )
    for path in tmp_path.glob("service.sqlite*"):
        path.unlink()
    states = {job.id: job.state for job in made.newest()}  # the same server goes on
    assert states == {request(1).id: "done", request(2).id: "failed", request(3).id: "queued"}
    assert made.find(request(2).id).error == {"message": "m", "hint": "h", "kind": "data", "exit_code": 4}
    made.database.close()


@pytest.mark.parametrize("damage", ["noise", "truncated", "a page", "not a database"])
def test_a_damaged_database_is_said_set_aside_and_made_again(tmp_path: Path, damage: str) -> None:
    made = queue_of(tmp_path)
    for number in range(1, 40):
        made.submit(request(number))
    made.database.rows("SELECT 1")
    with made.database.change() as connection:
        pass
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    made.database.close()
    path = tmp_path / "service.sqlite"
    content = path.read_bytes()
    path.write_bytes(
        {
            "noise": os.urandom(len(content)),
            "truncated": content[: len(content) // 2],
            "a page": content[:4096] + os.urandom(4096) + content[8192:],
            "not a database": b"hello\n",
        }[damage]
    )
    after = queue_of(tmp_path)
    assert len(after.newest()) == 39
    assert "lies aside" in after.database.notice
    assert list(tmp_path.glob("service.sqlite.damaged-*"))
    after.database.close()


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch) -> None:
    made = queue_of(tmp_path)
    made.submit(request())

    def full(*words: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("layerscout.service.jobs.queue._insert", full)
    with pytest.raises(BudgetError, match="full"):
        made.submit(request(2))
    monkeypatch.undo()
    assert made.find(request().id).state == "queued"
    made.database.close()


def test_progress_foretells_the_end_and_survives_half_a_line(tmp_path: Path) -> None:
    events = [
        {"time": 100.0, "event": "begin", "task": "probe", "total": 40, "unit": "spans"},
        {"time": 110.0, "event": "progress", "done": 10, "total": 40, "layer": "b"},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in events) + '{"time": 111, "eve')
    found = progress_of(tmp_path, now=110.0)
    assert (found.done, found.total, found.seconds_left, found.layer) == (10, 40, 30.0, "b")
    assert progress_of(tmp_path / "none").total == 0


def test_a_root_that_cannot_be_written_to_serves_reading_and_says_why(world: World, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("layerscout.service.data.roots.writable", lambda folder: False)
    with served(world.config()) as browser:
        page = browser.page("/stores")
        assert "No jobs can be taken" in page
        assert world.store[:12] in page
        browser.page(f"/rankings/{world.ranking}")
        answer = browser.client.post("/api/v1/jobs", json={"store": world.other, "groups": 6, "folds": 3})
        assert answer.status_code == 503
        assert "may not write" in answer.json()["detail"]
        assert browser.client.get("/api/v1/health").json()["takes_jobs"] is False
        assert browser.send(f"/rankings/{world.ranking}/notes", {"text": "x"}).status_code == 503
