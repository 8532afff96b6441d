"""Notes, stores and datasets as they are kept and named: nothing that was written is lost, nothing is listed twice."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from layerscout.cache.catalog.verification import Problem, Verification
from layerscout.service.data import notes as kept_notes
from layerscout.service.data.catalogue import A_PAGE, Catalogue, Shelved, count_pages, on_page
from layerscout.service.data.datasets import dataset_id, film
from layerscout.service.data.notes import LONGEST, Notes
from layerscout.service.data.roots import ServedRoot
from layerscout.service.data.verified import MOST as MOST_PROBLEMS
from layerscout.service.data.verified import keep_verification, kept_verification
from layerscout.service.problems import HttpProblem

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")
SUBJECT = "0" * 32


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
