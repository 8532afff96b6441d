"""Settings of an import in, what it will do out: the format, every episode, what comes over, bytes; nothing is written."""

from __future__ import annotations

import shutil
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from layerscout import registry
from layerscout.cache.dataset.episodes import Episode, Fields, check_episode
from layerscout.cache.dataset.recording import TrajectoryWriter
from layerscout.cache.importers.account import what_came_over
from layerscout.cache.importers.base import ForeignEpisode, Importer, SkippedEpisode
from layerscout.cache.importers.columns import EXACT_IN
from layerscout.cache.importers.config import ImportConfig
from layerscout.cache.importers.fingerprint import DIGEST, SourceFiles, parts_of, require_same_source
from layerscout.errors import DataError
from layerscout.showing import ShownPlan

ORDER = ("lerobot", "minari", "maniskill", "robomimic", "aloha", "d4rl", "npz", "video", "images")  # the more particular first
PILOT_FRAMES = 16  # from which the file's size is estimated
FRAME_OVERHEAD = 200  # bytes that the file spends on a frame beside its pixels
DROPPED, REPEATED, SHORT = "dropped_last_actions", "repeated_last_frames", "episodes_too_short"
LOST = "dropped_rewards_other_than_0"


@dataclass(frozen=True)
class ImportPlan(ShownPlan):
    """What ``run`` will do.

    Attributes
    ----------
    episodes
        What will be read, in order.
    attributes
        What the trajectory file will say about itself; an import that goes on must agree with them. The digest of the source
        is among them as soon as it is needed, because it means reading everything.
    sample, fields
        The first episode that can be read, with its first frames only, and what all others must have in common with it.
    source
        The files that are read, as they were found.
    complete
        Whether the file is there already, made of this very source with these settings.
    bytes
        Estimated size of the file.
    """

    config: ImportConfig
    format: str
    episodes: tuple[ForeignEpisode, ...]
    attributes: dict[str, Any]
    sample: Episode
    fields: Fields
    source: SourceFiles
    importer: Importer = field(compare=False, repr=False)
    complete: bool = False
    bytes: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many last actions were dropped or kept, and how many episodes have no step."""
        return {name: self.attributes[name] for name in (DROPPED, LOST, REPEATED, SHORT) if name in self.attributes}

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Return what a dry run shows, as plain data; ``measure`` adds nothing, because reading is all there is to do."""
        sample, steps = self.sample, sum(item.steps for item in self.episodes)
        kind = "none" if sample.actions is None else "discrete" if sample.actions.ndim == 1 else f"continuous[{sample.actions.shape[1]}]"
        return {
            "stage": "import",
            "format": self.format,
            "source": str(self.config.source),
            "file": str(self.config.out),
            "complete": self.complete,
            "episodes": len(self.episodes),
            "steps": steps,
            "rows": steps + len(self.episodes),
            "frame_shape": list(sample.frames.shape[1:]),
            "actions": kind,
            "rewards": sample.rewards is not None,
            "state": sample.state is not None,
            "extra": sorted(sample.extra),
            "source_bytes": sum(state.size for state in self.source.states.values() if state),
            "bytes": 0 if self.complete else self.bytes,
            "disk_bytes_at_peak": 0 if self.complete else 2 * self.bytes,  # parts and the file made of them
            "free_bytes": free_bytes(self.config.out),
            DROPPED: 0,
            **self.counts,
            "notes": self.importer.user_notes(),
            "came_over": what_came_over(self.importer, sample),
        }


def detect_format(path: Path) -> str:
    """Return the name of a dataset's format.

    Raises
    ------
    DataError
        There is nothing at the path, or it is of no known format.
    """
    if not path.exists():
        raise DataError(f"no dataset {path}", hint="give the file or folder that was downloaded")
    known = registry.names("importer")
    for name in (*ORDER, *sorted(known.keys() - set(ORDER))):
        if registry.load_entry("importer", name).recognises(path):
            return name
    if path.is_dir() and not any(path.iterdir()):
        raise DataError(f"{path} is an empty folder", hint="give the folder that the dataset was downloaded to")
    raise DataError(f"{path} is of no format that can be imported", hint=f"--format takes one of: {', '.join(sorted(known))}")


