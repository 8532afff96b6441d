"""Laws of worlds that are seen as numbers, and of the sheets that show what a model imagined."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from layerscout.errors import UsageError
from layerscout.rl.seeing.imagined import ENLARGED, GAP, SEEN, contact_sheet, film
from layerscout.rl.seeing.representation import Scaler
from layerscout.rl.seeing.vectors import (
    MEASURED_STEPS,
    PairObserver,
    StateWorld,
    VectorObserver,
    measured_scale,
    shows_vectors,
    state_of,
)
from layerscout.worlds.core import StepOutcome
from layerscout.worlds.grid import Grid
from layerscout.worlds.reacher import ReacherTwin


class Counting:
    """Copies whose state is (copy, steps of the episode); copy c ends after c + 1 steps. It notes what it was given."""

    action_count, action_dimensions, settings = 3, 0, {"colour": "red"}
    frame_shape = (2, 2, 3)

    def __init__(self, copies: int, tells: bool = True) -> None:
        self.copies, self.tells, self.closed = copies, tells, 0
        self.steps = np.zeros(copies, np.int64)
        self.resets, self.played = [], []

    def reset(self, which, seeds):
        self.resets.append((which.tolist(), seeds.tolist()))
        self.steps[which] = 0

    def step(self, actions):
        self.played.append(np.asarray(actions).tolist())
        live = self.steps <= np.arange(self.copies)
        self.steps += live
        ended = live & (self.steps > np.arange(self.copies))
        return StepOutcome(np.where(live, 1.0, 0.0).astype(np.float32), ended, np.zeros(self.copies, bool))

    def frames(self, which=None):
        chosen = np.arange(self.copies) if which is None else which
        return np.stack([np.full(self.frame_shape, 10 * copy + self.steps[copy], np.uint8) for copy in chosen])

    def state(self):
        return np.stack([np.arange(self.copies), self.steps], axis=1).astype(np.float32) if self.tells else None

    def expert(self):
        return np.full(self.copies, 2)

    def close(self):
        self.closed += 1


HALVED = Scaler(np.array([1.0, 0.0], np.float32), np.array([0.5, 2.0], np.float32))


def begun(world, copies: int):
    world.reset(np.arange(copies), np.arange(copies))
    return world


def test_a_worlds_frames_are_its_scaled_states_and_its_state_is_as_it_was():
    inner = Counting(3)
    world = begun(StateWorld(inner, HALVED), 3)
    outcome = world.step(np.array([0, 1, 2]))
    np.testing.assert_array_equal(world.state(), [[0, 1], [1, 1], [2, 1]])
    np.testing.assert_array_equal(world.frames(), [[-0.5, 2.0], [0.0, 2.0], [0.5, 2.0]])
    np.testing.assert_array_equal(world.frames(np.array([2, 0])), [[0.5, 2.0], [-0.5, 2.0]])
    assert world.frames(np.array([], np.intp)).shape == (0, 2)
    assert outcome.terminated.tolist() == [True, False, False]
    assert (inner.resets, inner.played) == ([([0, 1, 2], [0, 1, 2])], [[0, 1, 2]])


def test_what_a_world_is_besides_its_frames_is_the_inner_worlds():
    inner = Counting(2)
    world = StateWorld(inner, HALVED)
    assert (world.copies, world.action_count, world.action_dimensions, world.settings) == (2, 3, 0, {"colour": "red"})
    assert world.frame_shape == (2,)
    assert world.expert().tolist() == [2, 2]
    world.close()
    assert inner.closed == 1


def test_pairs_are_the_picture_and_the_state_of_one_moment():
    world = begun(StateWorld(Counting(3), HALVED, pictures=True), 3)
    world.step(np.zeros(3, int))
    pairs = world.frames()
    np.testing.assert_array_equal(pairs["picture"][:, 0, 0, 0], [1, 11, 21])
    np.testing.assert_array_equal(pairs["state"], [[-0.5, 2.0], [0.0, 2.0], [0.5, 2.0]])
    some = world.frames(np.array([2, 1]))
    np.testing.assert_array_equal(some["picture"], pairs["picture"][[2, 1]])
    np.testing.assert_array_equal(some["state"], pairs["state"][[2, 1]])


def test_a_scale_of_another_width_is_refused_and_the_world_is_closed():
    inner = Counting(2)
    with pytest.raises(UsageError, match="a state here has 2 numbers and is expected to have 3") as caught:
        StateWorld(inner, Scaler.unchanged(3))
    assert caught.value.hint == "teachers and students must see the same"
    assert inner.closed == 1


def test_a_world_that_does_not_tell_its_state_is_refused():
    with pytest.raises(UsageError, match="this environment does not tell its state") as caught:
        StateWorld(Counting(1, tells=False), HALVED)
    assert "--layer" in caught.value.hint
    with pytest.raises(UsageError, match="does not tell"):
        state_of(Counting(1, tells=False))


def test_vectors_are_told_from_pictures_by_their_shape():
    assert shows_vectors(ReacherTwin(1))
    assert shows_vectors(StateWorld(Counting(1), HALVED))
    assert not shows_vectors(Grid(1))


def test_an_observer_of_vectors_keeps_the_newest_of_each_copy():
    observer = VectorObserver(3, 2)
    assert observer.shape == (2,)
    observer.start(np.array([0, 2]), np.array([[1.0, 2.0], [5.0, 6.0]]))
    observer.push(np.array([2]), np.array([[7.0, 8.0]]))
    seen = observer.observe(np.ones(3, bool))
    np.testing.assert_array_equal(seen, [[1, 2], [0, 0], [7, 8]])
    assert seen.dtype == np.float32
    seen[:] = 99.0
    np.testing.assert_array_equal(observer.observe(np.zeros(3, bool)), [[1, 2], [0, 0], [7, 8]])


class Sums:
    """An observer that gives one feature, the sum of the newest picture, and zero for copies that are not live."""

    width = 1

    def __init__(self, copies: int) -> None:
        self.seen = np.zeros((copies, 1), np.float32)

    def start(self, which, frames):
        self.push(which, frames)

    def push(self, which, frames):
        self.seen[which] = frames.reshape(len(which), -1).sum(axis=1, keepdims=True)

    def observe(self, live):
        return np.where(live[:, None], self.seen, 0.0)


def test_pairs_are_seen_as_features_followed_by_the_state():
    world = begun(StateWorld(Counting(2), Scaler.unchanged(2), pictures=True), 2)
    observer = PairObserver(Sums(2), 2, 2)
    assert observer.shape == (3,)
    observer.start(np.arange(2), world.frames())
    np.testing.assert_array_equal(observer.observe(np.ones(2, bool)), [[0, 0, 0], [120, 1, 0]])
    world.step(np.zeros(2, int))
    observer.push(np.array([1]), world.frames(np.array([1])))
    np.testing.assert_array_equal(observer.observe(np.array([False, True])), [[0, 0, 0], [132, 1, 1]])


def test_a_scale_is_measured_over_live_copies_until_none_is_left():
    """Copy c is seen at 0, …, c steps: six rows of the three copies, none after an end."""
    world = Counting(3)
    scale = measured_scale(world)
    rows = np.array([[0, 0], [1, 0], [2, 0], [1, 1], [2, 1], [2, 2]], float)
    np.testing.assert_allclose(scale.mean, rows.mean(0), rtol=1e-6)
    np.testing.assert_allclose(scale.inverse, 1 / rows.std(0), rtol=1e-6)
    assert len(world.played) == 3
    assert world.resets == [([0, 1, 2], [0, 1, 2])]
    assert all(0 <= action < 3 for actions in world.played for action in actions)


def test_a_scale_of_episodes_that_do_not_end_is_measured_over_so_many_steps_and_is_always_the_same():
    first, second = Counting(400), Counting(400)
    scales = [measured_scale(world) for world in (first, second)]
    assert len(first.played) == MEASURED_STEPS
    assert first.played == second.played
    np.testing.assert_array_equal(scales[0].mean, scales[1].mean)


def test_a_state_that_never_moves_is_zero_on_its_scale():
    class Still(Counting):
        def state(self):
            return np.full((self.copies, 2), 7.0, np.float32)

    scale = measured_scale(Still(3))
    np.testing.assert_array_equal(scale(np.full((1, 2), 7.0)), [[0.0, 0.0]])
    np.testing.assert_array_equal(scale(np.full((1, 2), 8.0)), [[0.0, 0.0]])


# --- what a model imagined

TIME, HEIGHT, WIDTH = SEEN + 3, 4, 6


def windows(count: int, channels: int = 3):
    """Real frames and imagined ones that say where they stand: red is the frame's number, green the window's, in hundredths."""
    real = np.zeros((count, TIME, HEIGHT, WIDTH, channels))
    real[..., 0] = np.arange(TIME)[None, :, None, None] / 100
    if channels > 1:
        real[..., 1] = np.arange(count)[:, None, None, None] / 100
    return real, real + 0.5


@pytest.mark.parametrize("count", [1, 3])
def test_a_sheet_has_three_strips_a_window_and_a_white_gap_where_imagining_begins(count):
    real, imagined = windows(count)
    sheet = contact_sheet(real, imagined)
    assert sheet.shape == (3 * count * HEIGHT, TIME * WIDTH + GAP, 3)
    assert (sheet[:, SEEN * WIDTH : SEEN * WIDTH + GAP] == 255).all()
    for window in range(count):
        top = 3 * window * HEIGHT
        for time in range(TIME):
            left = time * WIDTH + (GAP if time >= SEEN else 0)
            for strip, red in ((0, time / 100), (1, time / 100 + 0.5), (2, 0.75)):  # the difference of a half, around grey
                cell = sheet[top + strip * HEIGHT : top + (strip + 1) * HEIGHT, left : left + WIDTH]
                assert (cell[..., 0] == round(255 * red)).all()
            assert (sheet[top : top + HEIGHT, left : left + WIDTH, 1] == round(255 * window / 100)).all()


def test_where_model_and_world_agree_the_difference_is_grey():
    real, _ = windows(1)
    sheet = contact_sheet(real, real)
    assert set(np.unique(sheet[2 * HEIGHT :, : SEEN * WIDTH])) == {128}


def test_one_channel_is_shown_as_grey_and_of_more_than_three_the_first_three():
    real, imagined = windows(1, channels=1)
    sheet = contact_sheet(real, imagined)
    assert sheet.shape[2] == 3
    assert (sheet == sheet[..., :1]).all()
    five = np.concatenate([np.full((1, TIME, HEIGHT, WIDTH, 1), level) for level in (0.0, 0.2, 0.4, 0.6, 0.8)], axis=-1)
    assert contact_sheet(five, five)[0, 0].tolist() == [0, 51, 102]


def test_a_film_shows_all_windows_at_once_enlarged_and_a_frame_a_moment():
    real, imagined = windows(2)
    shown = film(real, imagined)
    assert shown.shape == (TIME, 2 * HEIGHT * ENLARGED, 3 * WIDTH * ENLARGED, 3)
    for time in range(TIME):
        for part, red in ((0, time / 100), (1, time / 100 + 0.5), (2, 0.75)):
            columns = slice(part * WIDTH * ENLARGED, (part + 1) * WIDTH * ENLARGED)
            assert (shown[time, :, columns, 0] == round(255 * red)).all()
        lower = shown[time, HEIGHT * ENLARGED :, : WIDTH * ENLARGED, 1]
        assert (lower == round(255 / 100)).all()
        assert (shown[time, : HEIGHT * ENLARGED, : WIDTH * ENLARGED, 1] == 0).all()


def test_windows_that_are_shown_are_those_in_which_the_fewest_episodes_begin():
    """The memory gives 64 windows; of what begins least the first three are laid out, real frames on the left of the pair."""
    torch = pytest.importorskip("torch")
    from layerscout.rl.memory.sequences import StepWindows
    from layerscout.rl.seeing.imagined import AMONG, IMAGINED, ROWS, imagined_frames

    length = SEEN + IMAGINED
    first = np.ones((AMONG, length), bool)
    for window in (50, 9, 33):
        first[window, 1:] = False
    frames = np.broadcast_to(np.arange(AMONG, dtype=np.uint8)[:, None, None, None, None], (AMONG, length, 2, 2, 1))
    drawn = StepWindows(frames, np.zeros((AMONG, length, 1), np.float32), np.zeros((AMONG, length), np.float32), first & False, first)
    asked = []

    class Model:
        """Knows nothing of pictures: features are the frame it was shown, and time passes by adding one."""

        top = SimpleNamespace(imagine=lambda state, chances, actions: state + 1.0)

        def observe(self, given, chances):
            return None, SimpleNamespace(features=given.frames[:, :, 0, 0, :].float())

        def decoder(self, states):
            return (states / 255.0 - 0.5)[..., None, None].expand(-1, -1, -1, 2, 2)

    learner = SimpleNamespace(device=torch.device("cpu"), sizes=SimpleNamespace(latents=2), world=Model())
    replay = SimpleNamespace(sample=lambda run, batch, length, generator: asked.append((run, batch, length)) or drawn)
    real, imagined = imagined_frames(learner, replay, 4)
    assert asked == [(4, AMONG, length)]
    assert real.shape == imagined.shape == (ROWS, length, 2, 2, 1)
    np.testing.assert_allclose(real[:, 0, 0, 0, 0] * 255, [9, 33, 50], rtol=1e-6)
    went_on = np.concatenate([np.zeros(SEEN), np.arange(1, IMAGINED + 1)])
    np.testing.assert_allclose(imagined[0, :, 0, 0, 0] * 255, 9 + went_on, rtol=1e-4)
