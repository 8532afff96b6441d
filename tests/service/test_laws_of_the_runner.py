"""The runner and the process of a job by themselves: what begins, and what ends and how."""

from __future__ import annotations

import errno
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asked import outcome_of, request

from layerscout.cache import records
from layerscout.errors import BudgetError, DataError
from layerscout.service.jobs import child
from layerscout.service.jobs.queue import Queue
from layerscout.service.jobs.quotes import Limits
from layerscout.service.jobs.records import OUTCOME, JobOutcome, ServiceJob, job_folder
from layerscout.service.jobs.runner import STOP_SECONDS, Runner, Running
from layerscout.service.problems import HttpProblem

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")


BEGIN = {"time": 100.0, "event": "begin", "total": 10, "unit": "files"}


# --- the process of a job


class Process:
    """A process that ends when it is told to, with the code that it was given."""

    def __init__(self, code: int | None = None) -> None:
        self.returncode, self.told, self.stdin = code, [], io.BytesIO()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> None:
        self.told.append("wait")

    def terminate(self) -> None:
        self.told.append("terminate")

    def kill(self) -> None:
        self.told.append("kill")


class Known:
    """Quotes and results that know every question; ``looked`` counts how often results were to be looked at anew."""

    def __init__(self) -> None:
        self.looked = 0
        self.results = self

    def look_again(self) -> None:
        self.looked += 1

    def quote(self, question: Any) -> Any:
        return SimpleNamespace(id=request().id, config={"store": question.store})


@pytest.fixture
def runner(queue: Queue, monkeypatch: pytest.MonkeyPatch):
    made = Runner(queue, Known(), Limits(1, 100))  # type: ignore[arg-type]
    queue.submit(request(question={"store": "ls1-x"}))
    monkeypatch.setattr("layerscout.service.jobs.runner.subprocess.Popen", lambda *words, **options: Process())
    return made


def only(runner: Runner) -> Running:
    (found,) = runner.running.values()
    return found


def turned(runner: Runner) -> ServiceJob:
    runner._turn()
    return runner.queue.find(request().id)


def test_a_job_gets_one_line_and_keeps_its_input_open(runner: Runner) -> None:
    outcome = outcome_of(runner.queue, 1)
    outcome.write_text("of an earlier try", encoding="utf-8")
    assert turned(runner).state == "running"
    stdin: Any = only(runner).process.stdin
    told = json.loads(stdin.getvalue())
    folder = job_folder(runner.queue.service, request().id)
    assert told == {"config": {"store": "ls1-x"}, "kind": "probe", "folder": str(folder), "service": str(runner.queue.service)}
    assert not outcome.exists()


@pytest.mark.parametrize(
    ("code", "words"),
    [(-9, "was ended by signal 9"), (1, "ended with code 1"), (0, "ended with code 0")],
    ids=["killed", "failed", "silent"],
)
def test_a_process_that_says_nothing_of_its_end_has_failed(runner: Runner, code: int, words: str) -> None:
    runner._turn()
    process: Any = only(runner).process
    process.returncode = code
    runner._not_before = 1e18
    found = turned(runner)
    assert found.error
    assert (found.state, found.error["kind"], found.error["message"]) == ("failed", "budget", f"the job's process {words}")
    assert process.stdin.closed
    assert runner.quotes.looked == 1  # type: ignore[attr-defined]


def test_what_a_process_says_of_its_end_counts(runner: Runner) -> None:
    runner._turn()
    process: Any = only(runner).process
    process.returncode = 1
    error = {"message": "m", "hint": "h", "kind": "data", "exit_code": 4}
    records.save(JobOutcome(state="failed", ended=7.0, error=error), outcome_of(runner.queue, 1))
    found = turned(runner)
    assert (found.state, found.ended, found.error) == ("failed", 7.0, error)


@pytest.mark.parametrize("torn", [b"", b'{"format": "layerscout', b"[]", b"\xff\xfe"])
def test_what_cannot_be_read_of_an_end_is_as_if_nothing_was_said(runner: Runner, torn: bytes) -> None:
    """The job would be running for ever."""
    runner._turn()
    outcome_of(runner.queue, 1).write_bytes(torn)
    process: Any = only(runner).process
    process.returncode = 1
    job = turned(runner)
    assert job.error
    assert (job.state, job.error["message"]) == ("failed", "the job's process ended with code 1")


