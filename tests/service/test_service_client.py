"""The command line as a client: the same words, files and exit codes as the command itself; the typed client; starting and refusing to."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from calling import call, refused
from team import World, live

from layerscout.cache.records import Ranking
from layerscout.errors import BudgetError, DataError, UsageError
from layerscout.probe.keys import KEY_NAME, OUTPUTS
from layerscout.service.client import Client
from layerscout.service.security.tokens import add_user
from layerscout.service.start import demo_places, listen

WORDS = ["--groups", 6, "--folds", 3, "--shifts", 3, "--penalty", 1e-3, "--penalty", 1e-1]


@pytest.fixture(scope="module")
def there(world: World, tmp_path_factory):
    """A server of a copy of the world, with users."""
    place = tmp_path_factory.mktemp("there")
    here = world.copied(place)
    token = add_user(place / "tokens", "ada")
    with live(here.config(token_file=place / "tokens")) as url:
        yield url, token, here


def test_the_command_prints_and_writes_the_same_with_a_server(there, world: World, tmp_path: Path, monkeypatch) -> None:
    url, token, _ = there
    monkeypatch.setenv("LAYERSCOUT_TOKEN", token)
    monkeypatch.chdir(tmp_path)
    mine = call("probe", world.other, "--root", world.root, "--out", "mine/probe", *WORDS)
    theirs = call("probe", world.other, "--server", url, "--out", "theirs/probe", *WORDS)
    assert (theirs.exit_code, mine.exit_code) == (0, 0), theirs.output
    root = f" --root {world.root}"
    assert theirs.stdout.replace("theirs", "mine") == mine.stdout.replace(root, "")
    for name in OUTPUTS:
        assert (tmp_path / "theirs" / "probe" / name).is_file()
    assert (tmp_path / "theirs/probe/ranking.json").read_bytes() == (tmp_path / "mine/probe/ranking.json").read_bytes()
    keys = [json.loads((tmp_path / who / "probe" / KEY_NAME).read_text())["key"] for who in ("mine", "theirs")]
    assert keys[0] == keys[1]
    again = json.loads(call("probe", world.other, "--server", url, "--out", "theirs/probe", *WORDS, "--json").stdout)
    assert (
        again["layers"]
        == json.loads(call("probe", world.other, "--root", world.root, "--out", "mine/probe", *WORDS, "--json").stdout)["layers"]
    )
    dry = [
        json.loads(call("probe", world.store, *place, *WORDS, "-n", "--json").stdout)
        for place in (("--server", url), ("--root", world.root))
    ]
    assert list(dry[0]) == list(dry[1])
    assert {key: dry[0][key] for key in ("rows", "episodes", "layers", "folds", "store")} == {
        key: dry[1][key] for key in ("rows", "episodes", "layers", "folds", "store")
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nothing"], 4, "no store 'nothing'"),
        (["ls1-" + "0" * 32], 4, "no store"),
        (["{store}", "--folds", "2"], 2, "setting 'probe.folds'"),
        (["{store}", "--layer", "blocks.9"], 4, "layer 'blocks.9' is not in store"),
        (["{store}", "--twin", "{other}"], 4, "is of dataset"),
        (["{store}", "--groups", "500", "--folds", "100"], 4, ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_as_those_of_the_command_do(
    there, world: World, monkeypatch, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    url, token, _ = there
    monkeypatch.setenv("LAYERSCOUT_TOKEN", token)
    words = [word.format(store=world.store, other=world.other) for word in words]
    ours, theirs = (call("probe", *words, *place, "--out", tmp_path / "out") for place in (("--root", world.root), ("--server", url)))
    assert theirs.exit_code == ours.exit_code == code, (ours.output, theirs.output)
    assert message in theirs.stderr
    assert "Traceback" not in theirs.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x", "--threads", "2"], "says how this machine works"),
        (["x", "--root", "r"], "says how this machine works"),
        (["./folder"], "is a place"),
        (["s3://bucket/store"], "is a place"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_a_server_cannot_know_is_refused_here(words: list[str], message: str) -> None:
    refused(call("probe", *words, "--server", "http://127.0.0.1:1"), 2, message)


def test_a_server_that_is_not_there_or_is_another_is_told(world: World, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused(call("probe", world.store, "--server", f"http://127.0.0.1:{taken.getsockname()[1]}"), 4, "does not answer")
    for address in ("ftp://x", "127.0.0.1:8347", "http://ada:secret@host", "http://host?token=x"):
        result = call("probe", world.store, "--server", address)
        assert result.exit_code == 2
        assert "secret" not in result.output


def test_without_a_token_the_client_is_told_to_log_in(there) -> None:
    url, _, _ = there
    with Client(url) as team:
        assert team.health().takes_jobs
        with pytest.raises(UsageError, match="who you are"):
            team.stores()


def test_the_client_speaks_in_records(there, world: World) -> None:
    url, token, here = there
    with Client(url, token) as team:
        assert {store.id for store in team.stores().stores} == {here.store, here.twin, here.other}
        assert [store.backbone for store in team.stores("untrained").stores] == ["tiny-untrained"]
        assert [layer.name for layer in team.store(here.store).layers] == ["blocks.0", "blocks.1", "blocks.2", "pixels"]
        question = {"store": here.store, "groups": 6, "folds": 3, "shifts": 3, "penalties": [1e-3, 1e-1]}
        assert team.plan(question).answer == here.ranking
        job = team.submit(question)
        assert (job.state, job.answer) == ("done", here.ranking)
        assert team.wait(job.id).answer == here.ranking
        ranking = team.ranking(here.ranking)
        assert isinstance(ranking, Ranking)
        assert ranking.candidates[0].name == "blocks.1"
        assert team.selection(here.ranking).choices[0].layer == "blocks.1"
        order = team.what_if(here.ranking, (1.0, 1.0, 2.0))
        assert order.weights == [0.25, 0.25, 0.5]
        assert sorted(one.place for one in order.layers) == [1, 2, 3]
        pairs = team.pairs(here.ranking).pairs
        assert [(pair.one, pair.other) for pair in pairs] == list(combinations([layer.name for layer in ranking.candidates], 2))
        assert all(pair.low is not None and pair.difference is not None and pair.low <= pair.difference for pair in pairs)
        note = team.add_note(here.ranking, "agreed")
        assert (note.who, team.notes(here.ranking).notes[-1].text) == ("ada", "agreed")
        assert here.ranking in [one.id for one in team.rankings(store=here.store).rankings]
        for wrong in ("../x", "a/b", "", "..", "a?b"):
            with pytest.raises(UsageError):
                team.store(wrong)
        with pytest.raises(DataError, match="no store"):
            team.store("nobody")
        job = team.submit({"store": here.store, "twin": here.twin, "groups": 6, "folds": 3})
        seen = [one["state"] for one in team.events(job.id)]
        assert seen[-1] == "done"
        assert team.jobs("done").jobs[0].id == job.id
        assert team.verify(here.store).kind == "verify"


def test_a_failed_job_raises_what_the_command_would(world: World, tmp_path: Path) -> None:
    with live(world.copied(tmp_path).config(memory="1kB")) as url, Client(url) as team, pytest.raises(BudgetError, match="memory"):
        team.submit({"store": world.other})


# --- starting


def test_the_server_says_one_line_and_answers_and_ends_quietly(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    program = f"from layerscout.cli import main; main(['serve', '--root', {str(here.root)!r}, '--port', '0'])"
    server = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found
        for path in ("/stores/../../etc/passwd", "/static/../../secret", "/stores/%2e%2e/x", "//etc/passwd"):
            with socket.create_connection(("127.0.0.1", int(found[1]))) as raw:
                raw.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                assert int(raw.makefile().readline().split()[1]) in (404, 421), path
        other = call("serve", "--root", here.root, "--port", found[1])
        refused(other, 2, f"port {found[1]} is in use by process {server.pid}")
    finally:
        server.terminate()
        out, err = server.communicate(timeout=20)
    assert out == ""
    assert "Traceback" not in err


def test_what_cannot_be_served_is_told_in_one_line(tmp_path: Path, world: World) -> None:
    refused(call("serve", "--root", tmp_path / "none"), 4, "does not exist")
    refused(call("serve", "--root", world.root, "--runs", tmp_path / "none"), 4, "no folder")
    refused(call("serve", "--root", world.root, "--host", "0.0.0.0"), 2, "give token_file")
    refused(call("serve", "--root", world.root, "--host", "0.0.0.0", "--token-file", tmp_path / "none"), 4, "no file")
    refused(call("serve", "--root", world.root, "--memory", "lots"), 2, "is not a size")
    refused(call("serve", "--demo", "--root", world.root), 2, "--demo")
    refused(call("serve", "token", "give"), 2, "not 'give'")
    refused(call("serve", "token", "rm", "bob", "--token-file", tmp_path / "t"), 2, "no user 'bob'")
    with pytest.raises(UsageError, match="cannot listen"):
        listen("203.0.113.7", 0)
    (tmp_path / "cache").mkdir()
    assert demo_places(tmp_path) == ((str(tmp_path / "cache"),), (tmp_path,))


def test_a_newcomer_needs_one_command_because_a_quick_demo_is_made_first(tmp_path: Path, monkeypatch) -> None:
    """By a process of its own: the server's never loads torch."""
    from layerscout.service import start

    asked, served = [], []
    monkeypatch.setattr(start, "serve", lambda config, say: served.append(config))

    def made(words, **_):
        asked.append(words[1:])
        (tmp_path / "first" / "cache").mkdir(parents=True)
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr("layerscout.commands.team.serving.subprocess.run", made)
    for _ in range(2):  # the second time it is there
        done = call("serve", "--demo", "--demo-out", tmp_path / "first")
        assert done.exit_code == 0, done.output
    assert asked == [["-m", "layerscout", "demo", "--preset", "quick", "--out", str(tmp_path / "first")]]
    assert [config.roots for config in served] == [(str(tmp_path / "first" / "cache"),)] * 2
    monkeypatch.setattr("layerscout.commands.team.serving.subprocess.run", lambda words, **_: subprocess.CompletedProcess(words, 5))
    refused(call("serve", "--demo", "--demo-out", tmp_path / "none"), 4, "the demo ended with exit code 5")


