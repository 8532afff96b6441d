"""One store and its twin in, every output out; the same command again does nothing, and other weights read nothing."""

from __future__ import annotations

import csv
import random
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from committed import commit
from synthetic_layers import MemoryStore, columns_of, controllable_state, with_reward

from layerscout.cache import records
from layerscout.cache.records import Cost, Ranking, Selection
from layerscout.cache.store import Store
from layerscout.errors import BudgetError, DataError
from layerscout.probe import costs
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.kept import KeptEvidence
from layerscout.probe.keys import OUTPUTS
from layerscout.probe.page.tables import as_text
from layerscout.probe.plan import plan_stores
from layerscout.probe.questions.sources import store_labels
from layerscout.probe.run import plan, run
from layerscout.probe.solve import ridge
from layerscout.probe.work import load_evidence


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
    assert (ranking.episodes, ranking.confirmation_episodes, ranking.rows) == (25, 7, 500)
    assert (ranking.folds, ranking.twin_store_id) == (5, "ls1-twin")
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
    assert any(line.startswith("best: blocks.2, score 0.") for line in text)
    page = (tmp_path / "probe.html").read_text()
    assert page.count("<figure><figcaption>") == 2 * len(ranking.layers)  # eigenvalues and penalties of each layer
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


def test_evidence_that_was_damaged_or_exchanged_is_measured_again(tmp_path: Path) -> None:
    """Files of evidence that change places are whole, and each answers another job than its name says."""
    store, twin = stores()
    first = run(plan_stores(config(tmp_path), store, twin))
    kept = sorted((tmp_path / "evidence").iterdir())
    whole = {path: path.read_bytes() for path in kept}
    for one, other in zip(kept, kept[1:] + kept[:1], strict=True):
        one.write_bytes(whole[other])
    (tmp_path / "probe.json").unlink()
    again = plan_stores(config(tmp_path), store, twin)
    assert len(again.pending) == len(again.jobs)
    with pytest.raises(DataError, match="is the evidence of another job"):
        load_evidence(again, again.jobs[0])
    assert run(again) == first
    assert {path: path.read_bytes() for path in kept} == whole


def test_no_bit_of_what_a_probe_left_changes_in_silence(tmp_path: Path) -> None:
    """A damaged record is refused by whoever reads it, and the same command writes what was there before."""
    store, twin = stores()
    first = run(plan_stores(config(tmp_path), store, twin))
    models = {"ranking.json": Ranking, "selection.json": Selection, "cost.json": Cost}
    rng, flips = random.Random(0), 25
    for path in [tmp_path / name for name in models] + sorted((tmp_path / "evidence").iterdir()):
        whole = path.read_bytes()
        for bit in rng.sample(range(8 * len(whole)), flips):
            changed = bytearray(whole)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            with pytest.raises(DataError, match=path.name):
                records.load(models.get(path.name, KeptEvidence), path)
        path.write_bytes(whole if path.name == "cost.json" else changed)
    again = plan_stores(config(tmp_path), store, twin)
    assert again.existing is None
    assert len(again.pending) == len(again.jobs)
    assert run(again) == first
    (tmp_path / "selection.json").write_bytes(b"{}")
    assert plan_stores(config(tmp_path), store, twin).existing is None


def test_another_run_of_the_same_identity_is_measured_anew(tmp_path: Path) -> None:
    """Its id is the same, its bytes are not: what was measured of the first says nothing about it."""
    memory, _ = stores()
    first = commit(tmp_path / "a", memory)
    run(plan_stores(config(tmp_path / "out"), first))
    memory.arrays["blocks.0"] = memory.arrays["blocks.0"][::-1].copy()
    second = commit(tmp_path / "b", memory)
    again = plan_stores(config(tmp_path / "out"), second)
    assert second.id == first.id
    assert again.existing is None
    assert len(again.pending) == len(again.jobs)


def test_a_bad_activation_stops_the_probe_before_any_ranking(tmp_path: Path) -> None:
    store, _ = stores()
    store.arrays["blocks.3"][7, 3] = np.nan
    with pytest.raises(
        DataError, match=r"'blocks\.3' has NaN or infinite values in 1 of 672 rows, first in row 7; probe\.max_nonfinite allows"
    ):
        run(plan_stores(config(tmp_path), store))
    assert not (tmp_path / "ranking.json").exists()


def test_numbers_do_not_depend_on_threads_or_on_which_layers_share_the_run(tmp_path: Path) -> None:
    store, twin = stores()
    run(plan_stores(config(tmp_path / "a"), store, twin))
    run(plan_stores(config(tmp_path / "b", threads=1, layers=("blocks.1",)), MemoryStore(store.id, store.columns, store.arrays)))
    (kept,) = (tmp_path / "b" / "evidence").glob("*.json")
    assert kept.read_bytes() == (tmp_path / "a" / "evidence" / kept.name).read_bytes()


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
    monkeypatch.setattr(costs, "available_memory", lambda: 10**6)
    store, _ = stores()
    with pytest.raises(BudgetError, match="GB of memory, more than is free"):
        run(plan_stores(config(tmp_path), store))
    assert store.reads == []
    assert list(tmp_path.iterdir()) == []


