"""The study of score against return: what it finds in made-up experiments is what was put into them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from example_records import example_ranking, example_runs
from simulated_study import PROBING, REFERENCES, TASKS, TRAINING, simulate
from test_report import experiment

from layerscout.cache.records import COST_NAME, Estimate, Ranking, ReferenceReturn, RunRecord, load, save
from layerscout.cache.records.study import StudyAnalysis
from layerscout.errors import DataError
from layerscout.report.experiment import gather_experiment
from layerscout.report.study.study import study_experiments
from layerscout.report.study.tasks import control_ranks

LEARNED = 6  # tasks: the fewest that can be tested


def first(folders: list[Path]) -> StudyAnalysis:
    return study_experiments([gather_experiment(folder, every=True) for folder in folders], ("final",)).analyses[0]


def measure(analysis: StudyAnalysis, name: str):
    return next(one for one in analysis.measures if one.name == name)


def change(folder: Path, **values: object) -> None:
    path = folder / "train" / "runs.json"
    save(load(RunRecord, path).model_copy(update=values), path)


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> StudyAnalysis:
    return first(simulate(tmp_path_factory.mktemp("linked"), tasks=LEARNED, layers=6))


def test_a_score_that_orders_returns_is_supported_and_its_reverse_misleads(linked: StudyAnalysis) -> None:
    assert linked.outcome == "supported"
    assert linked.measures[0].name == linked.primary == "S"
    for name in ("S", "reward R²", "state R²", "inverse dynamics"):
        one = measure(linked, name)
        assert (one.spearman.value, one.kendall.value, one.finding) == (pytest.approx(1.0), pytest.approx(1.0), "goes with return")
        assert (one.within_groups.value, one.regret_1.value, one.violation.value) == (pytest.approx(1.0), 0.0, 0.0)
        assert (one.tasks, one.layers) == (LEARNED, LEARNED * 12)
    wrong = measure(linked, "transition R²")
    assert (wrong.spearman.value, wrong.finding, wrong.regret_1.value) == (pytest.approx(-1.0), "misleads", pytest.approx(1.0))
    assert wrong.beside_primary.value == pytest.approx(-2.0)
    assert wrong.violation.value > linked.random_violation > 0


def test_the_unit_of_the_test_is_the_task_so_five_cannot_be_tested(tmp_path: Path) -> None:
    found = first(simulate(tmp_path, tasks=5, layers=4, noise=0.001))
    assert found.measures[0].spearman.value == pytest.approx(1.0)
    assert found.outcome == "cannot be tested"
    assert {one.finding for one in found.measures} == {"cannot be tested", "n/a"}
    assert "takes at least 6" in found.sentence
    alone = first(simulate(tmp_path / "one", tasks=1, layers=8, noise=0.001))
    assert alone.outcome == "cannot be tested"
    assert any(note.startswith("One task") for note in alone.notes)
    assert (alone.tasks[0].p, alone.tasks[0].needed) == (None, None)  # two series cannot change places in twenty ways


def test_depth_knows_nothing_here_and_absent_measures_are_na(linked: StudyAnalysis) -> None:
    assert measure(linked, "depth alone").finding == "undecided"
    assert measure(linked, "bits of action").finding == "n/a"  # the same for every layer
    skill = measure(linked, "S-skill")
    assert (skill.tasks, skill.spearman, skill.p, skill.regret_1, skill.needed) == (0, None, None, None, None)
    assert any("Not in these rankings" in note and "S-skill" in note for note in linked.notes)


def test_quiet_returns_have_a_noise_ceiling_of_one_and_loud_ones_do_not(linked: StudyAnalysis, tmp_path: Path) -> None:
    assert linked.reliability == pytest.approx(1.0, abs=0.02)
    easy = tuple(one.model_copy(update={"mean": -9.0}) for one in REFERENCES)
    loud = first(simulate(tmp_path, tasks=LEARNED, layers=6, noise=9.0, references=easy))
    assert loud.reliability < 0.8
    assert abs(loud.measures[0].spearman.value) < 1


def test_a_task_in_which_nothing_was_learned_counts_in_no_correlation(tmp_path: Path) -> None:
    folders = simulate(tmp_path, tasks=LEARNED + 1, layers=4)
    better = (ReferenceReturn(name="random", mean=3.0), *REFERENCES[1:])  # no cell comes near what random play earns
    change(folders[0], references=better)
    found = first(folders)
    assert [task.learned for task in found.tasks] == ["not learned"] + ["learned"] * LEARNED
    left_out = found.tasks[0]
    assert (left_out.spearman, left_out.regret_1, left_out.reliability) == (None, None, None)
    assert left_out.advice.startswith("Try ")
    assert left_out.references == better
    assert measure(found, "S").tasks == LEARNED
    assert any("Left out of every correlation, because they were not learned" in note for note in found.notes)
    for folder in folders:
        change(folder, references=better)
    none = first(folders)
    assert none.outcome == "not learned"
    assert {one.spearman for one in none.measures} == {None}


def test_older_records_are_described_and_nothing_is_claimed_of_them(tmp_path: Path) -> None:
    folders = simulate(tmp_path, tasks=LEARNED + 1, layers=4, references=())
    unknown = first(folders)
    assert unknown.outcome == "cannot be judged"
    assert unknown.measures[0].spearman.value == pytest.approx(1.0)
    assert {(one.p, one.p_flip, one.p_holm, one.needed) for one in unknown.measures} == {(None, None, None, None)}
    assert unknown.contrasts == ()
    assert "best constant action" in unknown.tasks[0].learned_why
    for folder in folders[1:]:
        change(folder, references=REFERENCES)
    mixed = first(folders)  # one whose learning can be judged leaves the other out
    assert [task.learned for task in mixed.tasks] == ["cannot be judged"] + ["learned"] * LEARNED
    assert measure(mixed, "S").tasks == LEARNED


def test_seeds_that_shared_their_episodes_make_the_ceiling_an_upper_bound(tmp_path: Path) -> None:
    folders = simulate(tmp_path, tasks=1, layers=4, apart=False)
    assert not any("upper bounds" in note for note in first(folders).notes)  # returns of training are a seed's own
    change(folders[0], mode="offline")
    assert any("upper bounds" in note for note in first(folders).notes)


def test_measures_are_held_against_each_other_and_against_blind_choices_task_by_task(linked: StudyAnalysis) -> None:
    table = {(one.kind, one.first, one.second): one for one in linked.contrasts}
    assert table["correlation", "S-ctrl", "S"].difference.value == pytest.approx(0.0)  # bits are equal here, the state goes with return
    assert table["correlation", "bits of action", "transition R²"].tasks == 0
    rival = table["regret@1", "S", "a random pick"]
    assert (rival.tasks, rival.p_flip) == (LEARNED, 2 / 2**LEARNED)
    assert rival.difference.value == pytest.approx(-linked.random_regret_1)
    assert table["regret@1", "transition R²", "a random pick"].difference.value > 0
    assert not any(one.first == "depth alone" for one in linked.contrasts)


def test_compute_saved_is_that_of_the_layers_not_trained_less_the_probe(tmp_path: Path) -> None:
    (folder,) = simulate(tmp_path, tasks=1)
    (task,) = first([folder]).tasks
    assert task.training_seconds == 8 * TRAINING
    assert (task.saved_1, task.saved_3) == (7 * TRAINING - PROBING, 5 * TRAINING - PROBING)
    record = load(RunRecord, folder / "train" / "runs.json")
    change(folder, arms=tuple(arm for arm in record.arms if arm.layer not in ("blocks.1", "blocks.2")))
    (fewer,) = first([folder]).tasks
    assert (fewer.trained_layers, fewer.ranked_layers) == (6, 8)
    assert (fewer.training_seconds, fewer.saved_1) == (8 * TRAINING, 7 * TRAINING - PROBING)  # what all would take
    (folder / "probe" / COST_NAME).unlink()
    (task,) = first([folder]).tasks
    assert (task.probing_seconds, task.saved_1) == (None, None)


def test_pretrained_blocks_are_paired_with_their_twins_by_layer_and_seed(linked: StudyAnalysis) -> None:
    whole = [pair for pair in linked.untrained if pair.layer is None]
    assert [pair.task for pair in whole] == list(TASKS[:LEARNED])
    for pair in whole:
        own = [layer for layer in linked.layers if layer.task == pair.task and layer.weights == "pretrained"]
        by_seed = np.mean([np.array(layer.returns) - np.array(layer.untrained_returns) for layer in own], axis=0)
        assert pair.difference.value == pytest.approx(by_seed.mean())
        assert (pair.seeds, pair.blocks, pair.p, pair.p_holm) == (6, 6, 2 / 64, LEARNED * 2 / 64)
    singles = [pair for pair in linked.untrained if pair.layer]
    assert len(singles) == LEARNED * 6
    assert {(pair.p, pair.p_holm) for pair in singles} == {(None, None)}  # described, not tested


def test_failed_runs_and_partly_trained_rankings_are_said(tmp_path: Path) -> None:
    experiment(tmp_path, example_ranking(), example_runs(seeds=3, fail=(("blocks.6", 0),)))
    found = first([tmp_path])
    assert any("5 of 8 ranked layers were trained" in note for note in found.notes)
    assert any("no comparison can reach p < 0.05" in note for note in found.notes)
    assert any(note.startswith("Failed runs: 1") for note in found.notes)
    assert found.tasks[0].failed == 1
    assert sorted(layer.returns.count(None) for layer in found.layers) == [0, 0, 0, 0, 0, 1]  # the twin of one block is a cell too


def test_heads_and_modes_are_never_pooled(tmp_path: Path) -> None:
    folders = simulate(tmp_path, tasks=2, layers=4)
    arms = load(RunRecord, folders[1] / "train" / "runs.json").arms
    change(folders[1], arms=tuple(arm.model_copy(update={"head": "linear"}) for arm in arms))
    found = study_experiments([gather_experiment(folder) for folder in folders], ("final",))
    assert sorted((part.head, len(part.tasks)) for part in found.analyses) == [("linear", 1), ("mlp-64", 1)]


def test_one_environment_with_other_data_is_another_task(tmp_path: Path) -> None:
    folder = simulate(tmp_path / "a", tasks=1, layers=4)[0]
    other = simulate(tmp_path / "b", tasks=1, layers=4, seed=1)[0].rename(tmp_path / "other")
    names = [task.name for task in first([folder, other]).tasks]
    assert names == [f"{TASKS[0]} (task0)", f"{TASKS[0]} (other)"]


def second_store(folder: Path, **values: object) -> Path:
    """Move half of the layers of an experiment to a folder of its own, as another store of the same data."""
    moved = ("blocks.0", "blocks.1", "blocks.2")
    path = folder / "probe" / "ranking.json"
    ranking, record = load(Ranking, path), load(RunRecord, folder / "train" / "runs.json")
    parts = {}
    for name, chosen in (("a", False), ("b", True)):
        layers = tuple(layer for layer in ranking.layers if (layer.name in moved) == chosen)
        own = {"layers": layers, "store_id": f"ls1-{name}", "twin_store_id": f"tw-{name}"} | (values if chosen else {})
        arms = tuple(
            arm.model_copy(update={"store_id": f"tw-{name}" if arm.kind == "twin" else f"ls1-{name}"})
            for arm in record.arms
            if (arm.layer in moved) == chosen
        )
        runs = tuple(run for run in record.runs if run.arm in {arm.name for arm in arms})
        parts[name] = (ranking.model_copy(update=own), record.model_copy(update={"arms": arms, "runs": runs}))
    save(parts["a"][0], path)
    save(parts["a"][1], folder / "train" / "runs.json")
    beside = folder.with_name(f"{folder.name}-b")
    save(parts["b"][0], beside / "probe" / "ranking.json")
    save(parts["b"][1], beside / "train" / "runs.json")
    return beside


def test_two_backbones_on_the_same_data_are_one_task(tmp_path: Path) -> None:
    (folder,) = simulate(tmp_path, tasks=1, layers=6)
    before = first([folder])
    beside = second_store(folder)
    found = first([folder, beside])
    assert [task.layers for task in found.tasks] == [12]
    assert found.tasks[0].spearman.value == pytest.approx(before.tasks[0].spearman.value)
    assert set(found.tasks[0].stores) == {"ls1-a", "tw-a", "ls1-b", "tw-b"}
    again = study_experiments([gather_experiment(one) for one in (folder, beside, folder)], ("final",))
    assert [[task.layers for task in part.tasks] for part in again.analyses] == [[12], [6]]  # the same cells again are no new witnesses


def test_cells_measured_on_other_rows_are_refused_with_the_reason(tmp_path: Path) -> None:
    (folder,) = simulate(tmp_path, tasks=1, layers=6)
    beside = second_store(folder, rows=9_000)
    with pytest.raises(DataError, match=r"measured on 20,000 rows and 9,000: R² on different rows cannot be compared"):
        first([folder, beside])
    change(folder, dataset_digest="sha256:other")
    with pytest.raises(DataError, match="agents of layerscout/Grid-v0 learned from sha256:other"):
        first([folder])


@pytest.mark.parametrize("control", ["tiny-untrained", "tiny-shuffled"])
def test_a_stores_untrained_backbone_is_a_cell_like_a_twin(tmp_path: Path, control: str) -> None:
    (folder,) = simulate(tmp_path, tasks=1, layers=4)
    path = folder / "probe" / "ranking.json"
    ranking = load(Ranking, path)
    before = first([folder])
    stores = ({"store_id": "ls1-0", "backbone": "tiny", "label": "a"}, {"store_id": "tw-0", "backbone": control, "label": "b"})
    layers = tuple(
        layer.model_copy(update={"role": "layer", "store_id": "tw-0" if layer.role == "twin" else "ls1-0", "label": "x"})
        for layer in ranking.layers
    )
    save(
        ranking.model_validate(
            ranking.model_dump() | {"stores": stores, "twin_store_id": None, "layers": [one.model_dump() for one in layers]}
        ),
        path,
    )
    found = first([folder])
    assert [(layer.backbone, layer.weights) for layer in found.layers] == [("tiny", "pretrained")] * 4 + [("tiny", "untrained")] * 4
    assert found.untrained == before.untrained
    assert measure(found, "S").spearman == measure(before, "S").spearman


def test_what_identifies_the_evidence_is_kept_so_that_a_re_creation_can_be_checked(linked: StudyAnalysis, tmp_path: Path) -> None:
    task = linked.tasks[0]
    assert (task.dataset_digest, task.stores, task.rows) == ("sha256:0-0", ("ls1-0", "tw-0"), 20_000)
    folders = simulate(tmp_path, tasks=1, layers=4)
    (folders[0] / "probe" / "settings.json").write_text('{"folds": 5}')
    digest = first(folders).tasks[0].settings
    (folders[0] / "probe" / "settings.json").write_text('{"folds":   5}')
    assert first(folders).tasks[0].settings == digest
    (folders[0] / "probe" / "settings.json").write_text('{"folds": 6}')
    assert first(folders).tasks[0].settings != digest
    assert isinstance(linked.layers[-1].measures["S"], float)  # those of untrained blocks too
    assert linked.layers[-1].weights == "untrained"
    assert isinstance(measure(linked, "S").spearman, Estimate)


def test_s_ctrl_is_the_mean_rank_by_bits_and_state_among_the_cells_of_the_task() -> None:
    bits, state = np.array([0.1, 0.3, 0.2, 0.4]), np.array([0.9, 0.5, 0.5, 0.1])
    assert control_ranks(bits, np.full(4, np.nan)).tolist() == [0.25, 0.75, 0.5, 1.0]
    assert control_ranks(bits, state).tolist() == [(1 + 4) / 8, (3 + 2.5) / 8, (2 + 2.5) / 8, (4 + 1) / 8]
    assert np.isnan(control_ranks(np.array([0.1, np.nan]), np.ones(2))).all()
