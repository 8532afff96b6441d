"""Tables and captions of a report: every cell from its own arm, every word from what was done."""

from __future__ import annotations

import csv
import io
from types import SimpleNamespace
from typing import Any

import pytest
from example_records import example_ranking, example_runs, layer_score
from plain_records import BUDGET, plain_arm, plain_record, plain_run

from layerscout.cache.records import Arm, Estimate, Ranking, ReferenceReturn, RunRecord
from layerscout.cache.records.study import StudyPair
from layerscout.pages.ranking import answer_of, best_twin, labelled_name, layer_title, store_label, twin_of
from layerscout.pages.tables import as_csv
from layerscout.report import captions, exhibits
from layerscout.report.numbers.gate import references_of
from layerscout.report.numbers.summaries import arm_summaries
from layerscout.report.tables import (
    BUDGET_COLUMNS,
    RETURNS_COLUMNS,
    SPEED_COLUMNS,
    SUMMARY_COLUMNS,
    reference_rows,
    returns_rows,
    seed_caution,
    speed_cells,
    summary_cells,
    summary_row,
)
from layerscout.report.verdict import judge_record

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")


def joint_ranking() -> Ranking:
    """Two poolings of one model, whose blocks have the same names; the second one's twin was probed."""
    layers = [
        layer_score("b.0", "layer", 0, 0.6, 0.5).model_copy(update={"store_id": "s", "label": "mean"}),
        layer_score("b.0", "layer", 0, 0.4, 0.5).model_copy(update={"store_id": "t", "label": "grid"}),
        layer_score("b.1", "layer", 1, 0.2, 0.5).model_copy(update={"store_id": "s", "label": "mean"}),
        layer_score("pixels", "control", -1, 0.1, 0.5).model_copy(update={"store_id": "s", "label": "mean"}),
        layer_score("b.0", "twin", 0, 0.3, 0.5).model_copy(update={"store_id": "u", "label": "grid"}),
    ]
    stores = [{"store_id": name, "backbone": "tiny", "label": label} for name, label in (("s", "mean"), ("t", "grid"))]
    given = example_ranking().model_dump() | {"store_id": "s", "twin_store_id": "u", "stores": stores}
    return Ranking.model_validate(given | {"layers": [one.model_dump() for one in layers]})


# --- the ranking


def test_layers_of_two_stores_have_their_own_names_places_and_figures() -> None:
    rows = exhibits.ranking_table(joint_ranking()).rows
    assert [row[:2] for row in rows] == [
        ("mean: b.0", "1"),
        ("grid: b.0", "2"),
        ("mean: b.1", "3"),
        ("grid: b.0", "twin"),
        ("mean: pixels", "control"),
    ]
    assert [row[3].split(" ")[0] for row in rows] == ["0.600", "0.400", "0.200", "0.300", "0.100"]
    assert [row[0] for row in exhibits.analysis_table(joint_ranking()).rows] == ["mean: b.0", "grid: b.0", "mean: b.1"]


def test_a_ranking_of_one_store_needs_no_labels() -> None:
    ranking = example_ranking()
    rows = exhibits.ranking_table(ranking).rows
    assert [row[0] for row in rows] == [layer.name for layer in ranking.layers]
    assert [row[1] for row in rows[:8]] == [str(place) for place in range(1, 9)]
    assert {row[1] for row in rows[8:]} == {"twin", "control"}
    assert {len(row) for row in rows} == {len(exhibits.ranking_table(ranking).columns)}
    assert exhibits.ranking_table(ranking.model_copy(update={"layers": ()})).rows == ()


def test_what_tells_layers_apart_is_their_label_and_only_where_there_are_several_stores() -> None:
    ranking = joint_ranking()
    first, second, _, pixels, twin = ranking.layers
    assert [labelled_name(ranking, one) for one in (first, twin)] == ["mean: b.0", "grid: b.0"]
    assert layer_title(ranking, twin) == "grid: b.0 (untrained)"
    assert (twin_of(ranking, first), twin_of(ranking, second), twin_of(ranking, pixels)) == (None, twin, None)
    assert best_twin(ranking) is twin
    assert best_twin(ranking.model_copy(update={"layers": ranking.layers[:4]})) is None
    alone = ranking.model_copy(update={"stores": ranking.stores[:1]})
    assert labelled_name(alone, first) == "b.0"
    assert [store_label(ranking, name) for name in ("s", "t", "elsewhere")] == ["mean", "grid", "tiny"]


