"""How figures, counts and shares are written for people: nothing undefined becomes a number, and no p value becomes 0."""

from __future__ import annotations

import pytest
from example_records import example_runs

from layerscout.cache.records import Estimate
from layerscout.report import captions
from layerscout.report.captions import percent
from layerscout.report.study.tables import format_share
from layerscout.report.tables import (
    SPENT,
    UNDEFINED,
    estimate_cells,
    format_estimate,
    format_interval,
    format_number,
    format_p,
    paper_columns,
    spent_cells,
    summary_cells,
)
from layerscout.showing import counted

WHOLE, ALONE = Estimate(value=0.41234, low=0.38, high=0.44), Estimate(value=-0.5)


@pytest.mark.parametrize(
    ("value", "digits", "text"), [(None, 3, UNDEFINED), (0.0, 3, "0.000"), (1234.5678, 2, "1,234.57"), (-2.0, 0, "-2"), (1e-9, 3, "0.000")]
)
def test_a_number_has_the_digits_that_are_asked_for(value, digits, text):
    assert format_number(value, digits) == text


@pytest.mark.parametrize(
    ("p", "digits", "text"),
    [
        (None, 4, UNDEFINED),
        (1.0, 4, "1.0000"),
        (0.04999, 4, "0.0500"),
        (0.00005, 4, "0.0001"),
        (0.0000499, 4, "< 0.0001"),
        (0.0, 4, "< 0.0001"),
        (0.004, 2, "< 0.01"),
        (0.005, 2, "0.01"),
    ],
)
def test_a_p_value_is_never_written_as_0(p, digits, text):
    assert format_p(p, digits) == text


def test_an_estimate_is_written_with_its_interval_where_it_has_one():
    assert format_estimate(WHOLE) == "0.412 [0.380, 0.440]"
    assert format_estimate(WHOLE, 1, "+") == "+0.4 [+0.4, +0.4]"
    assert format_estimate(ALONE) == "-0.500"
    assert format_estimate(Estimate(value=1.0, low=0.5, high=None)) == "1.000", "half an interval is none"
    assert format_estimate(None) == UNDEFINED


def test_the_interval_alone_and_the_three_cells_say_the_same():
    assert format_interval(WHOLE, 2) == "[0.38, 0.44]"
    assert format_interval(ALONE) == format_interval(None) == format_interval(Estimate(value=1.0, low=None, high=2.0)) == UNDEFINED
    assert estimate_cells(WHOLE) == (0.41234, 0.38, 0.44)
    assert estimate_cells(ALONE) == (-0.5, None, None)
    assert estimate_cells(None) == (None, None, None)
    zero = Estimate(value=0.0, low=0.0, high=0.0)
    assert estimate_cells(zero) == (0.0, 0.0, 0.0), "0 is a figure"


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, UNDEFINED),
        (0.125, "12 %"),
        (1.0, "100 %"),
        (Estimate(value=0.3), "30 %"),
        (Estimate(value=0.3, low=-0.051, high=0.651), "30 % [-5, 65]"),
        (Estimate(value=0.3, low=None, high=0.6), "30 %"),
    ],
)
def test_a_share_is_written_as_per_cent(share, text):
    assert format_share(share) == text


def test_there_is_one_of_a_thing_or_several():
    assert [counted(count, "task") for count in (0, 1, 2, 1100)] == ["0 tasks", "1 task", "2 tasks", "1,100 tasks"]
    assert [percent(share) for share in (0.0, 0.004, 0.996, -0.2, None)] == ["0 %", "0 %", "100 %", "-20 %", UNDEFINED]


def test_what_an_arm_spent_stands_under_its_heading():
    arm = example_runs().arms[0]
    cells = spent_cells(arm)
    assert len(cells) == len(SPENT)
    assert cells[0] == f"{arm.budget.environment_steps:,}"
    assert cells[2] == f"{arm.budget.trainable_parameters:,}"
    bare = arm.model_copy(update={"budget": arm.budget.model_copy(update={"wall_seconds": None, "cpu_seconds": None})})
    assert spent_cells(bare)[-2:] == (UNDEFINED, UNDEFINED)


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_every_row_of_the_table_has_a_cell_a_column(mode):
    record = example_runs().model_copy(update={"mode": mode})
    rows = summary_cells(record)
    assert {len(row) for row in rows} == {len(paper_columns(mode))}
    assert [row[0] for row in rows][: len(record.arms)] == [arm.name for arm in record.arms]


@pytest.mark.parametrize(
    ("mode", "heading", "overall", "figure"),
    [
        ("offline", "Mean return (last evaluation)", "Mean return (all evaluations)", "evaluation"),
        ("online", "Mean return (last 50)", "Mean return (all episodes)", "training"),
        ("in-loop", "Mean return (last 50)", "Mean return (all episodes)", "training"),
    ],
)
def test_headings_and_sentences_name_the_figure_that_decides(mode, heading, overall, figure):
    record = example_runs().model_copy(update={"mode": mode})
    assert (captions.returns_column(mode), captions.overall_column(mode)) == (heading, overall)
    assert captions.metric_name(mode) == captions.PRIMARY_FIGURES[figure]
    assert captions.metric_name(mode, "evaluation") == captions.PRIMARY_FIGURES["evaluation"]
    assert captions.PRIMARY_FIGURES[figure] in captions.metric_sentence(record)
    assert ("greedy evaluation" in captions.final_words(record)) is (mode == "offline")


def evaluated(*episodes: int):
    """A record whose runs were last evaluated on so many episodes each; 0 stands for a run without an evaluation."""
    run = example_runs().runs[0]
    runs = [run.model_copy(update={"evaluations": ((10, (0.0, 0.0)), (20, (1.0,) * count)) if count else ()}) for count in episodes]
    return example_runs().model_copy(update={"mode": "offline", "runs": tuple(runs)})


@pytest.mark.parametrize(
    ("episodes", "words"),
    [
        ((), "no episodes"),
        ((0, 0), "no episodes"),
        ((1, 1), "1 episode a seed"),
        ((50, 50), "50 episodes a seed"),
        ((20, 5, 0), "5 to 20 episodes a seed"),
    ],
)
def test_the_episodes_of_the_last_evaluation_are_counted(episodes, words):
    assert captions.episodes_words(evaluated(*episodes)) == words


def test_returns_on_shared_episodes_carry_their_caution():
    record = example_runs()
    for mode, apart, said in (("offline", False, True), ("offline", True, False), ("online", False, False)):
        own = record.model_copy(update={"mode": mode, "episodes_apart": apart})
        assert bool(captions.shared_episodes(own)) is said
