"""Frames and steps in, causal clips out: row t sees frames up to t and never a later one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.errors import DataError
from layerscout.extract.backbones.base import ClipSpec

Frames = UInt8[np.ndarray, "frame height width channel"]


class ClipTable:
    """Which episode and step every row is: one row for each frame, in episode order."""

    def __init__(self, lengths: Int[np.ndarray, " episode"]) -> None:
        self.first = np.concatenate([[0], np.cumsum(np.asarray(lengths) + 1)])

    def __len__(self) -> int:
        return int(self.first[-1])

    def spans(self, start: int, stop: int) -> list[tuple[int, int, int]]:
        """Cut rows [start, stop) at episode borders: (episode, first step, step after the last)."""
        pieces = []
        episode = int(np.searchsorted(self.first, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self.first[episode + 1]))
            pieces.append((episode, start - int(self.first[episode]), end - int(self.first[episode])))
            start, episode = end, episode + 1
        return pieces


def clips_of(
    data: Trajectories, table: ClipTable, start: int, stop: int, spec: ClipSpec
) -> UInt8[np.ndarray, "clip time height width channel"]:
    """Return the clips of rows [start, stop), resized to the backbone's frame; reads only the frames they show."""
    offsets = np.array(spec.offsets)
    parts = []
    for episode, first, after in table.spans(start, stop):
        earliest = max(0, first + int(offsets.min()))
        frames = fit(data.frames(episode, earliest, after), spec)
        steps = np.maximum(np.arange(first, after)[:, None] + offsets, 0)
        parts.append(frames[steps - earliest])
    return np.concatenate(parts)


def padding_of(steps: Int[np.ndarray, " row"], offsets: Sequence[int]) -> Int[np.ndarray, " row"]:
    """How many frames of each row's clip lie before the episode's start and repeat its first frame."""
    return (np.asarray(steps)[:, None] + np.array(offsets) < 0).sum(axis=1).astype(np.int16)


def fit(frames: Frames, spec: ClipSpec) -> Frames:
    """Bring frames to the backbone's height and width (area filter, rounded to uint8).

    Raises
    ------
    DataError
        The channels differ, or the size differs and this backbone does not resize.
    """
    if frames.shape[1:] == spec.frame_shape:
        return frames
    if frames.shape[3] != spec.frame_shape[2] or not spec.resize:
        raise DataError(
            f"frames are {'x'.join(map(str, frames.shape[1:]))} and this backbone takes {'x'.join(map(str, spec.frame_shape))}",
            hint="collect with another observation (Grid-v0: observation=planes or rgb) or choose another backbone",
        )
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).to(torch.float32)
    resized: Float[torch.Tensor, "frame channel height width"] = torch.nn.functional.interpolate(
        pixels, size=spec.frame_shape[:2], mode="area"
    )
    return resized.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


class ClipWindow:
    """The running clips of many episodes at once, for agents that act: equal to the stored clips of the same steps."""

    def __init__(self, copies: int, spec: ClipSpec) -> None:
        self._spec = spec
        self._span = 1 - min(spec.offsets)
        self._past = np.zeros((copies, self._span, *spec.frame_shape), dtype=np.uint8)

    def start(self, which: Int[np.ndarray, " copy"], frames: Frames) -> None:
        """Begin new episodes in the copies ``which`` with their first frames."""
        self._past[which] = fit(frames, self._spec)[:, None]

    def push(self, which: Int[np.ndarray, " copy"], frames: Frames) -> None:
        """Add the newest frame of each copy in ``which``."""
        self._past[which, :-1] = self._past[which, 1:]
        self._past[which, -1] = fit(frames, self._spec)

    def clips(self, which: Int[np.ndarray, " copy"]) -> UInt8[np.ndarray, "copy time height width channel"]:
        """The frames at the clip's offsets behind the newest one, for the copies ``which``; oldest first."""
        return self._past[np.asarray(which)[:, None], [self._span - 1 + offset for offset in self._spec.offsets]]
