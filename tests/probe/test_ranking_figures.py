"""The figures of a ranking: every layer with its score, its parts and its doubts; panels of what was measured."""

from __future__ import annotations

import re

import pytest
from drawn import flat, inside, marks, words
from ranking_by_hand import Example, example

from layerscout.cache.records import Estimate, as_table_value
from layerscout.pages.drawing import Area, Drawing, Group, Shared, Stroke
from layerscout.pages.page import NARROW, WIDE
from layerscout.pages.ranking import answer_of, best_twin, draw_file, draw_score, draw_score_and_parts
from layerscout.pages.raster import png
from layerscout.pages.svg import element, file
from layerscout.probe.page.charts import MOST_NARROW, draw_order
from layerscout.probe.page.panels import Measured, panels, penalty_paths, sheet, spectra, thinned
from layerscout.probe.page.wording import formula, weighted_parts

WIDTHS = pytest.mark.parametrize("width", [WIDE, NARROW])
EXAMPLES = pytest.mark.parametrize("shown", [example(), example(5, stores=3), example(rewards=False, confirmed=0), example(1, confirmed=0)])


@WIDTHS
@EXAMPLES
def test_every_layer_stands_in_the_score_by_depth_with_its_value(shown: Example, width: float) -> None:
    ranking = shown.ranking
    drawing = draw_score(ranking, width)
    inside(drawing)
    hints = [mark.hint for mark in marks(drawing)]
    for layer in ranking.layers:
        if layer.role != "control":
            name = f"{layer.label}: {layer.name}" if len(ranking.stores) > 1 else layer.name
            assert f"{name}{' (untrained)' * (layer.role == 'twin')}: {as_table_value(layer.score)}" in hints
    confirmed = [layer for layer in ranking.layers if layer.confirmation]
    assert sum("on held-out episodes" in hint for hint in hints) == len(confirmed)
    assert words(drawing).count("on held-out episodes") == bool(confirmed)  # once in the legend, whatever the number of stores
    assert drawing.label == answer_of(ranking)


def test_layers_without_a_score_are_na_and_the_answer_says_so() -> None:
    ranking = example(4).ranking
    silent = ranking.model_copy(
        update={"layers": tuple(layer.model_copy(update={"score": None, "confirmation": None}) for layer in ranking.layers)}
    )
    drawing = draw_score(silent, WIDE)
    inside(drawing)
    assert words(drawing).count("n/a") == 8  # four layers and their twins
    assert drawing.label == "Score by depth of 4 layers: n/a for all of them"
    inside(draw_score(ranking.model_copy(update={"layers": ()}), NARROW))


@WIDTHS
@EXAMPLES
def test_the_parts_stand_beside_or_below_the_score(shown: Example, width: float) -> None:
    drawing = draw_score_and_parts(shown.ranking, width)
    inside(drawing)
    assert any(text.startswith("reward R²") for text in words(drawing))
    assert ("reward R²: n/a" in words(drawing)) == (shown.ranking.candidates[0].reward_r2 is None)
    whole = draw_file(shown.ranking, 1000, formula(shown.ranking))
    assert words(whole)[0].startswith(f"{shown.ranking.rows:,} transitions")
    assert whole.height > drawing.height or width == NARROW


@WIDTHS
@pytest.mark.parametrize("layers", [3, 30])
def test_the_order_has_a_row_a_layer_with_parts_that_add_up(width: float, layers: int) -> None:
    ranking = example(layers).ranking
    drawing = draw_order(ranking, width)
    inside(drawing)
    rows = layers if width == WIDE else min(layers, MOST_NARROW)
    named = [text for text in words(drawing) if re.match(r"\d+  blocks", text)]
    assert named[:rows] == [f"{place}  {layer.name}" for place, layer in enumerate(ranking.candidates[:rows], 1)]
    bars = [item for item, _, _ in flat(drawing.items) if isinstance(item, Area) and item.kind == "pale"]
    assert len(bars) == 3 * (rows + 2)  # with the pixels and the best untrained block; the best layer's own twin has another label here
    assert f"{best_twin(ranking).name} (untrained)" in words(drawing)
    first = bars[:3]
    assert [bar.hint for bar in first] == [f"{part}: {share:.3f}" for part, share in weighted_parts(ranking, ranking.candidates[0])]
    assert first[0].points[1][0] == pytest.approx(first[1].points[0][0], abs=0.11)  # each part begins where the last one ends
    assert sum(mark.hint.count("behind the best: ") for mark in marks(drawing)) == rows - 1
    assert f"{layers} layers" in drawing.label
    assert drawing.label.endswith(as_table_value(ranking.candidates[1].behind_best))


def test_an_undefined_part_is_left_out_and_said() -> None:
    drawing = draw_order(example(3, rewards=False).ranking, WIDE)
    bars = [item for item, _, _ in flat(drawing.items) if isinstance(item, Area) and item.kind == "pale"]
    assert len(bars) == 2 * 5
    assert sum(text.endswith("(reward n/a)") for text in words(drawing)) == 5


