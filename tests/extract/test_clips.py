"""Laws of clips: causal, padded with the first frame, the same from a file as from a running game."""

from __future__ import annotations

import hashlib

import frames_by_hand
import numpy as np
import pytest
import torch

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.errors import DataError
from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.backbones.loaded import scale_pixels
from layerscout.extract.clips import ClipTable, ClipWindow, clips_of, fit, padding_of

LENGTHS = (5, 1, 7, 2)
SHAPE = (12, 8, 3)
SPECS = [
    ClipSpec(offsets=(-2, -1, 0), frame_shape=SHAPE),
    ClipSpec(offsets=(0,), frame_shape=SHAPE),
    ClipSpec(offsets=(-6, -3, 0), frame_shape=SHAPE),
    ClipSpec(offsets=(-1, 0), frame_shape=(4, 4, 3)),
]


@pytest.fixture(scope="module")
def episodes():
    return frames_by_hand.random_episodes(LENGTHS, SHAPE)


@pytest.fixture(scope="module")
def data(tmp_path_factory, episodes):
    with Trajectories(frames_by_hand.write(tmp_path_factory.mktemp("clips") / "data.h5", episodes)) as opened:
        yield opened


def clips_by_hand(episodes, spec):
    """Frame by frame: what the docstring says."""
    return np.stack(
        [
            np.stack([fit(episode.frames[max(0, step + offset)][None], spec)[0] for offset in spec.offsets])
            for episode in episodes
            for step in range(len(episode.frames))
        ]
    )


@pytest.mark.parametrize("spec", SPECS)
def test_clips_are_the_frames_at_the_offsets_and_repeat_the_first(data, episodes, spec):
    table = ClipTable(data.lengths)
    assert len(table) == sum(LENGTHS) + len(LENGTHS)
    np.testing.assert_array_equal(clips_of(data, table, 0, len(table), spec), clips_by_hand(episodes, spec))


@pytest.mark.parametrize("spec", SPECS)
def test_any_cut_of_the_rows_gives_the_same_clips(data, spec):
    table = ClipTable(data.lengths)
    whole = clips_of(data, table, 0, len(table), spec)
    for start in range(len(table)):
        for stop in (start + 1, start + 4, len(table)):
            if stop <= len(table):
                np.testing.assert_array_equal(clips_of(data, table, start, stop, spec), whole[start:stop])


def test_spans_cross_episodes():
    table = ClipTable(np.array(LENGTHS))  # episodes of 6, 2, 8 and 3 rows
    assert table.spans(0, 19) == [(0, 0, 6), (1, 0, 2), (2, 0, 8), (3, 0, 3)]
    assert table.spans(4, 9) == [(0, 4, 6), (1, 0, 2), (2, 0, 1)]
    assert table.spans(6, 8) == [(1, 0, 2)]
    assert table.spans(5, 6) == [(0, 5, 6)]
    covered = [(episode, step) for start in range(19) for episode, step, _ in table.spans(start, start + 1)]
    assert covered == [(episode, step) for episode, steps in enumerate(LENGTHS) for step in range(steps + 1)]


def test_padding_counts_the_frames_before_the_beginning():
    np.testing.assert_array_equal(padding_of(np.array([0, 1, 2, 3, 0]), (-2, -1, 0)), [2, 1, 0, 0, 2])
    np.testing.assert_array_equal(padding_of(np.array([0, 3, 6]), (-6, -3, 0)), [2, 1, 0])
    np.testing.assert_array_equal(padding_of(np.array([0, 9]), (0,)), [0, 0])


@pytest.mark.parametrize("spec", SPECS)
def test_later_frames_change_no_earlier_clip(data, episodes, spec, tmp_path):
    table = ClipTable(data.lengths)
    before = clips_of(data, table, 0, len(table), spec)
    changed = frames_by_hand.with_other_ending(episodes, episode=2, step=4)
    with Trajectories(frames_by_hand.write(tmp_path / "other.h5", changed)) as other:
        after = clips_of(other, table, 0, len(table), spec)
    different = {row for row in range(len(table)) if not np.array_equal(before[row], after[row])}
    first = int(table.first[2])
    assert different == set(range(first + 4, int(table.first[3])))


class CountingTrajectories:
    """Gives the frames of others and notes which were asked for."""

    def __init__(self, data: Trajectories) -> None:
        self._data, self.read = data, []

    def frames(self, episode: int, first: int, after: int) -> np.ndarray:
        self.read += [(episode, step) for step in range(first, after)]
        return self._data.frames(episode, first, after)


@pytest.mark.parametrize("spec", SPECS)
def test_only_the_frames_that_are_shown_are_read(data, spec):
    """For every span of rows: each frame from the oldest that is shown to the newest, once, and none before or after."""
    table = ClipTable(data.lengths)
    for start in range(len(table)):
        for stop in range(start + 1, len(table) + 1):
            counting = CountingTrajectories(data)
            clips_of(counting, table, start, stop, spec)
            shown = [
                (episode, step)
                for episode, first, after in table.spans(start, stop)
                for step in range(max(0, first + min(spec.offsets)), after)
            ]
            assert counting.read == shown


