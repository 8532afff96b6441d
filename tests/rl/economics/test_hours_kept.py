"""What is kept of hours: every column of the log by its formula, a ledger that forgets the oldest, and how usual a novelty is."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from layerscout.errors import DataError, UsageError
from layerscout.rl.economics import wages
from layerscout.rl.economics.episode_log import NAMES, EpisodeLog, episode_row, read_episodes
from layerscout.rl.economics.lagrangian import Curriculum, ascend, hinged_violation, penalise, time_constant, violation
from layerscout.rl.economics.ledger import COLUMNS, Terms, WorkLedger
from layerscout.rl.economics.novelty import LEAST, MOST, NEIGHBOURS, REMEMBERED, Novelty, novelty_of
from layerscout.rl.economics.spread import allocate_spread
from layerscout.rl.generators import run_generators
from layerscout.worlds.labour.dishwashing import Dishwashing

PRICES = replace(Dishwashing.trade.prices, price=0.5, damage=2.0, energy=0.25, human_wage=20.0)


# --- the log


@pytest.mark.parametrize("hinge", [False, True])
@pytest.mark.parametrize(("counts", "hours"), [((90, 100, 10), 1.0), ((98, 100, 2), 2.0), ((0, 5, 5), 0.5)])
def test_every_figure_of_an_hour_is_its_formula(hinge, counts, hours):
    completed, attempts, errors = counts
    product, rate = completed / hours, errors / attempts
    wage = 0.5 * product - 2.0 * rate * product
    split = allocate_spread(wage, 20.0, hours, 1.0, 4.0)
    row = episode_row(
        PRICES, counts, hours=hours, spread=split, error_target=0.06, multiplier=3.0, next_multiplier=4.0, hinge=hinge, seed=7, speed=0.5
    )
    over = rate - 0.06
    paid = min(max(0.0, wage - split.rebate / hours), 20.0)
    expected = {
        "hours": hours,
        "completed": completed,
        "attempts": attempts,
        "errors": errors,
        "marginal_product": product,
        "error_rate": rate,
        "revenue": 0.5 * product,
        "damage_cost": 2.0 * rate * product,
        "energy_cost": 0.25,
        "implied_wage": wage,
        "profit": wage - 0.25,
        "human_wage": 20.0,
        "wage_parity": wage / 20.0,
        "error_target": 0.06,
        "violation": over,
        "multiplier": 3.0,
        "penalty": 3.0 * (max(0.0, over) if hinge else over),
        "next_multiplier": 4.0,
        "penalised_profit": wage - 0.25 - 3.0 * (max(0.0, over) if hinge else over),
        "spread": split.spread,
        "spread_value": split.spread * hours,
        "customer_share": split.customer_share,
        "platform_share": split.platform_share,
        "rebate": split.rebate,
        "captured": split.captured,
        "customer_price": paid,
        "consumer_surplus": 20.0 - paid,
        "seed": 7,
        "speed": 0.5,
    }
    assert tuple(row) == NAMES
    assert {name: value for name, value in row.items() if value is not None} == pytest.approx(
        {name: value for name, value in expected.items() if value is not None}
    )


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, None])
def test_a_measured_figure_that_is_no_number_is_absent(number):
    assert episode_row(PRICES, (1, 1, 0), temperature=number)["temperature"] is None


def test_without_a_target_there_is_no_violation_and_without_a_spread_no_share():
    row = episode_row(PRICES, (9, 10, 1), multiplier=5.0)
    absent = ("violation", "penalty", "penalised_profit", "error_target", "spread", "rebate", "customer_share")
    assert [row[name] for name in absent] == [None] * len(absent)
    assert row["customer_price"] == pytest.approx(0.5 * 9 - 2.0 * 0.1 * 9)


def kept(folder, *rows):
    with EpisodeLog(folder) as log:
        for row in rows:
            log.add(row)
    return folder / "episodes.csv", folder / "episodes.jsonl"


def test_a_log_that_is_still_open_was_written_line_by_line_and_begins_anew(tmp_path):
    row = episode_row(PRICES, (9, 10, 1), episode=0)
    for _ in range(2):
        table, lines = kept(tmp_path / "deep" / "folder", row, row | {"episode": 1})
        assert [one["episode"] for one in read_episodes(table)] == [0.0, 1.0]
        assert [one["episode"] for one in read_episodes(lines)] == [0, 1]
    assert read_episodes(kept(tmp_path)[0]) == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("episodes.jsonl", lambda text: text[: len(text) // 2]),  # a line that was cut
        ("episodes.jsonl", lambda text: text + "[1, 2]\n"),
        ("episodes.jsonl", lambda text: text + "5\n"),
        ("episodes.csv", lambda text: text.replace("9,10,1", "nine,10,1")),
        ("episodes.csv", lambda text: text + "1,2,3\n"),
        ("episodes.csv", lambda text: text.rstrip("\n") + ",99\n"),
        ("episodes.csv", lambda text: text.replace("episode,seed", "seed,episode")),
        ("episodes.csv", lambda text: text.replace("episode,seed", "seed,episode").splitlines()[0] + "\n"),
        ("episodes.csv", lambda text: ""),
    ],
)
def test_a_file_that_is_no_log_is_told_so_whatever_is_wrong_with_it(tmp_path, name, damage):
    kept(tmp_path, episode_row(PRICES, (9, 10, 1), episode=0))
    file = tmp_path / name
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match="is no log of episodes"):
        read_episodes(file)


# --- the constraint


def test_the_wage_index_and_what_a_customer_keeps_are_the_formulas():
    assert wages.wage_index(20.0, 30.0) == pytest.approx(0.1 * 30 + 0.9 * 20)
    assert wages.wage_index(20.0, 30.0, inflation=0.05, weight=0.25) == pytest.approx((0.25 * 30 + 0.75 * 20) / 1.05)
    assert wages.wage_index(20.0, 30.0, weight=0.0) == 20.0
    assert wages.wage_index(20.0, 30.0, weight=1.0) == 30.0
    assert wages.consumer_surplus(12.5, 18.0) == 5.5
    assert wages.customer_price(15.0, 4.0, 18.0, base_fee=2.0) == 13.0
    for weight in (-0.1, 1.1, math.nan):
        with pytest.raises(UsageError, match="weight is"):
            wages.wage_index(20.0, 30.0, weight=weight)
    with pytest.raises(UsageError, match=r"error is 1\.2"):
        wages.implied_wage(0.3, 10.0, 1.2, 1.0)


def test_the_next_multiplier_of_the_log_is_a_step_of_ascent():
    row = episode_row(PRICES, (90, 100, 10), error_target=0.06, multiplier=3.0)
    assert float(ascend(3.0, row["error_rate"], 0.06, 5.0)) == pytest.approx(3.0 + 5.0 * row["violation"])
    assert float(ascend(0.1, 0.0, 0.06, 5.0)) == 0.0, "it never falls below nothing"


@pytest.mark.parametrize("penalty", ["linear", "hinge"])
def test_a_penalty_is_the_same_step_by_step_and_all_at_once(penalty):
    profit, over = np.array([30.0, 20.0, 10.0]), np.array([-0.02, 0.0, 0.05])
    together = penalise(profit, over, np.array([1.0, 2.0, 4.0]), penalty)
    for one in range(3):
        assert together[one] == penalise(profit[one : one + 1], over[one : one + 1], float(2**one), penalty)[0]


def test_a_hinge_gives_back_what_later_minutes_make_up_for():
    """Two errors in the first ten attempts, then forty without: the hour ends below the target, and nothing stays charged."""
    first = hinged_violation(np.array([2.0]), np.array([10.0]), np.array([0.0]), np.array([0.0]), 0.1, 1.0)
    second = hinged_violation(np.array([0.0]), np.array([40.0]), np.array([2.0]), np.array([10.0]), 0.1, 1.0)
    assert first[0] == pytest.approx(1.0)
    assert first[0] + second[0] == pytest.approx(0.0)
    assert violation(np.array([0.0]), np.array([0.0]), 0.1, 1.0).tolist() == [0.0], "a minute without attempts charges nothing"


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: Curriculum(0.0, 0.0), "the first error target is 0.0"),
        (lambda: Curriculum(0.1, 1.0), "the last error target is 1.0"),
        (lambda: Curriculum(0.1, 0.1, -1), "a curriculum of -1 episodes"),
        (lambda: time_constant(0.0, 1.0), "step_size is 0.0"),
        (lambda: ascend(0.0, 0.1, 0.06, -1.0), "step_size is -1.0"),
        (lambda: penalise(np.zeros(2), np.zeros(2), np.array([1.0, -1.0])), "multiplier is -1.0"),
        (lambda: allocate_spread(20.0, 18.0, 0.0, 1.0, 1.0), "hours is 0.0"),
        (lambda: allocate_spread(20.0, 18.0, 1.0, 1.0, 1.0, tolerance=math.inf), "tolerance is inf"),
    ],
)
def test_numbers_that_make_no_sense_are_named(call, complaint):
    with pytest.raises(UsageError) as caught:
        call()
    assert complaint in str(caught.value)


# --- the ledger


def filled(steps: int, capacity: int = 8, **options) -> WorkLedger:
    """Step t of run r: what is seen is t, profit 10 t + r, one error in every third of its t + 1 attempts; novelty 1."""
    ledger = WorkLedger(2, capacity, (1,), 2, **options)
    for step in range(steps):
        each = np.full(2, step)
        seen = np.full((2, 1), step, np.float32)
        features = {"features": np.stack([seen, seen + 0.5], axis=1)} if options.get("features") else {}
        counts = {"errors": (each % 3 == 0).astype(int), "attempts": each + 1, "errors_before": each, "attempts_before": 10 * each}
        ledger.add(
            seen,
            np.zeros((2, 2), np.float32),
            seen + 1,
            each % 4 == 3,
            profit=10.0 * each + [0, 1],
            novelty=np.ones(2),
            **counts,
            **features,
        )
    return ledger


TERMS = Terms(np.array([0.0, 2.0]), 0.1, np.array([1.0, 4.0]), scale=1.0)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_oldest_steps_make_room_for_the_newest(weighted):
    ledger = filled(13, weighted=weighted)
    assert (ledger.size, ledger.position) == (8, 5)
    batch, places = ledger.sample(500, run_generators([0, 1], 0), TERMS)
    time = batch.z[..., 0]
    assert set(time.ravel()) == set(range(5, 13))
    np.testing.assert_array_equal(places, time.astype(int) % 8)
    np.testing.assert_array_equal(batch.next_z[..., 0], time + 1)
    np.testing.assert_array_equal(batch.terminated, time % 4 == 3)
    np.testing.assert_allclose(batch.reward[0], 10 * time[0])
    errors = (time[1] % 3 == 0).astype(float)
    np.testing.assert_allclose(batch.reward[1], 10 * time[1] + 1 - 2.0 * (errors - 0.1 * (time[1] + 1)) / 4.0, rtol=1e-5)


def test_a_centre_is_taken_off_and_the_scale_comes_last():
    ledger, rows, places = filled(6), np.arange(2)[:, None], np.tile(np.arange(6), (2, 1))
    plain = ledger.reward(rows, places, TERMS)
    mean = ledger.mean(TERMS._replace(scale=0.1))
    np.testing.assert_allclose(mean, plain.mean(1), rtol=1e-6)
    centred = ledger.reward(rows, places, TERMS._replace(scale=0.1, centre=mean))
    np.testing.assert_allclose(centred, 0.1 * (plain - mean[:, None]), rtol=1e-4, atol=1e-5)
    assert WorkLedger(2, 4, (1,), 2).mean(TERMS).tolist() == [0.0, 0.0]


def test_features_that_are_kept_are_drawn_in_the_place_of_what_was_seen():
    ledger = filled(6, features=1)
    batch, _ = ledger.sample(50, run_generators([0, 1], 0), TERMS, of_features=True)
    np.testing.assert_array_equal(batch.next_z, batch.z + 0.5)
    seen, _ = ledger.sample(50, run_generators([0, 1], 0), TERMS)
    np.testing.assert_array_equal(seen.z, batch.z)


@pytest.mark.parametrize("options", [{}, {"weighted": True}, {"features": 1}])
@pytest.mark.parametrize("steps", [5, 13])
def test_a_ledger_that_was_saved_goes_on_as_if_it_had_not_been(options, steps):
    ledger, again = filled(steps, **options), WorkLedger(2, 8, (1,), 2, **options)
    ledger.reweigh(np.array([[0, 1], [2, 3]]), np.array([[3.0, -1.0], [0.5, 2.0]]))
    again.load_state_dict(ledger.state_dict())
    batches = [one.sample(64, run_generators([3, 4], 0), TERMS, "importance")[0] for one in (ledger, again)]
    for mine, theirs in zip(*batches, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert (ledger.size, ledger.position) == (again.size, again.position)


@pytest.mark.parametrize("other", [WorkLedger(2, 9, (1,), 2), WorkLedger(3, 8, (1,), 2), WorkLedger(2, 8, (2,), 2)])
def test_a_ledger_of_another_shape_is_refused(other):
    with pytest.raises(DataError, match="saved replay holds") as caught:
        other.load_state_dict(filled(5).state_dict())
    assert "same seeds, encoder and replay capacity" in caught.value.hint


def test_a_state_shares_no_memory_with_its_ledger():
    ledger = filled(5, weighted=True)
    state = ledger.state_dict()
    assert not any(np.shares_memory(state[name], getattr(ledger, name)) for name in COLUMNS)
    before = state["priorities"].copy()
    ledger.reweigh(np.zeros((2, 1), int), np.full((2, 1), 99.0))
    np.testing.assert_array_equal(state["priorities"], before)


def test_without_priorities_importance_weighs_all_alike_and_reweighing_does_nothing():
    ledger = filled(5)
    ledger.reweigh(np.zeros((2, 1), int), np.ones((2, 1)))
    assert ledger.sample(9, run_generators([0, 1], 0), TERMS, "importance")[0].weight.tolist() == [[1.0] * 9] * 2
    assert ledger.sample(9, run_generators([0, 1], 0), TERMS)[0].weight is None


def test_what_was_never_looked_at_comes_first():
    """A new step is as likely as the largest error that was ever seen, whatever errors there are now."""
    ledger = filled(3, weighted=True)
    ledger.reweigh(np.tile(np.arange(3), (2, 1)), np.array([[8.0, 0.1, 0.1], [1.0, 0.1, 0.1]]))
    seen = np.zeros((2, 1), np.float32)
    none = np.zeros(2, int)
    counts = {"errors": none, "attempts": none + 1, "errors_before": none, "attempts_before": none}
    ledger.add(seen, np.zeros((2, 2), np.float32), seen, none > 0, profit=np.zeros(2), novelty=np.array([0.5, 2.0]), **counts)
    np.testing.assert_allclose(ledger.tree.at(np.full((2, 1), 3)), [[4.0], [2.0]], rtol=1e-5)


# --- novelty


def test_a_novelty_is_a_distance_over_what_is_usual_within_its_bounds():
    """Latents on a line: the fifth nearest of those remembered, over a mean that moves by a hundredth; by hand."""
    novelty, generator = novelty_of("neighbours", [0], width=1), np.random.default_rng(0)
    seen: list[float] = []
    mean = 0.0
    for value in generator.normal(size=40):
        found = novelty(np.array([[value]], np.float32), np.zeros((1, 2), np.float32))[0]
        if len(seen) <= NEIGHBOURS:
            assert found == 1.0
        else:
            distance = sorted(abs(np.float32(value) - np.float32(one)) for one in seen)[NEIGHBOURS - 1]
            mean = 0.99 * mean + 0.01 * distance if mean else distance
            assert found == pytest.approx(np.clip(distance / mean, LEAST, MOST), rel=1e-4)
        seen.append(float(value))


def test_a_memory_that_is_full_keeps_its_size_and_goes_on_from_its_state():
    novelty, generator, still = novelty_of("neighbours", [3, 4], width=2), np.random.default_rng(0), np.zeros((2, 2), np.float32)
    for _ in range(REMEMBERED + 10):
        novelty(generator.normal(size=(2, 2)).astype(np.float32), still)
    state = novelty.state_dict()
    frozen = state["memory"].copy()
    again = novelty_of("neighbours", [0, 0], width=2)
    again.load_state_dict(state)
    for value in generator.normal(size=(20, 2, 2)).astype(np.float32):
        np.testing.assert_array_equal(novelty(value, still), again(value, still))
    np.testing.assert_array_equal(state["memory"], frozen, err_msg="the state is nobody's memory")
    assert state["memory"].shape == (2, REMEMBERED, 2)


def test_the_same_again_is_as_new_as_can_be_told_and_no_division_fails():
    novelty = novelty_of("neighbours", [0], width=1)
    found = [float(novelty(np.zeros((1, 1), np.float32), np.zeros((1, 2), np.float32))[0]) for _ in range(30)]
    assert found == [1.0] * 30
    assert LEAST <= novelty(np.ones((1, 1), np.float32), np.zeros((1, 2), np.float32))[0] <= MOST


def test_every_kind_goes_on_from_plain_data_and_none_keeps_nothing():
    generator = np.random.default_rng(0)
    z, action = generator.normal(size=(2, 3)).astype(np.float32), np.zeros((2, 2), np.float32)
    for kind in ("random", "ensemble"):
        one, other = novelty_of(kind, [0, 1], width=3), novelty_of(kind, [5, 6], width=3)
        for _ in range(3):
            one(z, action)
        other.load_state_dict(one.state_dict())
        np.testing.assert_array_equal(one(2 * z, action), other(2 * z, action))
    assert type(novelty_of("none", [0])) is Novelty
    assert json.dumps(novelty_of("none", [0]).state_dict()) == "{}"
