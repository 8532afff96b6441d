"""What a task's stages took, and under which settings each was finished: a file in the task's folder, read before work and written after it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

import layerscout
from layerscout.cache.records import Record, load, save

LEDGER_NAME = "stages.json"


class StageSpent(Record):
    """One stage of a task: ``key`` names the settings that it was finished with, None while it is not; times are those of all attempts."""

    stage: str
    key: str | None
    seconds: float
    cpu_seconds: float
    result: str = ""  # in words


class TaskLedger(Record):
    """All stages of a task that were begun, in their order. Times of attempts that were killed outright are missing."""

    format: Literal["layerscout-stages/1"] = "layerscout-stages/1"
    task: str
    stages: tuple[StageSpent, ...] = ()


@dataclass
class Ledger:
    """The ledger of one task in its file.

    Parameters
    ----------
    folder
        Of the task.
    """

    folder: Path
    stages: dict[str, StageSpent] = field(default_factory=dict)

    @staticmethod
    def open(folder: Path) -> Ledger:
        """Read what is there.

        Raises
        ------
        DataError
            The file is damaged.
        """
        path = folder / LEDGER_NAME
        found = load(TaskLedger, path).stages if path.is_file() else ()
        return Ledger(folder, {one.stage: one for one in found})

    def finished(self, stage: str, key: str) -> bool:
        """True where the stage's last entry has this key, so that its settings were the same."""
        return stage in self.stages and self.stages[stage].key == key

    @contextmanager
    def timed(self, stage: str, key: str) -> Iterator[list[str]]:
        """Count the time of one attempt; the stage counts as finished when the block ends without an error.

        The block puts the stage's result into the list that it is given.
        """
        before = self.stages.get(stage)
        began, said = (time.monotonic(), _cpu_seconds()), list[str]()
        done = None
        try:
            yield said
            done = key
        finally:
            # an attempt with other settings begins anew; repeating what is finished adds to it
            spent = (before.seconds, before.cpu_seconds) if before and before.key in (None, key) else (0.0, 0.0)
            seconds, cpu = time.monotonic() - began[0] + spent[0], _cpu_seconds() - began[1] + spent[1]
            self.stages[stage] = StageSpent(
                stage=stage, key=done, seconds=round(seconds, 2), cpu_seconds=round(cpu, 2), result=" ".join(said)
            )
            self.folder.mkdir(parents=True, exist_ok=True)
            save(TaskLedger(task=self.folder.name, stages=tuple(self.stages.values())), self.folder / LEDGER_NAME)


def stage_key(before: str, config: BaseModel) -> str:
    """Return the digest of a stage's settings and of all that it rests on."""
    text = json.dumps([layerscout.__version__, before, json.loads(config.model_dump_json())], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _cpu_seconds() -> float:
    """CPU seconds of this process and of those that it waited for."""
    return sum(os.times()[:4])