def test_a_job_that_another_process_still_does_waits_uncounted(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    runner._turn()
    process: Any = only(runner).process
    process.returncode = child.BUSY
    found = turned(runner)
    assert (found.state, found.attempts, runner.running) == ("queued", 0, {})
    runner._turn()  # and not at once
    assert runner.running == {}
    runner._not_before = 0.0
    assert turned(runner).attempts == 1


def test_a_job_is_asked_to_end_and_ended_when_it_does_not(runner: Runner) -> None:
    runner._turn()
    process: Any = only(runner).process
    runner.queue.cancel(request().id)
    runner.wake()
    runner._turn()
    assert process.told == ["terminate"]
    asked = only(runner).stopped
    assert asked is not None
    runner._stop(only(runner), asked + STOP_SECONDS)
    assert process.told == ["terminate"]
    runner._stop(only(runner), asked + STOP_SECONDS + 0.1)
    assert process.told == ["terminate", "kill"]
    process.returncode = -15
    assert turned(runner).state == "cancelled"
    assert records.load(JobOutcome, outcome_of(runner.queue, 1)).state == "cancelled"


def test_a_job_whose_store_has_changed_or_gone_fails_in_words(runner: Runner) -> None:
    runner.quotes.quote = lambda question: SimpleNamespace(id="another", config={})  # type: ignore[method-assign]
    found = turned(runner)
    assert found.error
    assert (found.state, found.error["kind"]) == ("failed", "data")
    assert "is not what it was when job" in found.error["message"]


def test_a_job_that_cannot_begin_for_want_of_space_waits_for_a_better_turn(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("layerscout.service.jobs.runner.subprocess.Popen", full)
        with pytest.raises(OSError, match="No space"):
            runner._turn()
    found = runner.queue.find(request().id)
    assert (found.state, found.attempts) == ("queued", 0)
    assert turned(runner).state == "running"


def test_jobs_share_the_memory_and_the_places(runner: Runner) -> None:
    runner.limits = Limits(2, 25)
    runner.quotes.quote = lambda question: SimpleNamespace(id=question.store, config={})  # type: ignore[method-assign]
    for number in (2, 3, 4):
        runner.queue.submit(request(number, {2: 20, 3: 15, 4: 1}[number], question={"store": f"{number:032x}"}))
    runner.queue.cancel(request().id)
    runner._turn()
    assert list(runner.running) == [request(2).id, request(4).id]  # 20 and 1 of 25; the third would make it 36


def test_a_server_that_ends_gives_its_jobs_back(runner: Runner) -> None:
    runner._turn()
    process: Any = only(runner).process
    runner.stop()
    assert process.told == ["kill", "wait"]
    found = runner.queue.find(request().id)
    assert (found.state, found.attempts) == ("queued", 0)


def test_threads_are_what_the_memory_of_a_job_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert [Limits(1, 100).threads(memory) for memory in (0, 10, 13, 50, 51, 100)] == [8, 8, 7, 2, 1, 1]
    assert [Limits(2, 100).threads(memory) for memory in (10, 25, 26, 100)] == [4, 2, 1, 1]
    assert Limits(64, 100).threads(1) == 1
    with pytest.raises(BudgetError, match=r"takes 2\.00 GB of memory, and jobs of this server have 1\.00 GB"):
        Limits(1, 10**9).threads(2 * 10**9)


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (DataError("damaged", "verify it"), ("damaged", "verify it", "data", 4)),
        (HttpProblem(404, "no store", "look", "data"), ("no store", "look", "data", 4)),
        (MemoryError(), ("out of memory", None, "budget", 5)),
        (OSError(errno.ENOSPC, "No space left on device", "/secret"), ("No space left on device", None, "budget", 5)),
        (ZeroDivisionError("division by zero"), ("this is a bug: ZeroDivisionError: division by zero", None, "bug", 1)),
    ],
)
def test_a_job_tells_its_error_as_the_command_would(error: Exception, fields: tuple[Any, ...]) -> None:
    found = child.error_fields(error)
    message, hint, kind, code = fields
    assert (found["message"], found["kind"], found["exit_code"]) == (message, kind, code)
    assert found["hint"] == hint if hint else found["hint"]


