"""Every kind of file, damaged in every way: it is noticed, and no number that is read is ever another than was written.

``WRITE_TABLES=1 pytest tests/cache/test_corruption.py`` writes the table of docs/reference/corruption.md anew; ``-s`` prints it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from identity_by_hand import make_identity

from layerscout.cache.catalog.verification import verify_store
from layerscout.cache.store import LayerSpec, Store
from layerscout.cache.writing.writer import StoreWriter
from layerscout.errors import DataError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "corruption.md"
FLIPS = 4  # bits of a file that are flipped, one after the other
ROWS, ROWS_PER_CHUNK = 21, 8  # the last of three chunks is not full
INDEX = {"episode": "i4", "step": "i4", "action": "i4", "terminated": "?", "truncated": "?", "padding": "i2"}
DAMAGES = ("bit flipped", "truncated", "emptied", "deleted", "swapped with a neighbour", "older version", "stray file beside it")


@dataclass(frozen=True)
class Kind:
    """One kind of file: where one lies, a neighbour of the same kind, and an older version of it (``earlier/`` or ``other/``)."""

    name: str
    path: str
    neighbour: str
    older: str


# "earlier" is an honest run of the same identity with other numbers, "other" a store of another identity but the same shape
KINDS = (
    Kind("layer chunk", "layers/a/c/0/0", "layers/a/c/1/0", "earlier/layers/a/c/0/0"),
    Kind("layer chunk of another layer", "layers/a/c/1/0", "layers/b/c/1/0", "earlier/layers/a/c/1/0"),
    Kind("index chunk", "index/reward/c/0", "index/reward/c/1", "earlier/index/reward/c/0"),
    Kind("array metadata (`zarr.json`)", "layers/a/zarr.json", "layers/b/zarr.json", "other/layers/a/zarr.json"),
    Kind("group metadata (`zarr.json`)", "zarr.json", "layers/zarr.json", "other/zarr.json"),
    Kind("`identity.json`", "identity.json", "other/identity.json", "other/identity.json"),
    Kind("`manifest.json`", "manifest.json", "other/manifest.json", "earlier/manifest.json"),
)
STAGED = (
    Kind("unit marker in `staging`", "units/0.json", "units/1.json", "earlier/units/0.json"),
    Kind("chunk in `staging`", "store/layers/a/c/0/0", "store/layers/a/c/1/0", "earlier/store/layers/a/c/0/0"),
    Kind("plan in `staging` (`attempt.json`)", "attempt.json", "units/0.json", "other/attempt.json"),
)


def numbers(seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Finite values of random bits, which zstd cannot make smaller: then a changed chunk keeps its size, and only its bytes tell."""
    random, highest = np.random.default_rng(seed), {"float16": 0x7BFF, "float32": 0x7F7FFFFF}[dtype]
    return random.integers(0, highest, shape, dtype=f"u{np.dtype(dtype).itemsize}").view(dtype)


class Case:
    """One store of two layers as it should be, and the means to write it again."""

    def __init__(self, codec: str, seed: int = 0, module: str = "m") -> None:
        self.codec = codec
        self.specs = tuple(LayerSpec(name, 10, "float16", "layer", depth, module) for depth, name in enumerate("ab"))
        self.identity = make_identity(self.specs)
        self.layers = {spec.name: numbers(seed + spec.depth, (ROWS, 10), "float16") for spec in self.specs}
        self.index = {name: (np.arange(ROWS) % 2).astype(dtype) for name, dtype in INDEX.items()}
        self.index["reward"] = numbers(seed + 9, (ROWS,), "float32")

    def writer(self, root: Path) -> StoreWriter:
        return StoreWriter.open(root, self.identity, self.specs, ROWS, ROWS_PER_CHUNK, codec=self.codec)

    def write(self, writer: StoreWriter, units: list[int]) -> None:
        for unit in units:
            part = slice(*writer.span(unit))
            writer.write_unit(unit, {k: v[part] for k, v in self.layers.items()}, {k: v[part] for k, v in self.index.items()})

    def store(self, root: Path) -> Store:
        writer = self.writer(root)
        self.write(writer, writer.pending())
        return writer.commit({"command": "test"})

    def refuses_or_is_right(self, store: Store) -> bool:
        """Read everything in every way; True when something was refused. Whatever is given out must be what was written."""
        refused = False
        ways: list[tuple[Callable[[], np.ndarray], np.ndarray]] = [(lambda n=n: store.index(n), v) for n, v in self.index.items()]
        backwards = np.arange(ROWS)[::-1]
        for name, values in self.layers.items():
            ways += [
                (lambda n=name: store.layer(n).all(), values),
                (lambda n=name: store.layer(n).read(3, 11), values[3:11]),
                (lambda n=name: store.layer(n).rows(backwards), values[backwards]),
                (lambda n=name: np.concatenate([rows for _, rows in store.layer(n).chunks()]), values),
            ]
        for read, expected in ways:
            try:
                found = read()
            except DataError:
                refused = True
            else:
                np.testing.assert_array_equal(found, expected)
                assert found.dtype == expected.dtype
        return refused


