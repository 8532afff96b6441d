"""Agents that plan towards a picture, reported: success, experiments, what the model foretells, folders side by side, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from layerscout.cache import records
from layerscout.cache.records import Arm, Budget, ReferenceReturn, Run, RunRecord
from layerscout.cache.records.goals import FILM_NAME, GOAL_ARMS, GOALS_NAME, SHEET_NAME, GoalAlignment, GoalRecord
from layerscout.errors import DataError
from layerscout.report import plan as stage
from layerscout.report.experiment import gather_experiment
from layerscout.report.goals import tables
from layerscout.report.goals.page import GoalReport
from layerscout.report.goals.results import differing, load_results, paired, reached, success

REACHED = {"pvdr": (0.75, 0.5, 1.0), "scratch": (0.25, 0.0, 0.25), "supervised": (0.5, 0.75, 1.0), "cloning": (0.5, 0.5, 0.25)}
BUDGET = Budget(environment_steps=400, updates=9, trainable_parameters=7, flops=1e6, backbone_clips=0, wall_seconds=1.0, cpu_seconds=1.0)
MODEL: dict[str, Any] = {
    "format": "layerscout-pvdr/1",
    "shape": {"history": 1, "future": 4, "size": 32},
    "tokenizer": {"error_share": 0.031, "perplexity": 2.97},
    "dynamics": {
        "cross_entropy": 42.6,
        "divergence": 19.0,
        "marginal": 254.0,
        "copying": 303.0,
        "copied": 51.0,
        "tokens": 256,
        "unchanged": 6.0,
        "still": 28.7,
    },
    "dataset": "sha256:0011",
    "episodes": 600,
    "frames": 10_200,
    "updates": 3_000,
}


def run_of(arm: str, seed: int, share: float) -> Run:
    last = tuple(float(episode < share * 4) for episode in range(4))
    return Run(arm=GOAL_ARMS[arm], seed=seed, returns=(0.0, 1.0), evaluations=((200, (0.0,) * 4), (400, last)), final=0.5, status="done")


def record(arms: tuple[str, ...] = tuple(REACHED)) -> RunRecord:
    return RunRecord(
        environment="layerscout/Dot-v0",
        mode="online",
        selection=None,
        random_policy_return=0.05,
        references=(ReferenceReturn(name="random", mean=0.05), ReferenceReturn(name="optimal", mean=1.0)),
        episodes_apart=True,
        algorithm="pvdr",
        arms=tuple(
            Arm(name=GOAL_ARMS[arm], kind=f"goal {arm}", layer="z", store_id=None, head="mlp-8-8", score=None, width=8, budget=BUDGET)
            for arm in arms
        ),
        runs=tuple(run_of(arm, seed, share) for arm in arms for seed, share in enumerate(REACHED[arm])),
    )


def goals(**changes: Any) -> GoalRecord:
    values: dict[str, Any] = {
        "environment": "layerscout/Dot-v0",
        "model": MODEL,
        "alignment": [
            GoalAlignment(arm=GOAL_ARMS[arm], seed=seed, aligned=base + 0.1 * seed, linear=None if seed == 2 else base - 0.2)
            for arm, base in (("pvdr", 0.7), ("scratch", 0.3))
            for seed in range(3)
        ],
        "shown": GOAL_ARMS["pvdr"],
    }
    return GoalRecord.model_validate(values | changes)


def folder(path: Path, model: dict[str, Any] = MODEL, arms: tuple[str, ...] = tuple(REACHED), **settings: Any) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    records.save(record(arms), path / "runs.json")
    records.save(goals(model=model), path / GOALS_NAME)
    told = {"environment": "layerscout/Dot-v0", "out": str(path), "pvdr": {"model": f"model of {path.name}", "samples": 16}}
    (path / "settings.json").write_text(json.dumps(told | settings))
    (path / "command.txt").write_text("layerscout train layerscout/Dot-v0 --algorithm pvdr\n")
    picture = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    picture.save(path / SHEET_NAME)
    picture.save(path / FILM_NAME)
    return path


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", " ", page.read_text(encoding="utf-8")).replace("&nbsp;", " ")


def test_success_is_of_the_last_evaluation_and_differences_are_paired_by_seed() -> None:
    whole = record()
    assert reached(whole, "PVDR") == (9, 12)
    found = success(whole, "PVDR")
    half = stats.t.ppf(0.975, 2) * np.std(REACHED["pvdr"], ddof=1) / np.sqrt(3)
    assert (found.value, found.high) == (pytest.approx(0.75), 1.0), "a share is at most 1"
    assert found.low == pytest.approx(0.75 - half)
    difference, p = paired(whole, "PVDR", "PVDR without pretraining")
    assert difference.value == pytest.approx(np.mean(np.subtract(REACHED["pvdr"], REACHED["scratch"])))
    assert p == 0.25, "the smallest that three seeds can give"
    assert success(whole, "random plans") is None
    assert paired(whole, "PVDR", "random plans") == (None, None)


def test_every_question_has_its_row_and_what_was_not_run_says_so(tmp_path) -> None:
    rows = {row[1]: row for row in tables.experiments_table(load_results(folder(tmp_path))).rows}
    assert rows["PVDR without pretraining"][0].startswith("First experiment: does pretraining")
    assert rows["PVDR without pretraining"][2:5] == ("0.75 [0.13, 1.00]", "0.17 [0.00, 0.53]", "0.58 [0.22, 0.94]")
    assert rows["random plans"][2:] == ("not run", "not run", "n/a", "n/a")
    fits = {row[0]: row[1:] for row in tables.alignment_table(load_results(tmp_path)).rows}
    assert fits["PVDR"] == ("0.500 [0.500, 0.500]", "0.800 [0.552, 1.048]"), "R² of the seeds that have one"
    assert set(fits) == {"PVDR", "PVDR without pretraining"}


def test_the_page_has_both_baselines_plans_a_film_and_the_command(tmp_path) -> None:
    planned = stage.plan([folder(tmp_path)])
    assert isinstance(planned, GoalReport)
    assert planned.describe()["exists"] is False
    page = stage.run(planned)
    assert page == tmp_path / "report.html"
    text = text_of(page)
    for words in (
        "PVDR reaches 75 % of the goals",
        "42.6",
        "254, each place",
        "303, the last frame copied",
        "Second experiment",
        "9 of 12",
    ):
        assert words in text, words
    assert "layerscout train layerscout/Dot-v0 --algorithm pvdr" in text
    raw = page.read_text(encoding="utf-8")
    assert raw.count("data:image/png;base64,") == raw.count("data:image/gif;base64,") == 1
    assert "| PVDR | 0.75 [0.13, 1.00] | 9 of 12 | 3 |" in (tmp_path / "goals.md").read_text()
    assert (tmp_path / "figures" / "success.svg").is_file()
    assert stage.plan([tmp_path]).describe()["exists"] is True


def test_better_than_chance_is_said_only_where_the_interval_is(tmp_path) -> None:
    def answer(shares: tuple[float, ...]) -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(REACHED, "pvdr", shares)
            return text_of(stage.run(stage.plan([folder(tmp_path)])))

    assert "Better than random play" in answer((0.75, 0.5, 1.0))
    assert "Not shown to be better than random play" in answer((0.0, 0.25, 0.0))
    found = text_of(stage.run(stage.plan([folder(tmp_path, arms=("cloning",))])))
    assert "PVDR was not run." in found


def test_old_models_and_folders_without_plans_are_told_and_nothing_is_made_up(tmp_path) -> None:
    known = {name: value for name, value in MODEL["dynamics"].items() if name != "copying"}
    place = folder(tmp_path, MODEL | {"dynamics": known})
    records.save(goals(model=MODEL | {"dynamics": known}, shown=None, alignment=[]), place / GOALS_NAME)
    text = text_of(stage.run(stage.plan([place])))
    assert "n/a, the last frame copied" in text
    assert "No plans were kept." in text
    assert "nothing was aligned" in text


@pytest.mark.parametrize(
    ("change", "heading"),
    [
        ({"shape": {"history": 1, "future": 8, "size": 32}}, "Third experiment: how far ahead?"),
        ({"episodes": 75, "frames": 1_275}, "Open question: how much video does it take?"),
        ({"episodes": 75, "frames": 1_275, "updates": 10}, "Folders side by side"),
    ],
)
def test_folders_side_by_side_answer_what_differs_between_them(change, heading, tmp_path) -> None:
    first, other = folder(tmp_path / "a"), folder(tmp_path / "b", MODEL | change)
    planned = stage.plan([first, other], out=tmp_path / "both")
    page = stage.run(planned)
    assert page == tmp_path / "both" / "report.html"
    assert heading in text_of(page)
    results = planned.results
    apart = differing(results)
    assert "train.pvdr.model" not in apart
    assert set(apart) == {"shape.future" if name == "shape" else name for name in change}
    row = tables.side_by_side(results).rows[1]
    future = change.get("shape", MODEL["shape"])["future"]
    assert row[-5:-2] == tuple(f"{MODEL['dynamics'][name] / future:.1f}" for name in ("cross_entropy", "marginal", "copying"))
    same = stage.plan([first, folder(tmp_path / "c")], out=tmp_path / "both")
    assert "all folders are the same" in text_of(stage.run(same))


def test_settings_that_differ_stand_beside_the_models(tmp_path) -> None:
    several = tuple(load_results(folder(tmp_path / name, steps=steps)) for name, steps in (("a", 100), ("b", 200)))
    assert differing(several) == {"train.steps": ("100", "200")}
    assert tables.what_differs(several) == "Folders side by side"


def test_damaged_records_and_the_folder_above_are_refused_with_what_to_do(tmp_path) -> None:
    place = folder(tmp_path / "train")
    with pytest.raises(DataError, match=r"no ranking\.json") as error:
        gather_experiment(tmp_path)
    assert error.value.hint == f"layerscout report {place}"
    (place / GOALS_NAME).write_bytes((place / GOALS_NAME).read_bytes().replace(b"42.6", b"12.6"))
    with pytest.raises(DataError, match="damaged"):
        stage.plan([place])