def measured(shown: Example) -> list[Measured]:
    return [Measured(layer.name, layer, shown.evidence[layer.store_id, layer.role, layer.name]) for layer in shown.ranking.candidates]


def test_panels_share_what_is_the_same_in_all() -> None:
    layers = measured(example(6))
    drawn = spectra(layers[:4], layers[4:])
    text = panels(drawn[:4]) + panels(drawn[4:])
    assert text.count("<svg") == len(drawn) == 6
    assert text.count('id="all-spectra"') == 1
    assert text.count('href="#all-spectra"') == 5
    assert spectra([], []) == []
    assert panels([]) == ""
    unknown = layers[0]._replace(evidence=layers[0].evidence.model_copy(update={"spectrum": ()}))
    assert ">n/a<" in panels(spectra([layers[1], unknown], []))
    assert spectra([unknown], []) == []


def test_a_sheet_holds_every_panel_with_its_name_and_says_how_many_it_leaves_out() -> None:
    layers = measured(example(6))
    drawing = sheet(spectra(layers, []), "Eigenvalues", WIDE)
    inside(drawing)
    assert {one.name for one in layers} <= set(words(drawing))
    assert drawing.label == "Eigenvalues of 6 layers"
    assert file(drawing).count("<use ") == 5
    many = sheet(spectra([layers[0]] * 50, []), "Eigenvalues", WIDE)
    assert many.label == "Eigenvalues of 40 layers, the first 40 of 50"
    alone = Drawing(20, 20, "", (Group([Shared("x", Stroke([(2, 5), (8, 5)], "strong"))]),))
    twice = Drawing(20, 20, "", (*alone.items, Group([Shared("x")], move=(0, 9))))
    assert png(twice) != png(alone)  # a picture repeats what it refers to, as a page does


def test_a_path_says_every_value_and_marks_what_was_chosen() -> None:
    layers = measured(example(2))
    first, second = (panels([one]) for one in penalty_paths(layers[:1], layers[1:]))
    values = layers[0].evidence.reward_path
    assert f"reward, R²: {values[0]:.3f} at 1e−7" in first
    assert f"{values[-1]:.3f} at 10<" in first
    assert first.count("chosen by 4 of 5 folds") == 1
    assert first.count("chosen by 1 of 5 folds") == 1
    assert first.count("chosen by 5 of 5 folds") == 1
    assert "reward 0.001…0.1 · transition 0.1" in first
    assert 'id="penalty-axes"' in first
    assert 'href="#penalty-axes"' in second
    single = [one._replace(evidence=one.evidence.model_copy(update={"penalties": (1.0,)})) for one in layers]
    assert penalty_paths(single, []) == []
    silent = layers[0]._replace(
        evidence=layers[0].evidence.model_copy(
            update={"reward_penalties": (), "reward_path": None, "transition_path": (None, 0.1, None, 0.2, None)}
        )
    )
    text = panels(penalty_paths([silent], []))
    assert "reward n/a" in text
    assert "transition, R²: 0.100 at 1e−5, 0.200 at 0.1" in text


def test_spectra_are_thinned_evenly_on_a_logarithmic_axis() -> None:
    for count in (0, 1, 2, 5, 1000):
        kept = thinned(count)
        assert len(kept) == min(count, len(kept)) <= 28
        if count:
            assert (kept[0], kept[-1]) == (0, count - 1)
    assert thinned(5) == [0, 1, 2, 3, 4]


def test_the_lines_of_a_score_join_its_marks() -> None:
    drawing = draw_score(example(5).ranking, WIDE)
    dots = {(mark.x, mark.y) for mark in marks(drawing) if mark.shape == "circle"}
    lines = [item for item, _, colour in flat(drawing.items) if isinstance(item, Stroke) and item.kind == "thick" and len(item.points) == 5]
    assert any(set(line.points) == dots for line in lines)


@WIDTHS
@pytest.mark.parametrize("value", [0.0, 1e-30, -1e-30, 1e30, -1e30, 1e12])
def test_degenerate_figures_are_drawn_inside_the_frame(value: float, width: float) -> None:
    shown = example(3)
    same = Estimate(value=value, low=value, high=value)
    changes = {
        "score": same,
        "reward_r2": same,
        "transition_r2": same,
        "behind_best": same,
        "persistence_r2": value,
        "effective_rank": same,
    }
    ranking = shown.ranking.model_copy(update={"layers": tuple(layer.model_copy(update=changes) for layer in shown.ranking.layers)})
    for draw in (draw_score, draw_score_and_parts, draw_order):
        drawing = draw(ranking, width)
        inside(drawing)
        assert "nan" not in element(drawing)
    flat_evidence = shown.evidence[next(iter(shown.evidence))].model_copy(
        update={"spectrum": (1.0, 0.0, 0.0), "reward_path": (value,) * 5, "transition_path": (None,) * 5}
    )
    layers = [Measured(layer.name, layer, flat_evidence) for layer in ranking.candidates]
    assert "nan" not in panels(spectra(layers, []) + penalty_paths(layers, []))
