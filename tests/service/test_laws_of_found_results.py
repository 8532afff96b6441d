"""Rankings and runs as they are found under served folders: what is named how, which copy counts, and what is damaged."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from example_records import example_ranking, example_runs

from layerscout.cache.records import Ranking, save
from layerscout.errors import DataError
from layerscout.service.data.comparing import MOST, side_by_side
from layerscout.service.data.experiments import Experiments
from layerscout.service.data.results import DEEPEST, Results, served_folders
from layerscout.service.data.roots import inside
from layerscout.service.problems import HttpProblem

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")
SUBJECT = "0" * 32


def ranked(folder: Path, when: float = 0.0, key: Any = None, **changes: Any) -> Path:
    """Save a ranking, with the key of its question where there is one."""
    save(example_ranking().model_copy(update=changes), folder / "ranking.json")
    if key is not None:
        (folder / "probe.json").write_text(json.dumps({"key": key}), encoding="utf-8")
    os.utime(folder / "ranking.json", (when, when))
    return folder


def trained(path: Path, when: float = 0.0, **changes: Any) -> Path:
    save(example_runs(seeds=2).model_copy(update=changes), path)
    os.utime(path, (when, when))
    return path


# --- rankings


def test_a_ranking_is_named_by_its_question_or_by_its_own_text(tmp_path: Path) -> None:
    asked, plain = ranked(tmp_path / "a", key="ab" * 32), ranked(tmp_path / "b")
    text = hashlib.sha256((plain / "ranking.json").read_bytes()).hexdigest()
    assert {one.folder: one.id for one in Results(None, (tmp_path,)).all().values()} == {asked: "ab" * 16, plain: text[:32]}


@pytest.mark.parametrize("key", ["<script>", "short", "AB" * 32, None, 7, "../../x", ["ab" * 32]])
def test_a_question_whose_key_is_no_digest_names_nothing(tmp_path: Path, key: Any) -> None:
    """Else the list would lead to a page that is not there."""
    ranked(tmp_path, key=0)
    (tmp_path / "probe.json").write_text(json.dumps({"key": key}), encoding="utf-8")
    results = Results(None, (tmp_path,))
    (name,) = results.all()
    assert results.find(name).folder == tmp_path


def test_of_copies_the_servers_own_counts_then_the_newest_that_is_whole(tmp_path: Path) -> None:
    own, runs = tmp_path / "own", tmp_path / "runs"
    ranked(runs / "old", 10.0, "aa" * 32)
    ranked(runs / "new", 20.0, "aa" * 32)
    assert Results(None, (runs,)).find("aa" * 16).folder == runs / "new"
    ranked(own / "mine", 1.0, "aa" * 32)
    results = Results(own, (runs,))
    assert (results.find("aa" * 16).folder, results.find("aa" * 16).here) == (own / "mine", True)


def test_rankings_come_newest_first_and_a_change_is_seen_when_it_is_looked_again(tmp_path: Path) -> None:
    for number in (2, 3, 1):
        ranked(tmp_path / str(number), float(number), f"{number:032x}" * 2)
    results = Results(None, (tmp_path,))
    assert [one.when for one in results.all().values()] == [3.0, 2.0, 1.0]
    assert results.version == 1
    ranked(tmp_path / "2", 9.0, f"{2:032x}" * 2, backbone="other")
    assert results.find(f"{2:032x}").backbone == "tiny"  # two seconds have not passed
    results.look_again()
    assert [one.backbone for one in results.all().values()] == ["other", "tiny", "tiny"]
    assert results.version == 2
    results.look_again()
    results.all()
    assert results.version == 2


def test_a_ranking_is_told_by_what_it_holds(tmp_path: Path) -> None:
    ranked(tmp_path)
    (found,) = Results(None, (tmp_path,)).all().values()
    ranking = example_ranking()
    assert (found.stores, found.twin, found.labels, found.best, found.layers) == (
        ("sha256-1f2e3d4c",),
        "sha256-9a8b7c6d",
        ("tiny",),
        "blocks.5",
        8,
    )
    assert found.best_score == pytest.approx(0.45 * 0.47 + 0.45 * 0.83 + 0.1 * 0.17)
    assert (found.rows, found.weights, found.dataset) == (ranking.rows, ranking.weights, "sha256:0011aabb")


def test_a_ranking_without_layers_is_listed_and_has_no_best(tmp_path: Path) -> None:
    ranked(tmp_path, layers=())
    (found,) = Results(None, (tmp_path,)).all().values()
    assert (found.layers, found.best, found.best_score, found.damage) == (0, "", None, "")


def test_a_damaged_ranking_says_why_without_the_servers_places(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "ranking.json").write_bytes(b"{")
    results = Results(None, (tmp_path,))
    (found,) = results.all().values()
    assert "ranking.json" in found.damage
    assert str(tmp_path) not in found.damage
    with pytest.raises(DataError) as refused:
        results.ranking(found)
    assert (str(refused.value), refused.value.hint) == (found.damage, "probe again")


@pytest.mark.parametrize("name", ["", "x", "0" * 31, "0" * 33, "0" * 31 + "g", "0" * 32 + "\n", "../ranking"])
def test_what_is_no_id_is_not_looked_for(tmp_path: Path, name: str) -> None:
    with pytest.raises(HttpProblem, match="no ranking") as refused:
        Results(None, (tmp_path,)).find(name)
    assert refused.value.status == 404


def test_folders_are_searched_so_deep_and_stores_and_hidden_ones_not_at_all(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"abcde")
    passed_over = [tmp_path / name / "x" for name in ("stores", "evidence", ".git", "ls1-00", "service")]
    for folder in (deep, deep / "f", *passed_over):
        folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(deep)
    found = [folder for folder, _ in served_folders(tmp_path)]
    assert len("abcde") == DEEPEST
    assert found == [tmp_path.joinpath(*"abcde"[:depth]) for depth in range(DEEPEST + 1)]
    assert list(served_folders(None)) == list(served_folders(tmp_path / "none")) == []


def test_a_path_is_inside_its_root_however_it_gets_there(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "b").symlink_to(root / "a")
    (root / "round").symlink_to(root / "round")
    (root / "out").symlink_to(tmp_path / "root2")
    (tmp_path / "root2").mkdir()
    assert inside(root, root / "b") == (root / "a").resolve()
    for name, words in (
        ("out", "leaves its root"),
        ("round", "not there any more"),
        ("none", "not there any more"),
        ("../root2", "leaves"),
    ):
        with pytest.raises(DataError, match=words):
            inside(root, root / name)


# --- rankings side by side


def results_of(place: Path, *rankings: Ranking) -> tuple[Results, list[str]]:
    names = []
    for number, ranking in enumerate(rankings, 1):
        save(ranking, place / str(number) / "ranking.json")
        (place / str(number) / "probe.json").write_text(json.dumps({"key": f"{number:032x}" * 2}), encoding="utf-8")
        names.append(f"{number:032x}")
    return Results(None, (place,)), names


def test_eight_rankings_are_compared_whatever_else_was_asked_for(tmp_path: Path) -> None:
    results, names = results_of(tmp_path, *[example_ranking()] * (MOST + 1))
    found = side_by_side(results, ["f" * 32, names[0], *names])
    assert [one.found.id for one in found.rankings] == names[:MOST]
    assert found.refused == (("f" * 32, f"no ranking {'f' * 32} here"), (names[MOST], f"{MOST} rankings are compared at most"))


def test_the_first_ranking_that_is_there_decides_on_the_dataset(tmp_path: Path) -> None:
    other = example_ranking().model_copy(update={"dataset_digest": "sha256:ffeeddccbbaa99887766"})
    results, (one, two, three) = results_of(tmp_path, other, example_ranking(), other)
    found = side_by_side(results, ["f" * 32, one, two, three])
    assert [beside.found.id for beside in found.rankings] == [one, three]
    assert found.refused[1] == (two, "it is of dataset 0011aabb, the first of ffeeddccbbaa: scores of different data do not compare")
    assert side_by_side(results, []).names == []


def test_the_same_block_of_two_stores_of_one_model_is_two_layers(tmp_path: Path) -> None:
    """As in a ranking of one model's activations in two poolings: each has its own score and its own place."""
    ranking = example_ranking()
    first, second = ranking.candidates[:2]
    layers = tuple(
        layer.model_copy(update={"name": "blocks.0", "store_id": f"ls1-{word}", "label": f"tiny {word}"})
        for layer, word in ((first, "mean"), (second, "grid"))
    )
    stores = [{"store_id": f"ls1-{word}", "backbone": "tiny", "label": f"tiny {word}"} for word in ("mean", "grid")]
    joint = Ranking.model_validate(ranking.model_dump() | {"stores": stores, "layers": [layer.model_dump() for layer in layers]})
    results, names = results_of(tmp_path, joint, ranking)
    both, alone = side_by_side(results, names).rankings
    assert both.places == {"tiny mean: blocks.0": 1, "tiny grid: blocks.0": 2}
    assert (both.score("tiny mean: blocks.0"), both.score("tiny grid: blocks.0")) == (first.score, second.score)
    assert list(alone.places)[:2] == [f"tiny: {first.name}", f"tiny: {second.name}"]
    assert alone.score("tiny mean: blocks.0") is None
    assert both.title == f"tiny mean, tiny grid, S/1 {names[0][:6]}"


