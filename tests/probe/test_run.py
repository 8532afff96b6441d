"""One store and its twin in, every output out; the same command again does nothing, and other weights read nothing."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_layers import MemoryStore, columns_of, controllable_state, with_reward

from layerscout.cache import records
from layerscout.cache.layout import LayerSpec
from layerscout.cache.records import Ranking, Selection
from layerscout.cache.writer import StoreWriter
from layerscout.errors import BudgetError, DataError
from layerscout.probe import plan as plan_module
from layerscout.probe.config import ProbeConfig
from layerscout.probe.plan import OUTPUTS, plan_stores
from layerscout.probe.report import as_text
from layerscout.probe.run import plan, run


def world(seed: int = 0) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Index columns, four layers with the signal strongest in the third, pixels, and the untrained twin's four layers."""
    rng = np.random.default_rng(seed)
    columns = columns_of([20] * 32, rng)
    state = controllable_state(columns, 3, rng)
    columns = with_reward(columns, state[:, 0])

    def view(noise: float, width: int = 10) -> np.ndarray:
        return (state @ rng.standard_normal((3, width)) + noise * rng.standard_normal((len(state), width))).astype(np.float16)

    layers = {f"blocks.{depth}": view(noise) for depth, noise in enumerate((6.0, 2.0, 0.2, 1.0))}
    return columns, layers | {"pixels": view(3.0, 14)}, {f"blocks.{depth}": view(6.0) for depth in range(4)}


def stores(seed: int = 0) -> tuple[MemoryStore, MemoryStore]:
    columns, layers, untrained = world(seed)
    return MemoryStore("ls1-real", columns, layers, ("pixels",)), MemoryStore("ls1-twin", columns, untrained)


def config(out: Path, **settings: object) -> ProbeConfig:
    return ProbeConfig(store="ls1-real", out=out, **({"shifts": 10, "threads": 2} | settings))


def test_the_best_layer_is_found_and_every_output_is_there(tmp_path: Path) -> None:
    store, twin = stores()
    ranking = run(plan_stores(config(tmp_path), store, twin))
    assert ranking.candidates[0].name == "blocks.2"
    assert [(layer.role, layer.name) for layer in ranking.layers[4:]] == [
        ("control", "pixels"),
        *(("twin", f"blocks.{depth}") for depth in range(4)),
    ]
    assert records.load(Ranking, tmp_path / "ranking.json") == ranking
    assert ranking.rows == 640
    assert (ranking.episodes, ranking.folds, ranking.twin_store_id) == (32, 5, "ls1-twin")
    for layer in ranking.layers:
        for figure in (layer.reward_r2, layer.transition_r2, layer.effective_rank, layer.score):
            assert figure.low <= figure.value <= figure.high
    selection = records.load(Selection, tmp_path / "selection.json")
    assert [(choice.kind, choice.layer) for choice in selection.choices] == [
        ("ranked", "blocks.2"),
        ("ranked", ranking.candidates[1].name),
        ("worst", "blocks.0"),
        ("twin", "blocks.2"),
        ("pixels", "pixels"),
    ]
    assert (tmp_path / selection.ranking).exists()
    with (tmp_path / "layer_analysis.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["layer"] for row in rows] == [layer.name for layer in ranking.layers]
    assert float(rows[0]["composite_score"]) == pytest.approx(ranking.layers[0].score.value, abs=1e-6)
    assert (tmp_path / "selected_layer.txt").read_text().startswith("blocks.2\nscore 0.")
    table = (tmp_path / "layer_analysis.md").read_text()
    assert "| 1 | blocks.2 |" in table
    assert "- the middle layer blocks.2 is already chosen as ranked" in table
    assert (tmp_path / "score_by_depth.png").read_bytes().startswith(b"\x89PNG")
    text = as_text(ranking).splitlines()
    assert text[1].startswith("1        blocks.2  0.")
    assert text[-1].startswith("best: blocks.2, score 0.")
    assert "<svg" in (tmp_path / "score_by_depth.svg").read_text()


def test_the_same_command_again_reads_no_activation(tmp_path: Path) -> None:
    store, twin = stores()
    first = run(plan_stores(config(tmp_path), store, twin))
    before = {name: (tmp_path / name).read_bytes() for name in OUTPUTS}
    store.reads.clear()
    again = plan_stores(config(tmp_path, threads=1), store, twin)  # threads change no number
    assert again.describe()["exists"] == str(tmp_path / "ranking.json")
    assert again.describe()["bytes"] == 0
    assert run(again) == first
    # the figure lost: everything is written again, to the byte, from the evidence that was kept
    (tmp_path / "score_by_depth.svg").unlink()
    assert run(plan_stores(config(tmp_path), store, twin)) == first
    assert {name: (tmp_path / name).read_bytes() for name in OUTPUTS} == before
    # other weights: another ranking, but no activation is read
    other = run(plan_stores(config(tmp_path, weights=(0.0, 0.0, 1.0)), store, twin))
    assert other.weights != first.weights
    assert store.reads == []
    # another seed draws other shifts: everything is measured anew
    run(plan_stores(config(tmp_path, seed=1), store, twin))
    assert sorted(store.reads) == ["blocks.0", "blocks.1", "blocks.2", "blocks.3", "pixels"]


def test_layers_measured_before_are_not_measured_again(tmp_path: Path) -> None:
    store, twin = stores()
    run(plan_stores(config(tmp_path, layers=("blocks.0", "blocks.2")), store))
    store.reads.clear()
    rest = plan_stores(config(tmp_path), store, twin)
    assert rest.describe()["layers_to_measure"] == 6
    assert run(rest) == run(plan_stores(config(tmp_path / "fresh"), *stores()))
    assert sorted(store.reads) == ["blocks.1", "blocks.3"]


def test_a_bad_activation_stops_the_probe_before_any_ranking(tmp_path: Path) -> None:
    store, _ = stores()
    store.arrays["blocks.3"][7, 3] = np.nan
    with pytest.raises(DataError, match=r"layer 'blocks\.3' has the value nan in row 7, feature 3"):
        run(plan_stores(config(tmp_path), store))
    assert not (tmp_path / "ranking.json").exists()


def test_numbers_do_not_depend_on_threads_or_on_which_layers_share_the_run(tmp_path: Path) -> None:
    store, twin = stores()
    together = run(plan_stores(config(tmp_path / "a"), store, twin))
    alone = run(plan_stores(config(tmp_path / "b", threads=1, layers=("blocks.1",)), store))
    assert next(layer for layer in together.candidates if layer.name == "blocks.1") == alone.candidates[0]


def test_equal_rewards_silence_a_part_of_the_score_and_say_so(tmp_path: Path) -> None:
    store, _ = stores()
    columns = with_reward(store.columns, np.ones(store.rows))
    ranking = run(plan_stores(config(tmp_path), MemoryStore(store.id, columns, store.arrays, ("pixels",))))
    assert all(layer.reward_r2 is None and layer.reward_r2_shuffled is None for layer in ranking.layers)
    best = ranking.candidates[0]
    assert best.score.value == pytest.approx(0.45 * best.transition_r2.value + 0.1 * best.effective_rank.value)
    assert "all rewards equal 1: reward R² is n/a" in ranking.notes
    assert any("45% of S says nothing" in note for note in ranking.notes)
    with (tmp_path / "layer_analysis.csv").open() as file:
        assert {row["reward_r2"] for row in csv.DictReader(file)} == {"n/a"}
    assert "nan" not in (tmp_path / "layer_analysis.md").read_text().lower()


def test_twins_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    store, twin = stores()
    other_data = MemoryStore("ls1-t", twin.columns, twin.arrays, dataset="sha256:other")
    fewer = MemoryStore("ls1-t", twin.columns, {"blocks.0": twin.arrays["blocks.0"]})
    for wrong, words in ((other_data, "is of dataset sha256:other"), (fewer, "has no layer 'blocks.1'"), (store, "itself")):
        with pytest.raises(DataError, match=words):
            plan_stores(config(tmp_path), store, wrong)


def test_an_unknown_layer_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"layer 'blocks\.33' is not in store ls1-real \(4 layers\); did you mean 'blocks\.3'"):
        plan_stores(config(tmp_path, layers=("blocks.33",)), stores()[0])