@pytest.mark.parametrize("spec", SPECS)
def test_a_running_window_shows_the_stored_clips(data, episodes, spec):
    """Copies of different lengths start again at different times; every clip must be the one in the file."""
    table = ClipTable(data.lengths)
    stored = clips_of(data, table, 0, len(table), spec)
    queues = [[0, 2], [3, 1, 0]]  # the episodes that each copy plays
    window = ClipWindow(2, spec)
    at = [(queue.pop(0), 0) for queue in queues]
    window.start(np.array([0, 1]), np.stack([episodes[episode].frames[0] for episode, _ in at]))
    shown = 0
    while True:
        clips = window.clips(np.array([0, 1]))
        for copy, (episode, step) in enumerate(at):
            np.testing.assert_array_equal(clips[copy], stored[table.first[episode] + step])
            shown += 1
        ended = [copy for copy, (episode, step) in enumerate(at) if step == len(episodes[episode].actions)]
        if any(not queues[copy] for copy in ended):
            break
        going = [copy for copy in range(2) if copy not in ended]
        if going:
            window.push(np.array(going), np.stack([episodes[at[copy][0]].frames[at[copy][1] + 1] for copy in going]))
        if ended:
            begun = [queues[copy].pop(0) for copy in ended]
            window.start(np.array(ended), np.stack([episodes[episode].frames[0] for episode in begun]))
        at = [(at[copy][0], at[copy][1] + 1) if copy in going else (begun[ended.index(copy)], 0) for copy in range(2)]
    assert shown >= 16


def test_a_window_shows_the_copies_that_are_asked_for():
    window = ClipWindow(3, SPECS[0])
    window.start(np.arange(3), np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones(SHAPE, np.uint8))
    assert [int(clip[0, 0, 0, 0]) for clip in window.clips(np.array([2, 0]))] == [2, 0]
    assert window.clips(np.array([], dtype=np.int64)).shape == (0, 3, *SHAPE)


def test_clips_of_a_window_are_a_copy():
    window = ClipWindow(1, SPECS[0])
    window.start(np.array([0]), np.full((1, *SHAPE), 9, np.uint8))
    clips = window.clips(np.array([0]))
    window.push(np.array([0]), np.zeros((1, *SHAPE), np.uint8))
    assert (clips == 9).all()


def test_resizing_is_the_mean_over_areas():
    spec = ClipSpec(offsets=(0,), frame_shape=(4, 4, 3))
    frames = np.random.default_rng(0).integers(0, 256, (5, 12, 8, 3), dtype=np.uint8)
    expected = frames.reshape(5, 4, 3, 4, 2, 3).astype(np.float64).mean(axis=(2, 4))
    resized = fit(frames, spec)
    assert resized.dtype == np.uint8
    assert np.abs(resized - expected).max() <= 0.5 + 1e-4
    one_by_one = np.concatenate([fit(frames[i : i + 1], spec) for i in range(5)])
    np.testing.assert_array_equal(one_by_one, resized)


@pytest.mark.numeric
@pytest.mark.parametrize(
    ("shape", "spec", "expected"),
    [
        ((64, 64, 3), (32, 32, 3), "3f48fa0d111a37d8"),
        ((84, 84, 3), (27, 48, 3), "d649769dce5f81fe"),
        ((210, 160, 3), (224, 224, 3), "959f54940efecc83"),
        ((33, 47, 1), (8, 8, 1), "9aafa26d21af40ad"),
    ],
)
def test_resized_frames_are_the_same_bytes_on_every_processor(shape, spec, expected):
    """They enter the store's id, which must not depend on where it is made: sums of whole numbers are exact, and rounded once."""
    frames = np.random.Generator(np.random.Philox(1)).integers(0, 256, (3, *shape), dtype=np.uint8)
    resized = fit(frames, ClipSpec((0,), spec))
    assert hashlib.sha256(resized.tobytes()).hexdigest()[:16] == expected
    scaled = scale_pixels(torch.from_numpy(resized[None])).contiguous().numpy()
    assert scaled.dtype == np.float32
    assert np.array_equal(scaled, (resized[None].transpose(0, 1, 4, 2, 3).astype(np.float32) / np.float32(127.5) - np.float32(1)))


def test_frames_that_fit_are_left_alone():
    frames = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
    assert fit(frames, SPECS[0]) is frames


@pytest.mark.parametrize(
    "spec",
    [ClipSpec(offsets=(0,), frame_shape=(12, 8, 2)), ClipSpec(offsets=(0,), frame_shape=(8, 8, 3), resize=False)],
    ids=["other channels", "no resizing"],
)
def test_frames_that_cannot_be_brought_to_the_backbone_are_refused(spec):
    with pytest.raises(DataError, match="frames are 12x8x3 and this backbone takes"):
        fit(np.zeros((1, *SHAPE), np.uint8), spec)


def test_a_clip_with_a_later_frame_cannot_be_specified():
    with pytest.raises(AssertionError):
        ClipSpec(offsets=(-1, 0, 1), frame_shape=SHAPE)
