"""Agents that plan, that work for a wage, and that learn from teachers: their tables and figures by parts, on figures worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn import flat
from plain_records import plain_arm, plain_record, plain_run
from test_goals_report import MODEL
from test_labour_standings import HOUR
from test_labour_standings import arm as work_arm
from test_labour_standings import record as work_record
from test_transfer_report import WHOLE, teacher
from test_transfer_report import arm as student
from test_transfer_report import record as transfer_record

from layerscout.cache.records import Estimate, RunRecord, save
from layerscout.cache.records.goals import GOAL_ARMS, GoalAlignment, GoalRecord
from layerscout.cache.records.work import ElasticityPoint, FrontierPoint, WorkCurve, WorkRecord
from layerscout.pages.drawing import Drawing, Mark, Stroke
from layerscout.report.goals import tables as goal_tables
from layerscout.report.goals.results import GoalResults, differing, fit_of, nats, paired, reached, success, successes
from layerscout.report.labour import figures as work_figures
from layerscout.report.labour.compare import drawn_evenly, words
from layerscout.report.labour.page import ablation_table, arms_table, gains_table
from layerscout.report.transfer import figures as transfer_figures
from layerscout.report.transfer import tables as transfer_tables
from layerscout.report.transfer.page import write_transfer
from layerscout.report.transfer.published import TABLE, published_for

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")
PVDR = GOAL_ARMS["pvdr"]


# --- agents that plan


def planned(model: Any = None, settings: Any = None, folder: str = "a", **reached_by: Any) -> GoalResults:
    """Results whose runs reached these goals in their last evaluation, by arm and seed."""
    runs = [
        plain_run(
            name, seed, None if goals is None else 0.0, evaluations=() if goals is None else ((1, (0.0,)), (2, tuple(map(float, goals))))
        )
        for name, seeds in reached_by.items()
        for seed, goals in enumerate(seeds)
    ]
    record = plain_record([plain_arm(GOAL_ARMS[name]) for name in reached_by], {}, random_policy_return=0.25)
    renamed = tuple(run.model_copy(update={"arm": GOAL_ARMS[run.arm]}) for run in runs)
    goals = GoalRecord(environment="Game-v0", model=MODEL if model is None else model, alignment=(), shown=None)
    return GoalResults(Path(folder), record.model_copy(update={"runs": renamed}), goals, settings or {})


def test_success_is_the_share_of_goals_of_the_last_evaluation_cut_to_what_a_share_can_be() -> None:
    record = planned(pvdr=((1, 1), (1, 0), None, (1, 1, 1, 1))).record
    assert successes(record, PVDR) == {0: 1.0, 1: 0.5, 3: 1.0}
    found = success(record, PVDR)
    assert found
    assert found.value == pytest.approx(2.5 / 3)
    assert found.high == 1.0  # Student's would end at 1.55
    assert found.low == pytest.approx(2.5 / 3 - 4.302653 / 6, rel=1e-5)  # t of 2 degrees of freedom · s / √3, with s = √(1/12)
    assert reached(record, PVDR) == (7, 8)
    assert (success(record, "nobody"), reached(record, "nobody")) == (None, (0, 0))
    assert success(planned(pvdr=((1, 0),)).record, PVDR) == Estimate(value=0.5)


def test_arms_are_paired_by_the_seeds_that_both_have() -> None:
    record = planned(pvdr=((1, 1), (1, 1), None), scratch=((0, 0), (1, 0), (1, 1))).record
    difference, p = paired(record, PVDR, GOAL_ARMS["scratch"])
    assert difference
    assert (difference.value, p) == (0.75, 0.5)
    assert paired(record, PVDR, "nobody") == (None, None)


def test_every_question_has_a_row_though_its_arm_was_not_run() -> None:
    table = goal_tables.experiments_table(planned(pvdr=((1,), (1,)), scratch=((0,), (1,))))
    assert [row[1] for row in table.rows] == [GOAL_ARMS[name] for name in ("scratch", "supervised", "random-plans", "cloning")]
    assert table.rows[0][2:] == ("1.00 [1.00, 1.00]", "0.50 [0.00, 1.00]", "0.50 [-5.85, 6.85]", "1.0000")
    assert {row[2:] for row in table.rows[1:]} == {("not run", "not run", "n/a", "n/a")}
    assert {row[2] for row in goal_tables.experiments_table(planned(scratch=((0,),))).rows} == {"not run"}


def test_policies_that_learn_nothing_stand_below_the_arms() -> None:
    table = goal_tables.success_table(planned(pvdr=((1, 0), None)))
    assert [row[:1] + row[2:] for row in table.rows] == [(PVDR, "1 of 2", "2"), ("random actions", "–", "–")]
    assert table.quiet == {1}


def test_a_fit_is_the_mean_over_the_runs_that_have_one() -> None:
    def row(arm: str, seed: int, aligned: float | None, linear: float | None) -> GoalAlignment:
        return GoalAlignment.model_construct(arm=arm, seed=seed, aligned=aligned, linear=linear)

    goals = GoalRecord.model_construct(alignment=(row("a", 0, 0.5, None), row("a", 1, 0.7, None), row("b", 0, None, 0.1)))
    assert fit_of(goals, "a", "aligned").value == pytest.approx(0.6)  # type: ignore[union-attr]
    assert fit_of(goals, "a", "linear") is fit_of(goals, "b", "aligned") is None
    table = goal_tables.alignment_table(GoalResults(Path("a"), planned().record, goals, {}))
    assert [row[:2] for row in table.rows] == [("a", "n/a"), ("b", "0.100")]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, 42.6 / 4),
        ({"dynamics": {}}, None),
        ({"dynamics": None}, None),
        ({"shape": {"future": 0}}, None),
        ({"shape": []}, None),
        ({"dynamics": {"cross_entropy": "much"}}, None),
    ],
)
def test_what_a_model_does_not_say_is_no_figure_and_no_bug(changes: dict[str, Any], told: float | None) -> None:
    results = planned(model=MODEL | changes)
    assert nats(results, "cross_entropy") == (told and pytest.approx(told))
    rows = goal_tables.model_table(results.goals.model).rows
    assert rows[2][1] == ("42.6" if told or "shape" in changes else "n/a")
    assert goal_tables.model_table({"tokenizer": 7}).rows[0][1] == "n/a"


def test_folders_differ_in_what_decides_a_number_and_not_in_where_things_lie() -> None:
    first = planned(settings={"seed": 0, "out": "x", "pvdr": {"model": "m", "horizon": 4}}, folder="1")
    second = planned(model=MODEL | {"episodes": 6}, settings={"seed": 0, "out": "y", "pvdr": {"model": "n", "horizon": 4}}, folder="2")
    third = planned(settings={"seed": 1}, folder="3")
    assert differing((first, second)) == {"episodes": ("600", "6")}
    assert differing((first, third)) == {"train.seed": ("0", "1"), "train.pvdr.horizon": ("4", "–")}
    assert differing((first, first)) == {}
    assert goal_tables.what_differs((first, second)) == "Open question: how much video does it take?"
    assert goal_tables.what_differs((first, third)) == goal_tables.what_differs((first, first)) == "Folders side by side"
    far = planned(model=MODEL | {"shape": MODEL["shape"] | {"future": 8}}, settings={"seed": 0, "pvdr": {"horizon": 4}})
    assert goal_tables.what_differs((first, far)) == "Third experiment: how far ahead?"
    table = goal_tables.side_by_side((first, far))
    assert [(row[0], row[1], row[2]) for row in table.rows] == [("1", "4", "10.7"), ("a", "8", "5.3")]


# --- agents that work


def work(*arms: Any, **changes: Any) -> WorkRecord:
    made = [one.model_copy(update={"prices": {"price": 1.0, "damage": 2.0, "energy": 0.5, "human_wage": 20.0}}) for one in arms]
    return work_record(*made).model_copy(update=changes)


def action(error: float, product: float, feasible: bool = True, speed: float = 0.5, care: float = 0.5) -> FrontierPoint:
    return FrontierPoint(speed=speed, care=care, product=product, error=error, profit=1.0, feasible=feasible)


def test_the_edge_of_what_can_be_made_rises_with_the_error_that_is_allowed() -> None:
    points = [action(0.3, 5.0), action(0.1, 2.0), action(0.1, 3.0), action(0.2, 3.0), action(0.2, 4.0), action(0.4, 1.0)]
    assert [(point.x, point.value) for point in work_figures._edge(points)] == [(0.1, 3.0), (0.2, 4.0), (0.3, 5.0)]
    assert work_figures._edge([]) == ()


def lasting(name: str, *profits: float, speed: float = 0.5, care: float = 0.5, **changes: Any) -> Any:
    """An arm whose last policy has a speed and a care."""
    made = work_arm(name, *profits, **changes)
    seeds = len(profits)
    last = made.judgements[-1].model_copy(update={"speed": (speed,) * seeds, "care": (care,) * seeds})
    return made.model_copy(update={"judgements": (*made.judgements[:-1], last)})


def drawn(draw: Any, width: float = 900.0) -> tuple[Drawing, list[str]]:
    drawing = draw(width)
    hints = [one.hint for one, _, _ in flat(drawing.items) if isinstance(one, Mark | Stroke) and one.hint]
    return drawing, hints


def test_a_policy_sits_at_its_own_error_and_at_the_product_of_the_action_nearest_to_it() -> None:
    near, far = action(0.1, 60.0, speed=0.4, care=0.6), action(0.2, 90.0, feasible=False, speed=0.9, care=0.1)
    record = work(lasting("base", 1.0, 3.0, speed=0.45, care=0.5), lasting("swept", 1.0, 1.0, swept="price"), frontier=(near, far))
    for width in (340.0, 1060.0):
        drawing, hints = drawn(work_figures.draw_frontier(record), width)
        assert drawing.label == "Frontier: 1 of 2,500 actions are feasible, 1 keep the limit on errors"
        assert "base: speed 0.450, care 0.500" in hints
        assert not [hint for hint in hints if hint.startswith("swept")]
        assert {"speed 0.40, care 0.60: 1.00 $/h", "speed 0.90, care 0.10: 1.00 $/h"} <= set(hints)


def test_policies_that_were_trained_at_other_prices_stand_on_the_curve_of_the_best() -> None:
    points = tuple(
        ElasticityPoint(setting="price", dollars=dollars, hour=HOUR.model_copy(update={"profit": 10.0 * dollars}))
        for dollars in (0.5, 1.0, 2.0)
    )
    first, dear = lasting("base", 8.0, 10.0), lasting("dear", 18.0, 18.0, swept="price")
    record = work(first, dear, elasticity=points)
    record = record.model_copy(
        update={"arms": (record.arms[0], record.arms[1].model_copy(update={"prices": record.arms[1].prices | {"price": 2.0}}))}
    )
    drawing, hints = drawn(work_figures.draw_elasticity(record, "price"))
    assert drawing.label == "Elasticity by price: from 5.00 to 20.00 $/h"
    assert {"base: 9.00 $/h", "dear: 18.00 $/h"} <= set(hints)
    alone = drawn(work_figures.draw_elasticity(work(first, elasticity=points), "price"))[1]
    assert "base: 9.00 $/h" not in alone  # nothing was trained anew


def test_tables_of_work_tell_each_arm_by_its_own_figures() -> None:
    record = work(lasting("base", 1.0, 2.0, speed=0.25), lasting("more", 2.0, 4.0, settings={"replay": "novelty"}, novel=(0.5, 0.7)))
    first, second = ablation_table(record).rows
    assert (first[0], first[3], first[5], first[6:]) == ("base", "1.00", "0.250, 0.500", ("–", "n/a"))
    assert (second[0], second[3], second[7]) == ("more", "2.00", "0.500 (0.500)")
    assert second[6].startswith("1.50 [")
    assert [row[1:] for row in gains_table(record).rows] == [
        ("n/a", "n/a"),
        ("n/a", words(Estimate(value=0.6, low=-0.6706, high=1.8706), 3)),
    ]
    row = arms_table(work(lasting("base", 1.0, 2.0, limit=None))).rows[0]
    assert row[:6] == ("base", "1, 2, 0.5, 20", "none", "10.00 at (0.500, 0.500)", "n/a", "1.50")


def test_an_arm_that_differs_in_how_it_draws_alone_is_the_one_to_be_held_against() -> None:
    novel = work_arm("novel", 1.0, settings={"replay": "novelty", "novelty": "x", "width": 8})
    other, alike = work_arm("other", 1.0, settings={"width": 4}), work_arm("alike", 1.0, settings={"replay": "even", "width": 8})
    assert drawn_evenly(work_record(other, novel, alike), novel) == alike
    assert drawn_evenly(work_record(other, novel), novel) is None


def test_no_figure_is_minus_nothing() -> None:
    assert words(Estimate(value=-0.0001, low=-0.001, high=-0.00001), 2) == "0.00 [0.00, 0.00]"


def test_every_arm_is_drawn_in_a_look_of_its_own_as_far_as_looks_go() -> None:
    looks = [work_figures.look(place) for place in range(28)]
    assert len(set(looks)) == 28  # seven colours, four strokes: they come round together after as many


def test_the_split_of_an_hours_worth_is_drawn_where_it_was_counted() -> None:
    curves = tuple(WorkCurve(column=name, unit="$", values=((1.0, 3.0), (None, 4.0))) for name in ("rebate", "captured"))
    arm = work_arm("base", 1.0, 2.0, curves=curves, blocks=(10, 20))
    assert drawn(work_figures.draw_spread(arm))[0].label == (
        "Spread of base, in the end: rebate to the customer 4.00, kept by the platform 4.00"
    )


# --- students with teachers


def two_teachers(*names: str) -> Any:
    arms = [WHOLE[0], *(student(-5.2, 8, "repaint", name, name=f"repaint {name}") for name in names)]
    arms += [student(-6.0, 8, "repaint", name, name=f"swept {name}", swept="a/b", settings={"a/b": 0.5}) for name in names[:1]]
    return transfer_record(*arms)


@pytest.mark.parametrize(
    "names", [("../../../../evil", "..\\evil"), ("a/b", "a-b"), ("x" * 300, "y"), ("good", "bad")], ids=lambda names: names[0][:8]
)
def test_a_teachers_name_leads_no_figure_out_of_its_folder(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = tmp_path / "deep" / "er" / "out"
    save(two_teachers(*names), folder / "transfer.json")
    write_transfer(folder)
    figures = sorted(path.name for path in (folder / "figures").iterdir())
    assert len(figures) == 2 * 4  # greedy, sampled, by steps and kept, for each teacher
    assert [path for path in tmp_path.rglob("*.svg") if path.parent != folder / "figures"] == []
    if names == ("good", "bad"):
        assert "scores-good.svg" in figures


def test_only_one_teacher_needs_no_name_in_a_figures_file() -> None:
    record = transfer_record(*WHOLE)
    assert list(transfer_figures.figures_of(record)) == ["scores", "sampled", "steps", "kept", "sweep-beta"]
    assert transfer_figures.sweep_name(two_teachers("p", "q"), "q", "a/b") == "sweep-a-b-1-q"


def test_a_curve_is_the_mean_over_the_seeds_that_were_looked_at() -> None:
    broken = student(-7.0, 2, sampled=[[None, -3.0, -5.0], *[[None] * 3] * 39])
    record = transfer_record(broken)
    drawing = transfer_figures.draw_curves(record, None, "sampled", "iteration")(600.0)
    assert drawing.label.startswith("return, as played by iteration: at the end baseline -6.90")
    series = transfer_figures._series(broken, "sampled", "iteration")
    assert [(point.x, point.value) for point in series.points] == [(1.0, -4.0)]
    by_steps = transfer_figures._series(WHOLE[2], "scores", "steps")
    assert [point.x for point in by_steps.points[:3]] == [200.0, 400.0, 600.0]  # a hundred of the student, a hundred of its teacher


def test_a_sweep_is_drawn_from_two_values_on() -> None:
    record = transfer_record(*WHOLE)
    drawn_sweep = transfer_figures.draw_sweep(record, "good", "beta")
    assert drawn_sweep is not None
    assert drawn_sweep(600.0).label == "Last score by beta: 0.3 -6.40, 1 -5.10"
    assert transfer_figures.draw_sweep(transfer_record(*WHOLE[:4]), "good", "beta") is None
    assert transfer_figures.draw_sweep(record, "good", "zeta") is None


def test_a_row_of_an_arm_says_what_it_never_reached() -> None:
    rows = [
        dict(zip(transfer_tables.SUMMARY, row, strict=True)) for row in transfer_tables.summary_rows(transfer_record(*WHOLE, target=99.0))
    ]
    assert {row["K"] for row in rows} == {row["steps"] for row in rows} == {row["reduced"] for row in rows} == {"n/a"}
    assert rows[3]["kept"] == "10 % to 10 %"
    assert rows[0]["kept"] == rows[0]["ESS share"] == rows[0]["teacher"] == ""
    assert rows[3]["teacher"] == "good (different)"  # it does not earn 99
    assert transfer_tables.savings_table(transfer_record(*WHOLE)).quiet == {4}


def test_a_teacher_of_unknown_making_says_so() -> None:
    (row,) = transfer_tables.teachers_table(transfer_record(WHOLE[0], teachers=[teacher("one", -50.0)])).rows
    assert row == ("one", "harmful", "-50.00", "-51.00", "n/a", "one.npz")


def test_the_papers_rows_are_found_by_environment_and_kind_of_teacher() -> None:
    assert published_for("layerscout.worlds.reacher:ReacherTwin", "similar") is TABLE[0]
    assert published_for("Ant-v5", "different") is None
    assert published_for("layerscout/Grid-v0", "similar") is None
    assert TABLE[0].reduced("repaint") == pytest.approx(1 - 42 / 173)
    assert TABLE[3].reduced("ks") is None


def test_a_record_of_runs_is_told_apart_from_its_goals() -> None:
    assert isinstance(planned(pvdr=((1,),)).record, RunRecord)
