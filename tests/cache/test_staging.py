"""An attempt is one process's own; what it finished can be shared; whether its owner lives is told by the lease alone."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerscout.cache.durable import FUTURE_SECONDS
from layerscout.cache.writing import staging
from layerscout.cache.writing.staging import LEASE_SECONDS, LONGEST_LEASE_SECONDS, RENEW_SECONDS, Attempt, AttemptGone

PLAN = {"identity_digest": "sha256:aa", "rows": 9, "layers": [{"name": "a"}]}
HERE, ELSEWHERE = socket.gethostname(), "elsewhere"


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "staging" / "ls1-0"


def lease(attempt: Path, **claim: object) -> None:
    (attempt / "lease.json").write_text(json.dumps({"host": HERE, "pid": os.getppid(), "time": time.time()} | claim))


def finish(attempt: Attempt, unit: int, *paths: str) -> list[str]:
    """Write the files of a unit and its marker, and return their paths."""
    for path in paths:
        (attempt.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (attempt.tree / path).write_text(f"{path} of {unit}")
    (attempt.folder / "units" / f"{unit}.json").write_text(f"marker {unit}")
    return list(paths)


def no_links(source: Path, target: Path) -> None:
    raise OSError(errno.EPERM, "no hard links here")


# beginning and finding


def test_an_attempt_begins_with_its_plan_its_lease_and_its_folders(folder, forced_to_disk):
    attempt = staging.begin_attempt(folder, PLAN)
    assert attempt.folder.parent == folder
    assert re.fullmatch(r"[0-9a-f]{32}", attempt.folder.name)
    assert sorted(os.listdir(attempt.folder)) == ["attempt.json", "lease.json", "store", "units"]
    assert attempt.tree == attempt.folder / "store"
    assert (attempt.folder / "attempt.json").read_text() == json.dumps({"format": "layerscout-attempt/1"} | PLAN, indent=1)
    claim = json.loads((attempt.folder / "lease.json").read_bytes())
    assert (claim["host"], claim["pid"]) == (HERE, os.getpid())
    assert 0 <= time.time() - claim["time"] < 60
    assert {folder.stat().st_ino, attempt.folder.stat().st_ino, (attempt.folder / "attempt.json").stat().st_ino} <= forced_to_disk
    assert staging.begin_attempt(folder, PLAN).folder != attempt.folder


def test_attempts_at_exactly_this_plan_are_found_the_furthest_first(folder):
    made = [staging.begin_attempt(folder, PLAN) for _ in range(3)]
    for attempt, units in zip(made, (1, 3, 1), strict=True):
        for unit in range(units):
            finish(attempt, unit, f"c/{unit}")
    staging.begin_attempt(folder, PLAN | {"rows": 10})
    staging.begin_attempt(folder, {key: value for key, value in PLAN.items() if key != "layers"})
    beginning = folder / ("0" * 32)
    (beginning / "units").mkdir(parents=True)
    first, last = sorted((made[0].folder, made[2].folder))
    assert staging.earlier_attempts(folder, PLAN) == [made[1].folder, first, last]
    every = staging.begun_attempts(folder)
    assert len(every) == 5
    assert every == sorted(every)
    assert beginning not in every
    assert staging.begun_attempts(folder / "nowhere") == staging.earlier_attempts(folder / "nowhere", PLAN) == []


@pytest.mark.parametrize("content", ["{", "[]", "null", "[" * 100_000, ""], ids=["torn", "list", "null", "deep", "empty"])
def test_a_plan_that_cannot_be_read_is_no_plan(folder, content):
    attempt = staging.begin_attempt(folder, PLAN)
    (attempt.folder / "attempt.json").write_text(content)
    assert staging.earlier_attempts(folder, PLAN) == []
    assert staging.begun_attempts(folder) == [attempt.folder]


def test_a_folder_whose_parent_is_deleted_meanwhile_is_made_again(folder, monkeypatch):
    mkdir, failures = Path.mkdir, iter([FileNotFoundError, FileExistsError, FileNotFoundError])

    def unlucky(self, *arguments, **options):
        if options.get("parents") and (failure := next(failures, None)):
            raise failure(2, "deleted by another process")
        return mkdir(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", unlucky)
    assert staging.begin_attempt(folder, PLAN).tree.is_dir()
    failures = iter([FileNotFoundError] * staging.MAKE_TRIES)
    assert staging.begin_attempt(folder / "deep", PLAN).tree.is_dir(), "the last try is a try as well"
    monkeypatch.setattr(Path, "mkdir", lambda self, **options: (_ for _ in ()).throw(FileNotFoundError(2, "for ever")))
    with pytest.raises(FileNotFoundError):
        staging.begin_attempt(folder, PLAN)


def test_a_folder_is_made_once_and_only_once(folder):
    staging._make(folder / "a")
    assert (folder / "a").is_dir()
    with pytest.raises(FileExistsError):
        staging._make(folder / "a")


def test_the_times_are_those_that_the_page_on_formats_tells():
    page = " ".join((Path(__file__).parents[2] / "docs" / "reference" / "formats.md").read_text().split())
    assert f"a heartbeat every {RENEW_SECONDS:.0f} s" in page
    assert f"whose heartbeat is older than {LEASE_SECONDS:.0f} s, or from more than {FUTURE_SECONDS:.0f} s in the future" in page
    assert f"or whose heartbeat is older than {LONGEST_LEASE_SECONDS / 3600:.0f} h" in page


def test_who_is_swept_away_while_it_begins_does_not_fail(folder, monkeypatch):
    """Whoever publishes the store takes it for dead; it ends with that store."""
    write = staging.write_file

    def swept(root, path, data):
        if path == "attempt.json":
            raise FileNotFoundError(2, "swept away")
        return write(root, path, data)

    monkeypatch.setattr(staging, "write_file", swept)
    attempt = staging.begin_attempt(folder, PLAN)
    with pytest.raises(AttemptGone):
        attempt.keep_alive()


# heartbeats


def test_a_heartbeat_is_written_only_so_often(folder, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(staging.time, "monotonic", lambda: clock[0])
    attempt = staging.begin_attempt(folder, PLAN)
    path = attempt.folder / "lease.json"
    first = path.stat().st_ino
    for later, written in (
        (RENEW_SECONDS - 0.001, False),
        (RENEW_SECONDS, True),
        (2 * RENEW_SECONDS - 0.001, False),
        (2 * RENEW_SECONDS, True),
    ):
        clock[0] = 1000.0 + later
        attempt.keep_alive()
        assert (path.stat().st_ino != first) == written, later
        first = path.stat().st_ino
    assert RENEW_SECONDS < LEASE_SECONDS / 4, "a few may be missed"


def test_a_heartbeat_that_cannot_be_written_stops_nobody(folder, monkeypatch):
    attempt = staging.begin_attempt(folder, PLAN)
    attempt._renewed = float("-inf")

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(staging, "write_file", full)
    attempt.keep_alive()


def test_a_deleted_attempt_is_told_at_the_next_heartbeat(folder):
    attempt = staging.begin_attempt(folder, PLAN)
    attempt.keep_alive()
    attempt.discard()
    with pytest.raises(AttemptGone, match="was deleted while it was worked in") as raised:
        attempt.keep_alive()
    assert "run the same command again" in raised.value.hint
    assert not attempt.folder.exists()


# sharing what is finished


def test_a_finished_unit_is_linked_and_stays_with_its_owner(folder, forced_to_disk):
    source, mine = staging.begin_attempt(folder, PLAN), staging.begin_attempt(folder, PLAN)
    paths = finish(source, 4, "layers/a/c/4/0", "index/step/c/4")
    forced_to_disk.clear()
    assert mine.take(source.folder, 4, paths)
    for path in paths:
        assert (mine.tree / path).stat().st_ino == (source.tree / path).stat().st_ino
    assert (mine.folder / "units/4.json").stat().st_ino == (source.folder / "units/4.json").stat().st_ino
    for path in ("store", "store/layers/a/c/4", "store/index/step/c", "units"):
        assert (mine.folder / path).stat().st_ino in forced_to_disk, path


@pytest.mark.parametrize("lost", ["layers/a/c/4/0", "index/step/c/4"])
def test_a_unit_of_which_a_file_is_gone_is_not_taken(folder, lost):
    source, mine = staging.begin_attempt(folder, PLAN), staging.begin_attempt(folder, PLAN)
    paths = finish(source, 4, "layers/a/c/4/0", "index/step/c/4")
    (source.tree / lost).unlink()
    assert mine.take(source.folder, 4, paths) is False
    assert not (mine.folder / "units/4.json").exists()


def test_a_unit_without_its_marker_is_not_taken(folder):
    source, mine = staging.begin_attempt(folder, PLAN), staging.begin_attempt(folder, PLAN)
    paths = finish(source, 4, "c/4")
    (source.folder / "units/4.json").unlink()
    assert mine.take(source.folder, 4, paths) is False


def test_nothing_is_taken_into_an_attempt_that_was_swept_away(folder, monkeypatch):
    source, mine = staging.begin_attempt(folder, PLAN), staging.begin_attempt(folder, PLAN)
    paths = finish(source, 4, "c/4")

    def gone(*arguments):
        raise FileNotFoundError(2, "swept away")

    monkeypatch.setattr(staging, "sync_folders", gone)
    assert mine.take(source.folder, 4, paths) is False


@pytest.mark.parametrize("living", [True, False])
def test_without_hard_links_files_of_the_dead_are_moved_and_those_of_the_living_left(folder, monkeypatch, living):
    source, mine = staging.begin_attempt(folder, PLAN), staging.begin_attempt(folder, PLAN)
    paths = finish(source, 4, "c/4", "d/4")
    if living:
        lease(source.folder)
    monkeypatch.setattr(os, "link", no_links)
    assert mine.share(source.folder, [*paths, "e/4"]) == ([] if living else paths)
    assert mine.take(source.folder, 4, []) is (not living)
    for path in paths:
        assert (source.tree / path).exists() == living
        assert (mine.tree / path).exists() == (not living)
    assert (source.folder / "units/4.json").exists() == living


# the end


def test_a_released_attempt_keeps_what_was_finished(folder):
    attempt = staging.begin_attempt(folder, PLAN)
    finish(attempt, 0, "c/0")
    lease(attempt.folder)
    assert staging.owner_is_alive(attempt.folder)
    attempt.release()
    attempt.release()
    assert not staging.owner_is_alive(attempt.folder)
    assert (attempt.folder / "units/0.json").exists()
    assert (attempt.tree / "c/0").exists()


def test_a_discarded_attempt_takes_the_empty_folder_with_it(folder):
    one, other = staging.begin_attempt(folder, PLAN), staging.begin_attempt(folder, PLAN)
    one.discard()
    assert list(folder.iterdir()) == [other.folder]
    other.discard()
    other.discard()
    assert not folder.exists()


def test_only_attempts_of_the_dead_are_swept(folder):
    living, dead = staging.begin_attempt(folder, PLAN), staging.begin_attempt(folder, PLAN)
    lease(living.folder)
    staging.sweep_dead_attempts([living.folder, dead.folder, folder / "nowhere"])
    assert list(folder.iterdir()) == [living.folder]


# who lives


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("claim", "living"),
    [
        ({}, True),
        ({"pid": "own"}, False),  # what another thread of this process left
        ({"pid": "dead"}, False),
        ({"pid": "17"}, False),
        ({"pid": None}, False),
        ({"age": LONGEST_LEASE_SECONDS - 60}, True),
        ({"age": LONGEST_LEASE_SECONDS + 60}, False),  # the number may be another process's by now
        ({"age": -1e9}, True),  # a process that is there is there, whatever the clock says
        ({"time": None}, False),
        ({"time": "now"}, False),
        ({"host": ELSEWHERE}, True),
        ({"host": ELSEWHERE, "age": LEASE_SECONDS - 30}, True),
        ({"host": ELSEWHERE, "age": LEASE_SECONDS + 30}, False),
        ({"host": ELSEWHERE, "age": 30 - FUTURE_SECONDS}, True),
        ({"host": ELSEWHERE, "age": -30 - FUTURE_SECONDS}, False),
        ({"host": ELSEWHERE, "pid": "own"}, True),  # numbers of another machine say nothing here
        ({"host": ELSEWHERE, "time": None}, False),
        ({"host": None}, True),
    ],
    ids=str,
)
def test_the_lease_tells_who_lives(folder, claim, living):
    attempt = staging.begin_attempt(folder, PLAN)
    said = dict(claim)
    if "age" in said:
        said["time"] = time.time() - said.pop("age")
    if said.get("pid") in ("own", "dead"):
        said["pid"] = os.getpid() if said["pid"] == "own" else dead_process()
    lease(attempt.folder, **said)
    assert staging.owner_is_alive(attempt.folder) == living


def test_a_heartbeat_lives_up_to_its_limit_and_not_beyond(folder, monkeypatch):
    attempt = staging.begin_attempt(folder, PLAN)
    monkeypatch.setattr(staging.time, "time", lambda: 10.0**6)
    for host, age, living in (
        (ELSEWHERE, LEASE_SECONDS, False),
        (ELSEWHERE, LEASE_SECONDS - 0.5, True),
        (ELSEWHERE, -FUTURE_SECONDS, False),
        (ELSEWHERE, 0.5 - FUTURE_SECONDS, True),
        (HERE, LONGEST_LEASE_SECONDS, True),
        (HERE, LONGEST_LEASE_SECONDS + 0.5, False),
    ):
        lease(attempt.folder, host=host, time=10.0**6 - age)
        assert staging.owner_is_alive(attempt.folder) is living, (host, age)


@pytest.mark.parametrize("content", ["", "{", "[]", "7", "[" * 100_000], ids=["empty", "torn", "list", "number", "deep"])
def test_a_lease_that_cannot_be_read_has_no_owner(folder, content):
    attempt = staging.begin_attempt(folder, PLAN)
    (attempt.folder / "lease.json").write_text(content)
    assert not staging.owner_is_alive(attempt.folder)
    (attempt.folder / "lease.json").unlink()
    assert not staging.owner_is_alive(attempt.folder)


def test_without_posix_a_process_of_this_machine_is_judged_by_its_heartbeat_too(folder, monkeypatch):
    attempt = staging.begin_attempt(folder, PLAN)
    monkeypatch.setattr(staging.os, "name", "nt")
    for age, living in ((0.0, True), (LEASE_SECONDS + 30, False), (-FUTURE_SECONDS - 30, False)):
        (attempt.folder / "lease.json").write_text(json.dumps({"host": HERE, "pid": os.getppid(), "time": time.time() - age}))
        assert staging._alive(json.loads((attempt.folder / "lease.json").read_bytes())) == living


def test_the_age_of_a_claim_is_counted_from_its_time():
    assert staging.claimed_age({"time": time.time() - 7}) == pytest.approx(7, abs=1)
    assert staging.claimed_age({"time": time.time() + 7}) == pytest.approx(-7, abs=1)
    assert staging.claimed_age({}) == staging.claimed_age({"time": "x"}) == float("inf")


@pytest.mark.parametrize(
    "moment", [10**400, -(10**400), 1e300, float("nan"), float("inf")], ids=["long", "long before", "late", "none", "never"]
)
def test_a_time_that_is_none_has_no_owner(folder, moment):
    attempt = staging.begin_attempt(folder, PLAN)
    lease(attempt.folder, host=ELSEWHERE, time=moment)
    assert staging.claimed_age(json.loads((attempt.folder / "lease.json").read_bytes())) == float("inf")
    assert not staging.owner_is_alive(attempt.folder)
