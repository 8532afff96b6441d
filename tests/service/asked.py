"""A question as a queue is asked it, and where its outcome and its progress are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from layerscout.service.jobs.queue import Queue
from layerscout.service.jobs.records import EVENTS, OUTCOME, JobRequest, job_folder


def request(number: int = 1, memory: int = 10, **changes: Any) -> JobRequest:
    fields = {"id": f"{number:032x}", "kind": "probe", "question": {"folds": 3}, "about": {"rows": 7}, "store": "ls1-x", "who": "ada"}
    return JobRequest(**fields | {"submitted": float(number), "memory": memory} | changes)


def outcome_of(queue: Queue, number: int) -> Path:
    return job_folder(queue.service, request(number).id) / OUTCOME


def written(folder: Path, *events: dict[str, Any]) -> Path:
    (folder / EVENTS).write_text("".join(json.dumps(one) + "\n" for one in events), encoding="utf-8")
    return folder
