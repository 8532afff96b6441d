"""The figures of a study, found again in their drawings: every cell at its depth with its return, nothing drawn that is not known."""

from __future__ import annotations

from typing import Any

import pytest
from drawn import flat, inside, marks, words
from plain_studies import plain_analysis, plain_cell, plain_measure, plain_task

from layerscout.cache.records import Estimate, ReferenceReturn
from layerscout.cache.records.study import StudyPair
from layerscout.pages.drawing import Drawing, Stroke
from layerscout.report.study.figures import (
    FINDINGS,
    PRETRAINED,
    UNTRAINED,
    draw_measures,
    draw_scores_and_returns,
    draw_untrained,
    earned,
    layers_of,
)

WIDTHS = (340.0, 700.0, 1060.0)
RANDOM = ReferenceReturn(name="random", mean=0.5, low=0.25, high=0.75)


def coloured(drawing: Drawing) -> dict[str, str | None]:
    """The colour of every mark that has a hint."""
    return {item.hint: colour for item, _, colour in flat(drawing.items) if getattr(item, "hint", "") and hasattr(item, "shape")}


def lines(drawing: Drawing, kind: str) -> list[Stroke]:
    return [item for item, _, _ in flat(drawing.items) if isinstance(item, Stroke) and item.kind == kind]


# --- what a cell earned


def test_cells_of_a_task_stand_in_the_order_of_the_record() -> None:
    cells = [plain_cell("b", 2, ()), plain_cell("a", 1, ()), plain_cell("b", 0, ())]
    analysis = plain_analysis(plain_task("a"), plain_task("b"), layers=tuple(cells))
    assert layers_of(analysis, "b") == [cells[0], cells[2]]
    assert layers_of(analysis, "c") == []


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({}, 2.0),
        ({"metric": "evaluation"}, 5.0),
        ({"updates": 100}, 7.0),
        ({"metric": "evaluation", "updates": 100}, 7.0),
        ({"updates": 200}, None),
    ],
)
def test_what_a_cell_earned_is_read_in_the_metric_or_at_the_budget_of_the_analysis(changes: dict[str, Any], value: float | None) -> None:
    cell = plain_cell("a", 0, (1.0, None, 3.0), evaluations=(4.0, 6.0), budgets={100: (7.0, None)})
    found = earned(cell, plain_analysis(**changes))
    assert (found and found.value) == value
    assert earned(plain_cell("a", 0, (None, None)), plain_analysis()) is None


# --- score against return


@pytest.mark.parametrize("width", WIDTHS)
def test_every_cell_with_score_and_return_is_a_point_numbered_by_its_depth(width: float) -> None:
    cells = (
        plain_cell("a", 3, (1.0, 1.0), 0.25),
        plain_cell("a", 7, (2.0, 2.0), 0.5),
        plain_cell("a", 3, (0.0, 0.0), 0.125, weights="untrained", layer="twin"),
        plain_cell("a", 8, (9.0, 9.0), None),
        plain_cell("a", 9, (None, None), 0.75),
        plain_cell("b", 4, (5.0, 5.0), 0.5),
    )
    first = plain_task("a", spearman=Estimate(value=-0.5), references=(RANDOM,))
    drawing = draw_scores_and_returns(plain_analysis(first, plain_task("b", learned="not learned"), layers=cells))(width)
    inside(drawing)
    assert coloured(drawing) == {
        "b.3: S 0.250, return 1.000 [1.000, 1.000]": PRETRAINED.colour,
        "b.7: S 0.500, return 2.000 [2.000, 2.000]": PRETRAINED.colour,
        "twin: S 0.125, return 0.000 [0.000, 0.000]": UNTRAINED.colour,
        "b.4: S 0.500, return 5.000 [5.000, 5.000]": PRETRAINED.colour,
    }
    said = words(drawing)
    assert sorted(text for text in said if text in ("3", "4", "7", "8", "9")) == ["3", "3", "4", "7"]
    assert {"a", "b", "ρ = -0.50", "ρ = n/a, not learned", "pretrained", "untrained", "random actions"} <= set(said)
    assert said.count("pretrained") == 1
    assert drawing.label == "S against return: ρ = -0.50 in a, ρ = n/a, not learned in b"
    by_hint = {mark.hint: mark for mark in marks(drawing)}
    low, high = by_hint["b.3: S 0.250, return 1.000 [1.000, 1.000]"], by_hint["b.7: S 0.500, return 2.000 [2.000, 2.000]"]
    assert low.x < high.x
    assert low.y > high.y


def test_a_panel_keeps_a_width_in_which_it_can_be_read() -> None:
    tasks = [plain_task(name) for name in "abcde"]
    cells = tuple(plain_cell(task.name, depth, (float(depth),), depth / 4) for task in tasks for depth in range(3))
    draw = draw_scores_and_returns(plain_analysis(*tasks, layers=cells))
    heights = [draw(width).height for width in (300.0, 599.0, 600.0, 1060.0)]
    assert heights[0] == heights[1] > heights[2] > heights[3], "one column, one, two and three"