def test_the_answer_names_what_the_first_layer_stands_beside() -> None:
    ranking = joint_ranking()
    first, second = (ranking.candidates[place].score for place in (0, 1))
    assert first is not None
    assert second is not None
    told = answer_of(ranking)
    assert told.startswith(f"Score by depth of 3 layers: mean: b.0 is first with {first.value:.3f} [")
    assert "the same block untrained" not in told
    assert ", the best untrained block grid: b.0 has 0.37" in told
    assert ", the control mean: pixels has 0.2" in told
    bare = ranking.model_copy(update={"layers": tuple(one.model_copy(update={"score": None}) for one in ranking.layers)})
    assert answer_of(bare) == "Score by depth of 3 layers: n/a for all of them"


def test_where_control_orders_the_two_other_figures_stand_beside_it() -> None:
    changed = {
        "score_kind": "S-ctrl/1",
        "layers": tuple(one.model_copy(update={"control_score": Estimate(value=0.75)}) for one in joint_ranking().layers),
    }
    table = exhibits.ranking_table(joint_ranking().model_copy(update=changed))
    assert table.columns[2:5] == ("S-ctrl", "Bits of action", "S")
    assert table.rows[0][2:4] == ("0.750", "3.200")
    assert exhibits.analysis_table(joint_ranking().model_copy(update=changed)).columns[-1] == "S-ctrl"


def test_flags_are_explained_once_by_their_names() -> None:
    assert list(exhibits.flags_seen(example_ranking())) == ["PERSISTENCE", "REWARD_NULL", "UNDERSAMPLED"]
    assert exhibits.flags_seen(joint_ranking()) == {}
    flagged = joint_ranking().model_copy(update={"layers": (layer_score("b", "layer", 0, 0.1, 0.1, ("A", "B")),)})
    assert exhibits.ranking_table(flagged).rows[0][-1] == "A\nB"


def test_what_a_ranking_was_made_of_stands_in_one_table() -> None:
    experiment: Any = SimpleNamespace(ranking=joint_ranking(), records=(("train/runs.json", example_runs(seeds=2)),))
    rows = dict(exhibits.provenance_table(experiment).rows)  # type: ignore[arg-type]
    assert rows["store of the untrained twin"] == "u"
    assert rows["rows · episodes · folds"] == "20,480 · 640 · 5"
    assert rows["score"] == "reference/1: 0.45 reward R² + 0.45 transition R² + 0.1 rank, R² normalised by clip"
    assert rows["train/runs.json"] == "layerscout/Intercept-v0, online, 8 arms, 16 runs"


# --- arms


def offline_record() -> RunRecord:
    """Two arms offline: one of two runs with two evaluations, one whose only run failed."""
    runs = [
        plain_run("a", 0, 0.5, returns=(), evaluations=((100, (0.0, 0.0)), (200, (0.25, 0.75)))),
        plain_run("a", 1, 0.9, returns=(), evaluations=((100, (0.2,)), (200, (0.9,)))),
        plain_run("p", 0, None, reason="loss became NaN"),
    ]
    arms = (plain_arm("a", score=0.5, layer="blocks.1"), plain_arm("p", "pixels", store_id=None))
    references = (ReferenceReturn(name="constant", mean=0.1, low=0.05, high=0.15),)
    record = plain_record(arms, {}, mode="offline", references=references, random_policy_return=0.0, best_possible=1.0)
    return record.model_copy(update={"runs": tuple(runs)})


def test_every_episode_is_a_row_counted_inside_its_phase() -> None:
    rows = [dict(zip(RETURNS_COLUMNS, row, strict=True)) for row in returns_rows(offline_record())]
    assert [(row["arm"], row["seed"], row["episode"], row["return"], row["at"]) for row in rows] == [
        *(("a", 0, place, value, at) for place, (value, at) in enumerate(((0.0, 100), (0.0, 100), (0.25, 200), (0.75, 200)))),
        *(("a", 1, place, value, at) for place, (value, at) in enumerate(((0.2, 100), (0.9, 200)))),
    ]
    assert {row["layer"] for row in rows} == {"blocks.1"}
    online = plain_record([plain_arm("a")], {"a": [1.0]})
    online = online.model_copy(update={"runs": (plain_run("a", 0, 1.0, evaluations=((10, (2.0,)),)),)})
    assert [row[3:6] for row in returns_rows(online)] == [(0, 1.0, "train"), (1, 1.0, "train"), (2, 1.0, "train"), (0, 2.0, "eval")]


