"""One environment as a world of copies: who is reset, stepped, drawn and closed, and how one that breaks its word is named."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from layerscout.errors import DataError, UsageError
from layerscout.worlds.action_spaces import DiscreteAdapter, VectorAdapter, check_vectors
from layerscout.worlds.pixels import make_world
from layerscout.worlds.resized import Resized
from layerscout.worlds.simulators.copies import Copies


class Counter:
    """One environment that counts by what it is given and ends at ten. ``faults`` maps what is asked to what goes wrong there."""

    name, settings = "counter", {"light": "warm"}

    def __init__(self, vectors: bool = False, expert: bool = False, tells: bool = True, faults=None, made=None) -> None:
        self.actions = VectorAdapter(np.zeros(2), np.full(2, 4.0)) if vectors else DiscreteAdapter(3, first=5)
        self.has_expert, self.tells, self.faults = expert, tells, {} if faults is None else faults
        self.made = [] if made is None else made
        self.made.append(self)
        self.count, self.calls = 0, []

    def fault(self, what: str, value):
        fault = self.faults.get(what)
        if isinstance(fault, BaseException):
            raise fault
        return value if fault is None else fault

    def reset(self, seed):
        self.calls.append(("reset", seed))
        self.count = self.fault("reset", seed % 7)

    def step(self, action):
        self.calls.append(("step", np.asarray(action).tolist()))
        self.count += int(np.sum(action))
        return self.fault("step", (float(self.count), self.count >= 10, False))

    def frame(self):
        self.calls.append(("frame",))
        return self.fault("frame", np.full((2, 3, 1), self.count, np.uint8))

    def state(self):
        return self.fault("state", np.array([self.count, 1.0], np.float32)) if self.tells else None

    def expert(self):
        return self.fault("expert", np.array([self.count, -1.0]) / 10) if self.has_expert else None

    def trial_command(self, seed, steps):
        return f"play {seed} {steps}"

    def another(self):
        return self.fault("another", None) or Counter(
            isinstance(self.actions, VectorAdapter), self.has_expert, self.tells, self.faults, self.made
        )

    def close(self):
        self.calls.append(("close",))


def world_of(copies: int, **options) -> tuple[Copies, list[Counter]]:
    first = Counter(**options)
    return Copies(first, copies), first.made


def begun(copies: int, **options) -> tuple[Copies, list[Counter]]:
    world, singles = world_of(copies, **options)
    world.reset(np.arange(copies), np.arange(copies))
    return world, singles


def test_a_world_is_what_its_first_copy_is():
    world, singles = world_of(3)
    assert len(singles) == 3
    assert (world.copies, world.action_count, world.action_dimensions) == (3, 3, 0)
    assert (world.frame_shape, world.settings) == ((2, 3, 1), {"light": "warm"})
    assert world.state().tolist() == [[0, 0]] * 3
    assert world.expert() is None
    vectors, _ = world_of(2, vectors=True)
    assert (vectors.action_count, vectors.action_dimensions) == (0, 2)


def test_before_the_first_episode_nothing_is_drawn_and_nothing_steps():
    world, singles = world_of(2)
    assert world.frames().tolist() == np.zeros((2, 2, 3, 1)).tolist()
    outcome = world.step(np.zeros(2, int))
    assert outcome.reward.tolist() == [0.0, 0.0]
    assert not any(call[0] == "step" for single in singles for call in single.calls)


def test_each_copy_is_reset_with_its_own_seed_and_only_when_it_is_named():
    world, singles = begun(3)
    world.reset(np.array([2, 0]), np.array([13, 4]))
    assert [[seed for what, *rest in single.calls if what == "reset" for seed in rest] for single in singles] == [[0, 0, 4], [1], [2, 13]]
    assert world.state()[:, 0].tolist() == [4, 1, 6]
    assert world.frames()[:, 0, 0, 0].tolist() == [4, 1, 6]


def test_a_choice_is_said_in_the_environments_own_words():
    world, singles = begun(2)
    outcome = world.step(np.array([0, 2]))
    assert [single.calls[-1] for single in singles] == [("step", 5), ("step", 7)]
    assert outcome.reward.tolist() == [5.0, 8.0]
    assert outcome.reward.dtype == np.float32


def test_a_vector_is_scaled_to_the_environments_bounds():
    world, singles = begun(1, vectors=True)
    world.step(np.array([[-1.0, 0.5]]))
    assert singles[0].calls[-1] == ("step", [0.0, 3.0])


def test_a_copy_that_has_ended_is_not_asked_until_it_is_reset():
    world, singles = begun(2)
    assert world.step(np.array([2, 0])).terminated.tolist() == [False, False]  # 7, and 1 + 5
    assert world.step(np.array([0, 0])).terminated.tolist() == [True, True]
    asked = [len(single.calls) for single in singles]
    outcome = world.step(np.array([0, 0]))
    assert (outcome.reward.tolist(), outcome.terminated.tolist()) == ([0.0, 0.0], [False, False])
    assert [len(single.calls) for single in singles] == asked
    world.reset(np.array([1]), np.array([0]))
    assert world.step(np.array([0, 0])).reward.tolist() == [0.0, 5.0]


def test_a_frame_is_drawn_once_a_step_and_only_for_who_is_asked():
    world, singles = begun(3)
    for single in singles:
        single.calls.clear()
    for _ in range(3):
        assert world.frames(np.array([2, 2, 1]))[:, 0, 0, 0].tolist() == [2, 2, 1]
    assert [single.calls.count(("frame",)) for single in singles] == [0, 1, 1]
    world.step(np.zeros(3, int))
    assert world.frames()[:, 0, 0, 0].tolist() == [5, 6, 7]
    assert [single.calls.count(("frame",)) for single in singles] == [1, 2, 2]
    assert world.frames(np.array([], np.intp)).shape == (0, 2, 3, 1)


def test_a_state_that_was_given_out_stays_what_it_was():
    world, _ = begun(1)
    before = world.state()
    world.step(np.array([0]))
    assert before.tolist() == [[0, 1]]
    assert world.state().tolist() == [[5, 1]]
    assert begun(1, tells=False)[0].state() is None


def test_an_expert_advises_who_plays_and_says_nothing_to_who_has_ended():
    world, _ = begun(2, vectors=True, expert=True)
    np.testing.assert_allclose(world.expert(), [[0.0, -0.1], [0.1, -0.1]])
    world.step(np.array([[1.0, 1.0], [1.0, 1.0]]))
    world.step(np.array([[1.0, 1.0], [-1.0, -1.0]]))
    np.testing.assert_allclose(world.expert(), [[0.0, 0.0], [0.9, -0.1]])


def test_closing_closes_every_copy():
    world, singles = world_of(3)
    world.close()
    assert [single.calls[-1] for single in singles] == [("close",)] * 3


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({"reset": ValueError("no floor")}, "counter failed in reset: ValueError: no floor"),
        ({"frame": RuntimeError("no light")}, "counter failed in drawing: RuntimeError: no light"),
        ({"state": KeyError("x")}, "counter failed in telling its state: KeyError: 'x'"),
        ({"expert": ZeroDivisionError("half")}, "counter failed in its scripted expert: ZeroDivisionError: half"),
        ({"another": OSError("one is enough")}, "counter failed in making another copy: OSError: one is enough"),
        ({"frame": np.zeros((2, 3), np.uint8)}, r"counter gave a frame of uint8 (2, 3), expected uint8 [height, width, channel]"),
        ({"frame": np.zeros((2, 3, 1))}, r"counter gave a frame of float64 (2, 3, 1), expected uint8 [height, width, channel]"),
    ],
)
def test_a_first_copy_that_fails_is_named_and_closed(faults, message):
    first = Counter(expert=True, faults=faults)
    with pytest.raises(DataError) as caught:
        Copies(first, 2)
    assert str(caught.value) == message
    assert first.calls[-1] == ("close",)
    if "making" not in message:
        assert "play 0 0" in caught.value.hint


@pytest.mark.parametrize(
    ("what", "fault", "message"),
    [
        ("step", RuntimeError("fell"), "counter failed in step: RuntimeError: fell"),
        ("step", (float("nan"), False, False), "counter gave the reward nan"),
        ("step", (float("inf"), False, False), "counter gave the reward inf"),
        ("state", np.zeros(3, np.float32), "counter gave a state of 2 numbers at first and of 3 now"),
    ],
)
def test_a_copy_that_breaks_its_word_on_the_way_is_named(what, fault, message):
    world, singles = begun(2)
    singles[1].faults[what] = fault
    with pytest.raises(DataError) as caught:
        world.step(np.array([0, 0]))
    assert str(caught.value) == message


def test_the_trial_is_of_the_copy_that_failed_with_its_seed_and_its_steps():
    world, singles = begun(3)
    world.reset(np.array([1]), np.array([99]))
    singles[0].faults = singles[2].faults = {}
    world.step(np.zeros(3, int))
    singles[1].faults = {"step": RuntimeError("fell")}
    with pytest.raises(DataError) as caught:
        world.step(np.zeros(3, int))
    assert caught.value.hint == "try it alone: play 99 2"


def test_a_frame_that_changes_its_shape_is_named_with_what_was_promised():
    world, singles = begun(1)
    world.step(np.array([0]))
    singles[0].faults["frame"] = np.zeros((4, 3, 1), np.uint8)
    with pytest.raises(DataError, match=r"gave a frame of uint8 \(4, 3, 1\), expected uint8 \(2, 3, 1\)"):
        world.frames()


def test_errors_of_our_own_and_a_full_disk_are_not_taken_for_the_environments():
    own = UsageError("the user's", hint="the user's too")
    with pytest.raises(UsageError, match="the user's"):
        Copies(Counter(faults={"reset": own}), 1)
    with pytest.raises(OSError, match="full"):
        Copies(Counter(faults={"reset": OSError(errno.ENOSPC, "full")}), 1)


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((2, 3)), r"counter takes actions \[2, 2\], it was given \[2, 3\]"),
        (np.zeros(2), r"it was given \[2\]"),
        (np.array([[0.0, 0.0], [0.0, 1.01]]), r"the action of copy 1 has 1\.0\d+ in dimension 1, expected a number in \[-1, 1\]"),
        (np.array([[np.nan, 0.0], [0.0, 0.0]]), "the action of copy 0 has nan in dimension 0"),
    ],
)
def test_actions_that_are_no_vectors_within_one_are_refused_by_copy_and_dimension(actions, message):
    world, _ = begun(2, vectors=True)
    with pytest.raises(DataError, match=message):
        world.step(actions)


def test_what_a_copy_that_has_ended_is_given_does_not_matter():
    live = np.array([True, False])
    taken = check_vectors("any", [[0.5], [float("nan")]], 2, 1, live)
    assert taken.dtype == np.float32
    assert taken[0].tolist() == [0.5]


def test_goals_are_shown_only_by_environments_that_have_them():
    plain, _ = begun(2)
    assert not hasattr(plain, "goals")

    class Aiming(Counter):
        def goal(self):
            return np.full((2, 3, 1), 100 + self.count, np.uint8)

        def another(self):
            return Aiming(made=self.made)

    world = Copies(Aiming(), 3)
    world.reset(np.arange(3), np.arange(3))
    assert world.goals()[:, 0, 0, 0].tolist() == [100, 101, 102]
    assert world.goals(np.array([2]))[:, 0, 0, 0].tolist() == [102]
    smaller = Resized(world, 1)
    assert smaller.goals().shape == (3, 1, 1, 1)


def test_a_world_of_another_size_shows_people_the_inner_worlds_pictures():
    """The grid's planes are two channels that nobody can film; what a person sees keeps its own size and colours."""
    world = make_world("layerscout/Grid-v0", 2, 4, {"observation": "planes"})
    plain = make_world("layerscout/Grid-v0", 2, None, {"observation": "planes"})
    for one in (world, plain):
        one.reset(np.arange(2), np.arange(2))
    assert world.frames().shape == (2, 4, 4, 2)
    np.testing.assert_array_equal(world.pictures(), plain.pictures())
    np.testing.assert_array_equal(world.pictures(np.array([1])), plain.pictures()[1:])
    assert not hasattr(Resized(Copies(Counter(), 1), 1), "pictures"), "a world without pictures keeps having none"
