"""What a server begins with: its port, its places, its secret and its plans; and what it asks by itself."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from layerscout.errors import DataError, UsageError
from layerscout.service import start
from layerscout.service.data.roots import ServedRoot, served_roots
from layerscout.service.jobs import quotes as quoting
from layerscout.service.jobs.newcomers import probe_newcomers, unmeasured
from layerscout.service.jobs.question import ProbeQuestion
from layerscout.service.jobs.quotes import KEPT, Quote, Quotes
from layerscout.service.problems import HttpProblem
from layerscout.service.settings import ServeConfig
from layerscout.service.state import ServiceState, _secret, _why_no_jobs, checked_runs

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")


# --- the port


def test_a_port_that_is_taken_is_told_with_who_has_it_and_the_next_one() -> None:
    with start.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"^port {port} is in use by process {os.getpid()} \(") as refused:
            start.listen("127.0.0.1", port)
        assert refused.value.hint == f"layerscout serve --port {port + 1}, or --port 0 for any"
    start.listen("127.0.0.1", port).close()  # once it is free
    assert start.holder(port) == ""


class Refusing:
    """A socket that cannot be bound, for a reason."""

    def __init__(self, error: OSError) -> None:
        self.error, self.closed = error, False

    def __call__(self, family: int, kind: int) -> Refusing:
        self.family = family
        return self

    def setsockopt(self, *given: Any) -> None:
        pass

    def bind(self, address: Any) -> None:
        raise self.error

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.EACCES, "Permission denied"), UsageError),
        (OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"), UsageError),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), UsageError),
        (OSError(errno.EMFILE, "Too many open files"), OSError),
    ],
)
def test_an_address_that_cannot_be_listened_at_is_a_mistake_and_a_shortage_is_not(
    monkeypatch: pytest.MonkeyPatch, error: OSError, kind: type[Exception]
) -> None:
    refusing = Refusing(error)
    monkeypatch.setattr(start.socket, "socket", refusing)
    with pytest.raises(kind, match=str(error.strerror)) as refused:
        start.listen("nowhere.example", 80)
    assert refusing.closed
    assert refusing.family == socket.AF_INET
    if kind is UsageError:
        assert str(refused.value) == f"cannot listen at nowhere.example, port 80: {error.strerror}"
    with pytest.raises(kind):
        start.listen("::1", 80)
    assert refusing.family == socket.AF_INET6


def test_a_server_says_one_line_with_an_address_that_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    said: list[str] = []

    def interrupted(self: Any, sockets: list[socket.socket]) -> None:
        sockets[0].close()
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", interrupted)
    start.serve(ServeConfig(roots=(str(tmp_path),), port=0), said.append)
    (line,) = said
    assert line.startswith(f"serving {tmp_path}: http://127.0.0.1:")
    assert line.endswith("(Ctrl-C ends it; jobs go on the next time)")


def test_a_demo_that_left_nothing_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no demo has left its stores in") as refused:
        start.demo_places(tmp_path)
    assert refused.value.hint.startswith("layerscout demo --preset quick")


# --- places


def test_a_place_elsewhere_takes_no_jobs_and_says_why(tmp_path: Path) -> None:
    here, far = served_roots((str(tmp_path), "s3://bucket/x"))
    assert (here.folder, here.why) == (tmp_path, "")
    assert (far.place, far.folder) == ("s3://bucket/x", None)
    assert "layerscout store pull" in far.why
    state = ServiceState(ServeConfig(roots=("s3://bucket/x",), memory="1GB"))
    assert (state.home, state.service, state.queue, state.runner) == (None, None, None, None)
    assert state.why == f"s3://bucket/x: {far.why}"
    with pytest.raises(HttpProblem, match="no jobs can be taken: s3://bucket/x: it is elsewhere") as refused:
        state.taking_jobs()
    assert refused.value.status == 503
    state.stop()
    with pytest.raises(DataError):
        served_roots((str(tmp_path / "none"),))


def test_why_no_place_takes_jobs_names_each_by_its_last_name() -> None:
    roots = (ServedRoot("/data/one", Path("/data/one"), "it is full"), ServedRoot("s3://b", None, "it is elsewhere"))
    assert _why_no_jobs(roots) == "one: it is full; s3://b: it is elsewhere"


def test_texts_for_readers_hold_no_place_of_the_server(tmp_path: Path) -> None:
    root, runs = tmp_path / "root", tmp_path / "root" / "runs"
    runs.mkdir(parents=True)
    state = ServiceState(ServeConfig(roots=(str(root),), runs=(runs,), memory="1GB"))
    assert state.tidy(f"{runs}/a/b and {root}/stores/x and {root} itself") == "a/b and stores/x and root itself"
    assert state.tidy("/etc/passwd is no place of it") == "/etc/passwd is no place of it"
    state.queue.database.close()  # type: ignore[union-attr]


def test_a_folder_of_results_must_be_there(tmp_path: Path) -> None:
    assert checked_runs(tmp_path / "x" / "..") == tmp_path.resolve()
    with pytest.raises(DataError, match="no folder"):
        checked_runs(tmp_path / "none")


def test_a_secret_is_made_once_kept_to_oneself_and_made_again_when_it_is_cut(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        first = _secret(tmp_path)
        assert os.umask(0o022) == 0o022  # as it was
    finally:
        os.umask(mask)
    assert len(first) == 32
    assert _secret(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    (tmp_path / "secret").write_bytes(first[:31])
    again = _secret(tmp_path)
    assert len(again) == 32
    assert again != first
    assert _secret(None) != _secret(None)


def test_a_verification_is_named_by_what_the_store_holds(tmp_path: Path) -> None:
    state = ServiceState(ServeConfig(roots=(str(tmp_path),), memory="1GB"))

    def shelved(digest: str, **entry: Any) -> Any:
        facts = {"backbone": "tiny", "layers": 3, "rows": 7} | entry
        return SimpleNamespace(id="ls1-x", digest=digest, entry=SimpleNamespace(**facts), folder=lambda: tmp_path)

    one, again, changed = (state.verification(shelved(digest), "ada") for digest in ("a", "a", "b"))
    assert one.id == again.id != changed.id
    assert (one.kind, one.store, one.about["rows"]) == ("verify", "ls1-x", 7)
    assert state.verification(shelved("a", backbone=None), "ada").about["backbone"] == "n/a"
    state.queue.database.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(("memory", "bytes_"), [("1GB", 10**9), ("1.5 MB", 1_500_000), ("10kB", 10_000)])
def test_memory_is_what_was_given(tmp_path: Path, memory: str, bytes_: int) -> None:
    state = ServiceState(ServeConfig(roots=(str(tmp_path),), memory=memory))
    assert state.limits.memory == bytes_
    state.queue.database.close()  # type: ignore[union-attr]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machines_own_addresses_need_no_users(host: str) -> None:
    assert ServeConfig(host=host).token_file is None


# --- plans


def planned(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> tuple[Quotes, list[str]]:
    """Quotes whose plans are made up, and the stores that were planned for."""
    seen: list[str] = []

    def plan(self: Quotes, question: Any, stores: list[Any]) -> Quote:
        seen.append(question.store)
        return Quote(f"id of {question.store}", {}, {}, 1, (question.store,), {}, None)

    monkeypatch.setattr(Quotes, "_plan", plan)
    catalogue = SimpleNamespace(find=lambda word: SimpleNamespace(digest=f"digest of {word}"))
    return Quotes(catalogue, SimpleNamespace(all=lambda: answers), SimpleNamespace(), None, "it is full"), seen  # type: ignore[arg-type]


def asked(store: str, **changes: Any) -> Any:
    return ProbeQuestion.model_validate({"store": store} | changes)


def test_the_same_question_is_planned_once_a_minute_and_another_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    quotes, seen = planned(monkeypatch, {})
    clock = [0.0]
    monkeypatch.setattr(quoting.time, "monotonic", lambda: clock[0])
    for _ in range(3):
        quotes.quote(asked("a"))
    quotes.quote(asked("a", folds=3))
    assert seen == ["a", "a"]
    clock[0] = quoting.FRESH_SECONDS
    quotes.quote(asked("a"))
    assert seen == ["a", "a"]
    clock[0] += 0.1
    quotes.quote(asked("a"))
    assert seen == ["a", "a", "a"]


def test_only_so_many_plans_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    quotes, seen = planned(monkeypatch, {})
    for number in range(KEPT + 1):
        quotes.quote(asked(f"s{number}"))
    quotes.quote(asked(f"s{KEPT}"))
    assert len(seen) == KEPT + 1
    quotes.quote(asked("s0"))  # the oldest went
    assert len(seen) == KEPT + 2


def test_an_answer_that_came_meanwhile_is_told_and_a_damaged_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, Any] = {}
    quotes, seen = planned(monkeypatch, answers)
    assert quotes.quote(asked("a")).answer is None
    answers["id of a"] = SimpleNamespace(id="id of a", damage="")
    assert quotes.quote(asked("a")).answer == "id of a"
    answers["id of a"].damage = "it is cut off"
    assert quotes.quote(asked("a")).answer is None
    assert len(seen) == 1
    with pytest.raises(HttpProblem, match="no jobs can be taken: it is full"):
        quotes.request(quotes.quote(asked("a")), asked("a"), "ada")


# --- what a server asks by itself


def shelf(name: str, backbone: str = "tiny", damage: str | None = None, folder: Path | None = Path("/r")) -> Any:
    return SimpleNamespace(id=name, entry=SimpleNamespace(damage=damage, backbone=backbone), root=SimpleNamespace(folder=folder))


def test_stores_that_are_here_whole_trained_and_in_no_ranking_are_unmeasured() -> None:
    stores = [
        shelf("new"),
        shelf("used"),
        shelf("twin"),
        shelf("bad", damage="x"),
        shelf("far", folder=None),
        shelf("plain", "tiny-untrained"),
    ]
    results = SimpleNamespace(all=lambda: {"r": SimpleNamespace(stores=("used",), twin="twin")})
    found = unmeasured(SimpleNamespace(all=lambda: stores), results)  # type: ignore[arg-type]
    assert [one.id for one in found] == ["new"]


def test_a_newcomer_is_asked_about_once_with_its_twin_and_one_that_cannot_be_is_told_once(capsys) -> None:
    submitted: list[Any] = []

    def quote(question: Any) -> Any:
        if question.store == "short":
            raise DataError("it has too few episodes")
        return SimpleNamespace(id=f"job of {question.store}", twin=question.twin)

    catalogue = SimpleNamespace(
        all=lambda: [shelf("new"), shelf("short"), shelf("known")], twin_of=lambda name: "t" if name == "new" else ""
    )
    queue = SimpleNamespace(knows=lambda job: job == "job of known", submit=submitted.append)
    quotes = SimpleNamespace(quote=quote, request=lambda made, question, who: (made.id, made.twin, who))
    results = SimpleNamespace(all=dict)
    tried: set[str] = set()
    assert [probe_newcomers(catalogue, results, quotes, queue, tried) for _ in range(2)] == [1, 0]  # type: ignore[arg-type]
    assert submitted == [("job of new", "t", "this server")]
    assert capsys.readouterr().err == "jobs: store short cannot be probed: it has too few episodes\n"
    assert tried == {"new", "short", "known"}
