"""A registered study says so only when it is one, and its hypotheses are judged by the rules that were fixed with it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from simulated_study import simulate
from test_registration import git

from layerscout.cache.records import RunRecord, load, save
from layerscout.cache.records.sealing import seal
from layerscout.cache.records.study import StudyRecord
from layerscout.report import plan as stage
from layerscout.report.numbers.within import TaskCells
from layerscout.report.study.hypotheses import judge_hypotheses
from layerscout.report.study.measures import MEASURES
from layerscout.report.study.registered import registered_study
from layerscout.report.study.registration import Registration

TASKS = 6
TEXT = """
[registration]
title = "Layers"
hypotheses = {{ H1 = "S foretells return", H2 = "inside groups", H3 = "better than S" }}
learners = {{ mixed = "iql" }}
budgets = [1000, 5000]
cells = "4 depths x 2 weights"
score = "S"
exclusions = ["tasks that were not learned"]
refutation = "the interval of mean rho ends below +.3"

[study]
processes = 2

[defaults.train]
seeds = 6

{tasks}
"""


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A registration in its first commit, and folders that were run for it afterwards."""
    path = tmp_path / "registered.toml"
    path.write_text(TEXT.format(tasks="\n".join(f"[tasks.task{number}.collect]\nsteps = 20000" for number in range(TASKS))))
    git(tmp_path, "init")
    git(tmp_path, "add", path.name)
    git(tmp_path, "commit", "-m", "one")
    folders = simulate(tmp_path / "out", tasks=TASKS, layers=4)
    for number, folder in enumerate(folders):
        Registration.read(path).stamp(folder, f"task{number}")
        settings(folder, {"train": {"seeds": 6, "gamma": 0.99}, "collect": {"steps": 20000}})
    return path, folders


def settings(folder: Path, used: dict) -> None:
    (folder / "settings.json").write_bytes(seal(json.dumps(used, indent=1).encode() + b"\n"))


def reasons(path: Path, folders: list[Path]) -> str:
    return "; ".join(registered_study(Registration.read(path), folders).reasons)


