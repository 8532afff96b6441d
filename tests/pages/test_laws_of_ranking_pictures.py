"""Pictures of a ranking: every score a mark with its figures, whatever there is of it, and what its parts are."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from drawn import inside, marks, words
from example_records import example_ranking, layer_score

from layerscout.cache.records import Estimate, Ranking
from layerscout.pages.charts import Panel
from layerscout.pages.drawing import Drawing
from layerscout.pages.ranking import (
    LOWEST,
    by_depth,
    control_shares,
    draw_file,
    draw_score,
    draw_score_and_parts,
    has_state,
    short_kind,
    stores_of,
)
from layerscout.pages.svg import file


def with_control(control: float, **state: float) -> Any:
    layer = layer_score("b", "layer", 0, 0.5, 0.5).model_copy(update={"control_score": Estimate(value=control)})
    return layer.model_copy(update={"targets": {"state": Estimate(**state)}}) if state else layer


@pytest.mark.parametrize(
    ("state", "effect", "known"),
    [
        ({}, 0.6, None),
        ({"value": 0.5, "low": 0.4, "high": 0.6}, 0.7, (0.5, 0.4, 0.6)),
        ({"value": -3.0, "low": -4.0, "high": 0.2}, 1.2, (0.0, 0.0, 0.2)),
        ({"value": 2.0}, 0.2, (1.0, None, None)),
    ],
)
def test_the_parts_of_control_have_it_for_their_mean(state: dict[str, float], effect: float, known: Any) -> None:
    share, part = control_shares(with_control(0.6, **state))
    assert share == pytest.approx(effect)
    assert (part and (part.value, part.low, part.high)) == known
    assert control_shares(layer_score("b", "layer", 0, 0.5, 0.5)) == (None, None)
    ranking = example_ranking().model_copy(update={"layers": (with_control(0.6, **state),)})
    assert has_state(ranking) is bool(state)


def test_layers_stand_in_forward_order_whatever_their_scores() -> None:
    ranking = example_ranking()
    assert [layer.depth for layer in by_depth(ranking)] == list(range(8))
    assert [layer.role for layer in by_depth(ranking, "control")] == ["control"]
    assert by_depth(ranking, "layer", "elsewhere") == []
    assert stores_of(ranking.layers) == [""]
    assert [short_kind(ranking.model_copy(update={"score_kind": kind})) for kind in ("S/1", "S-ctrl/1")] == ["S", "S-ctrl"]


def drawn_of(ranking: Ranking) -> list[Drawing]:
    pictures = [draw(ranking, width) for draw in (draw_score, draw_score_and_parts) for width in (340.0, 1060.0)]
    return [*pictures, draw_file(ranking, 900.0, "a formula")]


def test_every_score_of_a_ranking_is_a_mark_with_its_figures() -> None:
    ranking = example_ranking()
    for width in (340.0, 1060.0):
        drawing = draw_score(ranking, width)
        inside(Panel(drawing.width, drawing.height, tuple(drawing.items)))
        hints = [mark.hint for mark in marks(Panel(width, 300, tuple(drawing.items)))]
        for layer in (*ranking.candidates, *by_depth(ranking, "twin")):
            assert layer.score is not None
            title = layer.name + (" (untrained)" if layer.role == "twin" else "")
            assert [hint for hint in hints if hint.startswith(f"{title}: {layer.score.value:.3f} [")], title
        told = words(Panel(width, 300, tuple(drawing.items)))
        assert {"best: blocks.5", "control: pixels", "same blocks, untrained", "score S"} <= set(told)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": ()},
        {"layers": example_ranking(rewards=False).layers},
        {"layers": (layer_score("only", "layer", 3, -9.0, -5.0),)},
        {"score_kind": "S-ctrl/1", "layers": (with_control(0.6, value=0.5), with_control(0.4).model_copy(update={"depth": 1}))},
        {"score_kind": "S-skill/1"},
    ],
    ids=["nothing", "no rewards", "one, far below", "control", "no such score"],
)
def test_a_ranking_with_little_in_it_is_drawn_too(changes: dict[str, Any]) -> None:
    for drawing in drawn_of(example_ranking().model_copy(update=changes)):
        ElementTree.fromstring(text := file(drawing))
        assert "nan" not in text
        assert drawing.label.startswith("Score by depth of ")
    (_, _, _, wide, _) = drawn_of(example_ranking().model_copy(update=changes))
    assert f"(cut at {LOWEST:g})".replace("-", "−") in " ".join(words(Panel(wide.width, wide.height, tuple(wide.items))))


def test_a_file_of_its_own_says_what_was_measured() -> None:
    drawing = draw_file(example_ranking(), 900.0, "a formula")
    assert words(Panel(drawing.width, drawing.height, tuple(drawing.items)))[0] == "20,480 transitions, 640 episodes. a formula"
    assert draw_file(example_ranking(), 900.0, "x" * 500).width == drawing.width
