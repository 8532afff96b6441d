"""``layerscout store``: lists and tells, deletes only what was agreed to, and says in one line what is wrong."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer.main
from calling import call as run
from calling import refused

from layerscout.cache.identity import SCHEMA
from layerscout.cache.opening import open_store
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.cli import application
from layerscout.commands.console import size
from layerscout.commands.stores.text import short_length

COMMANDS = ["ls", "info", "verify", "rm", "prune", "pin", "unpin", "name", "push", "pull", "export"]
ROWS = 12
SPECS = (LayerSpec("blocks.0", 3, "float16", "layer", 0, "blocks.0"), LayerSpec("pixels", 2, "float32", "control", -1, ""))


def call(*words: object):
    return run("store", *words)


def told(*words: object) -> dict:
    """The result of a command with --json, which prints one object and nothing else."""
    result = call(*words, "--json", "-q")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (line,) = result.stdout.splitlines()
    return json.loads(line)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file below with its bytes and time."""
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def make_store(root: Path, seed: int) -> Store:
    identity = {
        "schema": SCHEMA,
        "backbone": {"name": "tiny", "weights_digest": "sha256:aa"},
        "recipe": {"seed": seed},
        "preprocessing": {"fingerprint": "sha256:bb"},
        "dataset": {"digest": "sha256:cc"},
        "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in SPECS],
        "pooling": "all/mean",
        "logical_dtype": "float16",
    }
    writer = StoreWriter.open(root, identity, SPECS, ROWS)
    columns = {name: np.zeros(ROWS, dtype) for name, dtype in (("episode", "i4"), ("step", "i4"), ("action", "i4"), ("reward", "f4"))}
    columns |= {"terminated": np.zeros(ROWS, bool), "truncated": np.zeros(ROWS, bool), "padding": np.zeros(ROWS, "i2")}
    writer.write_unit(0, {spec.name: np.full((ROWS, spec.width), seed, np.float32) for spec in SPECS}, columns)
    return writer.commit({"command": "test", "nested": {"a": 1}})


@pytest.fixture
def root(tmp_path, _no_waiting_for_the_disk) -> Path:
    return tmp_path / "root"


@pytest.fixture
def stores(root) -> list[Store]:
    return sorted((make_store(root, seed) for seed in range(3)), key=lambda store: store.id)


# --- the commands


def test_the_commands_are_there_with_the_options_that_all_have():
    found = typer.main.get_command(application()).commands["store"].commands
    assert list(found) == COMMANDS
    for name, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--json", "--quiet", "--debug"} <= options, name
        assert "--root" in options, name
        if name not in ("ls", "info", "verify"):  # these change nothing
            assert {"--dry-run", "-n"} <= options, name


