"""A folder of video files in, one episode a file out: frames alone, without actions and rewards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode
from layerscout.cache.importers.base import ForeignEpisode, Importer, SkippedEpisode
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.needs import require_memory
from layerscout.cache.importers.pictures.frames import Frame, resize
from layerscout.cache.importers.video.decoding import VideoHeader, pictures, read_video_header
from layerscout.errors import DataError, UsageError
from layerscout.showing import counted

KINDS = ("3gp", "asf", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ogv", "ts", "webm", "wmv")
SUFFIXES = {f".{kind}" for kind in KINDS}


UNEVEN = 1.7  # times the shortest gap between two pictures: beyond it, one is missing, or some are shown for longer


class Video(Importer):
    """A video file, or a folder with video files at any depth.

    Files that do not open, do not decode or are not whole are skipped: a shortened episode would look like a whole one.
    """

    takes = frozenset({"fps", "stride"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        if config.camera is not None:
            raise UsageError("--camera chooses among cameras, and a video file has one", hint="import the folder with the wanted videos")
        if config.fps is not None and config.stride != 1:
            raise UsageError("both --fps and --stride were given", hint="one of them")
        self._uneven: dict[str, str] = {}
        self._names = _files(self.path)
        if not self._names:
            raise DataError(f"{self.path} has no video files ({', '.join(sorted(SUFFIXES))})", hint="give a folder with videos")
        self._headers = {name: self._header(name) for name in self._names}
        headers = [found for found in self._headers.values() if isinstance(found, VideoHeader)]
        sizes = Counter((found.height, found.width) for found in headers)
        if len(sizes) > 1 and config.size is None:
            seen = ", ".join(f"{height}x{width} ({count})" for (height, width), count in sizes.most_common(5))
            (height, width), _ = sizes.most_common(1)[0]
            raise UsageError(f"{self.path} has videos of {len(sizes)} sizes: {seen}", hint=config.again("--size", f"{height}x{width}"))
        self.episodes = [ForeignEpisode(name, self._steps(name)) for name in self._names]
        self.facts = {"source_frames_per_second": sorted({round(found.rate, 3) for found in headers})}

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where ``path`` is a video file or a video file lies anywhere below it."""
        return bool(_files(path))

    def files(self) -> Sequence[str]:
        """Every video file of the source, those that do not open too, relative to ``root``."""
        return self._names

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """The episode's one video, whose name is the episode's."""
        return [item.name]

    def episode(self, item: ForeignEpisode) -> Episode:
        """Decode one video into frames resized to ``frame_size``; the steps between them have no action and no reward.

        Raises
        ------
        SkippedEpisode
            The video does not open, does not decode to its end, gives fewer than two frames.
        BudgetError
            It would not fit into memory.
        """
        found = self._headers[item.name]
        if isinstance(found, DataError):
            raise SkippedEpisode(str(found), hint=found.hint)
        frames: list[Frame] = []
        try:
            for frame in self._chosen(self.root / item.name, found):
                if len(frames) % 256 == 0:  # again and again: the header may have lied
                    require_memory(2 * (len(frames) + 256) * frame.size, item.name)
                frames.append(resize(frame[None], self.config.frame_size)[0])
        except DataError as error:
            raise SkippedEpisode(str(error), hint=error.hint) from None
        if len(frames) < 2:
            hint = "a smaller --stride or a larger --fps"
            raise SkippedEpisode(f"{item.name} gives {counted(len(frames), 'frame')}, expected at least 2", hint=hint)
        return assemble_episode(np.stack(frames), ForeignFields(len(frames) - 1), item.name, self.config)

    def _header(self, name: str) -> VideoHeader | DataError:
        try:
            return read_video_header(safety.path_inside(self.root, name))
        except DataError as error:
            return error

    def _steps(self, name: str) -> int:
        found = self._headers[name]
        if isinstance(found, DataError):
            return 0
        frames = found.frames / found.rate * self.config.fps if self.config.fps else found.frames / self.config.stride
        return max(0, round(frames) - 1)

    def _chosen(self, path: Path, header: VideoHeader) -> Iterator[Frame]:
        """Every stride-th picture, or the one that is shown at every tick."""
        if self.config.fps is None:
            yield from self._each(path)
            return
        first = end = 0.0
        shown: Frame | None = None
        taken = 0
        for picture in pictures(path):
            first = picture.time if shown is None else first
            while shown is not None and picture.time > first + taken / self.config.fps + 1e-6:
                yield shown
                taken += 1
            shown, end = picture.values, picture.time + (picture.seconds or 1 / header.rate)
        while shown is not None and first + taken / self.config.fps < end - 1e-6:
            yield shown
            taken += 1

    def _each(self, path: Path) -> Iterator[Frame]:
        """Every stride-th picture; and what times lie between them, for whoever believes that steps are of one length."""
        before: float | None = None
        gaps = [np.inf, 0.0]
        for number, picture in enumerate(pictures(path)):
            if before is not None:
                gaps = [min(gaps[0], picture.time - before), max(gaps[1], picture.time - before)]
            before = picture.time
            if number % self.config.stride == 0:
                yield picture.values
        if gaps[1] > UNEVEN * max(gaps[0], 1e-3):
            self._uneven[path.relative_to(self.root).as_posix()] = f"{max(gaps[0], 0.0):.3g} to {gaps[1]:.3g} s"

    def user_notes(self) -> list[str]:
        """The usual notes, and which videos have pictures at uneven times, of which at most three are named."""
        if not self._uneven:
            return super().user_notes()
        shown = ", ".join(f"{name} ({gaps})" for name, gaps in list(self._uneven.items())[:3]) + (" ..." if len(self._uneven) > 3 else "")
        note = f"pictures of {len(self._uneven)} videos are not evenly apart, and each counts as one step: {shown}; --fps R takes them by the clock"
        return [*super().user_notes(), note]


def _files(path: Path) -> list[str]:
    """Names of the video files, relative to the folder, in order."""
    if path.is_file():
        return [path.name] if path.suffix.lower() in SUFFIXES else []
    found = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file())
    return sorted(file.relative_to(path).as_posix() for file in found) if path.is_dir() else []
