"""Laws of looking several rewards ahead, and of continuous actions in replay: the sums are those of a walk by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerscout.errors import DataError
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Replay, ReplayRows

GAMMA = 0.9


def played(runs: int, capacity: int, steps: int, ahead: int, seed: int = 0) -> tuple[Replay, list[dict[str, Any]]]:
    """Random transitions with random ends; also as a plain list. Features are (run, time), and the next ones (run, time + ½)."""
    rng = np.random.default_rng(seed)
    replay, story = Replay(runs, capacity, (2,), action_dimensions=3, steps=ahead, gamma=GAMMA), []
    for time in range(steps):
        z = np.stack([np.arange(runs), np.full(runs, time)], axis=1).astype(np.float32)
        one = {
            "action": rng.standard_normal((runs, 3), np.float32),
            "reward": rng.standard_normal(runs).astype(np.float32),
            "terminated": rng.random(runs) < 0.15,
            "truncated": rng.random(runs) < 0.15,
        }
        replay.add(z, next_z=z + np.array([0.0, 0.5], np.float32), **one)
        story.append(one)
    return replay, story


def by_hand(story: list[dict[str, Any]], run: int, start: int, ahead: int) -> tuple[float, float, int, bool]:
    """Sum of rewards, discount, last time and whether it terminated."""
    total, factor = 0.0, 1.0
    for time in range(start, min(start + ahead, len(story))):
        total, factor = total + factor * float(story[time]["reward"][run]), factor * GAMMA
        if story[time]["terminated"][run] or story[time]["truncated"][run]:
            break
    return total, factor, time, bool(story[time]["terminated"][run])


@pytest.mark.parametrize("ahead", [2, 3, 7])
@pytest.mark.parametrize(("capacity", "steps"), [(40, 25), (40, 40), (40, 107), (5, 33)])
def test_samples_sum_up_to_the_end_of_the_episode_and_no_further(ahead: int, capacity: int, steps: int) -> None:
    replay, story = played(3, capacity, steps, ahead)
    batch = replay.sample(300, run_generators(range(3), 0))
    assert batch.discount is not None
    seen = {"terminated": 0, "cut": 0}
    for run in range(3):
        for place in range(300):
            start = int(batch.z[run, place, 1])
            total, factor, last, terminated = by_hand(story, run, start, ahead)
            np.testing.assert_allclose(batch.reward[run, place], total, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(batch.discount[run, place], factor, rtol=1e-6)
            assert batch.next_z[run, place].tolist() == [run, last + 0.5]
            assert batch.terminated[run, place] == terminated
            np.testing.assert_array_equal(batch.action[run, place], story[start]["action"][run])
            seen["terminated"] += terminated
            seen["cut"] += not terminated and last < start + ahead - 1
    assert min(seen.values()) > 0, "both kinds of ends occurred"


def test_one_step_is_the_plain_replay() -> None:
    replay, story = played(2, 20, 33, 1)
    batch = replay.sample(50, run_generators([3, 4], 0))
    assert batch.discount is None
    time = batch.z[..., 1].astype(int)
    np.testing.assert_array_equal(batch.next_z[..., 1], time + 0.5)
    for name, got in (("reward", batch.reward), ("terminated", batch.terminated)):
        np.testing.assert_array_equal(got, [[story[at][name][run] for at in time[run]] for run in range(2)])


def test_a_saved_replay_of_continuous_actions_goes_on_looking_ahead() -> None:
    replay, _ = played(2, 20, 33, 4)
    again = Replay(2, 20, (2,), action_dimensions=3, steps=4, gamma=GAMMA)
    again.load_state_dict(replay.state_dict())
    for mine, theirs in zip(*(one.sample(50, run_generators([3, 4], 0)) for one in (replay, again)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(DataError, match="expected"):
        Replay(2, 20, (2,), action_dimensions=2).load_state_dict(replay.state_dict())


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_a_table_of_rows_looks_ahead_within_an_episode(ahead: int) -> None:
    """Three episodes of 4, 1 and 6 steps; the second is truncated, the others terminate."""
    rng, lengths = np.random.default_rng(1), (4, 1, 6)
    episode = np.repeat(np.arange(3), np.array(lengths) + 1)
    step = np.concatenate([np.arange(length + 1) for length in lengths])
    last_step = np.cumsum(np.array(lengths) + 1) - 2
    reward = rng.standard_normal(len(episode)).astype(np.float32)
    action = rng.standard_normal((len(episode), 2)).astype(np.float32)
    action[last_step + 1], reward[last_step + 1] = np.nan, np.nan
    terminated = np.zeros(len(episode), bool)
    terminated[last_step[[0, 2]]] = True
    rows = np.arange(len(episode), dtype=np.float32)[:, None]
    table = ReplayRows([rows, rows], [0, 1], episode, step, action, reward, terminated, steps=ahead, gamma=GAMMA)
    assert table.transitions.tolist() == [0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12]
    batch = table.sample(200, run_generators([0, 1], 0))
    for start, after, got, ended, taken in zip(
        batch.z[0, :, 0], batch.next_z[0, :, 0], batch.reward[0], batch.terminated[0], batch.action[0], strict=True
    ):
        first = int(start)
        last = min(first + ahead - 1, int(last_step[episode[first]]))
        expected = sum(GAMMA**k * reward[first + k] for k in range(last - first + 1))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
        assert (after, ended) == (last + 1, terminated[last])
        np.testing.assert_array_equal(taken, action[first])
    if ahead == 1:
        assert batch.discount is None
    else:
        np.testing.assert_allclose(batch.discount, GAMMA ** (batch.next_z - batch.z)[..., 0], rtol=1e-5)