def test_a_committed_store_gives_what_the_same_arrays_in_memory_give(tmp_path: Path) -> None:
    memory, untrained = stores()
    store, twin = commit(tmp_path, memory), commit(tmp_path, untrained, "sha256:b")
    planned = plan(ProbeConfig(store=store.id, twin=twin.id, root=tmp_path, out=tmp_path / "out", shifts=10))
    assert planned.describe()["bytes"] == 672 * 2 * (8 * 10 + 14)
    found = run(planned)
    expected = run(plan_stores(config(tmp_path / "memory"), memory, untrained))
    for one, other in zip(found.layers, expected.layers, strict=True):
        assert one == other.model_copy(update={"store_id": one.store_id})
    assert records.load_object(tmp_path / "out" / "probe.json")["settings"]["shifts"] == 10
    assert not (tmp_path / "partials").exists()  # sums of few rows are larger than the rows


def labels_of(words: tuple[str, ...], found: Sequence[Store]) -> tuple[str, ...]:
    return store_labels(ProbeConfig(store=words[0], others=words[1:]), found)


def test_layers_of_several_stores_are_ranked_together(tmp_path: Path) -> None:
    first, twin = stores()
    better = MemoryStore("ls1-better", first.columns, {"blocks.0": first.arrays["blocks.2"], "blocks.1": first.arrays["blocks.1"]})
    ranking = run(plan_stores(config(tmp_path / "both", others=("better",)), first, twin, [better]))
    assert [(each.store_id, each.label) for each in ranking.stores] == [("ls1-real", "ls1-real"), ("ls1-better", "better")]
    best, second = ranking.candidates[:2]  # the same activations under two names: a tie, the shallower first
    assert {(best.label, best.name), (second.label, second.name)} == {("better", "blocks.0"), ("ls1-real", "blocks.2")}
    assert best.score == second.score
    assert len(ranking.candidates) == 6
    assert {layer.store_id for layer in ranking.layers if layer.role == "twin"} == {"ls1-twin"}
    selection = records.load(Selection, tmp_path / "both" / "selection.json")
    assert {(choice.store_id, choice.layer) for choice in selection.choices if choice.kind == "ranked"} == {
        ("ls1-better", "blocks.0"),
        ("ls1-real", "blocks.2"),
    }
    # every layer's own figures are those of a ranking without the other store
    alone = run(plan_stores(config(tmp_path / "one"), first, twin))
    figures = {(layer.store_id, layer.name): (layer.reward_r2, layer.transition_r2, layer.effective_rank) for layer in ranking.layers}
    for layer in alone.layers:
        assert figures[layer.store_id, layer.name] == (layer.reward_r2, layer.transition_r2, layer.effective_rank)


def test_stores_are_told_apart_by_name_or_by_backbone_and_pooling(tmp_path: Path) -> None:
    memory, _ = stores()
    mean, last, other = (
        commit(tmp_path, memory, *facts) for facts in (("sha256:a", 100, "mean"), ("sha256:a", 100, "last"), ("sha256:b", 100, "mean"))
    )
    assert labels_of((mean.id,), [mean]) == ("",)
    assert labels_of((mean.id, last.id), [mean, last]) == ("synthetic mean", "synthetic last")
    assert labels_of(("before", str(last.path)), [mean, last]) == ("before", "synthetic last")
    assert labels_of((mean.id, other.id), [mean, other]) == (f"synthetic mean {mean.id[4:12]}", f"synthetic mean {other.id[4:12]}")


def test_stores_of_other_rows_are_not_ranked_together(tmp_path: Path) -> None:
    first, _ = stores()
    elsewhere = MemoryStore("ls1-e", first.columns, first.arrays, dataset="sha256:other")
    with pytest.raises(DataError, match=f"store ls1-e is of dataset sha256:other, store ls1-real of {first.dataset}"):
        plan_stores(config(tmp_path, others=("e",)), first, None, [elsewhere])
    moved = MemoryStore("ls1-m", first.columns | {"step": first.columns["step"] + 1}, first.arrays)
    with pytest.raises(DataError, match="store ls1-m has other rows than store ls1-real"):
        plan_stores(config(tmp_path, others=("m",)), first, None, [moved])
    with pytest.raises(DataError, match="itself"):
        plan_stores(config(tmp_path, others=("real",)), first, None, [first])


