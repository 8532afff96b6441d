"""Arms that worked for a wage are held against the first one, paired by seed, and only where prices and limit are its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerscout.cache import records
from layerscout.cache.records import Estimate
from layerscout.cache.records.work import WORK_NAME, WageHour, WorkArm, WorkJudgement, WorkRecord
from layerscout.report.labour.compare import ablated, answers, mean_of_known, standings, words

HOUR = WageHour(speed=0.5, care=0.5, product=60.0, error=0.1, profit=10.0, wage=12.0, parity=0.8)


def arm(name: str, *profits: float, **changes: Any) -> WorkArm:
    judged = [
        WorkJudgement(episode=at, profit=tuple(scale * one for one in profits), error=(0.1,) * len(profits), speed=(), care=())
        for at, scale in ((1, 100.0), (2, 1.0))
    ]
    values: dict[str, Any] = {
        "name": name,
        "settings": {},
        "environment": "layerscout/Dishwashing-v0",
        "prices": {"price": 1.0},
        "limit": 0.2,
        "swept": None,
        "best": HOUR,
        "hours": 2,
        "updates": 1,
        "clips": 0,
        "trainable_parameters": 1,
        "cpu_seconds": 1.0,
        "judgements": tuple(judged),
        "blocks": (),
        "curves": (),
        "foretold": (None,) * len(profits),
        "novel": (None,) * len(profits),
    }
    return WorkArm(**values | changes)


def record(*arms: WorkArm) -> WorkRecord:
    seeds = tuple(range(len(arms[0].last.profit)))
    return WorkRecord(
        environment="layerscout/Dishwashing-v0",
        seeds=seeds,
        limit=0.2,
        feasible=1,
        profitable=1,
        needed=60.0,
        frontier=(),
        elasticity=(),
        arms=arms,
    )


def test_arms_are_compared_by_their_last_policy_paired_by_seed_and_corrected_over_the_others():
    base, more, less = standings(record(arm("base", 1.0, 2.0, 3.0), arm("more", 2.0, 4.0, 6.0), arm("less", 0.0, 0.0, 0.0)))
    assert (base.difference, base.p, base.adjusted) == (None, None, None)
    assert base.profit.value == 2.0, "of the policy after the last hour"
    assert more.difference.value == pytest.approx(2.0)
    assert less.difference.value == pytest.approx(-2.0)
    assert (more.p, less.p) == (0.25, 0.25)  # 2 / 2³ signs
    assert (more.adjusted, less.adjusted) == (0.5, 0.5)


def test_sweeps_other_prices_and_other_limits_are_no_ablation():
    kept = arm("kept", 1.0)
    others = (arm("swept", 1.0, swept="price"), arm("dear", 1.0, prices={"price": 2.0}), arm("strict", 1.0, limit=0.1))
    assert ablated(record(arm("base", 1.0), *others, kept)) == (arm("base", 1.0), kept)


@pytest.mark.parametrize(("seeds", "verdict"), [(3, "is not told apart from base"), (6, "earns more than base")])
def test_novelty_earns_its_keep_only_where_seeds_can_show_it(seeds, verdict):
    base, novel = (
        arm("base", *range(seeds)),
        arm("new", *(2.0 * one + 1.0 for one in range(seeds)), settings={"replay": "novelty", "novelty": "random"}),
    )
    [sentence] = answers(record(base, novel))
    assert verdict in sentence
    assert f"{seeds} seeds" in sentence


def test_drawing_by_novelty_is_held_against_what_differs_in_nothing_else():
    novel = {"replay": "novelty", "weighting": "novelty", "novelty": "neighbours"}
    network = {"encoder": {"kind": "mlp"}}
    arms = (
        arm("state", *(10.0 + seed for seed in range(6))),
        arm("network", *(2.0 * seed for seed in range(6)), settings=network),
        arm("network by novelty", *(2.0 * seed + 3.0 for seed in range(6)), settings=network | novel),
        arm("layer by novelty", *(5.0,) * 6, settings={"encoder": {"kind": "store"}} | novel),  # none beside it draws evenly
    )
    [sentence] = answers(record(*arms))
    assert (
        sentence
        == "network by novelty (drawing by |error| · novelty, neighbours) earns more than network: 3.00 [3.00, 3.00] $/h, p = 0.031, 6 seeds."
    )


def test_an_hours_novelty_goes_with_its_gain_only_where_the_interval_leaves_zero():
    clear, unclear = (arm(name, 1.0, 1.0, 1.0, novel=novel) for name, novel in (("base", (0.5, 0.51, 0.52)), ("other", (-0.5, 0.5, None))))
    first, second = answers(record(clear, unclear))
    assert "goes with" in first
    assert "does not tell" in second


def test_a_mean_is_over_the_seeds_that_have_the_figure():
    assert mean_of_known((None, 1.0, 3.0)).value == 2.0
    assert mean_of_known((None, None)) is None


def test_a_figure_is_written_with_its_interval_in_the_units_asked_for():
    assert words(Estimate(value=0.5, low=0.25, high=0.75), 1, 100.0) == "50.0 [25.0, 75.0]"
    assert (words(Estimate(value=0.5), 2), words(None, 2)) == ("0.50", "n/a")


def test_what_arms_earned_is_printed_of_a_finished_folder_and_what_cannot_be_computed_is_null(tmp_path):
    made = record(arm("base", 1.0, 2.0, 3.0), arm("more", 2.0, 4.0, 9.0, novel=(0.5, None, 0.1)), arm("dear", 7.0, prices={"price": 2.0}))
    records.save(made, tmp_path / WORK_NAME)
    program = Path(__file__).parents[2] / "benchmarks" / "earned.py"
    answer = subprocess.run([sys.executable, str(program), str(tmp_path)], capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    assert list(found) == ["base", "more"]
    base = {"profit": 2.0, "worst": 1.0, "error": pytest.approx(0.1), "difference": None, "p": None, "adjusted": None, "novel": None}
    assert found["base"] == base
    assert found["more"] == pytest.approx(
        {"profit": 5.0, "worst": 2.0, "error": 0.1, "difference": 3.0, "p": 0.25, "adjusted": 0.25, "novel": 0.3}
    )
