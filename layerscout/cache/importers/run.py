"""A plan in, a trajectory file out, episode by episode; the same command continues after a kill.

The stage's face: ``plan(config)`` looks, ``run(plan)`` does. ``config`` is ``layerscout.cache.importers.config.ImportConfig``.
"""

from __future__ import annotations

from typing import Any

from layerscout.cache.dataset.episodes import Episode, Fields
from layerscout.cache.dataset.looking import looking_command
from layerscout.cache.dataset.recording import TrajectoryWriter
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.importers.account import what_came_over
from layerscout.cache.importers.base import ForeignEpisode, SkippedEpisode
from layerscout.cache.importers.fingerprint import DIGEST
from layerscout.cache.importers.plan import DROPPED, LOST, REPEATED, SHORT, ImportPlan, detect_format, free_bytes, plan
from layerscout.errors import BudgetError, DataError
from layerscout.progress import SILENT, Reporter
from layerscout.settings import command_of

__all__ = ["ImportPlan", "detect_format", "plan", "run"]

PART_BYTES = 2**28  # frames that are held in memory and made safe together


def run(planned: ImportPlan, reporter: Reporter = SILENT) -> dict[str, Any]:
    """Import what is missing and return what was done; the same command continues after a kill.

    Raises
    ------
    BudgetError
        The planned bytes do not fit on the disk, or an episode not into memory.
    DataError
        An episode is damaged, and the format does not allow to skip it; or the source changed meanwhile.
    """
    out = planned.config.out
    if planned.complete:
        reporter.say(f"{out} is complete")
        return _result(planned)
    planned.source.require_unchanged()
    attributes = planned.attributes | {DIGEST: planned.attributes.get(DIGEST) or planned.source.digest(reporter)}
    writer = TrajectoryWriter(out, attributes, command=command_of("import", planned.config))
    _require_space(planned, writer.steps)
    skipped = _fill(planned, writer, reporter)
    planned.source.require_unchanged()
    writer.commit({"skipped": skipped} if skipped else None)
    result = _result(planned)
    _tell(result, reporter)
    return result


def _fill(planned: ImportPlan, writer: TrajectoryWriter, reporter: Reporter) -> dict[str, str]:
    """Append what is missing; return why episodes were skipped."""
    items, done = list(planned.episodes), set(writer.sources)
    after = max((number + 1 for number, item in enumerate(items) if item.name in done), default=0)
    skipped = {item.name: "found unreadable before the import was continued" for item in items[:after] if item.name not in done}
    importer, held = planned.importer, 0
    with reporter.task(f"import {planned.format}", len(items), "episodes") as task:
        task.resume(after)
        for item in items[after:]:
            task.advance()
            try:
                episode = importer.episode(item)
            except SkippedEpisode as error:
                skipped[item.name] = str(error)
                continue
            finally:  # a change is the reason for whatever was found wrong
                planned.source.require_unchanged(importer.files_of(item))
            _require_alike(planned, item, episode)
            writer.append(episode, item.name)
            held += episode.frames.nbytes
            if held > PART_BYTES:
                writer.flush()
                held = 0
    return skipped


def _require_alike(planned: ImportPlan, item: ForeignEpisode, episode: Episode) -> None:
    """Refuse an episode that has other fields than the first one, naming it and the fields."""
    first, now = planned.fields, episode.fields()
    if now == first:
        return
    where, config = f"{planned.config.source}, {item.name}", planned.config
    if now.frame_shape != first.frame_shape:
        height, width = first.frame_shape[:2]
        message = f"{where} has frames of {now.frame_shape}, the first episode of {first.frame_shape}"
        raise DataError(message, hint=config.again("--size", f"{height}x{width}"))
    names = _different(first, now)
    words = [word for name in names for word in ("--leave-out", name)]
    raise DataError(f"{where} has {now}; the first episode has {first}", hint=config.again(*words))


def _different(first: Fields, now: Fields) -> list[str]:
    """Names of what two episodes do not have in common."""
    names = ["actions"] * ((first.has_actions, first.action_dimensions) != (now.has_actions, now.action_dimensions))
    names += ["rewards"] * (first.has_rewards != now.has_rewards) + ["state"] * (first.state_width != now.state_width)
    return names + sorted({part[0] for part in set(first.extra) ^ set(now.extra)})


def _result(planned: ImportPlan) -> dict[str, Any]:
    importer, out = planned.importer, planned.config.out
    with Trajectories(out) as data:
        skipped = data.attributes.get("skipped", {})
        return {
            "data": str(out),
            "format": planned.format,
            "episodes": len(data),
            "steps": int(data.lengths.sum()),
            "bytes": out.stat().st_size,
            DROPPED: 0,
            **planned.counts,
            "notes": importer.user_notes(),
            "skipped": [f"{name}: {why}" for name, why in skipped.items()],
            "next": looking_command(out, data.frame_shape),
            "came_over": what_came_over(importer, planned.sample),
        }


def _tell(result: dict[str, Any], reporter: Reporter) -> None:
    """Say what nobody should overlook."""
    notes = list(result["notes"])
    if result[DROPPED]:
        lost = f"; rewards other than 0 that went with them: {result[LOST]}" if result.get(LOST) else ""
        notes.append(f"last actions dropped, because nobody recorded what they led to: {result[DROPPED]}{lost}")
    if result.get(REPEATED):
        notes.append(f"last actions kept, because the task ended with them; their last frame stands there twice: {result[REPEATED]}")
    if result.get(SHORT):
        notes.append(f"episodes left out, because they have no step: {result[SHORT]}")
    if result["skipped"]:
        notes.append(f"episodes skipped, because they could not be read: {len(result['skipped'])}")
    for note in notes:
        reporter.say(f"warning: {note}")
    for line in result["skipped"]:
        reporter.say(f"  {line}")


def _require_space(planned: ImportPlan, steps_there: int) -> None:
    """Refuse when the missing parts and then the whole file beside them do not fit."""
    steps = max(1, sum(item.steps for item in planned.episodes))
    needed, free = planned.bytes * (2 - min(1.0, steps_there / steps)), free_bytes(planned.config.out)
    if needed > free:
        message = f"about {needed / 1e6:,.1f} MB are needed to write {planned.config.out} and {free / 1e6:,.1f} MB are free"
        raise BudgetError(message, hint="free some space, write elsewhere with --out, or take fewer --episodes or a smaller --size")
