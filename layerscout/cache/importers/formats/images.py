"""Folders of PNG or JPEG pictures in, one episode a folder out: frames alone, without actions and rewards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.importers import safety
from layerscout.cache.importers.assemble import ForeignFields, assemble_episode
from layerscout.cache.importers.base import ForeignEpisode, Importer, SkippedEpisode
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.pictures.compressed import decode_pictures
from layerscout.cache.importers.pictures.frames import choose_camera, resize
from layerscout.errors import DataError
from layerscout.showing import counted

SUFFIXES = {".jpeg", ".jpg", ".png"}
LARGEST_FILE = 2**28  # bytes


class Images(Importer):
    """A folder of pictures, or a folder with such folders at any depth; pictures are taken in the order of the numbers in their names.

    With ``--camera`` only folders of that name are episodes, as in ``episode_0/front``, ``episode_0/wrist``.
    """

    takes = frozenset({"stride"})

    def __init__(self, config: ImportConfig) -> None:
        super().__init__(config)
        folders = _folders(self.path)
        if config.camera is not None:
            cameras = sorted({Path(folder).name for folder in folders} - {"."})
            chosen = choose_camera(config.camera, cameras, self.path, "no folders of pictures")
            folders = {folder: names for folder, names in folders.items() if Path(folder).name == chosen}
        if not folders:
            raise DataError(f"{self.path} has no pictures ({', '.join(sorted(SUFFIXES))})", hint="give a folder with pictures")
        self._pictures = {folder: names[:: config.stride] for folder, names in folders.items()}
        self.episodes = [ForeignEpisode(folder, max(0, len(names) - 1)) for folder, names in self._pictures.items()]
        gaps = [folder for folder, names in folders.items() if _has_gap(names)]
        if gaps:
            shown = ", ".join(gaps[:3]) + (" ..." if len(gaps) > 3 else "")
            self.notes.append(f"the numbers of the pictures jump in {len(gaps)} folders, as if some were missing: {shown}")

    @staticmethod
    def recognises(path: Path) -> bool:
        """True where a PNG or JPEG picture lies in ``path`` or in a folder below it."""
        return bool(_folders(path))

    def files(self) -> Sequence[str]:
        """Names of the pictures that are read, episode by episode; those that ``--stride`` passes over are not among them."""
        return [name for item in self.episodes for name in self.files_of(item)]

    def files_of(self, item: ForeignEpisode) -> Sequence[str]:
        """Names of the episode's pictures in the order of their frames, relative to ``root``."""
        return [name if item.name == "." else f"{item.name}/{name}" for name in self._pictures[item.name]]

    def episode(self, item: ForeignEpisode) -> Episode:
        """Decode one folder's pictures into frames resized to ``frame_size``; the steps between them have no action and no reward.

        Raises
        ------
        SkippedEpisode
            Fewer than two pictures are left, one of them cannot be decoded, or they differ in size.
        """
        names = self.files_of(item)
        if len(names) < 2:
            raise SkippedEpisode(f"{item.name} gives {counted(len(names), 'frame')}, expected at least 2", hint="a smaller --stride")
        try:
            frames = decode_pictures((self._content(name) for name in names), len(names), f"{self.path}, {item.name}")
        except DataError as error:
            raise SkippedEpisode(str(error), hint=error.hint) from None
        return assemble_episode(resize(frames, self.config.frame_size), ForeignFields(len(names) - 1), item.name, self.config)

    def _content(self, name: str) -> bytes:
        path = safety.path_inside(self.root, name)
        if path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} has {path.stat().st_size:,} bytes, expected at most {LARGEST_FILE:,}", hint="leave it out")
        return path.read_bytes()


def _folders(path: Path) -> dict[str, list[str]]:
    """Folder → names of the pictures in it, both in order; folders are named relative to ``path``."""
    if not path.is_dir():
        return {}
    found: dict[str, list[str]] = {}
    for file in path.rglob("*"):
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file():
            found.setdefault(file.parent.relative_to(path).as_posix(), []).append(file.name)
    return {folder: sorted(found[folder], key=safety.natural_order) for folder in sorted(found, key=safety.natural_order)}


def _has_gap(names: Sequence[str]) -> bool:
    """Tell whether names end in numbers that do not follow each other at one distance."""
    numbers = [int(found[-1]) for name in names if (found := safety.NUMBER.findall(Path(name).stem))]
    steps = {after - before for before, after in pairwise(numbers)}
    return len(numbers) == len(names) and len(steps) > 1
