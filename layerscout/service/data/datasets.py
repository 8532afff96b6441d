"""Served folders in; the trajectory file of a dataset, where it is at hand, and its frames as pictures, out.

A store tells where its dataset lay, but that is a stranger's word: only files under served folders are opened, and only those whose own
digest is the one that was asked for.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from layerscout.errors import DataError, LayerscoutError
from layerscout.service.data.results import served_folders
from layerscout.service.data.roots import inside
from layerscout.service.problems import HttpProblem

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
FRESH_SECONDS, LARGEST_SIDE = 30.0, 512


def dataset_id(dataset: str) -> str:
    """Return how addresses name a dataset: by its digest, and where a stranger's record states none, by the digest of what it states."""
    return dataset[7:] if DIGEST.fullmatch(dataset) else hashlib.sha256(dataset.encode("utf-8", "replace")).hexdigest()


class Datasets:
    """Trajectory files under served folders, by the digest of their content."""

    def __init__(self, places: tuple[Path, ...]) -> None:
        self.places = places
        self._lock = threading.Lock()  # HDF5 is read by one thread at a time
        self._known: dict[Path, tuple[int, int, str]] = {}
        self._by_digest: dict[str, Path] = {}
        self._looked = -FRESH_SECONDS

    def path(self, digest: str) -> Path | None:
        """File of the dataset with this digest; None where no root has it. Folders are looked through anew after ``FRESH_SECONDS``."""
        with self._lock:
            if time.monotonic() - self._looked >= FRESH_SECONDS:
                self._look()
            return self._by_digest.get(digest)

    def episodes(self, digest: str) -> list[int]:
        """Return the number of frames of every episode; nothing when the dataset is not at hand."""
        path = self.path(digest)
        if path is None:
            return []
        with self._lock:
            return _frames_of(str(path), path.stat().st_mtime_ns)

    def picture(self, digest: str, episode: int, step: int) -> bytes:
        """Return one frame as PNG.

        Raises
        ------
        HttpProblem
            The dataset is not at hand, or has no such frame (404).
        """
        path = self.path(digest)
        if path is None:
            raise HttpProblem(
                404, "this dataset's frames are not at hand", "serve the folder that has its trajectory file: --runs FOLDER", "data"
            )
        with self._lock:
            return _picture(str(path), path.stat().st_mtime_ns, episode, step)

    def _look(self) -> None:
        found: dict[str, Path] = {}
        for place in self.places:
            for folder, names in served_folders(place):
                for name in names:
                    if name.endswith(".h5") and (digest := self._digest(place, folder / name)):
                        found.setdefault(digest, folder / name)
        self._by_digest = found
        self._looked = time.monotonic()

    def _digest(self, place: Path, path: Path) -> str:
        from layerscout.cache.dataset.trajectories import Trajectories

        try:
            inside(place, path)
            about = path.stat()
            if self._known.get(path, (0, 0, ""))[:2] != (about.st_mtime_ns, about.st_size):
                with Trajectories(path) as data:
                    self._known[path] = (about.st_mtime_ns, about.st_size, data.stated_digest())
            return self._known[path][2]
        except (LayerscoutError, OSError):
            return ""


@lru_cache(maxsize=32)
def _frames_of(path: str, when: int) -> list[int]:
    from layerscout.cache.dataset.trajectories import Trajectories

    with Trajectories(path) as data:
        return [int(length) + 1 for length in data.lengths]


@lru_cache(maxsize=512)
def _picture(path: str, when: int, episode: int, step: int) -> bytes:
    from PIL import Image

    from layerscout.cache.dataset.trajectories import Trajectories

    try:
        with Trajectories(path) as data:
            frame: Any = data.frames(episode, step, step + 1)[0]
    except DataError as error:
        raise HttpProblem(404, f"no frame {step} of episode {episode}", error.hint, "data") from None
    if frame.shape[2] not in (1, 3):
        raise HttpProblem(404, f"frames of {frame.shape[2]} channels are no pictures", kind="data")
    picture = Image.fromarray(frame[:, :, 0] if frame.shape[2] == 1 else frame)
    side = max(picture.size)
    if side < 96:  # small worlds are drawn larger, pixel by pixel
        picture = picture.resize((picture.width * (192 // side), picture.height * (192 // side)), Image.Resampling.NEAREST)
    picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def film(frames: int, most: int = 8) -> Iterator[int]:
    """Yield the numbers of frames spread evenly over an episode."""
    count = min(frames, most)
    yield from (round(place * (frames - 1) / max(count - 1, 1)) for place in range(count))