def damaged(folder: Path, others: Path, kind: Kind, damage: str) -> Iterator[None]:
    """Do one damage in every variant, one after the other, and undo it."""
    path, neighbour = folder / kind.path, folder / kind.neighbour
    if kind.neighbour.startswith("other/"):
        neighbour = others / kind.neighbour
    before = {file: file.read_bytes() for file in (path, neighbour)}
    content = before[path]
    if damage == "bit flipped":
        random = np.random.default_rng(len(content))
        for bit in {0, len(content) * 8 - 1, *random.integers(0, len(content) * 8, FLIPS).tolist()}:
            changed = bytearray(content)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            yield
    elif damage == "truncated":
        for size in (len(content) - 1, len(content) // 2, 1):
            path.write_bytes(content[:size])
            yield
    elif damage == "stray file beside it":
        for name in ("stray", f"{path.name}.0123.partial"):
            (path.parent / name).write_bytes(content)
            yield
            (path.parent / name).unlink()
    else:
        if damage == "emptied":
            path.write_bytes(b"")
        elif damage == "deleted":
            path.unlink()
        elif damage == "older version":
            assert (others / kind.older).read_bytes() != content, "that is no other version"
            shutil.copy(others / kind.older, path)
        else:
            path.write_bytes(before[neighbour])
            neighbour.write_bytes(content)
        yield
    for file, data in before.items():
        file.write_bytes(data)


def first_to_notice(case: Case, folder: Path, opened: Store, label: str = "") -> str:
    """Say what notices the damage first. Whoever opened the store before it gets right numbers or an error, too."""
    case.refuses_or_is_right(opened)
    assert verify_store(folder).problems, f"verify reads every file: {label}"
    assert verify_store(folder, full=True).problems
    try:
        store = Store.open(folder)
    except DataError:
        return "open"
    return "read" if case.refuses_or_is_right(store) else "verify"


def table(codec: str, root: Path) -> dict[tuple[str, str], str]:
    """Return what notices each damage to each kind of file of a store first: open, read, verify or resume."""
    case = Case(codec)
    folder, others = case.store(root / "store").path, root / "others"
    shutil.copytree(Case(codec, seed=50).store(root / "earlier").path, others / "earlier")
    shutil.copytree(Case(codec, seed=70, module="n").store(root / "other").path, others / "other")
    cells = {}
    for kind in KINDS:
        for damage in DAMAGES:
            opened = Store.open(folder)
            noticed = {first_to_notice(case, folder, opened, f"{kind.name}, {damage}") for _ in damaged(folder, others, kind, damage)}
            cells[kind.name, damage] = " or ".join(sorted(noticed))
    assert not verify_store(folder, full=True).problems, "every damage was undone"
    return cells | staged_table(codec, root)


def staged_table(codec: str, root: Path) -> dict[tuple[str, str], str]:
    """The same for an attempt of which two units of three are done: the next writer must end with the unbroken store."""
    case, others = Case(codec), root / "staged"
    unbroken = contents(root / "store")
    for name, version in (("begun", case), ("earlier", Case(codec, seed=50)), ("other", Case(codec, seed=70, module="n"))):
        version.write(version.writer(root / name), [0, 1])
        (attempt,) = (root / name / "staging").glob("*/*")
        shutil.copytree(attempt, others / name)
    cells = {}
    for kind in STAGED:
        for damage in DAMAGES:
            for number, _ in enumerate(damaged(others / "begun", others, kind, damage)):
                again = root / "again" / kind.name[:4] / damage / str(number)
                shutil.copytree(others / "begun", again / "staging" / case.writer(root / "names").store_id / ("0" * 32))
                writer = case.writer(again)
                redone = [unit for unit in writer.pending() if unit != 2]
                assert bool(redone) == (damage != "stray file beside it"), (kind.name, damage)
                case.write(writer, writer.pending())
                writer.commit({"command": "test"})
                assert contents(again) == unbroken
            cells[kind.name, damage] = "left out" if damage == "stray file beside it" else "resume"
    return cells


def contents(root: Path) -> dict[str, bytes]:
    (store,) = (root / "stores").iterdir()
    files = {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}
    return {path: data for path, data in files.items() if path != "manifest.json"}


def as_markdown(cells: dict[tuple[str, str], str]) -> str:
    rows = ["| file | " + " | ".join(DAMAGES) + " |", "|---|" + "---|" * len(DAMAGES)]
    rows += [f"| {kind.name} | " + " | ".join(cells[kind.name, damage] for damage in DAMAGES) + " |" for kind in (*KINDS, *STAGED)]
    return "\n".join(rows)


@pytest.mark.slow
def test_every_damage_is_noticed_and_no_wrong_number_is_read(tmp_path):
    cells = {codec: table(codec, tmp_path / codec) for codec in ("none", "zstd")}
    assert cells["none"] == cells["zstd"], "one table tells of both"
    found = as_markdown(cells["none"])
    print("\n" + found)
    page = PAGE.read_text()
    start = page.index("| file |")
    stop = page.index("\n\n", start)
    if os.environ.get("WRITE_TABLES"):
        PAGE.write_text(page[:start] + found + page[stop:])
    else:
        assert page[start:stop] == found, "WRITE_TABLES=1 writes the page anew"


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_an_undamaged_store_has_no_problem(tmp_path, codec):
    case = Case(codec)
    store = case.store(tmp_path)
    assert not case.refuses_or_is_right(store)
    assert verify_store(store.path, full=True).problems == ()
