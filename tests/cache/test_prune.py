"""Deletion takes what was planned and nothing else: not what is pinned, named or in use, not half of a store, nothing outside the root."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from layerscout.cache.catalog import in_use, trash
from layerscout.cache.catalog.prune import carry_out_deletion, plan_prune, plan_rm, remains_beside_stores
from layerscout.cache.catalog.references import pin_store
from layerscout.cache.durable import FUTURE_SECONDS
from layerscout.cache.naming import name_store
from layerscout.cache.store import Store
from layerscout.errors import DataError

DAY = 86400.0


def contents(*folders: Path) -> dict[str, bytes]:
    """Every file below, by its path."""
    return {str(path): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def lease(attempt: Path, age: float = 0.0, file_age: float | None = None, **claim: object) -> None:
    """Write the lease of another process, with its heartbeat ``age`` seconds ago."""
    claim = {"host": socket.gethostname(), "pid": 1, "time": time.time() - age} | claim
    (attempt / "lease.json").write_text(json.dumps(claim))
    when = time.time() - (age if file_age is None else file_age)
    os.utime(attempt / "lease.json", (when, when))


def age_tree(path: Path, seconds: float) -> None:
    when = time.time() - seconds
    for item in (path, *path.rglob("*")):
        os.utime(item, (when, when))


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def make(example, root) -> Callable[..., Store]:
    """Make the store whose noise has a given seed."""
    return lambda seed=0, where=root: replace(example, identity=example.identity | {"recipe": {"seed": seed}}).store(where)


@pytest.fixture
def attempt(example, root) -> Path:
    """An attempt whose unit 1 is done and whose process is dead."""
    example.write(example.open(root), [1])
    (found,) = (path.parent for path in root.glob("staging/*/*/attempt.json"))
    lease(found, pid=dead_process())
    return found


# --- rm


def test_rm_takes_the_asked_store_and_leaves_all_else_as_it_was(make, root):
    going, staying = make(0), make(1)
    for store in (going, staying):
        sums = root / "partials" / store.id / "sums.npz"
        sums.parent.mkdir(parents=True)
        sums.write_bytes(b"x" * 10)
    before = contents(staying.path, root / "partials" / staying.id)
    size = sum(len(data) for data in contents(going.path).values()) + 10
    planned = plan_rm(root, [going.id])
    assert (planned.bytes, {victim.kind for victim in planned.victims}) == (size, {"store", "partial sums"})
    assert contents(going.path)  # a plan deletes nothing
    assert carry_out_deletion(planned).bytes == size
    assert not going.path.exists()
    assert list((root / "trash").iterdir()) == []
    assert contents(staying.path, root / "partials") == before
    assert Store.open(staying.path).rows == 21


def test_rm_again_finds_nothing_to_do(make, root):
    store = make()
    planned = plan_rm(root, [store.id])
    carry_out_deletion(planned)
    assert (carry_out_deletion(planned).deleted, carry_out_deletion(planned).left) == ((), ())
    again = plan_rm(root, [store.id, store.id])
    assert (again.victims, set(again.absent)) == ((), {store.id})


def test_a_damaged_store_can_be_deleted(make, root):
    store = make()
    (store.path / "manifest.json").write_text("{")
    carry_out_deletion(plan_rm(root, [store.id]))
    assert not store.path.exists()


def protect(kind: str, store: Store, root: Path) -> None:
    if kind == "pinned":
        pin_store(root, store.id, "figure 2")
    elif kind == "named":
        name_store(root, "best", store)
    else:
        working = root / "staging" / store.id / uuid.uuid4().hex
        working.mkdir(parents=True)
        lease(working)


@pytest.mark.parametrize("kind", ["pinned", "named", "being written"])
def test_what_is_needed_is_refused_and_nothing_is_deleted(make, root, kind):
    free, needed = make(0), make(1)
    protect(kind, needed, root)
    before = contents(root / "stores")
    with pytest.raises(DataError, match=f"is {kind}") as refused:
        plan_rm(root, [free.id, needed.id])
    assert refused.value.hint
    assert "nothing was deleted" in str(refused.value)
    carry_out_deletion(plan_prune(root, unreferenced=True))
    assert contents(root / "stores") == {path: data for path, data in before.items() if needed.id in path}


@pytest.mark.parametrize("kind", ["pinned", "named", "being written"])
def test_what_is_needed_since_the_plan_stays(make, root, kind):
    store, other = make(0), make(1)
    planned = plan_rm(root, [store.id, other.id])
    protect(kind, store, root)
    outcome = carry_out_deletion(planned)
    assert [victim.path for victim in outcome.deleted] == [other.path]
    ((victim, why),) = outcome.left
    assert (victim.path, kind in why) == (store.path, True)
    assert Store.open(store.path).rows == 21


def test_while_a_name_cannot_be_read_no_store_is_deleted(make, root):
    store = make()
    name_store(root, "best", store)
    (root / "refs" / "best.json").write_text("{")
    for plan in (lambda: plan_rm(root, [store.id]), lambda: plan_prune(root, unreferenced=True)):
        with pytest.raises(DataError, match=r"best\.json is not a store's name"):
            plan()
    assert plan_prune(root).victims == ()
    assert remains_beside_stores(root)["damaged_names"] == [str(root / "refs" / "best.json")]


def test_rm_knows_only_stores_of_its_root(make, root, tmp_path):
    store = make()
    elsewhere = shutil.copytree(store.path, tmp_path / "copy")
    inside = shutil.copytree(store.path, root / "notes")
    for word in (elsewhere, inside, root / "stores", "nothing", "../root", "*"):
        with pytest.raises(DataError):
            plan_rm(root, [str(word)])


# --- atomic, never outside the root


def test_no_reader_ever_meets_half_a_store(make, root, monkeypatch):
    store = make()
    seen = []
    real = shutil.rmtree

    def watched(path, **options):
        seen.append(store.path.exists())
        return real(path, **options)

    monkeypatch.setattr(trash.shutil, "rmtree", watched)
    carry_out_deletion(plan_rm(root, [store.id]))
    assert seen == [False]


def test_a_killed_deletion_is_finished_by_the_next_prune(make, root, monkeypatch):
    store = make()

    def killed(path, **options):
        (path / "manifest.json").unlink()
        raise KeyboardInterrupt

    planned = plan_rm(root, [store.id])
    with monkeypatch.context() as patch:
        patch.setattr(trash.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            carry_out_deletion(planned)
    assert not store.path.exists()
    (left,) = (root / "trash").iterdir()
    size = sum(len(data) for data in contents(left).values())
    planned = plan_prune(root)
    assert [(victim.kind, victim.bytes) for victim in planned.victims] == [("trash", size)]
    carry_out_deletion(planned)
    assert list((root / "trash").iterdir()) == []


def test_a_deletion_that_fails_is_told_and_does_not_keep_the_others(make, root, monkeypatch):
    first, second = make(0), make(1)
    planned = plan_rm(root, [first.id, second.id])
    real = shutil.rmtree
    monkeypatch.setattr(trash.shutil, "rmtree", lambda path, **options: None if first.id in str(path) else real(path, **options))
    outcome = carry_out_deletion(planned)
    assert [victim.path for victim in outcome.deleted] == [second.path]
    assert "could not be deleted wholly" in outcome.left[0][1]


def test_processes_that_prune_at_once_do_not_trip_over_each_other(make, root, attempt, monkeypatch):
    for seed in range(6):
        make(seed)
    monkeypatch.setattr(trash.shutil, "rmtree", lambda path, **options: None)
    carry_out_deletion(plan_prune(root, unreferenced=True))
    monkeypatch.undo()
    for seed in range(6):
        make(seed)
    planned = plan_prune(root, unreferenced=True)
    assert sorted({victim.kind for victim in planned.victims}) == ["store", "trash"]
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(lambda _: carry_out_deletion(planned), range(4)))
    assert [outcome.left for outcome in outcomes] == [()] * 4
    assert sorted(str(victim.path) for outcome in outcomes for victim in outcome.deleted) == sorted(str(v.path) for v in planned.victims)
    assert not contents(root)


def test_files_of_others_in_a_folder_named_trash_stay(make, root):
    make()
    mine = root / "trash" / "letter.txt"
    mine.parent.mkdir()
    mine.write_text("dear")
    carry_out_deletion(plan_prune(root, unreferenced=True))
    assert mine.read_text() == "dear"
    assert list((root / "stores").iterdir()) == []


@pytest.mark.parametrize("part", ["stores", "store", "trash"])
def test_symbolic_links_are_refused_and_their_targets_untouched(make, root, tmp_path, part):
    store = make()
    outside = tmp_path / "outside"
    if part == "trash":
        outside.mkdir()
        (outside / ("a." + "0" * 32)).write_text("not ours")
        (root / "trash").symlink_to(outside)
    else:
        linked = root / "stores" if part == "stores" else store.path
        linked.rename(outside)
        linked.symlink_to(outside)
    before = contents(outside)
    if part == "trash":
        outcome = carry_out_deletion(plan_rm(root, [store.id]))
        assert "symbolic link" in outcome.left[0][1]
    else:
        with pytest.raises(DataError, match="symbolic link"):
            plan_rm(root, [store.id])
    assert not carry_out_deletion(plan_prune(root, unreferenced=True)).deleted
    assert contents(outside) == before


def test_a_link_inside_a_store_goes_without_its_target(make, root, tmp_path):
    store = make()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (store.path / "layers" / "link").symlink_to(tmp_path / "precious")
    carry_out_deletion(plan_rm(root, [store.id]))
    assert not store.path.exists()
    assert (tmp_path / "precious" / "file").read_text() == "x"


# --- prune


def test_prune_sweeps_the_attempts_of_dead_processes_and_no_store(make, example, root, attempt):
    store = make(1)
    example.write(example.open(root, rows_per_chunk=4), [0])  # another chunk size
    for path in root.glob("staging/*/*"):
        lease(path, pid=dead_process())
    committed = root / "staging" / store.id / uuid.uuid4().hex  # of a store that another process committed since
    shutil.copytree(attempt, committed)
    before = contents(store.path)
    planned = plan_prune(root)
    assert [victim.kind for victim in planned.victims] == ["attempt"] * 3
    assert planned.bytes == sum(len(data) for data in contents(root / "staging").values())
    carry_out_deletion(planned)
    assert list((root / "staging").iterdir()) == []
    assert contents(root / "stores") == before
    assert plan_prune(root).victims == ()


@pytest.mark.parametrize(
    ("claim", "living"),
    [
        ({"pid": 1}, True),
        ({"pid": 1, "age": 2 * DAY}, False),  # after a day the number may be another process's
        ({"host": "another", "age": 10}, True),
        ({"host": "another", "age": 1000}, False),
        ({"host": "another", "age": 1000, "file_age": 10}, True),  # its clock is wrong: the file system saw a heartbeat just now
        ({"host": "another", "age": 10, "file_age": 1000}, True),
        ({"host": "another", "age": -60}, True),  # two clocks never agree
        ({"host": "another", "age": -400}, False),
        ({"host": "another", "age": -1e9, "file_age": 10}, False),
        ({"host": "another", "age": 1000, "file_age": -400}, False),
        ({"host": "another", "age": 1000, "file_age": -60}, True),
    ],
    ids=str,
)
def test_only_attempts_without_a_living_owner_are_swept(root, attempt, claim, living):
    lease(attempt, **claim)
    planned = plan_prune(root)
    assert [victim.path for victim in planned.victims] == ([] if living else [attempt])
    assert remains_beside_stores(root)["being_written"] == int(living)
    lease(attempt)
    assert carry_out_deletion(planned).deleted == ()  # it came to life since
    assert attempt.exists()


def test_an_attempt_that_was_given_back_goes_and_one_that_just_begins_stays(root, attempt):
    (attempt / "lease.json").unlink()
    beginning = attempt.parent / uuid.uuid4().hex
    beginning.mkdir()
    assert [victim.path for victim in plan_prune(root).victims] == [attempt]
    assert [victim.path for victim in plan_prune(root, now=time.time() + 1000).victims] == sorted([attempt, beginning])


def test_half_written_files_of_dead_processes_are_swept(make, root):
    store = make()
    name_store(root, "best", store)
    torn = [
        root / "refs" / "best.json.0123.partial",
        root / "staging" / store.id / "x.partial",
        root / "partials" / store.id / "s.npz.1.partial",
    ]
    for path in torn:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"xyz")
    assert plan_prune(root).victims == ()  # somebody may be writing them
    for path in torn:
        age_tree(path, 2 * DAY)
    planned = plan_prune(root)
    assert {victim.path for victim in planned.victims} == set(torn)
    carry_out_deletion(planned)
    assert not any(path.exists() for path in torn)
    assert (root / "refs" / "best.json").exists()


def test_partial_sums_go_with_their_store(make, root):
    store, gone = make(0), "ls1-" + "0" * 32
    for store_id in (store.id, gone, "notes"):
        (root / "partials" / store_id).mkdir(parents=True)
    assert [victim.path for victim in plan_prune(root).victims] == [root / "partials" / gone]
    both = {victim.path for victim in plan_prune(root, unreferenced=True).victims}
    assert both == {store.path, root / "partials" / gone, root / "partials" / store.id}


def test_unreferenced_stores_go_when_asked_and_old_enough(make, root):
    old, young, named = make(0), make(1), make(2)
    name_store(root, "best", named)
    for store in (old, named):
        age_tree(store.path, 40 * DAY)

    def stores(**options: object) -> set[Path]:
        return {victim.path for victim in plan_prune(root, **options).victims}

    assert stores() == set()
    assert stores(older_than=30 * DAY) == set()
    assert stores(unreferenced=True) == {old.path, young.path}
    assert stores(unreferenced=True, older_than=30 * DAY) == {old.path}


def test_mirrors_go_when_nobody_read_them_for_long(make, root, tmp_path):
    stores = [make(seed, where=tmp_path / "far") for seed in range(3)]
    for store in stores:
        shutil.copytree(store.path, root / "mirrors" / store.id)
        age_tree(root / "mirrors" / store.id, 40 * DAY)
    unread, read, pinned = (root / "mirrors" / store.id for store in stores)
    pin_store(root, pinned.name)
    chunk = next(read.glob("layers/*/c/0/0"))
    os.utime(chunk, (time.time(), chunk.stat().st_mtime))  # what reading does to a file
    assert plan_prune(root).victims == ()
    planned = plan_prune(root, older_than=30 * DAY)
    assert [victim.path for victim in planned.victims] == [unread]
    assert [store_id for store_id, _ in planned.kept] == [pinned.name]
    assert plan_prune(root, older_than=50 * DAY).victims == ()
    assert remains_beside_stores(root)["mirrors"]["count"] == 3
    carry_out_deletion(plan_rm(root, [read.name]))
    assert not read.exists()


def test_what_lies_beside_the_stores_is_counted(make, root, attempt):
    store = make(1)
    name_store(root, "best", store)
    shutil.rmtree(store.path)
    told = remains_beside_stores(root)
    assert told["remains"] == {"count": 1, "bytes": sum(len(data) for data in contents(attempt).values())}
    assert told["dangling_names"] == ["best"]


def test_a_root_with_nothing_in_it_has_nothing_to_prune(root):
    root.mkdir()
    assert carry_out_deletion(plan_prune(root, unreferenced=True, older_than=0.0)).deleted == ()
    assert list(root.iterdir()) == []


def test_a_time_in_the_future_keeps_nothing(make, root):
    """Such as a clock that ran ahead, or ``touch``, gives a file. When it changed, the file system knows by itself."""
    store = make()
    age_tree(store.path, -1e8)
    assert [victim.path for victim in plan_prune(root, unreferenced=True).victims] == [store.path]
    assert plan_prune(root, unreferenced=True, older_than=60.0).victims == ()
    later = plan_prune(root, unreferenced=True, older_than=60.0, now=time.time() + 120)
    assert [victim.path for victim in later.victims] == [store.path]


@pytest.mark.parametrize(
    ("written", "read", "changed", "or_read", "expected"),
    [
        (-100, -50, 0, False, -100),
        (-100, -50, 0, True, -50),
        (-50, -100, 0, True, -50),
        (200, -50, -7, False, 200),  # two clocks never agree
        (FUTURE_SECONDS + 1, -50, -7, False, -7),
        (FUTURE_SECONDS + 1, -50, -7, True, -50),
        (FUTURE_SECONDS + 1, FUTURE_SECONDS + 1, FUTURE_SECONDS, True, FUTURE_SECONDS),
        (FUTURE_SECONDS + 1, FUTURE_SECONDS + 1, FUTURE_SECONDS + 1, True, None),
    ],
)
def test_when_a_path_changed_is_the_latest_time_that_can_be_true(tmp_path, monkeypatch, written, read, changed, or_read, expected):
    now = 10.0**9
    monkeypatch.setattr(in_use.time, "time", lambda: now)
    answer = SimpleNamespace(st_mtime=now + written, st_atime=now + read, st_ctime=now + changed)
    monkeypatch.setattr(Path, "stat", lambda self: answer)
    assert in_use.last_changed(tmp_path, or_read) == (0.0 if expected is None else now + expected)
