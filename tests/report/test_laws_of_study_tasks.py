"""A task of a study by its parts: whose returns stand where, what a choice without a measure is, what each rule of a hypothesis says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from example_records import example_ranking, layer_score
from plain_records import plain_arm, plain_record, plain_run

from layerscout.cache.records import Estimate, ReferenceReturn
from layerscout.report.numbers.over_tasks import OverTasks, over_tasks
from layerscout.report.numbers.within import TaskCells
from layerscout.report.study.cells import cell_of
from layerscout.report.study.contrasts import RANDOM, contrasts_of, regret_of
from layerscout.report.study.hypotheses import REFUTED_BELOW, judge_hypotheses
from layerscout.report.study.measures import BITS, CTRL, DEPTH, MIDDLE, STATE, TRANSITION, S
from layerscout.report.study.study import finding_of
from layerscout.report.study.tasks import TrainedTask, control_ranks, return_in_metric
from layerscout.report.tables import p_words

NAMES = (S, CTRL, BITS, TRANSITION, DEPTH, MIDDLE)
NAMES_WITH_STATE = (*NAMES, STATE)


def trained(mode: str = "online", runs: Any = None, **changes: Any) -> TrainedTask:
    """Three layers of one ranking and the twin of the first, trained with two seeds."""
    layers = [layer_score(f"b.{depth}", "layer", depth, 0.1 * depth, 0.5) for depth in range(3)] + [layer_score("b.0", "twin", 0, 0.1, 0.5)]
    ranking = example_ranking().model_copy(update={"layers": tuple(layers)})
    arms = [plain_arm(f"arm {place}") for place in range(4)]
    record = plain_record(arms, {arm.name: [float(place), place + 0.5] for place, arm in enumerate(arms)}, mode=mode, **changes)
    if runs is not None:
        record = record.model_copy(update={"runs": tuple(runs)})
    cells = tuple(cell_of(layer, ranking, record, arm) for layer, arm in zip(layers, arms, strict=True))
    return TrainedTask("game", (), (ranking,), (record,), "mlp", cells)


# --- tasks


def test_a_cells_returns_stand_under_their_seeds_and_nothing_under_others() -> None:
    runs = [plain_run("arm 0", 7, 1.0), plain_run("arm 0", 3, None), plain_run("arm 1", 5, 2.0)]
    task = trained(runs=runs)
    assert task.seeds == (3, 5, 7)
    assert np.array_equal(task.returns(task.cells[0]), [np.nan, np.nan, 1.0], equal_nan=True)
    assert np.array_equal(task.returns(task.cells[1]), [np.nan, 2.0, np.nan], equal_nan=True)
    assert task.task(NAMES_WITH_STATE, "final") is None  # two cells have no run at all


def test_a_task_as_arrays_has_a_row_a_measure_and_a_column_a_cell() -> None:
    task = trained().task(NAMES_WITH_STATE, "final")
    assert task is not None
    assert task.means.tolist() == [0.25, 1.25, 2.25, 3.25]
    assert task.measures[NAMES.index(DEPTH)].tolist() == [0.0, 0.5, 1.0, 0.5]  # the twin's only block lies in the middle
    assert task.measures[NAMES.index(MIDDLE)].tolist() == [-0.5, 0.0, -0.5, 0.0]
    assert np.isnan(task.measures[-1]).all()  # no state was asked for
    assert task.series.tolist() == task.groups.tolist() == [0, 0, 0, 1]
    assert task.pretrained.tolist() == [True, True, True, False]


def test_control_is_the_rank_by_bits_and_by_state_half_and_half() -> None:
    bits, nan = np.array([3.0, 1.0, 1.0, 2.0]), np.full(4, np.nan)
    assert control_ranks(bits, nan).tolist() == [1.0, 0.375, 0.375, 0.75]
    assert control_ranks(bits, np.array([0.0, 0.1, 0.2, 0.3])).tolist() == [0.625, 0.4375, 0.5625, 0.875]
    assert np.isnan(control_ranks(np.array([1.0, np.nan]), np.array([0.5, 0.6]))).all()
    assert control_ranks(bits, np.array([0.0, np.nan, 0.2, 0.3])).tolist() == control_ranks(bits, nan).tolist()


@pytest.mark.parametrize(
    ("metric", "updates", "value"),
    [("final", None, 9.0), ("evaluation", None, 3.0), ("final", 100, 1.5), ("final", 200, 3.0), ("final", 150, None), ("final", 300, None)],
)
def test_a_runs_figure_is_its_end_or_what_it_was_after_so_many_updates(metric: str, updates: int | None, value: float | None) -> None:
    run = plain_run("a", 0, 9.0, evaluations=((100, (1.0, 2.0)), (200, (3.0,)), (300, ())))
    assert return_in_metric(run, metric, updates) == value


@pytest.mark.parametrize(
    ("mode", "advice"), [("online", "Try more environment steps, or more updates a step."), ("offline", "Try longer returns")]
)
def test_what_to_try_is_of_the_way_in_which_agents_learned(mode: str, advice: str) -> None:
    references = tuple(ReferenceReturn(name=name, mean=9.0) for name in ("random", "constant", "data"))
    gate = trained(mode, references=references).gate("final")
    assert gate.learned == "not learned"
    assert gate.advice.startswith(advice)


# --- choices


def cells(scores: list[float], means: list[float], **changes: Any) -> TaskCells:
    """A task whose every measure but depth and the middle is one score."""
    count = len(scores)
    places = np.linspace(0, 1, count)
    rows = [np.array(scores)] * 4 + [places, -np.abs(places - 0.5)]
    return TaskCells("t", np.array(rows), np.array(means)[:, None], **changes)


def test_what_a_choice_gives_up_is_a_share_of_the_way_from_worst_to_best() -> None:
    task = cells([0.3, 0.9, 0.1], [0.0, 5.0, 10.0])
    assert regret_of(task, NAMES, S, 1) == 0.5
    assert regret_of(task, NAMES, S, 3) == 0.0
    assert regret_of(task, NAMES, DEPTH, 1) == 0.0
    assert regret_of(task, NAMES, MIDDLE, 1) == 0.5
    assert regret_of(task, NAMES, RANDOM, 1) == pytest.approx(0.5)  # of 1, ½ and 0 the mean
    assert math.isnan(regret_of(cells([0.3, 0.3, 0.3], [0.0, 5.0, 10.0]), NAMES, S, 1))
    assert math.isnan(regret_of(cells([0.3, math.nan, 0.1], [0.0, 5.0, 10.0]), NAMES, S, 1))


def test_who_has_no_measure_knows_what_was_trained_and_chooses_from_that() -> None:
    task = cells([0.1, 0.2, 0.9], [0.0, 5.0, 10.0], pretrained=np.array([True, True, False]))
    assert regret_of(task, NAMES, S, 1) == 0.0  # the untrained block is best, and its score says so
    assert regret_of(task, NAMES, DEPTH, 1) == 0.5
    assert regret_of(task, NAMES, RANDOM, 1) == pytest.approx(0.75)


def test_contrasts_are_taken_task_by_task_and_only_of_measures_that_some_task_knows() -> None:
    tasks = [cells([0.3, 0.9, 0.1], [0.0, 5.0, 10.0]), cells([0.1, 0.2, 0.3], [0.0, 5.0, 10.0])]
    found = {(one.kind, one.first, one.second): one for one in contrasts_of(tasks, NAMES)}
    assert found["correlation", CTRL, S].difference == Estimate(value=0.0, low=0.0, high=0.0)
    against_depth = found["regret@1", S, DEPTH]
    assert (against_depth.tasks, against_depth.difference.value) == (2, 0.25)  # (0.5 − 0 + 0 − 0) / 2
    unknown = [cells([math.nan] * 3, [0.0, 5.0, 10.0])]
    assert {one.kind for one in contrasts_of(unknown, NAMES)} == {"correlation"}
    assert {one.tasks for one in contrasts_of(unknown, NAMES)} == {0}


# --- hypotheses


def many(*orders: tuple[list[float], list[float]]) -> dict[str, tuple[str, str]]:
    """The outcomes of the hypotheses, with their sentences, over eight tasks that take turns."""
    tasks = [cells(*orders[place % len(orders)]) for place in range(8)]
    return {one.name: (one.outcome, one.sentence) for one in judge_hypotheses(tasks, NAMES, BITS)}


def test_a_score_that_is_right_everywhere_is_supported_and_its_p_is_not_0() -> None:
    found = many(([0.1, 0.3, 0.9, 0.2, 0.0], [1.0, 3.0, 9.0, 2.0, 0.0]))
    outcome, sentence = found["H1"]
    assert outcome == "partly supported"  # the middle is as good
    assert "t test p < 0.0001, sign flips p = 0.00781" in sentence
    assert "not shown to give up less than nearness to the middle (" in sentence
    assert found["H3"][0] == "not supported"  # S is the same here: there is no difference
    better = many(([0.1, 0.3, 0.2, 0.9, 0.0], [1.0, 3.0, 2.0, 9.0, 0.0]))
    assert better["H1"][0] == "supported"
    assert better["H1"][1].startswith("Supported: mean ρ = 1.00 [1.00, 1.00] over 8 tasks")


def test_a_score_that_is_wrong_everywhere_is_refuted() -> None:
    outcome, sentence = many(([0.9, 0.1, 0.5], [0.0, 9.0, 3.0]))["H1"]
    assert outcome == "refuted"
    assert sentence.startswith(f"Refuted: the interval ends below +{REFUTED_BELOW:.1f} (mean ρ = -1.00")


def test_too_few_tasks_test_nothing() -> None:
    right = cells([0.1, 0.9, 0.3], [1.0, 9.0, 3.0])
    for count, told in (
        (0, "0 learned tasks know the score"),
        (1, "1 learned task knows the score"),
        (5, "5 learned tasks know the score"),
    ):
        for one in judge_hypotheses([right] * count, NAMES, BITS, 500, {"H1": "as it was promised"}):
            assert (one.outcome, one.updates, one.plain) == ("cannot be tested", 500, "Too few tasks were learned to test it.")
            assert one.sentence.startswith(f"Cannot be tested: {told}")
            assert one.name != "H1" or one.statement == "as it was promised"


@pytest.mark.parametrize(
    ("values", "p", "p_flip", "finding"),
    [
        ([0.5] * 8, 0.01, 0.01, "goes with return"),
        ([-0.5] * 8, 0.01, 0.01, "misleads"),
        ([0.5] * 8, 0.05, 0.01, "undecided"),
        ([0.5] * 8, 0.01, 0.05, "undecided"),
        ([0.5] * 8, None, 0.01, "cannot be tested"),
        ([0.5] * 8, 0.01, None, "cannot be tested"),
        ([0.5] * 5, 0.01, 0.01, "cannot be tested"),
        ([], 0.01, 0.01, "n/a"),
    ],
)
def test_a_finding_needs_both_tests_and_enough_tasks(values: list[float], p: float | None, p_flip: float | None, finding: str) -> None:
    whole: OverTasks | None = over_tasks(values)
    assert finding_of(whole, p, p_flip) == finding


@pytest.mark.parametrize(("p", "said"), [(0.0, "p < 0.0001"), (0.012345, "p = 0.0123"), (1.0, "p = 1"), (1e-9, "p = 1e-09")])
def test_no_p_is_told_as_0(p: float, said: str) -> None:
    assert p_words(p) == said
