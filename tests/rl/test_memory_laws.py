"""Memories against plain lists: rollouts that are filled, taken and saved, windows of the newest frames, and advantages as sums of errors."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from layerscout.errors import DataError
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Replay, ReplayRows
from layerscout.rl.memory.rollout import COLUMNS, RolloutBuffer, advantages
from layerscout.rl.memory.sequences import SequenceReplay

RUNS, ENVIRONMENTS = 2, 3

# --- rollouts


def step_of(time: int, dimensions: int = 0) -> tuple[np.ndarray, ...]:
    """A step whose numbers say the run, the environment and the time."""
    place = 100.0 * np.arange(RUNS)[:, None] + 10.0 * np.arange(ENVIRONMENTS) + time
    z = np.stack([place, -place], axis=-1).astype(np.float32)
    action = np.repeat(place[..., None], dimensions, axis=-1).astype(np.float32) if dimensions else place.astype(np.int64)
    ended, cut = np.full(place.shape, time % 3 == 1), np.full(place.shape, time % 3 == 2)
    return z, action, place / 2, ended, cut, (place / 4).astype(np.float32)


def filled(steps: int, length: int = 4, dimensions: int = 0) -> RolloutBuffer:
    buffer = RolloutBuffer(RUNS, ENVIRONMENTS, length, (2,), action_dimensions=dimensions)
    for time in range(steps):
        buffer.add(*step_of(time, dimensions))
    return buffer


@pytest.mark.parametrize("dimensions", [0, 2])
def test_a_rollout_is_what_was_added_step_by_step(dimensions):
    buffer, last = filled(4, dimensions=dimensions), np.full((RUNS, ENVIRONMENTS, 2), 9.0, np.float32)
    assert buffer.full
    rollout = buffer.take(last)
    for time in range(4):
        for name, expected in zip(COLUMNS, step_of(time, dimensions), strict=True):
            np.testing.assert_array_equal(getattr(rollout, name)[:, time], expected)
    assert rollout.last is last
    assert rollout.action.dtype == (np.float32 if dimensions else np.int64)
    assert rollout.steps == 12


def test_a_buffer_is_full_at_its_length_and_begins_anew_when_it_is_taken():
    buffer = filled(3)
    assert not buffer.full
    buffer.add(*step_of(3))
    assert buffer.full
    buffer.take(np.zeros((RUNS, ENVIRONMENTS, 2), np.float32))
    assert (buffer.full, buffer.filled) == (False, 0)
    buffer.add(*step_of(7))
    again = buffer.take(np.zeros((RUNS, ENVIRONMENTS, 2), np.float32))
    assert again.steps == ENVIRONMENTS
    np.testing.assert_array_equal(again.z[:, 0], step_of(7)[0])


def test_a_rollout_that_was_cut_short_holds_what_was_played():
    rollout = filled(2).take(np.zeros((RUNS, ENVIRONMENTS, 2), np.float32))
    assert rollout.reward.shape == (RUNS, 2, ENVIRONMENTS)
    assert rollout.steps == 6


def test_flat_columns_go_environment_by_environment_within_a_step():
    rollout = filled(2, dimensions=1).take(np.zeros((RUNS, ENVIRONMENTS, 2), np.float32))
    expected = [[100 * run + 10 * environment + time for time in range(2) for environment in range(ENVIRONMENTS)] for run in range(RUNS)]
    np.testing.assert_array_equal(rollout.flat("z")[..., 0], expected)
    np.testing.assert_array_equal(rollout.flat("action")[..., 0], expected)
    np.testing.assert_array_equal(rollout.flat("reward"), np.array(expected) / 2)


@pytest.mark.parametrize("played", [0, 1, 3, 4])
def test_a_saved_rollout_goes_on_where_it_was(played):
    whole, begun, other = filled(4), filled(played), filled(2)
    state = begun.state_dict()
    begun.z[:] = -1.0  # a state shares nothing with its buffer
    other.load_state_dict(state)
    for time in range(played, 4):
        other.add(*step_of(time))
    last = np.zeros((RUNS, ENVIRONMENTS, 2), np.float32)
    for one, same in zip(whole.take(last), other.take(last), strict=True):
        np.testing.assert_array_equal(one, same)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (RolloutBuffer(RUNS, ENVIRONMENTS, 2, (2,)), r"'z' \(2, 3, 3, 2\), expected \(2, 2, 3, 2\)"),
        (RolloutBuffer(RUNS + 1, ENVIRONMENTS, 4, (2,)), r"expected \(3, 4, 3, 2\)"),
        (RolloutBuffer(RUNS, ENVIRONMENTS - 1, 4, (2,)), r"expected \(2, 4, 2, 2\)"),
        (RolloutBuffer(RUNS, ENVIRONMENTS, 4, (5,)), r"expected \(2, 4, 3, 5\)"),
        (RolloutBuffer(RUNS, ENVIRONMENTS, 4, (2,), action_dimensions=1), r"'action' \(2, 3, 3\), expected \(2, 4, 3, 1\)"),
    ],
)
def test_a_rollout_of_another_shape_is_refused_by_the_column_that_does_not_fit(other, named):
    with pytest.raises(DataError, match=named) as error:
        other.load_state_dict(filled(3).state_dict())
    assert error.value.hint == "continue with the same arms, seeds and environments"
    assert other.filled == 0


# --- advantages


def advantage_by_sums(reward, value, last, terminated, truncated, ahead, gamma, gae):
    """One environment: A_t = Σ_k (γ λ)^k δ_{t+k}, up to the end of the episode."""
    length, found = len(reward), []
    following = [*value[1:], last]
    errors = []
    for t in range(length):
        after = 0.0 if terminated[t] else ahead[t] if truncated[t] else following[t]
        errors.append(reward[t] + gamma * after - value[t])
    for t in range(length):
        total = 0.0
        for k in range(t, length):
            total += (gamma * gae) ** (k - t) * errors[k]
            if terminated[k] or truncated[k]:
                break
        found.append(total)
    return found


@pytest.mark.parametrize(("gamma", "gae"), [(0.0, 0.5), (0.9, 0.0), (0.9, 0.7), (1.0, 1.0)])
def test_advantages_are_discounted_sums_of_errors_up_to_the_end_of_an_episode(gamma, gae):
    rng, shape = np.random.default_rng(3), (2, 9, 3)
    reward, value, ahead = rng.normal(size=(3, *shape)).astype(np.float32)
    last = rng.normal(size=(2, 3)).astype(np.float32)
    terminated, truncated = rng.random(shape) < 0.2, rng.random(shape) < 0.2
    found = advantages(reward, value, last, terminated, truncated, ahead, gamma, gae)
    for run in range(2):
        for one in range(3):
            columns = [column[run, :, one] for column in (reward, value)]
            ends = [column[run, :, one] for column in (terminated, truncated, ahead)]
            expected = advantage_by_sums(*columns, last[run, one], *ends, gamma, gae)
            np.testing.assert_allclose(found[run, :, one], expected, rtol=1e-4, atol=1e-5)


def test_what_is_terminated_and_cut_at_once_has_nothing_ahead():
    one = np.ones((1, 1, 1), np.float32)
    found = advantages(2 * one, one, 50 * one[:, 0], one > 0, one > 0, 70 * one, 0.9, 0.9)
    assert found.item() == pytest.approx(1.0)


def test_advantages_leave_what_they_are_given_as_it_was():
    one = np.ones((1, 3, 1), np.float32)
    last = one[:, 0].copy()
    advantages(one, one, last, one > 1, one > 1, one, 0.9, 0.9)
    assert last.item() == 1.0
    assert (one == 1.0).all()


# --- windows of steps


def played(capacity: int, lengths: list[int], actions: int = 2) -> tuple[SequenceReplay, list[tuple]]:
    """Two runs that play episodes of these lengths, and all frames of run 1 as plain tuples."""
    memory, kept, number = SequenceReplay(2, capacity, (1, 1, 1), actions), deque[tuple](maxlen=capacity), 0
    for length in lengths:
        memory.begin(np.array([0, 1]), np.array([number, number + 100], np.uint8).reshape(2, 1, 1, 1))
        kept.append((number + 100, (0.0,) * actions, 0.0, False, True))
        for step in range(length):
            number += 1
            ended = step == length - 1
            done = np.full((2, actions), number / 2, np.float32)
            frames = np.array([number, number + 100], np.uint8).reshape(2, 1, 1, 1)
            memory.add(frames, done, np.full(2, number / 4, np.float32), np.full(2, ended))
            kept.append((number + 100, (number / 2,) * actions, number / 4, ended, False))
        number += 1
    return memory, list(kept)


def plain(window, row: int, time: int) -> tuple:
    return (
        int(window.frames[row, time, 0, 0, 0]),
        tuple(window.actions[row, time].tolist()),
        float(window.rewards[row, time]),
        bool(window.terminated[row, time]),
        bool(window.first[row, time]),
    )


@pytest.mark.parametrize("capacity", [5, 7, 12, 40])
@pytest.mark.parametrize("length", [1, 3, 5])
def test_windows_are_pieces_of_the_list_of_the_newest_frames(capacity, length):
    memory, kept = played(capacity, [2, 4, 1, 3])
    assert memory.size.tolist() == [len(kept)] * 2
    window = memory.sample(1, 60, length, np.random.default_rng(0))
    begins = set()
    for row in range(60):
        seen = [plain(window, row, time) for time in range(length)]
        begin = [frame for frame, *_ in kept].index(seen[0][0])
        begins.add(begin)
        assert seen[0] == (*kept[begin][:4], True)
        assert seen[1:] == kept[begin + 1 : begin + length]
    assert begins == set(range(len(kept) - length + 1))


def test_only_runs_whose_episode_begins_get_its_first_frame():
    memory = SequenceReplay(3, 4, (1, 1, 1), 1)
    memory.begin(np.array([2]), np.full((1, 1, 1, 1), 7, np.uint8))
    memory.begin(np.array([], np.int64), np.zeros((0, 1, 1, 1), np.uint8))
    assert memory.size.tolist() == [0, 0, 1]
    window = memory.sample(2, 1, 1, np.random.default_rng(0))
    assert plain(window, 0, 0) == (7, (0.0,), 0.0, False, True)


def test_marking_the_beginning_of_a_window_marks_nothing_in_the_memory():
    memory, _ = played(20, [6])
    memory.sample(0, 30, 2, np.random.default_rng(0))
    window = memory.sample(0, 1, 7, np.random.default_rng(0))
    assert window.first[0].tolist() == [True] + [False] * 6


@pytest.mark.parametrize("capacity", [6, 30])
def test_a_saved_memory_of_windows_goes_on_as_if_it_had_not_been(capacity):
    memory, _ = played(capacity, [2, 4])
    other = SequenceReplay(2, capacity, (1, 1, 1), 2)
    other.load_state_dict(
        {"columns": {k: v.copy() for k, v in memory.state_dict()["columns"].items()}, "added": memory.state_dict()["added"]}
    )
    for one in (memory, other):
        one.add(np.full((2, 1, 1, 1), 250, np.uint8), np.ones((2, 2), np.float32), np.ones(2, np.float32), np.ones(2, bool))
    drawn = [[column.copy() for column in one.sample(1, 9, 4, np.random.default_rng(5))] for one in (memory, other)]
    for one, same in zip(*drawn, strict=True):
        np.testing.assert_array_equal(one, same)


# --- transitions


@pytest.mark.parametrize("capacity", [1, 4, 9])
def test_a_replay_holds_the_newest_transitions_and_draws_all_of_them(capacity):
    memory, kept = Replay(1, capacity, (1,)), deque[tuple](maxlen=capacity)
    for number in range(9):
        z = np.full((1, 1), number, np.float32)
        memory.add(z, np.array([number % 4]), np.array([number / 2]), z + 0.5, np.array([number % 3 == 0]))
        kept.append((number, number % 4, number / 2, number + 0.5, number % 3 == 0))
    batch = memory.sample(300, run_generators([0], 0))
    columns = (batch.z[0, :, 0], batch.action[0], batch.reward[0], batch.next_z[0, :, 0], batch.terminated[0])
    assert set(zip(*(column.tolist() for column in columns), strict=True)) == set(kept)


def test_tables_of_two_widths_are_padded_behind_and_know_how_wide_they_are():
    wide, narrow = np.arange(12.0).reshape(4, 3) + 1, -np.arange(4.0).reshape(4, 1) - 1
    columns = (np.zeros(4, int), np.arange(4), np.array([0, 1, 0, -1]), np.array([1.0, 2.0, 3.0, np.nan]), np.zeros(4, bool))
    rows = ReplayRows([wide, narrow], [1, 0, 1], *columns)
    assert rows.live_widths == [1, 3, 1]
    batch = rows.sample(5, run_generators([0, 0, 0], 0))
    assert batch.states.dtype == np.float32
    np.testing.assert_array_equal(batch.states[0], batch.states[2])
    np.testing.assert_array_equal(batch.states[0][:, 1:], 0.0)
    np.testing.assert_array_equal(batch.states[1, :, 0], -3 * batch.states[0, :, 0] - 2)  # row i holds 3 i + 1 there, and -i - 1 here


def test_runs_that_are_asked_for_alone_draw_what_they_draw_beside_the_others():
    table = np.arange(8.0)[:, None]
    columns = (np.zeros(8, int), np.arange(8), np.zeros(8, int), np.arange(8.0), np.zeros(8, bool))
    rows = ReplayRows([table, table + 100], [0, 1, 1], *columns)
    together = rows.sample(6, run_generators([1, 2, 3], 0))
    alone = rows.sample(6, run_generators([1, 2, 3], 0), slice(1, 3))
    np.testing.assert_array_equal(alone.states, together.states[1:])
    np.testing.assert_array_equal(alone.reward, together.reward[1:])
