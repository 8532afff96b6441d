"""The file of a span's sums: what is written comes back, adds up in the order given, and any other byte makes it no file at all."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerscout.probe.moments import partials
from layerscout.probe.moments.partials import (
    MAGIC,
    PartialsFolder,
    combine_sums,
    open_partial,
    partial_names,
    span_bytes,
    spill_sums,
    write_partial,
)
from layerscout.probe.moments.spans import Borders, SpanTransitions
from layerscout.probe.moments.sums import ColumnSums, LatentSums

GROUPS, WIDTH, ACTIONS, SCALARS = 3, 4, 2, 5
LATENTS = {
    "count": (GROUPS,),
    "latent": (GROUPS, WIDTH),
    "next": (GROUPS, WIDTH),
    "latent_latent": (GROUPS, WIDTH, WIDTH),
    "latent_next": (GROUPS, WIDTH, WIDTH),
    "next_squares": (GROUPS, WIDTH),
    "next_minus_latent": (WIDTH, WIDTH),
}
COLUMNS = {
    "action": (GROUPS, ACTIONS),
    "scalar": (GROUPS, SCALARS),
    "latent_action": (GROUPS, WIDTH, ACTIONS),
    "latent_scalar": (GROUPS, WIDTH, SCALARS),
    "action_next": (GROUPS, ACTIONS, WIDTH),
    "action_action": (GROUPS, ACTIONS, ACTIONS),
    "action_scalar": (GROUPS, ACTIONS, SCALARS),
    "scalar_squares": (GROUPS, SCALARS),
}
BORDERS = Borders(np.array([0.5, -1.0, 2.0, 0.0], np.float32), np.array([1.5, 3.0, -2.0, 4.0], np.float32), 2, 17)
KINDS = [LatentSums, ColumnSums]


def sums(kind: Any, seed: int) -> Any:
    """Whole numbers, so that every order of adding gives the same; counts are integers."""
    rng = np.random.default_rng(seed)
    arrays = {name: rng.integers(-50, 50, shape).astype(np.float64) for name, shape in (LATENTS if kind is LatentSums else COLUMNS).items()}
    return kind(**{name: array.astype(np.int64) if name == "count" else array for name, array in arrays.items()})


def counted(found: Any) -> dict[str, np.ndarray]:
    """What of the sums counts: of squares of the latents, only what lies on and above the diagonal."""
    told = dict(vars(found))
    if isinstance(found, LatentSums):
        told["latent_latent"] = np.triu(told["latent_latent"])
    return told


def added(*parts: Any) -> dict[str, np.ndarray]:
    each = [counted(part) for part in parts]
    return {name: np.sum([one[name] for one in each], axis=0) for name in each[0]}


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_borders_and_sums_come_back_and_add_up(kind: Any, tmp_path: Path) -> None:
    parts = [sums(kind, seed) for seed in range(3)]
    for number, part in enumerate(parts):
        write_partial(tmp_path / f"{number}.sums", part, replace(BORDERS, nonfinite=number))
    opened = [open_partial(tmp_path / f"{number}.sums") for number in range(3)]
    for number, (borders, _) in enumerate(opened):
        np.testing.assert_array_equal(borders.first, BORDERS.first)
        np.testing.assert_array_equal(borders.last, BORDERS.last)
        assert borders.first.dtype == np.float32
        assert (borders.nonfinite, borders.first_nonfinite) == (number, 17)
    total = sums(kind, 9)
    combine_sums([source for _, source in opened], total, held=False)
    same(counted(total), added(*parts))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_held_in_memory_is_the_last_span(kind: Any, tmp_path: Path) -> None:
    first, held = sums(kind, 0), sums(kind, 1)
    expected = added(first, held)
    combine_sums([write_partial(tmp_path / "a.sums", first, BORDERS)], held, held=True)
    same(counted(held), expected)


def test_no_span_leaves_the_sums_as_they_are() -> None:
    total = sums(ColumnSums, 2)
    before = {name: array.copy() for name, array in vars(total).items()}
    combine_sums([], total, held=True)
    same(vars(total), before)


@pytest.mark.parametrize("kind", KINDS)
def test_sums_that_wait_in_one_scratch_file_are_read_each_from_its_place(kind: Any) -> None:
    file, parts = io.BytesIO(), [sums(kind, seed) for seed in range(3)]
    sources = [spill_sums(file, part) for part in parts]
    for chosen in ([0, 1, 2], [2, 0]):
        fresh = [type(sources[place])(file, sources[place].position) for place in chosen]
        total = sums(kind, 9)
        combine_sums(fresh, total, held=False)
        same(counted(total), added(*(parts[place] for place in chosen)))


def test_any_other_byte_makes_it_no_partial(tmp_path: Path) -> None:
    path = tmp_path / "a.sums"
    write_partial(path, sums(ColumnSums, 0), BORDERS)
    whole = path.read_bytes()
    assert whole.startswith(MAGIC)
    assert whole[-32:] == hashlib.sha256(whole[:-32]).digest()
    assert open_partial(path) is not None
    assert open_partial(tmp_path / "missing.sums") is None
    for place in (0, len(MAGIC) - 1, len(MAGIC), len(whole) // 2, len(whole) - 33, len(whole) - 32, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert open_partial(path) is None, place
    body = b"layerscout-partial/2\n" + whole[len(MAGIC) : -32]
    for content in (b"", whole[:-1], whole[:31], whole + b"x", whole[:-33] + whole[-32:], body + hashlib.sha256(body).digest()):
        path.write_bytes(content)
        assert open_partial(path) is None, len(content)
    path.write_bytes(whole)
    assert open_partial(path) is not None


def test_a_digest_is_taken_of_blocks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_partial(tmp_path / "a.sums", sums(LatentSums, 0), BORDERS)
    size = (tmp_path / "a.sums").stat().st_size - partials.DIGEST_BYTES - len(MAGIC)
    for block in (1, 7, size - 1, size, size + 1):
        monkeypatch.setattr(partials, "BLOCK_BYTES", block)
        assert open_partial(tmp_path / "a.sums") is not None


def span(start: int = 0, stop: int = 8, **changes: Any) -> SpanTransitions:
    row = start + np.array([0, 1, 4])
    given = {"row": row, "group": np.array([0, 0, 2]), "inputs": np.ones((3, ACTIONS)), "scalars": np.ones((3, SCALARS))}
    return SpanTransitions(start, stop, **(given | {"ranks": np.array([True, False, True])} | changes))  # type: ignore[arg-type]


def reader(**changes: Any) -> SimpleNamespace:
    """Five chunks of four rows, told apart by their digests."""
    objects = [SimpleNamespace(sha256=f"{unit}") for unit in range(5)]
    layout = SimpleNamespace(dtype="float16")
    return SimpleNamespace(**({"chunk_rows": 4, "shape": (20, WIDTH), "layout": layout, "objects": objects} | changes))


def test_a_name_says_everything_that_the_sums_depend_on_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partials, "pilot_rows", lambda reader: 4)
    latents, columns = partial_names(reader(), span(), "float32")
    assert latents != columns
    assert partial_names(reader(), span(), "float32") == (latents, columns), "the same every time"
    elsewhere = [SimpleNamespace(sha256=name) for name in ("0", "1", "other", "rows", "here")]
    assert partial_names(reader(objects=elsewhere), span(), "float32") == (latents, columns), "rows of other spans do not count"
    assert partial_names(reader(path="/another/place", name="another layer"), span(), "float32") == (latents, columns)
    changed = [SimpleNamespace(sha256=name) for name in ("0", "x", "2", "3", "4")]
    others = [
        (reader(objects=changed), span(), "float32"),
        (reader(shape=(20, WIDTH + 1)), span(), "float32"),
        (reader(layout=SimpleNamespace(dtype="float32")), span(), "float32"),
        (reader(chunk_rows=8), span(), "float32"),
        (reader(), span(stop=9), "float32"),
        (reader(), span(row=np.array([0, 1, 5])), "float32"),
        (reader(), span(group=np.array([0, 1, 2])), "float32"),
        (reader(), span(ranks=np.array([True, True, True])), "float32"),
        (reader(), span(), "float64"),
    ]
    assert len({partial_names(*one)[0] for one in others} | {latents}) == len(others) + 1
    for change in ({"inputs": np.zeros((3, ACTIONS))}, {"scalars": np.zeros((3, SCALARS))}):
        own = partial_names(reader(), span(**change), "float32")
        assert own[0] == latents, "the latents' sums know nothing of actions and targets"
        assert own[1] != columns


def test_the_first_rows_count_because_every_sum_is_about_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partials, "pilot_rows", lambda reader: 5)  # two chunks
    later = span(8, 16)
    name = partial_names(reader(), later, "float32")
    for place, matters in ((0, True), (1, True), (2, True), (3, True), (4, False)):
        changed = [SimpleNamespace(sha256="x" if unit == place else f"{unit}") for unit in range(5)]
        assert (partial_names(reader(objects=changed), later, "float32") != name) is matters, place


def test_a_span_that_lies_elsewhere_in_equal_chunks_has_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partials, "pilot_rows", lambda reader: 4)
    twice = reader(objects=[SimpleNamespace(sha256=name) for name in ("0", "a", "b", "a", "b")])
    assert partial_names(twice, span(4, 12), "float32") == partial_names(twice, span(12, 20), "float32")
    assert partial_names(twice, span(4, 12), "float32") != partial_names(twice, span(8, 16), "float32")


def test_rows_without_digests_have_no_partials(tmp_path: Path) -> None:
    plain = SimpleNamespace(shape=(20, WIDTH))
    assert partial_names(plain, span(), "float32") is None
    assert PartialsFolder(tmp_path, "ls1-a").paths(plain, span(), "float32") is None
    assert PartialsFolder(tmp_path, "ls1-a", "never").paths(reader(), span(), "float32") is None


def test_a_partial_of_any_store_is_found_and_a_new_one_lies_with_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partials, "pilot_rows", lambda reader: 4)
    own = PartialsFolder(tmp_path, "ls1-a")
    latents, columns = own.paths(reader(), span(), "float32")
    assert latents.parent == columns.parent == tmp_path / partials.FOLDER / "ls1-a"
    other = tmp_path / partials.FOLDER / "ls1-b" / columns.name
    other.parent.mkdir(parents=True)
    other.touch()
    assert own.paths(reader(), span(), "float32") == (latents, other)
    columns.parent.mkdir()
    columns.touch()
    assert own.paths(reader(), span(), "float32") == (latents, columns), "its own first"


@pytest.mark.parametrize(("groups", "width", "actions", "scalars"), [(25, 64, 4, 51), (3, 256, 1, 1), (10, 128, 0, 2)])
def test_the_bytes_that_are_foretold_are_those_of_the_arrays(groups: int, width: int, actions: int, scalars: int, tmp_path: Path) -> None:
    shapes = {"G": groups, "W": width, "A": actions, "S": scalars}
    by_size = {GROUPS: "G", WIDTH: "W", ACTIONS: "A", SCALARS: "S"}
    written = 0
    for number, (kind, names) in enumerate(((LatentSums, LATENTS), (ColumnSums, COLUMNS))):
        arrays = {name: np.zeros([shapes[by_size[size]] for size in shape]) for name, shape in names.items()}
        write_partial(tmp_path / f"{number}.sums", kind(**arrays), Borders(np.zeros(width), np.zeros(width), 0, -1))
        written += (tmp_path / f"{number}.sums").stat().st_size
    chosen = SpanTransitions(
        0, 9, *(np.zeros(0, dtype=int),) * 2, np.zeros((0, actions)), np.zeros((0, scalars)), np.ones(groups, dtype=bool)
    )
    assert span_bytes(chosen, width) == pytest.approx(written, rel=0.1)
    assert span_bytes(chosen, width) < written
