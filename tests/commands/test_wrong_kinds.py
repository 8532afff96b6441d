"""Words in the wrong order, folders for files and files for folders are told as such; tables fit the terminal."""

from __future__ import annotations

import shutil

import pytest
from calling import call, refused

from layerscout.cluster import check_scheduler, local_processes
from layerscout.commands import console
from layerscout.commands.console import table
from layerscout.showing import readable


@pytest.fixture
def here(tmp_path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(tmp_path / "root"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "outputs").mkdir()
    shutil.copy(small.planes, tmp_path / "outputs" / "data.h5")
    (tmp_path / "outputs" / "probe").mkdir()
    (tmp_path / "outputs" / "probe" / "selection.json").write_text("{}")
    (tmp_path / "outputs" / "probe" / "ranking.json").write_text("{}")
    (tmp_path / "outputs" / "train").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "message", "advice"),
    [
        ("import empty", 4, "empty is an empty folder", "downloaded"),
        ("extract outputs/data.h5 synthetic", 2, "the backbone comes first", "layerscout extract synthetic outputs/data.h5"),
        ("extract synthetic outputs", 4, "outputs is a folder, expected a file", "data.h5"),
        ("probe outputs/data.h5", 4, "outputs/data.h5 is a file, expected a store", "layerscout extract synthetic outputs/data.h5"),
        ("report outputs/train", 4, "no ranking.json in outputs/train", "layerscout report outputs"),
        ("report outputs/probe/selection.json", 4, "is a file, expected the folder", "layerscout report outputs"),
        ("train layerscout/Grid-v0 --selection outputs/probe", 4, "outputs/probe is a folder, expected a file", "selection.json"),
        ("collect layerscout/Grid-v0 --steps 5 --config outputs", 4, "outputs is a folder, expected a file of settings", "study.toml"),
        ("store push s3://bucket/place best", 2, "the store comes first", "layerscout store push best s3://bucket/place"),
        ("extract synthetic outputs/data.h5 --scheduler nowhere", 2, "expected local, local:N or an address", ""),
        ("probe best --scheduler local:0", 2, "expected local, local:N or an address", ""),
        ("init outputs/data.h5", 4, "outputs/data.h5 is a file, expected a folder", "check the path"),
        ("collect layerscout/Grid-v0 --steps 5 --out outputs/data.h5/in.h5", 4, "outputs/data.h5 is a file, expected a folder", ""),
        ("extract synthetic outputs/data.h5 --root outputs/data.h5", 4, "outputs/data.h5 is a file, expected a folder", ""),
        ("collect layerscout/Grid-v0 --steps 5 --out --json", 2, "--json stands where a path is expected", "./--json"),
        ("probe best --out --twin other", 2, "--twin stands where a path is expected", ""),
        ("study outputs/data.h5", 2, "outputs/data.h5 is no file of settings: it holds other bytes than text", "layerscout init FOLDER"),
        ("probe best --config outputs/data.h5", 2, "outputs/data.h5 is no file of settings", "layerscout init FOLDER"),
        ("status outputs/data.h5", 4, "outputs/data.h5 is a file, expected a folder", "the stages wrote to"),
        ("status nowhere", 4, "no folder nowhere", "the stages wrote to"),
        ("serve --root . --runs outputs/data.h5", 4, "outputs/data.h5 is a file, expected a folder", "--runs is the folder"),
        ("layers outputs/data.h5", 2, "outputs/data.h5 is a file, and no backbone", "known backbones: "),
        ("layers empty", 2, "empty is a folder, and no backbone", "known backbones: "),
        ("layers synthetik", 2, "unknown backbone 'synthetik'; did you mean 'synthetic'?", "known backbones: "),
        ("store ls --limit x", 2, "Invalid value for '--limit': expected a whole number", "layerscout store ls --help"),
        ("store ls --limit 0", 2, "Invalid value for '--limit': expected at least 1", "layerscout store ls --help"),
        ("serve --port x", 2, "Invalid value for '--port': expected a whole number", "layerscout serve --help"),
        ("store pull", 2, "Missing argument", "layerscout store pull --help"),
        ("store pull --workers", 2, "requires an argument", "layerscout store pull --help"),
        ("collect --steps", 2, "requires an argument", "layerscout collect --help"),
    ],
)
def test_the_wrong_kind_is_told_with_what_was_meant(here, words, code, message, advice):
    result = call(*words.split())
    hint = refused(result, code, message)
    assert advice in hint
    assert not [
        word for word in ("pydantic", "h5py", "Unable to synchronously", "pattern", "regex", "Input should") if word in result.stderr
    ]


def test_one_word_names_a_cluster_in_every_command():
    for words, count in (("local", 7), ("local:3", 3), ("tcp://10.0.0.1:8786", 0)):
        assert check_scheduler(words) == words
        assert local_processes(words, 7) == count
    assert check_scheduler(None) is None


# --- tables


COLUMNS = ("layer", "score", "a column of many letters", "note")
ROWS = [("blocks.0", "0.5", "x", "first"), ("blocks.1", "0.4", "y", "")]


def test_a_table_fits_the_terminal_and_says_what_it_left_out(monkeypatch):
    whole = table(COLUMNS, ROWS)
    assert whole.splitlines()[0].split() == ["layer", "score", *COLUMNS[2].split(), "note"]
    for room in (80, 100, 200):
        monkeypatch.setattr(console, "terminal_width", lambda room=room: room)
        assert table(COLUMNS, ROWS) == whole
    wide = [("x" * 40, "0.5", "y" * 30, "z" * 30)]
    monkeypatch.setattr(console, "terminal_width", lambda: 100)
    cut = table(COLUMNS, wide).splitlines()
    assert max(map(len, cut)) <= 100
    assert cut[-1] == "(no room for: note; a wider terminal or --json has them)"
    kept = table(COLUMNS, wide, last=("a column of many letters",)).splitlines()
    assert kept[0].split() == ["layer", "score", "note"]


def test_a_narrow_terminal_gets_rows_as_lines(monkeypatch):
    monkeypatch.setattr(console, "terminal_width", lambda: 30)
    assert table(COLUMNS, ROWS).splitlines()[:4] == [
        "layer                     blocks.0",
        "score                     0.5",
        "a column of many letters  x",
        "note                      first",
    ]


@pytest.mark.parametrize(
    "words",
    [
        "collect layerscout/Grid-v0 --steps 20 --out outputs/new.h5",
        "extract synthetic outputs/data.h5",
        "transfer layerscout/Grid-v0 --set teacher_options={}",
        "train layerscout/Dishwashing-v0 --out outputs/work --set work.episodes=2",
    ],
)
def test_what_is_not_there_yet_is_told_in_one_word_by_every_dry_run(here, words):
    """It was n/a in two commands, and no in the others."""
    result = call(*words.split(), "--dry-run")
    assert result.exit_code == 0, result.output
    assert {line.partition(": ")[2] for line in result.stdout.splitlines() if line.startswith("exists: ")} <= {"no"}


def test_one_word_says_no_and_one_says_unknown():
    assert [readable("exists", value) for value in (None, False, True, "ls1-0")] == ["no", "no", "yes", "ls1-0"]
    assert [readable("x", value) for value in (True, False, None, [], 1234, 1.5)] == ["yes", "no", "n/a", "none", "1,234", "1.5"]