def test_a_summary_has_every_figure_under_its_own_name() -> None:
    record = offline_record()
    first, second = (dict(zip(SUMMARY_COLUMNS, summary_row(one), strict=True)) for one in arm_summaries(record))
    assert (first["arm"], first["layer"], first["kind"], first["head"], first["score"]) == ("a", "blocks.1", "ranked", "mlp", 0.5)
    assert (first["mean_return_last_50"], first["std_across_seeds"]) == (pytest.approx(0.7), pytest.approx(0.2 * 2**0.5))
    assert first["mean_return_all_episodes"] == pytest.approx((0.25 + 0.55) / 2)
    assert (first["evaluation"], first["auc"]) == (pytest.approx(0.7), pytest.approx((0.25 + 0.55) / 2))
    assert (first["threshold"], first["work_to_threshold"], first["reached_threshold"]) == (
        0.75,
        None,
        1,
    )  # ¾ of the way from 0 to 1; one of two arrives
    assert first["optimality_gap"] == pytest.approx(0.3)
    assert {name: first[name] for name in BUDGET_COLUMNS} == {name: getattr(BUDGET, name) for name in BUDGET_COLUMNS}
    assert (second["seeds"], second["failed"]) == (1, 1)
    assert {second[name] for name in ("mean_return_last_50", "iqm", "evaluation", "auc", "optimality_gap", "work_to_threshold")} == {None}


def test_policies_that_learn_nothing_stand_below_with_their_intervals() -> None:
    record = offline_record()
    assert [one.name for one in references_of(record)] == ["random", "constant", "optimal"]
    rows = [dict(zip(SUMMARY_COLUMNS, row, strict=True)) for row in reference_rows(record)]
    assert [(row["arm"], row["mean_return_last_50"], row["iqm_low"], row["kind"]) for row in rows] == [
        ("random actions", 0.0, None, "reference"),
        ("best constant action", 0.1, 0.05, "reference"),
        ("optimal", 1.0, None, "reference"),
    ]
    table = exhibits.returns_table(record)
    assert table.quiet == {2, 3, 4}
    assert [row[0] for row in table.rows] == ["a", "p", "random actions", "best constant action", "optimal"]
    assert table.rows[3][5] == "[0.050, 0.150]"
    assert {len(row) for row in summary_cells(record)} == {len(table.columns)}


def test_how_fast_an_arm_learned_counts_who_arrived() -> None:
    rows = speed_cells(offline_record())
    assert [row[:4] for row in rows] == [("a", "0.400 [0.250, 0.550]", "n/a", "1 of 2"), ("p", "n/a", "n/a", "n/a")]
    assert {len(row) for row in rows} == {len(SPEED_COLUMNS)}


def test_a_failed_run_says_why_or_that_it_did_not() -> None:
    record = plain_record([plain_arm("a")], {"a": [1.0, None]})
    assert exhibits.failed_runs_table(record).rows == (("a", "1", "no reason given"),)
    assert exhibits.failed_runs_table(offline_record()).rows == (("p", "0", "loss became NaN"),)


def test_the_costs_of_an_arm_stand_beside_what_it_is() -> None:
    table = exhibits.budget_table(plain_record([plain_arm("a", width=1024)], {}))
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row == {
        "Arm": "a",
        "Kind": "ranked",
        "Head": "mlp",
        "Width": "1,024",
        "Backbone clips": "0",
        "Env. steps": "1,000",
        "Updates": "500",
        "Parameters": "4,485",
        "GFLOP": "2.50",
        "Wall s": "12.0",
        "CPU s": "30.2",
    }


def test_a_control_is_compared_by_the_test_that_its_seeds_allow() -> None:
    arms = [plain_arm("a", score=1.0), plain_arm("p", "pixels"), plain_arm("s", "scratch", head="cnn")]
    runs = [plain_run(name, seed, value) for name, value in (("a", 1.0), ("p", 0.0)) for seed in range(6)]
    runs += [plain_run("s", 10 + seed, 0.1 * seed) for seed in range(3)]
    record = plain_record(arms, {}).model_copy(update={"runs": tuple(runs)})
    rows = exhibits.comparison_table(judge_record(record), record).rows
    assert [row[:4] for row in rows] == [("p", "pixels", "6", "sign flip"), ("s", "scratch", "3", "Welch")]
    assert rows[0][4:8] == ("1.000 [1.000, 1.000]", "0.031", "0.031", "1.00 [1.00, 1.00]")


