"""The queue, the runner and the process of a job by themselves: who gets what, what is kept, and what becomes of what goes wrong."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from layerscout.cache import records
from layerscout.errors import BudgetError, DataError
from layerscout.service.acts import change_job, keep_note, submit_verification
from layerscout.service.data.notes import Notes
from layerscout.service.following import standing
from layerscout.service.jobs import child
from layerscout.service.jobs.database import Database
from layerscout.service.jobs.progress import TAIL, progress_of, read_events, read_log
from layerscout.service.jobs.queue import LEASE_SECONDS, Queue, as_plain, started
from layerscout.service.jobs.quotes import Limits
from layerscout.service.jobs.records import EVENTS, LOG, OUTCOME, REQUEST, JobOutcome, JobRequest, ServiceJob, job_folder
from layerscout.service.jobs.runner import STOP_SECONDS, Runner, Running
from layerscout.service.problems import HttpProblem

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")


def request(number: int = 1, memory: int = 10, **changes: Any) -> JobRequest:
    fields = {"id": f"{number:032x}", "kind": "probe", "question": {"folds": 3}, "about": {"rows": 7}, "store": "ls1-x", "who": "ada"}
    return JobRequest(**fields | {"submitted": float(number), "memory": memory} | changes)


@pytest.fixture
def queue(tmp_path):
    made = Queue(tmp_path, lambda asked: False)
    yield made
    made.database.close()


def outcome_of(queue: Queue, number: int) -> Path:
    return job_folder(queue.service, request(number).id) / OUTCOME


# --- the queue


def test_a_job_is_told_as_it_was_asked(queue: Queue) -> None:
    asked = request(memory=2**40, who="ä <b>", question={"layers": ["blocks.é"], "twin": None})
    job, new = queue.submit(asked)
    assert new
    assert job == ServiceJob(**asked.model_dump(exclude={"format"}), state="queued")
    assert records.load(JobRequest, job_folder(queue.service, asked.id) / REQUEST) == asked
    assert as_plain(job) == asked.model_dump(exclude={"format"}) | {
        "state": "queued",
        "attempts": 0,
        "started": None,
        "ended": None,
        "cancelling": False,
        "error": None,
    }


def test_a_question_that_was_asked_before_keeps_who_asked_first(queue: Queue) -> None:
    queue.submit(request())
    again, new = queue.submit(request(who="bob", submitted=99.0))
    assert (again.who, again.submitted, new) == ("ada", 1.0, False)
    assert records.load(JobRequest, job_folder(queue.service, again.id) / REQUEST).who == "ada"


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_what_failed_or_was_cancelled_is_asked_again_from_the_start(queue: Queue, state: str) -> None:
    queue.submit(request())
    assert queue.claim(100)
    records.save(JobOutcome(state=state, ended=5.0, error={"message": "m"}), outcome_of(queue, 1))
    queue.finish(request().id, JobOutcome(state=state, ended=5.0, error={"message": "m"}))
    found = queue.find(request().id)
    assert (found.state, found.ended, found.error) == (state, 5.0, {"message": "m"})
    again, new = queue.submit(request())
    assert new
    assert (again.state, again.attempts, again.ended, again.error, again.cancelling) == ("queued", 0, None, None, False)
    assert not outcome_of(queue, 1).exists()  # else a database that is lost would call it ended


@pytest.mark.parametrize("state", ["queued", "running", "done"])
def test_only_what_failed_or_was_cancelled_is_retried(queue: Queue, state: str) -> None:
    queue.submit(request())
    if state != "queued":
        queue.claim(100)
    if state == "done":
        queue.finish(request().id, JobOutcome(state="done", ended=5.0))
    before = queue.find(request().id)
    assert before.state == state
    assert queue.retry(request().id) == before


def test_a_queued_job_that_is_cancelled_stays_so_though_the_database_is_lost(queue: Queue) -> None:
    queue.submit(request())
    assert queue.cancel(request().id).state == "cancelled"
    assert records.load(JobOutcome, outcome_of(queue, 1)).state == "cancelled"
    assert queue.claim(100) is None
    for path in queue.service.glob("service.sqlite*"):
        path.unlink()
    assert queue.find(request().id).state == "cancelled"
    assert queue.retry(request().id).state == "queued"
    assert not outcome_of(queue, 1).exists()


def test_a_running_job_is_asked_to_stop_and_its_server_told_so_once_it_looks(queue: Queue) -> None:
    queue.submit(request())
    queue.claim(100)
    found = queue.cancel(request().id)
    assert (found.state, found.cancelling) == ("running", True)
    assert not outcome_of(queue, 1).exists()
    assert queue.confirm([request().id]) == {request().id}
    queue.finish(request().id, JobOutcome(state="cancelled", ended=3.0))
    assert queue.find(request().id).cancelling is False


def test_a_job_whose_server_died_while_it_was_to_stop_is_cancelled(queue: Queue) -> None:
    queue.submit(request())
    owner, queue.owner = queue.owner, f"{queue.owner.partition(':')[0]}:999999999:1:x"
    queue.claim(100)
    queue.cancel(request().id)
    queue.owner = owner
    assert queue.claim(100) is None
    assert queue.find(request().id).state == "cancelled"


def test_another_process_with_a_dead_servers_number_is_not_that_server(queue: Queue) -> None:
    """Numbers of processes come round; when one began tells them apart."""
    host = queue.owner.partition(":")[0]
    mine = f"{host}:{os.getpid()}:{started(os.getpid())}:other"
    assert not queue._is_dead(mine)
    assert queue._is_dead(mine.replace(started(os.getpid()), "1"))
    assert queue._is_dead(f"{host}:999999999:1:x")
    for elsewhere in ("ffffffff:999999999:1:x", "", host, f"{host}:x:1:y"):
        assert not queue._is_dead(elsewhere)
    assert started(999999999) == ""


def test_a_lease_is_believed_until_its_last_second(queue: Queue) -> None:
    queue.submit(request())
    owner, queue.owner = queue.owner, "ffffffff:1:1:x"
    assert queue.claim(100, 1000.0).started == 1000.0
    queue.owner = owner
    assert queue.claim(100, 1000.0 + LEASE_SECONDS) is None
    assert queue.claim(100, 1000.1 + LEASE_SECONDS).attempts == 2


def test_what_is_put_back_uncounted_was_never_tried(queue: Queue) -> None:
    queue.submit(request())
    for counted, attempts in ((False, 0), (True, 1), (False, 1)):
        queue.claim(100)
        queue.put_back(request().id, counted)
        assert (queue.find(request().id).state, queue.find(request().id).attempts) == ("queued", attempts)
    queue.claim(100)
    owner, queue.owner = queue.owner, "somebody else"
    queue.put_back(request().id)
    queue.owner = owner
    assert queue.find(request().id).state == "running"


def test_jobs_are_listed_newest_first_by_state_and_by_store(queue: Queue) -> None:
    for number in range(1, 6):
        queue.submit(request(number, store="ls1-even" if number % 2 == 0 else "ls1-odd"))
    queue.cancel(request(3).id)

    def listed(**options: Any) -> list[int]:
        return [int(one.id, 16) for one in queue.newest(**options)]

    assert listed() == [5, 4, 3, 2, 1]
    assert listed(limit=2) == [5, 4]
    assert listed(state="queued") == [5, 4, 2, 1]
    assert listed(store="ls1-odd") == [5, 3, 1]
    assert listed(store="ls1-odd", state="cancelled") == [3]
    assert listed(store="' OR 1=1 --") == []
    assert [queue.waiting_before(queue.find(request(number).id)) for number in (1, 2, 3, 4, 5)] == [0, 1, 0, 2, 3]


def test_an_unknown_job_is_not_there_and_its_name_is_cut(queue: Queue) -> None:
    assert not queue.knows("x")
    for call in (queue.find, queue.cancel, queue.retry):
        with pytest.raises(HttpProblem, match=f"no job {'x' * 40} here") as refused:
            call("x" * 100)
        assert (refused.value.status, refused.value.kind) == (404, "data")


def test_an_answer_that_is_there_makes_a_job_done_whatever_its_row_says(queue: Queue) -> None:
    assert queue.as_done(request()).state == "done"
    assert not queue.knows(request().id)  # nothing was written
    queue.submit(request())
    queue.claim(100)
    queue.finish(request().id, JobOutcome(state="failed", ended=1.0, error={"message": "m"}))
    found = queue.as_done(request(who="bob"))
    assert (found.state, found.error, found.who, found.attempts) == ("done", None, "ada", 1)


def test_only_requests_under_their_own_name_are_restored(queue: Queue) -> None:
    for number in (1, 2):
        records.save(request(number), job_folder(queue.service, request(number).id) / REQUEST)
    records.save(request(3), job_folder(queue.service, "somebody-elses") / REQUEST)
    (job_folder(queue.service, request(4).id)).mkdir()
    (job_folder(queue.service, request(4).id) / REQUEST).write_text("{", encoding="utf-8")
    records.save(JobOutcome(state="done", ended=4.0), outcome_of(queue, 1))
    records.save(request(5, kind="verify"), job_folder(queue.service, request(5).id) / REQUEST)
    records.save(JobOutcome(state="done", ended=6.0), outcome_of(queue, 5))
    queue.recover()
    assert {int(one.id, 16): (one.state, one.ended) for one in queue.newest()} == {
        1: ("queued", 4.0),  # it ended, and its answer is gone: it is asked again
        2: ("queued", None),
        5: ("done", 6.0),
    }


def test_a_change_that_fails_in_the_middle_changes_nothing(queue: Queue) -> None:
    queue.submit(request())

    def half() -> None:
        with queue.database.change() as connection:
            connection.execute("DELETE FROM jobs")
            raise KeyError("in between")

    with pytest.raises(KeyError):
        half()
    assert queue.knows(request().id)


def test_a_database_of_another_version_is_filled_from_the_files(tmp_path: Path) -> None:
    filled: list[str] = []
    made = Database(tmp_path, lambda connection: filled.append("once"))
    assert made.rows("SELECT * FROM jobs") == []
    assert made.rows("SELECT * FROM jobs") == []
    with made.change() as connection:
        connection.execute("PRAGMA user_version = 0")
    made.close()
    assert made.rows("SELECT * FROM jobs") == []
    assert (filled, made.notice) == (["once", "once"], "")
    made.close()


# --- progress and logs


def written(folder: Path, *events: dict[str, Any]) -> Path:
    (folder / EVENTS).write_text("".join(json.dumps(one) + "\n" for one in events), encoding="utf-8")
    return folder


BEGIN = {"time": 100.0, "event": "begin", "total": 10, "unit": "files"}


def test_a_job_that_began_again_counts_from_its_last_beginning(tmp_path: Path) -> None:
    done = {"time": 150.0, "event": "progress", "done": 9, "total": 10, "layer": "a"}
    again = BEGIN | {"time": 200.0, "total": 4}
    found = progress_of(written(tmp_path, BEGIN, done, {"event": "say", "text": "half"}, again), now=210.0)
    assert (found.done, found.total, found.seconds_left, found.layer, found.said) == (0, 4, None, "", "half")


def test_the_time_that_is_left_is_in_proportion_and_never_below_zero(tmp_path: Path) -> None:
    step = {"time": 0.0, "event": "progress", "done": 4, "total": 10}
    assert progress_of(written(tmp_path, BEGIN, step), now=120.0).seconds_left == 30.0  # 20 s for 4, so 30 s for 6
    assert progress_of(tmp_path, now=90.0).seconds_left == 0.0  # a clock that was set back
    more = progress_of(written(tmp_path, BEGIN, step | {"done": 12}), now=120.0)
    assert (more.done, more.total, more.seconds_left) == (12, 12, 0.0)
    assert progress_of(written(tmp_path, BEGIN, step | {"event": "end", "done": 10}), now=120.0).seconds_left is None
    assert progress_of(written(tmp_path, step), now=120.0).seconds_left is None  # its beginning lies too far back
    assert progress_of(written(tmp_path, BEGIN), now=120.0).unit == "files"


def test_lines_that_are_no_events_are_left_out(tmp_path: Path) -> None:
    (tmp_path / EVENTS).write_bytes(b'{"event": "say"}\n[1]\n"x"\n\xff\xfe\n\n{"event": "say", "te')
    assert read_events(tmp_path) == [{"event": "say"}]


def test_of_a_long_log_the_end_is_told(tmp_path: Path) -> None:
    assert read_log(tmp_path) == ""
    (tmp_path / LOG).write_bytes(b"a" * 10 + b"\xff" + b"b" * (TAIL - 1))
    assert read_log(tmp_path) == "\ufffd" + "b" * (TAIL - 1)


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


# --- what readers may change, and what they are told


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


def test_nobody_waits_for_a_lock_that_a_failed_change_left(queue: Queue) -> None:
    queue.submit(request())
    with pytest.raises(HttpProblem):
        queue.find("x")
    other = threading.Thread(target=lambda: queue.newest())
    other.start()
    other.join(5)
    assert not other.is_alive()