def test_a_task_ends_in_an_outcome_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def wrong(task: Any, folder: Path) -> None:
        raise DataError("it is damaged", "extract it again")

    monkeypatch.setitem(child.TASKS, "wrong", wrong)
    monkeypatch.setitem(child.TASKS, "right", lambda task, folder: None)
    assert (child.run_task({"kind": "right"}, tmp_path).state, capsys.readouterr().err) == ("done", "")
    found = child.run_task({"kind": "wrong"}, tmp_path)
    assert found.error
    assert (found.state, found.error["message"]) == ("failed", "it is damaged")
    assert "Traceback" in capsys.readouterr().err  # for whoever reads the log


def test_one_process_at_a_time_does_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another that finds the lock taken says so, and touches nothing."""
    codes: list[int] = []
    line = json.dumps({"kind": "again", "folder": str(tmp_path / "job"), "service": str(tmp_path)})
    monkeypatch.setattr(child.os, "nice", lambda steps: None)
    monkeypatch.setattr(child.threading, "Thread", lambda **options: SimpleNamespace(start=lambda: None))

    def inner(task: Any, folder: Path) -> None:
        monkeypatch.setattr(child.sys, "stdin", io.StringIO(line))
        codes.append(child.main())

    monkeypatch.setitem(child.TASKS, "again", inner)
    monkeypatch.setattr(child.sys, "stdin", io.StringIO(line))
    codes.append(child.main())
    assert codes == [child.BUSY, 0]
    assert records.load(JobOutcome, tmp_path / "job" / OUTCOME).state == "done"


def test_evidence_is_shared_without_a_second_copy_and_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.mkdir()
    (own / "e.json").write_bytes(b"mine")
    child.share(own, None, "e.json")
    child.share(own, shared, "e.json")
    assert (shared / "e.json").samefile(own / "e.json")
    (own / "f.json").write_bytes(b"new")
    (shared / "f.json").write_bytes(b"old")
    child.share(own, shared, "f.json")
    assert (shared / "f.json").read_bytes() == b"old"

    def refused(*paths: Any) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(child.os, "link", refused)
    (own / "g.json").write_bytes(b"far")
    child.share(own, shared, "g.json")
    assert (shared / "g.json").read_bytes() == b"far"
    assert not (shared / "g.json").samefile(own / "g.json")


def test_what_is_done_between_jobs_is_done_now_and_then(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, done = [0.0], []
    monkeypatch.setattr("layerscout.service.jobs.runner.time.monotonic", lambda: clock[0])
    runner.each_while, runner._not_before = lambda: done.append(clock[0]), 1e18
    for clock[0] in (1.0, 2.0, 11.0, 11.5, 30.0):
        runner._turn()
    assert done == [1.0, 11.5, 30.0]  # when ten seconds have passed, and not at every turn


def test_no_more_jobs_run_at_once_than_were_allowed(runner: Runner) -> None:
    runner.quotes.quote = lambda question: SimpleNamespace(id=question.store, config={})  # type: ignore[method-assign]
    for number in (2, 3):
        runner.queue.submit(request(number, 1, question={"store": f"{number:032x}"}))
    runner.queue.cancel(request().id)
    runner._turn()
    assert list(runner.running) == [request(2).id]
    runner._ending.set()  # and none once it is told to end
    only(runner).process.returncode = -15
    runner._turn()
    assert runner.running == {}


def test_leases_are_confirmed_now_and_then_and_at_once_when_something_was_cancelled(runner: Runner) -> None:
    runner._turn()
    runner.queue.cancel(request().id)
    runner._confirmed = 1e18  # a moment ago
    runner._turn()
    assert only(runner).stopped is None
    runner.wake()
    runner._turn()
    assert only(runner).stopped is not None
