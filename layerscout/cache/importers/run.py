"""A foreign dataset in, a trajectory file out: what will be taken, then episode by episode until it is complete."""

from __future__ import annotations

import shutil
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from layerscout import registry
from layerscout.cache.dataset.episodes import Episode, check_episode
from layerscout.cache.dataset.recording import TrajectoryWriter
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.importers.base import Importer, Item, Options, Skipped
from layerscout.errors import BudgetError, DataError, UsageError, suggest
from layerscout.progress import SILENT, Reporter

ORDER = ("lerobot", "minari", "robomimic", "d4rl", "video")  # the more particular first
PILOT_FRAMES = 16  # from which the file's size is estimated
FRAME_OVERHEAD = 200  # bytes that the file spends on a frame beside its pixels
PART_BYTES = 2**28  # frames that are held in memory and made safe together
DROPPED = "dropped_last_actions"


@dataclass(frozen=True)
class Plan:
    """What ``run`` will do. ``sample`` is the first episode that can be read; ``bytes`` is estimated from it."""

    source: Path
    format: str
    out: Path
    options: Options
    items: tuple[Item, ...]
    attributes: dict[str, Any]  # what the file says about itself; a continued import must agree with them
    sample: Episode
    complete: bool
    bytes: int

    def describe(self) -> dict[str, Any]:
        """Return what a dry run shows, as plain data."""
        sample, steps = self.sample, sum(item.steps for item in self.items)
        kind = "none" if sample.actions is None else "discrete" if sample.actions.ndim == 1 else f"continuous[{sample.actions.shape[1]}]"
        return {
            "stage": "import",
            "format": self.format,
            "source": str(self.source),
            "file": str(self.out),
            "complete": self.complete,
            "episodes": len(self.items),
            "steps": steps,
            "rows": steps + len(self.items),
            "frame_shape": list(sample.frames.shape[1:]),
            "actions": kind,
            "rewards": sample.rewards is not None,
            "state": sample.state is not None,
            "extra": sorted(sample.extra),
            "bytes": 0 if self.complete else self.bytes,
            "disk_bytes_at_peak": 0 if self.complete else 2 * self.bytes,  # parts and the file made of them
            "free_bytes": _free_bytes(self.out),
            DROPPED: self.attributes.get(DROPPED, 0),
        }


def detect(path: Path) -> str:
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
        if registry.load("importer", name).recognises(path):
            return name
    raise DataError(f"{path} is of no format that can be imported", hint=f"--format takes one of: {', '.join(sorted(known))}")


def plan(source: Path, out: Path, options: Options, form: str | None = None, episodes: int | None = None) -> Plan:
    """Look into a dataset and read its first episode; writes nothing.

    Parameters
    ----------
    form
        Name of the format; None finds it out.
    episodes
        Take so many from the beginning; None takes all.

    Raises
    ------
    UsageError
        Unknown format, camera or option, or ``out`` holds something else.
    DataError
        The dataset is damaged, or has no images.
    """
    form = form or detect(source)
    if episodes is not None and episodes < 1:
        raise UsageError(f"--episodes is {episodes}, expected at least 1", hint="leave it out to take all")
    importer: Importer = registry.load("importer", form)(source, options)
    for name in options.leave_out:
        if name not in importer.fields:
            hint = f"fields: {', '.join(importer.fields) or 'none'}"
            raise UsageError(f"{source} has no field '{name}' to leave out{suggest(name, importer.fields)}", hint=hint)
    items = tuple(importer.items)[:episodes]
    sample = _first(importer, items)
    facts = importer.facts | ({DROPPED: min(importer.facts[DROPPED], len(items))} if DROPPED in importer.facts else {})
    chosen = {name: value for name, value in vars(options).items() if value != getattr(Options(), name)}
    attributes = {
        "imported": form,
        "source": str(source.resolve()),
        "options": {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()},
        "episodes_planned": len(items),
        "frame_shape": list(sample.frames.shape[1:]),
    } | {name: value for name, value in facts.items() if value is not None}
    pressed = [len(zlib.compress(frame.tobytes(), 1)) + FRAME_OVERHEAD for frame in sample.frames[:PILOT_FRAMES]]
    frames = sum(item.steps + 1 for item in items)
    bytes_ = round(sum(pressed) / len(pressed) * frames)
    return Plan(source, form, out, options, items, attributes, sample, out.exists() and TrajectoryWriter(out, attributes).finished, bytes_)


