"""What is told of a ranking's figures: other weights, differences, pairs, and every score's own choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from example_records import example_ranking, layer_score

from layerscout.cache.records import Estimate, LayerScore, Ranking
from layerscout.service.data.measured import difference, evidence_of, read_weights, reweighted
from layerscout.service.data.results import FoundResult
from layerscout.service.web.ranking_tables import flags_cell, pairs_table, versions_table

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")
ABOVE, BELOW, OPEN = (Estimate(value=one, low=one - 0.02, high=one + 0.02) for one in (0.05, -0.05, 0.01))
BARE = Estimate(value=0.2)


def found_result(name: str = "1", when: float = 1.0, **changes: Any) -> FoundResult:
    return FoundResult(name * 32, Path(f"/served/{name}"), Path("/served"), when, False, **changes)


def bare(estimate: Estimate | None) -> float:
    """The figure of an estimate without an interval."""
    assert estimate is not None
    assert estimate.low is estimate.high is None
    return estimate.value


def with_twins(rewards: dict[str, float], twins: dict[str, float], pixels: float = 0.0, **changes: Any) -> Ranking:
    """A ranking in the order of its rewards, each layer's twin of its own name."""
    ordered = sorted(rewards, key=lambda name: -rewards[name])
    layers = [layer_score(name, "layer", int(name[-1]), rewards[name], 0.5) for name in ordered]
    layers += [layer_score(name, "twin", int(name[-1]), reward, 0.5) for name, reward in twins.items()]
    layers.append(layer_score("pixels", "control", 0, pixels, 0.5))
    return example_ranking().model_copy(update={"layers": tuple(layers)} | changes)


@pytest.mark.parametrize(
    ("words", "weights"),
    [
        (("1", "1", "2"), (0.25, 0.25, 0.5)),
        (("0", "0", "1e-9"), (0.0, 0.0, 1.0)),
        ((" 3 ", "0", "0"), (1.0, 0.0, 0.0)),
        (("1000", "1000", "1000"), (0.333333, 0.333333, 0.333333)),
        (("1001", "1", "1"), None),
        (("0", "0", "0"), None),
        (("-0.1", "1", "1"), None),
        (("nan", "1", "1"), None),
        (("inf", "1", "1"), None),
        (("1", "1"), None),
        (("1", "1", "1", "1"), None),
        (("", "1", "1"), None),
        ((), None),
    ],
)
def test_weights_are_three_sizes_whose_sum_is_one(words: tuple[str, ...], weights: Any) -> None:
    assert read_weights(words) == weights


def test_without_evidence_other_weights_order_by_the_records_own_parts(tmp_path: Path) -> None:
    ranking = with_twins({"b.0": 0.9, "b.1": 0.1}, {})
    assert evidence_of(found_result(), ranking, {}) == {}
    assert [one.layer.name for one in reweighted(ranking, (1.0, 0.0, 0.0), {})] == ["b.0", "b.1"]
    by_rank = reweighted(ranking, (0.0, 0.0, 1.0), {})
    assert [(one.layer.name, one.place) for one in by_rank] == [("b.1", 1), ("b.0", 2)]
    assert bare(by_rank[0].score) == pytest.approx(0.13)
    equal = reweighted(with_twins({"b.3": 0.4, "b.1": 0.4}, {}), (1.0, 0.0, 0.0), {})
    assert [one.layer.name for one in equal] == ["b.1", "b.3"]  # of equals the shallower one


def test_without_evidence_a_difference_has_no_interval_and_without_a_score_is_none() -> None:
    ranking = with_twins({"b.0": 0.9, "b.1": 0.1}, {})
    first, second = ranking.candidates
    assert bare(difference(ranking, first, second, {})) == pytest.approx(0.36 - 0.001)
    assert difference(ranking, first, second.model_copy(update={"score": None}), {}) is None


def test_pairs_are_told_apart_only_by_an_interval_without_zero() -> None:
    table = pairs_table(with_twins({"b.0": 0.9, "b.1": 0.1}, {}), {})
    assert [column.name for column in table.heads] == ["Row minus column", "b.0", "b.1"]
    assert [[cell if isinstance(cell, str) else (cell.text, cell.small) for cell in row] for row in table.rows] == [
        [("b.0", ""), ("–", ""), ("+0.359", "")],
        [("b.1", ""), ("-0.359", ""), ("–", "")],
    ]


def test_every_score_that_is_known_names_its_own_best_layer() -> None:
    def scored(name: str, depth: int, skill: float | None) -> LayerScore:
        return layer_score(name, "layer", depth, 0.5, 0.5).model_copy(update={"skill_score": Estimate(value=skill) if skill else None})

    layers = (scored("b.1", 1, 0.2), scored("b.0", 0, 0.7), scored("b.2", 2, 0.7), scored("b.3", 3, None))
    rows = versions_table(example_ranking().model_copy(update={"layers": layers})).rows
    assert [[cell.text for cell in row][:2] for row in rows] == [["S", "b.3"], ["S-skill", "b.0"]]  # type: ignore[union-attr]
    assert [row[3].text for row in rows] == ["b.2", "b.2"]  # type: ignore[union-attr]
    assert rows[0][0].small == "orders this ranking"  # type: ignore[union-attr]


def test_every_flag_says_what_it_means_and_none_says_nothing() -> None:
    assert flags_cell(()).text == "–"
    cell: Any = flags_cell(("DEAD_DIMS", "OF_ANOTHER_VERSION"))
    assert cell.tips == (
        ("DEAD_DIMS", "Some features never change."),
        ("OF_ANOTHER_VERSION", "Set by the probe; see the reference of the probe stage."),
    )
