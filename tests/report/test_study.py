"""The study of score against return: what it finds in made-up experiments is what was put into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from example_records import example_ranking, example_runs
from simulated_study import PROBING, TASKS, TRAINING, simulate
from test_report import experiment

from layerscout.cache.records import COST_NAME, RunRecord, load, save
from layerscout.cache.records.study import StudyAnalysis
from layerscout.report.experiment import gather_experiment
from layerscout.report.study.study import study_experiments


def first(folders: list[Path]) -> StudyAnalysis:
    return study_experiments([gather_experiment(folder) for folder in folders], ("final",)).analyses[0]


def measure(analysis: StudyAnalysis, name: str):
    return next(one for one in analysis.measures if one.name == name)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> StudyAnalysis:
    return first(simulate(tmp_path_factory.mktemp("linked")))


def test_a_score_that_orders_returns_is_supported_and_its_reverse_misleads(linked: StudyAnalysis) -> None:
    assert linked.outcome == "supported"
    assert linked.measures[0].name == linked.primary == "S"
    for name in ("S", "reward R²", "state R²"):
        one = measure(linked, name)
        assert (one.spearman.value, one.kendall.value, one.finding) == (1.0, 1.0, "goes with return")
        assert (one.regret_1.value, one.violation.value) == (0.0, 0.0)
        assert (one.tasks, one.layers) == (3, 24)
    wrong = measure(linked, "transition R²")
    assert (wrong.spearman.value, wrong.finding, wrong.regret_1.value) == (-1.0, "misleads", 1.0)
    assert wrong.beside_primary.value == -2.0
    assert wrong.violation.value > linked.random_violation > 0


def test_depth_knows_nothing_here_and_absent_measures_are_na(linked: StudyAnalysis) -> None:
    assert measure(linked, "depth alone").finding == "undecided"
    assert measure(linked, "bits of action").finding == "n/a"  # the same for every layer
    skill = measure(linked, "S-skill")
    assert (skill.tasks, skill.spearman, skill.p, skill.regret_1, skill.needed) == (0, None, None, None, None)
    assert any("Not in these rankings" in note and "S-skill" in note for note in linked.notes)


def test_quiet_returns_have_a_noise_ceiling_of_one_and_loud_ones_do_not(linked: StudyAnalysis, tmp_path: Path) -> None:
    assert linked.reliability == pytest.approx(1.0, abs=0.02)
    loud = first(simulate(tmp_path, noise=3.0))
    assert loud.reliability < 0.8
    assert loud.outcome == "not supported"
    assert abs(loud.measures[0].spearman.value) < 1


def test_four_layers_in_one_task_are_refused_however_perfect(tmp_path: Path) -> None:
    found = first(simulate(tmp_path, tasks=1, layers=4, noise=0.001))
    assert found.measures[0].spearman.value == 1.0
    assert found.outcome == "cannot be tested"
    assert {one.finding for one in found.measures} == {"cannot be tested", "n/a"}
    assert "no correlation, however strong" in found.sentence
    assert any(note.startswith("One task") for note in found.notes)


def test_compute_saved_is_that_of_the_layers_not_trained_less_the_probe(linked: StudyAnalysis, tmp_path: Path) -> None:
    for task in linked.tasks:
        assert task.training_seconds == 8 * TRAINING
        assert (task.saved_1, task.saved_3) == (7 * TRAINING - PROBING, 5 * TRAINING - PROBING)
    (folder,) = simulate(tmp_path, tasks=1)
    (folder / "probe" / COST_NAME).unlink()
    (task,) = first([folder]).tasks
    assert (task.probing_seconds, task.saved_1) == (None, None)


def test_pretrained_blocks_are_paired_with_their_twins_by_layer_and_seed(linked: StudyAnalysis) -> None:
    whole = [pair for pair in linked.untrained if pair.layer is None]
    assert [pair.task for pair in whole] == list(TASKS)
    for pair in whole:
        own = [layer for layer in linked.layers if layer.task == pair.task]
        by_seed = np.mean([np.array(layer.returns) - np.array(layer.untrained_returns) for layer in own], axis=0)
        assert pair.difference.value == pytest.approx(by_seed.mean())
        assert pair.difference.low < 1.8 < pair.difference.high
        assert (pair.seeds, pair.p, pair.p_holm) == (6, 2 / 64, 6 / 64)
    assert len(linked.untrained) == 3 * (8 + 1)


def test_failed_runs_and_partly_trained_rankings_are_said(linked: StudyAnalysis, tmp_path: Path) -> None:
    assert any(note.startswith("Failed runs: 3") for note in linked.notes)
    experiment(tmp_path, example_ranking(), example_runs(seeds=3, fail=(("blocks.6", 0),)))
    found = first([tmp_path])
    assert any("5 of 8 ranked layers were trained" in note for note in found.notes)
    assert any("no comparison can reach p < 0.05" in note for note in found.notes)
    assert found.tasks[0].failed == 1
    assert [layer.returns.count(None) for layer in found.layers] == [0, 0, 0, 1, 0]


def test_heads_and_modes_are_never_pooled(tmp_path: Path) -> None:
    folders = simulate(tmp_path, tasks=2)
    path = folders[1] / "train" / "runs.json"
    record = load(RunRecord, path)
    save(record.model_copy(update={"arms": tuple(arm.model_copy(update={"head": "linear"}) for arm in record.arms)}), path)
    found = study_experiments([gather_experiment(folder) for folder in folders], ("final",))
    assert sorted((part.head, len(part.tasks)) for part in found.analyses) == [("linear", 1), ("mlp-64", 1)]


def test_the_same_environment_twice_is_told_apart(tmp_path: Path) -> None:
    folder, other = simulate(tmp_path / "a", tasks=1)[0], simulate(tmp_path / "b", tasks=1, seed=1)[0].rename(tmp_path / "other")
    names = [task.name for task in first([folder, other]).tasks]
    assert names == [f"{TASKS[0]} (task0)", f"{TASKS[0]} (other)"]
