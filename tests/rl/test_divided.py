"""Laws of runs divided over cores: nothing that they learn, save or say depends on the parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from by_hand import SMALL_DQN, select, settings, without_times
from threadpoolctl import threadpool_limits

from layerscout.errors import DataError
from layerscout.rl.agents.base import Agent
from layerscout.rl.agents.configs import DQNConfig, SACConfig
from layerscout.rl.agents.divided import MOST_PARTS, DividedLearner, divided
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.agents.sac import sac_on_features
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import Head
from layerscout.rl.run import plan, run

RUNS, WIDTH, SIZE = 5, 6, 8
SEEDS = (3, 1, 4, 1, 5)
THIRDS = [slice(0, 1), slice(1, 3), slice(3, 5)]


def dqn(runs: slice) -> Agent:
    return DQN(DQNConfig(target_interval=3, hidden=(8,)), lambda seeds: Head(WIDTH, 3, seeds, hidden=(8,)), SEEDS[runs])


def sac(runs: slice) -> Agent:
    return sac_on_features(SACConfig(hidden=(8,), tau=0.1, warm_up=2), WIDTH, SEEDS[runs], dimensions=2)


LEARNERS = pytest.mark.parametrize("make", [dqn, sac])


def batch_of(make, runs: slice, number: int, poison: bool = False) -> Batch:
    draws = [np.random.default_rng([run, number]) for run in range(RUNS)[runs]]
    action = [draw.integers(0, 3, SIZE) if make is dqn else draw.uniform(-1, 1, (SIZE, 2)).astype(np.float32) for draw in draws]
    reward = np.stack([draw.standard_normal(SIZE, np.float32) for draw in draws])
    if poison:
        reward[[run == 2 for run in range(RUNS)[runs]], 0] = np.nan
    states = np.stack([draw.standard_normal((2 * SIZE, WIDTH), np.float32) for draw in draws])
    return Batch(states, np.stack(action), reward, np.stack([draw.random(SIZE) < 0.3 for draw in draws]))


def numbers(state) -> list[np.ndarray]:
    if isinstance(state, dict):
        return [array for key in sorted(state) for array in numbers(state[key])]
    return [state] if isinstance(state, np.ndarray) else []


@LEARNERS
def test_parts_learn_what_all_runs_learn_together(make) -> None:
    together, parts, stepwise = make(slice(0, RUNS)), DividedLearner(make, THIRDS), DividedLearner(make, THIRDS)
    counts = {}

    def draw(runs: slice) -> Batch:
        counts[runs.start] = counts.get(runs.start, -1) + 1
        return batch_of(make, runs, counts[runs.start])

    losses = parts.update_from(draw, 12)
    np.testing.assert_array_equal(losses, [stepwise.update(batch_of(make, slice(0, RUNS), number)) for number in range(12)])
    whole = np.stack([together.update(batch_of(make, slice(0, RUNS), number)) for number in range(12)])
    np.testing.assert_allclose(losses, whole, rtol=1e-3)
    assert parts.updates == together.updates == 12
    for mine, theirs in zip(numbers(parts.state_dict()), numbers(together.state_dict()), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-5)
    z = batch_of(make, slice(0, RUNS), 99).z
    np.testing.assert_allclose(parts.act(z), together.act(z), rtol=1e-3, atol=1e-4)
    for step in (0, 10**6):
        drawn = [agent.explore(z, step, run_generators(SEEDS, 2)) for agent in (parts, together)]
        np.testing.assert_allclose(*drawn, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(parts.update_flops(), together.update_flops())
    np.testing.assert_array_equal(parts.trainable_parameters(), together.trainable_parameters())
    assert (parts.seeds, parts.config) == (together.seeds, together.config)


@LEARNERS
def test_a_state_continues_under_any_division(make) -> None:
    first = DividedLearner(make, THIRDS)
    for number in range(5):
        first.update(batch_of(make, slice(0, RUNS), number, poison=number == 3))
    assert first.failed.tolist() == [False, False, True, False, False]
    assert list(first.reasons) == [2]
    for other in (make(slice(0, RUNS)), DividedLearner(make, [slice(0, 4), slice(4, 5)])):
        other.load_state_dict(first.state_dict())
        assert all(map(np.array_equal, numbers(other.state_dict()), numbers(first.state_dict())))
        assert (other.updates, other.reasons, other.failed.tolist()) == (first.updates, first.reasons, first.failed.tolist())
        again = DividedLearner(make, THIRDS)
        again.load_state_dict(other.state_dict())
        batch = batch_of(make, slice(0, RUNS), 6)
        np.testing.assert_array_equal(again.update(batch), DividedLearner.update(first, batch))
        first.load_state_dict(other.state_dict())
    few = DividedLearner(make, [slice(0, 2), slice(2, 4)])
    with pytest.raises(DataError, match="of 5 runs, expected 4"):
        few.load_state_dict(first.state_dict())


def test_there_are_never_more_parts_than_runs_cores_or_sense() -> None:
    assert isinstance(divided(dqn, RUNS, 1, batch=64), DQN)
    assert isinstance(divided(dqn, 1, 8, batch=64), DQN)
    assert isinstance(divided(dqn, RUNS, 8, batch=40), DQN), "a batch that ends within a vector may be rounded otherwise"
    for cores in (2, 3, 64):
        agent = divided(dqn, RUNS, cores, batch=64)
        assert isinstance(agent, DividedLearner)
        sizes = [place.stop - place.start for place, _ in agent._parts]
        assert (len(sizes), sum(sizes)) == (min(cores, MOST_PARTS), RUNS)
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_number_of_threads_changes_no_record(tmp_path, small, synthetic_store, mode) -> None:
    selection = select(tmp_path / "s.json", ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))
    before, changes = torch.get_num_threads(), {"mode": mode, "steps": 40, "dqn": SMALL_DQN | {"batch": 16}, "whiten": True}
    records = []
    for count in (1, 2):  # of our threads, and of those that NumPy's products may have
        with threadpool_limits(limits=count, user_api="blas"):
            records.append(run(plan(settings(selection, tmp_path / str(count), small.root, threads=count, **changes))))
    assert without_times(records[0]) == without_times(records[1])
    assert torch.get_num_threads() == before
