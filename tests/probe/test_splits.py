"""Episodes are never cut, folds are balanced, and what only tells episodes apart earns nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_score
from synthetic_layers import columns_of, prepare, probe, rows_of, with_reward

from layerscout.errors import DataError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.splits import split_episodes
from layerscout.probe.targets import find_transitions, shift_amounts


@given(st.lists(st.integers(1, 50), min_size=3, max_size=80), st.integers(3, 6), st.integers(0, 25))
def test_episodes_stay_whole_and_groups_are_balanced(lengths: list[int], folds: int, more: int) -> None:
    if len(lengths) < folds:
        return
    split = split_episodes(np.array(lengths), folds + more, folds)
    rows = np.bincount(split.group_of_episode, weights=lengths, minlength=split.groups)
    assert split.groups == min(folds + more, len(lengths))
    assert rows.min() > 0
    assert rows.max() - rows.min() <= max(lengths)
    assert split.folds == folds
    counts = np.bincount(split.fold_of_group)
    assert counts.max() - counts.min() <= 1


def test_a_row_and_its_successor_share_a_group() -> None:
    columns = columns_of([5, 1, 9, 4, 12, 3, 7, 8], np.random.default_rng(0))
    transitions, split = prepare(columns, ProbeConfig(store="memory", groups=6, folds=3))
    group_of_row = split.group_of_episode[columns["episode"]]
    assert (group_of_row[transitions.row] == group_of_row[transitions.row + 1]).all()
    assert len(transitions) == 5 + 1 + 9 + 4 + 12 + 3 + 7 + 8


def test_later_episodes_move_no_earlier_one() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 60)
    assert (split_episodes(lengths, 20, 5).group_of_episode[:40] == split_episodes(lengths[:40], 20, 5).group_of_episode).all()


@pytest.mark.parametrize(("episodes", "words"), [(1, "1 episode with"), (4, "4 episodes with")])
def test_too_few_episodes_say_how_many_are_needed(episodes: int, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        split_episodes(np.full(episodes, 10), 20, 5)
    assert "need at least 5 episodes" in str(caught.value)


def test_episode_identity_earns_no_reward_r2() -> None:
    """Reward is one unpredictable level an episode; the layer only tells episodes apart. Random rows would leak it."""
    rng = np.random.default_rng(0)
    columns = columns_of([25] * 40, rng)
    name = rng.standard_normal((40, 64))[columns["episode"]]
    layer = (name + 0.1 * rng.standard_normal(name.shape)).astype(np.float32)
    columns = with_reward(columns, rng.standard_normal(40)[columns["episode"]])
    rows = rows_of(layer, columns, ProbeConfig(store="memory"))
    leaky = cross_val_score(
        RidgeCV(np.logspace(-3, 5, 9)), rows.now, rows.scalars[:, 0], cv=KFold(5, shuffle=True, random_state=0), scoring="r2"
    )
    assert leaky.mean() > 0.5
    assert probe(layer, columns, shifts=5).reward_r2 <= 0.05


def test_shifts_keep_no_reward_in_its_episode() -> None:
    amounts = shift_amounts(1000, 50, 40, seed=3)
    assert len(set(amounts)) == 40
    assert amounts.min() > 50
    assert amounts.max() < 950
    assert len(shift_amounts(12, 5, 40, seed=3)) == 1
    assert len(shift_amounts(10, 5, 40, seed=3)) == 0
    columns = columns_of([10] * 12, np.random.default_rng(0))
    columns = with_reward(columns, columns["episode"].astype(float) + 1)
    transitions, _ = prepare(columns, ProbeConfig(store="memory", shifts=20))
    assert transitions.scalars.shape == (120, 21)
    assert (transitions.scalars[:, 1:] != transitions.scalars[:, :1]).all()


def test_missing_pieces_are_named() -> None:
    columns = columns_of([6, 6, 6], np.random.default_rng(0))
    names = ("episode", "step", "action", "reward")
    with pytest.raises(DataError, match="no transition"):
        find_transitions(np.arange(5), np.zeros(5, int), np.zeros(5, int), np.zeros(5), 5, 0)
    for column, value, words in (("action", -1, "transition 2 has no action"), ("reward", np.nan, "transition 2 has reward nan")):
        broken = columns | {column: columns[column].copy()}
        broken[column][2] = value
        with pytest.raises(DataError, match=words):
            find_transitions(*(broken[name] for name in names), 5, 0)
