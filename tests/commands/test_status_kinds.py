"""Every kind of folder that a command writes: ``status`` knows it, done or killed in the middle, and what it says comes next works when pasted."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
from calling import call

from layerscout import progress
from layerscout.cli import COMMANDS, PRETRAIN_COMMANDS

GRID, DOT, SINK, INTERCEPT = (f"layerscout/{name}-v0" for name in ("Grid", "Dot", "Dishwashing", "Intercept"))
PVDR_SHAPE = {"size": 16, "codes": 8, "code_width": 4, "tokenizer_width": 8, "z": 2, "width": 8, "heads": 2, "blocks": 1, "future": 2}
APV_MODEL = {"size": 16, "stages": 2, "depth": 2, "latents": 3, "classes": 4, "deter": 8, "hidden": 8}
PVDR_FEW = {
    "prefill": 40,
    "environments": 4,
    "samples": 2,
    "adapt_updates": 1,
    "align_updates": 1,
    "align_batch": 4,
    "hidden": 4,
    "epochs": 1,
}
PPO = {"length": 8, "environments": 2, "batch": 8, "epochs": 1, "hidden": "[4]"}
WORK = {"episodes": 2, "evaluation_hours": 1, "evaluate_every": 1, "damage": 0.0, "step_size": 5.0}
SAC = {"warm_up": 60, "batch": 8, "hidden": "[8]", "train_interval": 20}
STUDY = """
[study]
threads = 1
[backbones.synthetic]
[defaults.collect]
environment = "layerscout/Grid-v0"
steps = 300
policy = "epsilon:0.6"
options = { observation = "planes" }
[defaults.extract]
passport_clips = 0
[defaults.probe]
groups = 6
shifts = 2
[defaults.train]
algorithm = "dqn"
seeds = 2
updates = 3
final_episodes = 2
scratch = false
dqn = { hidden = [8], batch = 4 }
[tasks.one]
[tasks.two.collect]
seed = 1
"""


def tables(**of: dict[str, object]) -> list[object]:
    return [word for table, values in of.items() for name, value in values.items() for word in ("--set", f"{table}.{name}={value}")]


FEW = ["--seeds", 1, "--evaluations", 1, "--final-episodes", 2, "--threads", 1]
TRAIN = ["train", GRID, "--selection", "outputs/probe/selection.json", "--seeds", 2, "--evaluations", 1, "--final-episodes", 2]
TRAIN += ["--no-scratch", "--threads", 1, "--set", "dqn.batch=4"]
PICTURES = ["collect", INTERCEPT, "--steps", 60, "--policy", "random:3", "--size", 16, "--out", "films.h5"]
# what is to be there first; then the command that writes the folder, and the folder
BEFORE = {
    "data": ["collect", GRID, "--steps", 400, "--policy", "epsilon:0.6", "--set", "options.observation=planes"],
    "store": ["extract", "synthetic", "outputs/data.h5", "--rows-per-chunk", 128],
    "ranking": ["probe", "STORE", "--shifts", 2, "--top-k", 1],
    "pictures": PICTURES,
    "dots": ["collect", DOT, "--steps", 120, "--policy", "random:6", "--size", 16, "--out", "dots.h5"],
    "model": [
        "pretrain",
        "pvdr",
        "dots.h5",
        *tables(shape=PVDR_SHAPE),
        *["--updates", "2", "--tokenizer-updates", "2", "--batch", "2", "--threads", "1"],
    ],
}
PVDR = ["train", DOT, "--algorithm", "pvdr", "--mode", "online", "--steps", 60, *FEW, *tables(pvdr=PVDR_FEW), "--set", 'pvdr.arms=["pvdr"]']
APV = [
    "pretrain",
    "apv",
    "films.h5",
    *["--updates", "4", "--look-every", "2", "--batch", "2", "--length", "5", "--threads", "1"],
    *tables(model=APV_MODEL),
]
STUDENTS = [
    "transfer",
    GRID,
    *["--iterations", "3", "--seeds", "2", "--evaluation-episodes", "2", "--instances", "4", "--teacher-iterations", "1", "--threads", "1"],
]
STUDENTS += ["--set", 'teacher_options={"goal_reward": 2.0}', *tables(ppo=PPO)]
LABOUR = ["train", SINK, "--out", "outputs/work", "--seeds", 2, *tables(work=WORK), *tables(**{"work.sac": SAC})]
KINDS = {
    "collect": ([], [*BEFORE["data"][:3], 1500, *BEFORE["data"][4:]], "outputs"),
    "extract": (["data"], BEFORE["store"], "root"),
    "probe": (["data", "store"], BEFORE["ranking"], "outputs/probe"),
    "train offline": (["data", "store", "ranking"], [*TRAIN, "--updates", 40], "outputs/train"),
    "train online": (["data", "store", "ranking"], [*TRAIN, "--mode", "online", "--steps", 40], "outputs/train"),
    "train closed form": (["data", "store", "ranking"], [*TRAIN, "--algorithm", "ridge"], "outputs/train"),
    "train pvdr": (["dots", "model"], PVDR, "outputs/train"),
    "train work": ([], LABOUR, "outputs/work"),
    "transfer": ([], STUDENTS, "outputs/transfer"),
    "pretrain apv": (["pictures"], APV, "outputs/apv"),
    "pretrain pvdr": (["dots"], BEFORE["model"], "outputs/pvdr"),
    "study": ([], ["study", "many.toml"], "outputs/many"),
    "demo": ([], ["demo", "--preset", "quick", "--out", "first look", "--set", "collect.steps=1000"], "first look"),
}
KILLS = {"collect": 70, "extract": 2, "study": 2, "demo": 70}  # how often work is told before the kill; 1 where nothing stands here
LONG = ("demo",)  # which is not run to its end here
NO_KILL = ("train closed form",)  # it is over at once


@pytest.fixture(scope="module")
def ranked(tmp_path_factory, _no_waiting_for_the_disk) -> Path:
    """A folder in which there are data, a store and its ranking."""
    folder = tmp_path_factory.mktemp("ranked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LAYERSCOUT_ROOT", "root")
        for name in ("data", "store", "ranking"):
            done(BEFORE[name])
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch, _no_waiting_for_the_disk) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(tmp_path / "root"))
    (tmp_path / "many.toml").write_text(STUDY)
    return tmp_path


def made_before(names: list[str], ranked: Path) -> None:
    """Bring what a kind of folder needs here, the dear part of it as a copy."""
    if "ranking" in names:
        for name in ("outputs", "root"):
            shutil.copytree(ranked / name, name)
    for name in () if "ranking" in names else names:
        done(BEFORE[name])


def done(words: list[object]) -> None:
    store = [path.name for path in Path("root/stores").glob("ls1-*")]
    result = call(*(store[0] if word == "STORE" else word for word in words), "-q")
    assert result.exit_code == 0, f"{words}\n{result.output}"


def standing(folder: str) -> tuple[list[tuple[str, str]], str | None]:
    result = call("status", folder, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    return [(one["stage"], one["state"]) for one in told["stages"]], told["next"]


def paste(command: str) -> None:
    words = shlex.split(command)[1:]
    result = call(*words, *(["--dry-run"] if words[0] in ("extract", "probe", "train") else []), "-q")
    assert result.exit_code == 0, f"{command}\n{result.output}"


def test_a_probe_that_is_killed_before_a_layer_is_measured_has_begun(here, ranked, monkeypatch):
    before, words, folder = KINDS["probe"]
    made_before(before, ranked)
    assert kill(monkeypatch, [*words, "--threads", 1], 0)
    assert not list(Path(folder).glob("evidence/*.json"))
    stages, after = standing(folder)
    assert ("probe", "begun") in stages
    assert "--shifts 2" in after, "the very command, with its settings"


def kill(monkeypatch, words: list[object], after: int) -> bool:
    """Run a command and interrupt it after so many steps of work; False where it ended before."""
    real, told = progress.Task.advance, [0]

    def advance(task, *given, **facts):
        told[0] += 1
        if told[0] > after:
            raise KeyboardInterrupt
        real(task, *given, **facts)

    store = [path.name for path in Path("root/stores").glob("ls1-*")]
    with monkeypatch.context() as patch:
        patch.setattr(progress.Task, "advance", advance)
        return call(*(store[0] if word == "STORE" else word for word in words), "-q").exit_code == 130


def test_no_command_that_writes_a_folder_is_missing_here():
    """So that a new one is added above: the others write no folder of results, or are looked at below."""
    writing = {name.split()[0] for name in KINDS} | {"import", "report", "init"}
    assert set(COMMANDS) - writing == {"layers", "passport", "status", "doctor"}
    assert {f"pretrain {name}" for name in PRETRAIN_COMMANDS} <= set(KINDS)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(LONG)))
def test_what_is_done_is_known_and_what_comes_next_runs_to_the_end(here, ranked, kind):
    before, words, folder = KINDS[kind]
    made_before(before, ranked)
    done(words)
    seen = []
    for _ in range(6):
        stages, after = standing(folder)
        stage = kind.split()[0]
        assert (stage, "done") in stages, stages
        assert not {state for _, state in stages} & {"stale", "begun"}, stages
        if after is None:
            break
        assert after not in seen, "what was done is not asked for again"
        seen.append(after)
        paste(after)
        if shlex.split(after)[1] in ("extract", "probe", "train"):  # pasted, but as a dry run
            break
    else:
        raise AssertionError(f"no end: {seen}")


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(NO_KILL)))
def test_what_was_killed_is_gone_on_with_by_the_very_command(here, ranked, kind, monkeypatch):
    before, words, folder = KINDS[kind]
    made_before(before, ranked)
    assert kill(monkeypatch, words, KILLS.get(kind, 1)), "it ended before it was killed"
    stages, after = standing(folder)
    assert after is not None
    assert "begun" in {state for _, state in stages} or kind == "study", stages
    store = [path.name for path in Path("root/stores").glob("ls1-*")]
    asked = [str(store[0] if word == "STORE" else word) for word in words]
    if kind in LONG:
        assert sorted(shlex.split(after)) == sorted(["layerscout", *asked])
        return
    assert shlex.split(after)[1:3] == asked[:2], "the command that was killed, not another"
    result = call(*shlex.split(after)[1:], "-q")
    assert result.exit_code == 0, f"{after}\n{result.output}"
    stages, _ = standing(folder)
    assert "begun" not in {state for _, state in stages}, stages


def test_an_imported_dataset_and_a_model_of_videos_go_on_from_what_was_imported(here, tmp_path):
    import numpy as np
    from PIL import Image

    (tmp_path / "films").mkdir()
    for number in range(12):
        Image.fromarray(np.full((16, 16, 3), 20 * number, np.uint8)).save(tmp_path / "films" / f"{number:03d}.png")
    done(["import", "films"])
    assert standing("outputs")[0][0] == ("collect", "done")
    assert standing("outputs")[1].startswith("layerscout extract tiny outputs/data.h5")
    done(["films" if word == "films.h5" else word for word in APV])
    told = call("status", "outputs/apv", "--json")
    after = json.loads(told.stdout)["next"]
    assert after == "layerscout extract apv:outputs/apv outputs/apv/videos.h5"
    paste(after)


def test_the_page_of_a_study_knows_what_it_tells_of(here):
    done(["study", "many.toml", "--set", "study.report=none"])
    done(["report", "outputs/many/one", "outputs/many/two", "--out", "outputs/both"])
    assert standing("outputs/both") == ([("report", "done")], None)
    page = Path("outputs/both/study.html").stat().st_mtime
    for path in Path("outputs/many/one/train").glob("runs.json"):
        os.utime(path, (page + 9, page + 9))
    stages, after = standing("outputs/both")
    assert stages == [("report", "stale")]
    assert after == "layerscout report outputs/many/one outputs/many/two --out outputs/both"
    done(shlex.split(after)[1:])
    assert standing("outputs/both")[0] == [("report", "stale")], "it is still from the future"
    assert dict(standing("outputs/many/one")[0])["extract"] == "done"


def test_pages_of_several_folders_of_goals_stand_for_themselves(here):
    for name in ("dots", "model"):
        done(BEFORE[name])
    done([*PVDR, "--out", "outputs/one"])
    shutil.copytree("outputs/one", "outputs/two")
    done(["report", "outputs/one", "outputs/two", "--out", "outputs/beside"])
    assert standing("outputs/beside") == ([("report", "done")], None)


def test_a_comparison_that_is_being_extended_is_begun(here, ranked, monkeypatch):
    made_before(["ranking"], ranked)
    words = [*TRAIN, "--updates", 40]
    done(words)
    more = [4 if word == 2 and words[place - 1] == "--seeds" else word for place, word in enumerate(words)]
    assert kill(monkeypatch, more, 1)
    stages, after = standing("outputs")
    assert dict(stages)["train"] == "begun"
    assert "--seeds 4" in after
    done(shlex.split(after)[1:])
    assert dict(standing("outputs")[0])["train"] == "done"
