"""Every figure of a layer stands in the tables as it is, an undefined one as n/a, and a raised flag names the figure that raised it."""

from __future__ import annotations

import re

import pytest
from ranking_by_hand import example

from layerscout.cache.records import Estimate, Ranking
from layerscout.pages.flags import FLAGS
from layerscout.pages.tables import UNDEFINED
from layerscout.probe.page.diagnostics import (
    FIGURES,
    LIMITS,
    beside_the_score,
    confirmed,
    every_figure,
    figure_cell,
    flags_raised,
    raised_by,
)
from layerscout.probe.page.tables import confirmation_table, layer_markdown, measures_table, solving_method


def changed(ranking: Ranking, place: int, **figures: object) -> Ranking:
    layers = list(ranking.layers)
    layers[place] = layers[place].model_copy(update=figures)
    return ranking.model_copy(update={"layers": tuple(layers)})


@pytest.mark.parametrize(
    ("figure", "text", "small"),
    [
        (None, UNDEFINED, ""),
        (0.12345, "0.123", ""),
        (-0.0001, "0.000", ""),  # no minus before a zero
        (12345, "12,345", ""),
        (0, "0", ""),
        ("sketch", "sketch", ""),
        (Estimate(value=0.5), "0.500", ""),
        (Estimate(value=0.5, low=-0.0001, high=0.75), "0.500", "0.000 … 0.750"),
        (Estimate(value=0.5, low=0.25), "0.500", ""),
    ],
)
def test_a_figure_is_shown_with_three_digits_and_its_interval_below(figure: object, text: str, small: str) -> None:
    cell = figure_cell(figure)  # type: ignore[arg-type]
    assert (cell.text, cell.small) == (text, small)


def test_a_target_that_only_some_layers_have_is_a_column_of_all() -> None:
    ranking = changed(example(3).ranking, 0, targets={"speed": Estimate(value=0.25)})
    table = every_figure(ranking)
    names = [column.name for column in table.heads]
    assert [name for name in names if name in ("speed", "state", "expert_action")] == ["speed", "state", "expert_action"]
    assert [column.group for column in table.heads if column.name in ("speed", "state")] == ["Targets", ""]
    place = names.index("speed")
    assert [row[place].text for row in table.rows] == ["0.250", *[UNDEFINED] * (len(ranking.layers) - 1)]
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert len(table.columns) == 2 + len(FIGURES) + 3 + 1


def test_controls_and_twins_stand_back_and_have_no_place() -> None:
    ranking = example(3).ranking
    table = every_figure(ranking)
    assert table.quiet == {place for place, layer in enumerate(ranking.layers) if layer.role != "layer"}
    assert [row[1].text for row in table.rows] == ["1", "2", "3", "control", "twin", "twin", "twin"]
    assert table.rows[0][-1].text == "–", "no flag"


def test_what_stands_beside_the_score_is_a_row_a_measure_and_a_column_a_layer() -> None:
    ranking = example(2).ranking
    assert beside_the_score(ranking).rows == ()
    assert measures_table(ranking) == []
    ranking = changed(changed(ranking, 0, measures={"a": Estimate(value=0.1), "b": None}), 1, measures={"c": Estimate(value=0.3)})
    table = beside_the_score(ranking)
    assert [row[0].text for row in table.rows] == ["S-ctrl", "a", "b", "c"]
    assert [[cell.text for cell in row[1:3]] for row in table.rows[1:]] == [["0.100", "n/a"], ["n/a", "n/a"], ["n/a", "0.300"]]
    told = measures_table(ranking)[-1].splitlines()
    assert len(told) == 2 + 4
    assert [re.split(r"\s*\|\s*", line)[1:4] for line in told[3:]] == [["a", "0.100", "n/a"], ["b", "n/a", "n/a"], ["c", "n/a", "0.300"]]


