"""Actions, rewards, returns and named columns become numbers; what is not there is n/a and said."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import r2_score
from synthetic_layers import columns_of, controllable_state, prepare, probe, rows_of, with_reward

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.questions import rewards
from layerscout.probe.questions.actions import OneHot, action_codes
from layerscout.probe.questions.rewards import return_to_go
from layerscout.probe.questions.targets import _target_width, find_transitions, needed_columns, searched_only

LENGTHS = [23, 11, 40, 17, 31, 22, 8, 35, 29, 27, 12, 19, 26, 30, 14, 21]


@pytest.fixture(scope="module")
def world() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """A layer that is its state turned, the index columns, and the state."""
    rng = np.random.default_rng(0)
    columns = columns_of(LENGTHS, rng)
    state = controllable_state(columns, 4, rng)
    columns = with_reward(columns, state[:, 0])
    return (state @ rng.standard_normal((4, 8))).astype(np.float32), columns, state.astype(np.float32)


@pytest.mark.parametrize("confirmation", [0.0, 0.2])
def test_shifted_rewards_are_those_of_other_episodes_that_rank(confirmation: float) -> None:
    columns = columns_of([10] * 16, np.random.default_rng(0))
    columns = with_reward(columns, columns["episode"].astype(float) + 1)
    transitions, split = prepare(columns, ProbeConfig(store="memory", shifts=20, confirmation=confirmation, targets=(), measures=False))
    ranks = split.fold_of_group[split.group_of_episode[transitions.episode]] >= 0
    assert transitions.target_names == ("reward", *["reward shifted"] * 20)
    reward, shifted = transitions.scalars[ranks, :1], transitions.scalars[ranks, 1:]
    assert (shifted != reward).all()
    np.testing.assert_array_equal(np.sort(shifted, axis=0), np.repeat(np.sort(reward, axis=0), 20, axis=1))
    assert not transitions.scalars[~ranks, 1:].any()


def test_scalars_have_mean_0_and_variance_1_over_the_episodes_that_rank(world) -> None:
    _, columns, state = world
    transitions, split = prepare(columns | {"state": state}, ProbeConfig(store="memory", shifts=3, measures=False))
    ranks = split.fold_of_group[split.group_of_episode[transitions.episode]] >= 0
    assert transitions.target_names[4:] == ("state",) * 4 + ("return_to_go",)
    np.testing.assert_allclose(transitions.scalars[ranks].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(transitions.scalars[ranks].std(axis=0), 1)
    assert transitions.undefined == ("expert_action",)
    assert transitions.notes == ()  # of what nobody asked for, nothing is told


@pytest.mark.parametrize("discount", [1.0, 0.9, 0.0])
def test_return_to_go_is_the_sum_of_what_follows(discount: float) -> None:
    rng = np.random.default_rng(0)
    episode = np.repeat([0, 1, 2], [7, 1, 12])
    reward = rng.standard_normal(20)
    expected = [
        sum(discount ** (later - now) * reward[later] for later in range(now, 20) if episode[later] == episode[now]) for now in range(20)
    ]
    np.testing.assert_allclose(return_to_go(reward, episode, discount), expected)


def test_returns_of_long_episodes_are_added_up_as_those_of_short_ones(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    episode, reward = np.repeat([0, 1, 2, 3], [7, 30, 1, 12]), rng.standard_normal(50)
    at_once = return_to_go(reward, episode, 0.9)
    monkeypatch.setattr(rewards, "LONG", 8)
    np.testing.assert_array_equal(return_to_go(reward, episode, 0.9), at_once)
    assert not len(return_to_go(reward[:0], episode[:0], 0.9))


def test_actions_are_columns_of_zeros_and_ones_by_the_size_of_their_values() -> None:
    action = np.array([7, -3, 7, 10**9, 0])
    for values in (action, action[action < 10**9]):  # a range that is sorted, and one that is looked up
        codes, levels = action_codes(values)
        known, expected = np.unique(values, return_inverse=True)
        assert levels == len(known)
        np.testing.assert_array_equal(codes, expected)
        columns = OneHot(codes, levels)
        dense = np.eye(levels, dtype=np.float32)[expected]
        np.testing.assert_array_equal(np.asarray(columns), dense)
        np.testing.assert_array_equal(np.asarray(columns[1:3]), dense[1:3])
        np.testing.assert_array_equal(columns[np.array([2, 0])], dense[[2, 0]])
        np.testing.assert_array_equal(columns[1], dense[1])
        assert (columns.shape, len(columns), columns.dtype) == (dense.shape, len(dense), dense.dtype)


def test_episodes_are_numbered_as_they_come_and_one_in_two_pieces_is_one() -> None:
    columns = columns_of([2, 2, 2], np.random.default_rng(0))
    for names, expected in (([5, 7, 9], [0, 0, 1, 1, 2, 2]), ([9, 5, 9], [1, 1, 0, 0, 1, 1])):
        named = columns | {"episode": np.array(names)[columns["episode"]]}
        assert find_transitions(named, ProbeConfig(store="memory", confirmation=0)).episode.tolist() == expected


@pytest.mark.parametrize("episodes", range(8, 34))
def test_targets_are_standardised_over_just_the_episodes_that_the_split_ranks(episodes: int) -> None:
    columns = columns_of([3] * episodes, np.random.default_rng(episodes))
    columns = with_reward(columns, columns["episode"].astype(float))
    transitions, split = prepare(columns, ProbeConfig(store="memory", shifts=0, groups=5, targets=(), measures=False, confirmation=0.3))
    ranks = split.fold_of_group[split.group_of_episode[transitions.episode]] >= 0
    np.testing.assert_allclose(transitions.scalars[ranks].mean(axis=0), 0, atol=1e-12)


def test_rewards_that_are_equal_everywhere_are_no_target() -> None:
    columns = columns_of([5] * 8, np.random.default_rng(0))
    columns = with_reward(columns, np.full(len(columns["episode"]), 2.5))
    found = find_transitions(columns, ProbeConfig(store="memory", targets=(), confirmation=0))
    assert found.target_names == ()
    assert found.scalars.shape == (40, 0)
    assert found.notes


@pytest.mark.parametrize(("shape", "width"), [((40,), 1), ((40, 1), 1), ((40, 3), 3), ((40, 2, 3), 6), ((0, 3), 0)])
def test_a_target_has_a_column_a_number_of_its_row(shape: tuple[int, ...], width: int) -> None:
    assert _target_width("state", {"state": np.zeros(shape)}, False) == width


@pytest.mark.parametrize(
    ("name", "values", "discrete", "width"),
    [
        ("state", np.arange(12.0).reshape(4, 3), True, 3),
        ("state", np.arange(4.0), True, 1),
        ("state", np.arange(3.0)[None], False, 3),
        ("expert_action", np.array([3, 0, 3, 9]), True, 3),  # a column a level
        ("expert_action", np.array([[3], [0], [3], [9]]), True, 3),
        ("expert_action", np.array([3.0, 0.0, 3.0, 9.0]), False, 1),
        ("expert_action", np.arange(8.0).reshape(4, 2), True, 2),
        ("return_to_go", np.zeros(0), True, 1),
        ("ghost", np.zeros(0), True, 0),
    ],
)
def test_an_experts_choice_has_a_column_a_level_and_other_targets_one_a_number(
    name: str, values: np.ndarray, discrete: bool, width: int
) -> None:
    assert _target_width(name, {name: values} if name not in ("ghost", "return_to_go") else {}, discrete) == width


def test_a_single_transition_is_one_of_episode_0() -> None:
    columns = {"episode": np.array([7, 7]), "step": np.array([3, 4]), "action": np.array([1, -1]), "reward": np.array([0.5, np.nan])}
    found = find_transitions(columns, ProbeConfig(store="memory", confirmation=0))
    assert (found.row.tolist(), found.episode.tolist(), found.lengths.tolist()) == ([0], [0], [1])
    assert found.target_names == ()


@pytest.mark.parametrize(("rows", "kind"), [(2**31 - 1, np.int32), (2**31, np.int64)])
def test_rows_are_numbered_in_half_the_bytes_while_their_numbers_fit(rows: int, kind: type) -> None:
    class Long(np.ndarray):
        """An array that says that it has so many rows."""

        def __len__(self) -> int:
            return rows

    columns = columns_of([3, 3, 3], np.random.default_rng(0))
    found = find_transitions(columns | {"episode": columns["episode"].view(Long)}, ProbeConfig(store="memory", confirmation=0))
    assert found.row.dtype == kind
    assert found.row.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]


def test_what_is_fitted_at_a_fixed_penalty_is_left_out_of_the_search(world) -> None:
    _, columns, state = world
    whole = find_transitions(columns | {"state": state}, ProbeConfig(store="memory", shifts=2))
    assert {"reward, 4 steps", "outcome"} <= set(whole.target_names)
    found = searched_only(whole)
    assert found.target_names == ("reward", *["reward shifted"] * 2, *["state"] * 4, "return_to_go", "reward, 4 steps")
    np.testing.assert_array_equal(np.asarray(found.scalars), np.asarray(whole.scalars)[:, : len(found.target_names)])
    assert (found.row is whole.row, found.levels) == (True, whole.levels)


def test_transitions_are_not_changed_once_they_are_found() -> None:
    found = find_transitions(columns_of([3, 3, 3], np.random.default_rng(0)), ProbeConfig(store="memory", confirmation=0))
    with pytest.raises(AttributeError):
        found.levels = 9  # type: ignore[misc]


def test_targets_take_at_most_sixty_bytes_a_row() -> None:
    columns = columns_of([199] * 500, np.random.default_rng(0), actions=4)
    tracemalloc.start()
    try:
        transitions = find_transitions(columns, ProbeConfig(store="memory"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(transitions) == 99_500
    assert peak <= 60 * 100_000


def test_targets_equal_scikit_learn_and_have_intervals(world) -> None:
    layer, columns, state = world
    noisy = state[:, :2] + np.random.default_rng(1).standard_normal((len(state), 2)).astype(np.float32)
    found = probe(layer, columns | {"state": state, "speed": noisy}, targets=("state", "speed"), shifts=0, penalties=(1e-4,))
    assert found.targets["state"].r2 > 0.999
    rows = rows_of(layer, columns | {"speed": noisy}, ProbeConfig(store="memory", targets=("speed",), shifts=0, measures=False))
    predicted = np.empty_like(rows.scalars[:, 1:])
    for fold in range(5):
        train, test = rows.fold != fold, rows.fold == fold
        x = (rows.now - rows.now[train].mean(axis=0)) / rows.now[train].std(axis=0)
        y = rows.scalars[:, 1:] - (mean := rows.scalars[train, 1:].mean(axis=0))
        weights = np.linalg.solve(x[train].T @ x[train] + 1e-4 * train.sum() * np.eye(8), x[train].T @ y[train])
        predicted[test] = x[test] @ weights + mean
    assert found.targets["speed"].r2 == pytest.approx(r2_score(rows.scalars[:, 1:], predicted), abs=1e-4)
    left = [r2_score(rows.scalars[rows.group != group, 1:], predicted[rows.group != group]) for group in range(13)]
    np.testing.assert_allclose(found.targets["speed"].left, left, atol=0.3 * np.std(left))


def test_a_target_that_is_missing_or_constant_is_undefined_everywhere_else_unchanged(world) -> None:
    layer, columns, state = world
    plain = probe(layer, columns, targets=("return_to_go",), shifts=3)
    torn = state.copy()
    torn[5, 0] = np.nan
    asked = ("return_to_go", "stat", "torn", "flat")
    more = columns | {"torn": torn, "flat": np.full(len(state), 2.5), "state": state}
    found = probe(layer, more, targets=asked, shifts=3)
    assert found.targets == {"stat": None, "torn": None, "flat": None} | plain.targets
    assert found.model_dump(exclude={"targets"}) == plain.model_dump(exclude={"targets"})
    transitions, _ = prepare(more, ProbeConfig(store="memory", targets=asked))
    assert transitions.notes == (
        "the dataset has no stat: R² is n/a",
        "torn, flat is missing in some transitions or the same in all: R² is n/a",
    )


def test_only_the_columns_that_are_asked_for_are_read() -> None:
    there = ("episode", "step", "action", "reward", "terminated", "truncated", "padding", "state", "camera", "expert_action")
    standard = ("episode", "step", "action", "reward")
    assert needed_columns(there, ProbeConfig(store="x")) == (*standard, "state", "expert_action")
    assert needed_columns(there, ProbeConfig(store="x", targets=())) == standard
    assert needed_columns(there, ProbeConfig(store="x", targets=("camera", "return_to_go", "ghost"))) == (*standard, "camera")


def test_the_order_of_expert_action_codes_means_nothing(world) -> None:
    layer, columns, state = world
    codes = state[:, :3].argmax(axis=1).astype(np.float32)
    swapped = np.array([7.0, 0.0, 3.0], dtype=np.float32)[codes.astype(int)]
    first, second = (probe(layer, columns | {"expert_action": values[:, None]}, shifts=0) for values in (codes, swapped))
    assert first.targets["expert_action"].r2 > 0.3
    assert first.targets["expert_action"].r2 == pytest.approx(second.targets["expert_action"].r2, abs=1e-9)


def test_continuous_actions_are_standardised_and_their_units_change_nothing(world) -> None:
    layer, columns, _ = world
    rng = np.random.default_rng(0)
    last = columns["action"] < 0
    force = np.stack([columns["action"] == 1, columns["action"] == 2], axis=1) + 0.1 * rng.standard_normal((len(last), 2))
    force[last] = np.nan
    transitions, split = prepare(columns | {"action": force.astype(np.float32)}, ProbeConfig(store="memory"))
    ranks = split.fold_of_group[split.group_of_episode[transitions.episode]] >= 0
    assert transitions.levels == 0
    np.testing.assert_allclose(transitions.inputs[ranks].std(axis=0), 1, rtol=1e-5)
    turned = np.hstack([1e3 * force + 5, np.where(last[:, None], np.nan, 4.0)])  # other units, and a dimension that never moves
    first, second = (probe(layer, columns | {"action": values}, shifts=0, precision="float64") for values in (force, turned))
    assert first.bits_action > 0.5
    assert first.bits_action == pytest.approx(second.bits_action, abs=1e-4)
    assert first.transition_r2 == pytest.approx(second.transition_r2, abs=1e-5)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (np.full(1, -1), "the dataset has no actions: "),
        (np.full((1, 3), np.nan), "the dataset has no actions: "),
        (np.full(1, 2), "no actions to tell apart: "),
        (np.full((1, 2), 0.5), "no actions to tell apart: "),
    ],
    ids=["absent", "absent continuous", "one", "one continuous"],
)
def test_without_actions_everything_else_is_there(world, action: np.ndarray, words: str) -> None:
    layer, columns, _ = world
    columns = columns | {"action": np.repeat(action, len(layer), axis=0)}
    transitions, _ = prepare(columns, ProbeConfig(store="memory"))
    assert transitions.inputs.shape == (len(transitions), 0)
    assert transitions.notes[0].startswith(words)
    found = probe(layer, columns, shifts=3)
    assert found.bits_action is found.bits_action_by_chance is None
    assert found.transition_r2 == pytest.approx(found.transition_r2_without_action, abs=1e-9)
    assert found.bits_total > 0.5
    assert found.reward_r2 > 0.9


def test_missing_pieces_are_named() -> None:
    columns = columns_of([6] * 6, np.random.default_rng(0))
    config = ProbeConfig(store="memory")
    with pytest.raises(DataError, match="no transition"):
        find_transitions(columns | {"step": np.zeros(len(columns["step"]), int)}, config)
    force = np.where(columns["action"][:, None] < 0, np.nan, 1.0 * columns["action"][:, None])
    force[2] = np.nan
    for column, value, words in (
        ("action", -1, "transition 2 has no action"),
        ("reward", np.nan, "transition 2 has reward nan"),
    ):
        broken = columns | {column: columns[column].copy()}
        broken[column][2] = value
        with pytest.raises(DataError, match=words):
            find_transitions(broken, config)
    with pytest.raises(DataError, match="transition 2 has no action"):
        find_transitions(columns | {"action": force}, config)
