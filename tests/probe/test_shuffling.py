"""Shuffled rewards keep what makes a reward easy by chance, and lose their tie to the rows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from synthetic_layers import columns_of, prepare, probe, with_reward

from layerscout.probe.config import ProbeConfig
from layerscout.probe.questions.scalars import Scalars
from layerscout.probe.questions.shuffling import ExchangedRewards, ShiftedRewards, _hashed, keeps_steps, shift_amounts, shuffle_rewards
from layerscout.probe.ranking.score import layer_flags

RAGGED = np.array([23, 11, 40, 17, 31, 22, 8, 35, 29, 27])


def test_shifts_keep_no_reward_in_its_episode() -> None:
    amounts = shift_amounts(1000, 50, 40, seed=3)
    assert len(set(amounts)) == 40
    assert amounts.min() > 50
    assert amounts.max() < 950
    assert len(shift_amounts(12, 5, 40, seed=3)) == 1
    assert len(shift_amounts(10, 5, 40, seed=3)) == 0
    assert len(shift_amounts(1000, 50, 0, seed=3)) == 0


def test_episodes_of_several_lengths_are_shifted_as_a_whole() -> None:
    cycle = np.random.default_rng(0).standard_normal(RAGGED.sum())
    copies, notes = shuffle_rewards(cycle, RAGGED, 20, seed=0)
    assert isinstance(copies, ShiftedRewards)
    assert notes == ()
    found = copies.values(np.arange(len(cycle)))
    for column, shift in enumerate(copies.by):
        np.testing.assert_array_equal(found[:, column], np.roll(cycle, shift))
    half = copies.astype(np.float32)
    assert half.values(np.array([3])).dtype == np.float32
    np.testing.assert_array_equal(half.values(np.array([3]))[0], found[3].astype(np.float32))


@pytest.mark.parametrize("lengths", [[10] * 16, [10] * 15 + [7], [10] * 7 + [7] + [10] * 8, [10] * 9 + [13] + [10] * 7, [2] * 9])
def test_episodes_of_one_length_get_rolled_rewards_of_others(lengths: list[int]) -> None:
    cycle = np.random.default_rng(1).standard_normal(sum(lengths))
    copies, notes = shuffle_rewards(cycle, np.array(lengths), 20, seed=5)
    assert isinstance(copies, ExchangedRewards)
    assert notes[0].startswith("shuffled rewards are those of other episodes, each rolled by a random number of steps")
    assert copies.count == 20
    found = copies.values(np.arange(len(cycle)))
    begins = np.append(0, np.cumsum(lengths))
    episodes = [cycle[start:stop] for start, stop in itertools.pairwise(begins)]
    rolls = []
    for column in range(20):
        for number, (start, length) in enumerate(zip(begins[:-1], lengths, strict=True)):
            other = episodes[(number + copies.by[column]) % len(lengths)]
            assert other is not episodes[number]
            values = found[start : start + length, column]
            roll = int(np.flatnonzero(other == values[0])[0])
            np.testing.assert_array_equal(values, other[(roll + np.arange(length)) % len(other)])
            rolls.append(roll)
    counts = np.bincount(rolls, minlength=min(lengths))
    assert counts[: sorted(lengths)[1]].min() > 0.5 * len(rolls) / max(lengths)  # every number of steps occurs
    some = np.array([5, 0, len(cycle) - 1])
    np.testing.assert_array_equal(copies.values(some), found[some])  # whichever rows are asked for
    again, _ = shuffle_rewards(cycle, np.array(lengths), 20, seed=6)
    assert (again.values(some) != found[some]).any()
    np.testing.assert_array_equal(copies.astype(np.float32).values(some), found[some].astype(np.float32))


def test_every_way_to_move_on_by_whole_episodes_is_taken_and_again_only_where_they_can_be_rolled() -> None:
    cycle = np.random.default_rng(0).standard_normal(160)
    copies, notes = shuffle_rewards(cycle, np.full(16, 10), 15, seed=0)
    assert sorted(copies.by.tolist()) == list(range(1, 16))
    assert len(notes) == 1
    again, _ = shuffle_rewards(cycle, np.full(16, 10), 40, seed=0)
    assert again.by.tolist() == np.tile(copies.by, 3)[:40].tolist()
    single, told = shuffle_rewards(cycle[:151], np.array([10] * 15 + [1]), 40, seed=0)  # an episode of one step cannot be rolled
    assert isinstance(single, ExchangedRewards)
    assert single.count == 15
    assert told[1] == "only 15 of 40 reward shifts move every reward out of its episode"


def mixed(bits: int) -> int:
    """The mixing function with Python's own numbers: two rounds of a shift by 33 and a product, and a last shift."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        bits = (bits ^ bits >> 33) * factor % 2**64
    return bits ^ bits >> 33


@pytest.mark.parametrize("seed", [0, 1, 7, 2**32 - 1])
def test_the_random_numbers_of_steps_are_those_of_the_named_function_on_every_machine(seed: int) -> None:
    copy, episode = np.array([0, 1, 19, 999]), np.array([0, 1, 5, 70_000])
    expected = [[mixed((one << 20) + other + (seed << 32) & 2**64 - 1) for other in copy.tolist()] for one in episode.tolist()]
    assert _hashed(seed, copy, episode[:, None]).tolist() == expected


