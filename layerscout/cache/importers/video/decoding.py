"""A video file in, its pictures with their times out, upright and in the order of showing, decoded by FFmpeg through PyAV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.importers.needs import need_package, require_memory
from layerscout.cache.importers.pictures.frames import CHANNELS, LARGEST_PICTURE, Frame, Frames
from layerscout.cache.importers.video.clock import PictureClock, PictureCount
from layerscout.cache.importers.video.containers import missing_part
from layerscout.cache.importers.video.orientation import display_matrix, upright
from layerscout.errors import DataError

AGAIN = "fetch or encode the video again"
READABLE = "avi,asf,flv,gif,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mpeg,mpegts,mpegvideo,h264,hevc,ogg"  # no playlists


@dataclass(frozen=True)
class VideoHeader:
    """What a video file says of itself, for planning: upright size in pixels, pictures a second in the mean, and how many."""

    height: int
    width: int
    rate: float
    frames: int


@dataclass(frozen=True)
class Picture:
    """One picture: when it is shown and for how long, in seconds; ``seconds`` is None when the file does not say."""

    time: float
    seconds: float | None
    values: Frame


def read_video_header(path: Path) -> VideoHeader:
    """Read what a video file says of itself, and its first picture.

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
        first = next(_decoded(path, container, stream, PictureCount(stream)), None)
        if first is None:
            raise DataError(f"{path} has no pictures that decode", hint=AGAIN)
        height, width = _values(first, path, 0).shape[:2]
        seconds = float(stream.duration * stream.time_base) if stream.duration is not None else (container.duration or 0) / 1_000_000
        return VideoHeader(height, width, rate, stream.frames or round(seconds * rate))


def pictures(path: Path) -> Iterator[Picture]:
    """Yield all pictures of a file.

    Raises
    ------
    DataError
        The file is not whole, a picture is damaged or changes its size, or fewer decode than the file holds.
    """
    missing = missing_part(path)
    if missing is not None:
        raise DataError(f"{path} is damaged: {missing}", hint=AGAIN)
    with _open(path) as (container, stream):
        count, shape = PictureCount(stream, container.format.name), ()
        clock = PictureClock(stream, count)
        for number, picture in enumerate(_decoded(path, container, stream, count)):
            values = _values(picture, path, number)
            shape = shape or values.shape
            if values.shape != shape:
                raise DataError(f"{path}: picture {number} has shape {values.shape}, those before {shape}", hint=AGAIN)
            yield Picture(*clock.read(picture), values)
        if count.missing:
            message = f"{path} is damaged: it holds {count.decoded + count.missing} pictures and {count.decoded} of them decode"
            raise DataError(message, hint=AGAIN)


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
    with _open(path) as (container, stream):
        if begin > 0:
            container.seek(int(begin / stream.time_base), stream=stream, backward=True)
        for number, picture in enumerate(_decoded(path, container, stream, PictureCount(stream))):
            if picture.pts is None:
                raise DataError(f"{path}: picture {number} is damaged or has no time", hint=AGAIN)
            time, due = float(picture.pts * picture.time_base), begin + len(found) / rate
            if time > due + 0.25 / rate:
                break
            if time > due - 0.25 / rate:
                values = _values(picture, path, number)
                if sorted(values.shape) != sorted(shape) or values.shape[2] not in CHANNELS:
                    raise DataError(f"{path} has pictures of shape {values.shape}, its metadata says {tuple(shape)}", hint=AGAIN)
                found.append(values)
            if len(found) == count:
                return np.stack(found)
    raise DataError(f"{path} has no picture at {begin + len(found) / rate:.4f} s, number {len(found)} of {count}", hint=AGAIN)


def _decoded(path: Path, container: Any, stream: Any, count: PictureCount) -> Iterator[Any]:
    """Yield the decoder's pictures and count both what goes in and what comes out."""
    from av.error import FFmpegError

    try:
        for packet in container.demux(stream):
            count.take(packet)
            for picture in packet.decode():
                if picture.is_corrupt or picture.width * picture.height > LARGEST_PICTURE:
                    raise DataError(f"{path}: picture {count.decoded} is damaged", hint=AGAIN)
                count.give(picture)
                yield picture
    except FFmpegError as error:
        raise DataError(f"{path} does not decode after {count.decoded} pictures: {error.strerror}", hint=AGAIN) from None


def _values(picture: Any, path: Path, number: int) -> Frame:
    try:
        return upright(picture.to_ndarray(format="rgb24"), display_matrix(picture))
    except DataError as error:
        raise DataError(f"{path}, picture {number}: {error}", hint=error.hint) from None


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    av = need_package("av")
    try:
        # a playlist must not fetch from elsewhere, whatever the file is called
        container = av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": READABLE})
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"{path} cannot be opened as a video: {getattr(error, 'strerror', error)}", hint=AGAIN) from None
    with container:
        moving = [stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic]
        if not moving or moving[0].codec_context is None:
            raise DataError(f"{path} has no pictures{' that FFmpeg can decode' if moving else ''}", hint=AGAIN)
        moving[0].thread_type = "AUTO"
        yield container, moving[0]
