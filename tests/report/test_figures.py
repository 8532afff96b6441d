"""The figures of a report: every run and every layer is in them with its value, and they say what they answer."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import flat, inside, marks, words
from example_records import LEVELS, example_runs
from simulated_study import REFERENCES, simulate

from layerscout.cache.records import RunRecord
from layerscout.cache.records.study import StudyAnalysis
from layerscout.pages.drawing import Area, Stroke
from layerscout.pages.page import NARROW, WIDE
from layerscout.report.claims import score_and_return
from layerscout.report.experiment import gather_experiment
from layerscout.report.figures.arms import corners_of, draw_final_returns, draw_learning_curves, draw_profiles, draw_score_and_return
from layerscout.report.figures.looks import LOOKS, look_of
from layerscout.report.numbers.curves import learning_curves
from layerscout.report.study.figures import draw_measures, draw_scores_and_returns, draw_untrained
from layerscout.report.study.study import study_experiments
from layerscout.report.verdict import final_returns

WIDTHS = pytest.mark.parametrize("width", [WIDE, NARROW])


def few(record: RunRecord, count: int) -> RunRecord:
    """The record with its first arms only."""
    kept = record.arms[:count]
    return record.model_copy(update={"arms": kept, "runs": tuple(run for run in record.runs if run.arm in {arm.name for arm in kept})})


@WIDTHS
def test_every_finished_run_is_a_point_and_failures_are_counted(width: float) -> None:
    record = example_runs(fail=(("scratch", 3),))
    drawing = draw_final_returns(record, "blocks.5")(width)
    inside(drawing)
    hints = [mark.hint for mark in marks(drawing)]
    assert sorted(hints) == sorted(f"{run.arm}, seed {run.seed}: {run.final:.3f}" for run in record.runs if run.final is not None)
    assert set(LEVELS) <= set(words(drawing))
    assert words(drawing).count("1 failed") == 1
    assert drawing.label.startswith("Final returns by arm, interquartile means: blocks.5 0.698 [")
    assert "1 failed" not in words(draw_final_returns(example_runs(), None)(width))


def test_points_lie_at_their_returns() -> None:
    drawing = draw_final_returns(example_runs(), "blocks.5")(WIDE)
    own = [(float(mark.hint.rpartition(" ")[2]), mark.x) for mark in marks(drawing)]
    assert [x for _, x in sorted(own)] == sorted(x for _, x in own)


@WIDTHS
@pytest.mark.parametrize(("arms", "panels"), [(4, 1), (6, 6)])
def test_curves_stand_together_up_to_four_arms_and_apart_above(width: float, arms: int, panels: int) -> None:
    record = few(example_runs(mode="offline"), arms)
    curves = learning_curves(record)
    drawing = draw_learning_curves(curves, record, "blocks.5", "learning-curves")(width)
    inside(drawing)
    drawn = [item for item, _, _ in flat(drawing.items)]
    assert sum(isinstance(item, Area) for item in drawn) == arms  # a band each
    assert sum(isinstance(item, Stroke) and item.kind == "ghost" for item in drawn) == (0 if panels == 1 else arms * arms)
    assert words(drawing).count("updates") == panels
    assert {arm.name for arm in record.arms} <= set(words(drawing))
    assert "random actions" in words(drawing)
    best = max(curves, key=lambda curve: curve.mean[-1])
    assert drawing.label.startswith(f"Learning curves: at the end {best.arm} returns {best.mean[-1]:.3f}, ")
    assert f"blocks.5 at 5,000: {curves[0].mean[-1]:.3f} [{curves[0].low[-1]:.3f}, {curves[0].high[-1]:.3f}]" in {
        mark.hint for mark in marks(drawing)
    }


def test_a_single_evaluation_and_a_single_seed_can_be_drawn() -> None:
    record = example_runs(seeds=1, mode="offline")
    runs = tuple(run.model_copy(update={"evaluations": run.evaluations[-1:]}) for run in record.runs)
    curves = learning_curves(record.model_copy(update={"runs": runs}))
    inside(draw_learning_curves(curves, record, None, "a")(WIDE))
    inside(draw_learning_curves((), record, None, "a")(WIDE))
    inside(draw_profiles(record, None, "b")(NARROW))


@WIDTHS
def test_profiles_are_staircases_of_the_runs(width: float) -> None:
    record = few(example_runs(), 2)
    drawing = draw_profiles(record, "blocks.5", "profiles")(width)
    inside(drawing)
    lines = [item for item, _, _ in flat(drawing.items) if isinstance(item, Stroke) and item.hint]
    assert len(lines) == 2
    for line, arm in zip(lines, record.arms, strict=True):
        values = final_returns(record, arm.name)
        assert line.hint == f"{arm.name}: half of the runs above {np.median(values):.3f}"
        heights = sorted({y for _, y in line.points})
        assert len(heights) == len(set(values.tolist())) + 1  # one step a run


def test_the_corners_of_a_staircase_are_all_of_it() -> None:
    curve = np.array([1.0, 1.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.0])
    other = np.array([1.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9])
    kept = corners_of([curve, other])
    assert kept == [0, 1, 2, 3, 4, 5, 7]
    for line in (curve, other):
        assert np.interp(np.arange(8), kept, line[kept]).tolist() == line.tolist()


@WIDTHS
def test_score_against_return_has_every_scored_arm(width: float) -> None:
    record = example_runs()
    arms = [arm for arm in record.arms if arm.score is not None]
    drawing = draw_score_and_return(
        arms, [final_returns(record, arm.name) for arm in arms], "blocks.5", score_and_return(record, "mlp-64")
    )(width)
    inside(drawing)
    assert [mark.hint.partition(":")[0] for mark in marks(drawing)] == [arm.name for arm in arms]
    assert drawing.label.startswith(f"Score against return of {len(arms)} arms: Spearman ")
    assert words(drawing)[0].startswith("Spearman ")
    assert "Spearman n/a" in words(draw_score_and_return([], [], None, None)(width))


@WIDTHS
def test_what_learns_nothing_is_a_line_in_every_figure_of_returns(width: float) -> None:
    record = example_runs(mode="offline").model_copy(update={"references": REFERENCES})
    found = {"random actions", "best constant action", "the data's own policy"}
    for draw in (
        draw_final_returns(record, None),
        draw_learning_curves(learning_curves(record), record, None, "curves"),
        draw_profiles(record, None, "profiles"),
    ):
        drawing = draw(width)
        inside(drawing)
        assert found <= set(words(drawing))
        lines = [
            item for item, _, _ in flat(drawing.items) if isinstance(item, Stroke) and item.kind == "dashdot" and len(item.points) == 2
        ]
        assert any(len({x for x, _ in line.points}) == 1 or len({y for _, y in line.points}) == 1 for line in lines)


def test_each_kind_of_arm_is_told_apart_without_colour() -> None:
    kinds = ("ranked", "middle", "worst", "twin", "pixels", "scratch")
    assert len({(LOOKS[kind].stroke, LOOKS[kind].shape) for kind in kinds}) == len(kinds)
    record = example_runs()
    assert look_of(record.arms[0], record.arms[0].name).stroke == "strong"
    assert look_of(record.arms[0].model_copy(update={"kind": "unheard-of"}), None).colour == "ink"


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> StudyAnalysis:
    folders = simulate(tmp_path_factory.mktemp("study"), tasks=2, layers=5)
    return study_experiments([gather_experiment(folder) for folder in folders], ("final",)).analyses[0]


@WIDTHS
def test_a_study_draws_every_layer_of_every_task(analysis: StudyAnalysis, width: float) -> None:
    drawing = draw_scores_and_returns(analysis)(width)
    inside(drawing)
    assert len(marks(drawing)) == len(analysis.layers)
    assert {task.name for task in analysis.tasks} <= set(words(drawing))
    assert all(f"ρ = {task.spearman.value:.2f} in {task.name}" in drawing.label for task in analysis.tasks)


@WIDTHS
def test_a_study_draws_every_measure_with_its_finding_and_its_price(analysis: StudyAnalysis, width: float) -> None:
    drawing = draw_measures(analysis)(width)
    inside(drawing)
    known = [one for one in analysis.measures if one.spearman is not None]
    hints = [mark.hint for mark in marks(drawing)]
    assert [hint.partition(",")[0] for hint in hints] == [
        name for kind in range(2) for name in (one.name for one in known)
    ] or width == WIDE
    assert len(hints) == 2 * len(known)
    assert all(f"{one.name} ρ = " in drawing.label for one in known)
    assert {"a random pick", "the middle layer", "noise ceiling"} <= set(words(drawing))


@WIDTHS
def test_a_study_draws_blocks_beside_their_untrained_twins(analysis: StudyAnalysis, width: float) -> None:
    draw = draw_untrained(analysis)
    drawing = draw(width)
    inside(drawing)
    assert len(marks(drawing)) == len(analysis.layers)
    assert words(drawing).count("pretrained") == words(drawing).count("untrained") == 1  # the legend is not doubled
    assert words(drawing).count("random actions") == 1
    without = tuple(layer for layer in analysis.layers if layer.weights == "pretrained")
    assert draw_untrained(analysis.model_copy(update={"layers": without})) is None


@WIDTHS
@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, -1e30])
def test_degenerate_returns_are_drawn_inside_the_frame(value: float, width: float) -> None:
    record = example_runs(mode="offline", seeds=2)
    runs = tuple(run.model_copy(update={"final": value, "evaluations": ((5, (value,)), (9, (value,)))}) for run in record.runs)
    arms = tuple(arm.model_copy(update={"score": value}) for arm in record.arms)
    same = record.model_copy(update={"runs": runs, "arms": arms, "random_policy_return": value})
    returns = [final_returns(same, arm.name) for arm in arms]
    for draw in (
        draw_final_returns(same, "blocks.5"),
        draw_learning_curves(learning_curves(same), same, "blocks.5", "curves"),
        draw_profiles(same, "blocks.5", "profiles"),
        draw_score_and_return(arms, returns, "blocks.5", score_and_return(same, "mlp-64")),
    ):
        inside(draw(width))
