"""A folder of video files in, one episode a file out: frames alone, without actions and rewards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import Fields, assemble
from layerscout.cache.importers.base import Importer, Item, Options, Skipped, require_memory
from layerscout.cache.importers.decoding import Header, header, pictures
from layerscout.cache.importers.frames import Frame, resize
from layerscout.errors import DataError, UsageError

SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"}
SLACK = 1.5  # frames: how much earlier than its header says a video may end, which rounds


class Video(Importer):
    """A video file, or a folder with video files at any depth.

    Files that do not open, do not decode or end early are skipped: a shortened episode would look like a whole one.
    """

    takes_rate = True

    def __init__(self, path: Path, options: Options) -> None:
        super().__init__(path, options)
        if options.camera is not None:
            raise UsageError("--camera chooses among cameras, and a video file has one", hint="import the folder with the wanted videos")
        if options.rate is not None and options.stride != 1:
            raise UsageError("both --fps and --stride were given", hint="one of them")
        self._root = path if path.is_dir() else path.parent
        names = _files(path)
        if not names:
            raise DataError(f"{path} has no video files ({', '.join(sorted(SUFFIXES))})", hint="give a folder with videos")
        self._headers: dict[str, Header | DataError] = {name: self._header(name) for name in names}
        sizes = Counter((found.height, found.width) for found in self._headers.values() if isinstance(found, Header))
        if len(sizes) > 1 and options.size is None:
            seen = ", ".join(f"{height}x{width} ({count})" for (height, width), count in sizes.most_common(5))
            raise UsageError(f"{path} has videos of {len(sizes)} sizes: {seen}", hint="bring them to one with --size HEIGHTxWIDTH")
        self.items = [Item(name, self._steps(name)) for name in names]
        rates = sorted({round(found.rate, 3) for found in self._headers.values() if isinstance(found, Header)})
        self.facts = {"source_frames_per_second": rates}

    @staticmethod
    def recognises(path: Path) -> bool:
        return bool(_files(path))

    def episode(self, item: Item) -> Episode:
        found = self._headers[item.name]
        if isinstance(found, DataError):
            raise Skipped(str(found), hint=found.hint)
        frames: list[Frame] = []
        try:
            for frame in self._chosen(self._root / item.name, found):
                if len(frames) % 256 == 0:  # again and again: the header may have lied
                    require_memory(2 * (len(frames) + 256) * frame.size, item.name)
                frames.append(resize(frame[None], self.options.size)[0])
        except DataError as error:
            raise Skipped(str(error), hint=error.hint) from None
        if len(frames) < 2:
            raise Skipped(f"{item.name} gives {len(frames)} frames, expected at least 2", hint="a smaller --stride or a larger --fps")
        return assemble(np.stack(frames), Fields(len(frames) - 1), item.name)

    def _header(self, name: str) -> Header | DataError:
        try:
            return header(safety.inside(self._root, name))
        except DataError as error:
            return error

    def _steps(self, name: str) -> int:
        found = self._headers[name]
        if isinstance(found, DataError):
            return 0
        seconds = found.frames / found.rate
        frames = seconds * self.options.rate if self.options.rate else found.frames / self.options.stride
        return max(0, round(frames) - 1)

    def _chosen(self, path: Path, found: Header) -> Iterator[Frame]:
        """Every stride-th picture, or the one shown at every tick; an error when the video ends before its time."""
        first = last = 0.0
        shown: Frame | None = None
        taken = number = 0
        for number, (time, picture) in enumerate(pictures(path)):
            first, last = (time, time) if shown is None else (first, time)
            if self.options.rate is None and number % self.options.stride == 0:
                yield picture
            while self.options.rate and shown is not None and time > first + taken / self.options.rate + 1e-6:
                yield shown
                taken += 1
            shown = picture
        end = last + 1 / found.rate  # the last picture is shown as long as any other
        while self.options.rate and shown is not None and first + taken / self.options.rate < end - 1e-6:
            yield shown
            taken += 1
        if shown is None or (found.seconds is not None and end - first < found.seconds - SLACK / found.rate):
            ended = 0.0 if shown is None else end - first
            message = f"{path.name} ends after {ended:.2f} of {found.seconds or 0:.2f} seconds"
            raise DataError(message, hint="fetch or encode the video again")


def _files(path: Path) -> list[str]:
    """Names of the video files, relative to the folder, in order."""
    if path.is_file():
        return [path.name] if path.suffix.lower() in SUFFIXES else []
    found = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    return sorted(file.relative_to(path).as_posix() for file in found) if path.is_dir() else []