# --- runs


def test_of_copies_of_runs_the_one_beside_a_ranking_counts_and_the_list_is_newest_first(tmp_path: Path) -> None:
    trained(tmp_path / "new" / "runs.json", 30.0)
    ranked(tmp_path / "whole" / "probe")
    trained(tmp_path / "whole" / "train" / "runs.json", 10.0)
    trained(tmp_path / "old" / "runs.json", 5.0)
    trained(tmp_path / "other" / "runs_b.json", 20.0, mode="offline")
    found = list(Experiments((tmp_path,)).all().values())
    assert [(one.path.parent.name, one.when) for one in found] == [("other", 20.0), ("train", 10.0)]
    assert found[1].experiment == tmp_path / "whole"


@pytest.mark.parametrize(
    ("place", "beside"),
    [
        ("runs.json", "ranking.json"),
        ("runs.json", "probe/ranking.json"),
        ("train/runs.json", "probe/ranking.json"),
        ("train/mlp/runs.json", "probe/ranking.json"),
    ],
)
def test_the_folder_of_an_experiment_is_found_at_most_two_above_its_runs(tmp_path: Path, place: str, beside: str) -> None:
    ranked((tmp_path / "e" / beside).parent)
    trained(tmp_path / "e" / place)
    (found,) = Experiments((tmp_path,)).all().values()
    assert found.experiment == tmp_path / "e"
    (outside,) = Experiments(((tmp_path / "e" / place).parent,)).all().values()
    assert outside.experiment == (tmp_path / "e" if place == "runs.json" else None)  # nothing above a served folder is looked at


def test_runs_that_cannot_be_judged_say_why(tmp_path: Path) -> None:
    trained(tmp_path / "a" / "runs.json")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "study.json").write_text("{", encoding="utf-8")
    experiments = Experiments((tmp_path,))
    found = {one.kind: one for one in experiments.all().values()}
    with pytest.raises(DataError, match="no ranking lies beside these runs") as refused:
        experiments.chapters(found["comparison"])
    assert refused.value.hint == "serve the folder around both"
    assert "study.json" in found["study"].damage
    assert str(tmp_path) not in found["study"].damage
    with pytest.raises(DataError):
        experiments.chapters(found["study"])
    assert (found["comparison"].arms, found["comparison"].runs, found["comparison"].mode) == (8, 16, "online")
