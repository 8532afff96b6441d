"""Episodes are never cut, folds are balanced, the confirmation set stands apart, and what only tells episodes apart earns nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_score
from synthetic_layers import columns_of, controllable_state, prepare, probe, rows_of, with_reward

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.questions.splits import held_out, split_episodes


@given(st.lists(st.integers(1, 50), min_size=3, max_size=80), st.integers(3, 6), st.integers(0, 25), st.sampled_from([0.0, 0.1, 0.2, 0.5]))
def test_episodes_stay_whole_and_groups_are_balanced(lengths: list[int], folds: int, more: int, share: float) -> None:
    if len(lengths) < folds:
        return
    split = split_episodes(np.array(lengths), folds + more, folds, share)
    rows = np.bincount(split.group_of_episode, weights=lengths, minlength=split.groups)
    for groups in (split.ranking, split.confirmation):
        if len(groups):
            assert rows[groups].min() > 0
            assert rows[groups].max() - rows[groups].min() <= max(lengths)
    ranking_episodes = len(lengths) - split.confirmation_episodes
    assert len(split.ranking) == min(folds + more, ranking_episodes)
    assert split.ranking.tolist() == list(range(len(split.ranking)))  # they come first
    assert split.folds == folds
    counts = np.bincount(split.fold_of_group[split.ranking])
    assert counts.max() - counts.min() <= 1


def test_a_row_and_its_successor_share_a_group() -> None:
    columns = columns_of([5, 1, 9, 4, 12, 3, 7, 8], np.random.default_rng(0))
    transitions, split = prepare(columns, ProbeConfig(store="memory", groups=6, folds=3))
    group_of_row = split.group_of_episode[columns["episode"]]
    assert (group_of_row[transitions.row] == group_of_row[transitions.row + 1]).all()
    assert len(transitions) == 5 + 1 + 9 + 4 + 12 + 3 + 7 + 8


@pytest.mark.parametrize("share", [0.0, 0.2])
def test_later_episodes_move_no_earlier_one(share: float) -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 100)
    longer, shorter = (split_episodes(chosen, 20, 5, share) for chosen in (lengths, lengths[:70]))
    assert shorter.confirmation_episodes == {0.0: 0, 0.2: 14}[share]
    folds = [split.fold_of_group[split.group_of_episode] for split in (longer, shorter)]
    assert (folds[0][:70] == folds[1]).all()
    if not share:
        assert (longer.group_of_episode[:70] == shorter.group_of_episode).all()


@given(st.integers(0, 400), st.floats(0.01, 0.5))
def test_the_confirmation_set_is_a_share_spread_over_the_whole(episodes: int, share: float) -> None:
    held = held_out(episodes, share, 5)
    if not held.any():
        assert episodes * share < 5
        return
    assert held.sum() >= 3
    assert (~held).sum() >= 5
    for stop in range(1, episodes + 1):
        assert abs(held[:stop].sum() - share * stop) <= 1 + 0.1 * share * stop  # of 2.5 episodes, half of the second is nobody's


def test_the_confirmation_set_has_no_period() -> None:
    """Episodes are often recorded in turn by several environments; none of them may be held out more than its share."""
    places = np.flatnonzero(held_out(1000, 0.2, 5))
    for period in range(2, 13):
        counts = np.bincount(places % period, minlength=period)
        assert abs(counts * period / len(places) - 1).max() < 0.4


@pytest.mark.parametrize(("episodes", "words"), [(1, "1 episode with"), (4, "4 episodes with")])
def test_too_few_episodes_say_how_many_are_needed(episodes: int, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        split_episodes(np.full(episodes, 10), 20, 5)
    assert "need at least 5 episodes" in str(caught.value)


def test_too_few_episodes_for_a_confirmation_set_are_a_note_that_keeps_its_word() -> None:
    split = split_episodes(np.full(9, 10), 20, 5, 0.2)
    assert len(split.confirmation) == 0
    [note] = split.notes
    needed = int(note.rsplit(" ", 1)[1])
    assert note == f"no confirmation set: 9 episodes, and a share of 0.2 needs at least {needed}"
    assert len(split_episodes(np.full(needed, 10), 20, 5, 0.2).confirmation) == 3
    assert len(split_episodes(np.full(needed - 1, 10), 20, 5, 0.2).confirmation) == 0
    assert split_episodes(np.full(9, 10), 20, 5, 0.0).notes == ()


def test_the_confirmation_set_enters_no_figure_that_ranks() -> None:
    """Other activations, rewards and actions in the episodes held out: the ranking's figures stay, the confirmation's do not."""
    rng = np.random.default_rng(0)
    columns = columns_of([30] * 40, rng)
    state = controllable_state(columns, 4, rng)
    columns = with_reward(columns, state[:, 0])
    layer = (state @ rng.standard_normal((4, 8)) + 0.3 * rng.standard_normal((len(state), 8))).astype(np.float32)
    held = held_out(40, 0.2, 5)[columns["episode"]]
    other = np.where(held[:, None], 7 * rng.standard_normal(layer.shape).astype(np.float32), layer)
    drawn = with_reward(columns, np.where(held, rng.standard_normal(len(state)), state[:, 0]))
    drawn["action"] = np.where(held & (columns["action"] >= 0), columns["action"][::-1].clip(0), columns["action"])
    first, second = (probe(array, index, shifts=5, precision="float64").model_dump() for array, index in ((layer, columns), (other, drawn)))
    confirmed, changed = first.pop("confirmation"), second.pop("confirmation")
    assert confirmed["transition_r2"] - changed["transition_r2"] > 0.3
    assert confirmed["reward_r2"] - changed["reward_r2"] > 0.3
    for name, value in first.items():
        if isinstance(value, float | tuple) and name != "penalties":
            np.testing.assert_allclose(
                value, second[name], rtol=1e-6, atol=1e-7, err_msg=name
            )  # the pilot rows differ, so the rounding does


def test_episode_identity_earns_no_reward_r2() -> None:
    """Reward is one unpredictable level an episode; the layer only tells episodes apart. Random rows would leak it."""
    rng = np.random.default_rng(0)
    columns = columns_of([60] * 60, rng)
    name = rng.standard_normal((60, 48))[columns["episode"]]
    layer = (name + 0.1 * rng.standard_normal(name.shape)).astype(np.float32)
    columns = with_reward(columns, rng.standard_normal(60)[columns["episode"]])
    rows = rows_of(layer, columns, ProbeConfig(store="memory"))
    leaky = cross_val_score(
        RidgeCV(np.logspace(-3, 5, 9)), rows.now, rows.scalars[:, 0], cv=KFold(5, shuffle=True, random_state=0), scoring="r2"
    )
    assert leaky.mean() > 0.7
    found = probe(layer, columns, shifts=5)
    assert found.reward_r2 <= 0.05
    assert found.confirmation.reward_r2 <= 0.05


def test_one_step_episodes_and_ragged_ones_give_every_figure() -> None:
    rng = np.random.default_rng(0)
    lengths = [1, 1, 30, 2, 1, 17, 1, 25, 3, 1, 22, 19, 1, 14, 1, 28, 1, 1, 33, 2, 21, 1, 12, 1, 8]
    columns = columns_of(lengths, rng)
    state = controllable_state(columns, 3, rng)
    columns = with_reward(columns, state[:, 0])
    found = probe((state @ rng.standard_normal((3, 6))).astype(np.float32), columns, shifts=3)
    assert found.rows + sum(np.array(lengths)[held_out(25, 0.2, 5)]) == sum(lengths)
    assert found.reward_r2 > 0.9
    assert None not in (found.transition_r2, found.bits_action, found.transition_skill, found.confirmation)


@pytest.mark.parametrize(("share", "episodes", "held"), [(0.2, 14, 2), (0.2, 16, 3), (0.5, 6, 3), (0.5, 5, 2)])
def test_a_confirmation_set_has_at_least_three_episodes_in_three_groups(share: float, episodes: int, held: int) -> None:
    """Few groups and a confirmation share: an interval from fewer than three parts would say nothing."""
    lengths = np.full(episodes, 10)
    split = split_episodes(lengths, 3, 3, share)
    enough = held >= 3 and episodes - held >= 3
    assert split.confirmation_episodes == (held if enough else 0)
    assert len(split.confirmation) == (3 if enough else 0)
    assert held_out(episodes, share, 3).sum() == (held if enough else 0)
    assert bool(split.notes) != enough


def test_the_confirmation_set_has_half_as_many_groups_as_rank() -> None:
    split = split_episodes(np.full(100, 10), 20, 5, 0.2)
    assert (len(split.ranking), len(split.confirmation)) == (20, 10)
    assert split.fold_of_group.tolist() == [*(np.arange(20) % 5).tolist(), *[-1] * 10]
    assert (split.groups, split.folds) == (30, 5)