def test_a_token_is_printed_once(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    made = call("serve", "token", "add", "ada", "--token-file", file)
    token = made.stdout.split()[0]
    assert made.exit_code == 0
    assert token not in file.read_text()
    assert call("serve", "token", "ls", "--token-file", file).stdout == "ada\n"
    assert token not in call("serve", "token", "ls", "--token-file", file, "--json").stdout
    assert call("serve", "token", "rm", "ada", "--token-file", file).exit_code == 0
    assert call("serve", "token", "ls", "--token-file", file).stdout == "no users\n"


def test_without_the_extra_the_command_says_what_to_install(world: World) -> None:
    program = "import sys; sys.modules['fastapi'] = None; sys.modules['uvicorn'] = None\nfrom layerscout.cli import main\nmain(['serve', '--root', sys.argv[1]])"
    done = subprocess.run([sys.executable, "-c", program, str(world.root)], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "pip install '.[serve]'" in done.stderr


def test_a_served_page_needs_no_torch(world: World) -> None:
    program = """
import sys
from fastapi.testclient import TestClient
from layerscout.service.app import make_app
from layerscout.service.settings import ServeConfig
with TestClient(make_app(ServeConfig(roots=(sys.argv[1],), runs=(sys.argv[2],))), base_url="http://127.0.0.1") as client:
    for path in ("/stores", "/decisions", "/board", "/runs", "/rankings", f"/rankings/{sys.argv[3]}", "/probe"):
        assert client.get(path).status_code == 200, path
assert not {"torch", "diffusers", "transformers"} & set(sys.modules)
"""
    words = [sys.executable, "-W", "ignore", "-c", program, str(world.root), str(world.runs), world.ranking]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
