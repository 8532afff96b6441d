"""Sums of spans that were kept serve every other question to the bit; what is damaged is made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from committed import commit
from synthetic_layers import MemoryStore, columns_of, controllable_state, with_reward

from layerscout.cache.store import Store
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.moments import rows, spans
from layerscout.probe.moments.partials import PartialsFolder
from layerscout.probe.plan import plan
from layerscout.probe.run import run_shard
from layerscout.probe.work import load_evidence, measure_layer

ROWS, LAYERS, SPANS = 672, 2, 6


@pytest.fixture(autouse=True)
def short_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six spans of 128 rows, or fewer."""
    monkeypatch.setattr(spans, "LEAST_SPAN_ROWS", 128)
    monkeypatch.setattr(spans, "SPAN_ROWS_A_FEATURE", 0)
    monkeypatch.setattr(spans, "ALIGNMENT", 64)
    monkeypatch.setattr(rows, "PILOT_ROWS", 64)


def store_of(root: Path, count: int = ROWS, weights: str = "sha256:a") -> Store:
    """The first ``count`` rows of a world of two layers."""
    rng = np.random.default_rng(0)
    columns = columns_of([20] * 32, rng)
    state = controllable_state(columns, 3, rng)
    columns = with_reward(columns, state[:, 0])
    layers = {
        f"blocks.{depth}": (state @ rng.standard_normal((3, 6)) + depth * rng.standard_normal((ROWS, 6))).astype(np.float16)
        for depth in (1, 2)
    }
    memory = MemoryStore(
        "", {name: column[:count] for name, column in columns.items()}, {name: array[:count] for name, array in layers.items()}
    )
    return commit(root, memory, weights, rows_per_chunk=64)


def measured(**settings: Any) -> list[LayerEvidence]:
    """Evidence of every layer, without tables and pages."""
    planned = plan(ProbeConfig(**settings))
    for job in planned.pending:
        assert measure_layer(planned, job, planned.config.precision) is None
    return [load_evidence(planned, job) for job in planned.jobs]


def kept(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (root / "partials").rglob("*.sums")}


def test_other_questions_read_no_row(tmp_path: Path) -> None:
    base: dict[str, Any] = {"store": store_of(tmp_path).id, "root": tmp_path, "shifts": 2}
    first = measured(**base, out=tmp_path / "a", partials="always")
    before = kept(tmp_path)
    assert len(before) == LAYERS * SPANS * 2
    for settings in ({"penalties": (1e-2, 1.0)}, {"folds": 4}, {"inner": "all"}):
        described = plan(ProbeConfig(**base, **settings, out=tmp_path / "b")).describe()
        assert described["spans_to_read"] == described["bytes"] == described["partial_bytes"] == 0
        found = measured(**base, **settings, out=tmp_path / "b")
        assert found == measured(**base, **settings, out=tmp_path / "c", partials="never")
        assert found != first
    assert kept(tmp_path) == before
    # other shifts of the reward: the latents' sums are found, the columns' are made anew
    measured(**base | {"shifts": 3}, out=tmp_path / "d", partials="always")
    assert len(kept(tmp_path)) == LAYERS * SPANS * 3


def test_a_dataset_with_more_episodes_reuses_the_spans_before_them(tmp_path: Path) -> None:
    base: dict[str, Any] = {"root": tmp_path, "shifts": 0, "partials": "always", "confirmation": 0}
    measured(store=store_of(tmp_path, 25 * 21, "sha256:25").id, out=tmp_path / "a", **base)  # four spans and a part
    before = kept(tmp_path)
    longer = base | {"store": store_of(tmp_path, ROWS, "sha256:32").id}
    assert measured(**longer, out=tmp_path / "b") == measured(**longer | {"partials": "never"}, out=tmp_path / "c")
    # the latents of two spans are new; the reward is standardised over more episodes, so all columns are
    assert len(set(kept(tmp_path)) - set(before)) == LAYERS * (2 + SPANS)


def test_another_content_has_another_name(tmp_path: Path) -> None:
    base: dict[str, Any] = {"root": tmp_path, "shifts": 0, "partials": "always", "layers": ("blocks.1",)}
    store = store_of(tmp_path)
    measured(**base, store=store.id, out=tmp_path / "a")
    names = set(kept(tmp_path))
    measured(**base, store=store.id, out=tmp_path / "b", precision="float64")
    assert len(set(kept(tmp_path)) - names) == 2 * SPANS
    measured(**base, store=store.id, out=tmp_path / "c", groups=10)
    assert len(set(kept(tmp_path)) - names) == 4 * SPANS
    same = store_of(tmp_path, weights="sha256:b")  # another store of the same activations: nothing is read
    assert plan(ProbeConfig(**base, store=same.id, out=tmp_path / "d")).describe()["bytes"] == 0


def test_a_damaged_partial_is_made_again(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"store": store_of(tmp_path).id, "root": tmp_path, "partials": "always", "shifts": 2}
    first = measured(**settings, out=tmp_path / "a")
    paths = sorted((tmp_path / "partials").rglob("*.sums"))
    whole = [path.read_bytes() for path in paths]
    for number, path in enumerate(paths[:6]):
        flipped = bytearray(whole[number])
        flipped[len(flipped) // 2] ^= 1
        path.write_bytes((whole[number][:-1], bytes(flipped), b"", whole[number] + b"x", whole[number][:40], whole[number][21:])[number])
    assert measured(**settings, out=tmp_path / "b") == first
    assert [path.read_bytes() for path in paths] == whole


def test_shards_in_any_order_make_what_one_run_makes(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"store": store_of(tmp_path).id, "root": tmp_path, "shifts": 2}
    made = [run_shard(plan(ProbeConfig(**settings, out=tmp_path / "s", shard=f"{number}/3")))["partials"] for number in (2, 0, 2, 1)]
    assert made == [4, 4, 0, 4]
    assert not (tmp_path / "s").exists()
    assert plan(ProbeConfig(**settings, out=tmp_path / "s")).describe()["bytes"] == 0
    assert measured(**settings, out=tmp_path / "s") == measured(**settings, out=tmp_path / "t", partials="never")


@pytest.mark.parametrize("width", [256, 768, 4096])
def test_sums_are_kept_where_they_take_less_than_half_of_their_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: int) -> None:
    monkeypatch.undo()  # spans as they are
    whole = spans.span_rows(width)
    for stop, keep, written in ((whole, "auto", True), (whole // 8, "auto", False), (whole // 8, "always", True), (whole, "never", False)):
        chosen = spans.SpanTransitions(
            0, stop, *(np.zeros(0, dtype=int),) * 2, np.zeros((0, 4)), np.zeros((0, 51)), np.ones(25, dtype=bool)
        )
        assert PartialsFolder(tmp_path, "ls1-a", keep).writes(chosen, width, 2 * width) is written
