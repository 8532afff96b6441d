"""Progress: what goes to the screen, to a log and to disk, and that quiet is quiet."""

from __future__ import annotations

import io
import json

import pytest

from layerscout import progress
from layerscout.progress import Reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests move by hand."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def events_of(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_log_gets_a_line_every_half_minute_and_one_at_the_end(clock):
    stream = io.StringIO()
    with Reporter(stream=stream).task("extract", 100, "rows") as task:
        for _ in range(100):
            clock.now += 1.0
            task.advance(1, loss=0.5)
    lines = stream.getvalue().splitlines()
    assert lines == [
        "extract: 30/100 rows (1/s, 70 s left, loss 0.5)",
        "extract: 60/100 rows (1/s, 40 s left, loss 0.5)",
        "extract: 90/100 rows (1/s, 10 s left, loss 0.5)",
        "extract: 100/100 rows (1/s, 0 s left, loss 0.5)",
    ]


def test_time_left_counts_only_what_is_done_today(clock):
    stream = io.StringIO()
    with Reporter(stream=stream).task("train", 1000) as task:
        task.resume(900)
        clock.now += 10.0
        task.advance(20)
        assert task.rate == pytest.approx(2.0)
        assert task.line() == "train: 920/1,000 steps (2/s, 40 s left)"


def test_nothing_done_promises_no_time():
    task = progress.Task(Reporter(quiet=True), "train", 10, "steps")
    assert task.line() == "train: 0/10 steps (0/s)"


def test_quiet_shows_nothing_and_still_records(tmp_path):
    stream, events = io.StringIO(), tmp_path / "logs" / "events.jsonl"
    reporter = Reporter(quiet=True, events=events, stream=stream)
    reporter.say("hello")
    with reporter.task("collect", 2) as task:
        task.advance(2, episodes=1)
    assert stream.getvalue() == ""
    assert [event["event"] for event in events_of(events)] == ["say", "begin", "end"]


def test_events_tell_begin_progress_and_end(tmp_path, clock):
    events = tmp_path / "events.jsonl"
    with Reporter(quiet=True, events=events).task("train", 50, "updates") as task:
        for _ in range(50):
            clock.now += 0.1
            task.advance(1, returns="+0.5")
    begin, *between, end = events_of(events)
    assert {key: begin[key] for key in ("event", "task", "total", "unit")} == {
        "event": "begin",
        "task": "train",
        "total": 50,
        "unit": "updates",
    }
    assert {event["event"] for event in between} == {"progress"}
    assert 4 <= len(between) <= 5, "at most one a second, however often the inner loop advances"
    assert [event["done"] for event in between] == sorted(event["done"] for event in between)
    assert (end["event"], end["done"], end["returns"]) == ("end", 50, "+0.5")
    assert end["seconds"] == pytest.approx(5.0, abs=0.01)
    assert all("time" in event for event in events_of(events))


def test_a_task_that_fails_is_ended_where_it_stood(tmp_path):
    events = tmp_path / "events.jsonl"

    def interrupted():
        with Reporter(quiet=True, events=events).task("train", 10) as task:
            task.advance(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert events_of(events)[-1]["done"] == 3


def test_a_terminal_gets_a_bar_and_no_plain_lines():
    stream = Terminal()
    reporter = Reporter(stream=stream)
    with reporter.task("extract", 10, "rows") as task:
        task.advance(10, best="block [bold]")
        reporter.say("a line beside the bar [with] brackets")
        with reporter.task("inner", 2) as inner:
            inner.advance(2)
        task.advance(0)
    shown = stream.getvalue()
    assert "extract" in shown
    assert "10/10" in shown
    assert "inner" in shown
    assert "best block [bold]" in shown
    assert "a line beside the bar [with] brackets" in shown
    assert "rows (" not in shown
    with reporter.task("another", 1) as task:  # a second bar after the first one has gone
        task.advance(1)
    assert "another" in stream.getvalue()


def test_messages_reach_the_stream_at_once():
    stream = io.StringIO()
    Reporter(stream=stream).say("already there")
    assert stream.getvalue() == "already there\n"


def test_progress_goes_to_stderr_unless_told_otherwise(capsys):
    Reporter().say("talk")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "talk\n")
