"""A question as a queue is asked it."""

from __future__ import annotations

from typing import Any

from layerscout.service.jobs.records import JobRequest


def request(number: int = 1, memory: int = 10, **changes: Any) -> JobRequest:
    fields = {"id": f"{number:032x}", "kind": "probe", "question": {"folds": 3}, "about": {"rows": 7}, "store": "ls1-x", "who": "ada"}
    return JobRequest(**fields | {"submitted": float(number), "memory": memory} | changes)
