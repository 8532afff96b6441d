"""What a study says in words and in cells: each outcome from its own figures, no cell of another block, nothing known called unknown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from example_records import example_ranking, layer_score
from plain_records import plain_arm, plain_record
from plain_studies import plain_analysis, plain_task

from layerscout.cache.records import Estimate, Ranking
from layerscout.cache.records.study import StudyAnalysis, StudyMeasure, StudyPair, StudyRegistration, StudyTask
from layerscout.report.numbers.gate import Gate
from layerscout.report.numbers.over_tasks import FEWEST_TASKS
from layerscout.report.study.cells import cell_of, store_of_layer
from layerscout.report.study.measures import BITS, BLIND, CTRL, MEASURES, SKILL, STATE, S, measure_names, measure_of, primary_of
from layerscout.report.study.tables import (
    data_table,
    format_saving,
    gate_table,
    mean_of,
    measures_table,
    noise_ceiling,
    savings_table,
    untrained_table,
)
from layerscout.report.study.untrained import TwinDifferences, twin_of_cell
from layerscout.report.study.words import (
    advice_of_gates,
    analysis_title,
    cost_of_choosing,
    findings_in_words,
    registered_sentence,
    study_outcome,
)

RHO = Estimate(value=0.5, low=0.25, high=0.75)
LEARNED, FAILED, UNKNOWN = (
    Gate(word, f"{word}: because", advice)
    for word, advice in (("learned", ""), ("not learned", "Try more updates."), ("cannot be judged", "train again"))
)


def measure(**changes: Any) -> StudyMeasure:
    facts: dict[str, Any] = dict.fromkeys(StudyMeasure.model_fields)
    facts |= {
        "name": "S",
        "tasks": 8,
        "layers": 64,
        "spearman": RHO,
        "p": 0.0123,
        "p_flip": 0.015625,
        "finding": "goes with return",
        "needed": 0.4,
    }
    return StudyMeasure.model_construct(**facts | {"regret_1": Estimate(value=0.125)} | changes)


# --- outcomes


@pytest.mark.parametrize(
    ("changes", "gates", "outcome", "said"),
    [
        (
            {},
            [LEARNED] * 8,
            "supported",
            (
                "Over 64 cells in 8 learned tasks, S goes with return: mean Spearman ρ = 0.50 [0.25, 0.75] within tasks, t test over tasks p = 0.0123, "
                "sign flips p = 0.0156. Taking the best-scored cell gave up 12 % of the way from the best cell to the worst."
            ),
        ),
        ({"finding": "misleads"}, [LEARNED] * 8, "contradicted", "S goes against return"),
        ({"p": 0.0}, [LEARNED] * 8, "supported", "t test over tasks p < 0.0001, sign flips"),
        ({"finding": "undecided"}, [LEARNED] * 8, "not supported", "; with the tasks' own spread a mean of 0.40 would have been needed."),
        ({"finding": "undecided", "needed": None, "regret_1": None}, [LEARNED] * 8, "not supported", "sign flips p = 0.0156."),
        ({"tasks": 5}, [LEARNED] * 5, "cannot be tested", f"it takes at least {FEWEST_TASKS} of them"),
        ({"p": None}, [LEARNED] * 8, "cannot be tested", "layers of one backbone are no independent witnesses"),
        ({"spearman": None}, [LEARNED, FAILED], "cannot be tested", "Over 1 learned task, S or the return never differs"),
        (
            {},
            [FAILED] * 3,
            "not learned",
            "Not learned: in none of 3 tasks did agents learn, so no return can be foretold. Try more updates.",
        ),
        ({}, [FAILED, UNKNOWN], "not learned", "in none of 2 tasks"),
        ({}, [UNKNOWN], "cannot be judged", "in 1 task nobody can tell whether agents learned at all (because)"),
        ({"spearman": None}, [UNKNOWN], "cannot be judged", "A number that cannot be verified is described, not claimed."),
    ],
)
def test_an_outcome_says_what_its_figures_allow(changes: dict[str, Any], gates: list[Gate], outcome: str, said: str) -> None:
    found, sentence = study_outcome(measure(**changes), gates)
    assert found == outcome
    assert said in sentence
    assert "  " not in sentence
    assert not sentence.endswith(" ")
    assert "p = 0," not in sentence


def test_an_unjudged_correlation_is_told_for_the_record() -> None:
    assert study_outcome(measure(), [UNKNOWN])[1].endswith(" For the record: Spearman ρ = 0.50 [0.25, 0.75] within tasks.")


def test_advice_is_given_once_and_only_for_what_was_not_learned() -> None:
    other = Gate("not learned", "not learned: x", "Try dqn.")
    assert advice_of_gates([LEARNED, FAILED, UNKNOWN, other, FAILED]) == "Try more updates. Try dqn."
    assert advice_of_gates([]) == ""
    assert cost_of_choosing(measure(regret_1=None)) == ""


def test_findings_are_grouped_by_what_they_say_and_of_nothing_learned_nothing_is_said() -> None:
    one, two, three = measure(name="a"), measure(name="b", spearman=Estimate(value=-0.3), finding="misleads"), measure(name="c")
    untested = measure(name="d", finding="cannot be tested", spearman=None)
    analysis = StudyAnalysis.model_construct(outcome="supported", measures=(one, two, three, untested))
    first, second = findings_in_words(analysis)
    assert first.startswith("Goes with return: a (ρ = +0.50), c (ρ = +0.50) (")
    assert second.startswith("Misleads: the higher it is, the lower the return: b (ρ = -0.30) (")
    for outcome in ("not learned", "cannot be judged"):
        assert findings_in_words(analysis.model_copy(update={"outcome": outcome})) == ()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "offline mode, mlp post-adapter, mean return of the last greedy evaluation"),
        ({"mode": "online"}, "online mode, mlp post-adapter, mean return of the last 50 training episodes"),
        ({"mode": "online", "metric": "evaluation"}, "online mode, mlp post-adapter, mean return of the last greedy evaluation"),
        ({"updates": 12000}, "offline mode, mlp post-adapter, evaluation after 12,000 updates"),
    ],
)
def test_an_analysis_is_called_by_what_it_is_of(changes: dict[str, Any], said: str) -> None:
    facts = {"mode": "offline", "head": "mlp", "metric": "final", "updates": None}
    assert analysis_title(StudyAnalysis.model_construct(**facts | changes)) == said


def test_a_study_says_whether_it_was_fixed_before_it_was_run() -> None:
    facts: dict[str, Any] = {"path": "study.toml", "digest": "sha256:" + "ab" * 32, "commit": "c" * 40, "committed": "2026-01-02"}
    held = StudyRegistration.model_construct(**facts, holds=True, reasons=())
    assert registered_sentence(held) == (
        f"Registered: study.toml (sha256:{'ab' * 32}) was first kept in commit {'c' * 40} on 2026-01-02, before any of these runs."
    )
    assert f"(sha256:{'ab' * 6}) was first kept in commit {'c' * 12} on" in registered_sentence(held, short=True)
    broken = StudyRegistration.model_construct(**facts | {"commit": None}, holds=False, reasons=("one", "two", "three"))
    assert registered_sentence(broken).endswith("says so: one; two; three.")
    assert registered_sentence(broken, short=True).endswith("says so: one; two; and 1 more.")
    assert registered_sentence(None).startswith("Exploratory:")


# --- cells


def cell(name: str, role: str = "layer", depth: int = 0, ranking: Ranking | None = None, **changes: Any) -> Any:
    layer = layer_score(name, role, depth, 0.5, 0.5).model_copy(update=changes)
    return cell_of(layer, ranking or example_ranking(), plain_record([], {}), plain_arm(name))


def test_a_cells_place_is_its_share_of_the_way_among_layers_of_its_own_series() -> None:
    names = ("a.0", "a.2", "a.4", "a.0@grid", "a.9@grid")
    layers = [layer_score(name, "layer", int(name[2]), 0.5, 0.5) for name in names] + [layer_score("a.4", "twin", 4, 0.5, 0.5)]
    ranking = example_ranking().model_copy(update={"layers": tuple(layers)})
    found = [cell_of(layer, ranking, plain_record([], {}), plain_arm("x")) for layer in layers]
    assert [one.place for one in found] == [0.0, 0.5, 1.0, 0.0, 1.0, 0.5]  # the twin's only block lies in the middle
    assert [one.pooling for one in found] == ["", "", "", "grid", "grid", ""]
    assert [one.weights for one in found] == ["pretrained"] * 5 + ["untrained"]
    assert found[0].series == ("tiny", "pretrained", "", "sha256-1f2e3d4c")
    assert found[5].series == ("tiny", "untrained", "", "sha256-9a8b7c6d")
    assert found[0].name == "a.0 (tiny, pretrained)"


@pytest.mark.parametrize(
    ("backbone", "family", "weights"),
    [
        ("tiny", "tiny", "pretrained"),
        ("tiny-untrained", "tiny", "untrained"),
        ("big shuffled", "big", "untrained"),
        ("untrained", "untrained", "untrained"),
    ],
)
def test_a_models_family_is_its_name_without_the_word_for_its_weights(backbone: str, family: str, weights: str) -> None:
    found = cell("a", ranking=example_ranking().model_copy(update={"backbone": backbone}))
    assert (found.backbone, found.weights) == (family, weights)


def test_a_layers_store_is_its_own_or_the_rankings_or_the_twins() -> None:
    ranking = example_ranking()
    assert store_of_layer(layer_score("a", "layer", 0, 0.5, 0.5), ranking) == ranking.store_id
    assert store_of_layer(layer_score("a", "twin", 0, 0.5, 0.5), ranking) == ranking.twin_store_id
    assert store_of_layer(layer_score("a", "twin", 0, 0.5, 0.5), ranking.model_copy(update={"twin_store_id": None})) == ""
    assert store_of_layer(layer_score("a", "twin", 0, 0.5, 0.5).model_copy(update={"store_id": "t"}), ranking) == "t"


def test_a_cells_twin_is_the_same_block_in_the_same_pooling() -> None:
    block, twin, other = cell("b.1"), cell("b.1", "twin"), cell("b.2", "twin")
    trained: Any = SimpleNamespace(cells=(block, cell("b.2"), twin, other, cell("b.1@grid"), cell("b.3", "twin")))
    assert twin_of_cell(trained, block) is twin
    assert twin_of_cell(trained, cell("b.2")) is other
    assert twin_of_cell(trained, cell("b.1@grid")) is None
    assert twin_of_cell(trained, twin) is None  # an untrained block has none itself


def test_a_mean_over_blocks_is_over_the_seeds_that_all_pairs_finished() -> None:
    table = np.array([[1.0, 2.0, np.nan, 4.0], [3.0, np.nan, 5.0, 6.0]])
    assert TwinDifferences("t", ("a", "b"), table).by_seed.tolist() == [2.0, 5.0]


# --- measures


def test_every_measure_is_read_from_its_own_place() -> None:
    layer = layer_score("a", "layer", 0, 0.25, 0.5).model_copy(
        update={"targets": {"state": Estimate(value=0.75)}, "measures": {"own": Estimate(value=0.1)}, "skill_score": None}
    )
    assert [measure_of(layer, name) for name in (S, SKILL, STATE, BITS, CTRL, "own", "nothing")] == [
        layer.score.value,
        None,
        0.75,
        3.2,
        3.2,
        0.1,
        None,
    ]  # type: ignore[union-attr]
    assert measure_of(layer, BLIND[0]) is None  # only its place in depth tells
    names = measure_names([layer, layer.model_copy(update={"measures": {"b": None, "a": None, S: None}})])
    assert names == (*MEASURES[: -len(BLIND)], "a", "b", "own", *BLIND)


@pytest.mark.parametrize(
    ("kinds", "primary"),
    [(("S/1",), S), (("S-ctrl/1", "S-ctrl/1"), CTRL), (("S-skill/1",), SKILL), (("S-ctrl/1", "S/1"), S), (("S-across/1",), S)],
)
def test_the_primary_measure_is_the_one_that_ordered_all_rankings(kinds: tuple[str, ...], primary: str) -> None:
    assert primary_of([example_ranking().model_copy(update={"score_kind": kind}) for kind in kinds]) == primary


# --- tables


def task(**changes: Any) -> StudyTask:
    facts: dict[str, Any] = dict.fromkeys(StudyTask.model_fields)
    facts |= {"name": "game", "references": (), "ranked_layers": 8, "trained_layers": 3, "training_seconds": 200.0}
    return StudyTask.model_construct(**facts | changes)


def test_a_table_of_tasks_that_were_judged_says_what_is_not_known() -> None:
    from layerscout.cache.records import ReferenceReturn

    references = (ReferenceReturn(name="constant", mean=0.25, low=0.0, high=0.5), ReferenceReturn(name="optimal", mean=1.0))
    known = task(references=references, algorithm="dqn", best="a", best_return=0.75, seeds_above_trivial=0.875, learned="learned")
    rows = gate_table(StudyAnalysis.model_construct(tasks=(known, task()))).rows
    assert rows[0] == ("game", "dqn", "n/a", "0.250 [0.000, 0.500]", "n/a", "1.000", "a", "0.750", "88 %", "learned")
    assert set(rows[1][1:]) == {"n/a"}


def test_what_is_saved_is_a_share_of_what_training_all_costs() -> None:
    saved = task(probing_seconds=20.0, saved_1=155.0, saved_3=-5.0)
    rows = savings_table(StudyAnalysis.model_construct(tasks=(saved, task()))).rows
    assert rows[0] == ("game", "3 of 8", "200.0", "20.0", "155.0 (78 %)", "-5.0 (-2 %)")
    assert rows[1][3:] == ("n/a", "n/a", "n/a")
    assert (format_saving(5.0, 0.0), format_saving(None, 5.0)) == ("n/a", "n/a")
    assert (noise_ceiling(None), noise_ceiling(0.25), noise_ceiling(0.0)) == (None, 0.5, 0.0)


def test_a_mean_is_over_the_seeds_that_finished_and_of_none_there_is_none() -> None:
    assert mean_of((1.0, None, 3.0)).value == 2.0  # type: ignore[union-attr]
    assert mean_of((None,)) is mean_of(()) is None


def test_only_means_over_blocks_have_a_p() -> None:
    pairs = [
        StudyPair(task="t", layer=None, seeds=6, blocks=3, difference=RHO, p=0.03125, p_holm=0.0625),
        StudyPair(task="t", layer="b.1", seeds=5, difference=None, p=None, p_holm=None),
    ]
    assert untrained_table(StudyAnalysis.model_construct(untrained=tuple(pairs))).rows == (
        ("t", "mean of 3 blocks", "6", "0.500 [0.250, 0.750]", "0.031", "0.062"),
        ("t", "b.1", "5", "n/a", "–", "–"),
    )


def test_the_measure_that_ordered_needs_no_correction_and_the_last_row_is_a_random_pick() -> None:
    measures = (measure(p_holm=0.5), measure(name="b", p_holm=0.5, p_flip=None))
    facts: dict[str, Any] = {"primary": "S", "random_regret_1": 0.25, "random_regret_3": None, "random_violation": 0.5}
    table = measures_table(StudyAnalysis.model_construct(measures=measures, **facts))
    assert {len(row) for row in table.rows} == {len(table.columns)}
    cells = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [row["p, t, after Holm"] for row in cells] == ["–", "0.5000", "–"]
    assert [row["p, flips"] for row in cells] == ["0.0156", "n/a", "–"]
    assert [row["Regret@1"] for row in cells] == ["12 %", "12 %", "25 %"]
    assert (cells[2]["Measure"], cells[2]["Regret@3"], cells[2]["MMRV"]) == ("a random pick", "n/a", "50 %")


def test_what_a_task_was_done_on_is_told_as_far_as_it_is_known() -> None:
    tasks = (plain_task("a", rows=12345, dataset_digest="sha256:ab", stores=("ls1-a", "ls1-b")), plain_task("b", stores=()))
    assert [cell for _, cell in data_table(plain_analysis(tasks=tasks)).rows] == [
        "out/a: Game-v0, 12,345 rows of sha256:ab, stores ls1-a, ls1-b",
        "out/b: Game-v0, n/a rows of n/a, stores n/a",
    ]
