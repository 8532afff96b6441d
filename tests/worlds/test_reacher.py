"""The analytic twin against Gymnasium's Reacher-v5: the same states and returns, by random play and by a controller that reaches."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest

from layerscout.errors import UsageError
from layerscout.worlds.reacher import LENGTH, LINKS, SCALE, ReacherTwin

pytest.importorskip("mujoco", reason="the simulator is not installed; runs in CI")

Policy = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def reaching(state: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Torques along the transposed Jacobian towards the goal, damped."""
    (c1, c2, s1, s2), away = state[:4], state[8:]
    first, both = np.array([-s1, c1]), np.array([-(s1 * c2 + c1 * s2), c1 * c2 - s1 * s2])
    jacobian = np.stack([LINKS[0] * first + LINKS[1] * both, LINKS[1] * both], axis=1)
    return (-8.0 * jacobian.T @ away - 0.02 * state[6:8]).clip(-1.0, 1.0)


def random(state: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return generator.uniform(-0.3, 0.3, 2)


@pytest.mark.parametrize(("policy", "within"), [(reaching, 0.03), (random, 0.1)])
def test_returns_and_states_are_the_simulators(policy: Policy, within: float) -> None:
    real, twin = gymnasium.make("Reacher-v5"), ReacherTwin(1)
    errors, differences = [], []
    for seed in range(6):
        state, _ = real.reset(seed=seed)
        data = real.unwrapped.data  # type: ignore[attr-defined]
        twin.reset(np.array([0]), np.array([seed]))
        twin.angle[0], twin.speed[0], twin.goal[0] = data.qpos[:2], data.qvel[:2], data.qpos[2:]
        np.testing.assert_allclose(twin.state()[0], state, atol=1e-5)
        generator, earned = np.random.default_rng(seed), np.zeros(2)
        for _ in range(LENGTH):
            action = policy(state, generator)
            state, reward, *_, truncated, _ = real.step(action)
            outcome = twin.step(action[None])
            earned += reward, outcome.reward[0]
            errors.append(np.abs(twin.state()[0] - state).max())
        assert truncated
        assert outcome.truncated[0]
        differences.append(abs(earned[0] - earned[1]))
    assert np.median(errors) < 0.01
    assert np.median(differences) < within
    real.close()


def test_a_copy_is_a_function_of_its_seed_and_stands_still_when_it_is_over() -> None:
    together, alone = ReacherTwin(3, control=0.5), ReacherTwin(1, control=0.5)
    together.reset(np.arange(3), np.array([7, 8, 9]))
    alone.reset(np.array([0]), np.array([8]))
    actions = np.random.default_rng(0).uniform(-2, 2, (LENGTH, 3, 2)).astype(np.float32)
    for step in range(LENGTH):
        outcome, own = together.step(actions[step]), alone.step(actions[step, 1:2])
        assert outcome.reward[1] == own.reward[0]
        assert outcome.truncated.tolist() == [step == LENGTH - 1] * 3
    before = together.state()
    assert together.step(actions[0]).reward.tolist() == [0.0] * 3
    np.testing.assert_array_equal(together.state(), before)
    np.testing.assert_array_equal(together.frames(np.array([1])), alone.frames())
    np.testing.assert_array_equal(alone.frames(), alone.state() * SCALE)
    assert np.linalg.norm(together.goal, axis=1).max() <= 0.2


def test_weights_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="not finite"):
        ReacherTwin(1, control=float("nan"))
