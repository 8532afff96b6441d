"""The report's tables of layers show the score that orders them, whichever it is."""

from __future__ import annotations

from example_records import example_ranking

from layerscout.cache.records import Estimate, Ranking, as_table_value
from layerscout.report.exhibits import analysis_table, ranking_table
from layerscout.report.paper import describe_score, ranking_sentences


def by_control() -> Ranking:
    """The example ordered by S-ctrl, which runs against S: the first layer by S has the lowest of it."""
    ranking = example_ranking()
    layers = [one.model_copy(update={"control_score": Estimate(value=0.1 * place)}) for place, one in enumerate(ranking.candidates, 1)]
    rest = [one for one in ranking.layers if one.role != "layer"]
    return ranking.model_copy(update={"layers": (*reversed(layers), *rest), "score_kind": "S-ctrl/1"})


def test_where_s_orders_one_column_is_the_score() -> None:
    table = ranking_table(example_ranking())
    assert table.columns[2:4] == ("Score", "Reward R²")
    values = [float(row[2].split()[0]) for row in table.rows if row[1].isdigit()]
    assert values == sorted(values, reverse=True)


def test_where_s_ctrl_orders_it_is_shown_with_s_and_the_bits_of_action_beside_it() -> None:
    table = ranking_table(by_control())
    assert table.columns[2:5] == ("S-ctrl", "Bits of action", "S")
    shown = [row for row in table.rows if row[1].isdigit()]
    ordered, by_s = ([float(row[column].split()[0]) for row in shown] for column in (2, 4))
    assert ordered == sorted(ordered, reverse=True)
    assert by_s == sorted(by_s)
    assert all(row[3] == "3.200" for row in shown)
    assert [row[2] for row in table.rows if row[1] == "twin"] == ["n/a"] * 8


def test_the_papers_table_names_the_score_that_orders() -> None:
    assert analysis_table(example_ranking()).columns[-1] == "Score"
    table = analysis_table(by_control())
    assert table.columns[-1] == "S-ctrl"
    assert [row[-1] for row in table.rows][:2] == ["0.800", "0.700"]


def test_the_paper_tells_the_score_that_orders_and_how_it_is_made() -> None:
    """No figure of one score stands beside a figure of another."""
    for ranking, told, formula in ((example_ranking(), "score", r"\text{S}(\ell) = 0.45"), (by_control(), "control_score", r"\log_2")):
        sentences, best = ranking_sentences(ranking), ranking.candidates[0]
        assert f"ranked first with a score of {as_table_value(getattr(best, told))}." in sentences
        for control in (one for one in ranking.layers if one.role == "control"):
            assert f"{control.name} scores {as_table_value(getattr(control, told))}." in sentences
        assert formula in describe_score(ranking)
    assert "Layers are ordered by control" not in describe_score(example_ranking())


def test_a_ranking_in_a_notebook_shows_the_score_that_orders() -> None:
    _, columns, rows = by_control().summary()
    place = list(columns).index("S-ctrl")
    assert [row[place] for row in rows][:2] == ["0.800", "0.700"]
    assert list(example_ranking().summary()[1])[place] == "S"
