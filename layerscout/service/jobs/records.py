"""A question somebody asked in, its file out, and back; and a job as the database tells of it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from layerscout.cache.records import Record

REQUEST, OUTCOME, EVENTS, LOG, LOCK = "job.json", "outcome.json", "events.jsonl", "log.txt", "lock"
JobKind = Literal["probe", "verify"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")


class JobRequest(Record):
    """What was asked, by whom: the content of ``job.json``, from which a lost database is made again."""

    format: Literal["layerscout-job/1"] = "layerscout-job/1"
    id: str
    kind: JobKind
    question: dict[str, Any]
    about: dict[str, Any]
    store: str
    who: str
    submitted: float
    memory: int


class JobOutcome(Record):
    """How a job ended: the content of ``outcome.json``."""

    format: Literal["layerscout-outcome/1"] = "layerscout-outcome/1"
    state: Literal["done", "failed", "cancelled"]
    ended: float
    error: dict[str, Any] | None = None


@dataclass(frozen=True)
class ServiceJob:
    """A job with its standing. ``error`` has the message, the hint, the kind and the exit code of one that failed."""

    id: str
    kind: JobKind
    question: dict[str, Any]
    about: dict[str, Any]
    store: str
    who: str
    submitted: float
    state: JobState
    memory: int
    attempts: int = 0
    started: float | None = None
    ended: float | None = None
    cancelling: bool = False
    error: dict[str, Any] | None = None


def job_of(row: sqlite3.Row) -> ServiceJob:
    """Read a row of the table ``jobs``; columns that hold JSON are parsed."""
    return ServiceJob(
        id=row["id"],
        kind=row["kind"],
        question=json.loads(row["question"]),
        about=json.loads(row["about"]),
        store=row["store"],
        who=row["who"],
        submitted=row["submitted"],
        state=row["state"],
        memory=row["memory"],
        attempts=row["attempts"],
        started=row["started"],
        ended=row["ended"],
        cancelling=bool(row["cancelling"]),
        error=json.loads(row["error"]) if row["error"] else None,
    )


def job_folder(service: Path, job_id: str) -> Path:
    """Return the folder of a job: its request, its outputs, its log."""
    return service / "results" / job_id