def plan(config: ImportConfig) -> ImportPlan:
    """Look into a dataset and read its first episode; writes nothing.

    Raises
    ------
    UsageError
        Unknown format, camera or field, a setting that means nothing for the format, or ``out`` holds something else.
    DataError
        The dataset is damaged, has no images, or is no longer the one that ``out`` was made of.
    """
    form = config.format or detect_format(config.source)
    importer = _opened(form, config)
    importer.check_names()
    source = SourceFiles.find(importer.root, importer.files())
    episodes = tuple(importer.episodes)[: config.episodes]
    for name in importer.fields:
        if importer.wants(name) and (importer.largest(name) or 0) > EXACT_IN["float32"]:
            importer.exact[name] = "int64"
    sample = _first(importer, episodes)
    attributes = _attributes(importer, form, episodes, sample)
    complete = False
    if config.out.exists() or any(parts_of(config.out)):
        attributes[DIGEST] = source.digest()
        require_same_source(config, attributes)
        complete = config.out.exists() and TrajectoryWriter(config.out, attributes).finished
    shown = replace(sample, frames=sample.frames[:PILOT_FRAMES].copy())
    pressed = [len(zlib.compress(frame.tobytes(), 1)) + FRAME_OVERHEAD for frame in shown.frames]
    size = round(sum(pressed) / len(pressed) * sum(item.steps + 1 for item in episodes))
    return ImportPlan(config, form, episodes, attributes, shown, sample.fields(), source, importer, complete, size)


def free_bytes(file: Path) -> int:
    """Return how many bytes are free where a file would lie."""
    folder = next(folder for folder in file.absolute().parents if folder.exists())
    return shutil.disk_usage(folder).free


def _opened(form: str, config: ImportConfig) -> Importer:
    """Look through a dataset with its format's class, or with somebody's own."""
    kind, expected = registry.load_entry("importer", form), "a class on layerscout.cache.importers.base.Importer"
    if registry.is_ours("importer", form):
        return kind(config)
    return registry.made_by_own(f"importer '{form}'", kind, config, expected=expected, fits=lambda made: isinstance(made, Importer))


def _attributes(importer: Importer, form: str, episodes: tuple[ForeignEpisode, ...], sample: Episode) -> dict[str, Any]:
    counts = {
        DROPPED: sum(item.ending == "dropped" for item in episodes),
        LOST: sum(item.lost_reward for item in episodes),
        REPEATED: sum(item.ending == "repeated" for item in episodes),
        SHORT: importer.too_short,
    }
    if sample.actions is None:
        counts[DROPPED] = 0
    return (
        {
            "imported": form,
            "source": str(importer.path.resolve()),
            "options": importer.config.chosen(),
            "episodes_planned": len(episodes),
            "frame_shape": list(sample.frames.shape[1:]),
        }
        | {name: value for name, value in importer.facts.items() if value is not None}
        | {name: count for name, count in counts.items() if count}
    )


def _first(importer: Importer, episodes: tuple[ForeignEpisode, ...]) -> Episode:
    """The first readable episode, so that whatever is wrong with all of them is told before anything is written."""
    reasons = []
    for item in episodes:
        try:
            episode = importer.episode(item)
        except SkippedEpisode as error:
            reasons.append(str(error))
            continue
        check_episode(episode, f"{importer.path}, {item.name}")
        return episode
    first = f", the first because: {reasons[0]}" if reasons else ": none has a step" if importer.too_short else ""
    raise DataError(f"{importer.path} has no episode that can be read{first}", hint="fetch or record the dataset again")
