"""The queue by itself: who gets what, what is kept, what becomes of a job whose server is gone, and how far it is told to be."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from asked import outcome_of, request, written

from layerscout.cache import records
from layerscout.service.jobs.database import Database
from layerscout.service.jobs.progress import TAIL, progress_of, read_events, read_log
from layerscout.service.jobs.queue import LEASE_SECONDS, Queue, as_plain, started
from layerscout.service.jobs.records import EVENTS, LOG, REQUEST, JobOutcome, JobRequest, ServiceJob, job_folder
from layerscout.service.problems import HttpProblem

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")


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


def test_nobody_waits_for_a_lock_that_a_failed_change_left(queue: Queue) -> None:
    queue.submit(request())
    with pytest.raises(HttpProblem):
        queue.find("x")
    other = threading.Thread(target=lambda: queue.newest())
    other.start()
    other.join(5)
    assert not other.is_alive()