def test_prose_is_no_column_of_figures() -> None:
    """To the left, and not sorted; figures are."""
    record, experiment = example_runs(seeds=2), SimpleNamespace(ranking=example_ranking(), records=())
    prose = (exhibits.failed_runs_table(record), exhibits.settings_table({}), exhibits.provenance_table(experiment))  # type: ignore[arg-type]
    figures = (
        exhibits.returns_table(record),
        exhibits.speed_table(record),
        exhibits.budget_table(record),
        exhibits.ranking_table(example_ranking()),
    )
    assert [table.words for table in (*prose, *figures)] == [True] * 3 + [False] * 4


def test_settings_are_told_by_their_whole_names() -> None:
    table = exhibits.settings_table({"a": {"b": {"c": None}, "d": {}}, "e": [1, 2], "f": False})
    assert table.rows == (("a.b.c", "n/a"), ("a.d", "{}"), ("e", "[1, 2]"), ("f", "False"))


@pytest.mark.parametrize(
    ("finals", "warned"), [(([1.0] * 5,), True), (([1.0] * 6,), False), (([1.0] * 5 + [None],), True), (([1.0] * 2, [0.0] * 6), False)]
)
def test_few_seeds_are_warned_of_by_the_arm_that_finished_most(finals: Any, warned: bool) -> None:
    record = plain_record(
        [plain_arm(str(place)) for place in range(len(finals))], {str(place): values for place, values in enumerate(finals)}
    )
    assert (seed_caution(record) is not None) is warned
    assert seed_caution(plain_record([plain_arm("a")], {})) is None


def test_a_csv_keeps_every_digit_and_says_where_there_is_none() -> None:
    text = as_csv(SUMMARY_COLUMNS[:3], [("=a", None, 0.1 + 0.2), ("b", "-3", float("inf"))])
    assert list(csv.reader(io.StringIO(text)))[1:] == [["'=a", "n/a", "0.30000000000000004"], ["b", "-3", "inf"]]


# --- captions


@pytest.mark.parametrize(
    ("mode", "looks", "said"),
    [
        ("offline", [(200,), (200,)], "Every run was evaluated once, after 200 updates, so there is no learning curve."),
        ("online", [(12000,)], "Every run was evaluated once, after 12,000 environment steps, so there is no learning curve."),
        ("offline", [(100, 200)], ""),
        ("offline", [(100,), (200,)], ""),
        ("offline", [(100,), ()], ""),
        ("online", [()], ""),
    ],
)
def test_a_single_look_at_every_run_is_no_curve(mode: str, looks: list[tuple[int, ...]], said: str) -> None:
    runs = [plain_run("a", seed, 1.0, evaluations=tuple((at, (1.0,)) for at in own)) for seed, own in enumerate(looks)]
    runs.append(plain_run("a", 99, None))  # a failed one was not looked at, and that is nothing
    record = plain_record([plain_arm("a")], {}, mode=mode).model_copy(update={"runs": tuple(runs)})
    assert captions.once_evaluated(record) == said


@pytest.mark.parametrize(
    ("layer", "blocks", "said"),
    [("b.3", None, "b.3"), (None, 6, "mean of 6 blocks"), (None, None, "mean of the blocks"), (None, 0, "mean of the blocks")],
)
def test_a_row_says_over_which_blocks_it_is(layer: str | None, blocks: int | None, said: str) -> None:
    assert captions.blocks_words(StudyPair.model_construct(layer=layer, blocks=blocks)) == said


@pytest.mark.parametrize(
    ("trained", "ranked", "said"), [(None, 8, "all 8"), (8, 8, "all 8"), (9, 8, "all 8"), (3, 8, "3 of 8"), (0, 8, "0 of 8")]
)
def test_all_is_said_only_where_all_were_trained(trained: int | None, ranked: int, said: str) -> None:
    assert captions.trained_words(SimpleNamespace(trained_layers=trained, ranked_layers=ranked)) == said  # type: ignore[arg-type]


def test_an_arm_knows_its_own_budget() -> None:
    arms: list[Arm] = [plain_arm("a"), plain_arm("b", budget=BUDGET.model_copy(update={"updates": 7}))]
    assert [row[6] for row in exhibits.budget_table(plain_record(arms, {})).rows] == ["500", "7"]
