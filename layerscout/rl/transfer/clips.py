"""A trajectory file, or videos that others recorded, in; windows of frames with the places where an episode begins out. No action is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from layerscout.cache.dataset.hdf5 import guarded_open
from layerscout.cache.dataset.recording import FORMAT
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.importers import run as importing
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import BudgetError, DataError
from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.clips import fit
from layerscout.memory import available_memory
from layerscout.progress import SILENT, Reporter
from layerscout.rl.transfer.folders import IMPORTED


class FrameWindows(NamedTuple):
    """Several windows of consecutive frames.

    ``first`` is True where an episode begins, and at the first frame of every window: what came before it is not known.
    ``rows`` are the frames' places in the stream that they were drawn from.
    """

    frames: UInt8[np.ndarray, "window time height width channel"]
    first: Bool[np.ndarray, "window time"]
    rows: Int64[np.ndarray, "window time"]


@dataclass(frozen=True)
class FrameStream:
    """Frames of many episodes, one after the other, in memory.

    Attributes
    ----------
    frames
        Pixels, at the size that was asked for.
    lengths
        Frames of every episode.
    state
        The true state behind every frame; None where the dataset has none.
    digest
        Of the dataset's content.
    notes
        What was done to the frames, in sentences for a person.
    """

    frames: UInt8[np.ndarray, "row height width channel"]
    lengths: Int64[np.ndarray, " episode"]
    state: Float32[np.ndarray, "row feature"] | None
    digest: str
    notes: tuple[str, ...] = ()

    @cached_property
    def starts(self) -> Int64[np.ndarray, " episode"]:
        """Row of every episode's first frame."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]]).astype(np.int64)

    @cached_property
    def first(self) -> Bool[np.ndarray, " row"]:
        """True for rows that begin an episode."""
        found = np.zeros(len(self.frames), dtype=bool)
        found[self.starts] = True
        return found

    @cached_property
    def mean_picture(self) -> Float[np.ndarray, "height width channel"]:
        """Mean of all frames, pixel by pixel, in [0, 255]."""
        return self.frames.mean(axis=0, dtype=np.float64)

    def require_length(self, length: int) -> None:
        """Refuse a stream in which no episode fills a window; shorter ones among longer ones are joined.

        Raises
        ------
        DataError
            Every episode has fewer than ``length`` frames.
        """
        longest = int(self.lengths.max())
        if longest < length:
            message = f"windows are {length} frames long, and the longest of {len(self.lengths)} episodes has {longest}"
            raise DataError(message, hint=f"--length {longest}, or longer recordings")

    def windows(self, begins: Int64[np.ndarray, " window"], length: int) -> FrameWindows:
        """Cut windows of ``length`` frames that begin at these rows; one that runs over an episode's end goes on with the next episode."""
        rows = begins[:, None] + np.arange(length)
        first = self.first[rows]
        first[:, 0] = True
        return FrameWindows(self.frames[rows], first, rows)

    def draw(self, count: int, length: int, generator: np.random.Generator) -> FrameWindows:
        """Draw windows that begin anywhere, each place as likely as any other."""
        return self.windows(generator.integers(0, len(self.frames) - length + 1, count), length)

    def spread(self, count: int, length: int) -> FrameWindows:
        """Cut windows at places that are spread evenly: the same at every call."""
        return self.windows(np.linspace(0, len(self.frames) - length, count).astype(np.int64), length)

    def episodes(self, chosen: Int64[np.ndarray, " chosen"]) -> FrameStream:
        """The same stream with the chosen episodes alone, in the order in which they are chosen; frames are copied."""
        rows = np.concatenate([np.arange(self.starts[one], self.starts[one] + self.lengths[one]) for one in chosen])
        return replace(self, frames=self.frames[rows], lengths=self.lengths[chosen], state=None if self.state is None else self.state[rows])

    def episode_of(self, rows: Int64[np.ndarray, "*any"]) -> Int64[np.ndarray, "*any"]:
        """Number of the episode, from 0, in which each row of ``frames`` lies."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def held_out(self, share: float) -> tuple[FrameStream, FrameStream | None]:
        """Part off every 1 / share-th episode, none of which is trained on; (trained, held out), the latter None where one episode is all."""
        count = len(self.lengths)
        every = max(2, round(1 / share)) if share else count + 1
        apart = np.arange(count) % every == every - 1
        if not apart.any():
            apart[-1] = count > 1 and share > 0
        if not apart.any():
            return self, None
        return self.episodes(np.flatnonzero(~apart)), self.episodes(np.flatnonzero(apart))


def read_frames(data: Path, size: int, out: Path, *, fps: float | None = None, stride: int = 1, reporter: Reporter = SILENT) -> FrameStream:
    """Read all frames of a dataset; one that others recorded is imported first, beside the results, where the same call finds it again.

    Parameters
    ----------
    data
        A trajectory file of ours, or whatever ``layerscout import`` takes: a folder of videos or of pictures, another project's file.
    size
        Side of the square frames, in pixels; frames of another size are averaged over areas, and ``notes`` say so.
    out
        Folder of results.
    fps, stride
        Of videos: frames a second that are taken, and every how many-th.

    Raises
    ------
    DataError
        There is no such dataset, or it is damaged or of no known format.
    BudgetError
        The frames do not fit into memory.
    """
    path, notes = (data, []) if is_ours(data) else _imported(data, size, out, fps, stride, reporter)
    with Trajectories(path) as recorded:
        lengths = recorded.lengths + 1
        spec = ClipSpec((0,), (size, size, recorded.frame_shape[2]))
        _require_memory(int(lengths.sum()) * size * size * spec.frame_shape[2])
        if recorded.frame_shape[:2] != (size, size):
            notes.append(f"frames of {recorded.frame_shape[0]} x {recorded.frame_shape[1]} pixels were brought to {size} x {size}")
        frames = np.empty((int(lengths.sum()), *spec.frame_shape), dtype=np.uint8)
        states, at = [], 0
        for number, length in enumerate(lengths.tolist()):
            episode = recorded.episode(number)
            frames[at : at + length] = fit(episode.frames, spec)
            states.append(episode.state)
            at += length
        state = np.concatenate(states).astype(np.float32) if recorded.has_state else None  # type: ignore[arg-type]
        digest = recorded.stated_digest()
        recorded.require_unchanged()  # so that this is the digest of what was read
        return FrameStream(frames, lengths, state, digest, tuple(notes))


def is_ours(path: Path) -> bool:
    """Tell whether a path is a trajectory file of ours, or can only be taken for one: nothing is there, or it is not finished."""
    if not path.exists():
        return path.suffix in {".h5", ".hdf5"}
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with guarded_open(path, "make it again with layerscout collect or layerscout import") as file:
        return file.attrs.get("format") == FORMAT


def _imported(data: Path, size: int, out: Path, fps: float | None, stride: int, reporter: Reporter) -> tuple[Path, list[str]]:
    """Import a dataset; videos of different rates are all taken at the lowest, unless the caller chose one."""
    config = ImportConfig(source=data, out=out / IMPORTED, size=str(size), fps=fps, stride=stride)
    rates = importing.plan(config.model_copy(update={"out": out / "unwritten.h5"})).attributes.get("source_frames_per_second", [])
    if fps is None and stride == 1 and len(rates) > 1:
        config = config.model_copy(update={"fps": rates[0]})
    planned = importing.plan(config)
    result = importing.run(planned, reporter)
    notes = [f"{data} was imported as {planned.format}, its frames brought to {size} x {size} pixels"]
    if config.fps is not None:
        notes.append(f"videos of {', '.join(f'{rate:g}' for rate in rates)} frames a second were taken at {config.fps:g}")
    return config.out, notes + list(result["notes"])


def _require_memory(needed: int) -> None:
    available = available_memory()
    if available is not None and needed > available:
        message = f"the frames take {needed / 1e9:.1f} GB of memory and {available / 1e9:.1f} GB are free"
        raise BudgetError(message, hint="a smaller size, every second frame (--stride 2), or fewer episodes (layerscout import --episodes)")
