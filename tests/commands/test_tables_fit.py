"""Every command that prints a table, on terminals of 60, 80 and 120 characters: nothing is cut off at the edge, and what a table is for stays in it."""

from __future__ import annotations

import io
from pathlib import Path

import calling
import pytest
from calling import Result, call

TRAIN = "train layerscout/Grid-v0 --seeds 2 --updates 3 --evaluations 1 --final-episodes 2 --set dqn.batch=4 --no-scratch --threads 1 -q"
MADE = (
    "collect layerscout/Grid-v0 --steps 300 --policy epsilon:0.6 --set options.observation=planes -q",
    "extract synthetic outputs/data.h5 --rows-per-chunk 128 --name a-name-that-tells-what-it-is -q",
    "probe a-name-that-tells-what-it-is --shifts 2 --top-k 1 -q",
    TRAIN,
)
STUDY = """
[backbones.synthetic]
[defaults.collect]
steps = 300
options = { observation = "planes" }
[tasks.a_task_of_a_long_name_that_says_what_is_played.collect]
environment = "layerscout/Grid-v0"
"""
# a command, and words of which each has to be seen at every width
SHOWN = {
    "layers tiny": ("blocks.0", "99,968"),
    "store ls": ("a-name-that-tells-what-it-is", "362.3 kB"),
    "store info a-name-that-tells-what-it-is": ("random_wide", "98.3 kB"),
    "status outputs": ("collect", "306 steps of 15 episodes", "4 layers, best structured_mid"),
    MADE[2]: ("structured_mid", "pixels"),
    TRAIN: ("structured_mid", "random actions"),
    "study study.toml -n": ("a_task_of_a_long_name_that_says_what_is_played",),
    "store prune -n": ("0 items",),
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def made(tmp_path_factory, _no_waiting_for_the_disk) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LAYERSCOUT_ROOT", str(folder / "stores"))
        for command in MADE:
            done = call(*command.split())
            assert done.exit_code == 0, done.output
    (folder / "study.toml").write_text(STUDY)
    return folder


def on_terminal(words: str, width: int, patch: pytest.MonkeyPatch) -> Result:
    patch.setattr(calling.io, "StringIO", Terminal)
    patch.setenv("COLUMNS", str(width))
    return call(*words.split())


def lines_of_tables(text: str) -> list[str]:
    """Every line of a table: from the names of its columns above the dashes down to the next line that is no row, and what it has no room for."""
    lines, found = text.splitlines(), []
    for place, line in enumerate(lines):
        if line and set(line) <= {"-", " "}:
            below = next((n for n, other in enumerate(lines[place:], place) if not other or ": " in other), len(lines))
            found += lines[place - 1 : below]
    return found + [line for line in lines if line.startswith("(no room")]


@pytest.mark.parametrize("words", SHOWN, ids=lambda words: " ".join(words.split()[:2]))
def test_a_table_fits_and_keeps_what_it_is_for(made, words, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(made / "stores"))
    for width in (60, 80, 120):
        done = on_terminal(words, width, monkeypatch)
        assert done.exit_code == 0, done.output
        assert [line for line in lines_of_tables(done.stdout) if len(line) > width] == []
        missing = [word for word in SHOWN[words] if word not in done.stdout]
        assert missing == [], f"at {width} characters:\n{done.stdout}"


def test_what_a_store_is_made_of_is_told_in_words_and_not_in_pythons_spelling(made, monkeypatch):
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(made / "stores"))
    told = call("store", "info", "a-name-that-tells-what-it-is").stdout + call("doctor").stdout
    assert "dataset.columns: state float32 4" in told
    spelled = [line for line in told.splitlines() if line.endswith((": {}", ": []", "True", "False", "None")) or ": ['" in line]
    assert spelled == []
