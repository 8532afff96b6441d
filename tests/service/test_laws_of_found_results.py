"""Rankings, runs, notes and stores as they are found under served folders: what is named how, which copy counts, and what is damaged."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from example_records import example_ranking, example_runs

from layerscout.cache.catalog.verification import Problem, Verification
from layerscout.cache.records import Ranking, save
from layerscout.errors import DataError
from layerscout.service.data import notes as kept_notes
from layerscout.service.data.catalogue import A_PAGE, Catalogue, Shelved, count_pages, on_page
from layerscout.service.data.comparing import MOST, side_by_side
from layerscout.service.data.datasets import dataset_id, film
from layerscout.service.data.experiments import Experiments
from layerscout.service.data.notes import LONGEST, Notes
from layerscout.service.data.results import DEEPEST, Results, served_folders
from layerscout.service.data.roots import ServedRoot, inside
from layerscout.service.data.verified import MOST as MOST_PROBLEMS
from layerscout.service.data.verified import keep_verification, kept_verification
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


# --- notes


def test_a_note_is_kept_as_it_was_written_but_for_its_edges(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "notes")
    assert (notes.of(SUBJECT), notes.version(SUBJECT)) == ([], 0)
    versions = []
    for text in ("  one\r\ntwo\u2028three ", '{"who": "root"}\n', "\ud800\x00 end", "x" * LONGEST):
        notes.add(SUBJECT, "ada", text)
        versions.append(notes.version(SUBJECT))
    assert [note.text for note in notes.of(SUBJECT)] == ["one\ntwo\u2028three", '{"who": "root"}', "\ud800\x00 end", "x" * LONGEST]
    assert versions == sorted(set(versions))
    assert [note.text for note in Notes(tmp_path / "notes").of(SUBJECT)][1] == '{"who": "root"}'
    assert notes.of("1" * 32) == []


@pytest.mark.parametrize("text", ["", " \n\t", "\r\n", "x" * (LONGEST + 1)])
def test_a_note_that_says_nothing_or_too_much_is_not_kept(tmp_path: Path, text: str) -> None:
    notes = Notes(tmp_path / "notes")
    with pytest.raises(HttpProblem, match="a note has 1 to 4,000 characters") as refused:
        notes.add(SUBJECT, "ada", text)
    assert refused.value.status == 422
    assert not (tmp_path / "notes").exists()


def test_a_ranking_holds_so_many_notes_and_a_server_that_may_not_write_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_notes, "MOST", 2)
    notes = Notes(tmp_path)
    for text in "ab":
        notes.add(SUBJECT, "ada", text)
    with pytest.raises(HttpProblem, match="there are 2 notes") as refused:
        notes.add(SUBJECT, "ada", "c")
    assert refused.value.status == 409
    notes.add("1" * 32, "ada", "c")
    with pytest.raises(HttpProblem, match="may not write") as refused:
        Notes(None).add(SUBJECT, "ada", "c")
    assert (refused.value.status, Notes(None).of(SUBJECT), Notes(None).version(SUBJECT)) == (503, [], 0)


def test_damaged_lines_are_left_out_and_what_is_written_after_them_is_not(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    notes.add(SUBJECT, "ada", "before")
    lines = [b"\xff\xfe", b"{}", b"[]", b"null", b'{"who": "a", "when": "x", "text": "t"}']
    lines += [b'{"who": "a", "when": %s, "text": "t"}' % when for when in (b"NaN", b"1e999", b"-1e999", b"1e300", b"null")]
    with (tmp_path / f"{SUBJECT}.jsonl").open("ab") as file:
        file.write(b"\n".join(lines) + b'\n{"who": "ada", "when": 1.0, "te')  # the plug was pulled
    notes.add(SUBJECT, "ada", "after")
    assert [note.text for note in notes.of(SUBJECT)] == ["before", "after"]


# --- stores


def test_pages_of_fifty_hold_every_store_once() -> None:
    for many in (0, 1, A_PAGE - 1, A_PAGE, A_PAGE + 1, 3 * A_PAGE):
        every = list(range(many))
        pages = count_pages(every)
        assert pages == max(1, -(-many // A_PAGE))
        assert [one for page in range(1, pages + 1) for one in on_page(every, page)] == every
        assert list(on_page(every, pages + 1)) == list(on_page(every, 0)) == []


def test_a_twin_is_of_the_same_model_rows_and_layers() -> None:
    from layerscout.cache.catalog.entries import Entry

    root = ServedRoot("r", Path("r"))

    def one(name: str, backbone: str | None, dataset: str = "d", rows: int = 5, layers: tuple[str, ...] = ("a",)) -> Shelved:
        return Shelved(Entry(name, name, 0, 0.0, names=(f"called-{name}",), backbone=backbone, dataset=dataset, rows=rows), root, layers)

    catalogue = Catalogue(())
    every = [
        one("s", "tiny"),
        one("1", "tiny-untrained", rows=6),
        one("2", "tiny-untrained", dataset="e"),
        one("3", "tiny-untrained", layers=("b",)),
    ]
    every += [one("4", "big-untrained"), one("n", None)]
    catalogue.all = lambda: tuple(every)  # type: ignore[method-assign]
    assert catalogue.twin_of("s") == ""
    every.append(one("5", "tiny-untrained"))
    assert catalogue.twin_of("s") == catalogue.twin_of("called-s") == "5"
    assert [catalogue.twin_of(word) for word in ("", "5", "n", "x")] == [""] * 4
    assert catalogue.find("called-n").id == "n"
    with pytest.raises(HttpProblem, match="no store 'called' here"):
        catalogue.find("called")


def test_a_verification_is_kept_with_at_most_so_many_problems_and_the_last_one_counts(tmp_path: Path) -> None:
    assert kept_verification(None, "ls1-x") is kept_verification(tmp_path, "ls1-x") is None
    problems = tuple(Problem(f"layers/{number}", "missing", "gone") for number in range(MOST_PROBLEMS + 1))
    keep_verification(tmp_path, Verification("ls1-x", "/secret", 7, 99, problems))
    found = kept_verification(tmp_path, "ls1-x")
    assert found
    assert (len(found.problems), found.problems[0], found.files, found.bytes) == (MOST_PROBLEMS, ("layers/0", "missing", "gone"), 7, 99)
    keep_verification(tmp_path, Verification("ls1-x", "/secret", 7, 99, ()))
    assert kept_verification(tmp_path, "ls1-x").problems == ()  # type: ignore[union-attr]
    (tmp_path / "verified" / "ls1-x.json").write_text("{", encoding="utf-8")
    assert kept_verification(tmp_path, "ls1-x") is None


# --- datasets


def test_an_address_names_a_dataset_by_its_digest_or_by_the_digest_of_its_words() -> None:
    digest = "ab" * 32
    assert dataset_id(f"sha256:{digest}") == digest
    for stated in ("", digest, f"sha256:{digest[:-1]}", f"sha256:{digest.upper()}", f"md5:{digest}", "é\ud800"):
        named = dataset_id(stated)
        assert named == hashlib.sha256(stated.encode("utf-8", "replace")).hexdigest()


@pytest.mark.parametrize(
    ("frames", "most", "shown"),
    [
        (0, 8, []),
        (1, 8, [0]),
        (3, 8, [0, 1, 2]),
        (8, 8, list(range(8))),
        (15, 8, [0, 2, 4, 6, 8, 10, 12, 14]),
        (100, 2, [0, 99]),
        (9, 1, [0]),
    ],
)
def test_a_film_begins_with_the_first_frame_and_ends_with_the_last(frames: int, most: int, shown: list[int]) -> None:
    assert list(film(frames, most)) == shown
