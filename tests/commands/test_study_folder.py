"""``layerscout init`` and ``status``: a settings file that runs as it is, and a folder that says how far it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from calling import call, refused

from layerscout import settings
from layerscout.commands.study.init import CHOSEN, NAME
from layerscout.extract.config import ExtractConfig
from layerscout.probe.config import ProbeConfig
from layerscout.rl.config import TrainConfig
from layerscout.worlds.config import CollectConfig

MODELS = {"collect": CollectConfig, "extract": ExtractConfig, "probe": ProbeConfig, "train": TrainConfig}


def standing(*words: object) -> tuple[dict[str, list[str]], str | None]:
    """The states of every stage, and the next command."""
    result = call("status", *words, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    states: dict[str, list[str]] = {}
    for one in told["stages"]:
        states.setdefault(one["stage"], []).append(one["state"])
    return states, told["next"]


# --- init


@pytest.fixture
def begun(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert call("init", "my study", "-q").exit_code == 0
    return tmp_path / "my study" / NAME


def test_a_new_settings_file_says_what_it_says_it_does(begun):
    """Taken as it is, it is the chosen settings over the defaults; every other setting is there as a comment with its meaning."""
    text = begun.read_text(encoding="utf-8")
    for stage, model in MODELS.items():
        assert settings.resolve(model, stage, file=begun) == settings.build(model, CHOSEN[stage], stage)
        for name, field in model.model_fields.items():
            assert f"\n{name} = " in text or f"\n# {name} = " in text or f"\n# {name}." in text, f"{stage}.{name}"
            assert field.description is None or hasattr(field.annotation, "model_fields") or field.description in text
    assert call("collect", "--config", begun, "--preset", "small", "--dry-run").exit_code == 0


@pytest.mark.parametrize("stage", MODELS)
def test_a_default_that_is_uncommented_changes_nothing(begun, stage):
    lines = begun.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"[{stage}]")
    own = []
    for line in lines[start + 1 :]:
        if not line or line.startswith("["):
            break
        value = line.partition(" = ")[2].partition("  #")[0].strip()
        own.append(line.removeprefix("# ") if value else line)
    begun.write_text("\n".join([f"[{stage}]", *own]), encoding="utf-8")
    tomllib.loads(begun.read_text(encoding="utf-8"))
    assert settings.resolve(MODELS[stage], stage, file=begun) == settings.build(MODELS[stage], CHOSEN[stage], stage)


def test_a_study_that_is_there_is_not_begun_again(begun):
    before = begun.read_bytes()
    hint = refused(call("init", begun.parent), 2, "is there already")
    assert hint.startswith("hint: layerscout status ")
    assert begun.read_bytes() == before


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_the_commands_of_a_new_file_run_in_order_and_status_names_each_of_them(begun, monkeypatch):
    """The whole study on a small game, with the commands that the file's head lists; nothing is left in the end."""
    monkeypatch.chdir(begun.parent)
    text = begun.read_text(encoding="utf-8").replace("layerscout/Intercept-v0", "layerscout/Grid-v0").replace('"tiny" ', '"synthetic" ')
    text = (
        text.replace("[extract]\n", 'options = {observation = "planes"}\n[extract]\n')
        .replace('twin = "untrained"', "")
        .replace("# options = {}", "#")
    )
    begun.write_text(text, encoding="utf-8")
    listed = [line.removeprefix("#   layerscout ").split() for line in text.splitlines() if line.startswith("#   layerscout ")]
    assert [words[0] for words in listed] == ["collect", "extract", "extract", "probe", "train", "report"]
    del listed[2]  # the twin, which the small game's model lacks
    said = None
    for words in listed:
        _, after = standing()
        assert after == " ".join(["layerscout", *words])
        small = [] if words[0] == "report" else ["--preset", "small"]
        assert said in (None, " ".join(["layerscout", *words, *small])), "what one stage names as the next is the study's own"
        done = call(*words, *small, "-q")
        assert done.exit_code == 0, done.stderr
        said = done.stdout.rpartition("next: ")[2].strip()
    states, after = standing()
    assert after is None
    assert states == {stage: ["done"] for stage in ("collect", "extract", "probe", "train", "report")}
    assert "next: nothing is left to do" in call("status").stdout


# --- status


