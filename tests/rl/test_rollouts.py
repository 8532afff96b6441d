"""Evaluation episodes: a block of its own for every seed and the same over arms, never those of the data, whatever is played side by side."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.rl.seeing import rollouts
from layerscout.rl.seeing.games import TRAINING_STREAM, Games
from layerscout.rl.seeing.rollouts import EVALUATION_STREAM, Stage, blind_returns, evaluation_seeds
from layerscout.worlds.core import random_actions
from layerscout.worlds.grid import Grid
from layerscout.worlds.intercept import Intercept
from layerscout.worlds.playing import episode_seed


class Watching:
    """An observer that sees nothing and notes which copies it was told about."""

    def __init__(self, copies: int) -> None:
        self.started = np.zeros(copies, dtype=int)
        self.pushed = np.zeros(copies, dtype=int)
        self.shape = (1,)

    def start(self, which, frames):
        assert len(frames) == len(which)
        self.started[which] += 1

    def push(self, which, frames):
        assert len(frames) == len(which)
        self.pushed[which] += 1

    def observe(self, live):
        return np.zeros((len(live), 1), dtype=np.float32)


class Theatre:
    """Stages of one kind of world, which remember the worlds and observers that were made."""

    def __init__(self, kind, runs: int, blocks: tuple[int, ...] | None = None) -> None:
        self.worlds, self.observers, self.kind = [], [], kind
        self.stage = Stage(runs, self._world, self._observer, blocks=blocks)

    def _world(self, copies: int):
        self.worlds.append(self.kind(copies))
        return self.worlds[-1]

    def _observer(self, run_of_copy):
        self.observers.append(Watching(len(run_of_copy)))
        return self.observers[-1]

    def expert(self, seen):
        return self.worlds[-1].expert().reshape(seen.shape[:2])


def constant(seen):
    return np.zeros(seen.shape[:2], dtype=np.int64)


def played_by_hand(kind, number: int, choose) -> tuple[float, int]:
    """Return and length of one evaluation episode in a world of its own."""
    world = kind(1)
    world.reset(np.array([0]), np.array([episode_seed(EVALUATION_STREAM, number)]))
    total, steps = 0.0, 0
    while True:
        outcome = world.step(choose(world))
        total, steps = total + float(outcome.reward[0]), steps + 1
        if outcome.terminated[0] or outcome.truncated[0]:
            return total, steps


@pytest.mark.parametrize("kind", [Grid, Intercept])
def test_an_expert_earns_what_it_earns_alone(kind):
    theatre = Theatre(kind, runs=2)
    returns = theatre.stage.evaluate(theatre.expert, episodes=9)
    alone = [played_by_hand(kind, number, lambda world: world.expert()) for number in range(9)]
    np.testing.assert_allclose(returns, [[value for value, _ in alone]] * 2, atol=1e-6)
    assert returns.mean() > 0.8
    watched = theatre.observers[0]
    assert (watched.started == 1).all()
    np.testing.assert_array_equal(watched.pushed, np.tile([steps - 1 for _, steps in alone], 2))  # nobody looks after the end


@pytest.mark.parametrize("kind", [Grid, Intercept])
@pytest.mark.parametrize("together", [1, 3, 7, 1000])
def test_how_many_play_at_once_changes_no_return(kind, together, monkeypatch):
    monkeypatch.setattr(rollouts, "SIDE_BY_SIDE", together)
    theatre = Theatre(kind, runs=2)
    returns = theatre.stage.evaluate(theatre.expert, episodes=8)
    assert max(world.copies for world in theatre.worlds) <= max(together, 2)
    assert sum(world.copies for world in theatre.worlds) == 16
    reference = Theatre(kind, runs=1)
    monkeypatch.setattr(rollouts, "SIDE_BY_SIDE", 512)
    np.testing.assert_array_equal(returns, np.repeat(reference.stage.evaluate(reference.expert, episodes=8), 2, axis=0))


def test_more_episodes_only_add_episodes():
    theatre = Theatre(Intercept, runs=1)
    few, many = (theatre.stage.evaluate(constant, episodes=count) for count in (4, 11))
    np.testing.assert_array_equal(many[:, :4], few)


def test_each_run_acts_by_its_own_policy():
    theatre = Theatre(Grid, runs=3)

    def policy(seen):
        actions = theatre.expert(seen)
        actions[1] = 0  # the second run stays where it is, until the episode is cut
        return actions

    returns = theatre.stage.evaluate(policy, episodes=5)
    np.testing.assert_array_equal(returns[0], returns[2])
    np.testing.assert_allclose(returns[1], -0.6, atol=1e-6)


def test_worlds_are_closed_even_when_a_policy_fails(monkeypatch):
    closed = []
    monkeypatch.setattr(Grid, "close", lambda self: closed.append(self))
    theatre = Theatre(Grid, runs=1)
    theatre.stage.evaluate(constant, episodes=2)
    with pytest.raises(ZeroDivisionError):
        theatre.stage.evaluate(lambda seen: 1 // 0, episodes=2)
    assert closed == theatre.worlds


def test_evaluation_and_training_episodes_are_never_collected_ones():
    """(2^32, 0, 0) and (0, 1, 0) are one seed sequence: a stream must not be a collected seed with an episode in its high word."""
    collected = {episode_seed(seed, episode) for seed in range(12) for episode in range(300)}
    evaluated = {int(seed) for block in range(12) for seed in evaluation_seeds(block, np.arange(300))}
    trained = {episode_seed(TRAINING_STREAM + seed, number) for seed in range(12) for number in range(300)}
    assert not collected & evaluated
    assert not collected & trained
    assert not evaluated & trained


def test_training_games_have_a_seed_of_their_own_for_every_run_and_episode():
    seeds = []

    class Noting(Grid):
        def reset(self, which, drawn):
            seeds.extend(int(seed) for seed in drawn)
            super().reset(which, drawn)

    games = Games(Noting(3), Watching(3), seeds=[0, 1, 0])
    for _ in range(130):
        games.step(np.zeros(3, dtype=np.int64))
    assert len(games.returns[0]) == 2
    first, second, third = seeds[0::3], seeds[1::3], seeds[2::3]
    assert first == third, "runs of one seed play the same episodes, so arms are paired"
    assert len(set(first + second)) == 6


def test_every_block_has_episodes_of_its_own_and_the_same_for_all_who_play_it():
    """Blocks 3 and 5, each played by two runs: equal within a block, other episodes in another, and each what it is by hand."""
    theatre = Theatre(Intercept, runs=4, blocks=(3, 5, 3, 5))
    returns = theatre.stage.evaluate(constant, episodes=40)
    np.testing.assert_array_equal(returns[:2], returns[2:])
    assert (returns[0] != returns[1]).any()
    for row, block in zip(returns[:2], (3, 5), strict=True):
        alone = Theatre(Intercept, runs=1, blocks=(block,)).stage.evaluate(constant, episodes=40)
        np.testing.assert_array_equal(row, alone[0])
    everything = np.concatenate([evaluation_seeds(block, np.arange(200)) for block in range(12)])
    assert len(np.unique(everything)) == len(everything)


def random_play(kind, episodes, seed=0, together=None):
    generator = np.random.default_rng(seed)
    return blind_returns(kind, lambda world, _: random_actions(world, generator), evaluation_seeds(0, np.arange(episodes)), together)


def test_random_actions_earn_what_is_known():
    """The owner's measurement on the grid is -0.19; on Intercept a paddle that wanders catches about a quarter."""
    assert random_play(Grid, 200).mean() == pytest.approx(-0.19, abs=0.08)
    assert -0.8 < random_play(Intercept, 200).mean() < 0.0
    np.testing.assert_array_equal(random_play(Grid, 30), random_play(Grid, 30))
    assert (random_play(Grid, 30) != random_play(Grid, 30, seed=1)).any()


def test_blind_play_covers_every_episode_in_waves():
    copies = []

    def make(count):
        copies.append(count)
        return Grid(count)

    assert len(random_play(make, 10, together=4)) == 10
    assert copies == [4, 4, 2]


def test_blind_play_can_be_cut_short():
    def stay(world, _):
        return np.zeros(world.copies, dtype=int)

    seeds = evaluation_seeds(0, np.arange(3))
    np.testing.assert_allclose(blind_returns(Grid, stay, seeds), -0.6, atol=1e-6)
    np.testing.assert_allclose(blind_returns(Grid, stay, seeds, most_steps=7), -0.07, atol=1e-6)
