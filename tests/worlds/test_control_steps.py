"""What one action does in a simulator's task: rewards of repetitions, ends of the task and of the time, goals that take the task's place."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from layerscout.worlds.simulators.control_suite import ControlSuite
from layerscout.worlds.simulators.meta_world import MetaWorld


class Suite:
    """A task that tells rewards one after the other and ends after them with this discount; the mass moves by a centimetre a step."""

    def __init__(self, *rewards: float, discount: float = 1.0) -> None:
        self.rewards, self.discount, self.played = list(rewards), discount, []
        self.physics = SimpleNamespace(data=SimpleNamespace(qpos=np.zeros(2)))

    def step(self, action):
        self.played.append(action)
        self.physics.data.qpos[0] += 0.01
        over = len(self.played) == len(self.rewards)
        return SimpleNamespace(reward=self.rewards[len(self.played) - 1], last=lambda: over, discount=self.discount if over else 1.0)


def task(suite: Suite, repeat: int = 1, limit: int | None = None, goal=None) -> ControlSuite:
    """The task without a simulator and without a renderer."""
    made = ControlSuite.__new__(ControlSuite)
    made._environment, made._repeat, made._limit, made._clock = suite, repeat, limit, 0
    made._goal = None if goal is None else np.array(goal)
    return made


def test_rewards_of_repeated_actions_add_up_and_every_repetition_is_played():
    suite = Suite(1.0, 2.0, 4.0, 8.0, 16.0)
    made = task(suite, repeat=2)
    assert made.step("a") == (3.0, False, False)
    assert made.step("b") == (12.0, False, False)
    assert suite.played == ["a", "a", "b", "b"]


def test_an_episode_that_ends_within_the_repetitions_plays_no_further():
    suite = Suite(1.0, 2.0, 4.0)
    made = task(suite, repeat=5)
    assert made.step("a") == (7.0, False, True)
    assert len(suite.played) == 3


@pytest.mark.parametrize(("discount", "ends"), [(0.0, (True, False)), (1.0, (False, True)), (0.5, (False, True))])
def test_a_discount_of_nothing_is_an_end_of_the_task_and_any_other_the_end_of_the_time(discount, ends):
    assert task(Suite(1.0, discount=discount)).step("a") == (1.0, *ends)


@pytest.mark.parametrize(("limit", "ends"), [(None, [False] * 4), (2, [False, True, False, False]), (4, [False, False, False, True])])
def test_a_limit_of_ones_own_cuts_after_so_many_actions(limit, ends):
    made = task(Suite(*[0.0] * 99), repeat=3, limit=limit)
    assert [made.step("a")[2] for _ in range(4)] == ends


def test_an_end_in_the_last_allowed_step_is_an_end_and_not_a_cut():
    assert task(Suite(1.0, discount=0.0), limit=1).step("a") == (1.0, True, False)


def test_a_goal_takes_the_place_of_the_task():
    made = task(Suite(*[5.0] * 9), goal=(0.045, 0.0))
    assert made.step("a") == (0.0, False, False), "one centimetre on, three and a half away"
    assert made.step("a") == (1.0, True, False)


def test_a_goal_that_is_reached_when_the_time_is_up_was_reached():
    assert task(Suite(5.0), goal=(0.0, 0.0)).step("a") == (1.0, True, False)
    assert task(Suite(5.0, 5.0), limit=1, goal=(0.0, 0.0)).step("a") == (1.0, True, False)
    assert task(Suite(5.0), goal=(1.0, 1.0)).step("a") == (0.0, False, True)


class Arm:
    """A task of Meta-World that tells (reward, success) one after the other, and is cut after the last."""

    def __init__(self, *told: tuple[float, float]) -> None:
        self.told, self.played = list(told), 0

    def step(self, action):
        reward, success = self.told[self.played]
        self.played += 1
        return np.full(3, self.played), reward, False, self.played == len(self.told), {"success": success}


def arm(environment: Arm, repeat: int = 1, solving: bool = False) -> MetaWorld:
    made = MetaWorld.__new__(MetaWorld)
    made._environment, made._repeat, made._solving = environment, repeat, solving
    return made


def test_dense_rewards_add_up_and_a_task_that_is_solved_goes_on():
    made = arm(Arm((1.0, 1.0), (2.0, 0.0), (4.0, 1.0), (8.0, 0.0)), repeat=3)
    assert made.step("a") == (7.0, False, False)
    assert made.step("a") == (8.0, False, True), "the time is up within the repetitions"
    assert made.state().tolist() == [4.0] * 3


def test_with_the_reward_success_the_first_step_that_solves_ends_the_episode():
    environment = Arm((9.0, 0.0), (9.0, 1.0), (9.0, 1.0), (9.0, 0.0))
    made = arm(environment, repeat=3, solving=True)
    assert made.step("a") == (1.0, True, False)
    assert environment.played == 2
    assert arm(Arm((9.0, 0.0)), solving=True).step("a") == (0.0, False, True)
    assert arm(Arm((9.0, 1.0)), solving=True).step("a") == (1.0, True, False), "solved in the last step is solved"