def test_rows_that_are_not_finite_are_counted_and_left_out(tmp_path: Path) -> None:
    store, _ = stores()
    store.arrays["blocks.3"][[7, 8, 300]] = np.inf
    ranking = run(plan_stores(config(tmp_path, max_nonfinite=0.01), store))
    found = {layer.name: layer for layer in ranking.candidates}
    assert [found[f"blocks.{depth}"].nonfinite_rows for depth in range(4)] == [0, 0, 0, 3]
    assert "blocks.3: 3 rows with a NaN or an infinity, left out with their transitions" in ranking.notes


def test_a_layer_that_float32_would_blur_is_measured_in_float64_and_named(tmp_path: Path) -> None:
    """The reward lies in directions with a millionth of the variance: six digits do not tell it from rounding."""
    rng = np.random.default_rng(0)
    columns = columns_of([40] * 40, rng)
    state = controllable_state(columns, 4, rng)
    columns = with_reward(columns, state[:, 0])
    loud = rng.standard_normal((len(state), 4)) @ rng.standard_normal((4, 24))
    layers = {"hidden": (loud + 1e-3 * state @ rng.standard_normal((4, 24))).astype(np.float32), "plain": loud.astype(np.float32)}
    store = MemoryStore("ls1-real", columns, layers)
    ranking = run(plan_stores(config(tmp_path / "32"), store))
    exact = run(plan_stores(config(tmp_path / "64", precision="float64"), store))
    note = next(note for note in ranking.notes if "float64" in note)
    assert re.fullmatch(r"float32 products would have moved R² by up to \de-\d\d: measured with float64 products: hidden", note)
    assert not any("float64" in note for note in exact.notes)
    found, expected = ({layer.name: layer for layer in each.candidates} for each in (ranking, exact))
    assert found["hidden"].reward_r2 == expected["hidden"].reward_r2
    assert found["hidden"].reward_r2.value > 0.9
    assert found["plain"].transition_r2.value == pytest.approx(expected["plain"].transition_r2.value, abs=1e-6)
    assert found["plain"].transition_r2 != expected["plain"].transition_r2


def test_a_layer_wider_than_its_rows_is_ranked_beside_the_others_and_labelled(tmp_path: Path) -> None:
    store, _ = stores()
    wide = np.hstack([store.arrays["blocks.2"]] * 70)  # 700 features, 640 transitions
    ranking = run(plan_stores(config(tmp_path), MemoryStore(store.id, store.columns, store.arrays | {"wide": wide}, ("pixels",))))
    methods = {layer.name: layer.method for layer in ranking.layers}
    assert methods == dict.fromkeys(store.arrays, "exact") | {"wide": "dual"}
    found = {layer.name: layer for layer in ranking.candidates}
    assert found["wide"].reward_r2.value == pytest.approx(found["blocks.2"].reward_r2.value, abs=0.01)


def test_too_little_disk_is_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = commit(tmp_path, stores()[0])
    monkeypatch.setattr(costs.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(BudgetError, match="the partial sums take"):
        run(plan(ProbeConfig(store=store.id, root=tmp_path, out=tmp_path / "out", partials="always")))
    assert not (tmp_path / "partials").exists()


@pytest.mark.parametrize(
    "settings", [{"shard": "3/3"}, {"shard": "0/2", "scheduler": "local"}, {"shard": "0/2", "partials": "never"}, {"shard": "x"}]
)
def test_shards_that_make_no_sense_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="shard"):
        ProbeConfig(store="s", **settings)


def test_probing_imports_no_torch_and_threads_no_cluster() -> None:
    code = "import sys\nfrom layerscout.probe.run import _in_threads\n_in_threads(lambda piece: None, [1, 2], 2)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "layerscout.extract", "matplotlib", "distributed"} & set(done.stdout.split())


def test_a_layer_that_float32_cannot_fit_is_measured_in_float64_and_the_ranking_says_so(tmp_path: Path) -> None:
    """Products of dependent features that float32 leaves indefinite at every small penalty must not end the whole ranking."""
    rng = np.random.default_rng(0)
    columns = columns_of([30] * 40, rng)
    base = rng.standard_normal((len(columns["episode"]), 3))
    dependent = (base @ rng.standard_normal((3, 300)) + 1e-7 * rng.standard_normal((len(base), 300))).astype(np.float32)
    store = MemoryStore("ls1-real", columns, {"dependent": dependent, "plain": base.astype(np.float32)})
    factor = ridge._factor

    def singular_in_float32(matrix: np.ndarray, penalty: float) -> np.ndarray:
        if len(matrix) > 10 and failing:
            failing.pop()
            raise ridge.NotPositiveDefinite("the products are not positive", hint="float64")
        return factor(matrix, penalty)

    failing = [True]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ridge, "_factor", singular_in_float32)
        ranking = run(plan_stores(config(tmp_path / "out", threads=1), store))
    assert not failing
    assert {layer.name for layer in ranking.candidates} == {"dependent", "plain"}
    assert any(note.startswith("float32 products gave no fit") and note.endswith("dependent") for note in ranking.notes)