@pytest.mark.parametrize(
    ("flag", "figures", "told"),
    [
        ("PERSISTENCE", {"transition_gain": 0.0123}, "0.012"),
        ("PERSISTENCE", {"transition_gain": None}, "n/a"),
        ("NO_ACTION", {"bits_action": 0.01, "bits_action_by_chance": 0.02}, "0.010 bits, by chance up to 0.020"),
        ("NO_ACTION", {"bits_action": 0.01, "bits_action_by_chance": None}, "0.010 bits, by chance up to n/a"),
        ("COLLAPSED", {"correlation_rank": 2.5}, "2.500"),
        ("DEAD_DIMS", {"width": 2048, "live_features": 1000}, "1,048 of 2,048"),
        (
            "REWARD_NULL",
            {"reward_r2": Estimate(value=0.01), "reward_r2_shuffled": Estimate(value=0, low=-0.1, high=0.02)},
            "0.010, shuffled up to 0.020",
        ),
        ("REWARD_NULL", {"reward_r2": None}, "n/a"),
        ("UNDERSAMPLED", {"width": 4096}, "5.0"),  # of 20,480 rows
        ("FEW_EPISODES", {}, "640"),
        ("UNHEARD_OF", {}, "n/a"),
    ],
)
def test_a_flag_names_the_figure_that_raised_it(flag: str, figures: dict, told: str) -> None:
    ranking = changed(example(1).ranking, 0, **figures)
    assert raised_by(flag, ranking, ranking.layers[0], None) == told


def test_a_flag_that_needs_evidence_is_told_from_it() -> None:
    shown = example(1)
    layer = shown.ranking.layers[0]
    evidence = shown.evidence[layer.store_id, layer.role, layer.name].model_copy(update={"at_grid_edge": 0.6, "rows": 512})
    assert raised_by("ALPHA_EDGE", shown.ranking, layer, evidence) == "60%"
    assert raised_by("ALPHA_EDGE", shown.ranking, layer, None) == "n/a"
    assert raised_by("UNDERSAMPLED", shown.ranking, layer, evidence) == "0.5"


def test_every_flag_has_a_sentence_and_says_its_limit() -> None:
    assert set(LIMITS) == set(FLAGS)


def test_a_flag_of_every_layer_for_one_figure_is_told_once() -> None:
    ranking = example(2, confirmed=0).ranking
    few = ranking.model_copy(
        update={"episodes": 12, "layers": tuple(one.model_copy(update={"flags": ("FEW_EPISODES",)}) for one in ranking.layers)}
    )
    told = flags_raised(few, {})
    assert told.count("every layer 12") == 1
    assert told.count("<dt>FEW_EPISODES</dt>") == 1
    each = tuple(
        one.model_copy(update={"flags": ("COLLAPSED",), "correlation_rank": 1.0 + place}) for place, one in enumerate(ranking.layers)
    )
    told = flags_raised(ranking.model_copy(update={"layers": each}), {})
    assert "every layer" not in told
    assert all(f"{1 + place}.000" in told for place in range(len(each)))
    assert (
        flags_raised(ranking.model_copy(update={"layers": tuple(one.model_copy(update={"flags": ()}) for one in ranking.layers)}), {}) == ""
    )


def test_what_was_confirmed_stands_beside_what_was_ranked() -> None:
    shown = example(4).ranking
    table = confirmed(shown)
    assert [row[0].text for row in table.rows] == [layer.name for layer in shown.candidates[:2]]
    assert [column.name for column in table.heads] == ["Layer", *["ranking", "held out"] * 4]
    assert [column.group for column in table.heads[1::2]] == ["Score", "Reward R²", "Transition R²", "Effective rank / width"]
    best = shown.candidates[0]
    assert [cell.text for cell in table.rows[0][1:3]] == [f"{best.score.value:.3f}", f"{best.confirmation.score.value:.3f}"]
    none = example(4, confirmed=0).ranking
    assert confirmed(none).rows == ()
    assert confirmation_table(none) == []
    assert "160 episodes that had no part" in "\n".join(confirmation_table(shown))


@pytest.mark.parametrize(
    ("error", "told"), [(None, "dual"), (0.0021, "dual, error 0.002"), (0.0, "dual, error 0"), (3e-9, "dual, error 3e-09")]
)
def test_a_method_is_told_with_its_error(error: float | None, told: str) -> None:
    layer = example(1).ranking.layers[0].model_copy(update={"method": "dual", "method_error": error})
    assert solving_method(layer) == told


def test_names_of_strangers_keep_a_table_a_table() -> None:
    shown = example(2)
    ranking = changed(shown.ranking, 0, name="a|b\nc")
    lines = [line for line in layer_markdown(ranking, shown.selection).splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines[: 2 + len(ranking.layers)]}) == 1