def run(planned: Plan, reporter: Reporter = SILENT) -> dict[str, Any]:
    """Import what is missing and return what was done; the same command continues after a kill.

    Raises
    ------
    BudgetError
        The planned bytes do not fit on the disk, or an episode not into memory.
    DataError
        An episode is damaged, and the format does not allow to skip it.
    """
    if planned.complete:
        reporter.say(f"{planned.out} is complete")
        return _result(planned)
    writer = TrajectoryWriter(planned.out, planned.attributes)
    _require_space(planned, writer.steps)
    items, done = list(planned.items), set(writer.sources)
    after = max((number + 1 for number, item in enumerate(items) if item.name in done), default=0)
    skipped = {item.name: "found unreadable before the import was continued" for item in items[:after] if item.name not in done}
    importer: Importer = registry.load("importer", planned.format)(planned.source, planned.options)
    with reporter.task(f"import {planned.format}", len(items), "episodes") as task:
        task.resume(after)
        held = 0
        for item in items[after:]:
            task.advance()
            try:
                episode = importer.episode(item)
            except Skipped as error:
                skipped[item.name] = str(error)
                continue
            writer.append(episode, item.name)
            held += episode.frames.nbytes
            if held > PART_BYTES:
                writer.flush()
                held = 0
    writer.commit({"skipped": skipped} if skipped else None)
    result = _result(planned)
    _tell(result, reporter)
    return result


def _result(planned: Plan) -> dict[str, Any]:
    with Trajectories(planned.out) as data:
        skipped = data.attributes.get("skipped", {})
        return {
            "data": str(planned.out),
            "format": planned.format,
            "episodes": len(data),
            "steps": int(data.lengths.sum()),
            "bytes": planned.out.stat().st_size,
            DROPPED: data.attributes.get(DROPPED, 0),
            "skipped": [f"{name}: {why}" for name, why in skipped.items()],
            "next": f"layerscout extract tiny {planned.out}",
        }


def _tell(result: dict[str, Any], reporter: Reporter) -> None:
    if result[DROPPED]:
        reporter.say(f"warning: nobody recorded what the last action of an episode led to: {result[DROPPED]} last actions were dropped")
    if result["skipped"]:
        reporter.say(f"warning: {len(result['skipped'])} episodes could not be read and were skipped:")
        for line in result["skipped"]:
            reporter.say(f"  {line}")


def _first(importer: Importer, items: tuple[Item, ...]) -> Episode:
    """The first readable episode, so that whatever is wrong with all of them is told before anything is written."""
    reasons = []
    for item in items:
        try:
            episode = importer.episode(item)
        except Skipped as error:
            reasons.append(str(error))
            continue
        check_episode(episode, f"{importer.path}, {item.name}")
        return replace(episode, frames=episode.frames[:PILOT_FRAMES].copy())
    first = f", the first because: {reasons[0]}" if reasons else ""
    raise DataError(f"{importer.path} has no episode that can be read{first}", hint="fetch or record the dataset again")


def _require_space(planned: Plan, steps_there: int) -> None:
    """Refuse when the missing parts and then the whole file beside them do not fit."""
    steps = max(1, sum(item.steps for item in planned.items))
    needed, free = planned.bytes * (2 - min(1.0, steps_there / steps)), _free_bytes(planned.out)
    if needed > free:
        message = f"about {needed / 1e6:,.1f} MB are needed to write {planned.out} and {free / 1e6:,.1f} MB are free"
        raise BudgetError(message, hint="free some space, write elsewhere with --out, or take fewer --episodes or a smaller --size")


def _free_bytes(file: Path) -> int:
    folder = next(folder for folder in file.absolute().parents if folder.exists())
    return shutil.disk_usage(folder).free
