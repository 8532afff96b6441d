"""Laws of replay: a run draws from its own transitions by its own generator; what was stored comes back; state round-trips."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from layerscout.errors import DataError, UsageError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.questions.targets import find_transitions
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.rl.memory.replay import Batch, Replay, ReplayRows


def numbered(runs: int, capacity: int, steps: int) -> Replay:
    """Transition t of run r: z = (r, t), action t % 5, reward t, next z = (r, t + 1), terminated every third."""
    replay = Replay(runs, capacity, (2,))
    for t in range(steps):
        z = np.stack([np.arange(runs), np.full(runs, t)], axis=1).astype(np.float32)
        replay.add(z, np.full(runs, t % 5), np.full(runs, t, np.float32), z + np.array([0, 1]), np.full(runs, t % 3 == 0))
    return replay


def assert_equal(one: Batch, other: Batch) -> None:
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_transitions_come_back_whole_and_old_ones_make_room() -> None:
    batch = numbered(runs=3, capacity=8, steps=20).sample(100, run_generators(range(3), 0))
    time = batch.z[..., 1]
    assert set(time.ravel()) == set(range(12, 20))
    np.testing.assert_array_equal(batch.z[..., 0], np.broadcast_to(np.arange(3.0)[:, None], (3, 100)))
    np.testing.assert_array_equal(batch.next_z[..., 1], time + 1)
    np.testing.assert_array_equal(batch.action, time % 5)
    np.testing.assert_array_equal(batch.reward, time)
    np.testing.assert_array_equal(batch.terminated, time % 3 == 0)
    np.testing.assert_array_equal(batch.states, np.concatenate([batch.z, batch.next_z], axis=1))


def test_a_run_draws_the_same_whatever_its_neighbours() -> None:
    beside = numbered(3, 50, 30).sample(16, run_generators([7, 4, 7], 0))
    alone = numbered(1, 50, 30).sample(16, run_generators([4], 0))
    np.testing.assert_array_equal(beside.reward[1], alone.reward[0])
    np.testing.assert_array_equal(beside.reward[0], beside.reward[2])
    assert not np.array_equal(beside.reward[0], beside.reward[1])


def test_draws_are_uniform() -> None:
    rewards = numbered(1, 10, 10).sample(20_000, run_generators([0], 0)).reward
    counts = np.bincount(rewards[0].astype(int), minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 27.9  # chi-squared, 9 degrees of freedom, p = 0.001


def test_mask_adds_to_some_runs_only() -> None:
    replay = numbered(2, 4, 1)
    nothing = np.zeros((2, 2), np.float32)
    replay.add(nothing, np.zeros(2, int), np.full(2, 9.0), nothing, np.zeros(2, bool), mask=np.array([False, True]))
    assert replay.size.tolist() == [1, 2]
    assert set(replay.sample(50, run_generators([0, 0], 0)).reward[0]) == {0.0}
    assert replay.reward[1, :2].tolist() == [0.0, 9.0]


def test_empty_run_is_an_error_that_names_it() -> None:
    replay = numbered(2, 4, 1)
    replay.added[1] = 0
    with pytest.raises(UsageError, match="run 1 is empty"):
        replay.sample(1, run_generators([0, 0], 0))


def test_state_round_trip_continues_exactly() -> None:
    replay, generators = numbered(2, 8, 5), run_generators([3, 4], 1)
    replay.sample(4, generators)
    state, states = replay.state_dict(), json.loads(json.dumps(generator_states(generators)))
    again, later = Replay(2, 8, (2,)), run_generators([0, 0], 0)
    again.load_state_dict(state)
    restore_generators(later, states)
    for one in (replay, again):
        one.add(np.ones((2, 2)), np.ones(2, int), np.ones(2), np.ones((2, 2)), np.ones(2, bool))
    assert_equal(replay.sample(32, generators), again.sample(32, later))


def test_state_of_another_shape_is_refused() -> None:
    with pytest.raises(DataError, match="expected"):
        Replay(2, 8, (3,)).load_state_dict(numbered(2, 8, 5).state_dict())


def test_a_memory_may_grow_until_transitions_make_room() -> None:
    """As if it had been so large from the beginning, also where the smaller one was just full."""
    grown, whole = Replay(2, 12, (2,)), numbered(2, 12, 8)
    grown.load_state_dict(numbered(2, 8, 8).state_dict())
    for one in (grown, whole):
        for _ in range(6):
            one.add(np.ones((2, 2)), np.ones(2, int), np.ones(2), np.ones((2, 2)), np.ones(2, bool))
    assert_equal(*(one.sample(64, run_generators([3, 4], 1)) for one in (grown, whole)))
    for capacity, steps in ((8, 9), (12, 10)):  # one has lost a transition; nine places do not hold the other's ten
        with pytest.raises(DataError, match="expected"):
            Replay(2, 9, (2,)).load_state_dict(numbered(2, capacity, steps).state_dict())


def test_purposes_are_independent_streams() -> None:
    one, other = run_generators([3], 0)[0], run_generators([3], 1)[0]
    assert one.random() != other.random()


COLUMNS: dict[str, Any] = {  # two episodes of 2 and 1 steps: rows 0 1 2 | 3 4
    "episode": np.array([0, 0, 0, 1, 1], np.int32),
    "step": np.array([0, 1, 2, 0, 1], np.int32),
    "action": np.array([1, 2, -1, 0, -1], np.int32),
    "reward": np.array([0.5, 1.5, np.nan, 2.5, np.nan], np.float32),
    "terminated": np.array([False, True, False, False, False]),
}


def test_table_gives_successive_rows_of_one_episode() -> None:
    wide, narrow = np.arange(15, dtype=np.float16).reshape(5, 3), np.arange(5, dtype=np.float32)[:, None]
    table = ReplayRows([wide, narrow], [0, 1, 0], **COLUMNS)
    assert table.transitions.tolist() == [0, 1, 3]
    assert table.live_widths == [3, 1, 3]
    batch = table.sample(40, run_generators([5, 5, 6], 0))
    assert (batch.states.dtype, batch.states.shape) == (np.float32, (3, 80, 3))
    rows = (batch.z[0, :, 0] / 3).astype(int)
    assert set(rows) == {0, 1, 3}
    np.testing.assert_array_equal(batch.z[0], wide[rows])
    np.testing.assert_array_equal(batch.next_z[0], wide[rows + 1])
    np.testing.assert_array_equal(batch.action[0], COLUMNS["action"][rows])
    np.testing.assert_array_equal(batch.reward[0], COLUMNS["reward"][rows])
    np.testing.assert_array_equal(batch.terminated[0], COLUMNS["terminated"][rows])
    np.testing.assert_array_equal(batch.z[1, :, 0], rows)  # the same seed draws the same rows of every arm's table
    assert not batch.states[1, :, 1:].any()


def test_rows_that_are_not_one_step_apart_are_no_transition_for_training_as_for_probing() -> None:
    step = np.array([0, 1, 2, 5, 6, 6, 7], np.int32)
    ones, episode = np.ones(7, np.float32), np.zeros(7, np.int32)
    table = ReplayRows([np.zeros((7, 2), np.float32)], [0], episode, step, np.zeros(7, np.int64), ones, np.zeros(7, bool), steps=3)
    columns = {"episode": episode, "step": step, "action": np.zeros(7, np.int32), "reward": ones}
    assert table.transitions.tolist() == find_transitions(columns, ProbeConfig(store="any", targets=())).row.tolist() == [0, 1, 3, 5]
    assert table.reward[[0, 1, 3, 5]].tolist() == [2, 1, 1, 1], "rewards are not summed over a gap"


def test_table_of_frames_keeps_their_type() -> None:
    frames = np.arange(5 * 2 * 2, dtype=np.uint8).reshape(5, 2, 2, 1)
    states = ReplayRows([frames], [0], **COLUMNS).sample(3, run_generators([0], 0)).states
    assert (states.dtype, states.shape) == (np.uint8, (1, 6, 2, 2, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": np.full(5, np.nan, np.float32)}, "without a reward"),
        ({"action": np.full(5, -1)}, "no transition"),
        ({"episode": np.zeros(4, int)}, "different numbers of rows"),
        ({"step": np.zeros(5, int)}, "the 5 rows hold no transition"),
        ({"step": np.array([9, 4, 7, 2, 0])}, "no transition"),
        ({"episode": np.array([0, 1, 0, 1, 0])}, "no transition"),
    ],
)
def test_unusable_tables_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ReplayRows([np.zeros((5, 3), np.float32)], [0], **(COLUMNS | change))
