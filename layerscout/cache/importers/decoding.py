"""A video file in, its pictures with their times out, decoded by FFmpeg through PyAV."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.importers.base import need, require_memory
from layerscout.cache.importers.frames import CHANNELS, LARGEST_PICTURE, Frame, Frames
from layerscout.errors import DataError

AGAIN = "fetch or encode the video again"
CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")  # how Matroska tells a stream's length


@dataclass(frozen=True)
class Header:
    """What a video file says of itself. ``seconds`` is None when it does not say how long its pictures last."""

    height: int
    width: int
    rate: float
    seconds: float | None

    @property
    def frames(self) -> int:
        """How many pictures there should be."""
        return round((self.seconds or 0.0) * self.rate)


def header(path: Path) -> Header:
    """Read what a video file says of itself.

    Raises
    ------
    DataError
        It is no video, or FFmpeg cannot read it.
    """
    with _open(path) as (container, stream):
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        height, width = stream.codec_context.height, stream.codec_context.width
        if not (rate > 0 and 0 < height * width <= LARGEST_PICTURE):
            raise DataError(f"{path} states {width} x {height} pixels at {rate:g} pictures a second", hint=AGAIN)
        return Header(height, width, rate, _seconds(container, stream))


def pictures(path: Path, begin: float = 0.0) -> Iterator[tuple[float, Frame]]:
    """Yield time in seconds and RGB picture, in the order of showing, from the last key picture before ``begin``.

    Raises
    ------
    DataError
        A picture is damaged, changes its size, or has no time.
    """
    need("av")
    from av.error import FFmpegError

    with _open(path) as (container, stream):
        shape: tuple[int, ...] = ()
        number = -1
        try:
            if begin > 0:
                container.seek(int(begin / stream.time_base), stream=stream, backward=True)
            for number, picture in enumerate(container.decode(stream)):
                if picture.is_corrupt or picture.pts is None or picture.width * picture.height > LARGEST_PICTURE:
                    raise DataError(f"{path}: picture {number} is damaged or has no time", hint=AGAIN)
                values = picture.to_ndarray(format="rgb24")
                shape = shape or values.shape
                if values.shape != shape:
                    raise DataError(f"{path}: picture {number} has shape {values.shape}, those before {shape}", hint=AGAIN)
                yield float(picture.pts * picture.time_base), values
        except FFmpegError as error:
            raise DataError(f"{path} does not decode after {number + 1} pictures: {error.strerror}", hint=AGAIN) from None


def pictures_at(path: Path, begin: float, rate: float, count: int, shape: Sequence[int]) -> Frames:
    """Return ``count`` pictures, number i being the one shown at ``begin + i / rate``.

    A picture counts when its time differs by less than a quarter of a picture's; then no other can be meant.

    Raises
    ------
    DataError
        There is no picture at one of the times, or pictures do not have ``shape`` (height, width and channels in any order).
    BudgetError
        They do not fit into memory.
    """
    require_memory(2 * count * int(np.prod(shape)), f"{path}, {count} pictures")
    found: list[Frame] = []
    for time, picture in pictures(path, begin):
        due = begin + len(found) / rate
        if time > due + 0.25 / rate:
            break
        if time > due - 0.25 / rate:
            if sorted(picture.shape) != sorted(shape) or picture.shape[2] not in CHANNELS:
                raise DataError(f"{path} has pictures of shape {picture.shape}, its metadata says {tuple(shape)}", hint=AGAIN)
            found.append(picture)
        if len(found) == count:
            return np.stack(found)
    raise DataError(f"{path} has no picture at {begin + len(found) / rate:.4f} s, number {len(found)} of {count}", hint=AGAIN)


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    av = need("av")
    try:
        container = av.open(str(path), options={"protocol_whitelist": "file"})  # a playlist must not fetch from elsewhere
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} cannot be opened as a video: {getattr(error, 'strerror', error)}", hint=AGAIN) from None
    with container:
        if not container.streams.video:
            raise DataError(f"{path} has no pictures", hint=AGAIN)
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _seconds(container: Any, stream: Any) -> float | None:
    """How long the pictures last; a sound track may last longer, so the container's length is a last resort."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    clock = CLOCK.fullmatch(stream.metadata.get("DURATION", ""))
    if clock:
        return 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3])
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / 1_000_000 if alone else None  # FFmpeg counts microseconds
