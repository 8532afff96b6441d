"""Rewards, actions and what followed them, against sums written out step by step."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.errors import DataError
from layerscout.probe.questions import actions, outcomes
from layerscout.probe.questions.actions import OneHot, action_codes, action_columns
from layerscout.probe.questions.outcomes import HORIZON, LARGEST, RewardsAhead, find_outcomes, standardised_rewards_ahead
from layerscout.probe.questions.rewards import return_to_go, reward_column, standardise_varying

ALL = np.ones(6, dtype=bool)
FIRST = np.array([True, True, True, False, False, False])


# rewards


def test_a_reward_has_mean_0_and_variance_1_over_what_ranks_and_the_same_unit_elsewhere() -> None:
    reward = np.array([1.0, 2.0, 3.0, 7.0, 2.0, -8.0])
    scaled, notes = reward_column(reward, FIRST)
    np.testing.assert_allclose(scaled[:, 0], (reward - 2) / np.sqrt(2 / 3))
    assert notes == ()


@pytest.mark.parametrize(
    ("reward", "told"),
    [
        ([np.nan] * 6, "the dataset has no rewards"),
        ([np.inf] * 6, "the dataset has no rewards"),
        ([0.5] * 6, "all rewards equal 0.5: reward R² is n/a"),
        ([0.5] * 3 + [1.0] * 3, "all rewards of the episodes that rank equal 0.5"),
    ],
)
def test_a_reward_that_tells_nothing_is_no_column_and_is_said(reward: list[float], told: str) -> None:
    column, (note,) = reward_column(np.array(reward), FIRST)
    assert column.shape == (6, 0)
    assert note.startswith(told)


def test_a_reward_that_some_steps_lack_is_refused_at_the_first_of_them() -> None:
    with pytest.raises(DataError, match="transition 2 has reward nan while others have one"):
        reward_column(np.array([0.0, 1.0, np.nan, 1.0, np.inf, 0.0]), ALL)


def test_columns_that_do_not_vary_where_it_counts_are_left_out() -> None:
    values = np.array([[1.0, 0.0, 5.0], [2.0, 0.0, 5.0], [3.0, 0.0, 5.0], [9.0, 4.0, 5.0], [9.0, 4.0, 5.0], [9.0, 4.0, 5.0]])
    np.testing.assert_allclose(standardise_varying(values, FIRST), (values[:, :1] - 2) / np.sqrt(2 / 3))
    assert standardise_varying(values, ALL).shape == (6, 2)
    assert standardise_varying(values[:, 2:], ALL).shape == (6, 0)


def test_the_given_values_stay_as_they_are() -> None:
    values, reward = np.arange(6.0)[:, None], np.arange(6.0)
    standardise_varying(values, ALL)
    return_to_go(reward, np.zeros(6, int), 0.5)
    np.testing.assert_array_equal(values[:, 0], np.arange(6.0))
    np.testing.assert_array_equal(reward, np.arange(6.0))


# actions


def test_discrete_actions_are_one_hot_by_the_size_of_their_values() -> None:
    columns, levels, notes = action_columns(np.array([5, 2, 5, 9, 2, 9]), ALL)
    np.testing.assert_array_equal(np.asarray(columns), np.eye(3)[[1, 0, 1, 2, 0, 2]])
    assert (levels, notes) == (3, ())


def test_a_level_that_only_episodes_kept_apart_have_is_a_level_too() -> None:
    columns, levels, _ = action_columns(np.array([0, 1, 0, 2, 2, 2]), FIRST)
    assert (levels, columns.shape) == (3, (6, 3))


def test_continuous_actions_are_the_columns_that_vary_with_variance_1() -> None:
    values = np.stack([np.arange(6.0), np.full(6, 7.0)], axis=1)
    columns, levels, notes = action_columns(values, FIRST)
    np.testing.assert_allclose(columns[:, 0], (np.arange(6) - 1) / np.sqrt(2 / 3), rtol=1e-6)
    assert (columns.shape, columns.dtype, levels, notes) == ((6, 1), np.float32, 0, ())


@pytest.mark.parametrize("action", [np.full(6, -1), np.full((6, 2), np.nan), np.full((6, 1), -7)])
def test_actions_that_nobody_knows_are_no_columns(action: np.ndarray) -> None:
    columns, levels, (note,) = action_columns(action, ALL)
    assert (columns.shape, levels) == ((6, 0), 0)
    assert "no actions: transition R²" in note


@pytest.mark.parametrize("action", [np.full(6, 3), np.full((6, 2), 0.5)])
def test_one_action_alone_tells_nothing(action: np.ndarray) -> None:
    columns, levels, (note,) = action_columns(action, ALL)
    assert (columns.shape, levels) == ((6, 0), 0)
    assert note.startswith("no actions to tell apart")


@pytest.mark.parametrize("action", [np.array([0, 1, -1, 0, 1, 0]), np.array([[0.0, 1.0]] * 2 + [[0.0, np.nan]] + [[0.0, 1.0]] * 3)])
def test_an_action_that_some_steps_lack_is_refused_with_what_stands_there(action: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"transition 2 has no action \(column 'action' is ") as caught:
        action_columns(action, ALL)
    assert ", ".join(map(str, np.atleast_1d(action[2]))) in str(caught.value)


@pytest.mark.parametrize("spread", [1, 2**10, 2**40])
def test_codes_are_those_of_sorting_however_far_the_values_lie_apart(monkeypatch: pytest.MonkeyPatch, spread: int) -> None:
    monkeypatch.setattr(actions, "TABLE", 2**8)
    values = np.array([3, -2, 3, 0, 5, -2]) * spread
    codes, levels = action_codes(values)
    known, expected = np.unique(values, return_inverse=True)
    np.testing.assert_array_equal(codes, expected)
    assert levels == len(known)
    assert codes.dtype == np.uint8


@pytest.mark.parametrize("table", [2**4, 2**20])
@pytest.mark.parametrize("levels", [255, 256, 257, 300])
def test_so_many_levels_as_the_smallest_type_holds_keep_their_codes(monkeypatch: pytest.MonkeyPatch, levels: int, table: int) -> None:
    monkeypatch.setattr(actions, "TABLE", table)
    codes, found = action_codes(np.arange(levels)[::-1])
    assert found == levels
    np.testing.assert_array_equal(codes, np.arange(levels)[::-1])


# what follows

EPISODE = np.array([0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2])
REWARD = np.array([1.0, -2.0, 0.5, 4.0, 3.0, 0.0, 1.0, 1.0, -1.0, 2.0, 0.25])


def ahead_by_hand(steps: int, discount: float) -> np.ndarray:
    return np.array(
        [
            sum(
                discount**later * REWARD[now + later] for later in range(steps) if now + later < 11 and EPISODE[now + later] == EPISODE[now]
            )
            for now in range(11)
        ]
    )


@pytest.mark.parametrize("steps", [1, 2, 4, 20])
@pytest.mark.parametrize("discount", [1.0, 0.9, 0.0])
def test_rewards_ahead_end_with_their_episode_wherever_the_rows_are_cut(steps: int, discount: float) -> None:
    source, expected = RewardsAhead(REWARD, EPISODE, steps, discount), ahead_by_hand(steps, discount)
    for cut in range(1, 12):
        parts = [source.values(slice(start, min(start + cut, 11))) for start in range(0, 11, cut)]
        np.testing.assert_allclose(np.concatenate(parts), expected)


@pytest.mark.parametrize("part", [2, 3, 8192])
def test_rewards_ahead_are_a_column_of_mean_0_and_variance_1_over_what_ranks(monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(outcomes, "PART", part)
    ranking = EPISODE != 1
    values = ahead_by_hand(4, 0.9)
    found = standardised_rewards_ahead(REWARD, EPISODE, ranking, 4, 0.9)
    np.testing.assert_allclose(found[:, 0], (values - values[ranking].mean()) / values[ranking].std(), rtol=1e-5, atol=1e-6)
    assert standardised_rewards_ahead(np.full(11, 2.0), np.arange(11), ranking, 4, 0.9).shape == (11, 0)


@pytest.mark.parametrize("scale", [1e-100, 1e-3, 1e100])
def test_the_unit_of_the_rewards_is_none_of_their_column(scale: float) -> None:
    expected = standardised_rewards_ahead(REWARD, EPISODE, EPISODE != 1, 4, 0.9)
    found = standardised_rewards_ahead(REWARD * scale + scale, EPISODE, EPISODE != 1, 4, 0.0)
    near = standardised_rewards_ahead(REWARD, EPISODE, EPISODE != 1, 4, 0.0)
    np.testing.assert_allclose(standardised_rewards_ahead(REWARD * scale, EPISODE, EPISODE != 1, 4, 0.9), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, near, rtol=1e-5, atol=1e-6)  # without a horizon, neither is their zero


def made_up(rows: int = 40, levels: int = 2) -> dict[str, np.ndarray | OneHot]:
    rng = np.random.default_rng(0)
    episode, step = np.arange(rows) // 5, np.arange(rows) % 5
    reward, codes = rng.standard_normal(rows), rng.integers(0, levels, rows).astype(np.uint8)
    return {
        "reward": reward,
        "total": return_to_go(reward, episode, 0.9),
        "episode": episode,
        "step": step + 3,  # a store may begin anywhere
        "inputs": OneHot(codes, levels),
        "ranking": episode < 6,
    }


@pytest.mark.parametrize("part", [7, 8192])
def test_an_outcome_is_the_return_beyond_its_step_weighted_by_how_rare_its_action_is(monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(outcomes, "PART", part)
    given = made_up()
    found = find_outcomes(**given, discount=0.9)
    ranks, codes, step = given["ranking"], given["inputs"].codes, given["step"]
    share = np.bincount(codes[ranks], minlength=2) / ranks.sum()
    near = RewardsAhead(given["reward"], given["episode"], HORIZON, 0.9).values(slice(0, 40))
    for kind, total in enumerate((given["total"], near)):
        mean = np.array([total[ranks & (step == one)].mean() for one in step])
        psi = (np.eye(2)[codes] / share - 1) * (total - mean)[:, None]
        psi /= np.sqrt((psi[ranks] ** 2).mean())
        columns = found.columns_of(kind)
        np.testing.assert_allclose(found.values(np.arange(40))[:, columns], psi, rtol=1e-4, atol=1e-5)
    assert (found.actions, found.count, len(found)) == (2, 4, 40)
    np.testing.assert_array_equal(found[10:20].values(np.array([3])), found.values(np.array([13])))


def test_a_step_that_no_episode_that_ranks_has_is_held_against_the_mean_of_all() -> None:
    given = made_up()
    given["step"] = given["step"].copy()
    given["step"][-1] = 50  # in an episode that is kept apart
    found = find_outcomes(**given, discount=0.9)
    ranks = given["ranking"]
    assert found.after[-1, 0] * found.scale[0] == pytest.approx(given["total"][-1] - given["total"][ranks].mean(), rel=1e-5)


def test_a_rare_actions_weight_has_a_bound() -> None:
    given = made_up(400)
    codes = np.zeros(400, np.uint8)
    codes[given["ranking"].nonzero()[0][:2]] = 1
    codes[:10] = 1
    given["inputs"] = OneHot(codes, 2)
    given["ranking"] = np.ones(400, bool)
    assert find_outcomes(**given, discount=0.9).weights.max() == LARGEST
    codes[:3] = 0
    given["inputs"] = OneHot(codes, 2)  # below one in fifty
    assert find_outcomes(**given, discount=0.9) is None


def test_continuous_actions_and_returns_that_are_all_alike_have_no_outcomes() -> None:
    given = made_up()
    assert find_outcomes(**given | {"inputs": np.zeros((40, 2))}, discount=0.9) is None
    alike = np.ones(40)
    assert find_outcomes(**given | {"reward": alike, "total": return_to_go(alike, given["episode"], 0.9)}, discount=0.9) is None