def test_too_little_memory_is_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "available_memory", lambda: 10**6)
    store, _ = stores()
    with pytest.raises(BudgetError, match="GB of memory, more than is free"):
        run(plan_stores(config(tmp_path), store))
    assert store.reads == []
    assert list(tmp_path.iterdir()) == []


def test_a_committed_store_gives_what_the_same_arrays_in_memory_give(tmp_path: Path) -> None:
    columns, layers, untrained = world()
    index = columns | {name: np.zeros(len(columns["step"]), dtype=bool) for name in ("terminated", "truncated")}
    index["padding"] = np.zeros(len(columns["step"]), dtype=np.int16)

    def commit(arrays: dict[str, np.ndarray], weights: str) -> str:
        memory = MemoryStore("", columns, arrays, ("pixels",))
        specs = [LayerSpec(spec.name, spec.width, "float16", spec.role, spec.depth, spec.module) for spec in memory.specs.values()]
        identity = {
            "schema": "layerscout-identity/1",
            "backbone": {"name": "synthetic", "weights_digest": weights},
            "recipe": {},
            "preprocessing": {"fingerprint": "sha256:1"},
            "dataset": {"digest": memory.dataset},
            "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs],
            "pooling": "mean",
            "logical_dtype": "float16",
        }
        writer = StoreWriter.open(tmp_path, identity, specs, memory.rows, rows_per_chunk=100)
        for unit in writer.pending():
            rows = slice(*writer.span(unit))
            writer.write_unit(
                unit, {name: array[rows] for name, array in arrays.items()}, {name: column[rows] for name, column in index.items()}
            )
        return writer.commit({}).id

    settings = ProbeConfig(
        store=commit(layers, "sha256:a"), twin=commit(untrained, "sha256:b"), root=tmp_path, out=tmp_path / "out", shifts=10
    )
    planned = plan(settings)
    assert planned.describe()["bytes"] == 672 * 2 * (8 * 10 + 14)
    found = run(planned)
    expected = run(plan_stores(config(tmp_path / "memory"), *stores()))
    assert found.layers == expected.layers
    assert json.loads((tmp_path / "out" / "probe.json").read_text())["settings"]["shifts"] == 10


def test_probing_never_imports_torch() -> None:
    code = "import sys, layerscout.probe.run; sys.exit('torch' in sys.modules or 'layerscout.extract' in sys.modules or 'matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