# --- what measures are worth


def test_a_measure_that_no_task_knows_has_no_row_and_a_choice_that_is_not_known_no_mark() -> None:
    measures = (
        plain_measure("S", spearman=Estimate(value=0.5, low=0.25, high=0.75), regret_1=Estimate(value=0.125), finding="goes with return"),
        plain_measure("unknown"),
        plain_measure("wrong", spearman=Estimate(value=-0.5), finding="misleads"),
    )
    analysis = plain_analysis(measures=measures, reliability=0.25, random_regret_1=0.375, middle_regret=None)
    for width in WIDTHS:
        drawing = draw_measures(analysis)(width)
        inside(drawing)
        assert coloured(drawing) == {
            "S, Spearman ρ: 0.50 [0.25, 0.75]": FINDINGS["goes with return"].colour,
            "wrong, Spearman ρ: -0.50": FINDINGS["misleads"].colour,
            "S, given up: 0.12": FINDINGS["goes with return"].colour,
        }
        said = words(drawing)
        assert {"S", "wrong", "goes with return", "misleads", "noise ceiling", "a random pick"} <= set(said)
        assert not {"unknown", "n/a", "undecided", "the middle layer"} & set(said)
        assert drawing.label == "How each measure goes with return: S ρ = 0.50 [0.25, 0.75], goes with return, wrong ρ = -0.50, misleads"


def test_the_noise_ceiling_lies_at_the_root_of_the_reliability_on_an_axis_from_minus_1_to_1() -> None:
    measures = (plain_measure("S", spearman=Estimate(value=0.5)), plain_measure("b", spearman=Estimate(value=-1.0)))
    with_one = draw_measures(plain_analysis(measures=measures, reliability=0.25))(1060.0)
    ceiling = lines(with_one, "dashed")
    at = {mark.hint: mark.x for mark in marks(with_one)}
    assert len({line.points[0][0] for line in ceiling} & {at["S, Spearman ρ: 0.50"]}) == 1, "√0.25 = 0.5, where S stands"
    assert at["b, Spearman ρ: -1.00"] < at["S, Spearman ρ: 0.50"]
    without = draw_measures(plain_analysis(measures=measures))(1060.0)
    assert "noise ceiling" not in words(without)
    assert lines(without, "dashed") == []


# --- with and without training


def test_without_untrained_blocks_there_is_no_figure_and_only_tasks_that_have_them_are_drawn() -> None:
    assert draw_untrained(plain_analysis()) is None
    cells = [plain_cell(name, depth, (float(depth),) * 2) for name in "ab" for depth in range(2)]
    tasks = (plain_task("a", references=(RANDOM,)), plain_task("b"))
    assert draw_untrained(plain_analysis(*tasks, layers=tuple(cells))) is None
    twins = [plain_cell("a", depth, (-1.0,) * 2, weights="untrained") for depth in range(2)] + [
        plain_cell("a", 2, (None, None), weights="untrained")
    ]
    pairs = (
        StudyPair(task="a", layer="b.0", seeds=2, difference=Estimate(value=9.0), p=None, p_holm=None),
        StudyPair(task="a", layer=None, seeds=2, blocks=2, difference=Estimate(value=1.5), p=None, p_holm=None),
    )
    draw = draw_untrained(plain_analysis(*tasks, layers=(*cells, *twins), untrained=pairs))
    assert draw is not None
    for width in WIDTHS:
        drawing = draw(width)
        inside(drawing)
        assert drawing.label == "Pretrained minus untrained blocks: a 1.500"
        found = coloured(drawing)
        assert {hint.partition(":")[0] for hint in found} == {
            *("b.0, tiny pretrained", "b.1, tiny pretrained", "b.0, tiny untrained", "b.1, tiny untrained")
        }
        assert {colour for hint, colour in found.items() if " untrained" in hint} == {UNTRAINED.colour}
        assert {"a", "pretrained", "untrained", "random actions", "depth of the block"} <= set(words(drawing))
        assert "b" not in words(drawing)


def test_curves_are_of_one_backbone_weights_pooling_and_store_and_a_twin_stands_beside_its_block() -> None:
    cells = [
        plain_cell("a", depth, (float(depth),) * 2, store_id=store, pooling=pooling, layer=f"b.{depth}@{store}")
        for store, pooling in (("one", ""), ("two", ""), ("one", "grid"))
        for depth in range(3)
    ] + [plain_cell("a", 1, (1.0, 1.0), weights="untrained", layer="twin")]
    draw = draw_untrained(plain_analysis(plain_task("a"), layers=tuple(cells)))
    assert draw is not None
    drawing = draw(1060.0)
    assert [len(line.points) for line in lines(drawing, "thick")] == [2, 3, 3, 3], "the legend's, and one a curve"
    at = {mark.hint.partition(",")[0]: mark for mark in marks(drawing)}
    assert at["twin"].x - at["b.1@one"].x == pytest.approx(3.0, abs=0.11)
    assert at["twin"].y == at["b.1@two"].y
    assert drawing.label == "Pretrained minus untrained blocks: a n/a"
