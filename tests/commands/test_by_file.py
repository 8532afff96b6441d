"""What comes next by a settings file: its own command where it means what was just made, what makes the store that is missing, else nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerscout.commands.study import by_file
from layerscout.commands.words import Sources

TEXT = """
[collect]
environment = "layerscout/Intercept-v0"
out = "data.h5"
[extract]
backbone = "{backbone}"
data = "data.h5"
root = "{root}"
name = "trained"
{options}
[probe]
store = "{store}"
{twin}
root = "{root}"
out = "probe"
[train]
environment = "layerscout/Intercept-v0"
selection = "probe/selection.json"
root = "{root}"
[presets.small.probe]
shifts = 5
"""


@pytest.fixture
def written(tmp_path, monkeypatch, small, tiny_store):
    """Write a settings file into an empty folder, which becomes the current one; returns it as a command is told of it."""
    monkeypatch.chdir(tmp_path)

    def write(more: str = "", preset: str | None = None, said: tuple[str, ...] = (), **changes: str) -> Sources:
        parts = {"backbone": "tiny", "root": str(small.root), "options": "", "store": tiny_store.id, "twin": ""} | changes
        Path("study.toml").write_text(TEXT.format(**parts) + more)
        return Sources(Path("study.toml"), preset, said)

    return write


def test_without_a_file_nothing_is_said(tmp_path):
    nothing = Sources()
    assert by_file.after_data(nothing, Path("data.h5")) is None
    assert by_file.after_model(nothing, "apv", Path("model")) is None
    assert by_file.after_store(nothing, "ls1-" + 32 * "a", None) is None
    assert by_file.after_ranking(nothing, Path("probe"), None) is None
    assert by_file.probing(Sources(Path("study.toml")), tmp_path) is None, "nor by one that is not there"


@pytest.mark.parametrize("data", ["data.h5", "./data.h5", "{here}/data.h5"])
def test_data_that_the_file_means_are_extracted_by_it(written, data):
    sources = written()
    assert by_file.after_data(sources, Path(data.format(here=Path.cwd()))) == "layerscout extract --config study.toml"
    assert by_file.after_data(sources, Path("other.h5")) is None


@pytest.mark.parametrize("method", ["apv", "pvdr"])
def test_a_model_is_pretrained_before_it_looks(written, method):
    sources = written(f'[pretrain.{method}]\ndata = "data.h5"\nout = "model"\n', backbone=f"{method}:model")
    assert by_file.after_data(sources, Path("data.h5")) == f"layerscout pretrain {method} --config study.toml"
    assert by_file.after_model(sources, method, Path("./model")) == "layerscout extract --config study.toml"
    assert by_file.after_model(sources, method, Path("another")) is None
    assert by_file.after_model(sources, "tiny", Path("model")) is None


def test_a_store_that_the_file_means_is_probed_by_it(written, small, tiny_store, untrained_store):
    sources = written(store=tiny_store.id[:14])
    assert by_file.after_store(sources, tiny_store.id, small.root) == "layerscout probe --config study.toml"
    assert by_file.after_store(sources, untrained_store.id, small.root) is None, "the file does not name it"
    assert by_file.after_store(sources, tiny_store.id, None) is None, "it was made in another folder of stores"
    both = written(twin=f'twin = "{untrained_store.id}"')
    assert by_file.after_store(both, untrained_store.id, small.root) == "layerscout probe --config study.toml"
    remote = written(twin='twin = "s3://bucket/stores/x"')
    assert by_file.after_store(remote, tiny_store.id, small.root) == "layerscout probe --config study.toml", "addresses are not looked up"


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "layerscout extract tiny-untrained --config study.toml --name bare"),
        ({"backbone": "tiny-2"}, "layerscout extract tiny-2-untrained --config study.toml --name bare"),
        (
            {"backbone": "apv:model"},
            "layerscout extract --config study.toml --set extract.backbone_options.weights=reinitialised --name bare",
        ),
        ({"backbone": "synthetic"}, None),
        ({"backbone": "apv:model", "options": 'backbone_options = {weights = "shuffled"}'}, None),
    ],
)
def test_the_twin_that_a_probe_waits_for_is_made_first(written, small, tiny_store, changes, command):
    sources = written(twin='twin = "bare"', **changes)
    assert by_file.after_store(sources, tiny_store.id, small.root) == command
    assert by_file.probing(sources) == command


def test_of_two_stores_that_are_missing_the_files_own_is_made(written, small, untrained_store):
    sources = written(store="trained", twin=f'twin = "{untrained_store.id}"')
    assert by_file.after_store(sources, untrained_store.id, small.root) == "layerscout extract --config study.toml"
    other = written(store="elsewhere", twin=f'twin = "{untrained_store.id}"')
    assert by_file.after_store(other, untrained_store.id, small.root) is None, "the file does not tell how that one is made"


def test_a_selection_that_the_file_means_is_trained_on_by_it(written, small):
    sources = written()
    assert by_file.after_ranking(sources, Path("probe"), small.root) == "layerscout train --config study.toml"
    assert by_file.after_ranking(sources, Path("probe-2"), small.root) is None
    assert by_file.after_ranking(sources, Path("probe"), None) is None


def test_preset_and_what_was_said_for_the_next_stage_are_said_again(written, small, tiny_store):
    sources = written(preset="small", said=("probe.folds=3", "extract.batch=4", "batch=4"))
    command = by_file.after_store(sources, tiny_store.id, small.root)
    assert command == "layerscout probe --config study.toml --preset small --set probe.folds=3"


@pytest.mark.parametrize("wrong", ['[probe]\nstore = 3\nfolds = "many"\n', "[probe]\n", "not TOML", "[porbe]\n"])
def test_a_file_that_says_nothing_whole_is_left_aside(tmp_path, wrong):
    (tmp_path / "study.toml").write_text(wrong)
    assert by_file.probing(Sources(Path("study.toml")), tmp_path) is None
    assert by_file.settings_of(Sources(Path("study.toml")), "train", tmp_path) is None