def test_help_of_a_sub_command_imports_nothing_heavy():
    script = """
import sys
from layerscout.cli import main
try:
    main(["store", "prune", "--help"])
except SystemExit as end:
    assert end.code == 0
loaded = [name for name in ("torch", "numpy", "zarr", "obstore", "dask", "h5py") if name in sys.modules]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- ls and info


def test_ls_shows_people_what_json_says(stores, root):
    call("name", stores[0].id, "best", "--root", root)
    call("pin", stores[1].id, "--root", root)
    (stores[2].path / "manifest.json").write_text("{")
    facts, shown = told("ls", root, "--sort", "id"), call("ls", root, "--sort", "id")
    assert [entry["store"] for entry in facts["stores"]] == [store.id for store in stores]
    assert [entry["state"] for entry in facts["stores"]] == [["named"], ["pinned"], ["free", "damaged"]]
    head, _, *rows, footer = shown.stdout.splitlines()
    assert head.split() == ["store", "name", "backbone", "rows", "layers", "size", "created", "state"]
    for row, store, word in zip(rows, stores, ("best", "pinned", "damaged"), strict=True):
        assert row.startswith(store.id[:12])
        assert word in row
    assert footer == f"3 stores, {size(facts['bytes'])}"
    assert f"layerscout store verify {stores[2].id}" in shown.stderr
    assert call("ls", root, "-q").stderr == ""


def test_ls_filters_sorts_and_limits_but_counts_all(stores, root):
    facts = told("ls", "--root", root, "--sort", "id:desc", "--limit", 1)
    assert ([entry["store"] for entry in facts["stores"]], facts["count"]) == ([stores[2].id], 3)
    assert call("ls", root, "--limit", 1).stdout.splitlines()[-1].startswith("1 of 3 stores, ")
    assert told("ls", root, "--filter", "size>1GB")["count"] == 0
    assert told("ls", root, "--filter", "size<1GB", "--filter", f"id={stores[1].id}")["count"] == 1


def test_ls_tells_of_what_lies_beside_the_stores(stores, root):
    left = root / "staging" / stores[0].id / ("0" * 32)
    left.mkdir(parents=True)
    (left / "attempt.json").write_text("x" * 1500)
    shutil.copytree(stores[0].path, root / "mirrors" / stores[0].id)
    shown = call("ls", root).stderr
    assert "left behind by killed processes: 1 item, 1.5 kB: layerscout store prune" in shown
    assert "1 mirror of stores elsewhere" in shown
    facts = told("ls", root)
    assert (facts["remains"], facts["mirrors"]["count"]) == ({"count": 1, "bytes": 1500}, 1)


def test_short_ids_in_a_listing_tell_stores_apart():
    ids = ["ls1-" + "0" * 31 + end for end in "ab"] + ["ls1-" + "f" * 32]
    assert short_length(ids) == 36
    assert short_length(ids[1:]) == 12
    assert short_length(ids[:1]) == 12
    assert short_length([]) == 12


def test_info_tells_everything(stores, root):
    facts = told("info", stores[0].id, "--root", root)
    assert facts["identity"] == stores[0].identity
    assert [layer["name"] for layer in facts["layers"]] == ["blocks.0", "pixels"]
    shown = call("info", stores[0].path).stdout
    for word in (stores[0].id, "backbone.weights_digest: sha256:aa", "nested.a: 1", "blocks.0", "all/mean"):
        assert word in shown


# --- verify


def test_verify_tells_and_its_exit_code_too(stores, root):
    assert told("verify", "--all", "--full", "--root", root)["damaged"] == 0
    chunk = stores[1].path / "layers/blocks.0/c/0/0"
    chunk.write_bytes(bytes(byte ^ 1 for byte in chunk.read_bytes()))
    (stores[2].path / "manifest.json").unlink()
    result = call("verify", "--all", "--json", "-q", "--root", root)
    hint = refused(result, 4, "2 problem(s) in 2 of 3 store(s)")
    assert f"layerscout store rm {stores[1].id}" in hint
    found = {one["store"]: [problem["path"] for problem in one["problems"]] for one in json.loads(result.stdout)["stores"]}
    assert found == {stores[0].id: [], stores[1].id: ["layers/blocks.0/c/0/0"], stores[2].id: ["manifest.json"]}
    assert call("verify", stores[0].id, "--root", root).exit_code == 0
    assert "damaged" in call("verify", stores[1].id, "--root", root).stdout


def test_verify_against_another_store_of_the_same_id(stores, root, tmp_path):
    other = tmp_path / "elsewhere"
    shutil.copytree(root, other)
    same = told("verify", stores[0].id, "--against", other, "--root", root)
    assert (same["equal"], same["unequal_columns"]) == (True, [])
    shown = call("verify", stores[0].id, "--against", other / "stores" / stores[0].id, "--root", root)
    assert "equal to the last bit" in shown.stdout
    for words, code, expected in (
        ((stores[0].id, "--against", other / "stores" / stores[1].id), 4, "computed from different things"),
        ((stores[0].id, "--against", tmp_path / "nowhere"), 4, "does not exist"),
        ((stores[0].id, "--against", "s3://bucket/x"), 2, "is elsewhere"),
        (("--all", "--against", other), 2, "which store?"),
        ((stores[0].id, stores[1].id, "--against", other), 2, "which store?"),
    ):
        refused(call("verify", *words, "--root", root), code, expected)


# --- rm and prune


def test_off_a_terminal_nothing_is_deleted_without_yes(stores, root):
    before = snapshot(root)
    for words in (["rm", stores[0].id], ["rm", stores[0].id, "-n"], ["rm", stores[0].id, "-n", "--yes"], ["prune", "--unreferenced"]):
        result, dry = call(*words, "--root", root), "-n" in words
        assert result.exit_code == (0 if dry else 2)
        assert f"stores/{stores[0].id}" in result.stdout
        assert ("--yes" in result.stderr) == (not dry)
        facts = json.loads(call(*words, "--root", root, "--json", "-q").stdout)
        assert (facts["deleted"], facts.get("kind")) == (False, None if dry else "usage")
    assert call("prune", "--root", root).exit_code == 0  # nothing to delete is nothing to ask
    assert snapshot(root) == before


def test_yes_deletes_and_says_how_much(stores, root):
    planned = told("rm", stores[0].id, stores[1].id, "--root", root, "-n")
    facts = told("rm", stores[0].id, stores[1].id, "--root", root, "--yes")
    assert (facts["deleted"], facts["freed_bytes"], facts["left"]) == (True, planned["bytes"], [])
    assert [entry["store"] for entry in told("ls", root)["stores"]] == [stores[2].id]
    again = call("rm", stores[0].id, "--root", root, "--yes")
    assert again.exit_code == 0
    assert f"not there: {stores[0].id}" in again.stdout
    told("prune", "--unreferenced", "--older-than", "1d", "--yes", "--root", root)
    assert stores[2].path.exists()
    told("prune", "--unreferenced", "--yes", "--root", root)
    assert not stores[2].path.exists()


@pytest.mark.skipif(os.name != "posix", reason="pseudo-terminals are a POSIX thing; runs on Linux and macOS")
@pytest.mark.parametrize(
    ("answer", "stays"), [(b"y\n", False), (b"n\n", True), (b"\n", True), (b"\x04", True)], ids=["yes", "no", "enter", "end"]
)
def test_on_a_terminal_it_asks(stores, root, answer, stays):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from layerscout.cli import main; main()", "store", "rm", stores[0].id, "--root", str(root)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "dumb"})
    os.close(theirs)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(ours, 1000)
    os.write(ours, answer)
    try:
        while data := os.read(ours, 1000):
            shown += data
    except OSError:  # the other end closed the terminal
        pass
    assert process.wait(60) == 0
    os.close(ours)
    assert stores[0].path.exists() == stays
    assert (b"nothing was deleted" in shown) == stays


def test_what_cannot_be_deleted_is_told(stores, root, monkeypatch):
    from layerscout.cache.catalog import trash

    monkeypatch.setattr(trash.shutil, "rmtree", lambda path, **options: None)
    result = call("rm", stores[0].id, "--yes", "--root", root)
    refused(result, 4, "could not be deleted wholly")


# --- pins and names


def test_pins_and_names_keep_stores_until_they_are_taken_away(stores, root):
    pinned, named, free = stores
    assert told("pin", pinned.id, "--reason", "figure 2", "--root", root)["new"] == [pinned.id]
    assert told("pin", pinned.id, "--root", root)["new"] == []
    assert told("name", named.id, "best", "--root", root) == {"name": "best", "store": named.id, "was": None, "dry_run": False}
    assert "unpin" in refused(call("rm", pinned.id, "--yes", "--root", root), 4, "is pinned (figure 2)")
    assert "--remove best" in refused(call("rm", "best", "--yes", "--root", root), 4, "is named 'best'")
    told("prune", "--unreferenced", "--yes", "--root", root)
    assert [path.exists() for path in (pinned.path, named.path, free.path)] == [True, True, False]
    assert told("name", pinned.id, "best", "--root", root)["was"] == named.id
    assert told("unpin", pinned.id, "--root", root)["unpinned"] == [pinned.id]
    assert told("unpin", pinned.id, "--root", root)["unpinned"] == []
    assert told("name", "--remove", "best", "--root", root)["removed"] is True
    assert "no store is named 'best'" in call("name", "--remove", "best", "--root", root).stdout
    told("prune", "--unreferenced", "--yes", "--root", root)
    assert not pinned.path.exists()


def test_dry_runs_of_pins_and_names_write_nothing(stores, root):
    told("pin", stores[0].id, "--root", root)
    told("name", stores[0].id, "best", "--root", root)
    before = snapshot(root)
    for words in (["pin", stores[1].id], ["unpin", stores[0].id], ["name", stores[1].id, "best"], ["name", "--remove", "best"]):
        assert "would" in call(*words, "--root", root, "-n").stdout
    assert snapshot(root) == before


# --- push and pull


def test_a_store_goes_out_and_comes_back(stores, root, tmp_path):
    shared, other = tmp_path / "shared", tmp_path / "other"
    planned = told("push", stores[0].id, shared, "--root", root, "-n")
    assert (planned["outcome"], shared.exists()) == ("planned", False)
    assert told("push", stores[0].id, shared, "--root", root)["outcome"] == "published"
    assert told("push", stores[0].id, shared, "--root", root)["outcome"] == "present"
    url = f"file://{shared}"
    assert [entry["store"] for entry in told("ls", url)["stores"]] == [stores[0].id]
    told("pull", url, "--root", other, "-n")
    assert not other.exists()
    part = told("pull", url, "--root", other, "--layer", "pixels")
    assert "/mirrors/" in part["path"]
    (row,) = told("ls", other)["stores"]
    assert (row["mirror_of"], row["layers_here"], row["layers"], row["state"]) == (url, 1, 2, ["free", "mirror"])
    shown = call("ls", other).stdout
    assert f"mirror of {url}" in shown
    assert "1 of 2" in shown
    assert shown.splitlines()[-1].startswith("0 stores and 1 mirror, ")
    assert told("info", stores[0].id, "--root", other)["layers_here"] == ["pixels"]
    whole = told("pull", url, "--root", other)
    assert Path(whole["path"]) == other / "stores" / stores[0].id
    assert told("verify", stores[0].id, "--full", "--root", other)["damaged"] == 0


def test_a_store_has_one_size_whoever_tells_it(stores, root, tmp_path):
    """On disk, in lists, on its way out and back: the manifest is counted everywhere."""
    shared, name = tmp_path / "shared", stores[0].id
    size = sum(path.stat().st_size for path in stores[0].path.rglob("*") if path.is_file())
    said = [told("info", name, "--root", root), *(row for row in told("ls", root)["stores"] if row["store"] == name)]
    said += [told("push", name, shared, "--root", root, *more) for more in (["-n"], [], [])]
    said += [told("pull", f"file://{shared}", "--root", tmp_path / "other", *more) for more in (["-n"], [])]
    said += told("ls", f"file://{shared}")["stores"]
    said += told("verify", name, "--root", root)["stores"]
    assert {one["bytes"] for one in said} == {size}
    assert {one["objects"] for one in said if "objects" in one} == {len([path for path in stores[0].path.rglob("*") if path.is_file()])}
    again = told("push", name, shared, "--root", root)
    assert (again["present_bytes"], again["present_objects"]) == (size, again["objects"])


# --- mistakes


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["ls", "{}/none"], 4, "does not exist"),
        (["ls", "{}/file"], 4, "is a file"),
        (["ls", "{root}", "--root", "{root}"], 2, "two folders"),
        (["ls", "{root}", "--filter", "siez>1"], 2, "did you mean 'size'"),
        (["ls", "{root}", "--sort", "date"], 2, "cannot sort by 'date'"),
        (["info", "nothing", "--root", "{root}"], 4, "no store 'nothing'"),
        (["verify", "s3://bucket/place", "--root", "{root}"], 2, "is elsewhere"),
        (["info", "nothing", "--root", "{}/none"], 4, "does not exist"),
        (["verify", "--root", "{root}"], 2, "which stores?"),
        (["verify", "bset", "--root", "{root}"], 4, "did you mean 'best'"),
        (["rm", "bset", "--root", "{root}"], 4, "did you mean 'best'"),
        (["rm", "best", "--root", "{}/file"], 4, "is a file"),
        (["prune", "--older-than", "soon", "--root", "{root}"], 2, "'soon' is not a time"),
        (["pin", "bset", "--root", "{root}"], 4, "did you mean 'best'"),
        (["unpin", "bset", "--root", "{root}"], 4, "did you mean 'best'"),
        (["name", "best", "--root", "{root}"], 2, "which name?"),
        (["name", "best", "../x", "--root", "{root}"], 2, "cannot name a store"),
        (["push", "bset", "{}/shared", "--root", "{root}"], 4, "did you mean 'best'"),
        (["pull", "{}/none", "--root", "{root}"], 4, "none"),
        (["ls", "ftp://host/place"], 2, "is not the URL of a place"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_one_line(stores, root, tmp_path, words, code, message):
    (tmp_path / "file").write_text("x")
    call("name", stores[0].id, "best", "--root", root)
    result = call(*[word.format(tmp_path, root=root) for word in words])
    assert result.stdout == ""
    refused(result, code, message)


def test_a_root_that_may_not_be_written_is_told_before_anything_happens(stores, root, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    for words in (["rm", stores[0].id, "--yes"], ["prune", "--yes"], ["pin", stores[0].id], ["name", stores[0].id, "best"]):
        refused(call(*words, "--root", root), 4, "you may not write in")
    assert call("rm", stores[0].id, "--root", root, "-n").exit_code == 0
    assert call("ls", root).exit_code == 0


def test_wrong_words_are_usage_errors(root):
    for words in (["list"], ["rm"], ["rm", "--yse"], ["ls", "--limit", "0"]):
        assert call(*words).exit_code == 2


def test_home_is_meant_wherever_a_store_or_a_place_is_written(stores, root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    place = f"~/root/stores/{stores[0].id}"
    assert told("info", place)["store"] == stores[0].id
    assert told("verify", place)["damaged"] == 0
    assert told("ls", "~/root")["count"] == len(stores)
    assert told("push", place, "~/shared")["objects"] > 0
    assert (tmp_path / "shared").is_dir()
    assert told("pull", "~/shared", "--root=~/other")["store"] == stores[0].id
    assert open_store("~/root", stores[1].id).id == open_store(None, f"~/root/stores/{stores[1].id}").id == stores[1].id
    assert not (tmp_path / "~").exists()
