"""What a command prints can be pasted: every ``next`` runs, and the stages by hand of page and paper make the same results elsewhere."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest
from calling import call

from layerscout.cache.records.making import load_command, safe_command, save_command
from layerscout.commands import words
from layerscout.extract.config import ExtractConfig
from layerscout.probe.config import ProbeConfig
from layerscout.rl.config import TrainConfig
from layerscout.settings import as_words, command_of, resolve
from layerscout.worlds.config import CollectConfig

SMALL = {
    "collect": [],
    "extract": ["--rows-per-chunk", 128],
    "probe": ["--shifts", 2, "--top-k", 1],
    "train": ["--seeds", 2, "--updates", 3, "--evaluations", 1, "--final-episodes", 2, "--set", "dqn.batch=4", "--no-scratch"],
    "report": [],
    "status": [],
}
FIRST = "layerscout collect layerscout/Grid-v0 --steps 300 --policy epsilon:0.6 --set options.observation=planes --out 'my data.h5'"


def paste(command: str) -> str | None:
    """Run a command as it was printed, made small; return what it says comes next."""
    program, *said = shlex.split(command)
    assert program == "layerscout"
    done = call(*said, *SMALL[said[0]], "-q")
    assert done.exit_code == 0, f"{command}\n{done.output}"
    after = [line.removeprefix("next: ") for line in done.stdout.splitlines() if line.startswith("next: layerscout")]
    return after[0] if after else None


def exactly(command: str) -> None:
    done = call(*shlex.split(command)[1:], "-q")
    assert done.exit_code == 0, f"{command}\n{done.output}"


@pytest.fixture(scope="module")
def study(tmp_path_factory, _no_waiting_for_the_disk) -> tuple[Path, list[str]]:
    """A folder in which every printed ``next`` was pasted, beginning with a collection; the root is its own."""
    folder = tmp_path_factory.mktemp("pasted")
    done = [FIRST]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LAYERSCOUT_ROOT", str(folder / "stores"))
        after = paste(FIRST)
        while after is not None and len(done) < 9 and after not in done:
            done.append(after)
            after = paste(after)
    return folder, done


def test_every_next_command_runs_to_the_page_and_to_where_all_stand(study):
    folder, done = study
    assert [shlex.split(command)[1] for command in done] == ["collect", "extract", "probe", "train", "report", "status"]
    assert "synthetic" in done[1]  # which sees planes; tiny does not
    assert (folder / "outputs" / "report.html").is_file()


def test_the_five_files_of_the_owners_documents_stand_at_the_top_and_are_the_stages_own(study):
    outputs = study[0] / "outputs"
    for stage, names in (
        ("probe", ("layer_analysis.csv", "selected_layer.txt")),
        ("train", ("experiment_returns.csv", "experiment_summary.csv", "experiment_summary_table.md")),
    ):
        for name in names:
            assert (outputs / name).read_bytes() == (outputs / stage / name).read_bytes()


SHAPE = {"size": 16, "codes": 8, "code_width": 4, "tokenizer_width": 8, "z": 2, "width": 8, "heads": 2, "blocks": 1, "future": 2}
FEW = {"prefill": 40, "environments": 4, "samples": 2, "adapt_updates": 1, "align_updates": 1, "align_batch": 4, "hidden": 4, "epochs": 1}


def next_of(*words: object) -> str | None:
    done = call(*words, "-q")
    assert done.exit_code == 0, f"{words}\n{done.output}"
    after = [line.removeprefix("next: ") for line in done.stdout.splitlines() if line.startswith("next: layerscout")]
    return after[0] if after else None


def test_agents_that_plan_towards_a_picture_come_to_their_page_by_what_train_and_status_print(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(tmp_path / "stores"))
    dot = "layerscout/Dot-v0"
    assert call("collect", dot, "--steps", 120, "--policy", "random:6", "--size", 16, "--out", "outputs/dot.h5", "-q").exit_code == 0
    shape = [word for name, value in SHAPE.items() for word in ("--set", f"shape.{name}={value}")]
    quick = ["--updates", 2, "--tokenizer-updates", 2, "--batch", 2, "--threads", 1]
    assert call("pretrain", "pvdr", "outputs/dot.h5", *shape, *quick, "-q").exit_code == 0  # into outputs/pvdr, where train looks
    few = [word for name, value in FEW.items() for word in ("--set", f"pvdr.{name}={value}")]
    words = ["train", dot, "--algorithm", "pvdr", "--mode", "online", "--steps", 60, "--seeds", 1, "--evaluations", 1, "--threads", 1]
    words += ["--final-episodes", 2, *few, "--set", 'pvdr.arms=["pvdr", "cloning"]']
    told = next_of(*words)
    assert told == "layerscout report outputs/train"
    runs = Path("outputs/train/runs.json")
    finished = runs.read_bytes()
    runs.unlink()  # as if it had been killed before the end
    begun = next_of("status", "outputs")
    assert "--algorithm pvdr" in begun
    exactly(begun)
    assert json.loads(runs.read_bytes())["runs"] == json.loads(finished)["runs"], "nothing is played again"
    assert next_of("status", "outputs") == next_of("status", "outputs/train") == told
    exactly(told)
    page = Path("outputs/train/report.html")
    assert "Planning towards a picture" in page.read_text(encoding="utf-8")
    assert next_of("status", "outputs") is None, "nothing is left to do"
    dry = json.loads(call("report", "outputs/train", "--dry-run", "--json").stdout)
    assert (dry["kind"], dry["exists"]) == ("goals", True)


def by_hand(folder: Path) -> list[str]:
    page, paper = (folder / "outputs" / name for name in ("report.html", "paper.md"))
    (shown,) = re.findall(r"<pre[^>]*>(.*?)</pre>", page.read_text(encoding="utf-8"), re.DOTALL)
    (written,) = re.findall(r"```sh\n(.*?)\n```", paper.read_text(encoding="utf-8"), re.DOTALL)
    assert html.unescape(shown) == written
    return written.splitlines()


def numbers(folder: Path) -> tuple[object, list[object]]:
    ranking = json.loads((folder / "outputs" / "probe" / "ranking.json").read_text())
    runs = json.loads((folder / "outputs" / "train" / "runs.json").read_text())
    return ranking, [run | {"seconds": None} for run in runs["runs"]]


def test_the_stages_by_hand_make_the_same_results_in_an_empty_folder(study, tmp_path, monkeypatch):
    folder, _ = study
    commands = by_hand(folder)
    assert [shlex.split(command)[1] for command in commands] == ["collect", "extract", "probe", "train", "report"]
    for place in (folder, tmp_path):  # where all is there already, and where nothing is
        monkeypatch.chdir(place)
        monkeypatch.setenv("LAYERSCOUT_ROOT", str(place / "stores"))
        for command in commands:
            exactly(command)
    assert numbers(tmp_path) == numbers(folder)
    assert by_hand(tmp_path) == commands


def test_the_page_of_the_probe_gives_a_command_that_runs(study, monkeypatch):
    folder, _ = study
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LAYERSCOUT_ROOT", str(folder / "stores"))
    before = (folder / "outputs/probe/ranking.json").read_bytes()
    (shown,) = re.findall(r"<pre[^>]*>(.*?)</pre>", (folder / "outputs/probe/probe.html").read_text(encoding="utf-8"), re.DOTALL)
    exactly(html.unescape(shown))
    assert (folder / "outputs/probe/ranking.json").read_bytes() == before


# --- settings as words


@pytest.mark.parametrize(
    ("stage", "config"),
    [
        ("collect", CollectConfig(environment="a/B-v0", steps=5, options={"x": [1, 2], "y z": "w", "n": "3"}, out="my data.h5", size=8)),
        ("extract", ExtractConfig(backbone="wan:x y", data="d.h5", layers=("a", "b"), pooling="all/mean", compile=True, batch=4, name="n")),
        ("extract", ExtractConfig(backbone="tiny", data="d.h5", root="r", backbone_options={"a": {"b": None}}, scheduler="local:2")),
        ("probe", ProbeConfig(store="s", others=("t", "u"), twin="v", targets=(), penalties=(0.5, 1e-7 * 1e8), weights=(0.5, 0.25, 0.25))),
        ("probe", ProbeConfig(store="s", layers=("a b",), confirmation=0, shard="1/2")),
        (
            "train",
            TrainConfig(environment="e", selection="s.json", heads=("linear", "mlp"), standardise=False, evaluate_at=(10, 20)).model_copy(
                update={"scratch_hidden": ()}
            ),
        ),
        (
            "train",
            TrainConfig.model_validate({"environment": "e", "selection": "s", "dqn": {"lr": 0.5, "hidden": (3, 4)}, "sac": {"batch": 7}}),
        ),
    ],
)
def test_the_words_of_settings_mean_the_same_settings(stage, config, monkeypatch):
    """Through the command line itself: what its commands receive is what was written out."""
    got, original = [], words._resolve

    def receive(*given):
        got.append(original(*given))
        raise SystemExit(0)

    monkeypatch.setattr(words, "_resolve", receive)
    call(*shlex.split(command_of(stage, config))[1:])
    assert got == [config]
    assert resolve(type(config), stage, assignments=[], flags=config.model_dump()) == config
    assert as_words(config)[0] == str(next(iter(config.model_dump().values())))


def test_a_kept_command_is_a_command_of_its_stage_or_nothing(tmp_path):
    config = ExtractConfig(backbone="tiny", data="my data.h5")
    save_command("extract", config, tmp_path)
    assert load_command("extract", tmp_path) == command_of("extract", config) == "layerscout extract tiny 'my data.h5'"
    assert load_command("probe", tmp_path) is None
    assert load_command("extract", tmp_path / "none") is None
    for text in ("rm -rf /", "layerscout probe x", "layerscout extract 'x", "layerscout extract a\nrm b", 3, None):
        assert safe_command("extract", text) is None
    assert safe_command("extract", "layerscout extract a; rm b") == "layerscout extract 'a;' rm b"  # words, not a second command
