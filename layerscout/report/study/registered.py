"""A registration and the folders of results in; whether these runs are the ones that were registered out."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

from layerscout.cache.records import load, load_object
from layerscout.cache.records.study import StudyRegistration
from layerscout.errors import LayerscoutError
from layerscout.report.study.registration import STAMP_NAME, FirstCommit, Registration, TaskStamp, differences

SETTINGS_NAME = "settings.json"  # in a task's folder: what every stage was run with, by stage


def registered_study(registration: Registration, folders: Sequence[Path]) -> StudyRegistration:
    """Return the record of a registration: its digest, its first commit, and whether the study may call itself registered.

    It may only when the file has stood unchanged since a commit that is older than every run, every registered task is there, and the settings
    of every run are those of the file.
    """
    commit = registration.commit()
    reasons = tuple(_reasons(registration, commit, folders))
    return StudyRegistration(
        path=registration.path.as_posix(),
        digest=registration.digest,
        commit=commit.hash if commit else None,
        committed=commit.when.isoformat() if commit else None,
        title=registration.promise.title,
        holds=not reasons,
        reasons=reasons,
    )


def registration_of(folders: Sequence[Path]) -> Path | None:
    """Return the registration that all of these folders were run for, where the runner left its stamp and the file is there."""
    try:
        paths = {load(TaskStamp, folder / STAMP_NAME).path for folder in folders}
    except LayerscoutError:
        return None
    path = Path(paths.pop()) if len(paths) == 1 else None
    return path if path is not None and path.is_file() else None


def _reasons(registration: Registration, commit: FirstCommit | None, folders: Sequence[Path]) -> Iterator[str]:
    """Yield a sentence for everything that keeps a study from calling itself registered."""
    if commit is None:
        yield "the file is in no commit, so nobody can see when it was written"
    elif commit.digest != registration.digest:
        yield f"the file was changed after commit {commit.hash[:12]}, which first kept it"
    present = set()
    for folder in folders:
        try:
            stamp = load(TaskStamp, folder / STAMP_NAME)
        except LayerscoutError:
            yield f"{folder.name} was not run for this registration"
            continue
        present.add(stamp.task)
        if stamp.digest != registration.digest:
            yield f"{folder.name} was run for another version of the file"
        elif stamp.task not in registration.tasks:
            yield f"the file has no task {stamp.task}"
        else:
            if commit is not None and datetime.datetime.fromisoformat(stamp.started) < commit.when:
                yield f"{folder.name} was begun on {stamp.started}, before the commit"
            if commit is not None and (early := _oldest_result(folder)) is not None and early[0] < commit.when:
                yield f"{folder.name}/{early[1]} was written on {early[0].isoformat(timespec='seconds')}, before the commit"
            yield from _changed(registration, folder, stamp.task)
    if missing := [name for name in registration.tasks if name not in present]:
        yield f"registered and not here: {', '.join(missing)}"


def _oldest_result(folder: Path) -> tuple[datetime.datetime, str] | None:
    """Return when the oldest ranking or run record of a task was written, and which it is; None where there is none."""
    paths = [path for pattern in ("probe*/ranking.json", "train*/**/*.json") for path in folder.glob(pattern)]
    found = [(datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC), path.relative_to(folder).as_posix()) for path in paths]
    return min(found, default=None)


def _changed(registration: Registration, folder: Path, task: str) -> Iterator[str]:
    try:
        used = load_object(folder / SETTINGS_NAME)
    except LayerscoutError:
        yield f"{folder.name} kept no settings"
        return
    for stage, settings in registration.settings(task).items():
        yield from (f"{folder.name}: {one}" for one in differences(settings, used.get(stage, {}), f"{stage}."))