def test_a_study_that_was_run_as_promised_says_so_with_the_proof(study) -> None:
    path, folders = study
    planned = stage.plan(folders, path.parent / "pages")
    assert planned.registration == path  # the runner's stamp names it
    page = stage.run(planned).read_text()
    record = load(StudyRecord, path.parent / "pages" / "study.json")
    commit = subprocess.run(["git", "-C", str(path.parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert (record.registration.holds, record.registration.commit) == (True, commit)
    assert record.registration.digest == Registration.read(path).digest
    assert [(part.updates, [one.name for one in part.hypotheses]) for part in record.analyses] == [
        (5000, ["H1", "H2", "H3"]),
        (1000, ["H1", "H2", "H3"]),
    ]
    for text in (page, (path.parent / "pages" / "study.md").read_text()):
        assert commit in text
        assert record.registration.digest in text
        assert "S foretells return" in text
    assert page.index("What was promised, and what came out") < page.index("Exploratory: score against return")
    assert "mean_return_at_1000" in (path.parent / "pages" / "study.csv").read_text().splitlines()[0]


def test_budgets_are_read_from_the_same_runs(study) -> None:
    path, folders = study
    stage.run(stage.plan(folders, path.parent / "pages"))
    layers = load(StudyRecord, path.parent / "pages" / "study.json").analyses[0].layers
    for layer in layers:
        assert np.allclose(np.array(layer.budgets[5000]) - np.array(layer.budgets[1000]), 1.01)


def test_what_was_not_run_as_promised_is_not_called_registered(study) -> None:
    path, folders = study
    assert reasons(path, folders) == ""
    assert "registered and not here: task5" in reasons(path, folders[:-1])
    settings(folders[0], {"train": {"seeds": 5}, "collect": {"steps": 20000}})
    assert reasons(path, folders) == "task0: train.seeds was registered as 6 and was 5"
    settings(folders[0], {"train": {"seeds": 6}, "collect": {"steps": 20000}})
    os.utime(folders[2] / "train" / "runs.json", (1e9, 1e9))
    assert "task2/train/runs.json was written on 2001-09-09T01:46:40+00:00, before the commit" in reasons(path, folders)
    (folders[1] / "registered.json").unlink()
    assert "task1 was not run for this registration" in reasons(path, folders)
    page = stage.run(stage.plan(folders, path.parent / "pages", path)).read_text()
    assert "Not registered, although" in page


def test_a_file_that_was_changed_or_committed_after_the_runs_proves_nothing(study) -> None:
    path, folders = study
    path.write_text(path.read_text().replace("seeds = 6", "seeds = 6\ngamma = 0.99"))
    assert "the file was changed after commit" in reasons(path, folders)
    assert "was run for another version of the file" in reasons(path, folders)
    later = path.with_name("later.toml")
    later.write_text(path.read_text())
    assert "the file is in no commit" in reasons(later, folders)
    for number, folder in enumerate(folders):
        Registration.read(later).stamp(folder, f"task{number}")
    git(path.parent, "add", later.name)
    commit = ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--date", "2099-01-01T00:00:00Z", "-m", "late"]
    subprocess.run(
        ["git", "-C", str(path.parent), *commit], check=True, env={"GIT_COMMITTER_DATE": "2099-01-01T00:00:00Z", "PATH": "/usr/bin:/bin"}
    )
    assert "before the commit" in reasons(later, folders)


def test_runs_that_were_not_evaluated_at_a_budget_are_not_what_was_registered(study) -> None:
    path, folders = study

    def left(count: int) -> StudyRecord:
        for folder in folders:
            file = folder / "train" / "runs.json"
            record = load(RunRecord, file)
            runs = tuple(run.model_copy(update={"evaluations": run.evaluations[len(run.evaluations) - count :]}) for run in record.runs)
            save(record.model_copy(update={"runs": runs}), file)
        stage.run(stage.plan(folders, path.parent / "pages"))
        return load(StudyRecord, path.parent / "pages" / "study.json")

    one = left(1)
    assert [part.updates for part in one.analyses] == [5000]
    assert (one.registration.holds, one.registration.reasons) == (False, ("not every cell was evaluated after 1,000 updates",))
    none = left(0)
    first = none.analyses[0]  # a first try with fewer updates is a study all the same
    assert (first.updates, first.hypotheses) == (None, ())
    assert none.registration.reasons == ("not every cell was evaluated after 5,000 and 1,000 updates",)


def cells(generator: np.random.Generator, link: float, groups: int = 2, layers: int = 4) -> TaskCells:
    """A task in which S-ctrl goes with return by ``link`` and S not at all; depth and the middle know nothing."""
    count = groups * layers
    quality = generator.permutation(count).astype(float)
    table = np.full((len(MEASURES), count), np.nan)
    table[MEASURES.index("S-ctrl")] = link * quality + (1 - abs(link)) * generator.permutation(count)
    table[MEASURES.index("S")] = generator.permutation(count)
    place = np.tile(np.linspace(0, 1, layers), groups)
    table[MEASURES.index("depth alone")], table[MEASURES.index("nearness to the middle")] = place, -abs(place - 0.5)
    series = np.repeat(np.arange(groups), layers)
    return TaskCells("a", table, quality[:, None], series, series, series == 0)


def judged(link: float, tasks: int, seed: int = 0) -> dict[str, str]:
    generator = np.random.default_rng(seed)
    found = judge_hypotheses([cells(generator, link) for _ in range(tasks)], MEASURES, "S-ctrl")
    return {one.name: one.outcome for one in found}


def test_the_rules_of_the_hypotheses() -> None:
    assert judged(1.0, 10) == {"H1": "supported", "H2": "supported", "H3": "supported"}
    assert judged(-1.0, 10) == {"H1": "refuted", "H2": "refuted", "H3": "not supported"}
    assert set(judged(1.0, 5).values()) == {"cannot be tested"}
    assert judge_hypotheses([], MEASURES, "S-ctrl")[0].outcome == "cannot be tested"
    nothing = [judged(0.0, 10, seed)["H1"] for seed in range(20)]
    assert set(nothing) <= {"not supported", "refuted"}


def test_a_correlation_without_a_better_choice_is_support_in_part_only() -> None:
    generator = np.random.default_rng(1)
    tasks = []
    for _ in range(10):
        one = cells(generator, 1.0)
        row, best = MEASURES.index("S-ctrl"), int(np.argmax(one.means))
        one.measures[row, int(np.argmin(one.means))] = 99.0  # its first choice is the worst cell of all
        assert best != int(np.argmax(one.measures[row]))
        tasks.append(one)
    first = judge_hypotheses(tasks, MEASURES, "S-ctrl", statements={"H1": "as promised"})[0]
    assert first.statement == "as promised"
    assert first.outcome in ("partly supported", "not supported")
    assert "regret@1 against depth alone +" in first.sentence