@pytest.fixture(scope="module")
def whole(tmp_path_factory, small, synthetic_store) -> Path:
    """Results of every stage but the page, made with the small dataset; its stores lie inside."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copy(small.planes, folder / "data.h5")
    shutil.copytree(synthetic_store.path, folder / "stores" / "stores" / synthetic_store.id)
    root = ["--root", folder / "stores"]
    assert call("probe", synthetic_store.id, *root, "--out", folder / "probe", "--shifts", 2, "-q").exit_code == 0
    train = ["train", "layerscout/Grid-v0", "--selection", folder / "probe" / "selection.json", *root, "--out", folder / "train"]
    few = ["--seeds", 2, "--updates", 3, "--evaluations", 1, "--final-episodes", 2, "--set", "dqn.batch=4", "-q"]
    assert call(*train, *few).exit_code == 0
    return folder


@pytest.fixture
def study(whole, tmp_path) -> Path:
    """A copy that a test may harm; its agents know their selection by its old place, so the settings are told the new one."""
    shutil.copytree(whole, tmp_path / "study")
    return tmp_path / "study"


def test_an_empty_folder_begins_with_playing(tmp_path):
    states, after = standing(tmp_path, "--root", tmp_path / "root")
    assert states == {stage: ["missing"] for stage in ("collect", "extract", "probe", "train", "report")}
    assert after.startswith("layerscout collect layerscout/Intercept-v0 ")


def test_from_elsewhere_the_next_command_goes_into_the_study_first(begun):
    """The paths in its settings are meant from there: pasted as it stood, it would have played into the folder above."""
    first = next(line for line in call("init", "another one").stdout.splitlines() if line.startswith("next: "))
    assert standing("another one")[1] == first.removeprefix("next: ") == "cd 'another one' && layerscout collect --config study.toml"


def test_what_is_done_is_told_and_the_first_that_is_missing_comes_next(study):
    states, after = standing(study)
    assert states == {"collect": ["done"], "extract": ["done"], "probe": ["done"], "train": ["done"], "report": ["missing"]}
    assert after == f"layerscout report {study}"
    shutil.rmtree(study / "train")
    _, after = standing(study)
    assert after.startswith(f"layerscout train layerscout/Grid-v0 --selection {study}/probe/selection.json --out {study}/train ")
    shutil.rmtree(study / "probe")
    (store,) = (study / "stores" / "stores").iterdir()
    assert standing(study)[1].startswith(f"layerscout probe {store.name} --out {study}/probe ")
    shutil.rmtree(study / "stores")
    assert standing(study, "--root", study / "stores")[1] == f"layerscout extract synthetic {study}/data.h5 --root {study}/stores"


def test_what_was_made_of_other_data_is_stale(study, small):
    shutil.copy(small.intercept, study / "data.h5")
    states, after = standing(study)
    assert (states["extract"], states["probe"]) == (["stale"], ["stale"])
    assert after.startswith(f"layerscout extract tiny {study}/data.h5")


def test_agents_on_another_selection_are_stale_and_never_overwritten(whole, study):
    selection = whole / "probe" / "selection.json"
    kept = selection.read_bytes()
    try:
        assert (
            call(
                "probe", next((whole / "stores" / "stores").iterdir()), "--out", whole / "probe", "--shifts", 2, "--top-k", 1, "-q"
            ).exit_code
            == 0
        )
        states, after = standing(study)
    finally:
        selection.write_bytes(kept)
    assert states["train"] == ["stale"]
    assert f"--out {study}/train-2" in after


def test_a_page_that_is_older_than_what_it_tells_is_stale(study):
    assert call("report", study, "-q").exit_code == 0
    assert standing(study)[1] is None
    later = (study / "report.html").stat().st_mtime + 5
    os.utime(study / "probe" / "ranking.json", (later, later))
    states, after = standing(study)
    assert states["report"] == ["stale"]
    assert after == f"layerscout report {study}"


def test_what_a_killed_command_left_is_begun(study):
    (study / "train" / "runs.json").unlink()
    (study / "probe" / "ranking.json").unlink()
    (study / "data.h5").rename(study / "kept")
    (study / "data.h5.parts").mkdir()
    staging = study / "stores" / "staging" / ("ls1-" + 32 * "0") / "attempt" / "units"
    staging.mkdir(parents=True)
    (staging / "0.json").write_text("{}")
    states, after = standing(study)
    assert states == {"collect": ["begun"], "extract": ["done", "begun"], "probe": ["begun"], "train": ["begun"], "report": ["missing"]}
    assert after.startswith("layerscout collect ")


@pytest.mark.parametrize("name", ["data.h5", "probe/ranking.json", "probe/selection.json", "train/runs.json", "train/settings.json"])
def test_a_damaged_file_is_told_and_stops_nothing(study, name):
    (study / name).write_bytes(b"{")
    result = call("status", study)
    assert result.exit_code == 0, result.stderr
    assert "stale" in result.stdout


def test_status_needs_no_torch_and_no_probe(whole):
    script = f"import sys; from layerscout.cli import main\ntry: main(['status', {str(whole)!r}, '-q'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "sklearn", "dask", "matplotlib", "gymnasium"} & set(done.stdout.splitlines()[-1].split())


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    refused(call("status", tmp_path / "none"), 4, "no folder")
