"""Laws of the sum-tree and of the ledger on it: frequencies match priorities, rewards are today's, runs do not touch each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chisquare

from layerscout.errors import UsageError
from layerscout.rl.economics.ledger import Terms, WorkLedger
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.sum_tree import SumTree


def test_places_are_drawn_as_often_as_their_priorities_say():
    tree, generator = SumTree(2, 37), np.random.default_rng(0)
    priorities = generator.random((2, 37)) ** 2
    priorities[:, 5] = 0.0
    tree.change(np.tile(np.arange(37), (2, 1)), priorities)
    np.testing.assert_allclose(tree.total(), priorities.sum(1))
    drawn = tree.draw(20_000, run_generators([3, 4], 1))
    for run in range(2):
        counts = np.bincount(drawn[run], minlength=37)
        assert counts[5] == 0
        kept = np.arange(37) != 5
        assert chisquare(counts[kept], 20_000 * priorities[run, kept] / priorities[run].sum()).pvalue > 1e-3


def test_a_tree_after_many_changes_is_the_tree_of_its_priorities():
    tree, generator, expected = SumTree(3, 20), np.random.default_rng(1), np.zeros((3, 20))
    for _ in range(50):
        places, priorities = generator.integers(20, size=(3, 6)), generator.random((3, 6))
        tree.change(places, priorities)
        for run in range(3):
            for place, priority in zip(places[run], priorities[run], strict=True):
                expected[run, place] = priority
    fresh = SumTree(3, 20)
    fresh.change(np.tile(np.arange(20), (3, 1)), expected)
    np.testing.assert_allclose(tree.sums, fresh.sums)


def test_a_run_draws_the_same_whoever_stands_beside_it():
    priorities = np.random.default_rng(2).random((3, 8))
    many, one = SumTree(3, 8), SumTree(1, 8)
    many.change(np.tile(np.arange(8), (3, 1)), priorities)
    one.change(np.arange(8)[None], priorities[2:])
    np.testing.assert_array_equal(many.draw(9, run_generators([0, 1, 2], 1))[2], one.draw(9, run_generators([2], 1))[0])


def test_nothing_and_nonsense_are_refused():
    tree = SumTree(2, 4)
    with pytest.raises(UsageError, match="run 0 has nothing to draw from"):
        tree.draw(1, run_generators([0, 1], 1))
    with pytest.raises(UsageError, match="negative or not finite"):
        tree.change(np.zeros((2, 1), int), np.array([[1.0], [np.nan]]))


def filled(weighted: bool, steps: int = 40) -> WorkLedger:
    ledger, generator = WorkLedger(2, 64, (4,), 2, weighted=weighted), np.random.default_rng(0)
    for step in range(steps):
        z = np.full((2, 4), step, np.float32)
        ledger.add(
            z,
            np.zeros((2, 2), np.float32),
            z + 1,
            np.zeros(2, bool),
            profit=np.array([30.0, 20.0]),
            errors=np.array([1, 0]),
            attempts=np.array([2, 1]),
            errors_before=np.array([1, 0]),
            attempts_before=np.array([20, 10]),
            novelty=generator.uniform(0.2, 3.0, 2),
        )
    return ledger


def test_a_stored_minute_is_priced_by_the_multiplier_of_today():
    ledger, rows, places = filled(False), np.arange(2)[:, None], np.zeros((2, 1), int)
    for multiplier in (0.0, 10.0):
        terms = Terms(np.full(2, multiplier), 0.06, np.full(2, 2.0), scale=1.0)
        expected = [[30.0 - multiplier * (1 - 0.12) / 2], [20.0 + multiplier * 0.06 / 2]]
        np.testing.assert_allclose(ledger.reward(rows, places, terms), expected, rtol=1e-6)
        hinge = ledger.reward(rows, places, terms._replace(penalty="hinge"))
        np.testing.assert_allclose(hinge, [[30.0 - multiplier * (2 - 0.06 * 22) / 2], [20.0]], rtol=1e-6)  # until then 1 of 20: below e*
        to_date = ledger.reward(rows, places, terms._replace(penalty="hinge", to_date=True))
        np.testing.assert_allclose(to_date, [[30.0 - multiplier * (2 / 22 - 0.06)], [20.0]], rtol=1e-6)


def test_priorities_are_errors_times_novelty_and_weights_undo_them():
    ledger, generators = filled(True), run_generators([0, 1], 1)
    terms = Terms(np.zeros(2), 0.06, np.ones(2))
    everything = np.tile(np.arange(40), (2, 1))
    ledger.reweigh(everything, np.full((2, 40), -2.0))
    np.testing.assert_allclose(ledger.tree.at(everything), 2.0 * ledger.novelty[:, :40], rtol=1e-5)
    batch, places = ledger.sample(4000, generators, terms, "importance", beta=1.0)
    np.testing.assert_array_equal(batch.z[..., 0], places)
    undone = (batch.weight * ledger.novelty[np.arange(2)[:, None], places]).std(axis=1)
    np.testing.assert_allclose(undone, 0.0, atol=1e-5)
    clamped = ledger.sample(100, generators, terms, "novelty")[0].weight
    np.testing.assert_allclose(clamped.mean(1), 1.0, rtol=1e-5)
    assert (clamped.max(1) / clamped.min(1)).max() <= 4.0 + 1e-5


def test_an_empty_ledger_is_refused():
    with pytest.raises(UsageError, match="the ledger is empty"):
        WorkLedger(1, 4, (4,), 2).sample(1, run_generators([0], 1), Terms(np.zeros(1), 0.06, np.ones(1)))