def test_step_t_gets_what_another_episode_got_so_many_steps_later_on_a_circle() -> None:
    lengths, cycle = [4, 7, 5], np.arange(16.0)
    copies = ExchangedRewards(cycle, np.array([0, 4, 11, 16]), np.array([1, 2, 1]), seed=3)
    begins = [0, 4, 11]
    found = copies.values(np.arange(16))
    for episode, length in enumerate(lengths):
        for copy, by in enumerate(copies.by):
            other = (episode + by) % 3
            roll = mixed((episode << 20) + copy + (3 << 32)) % lengths[other]
            for step in range(length):
                assert found[begins[episode] + step, copy] == begins[other] + (step + roll) % lengths[other]


def test_episodes_of_one_step_are_shifted_and_too_few_shifts_are_said() -> None:
    copies, notes = shuffle_rewards(np.arange(9.0), np.ones(9, dtype=int), 20, seed=0)
    assert isinstance(copies, ShiftedRewards)
    assert notes == (f"only {copies.count} of 20 reward shifts move every reward out of its episode",)
    assert shuffle_rewards(np.arange(4.0), np.array([2, 2]), 3, seed=0)[0].count == 0
    assert shuffle_rewards(np.arange(100.0), np.full(10, 10), 0, seed=0)[0].count == 0


def test_a_shift_keeps_steps_where_episodes_are_equally_long() -> None:
    by = np.array([31, 45, 77])
    assert keeps_steps(np.full(20, 10), by)
    assert keeps_steps(np.array([10] * 19 + [7]), by)
    assert not keeps_steps(RAGGED, by)
    assert not keeps_steps(np.ones(100, dtype=int), by)
    assert not keeps_steps(np.array([10, 9, 8, 7] * 5), np.array([34]))  # all moved alike, but of several lengths
    rng = np.random.default_rng(0)
    various = np.where(rng.random(60) < 0.6, 10, rng.integers(3, 10, 60))
    assert not keeps_steps(various, np.array([101, 205, 317]))  # most of one length, but moved by many distances


@pytest.mark.parametrize(
    ("lengths", "shift", "kept"),
    [
        (
            [2, 2, 2, 3],
            4,
            True,
        ),  # episodes begin at 0, 2, 4, 6 and get what was at 5, 7, 0, 2: at steps 1, 1, 0, 0 of theirs; the last two have 5 of 9
        ([2, 2, 2, 3], 5, False),
        ([2, 2, 3, 3], 4, False),  # just half of the rewards are moved alike
        ([4, 2, 2] * 5, 8, False),  # just half are of one length
    ],
)
def test_more_than_half_of_the_rewards_are_moved_alike_where_steps_are_kept(lengths: list[int], shift: int, kept: bool) -> None:
    found = keeps_steps(np.array(lengths), np.array([shift]))
    assert found is kept


def test_a_matrix_of_scalars_is_that_of_its_columns() -> None:
    rng = np.random.default_rng(0)
    kept, place = rng.standard_normal((8, 3)), np.array([0, 1, -1, -1, 2, 3, 4, 5])
    copies = ShiftedRewards(kept[place >= 0, 0], np.array([2, 3]))
    dense = np.hstack([kept[:, :1], np.where(place[:, None] >= 0, copies.cycle[(place[:, None] - [2, 3]) % 6], 0.0), kept[:, 1:]])
    scalars = Scalars(kept, copies, place)
    assert (scalars.shape, len(scalars), scalars.dtype) == (dense.shape, 8, dense.dtype)
    np.testing.assert_array_equal(np.asarray(scalars), dense)
    np.testing.assert_array_equal(np.asarray(scalars[2:5]), dense[2:5])
    np.testing.assert_array_equal(scalars[place < 0], dense[place < 0])
    np.testing.assert_array_equal(scalars[np.array([7, 0]), 1:3], dense[[7, 0], 1:3])
    np.testing.assert_array_equal(scalars[5], dense[5])
    assert np.asarray(scalars.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(scalars.astype(np.float32)), dense.astype(np.float32))
    without = Scalars(kept, None, place)
    np.testing.assert_array_equal(np.asarray(without.astype(np.float64)), kept)
    assert without.shape == kept.shape


def test_a_layer_that_knows_the_step_foretells_a_reward_tied_to_it_and_no_shuffled_one() -> None:
    """100 episodes of 30 steps, a layer that is one-hot of the step, a reward in the last five steps."""
    rng = np.random.default_rng(0)
    columns = columns_of([30] * 40, rng)
    step = columns["step"]
    layer = (np.eye(31)[step] + 0.01 * rng.standard_normal((len(step), 31))).astype(np.float32)
    columns = with_reward(columns, (step >= 25) + 0.1 * rng.standard_normal(len(step)))
    found = probe(layer, columns)
    assert found.reward_r2 > 0.9
    assert len(found.reward_r2_shifted) == 50
    assert max(found.reward_r2_shifted) < 0.2
    assert "REWARD_NULL" not in layer_flags(found, 100)
    nothing = probe(rng.standard_normal(layer.shape).astype(np.float32), columns)
    assert "REWARD_NULL" in layer_flags(nothing, 100)
    transitions, _ = prepare(columns, ProbeConfig(store="memory"))
    assert any("rolled by a random number of steps" in note for note in transitions.notes)
