"""Questions in; each a job that runs once, whoever asks and however many servers look, out."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import time
import uuid
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from layerscout.cache import records
from layerscout.cache.durable import process_runs
from layerscout.errors import DataError
from layerscout.service.jobs.database import Database
from layerscout.service.jobs.records import OUTCOME, REQUEST, JobOutcome, JobRequest, ServiceJob, job_folder, job_of
from layerscout.service.problems import HttpProblem

LEASE_SECONDS = 20.0
MOST_ATTEMPTS = 5  # of a job whose server died each time


class Queue:
    """The jobs of a root. A server is one owner; what it does not confirm for ``LEASE_SECONDS`` others take over."""

    def __init__(self, service: Path, done_already: Callable[[JobRequest], bool]) -> None:
        self.service = service
        self.done_already = done_already  # tells whether a job's answer lies in its folder
        self.database = Database(service, self._rebuild)
        host = f"{zlib.crc32(socket.gethostname().encode()):08x}"
        self.owner = f"{host}:{os.getpid()}:{started(os.getpid())}:{uuid.uuid4().hex[:12]}"

    def submit(self, request: JobRequest) -> tuple[ServiceJob, bool]:
        """Queue a job, or return the one that asks the same; also whether it is new. Its file is on disk before its row.

        A job that failed or was cancelled is queued again.
        """
        folder = job_folder(self.service, request.id)
        self.knows(request.id)  # so that a database that must be made first does not find this job in the files, and call it known
        if not (folder / REQUEST).exists():
            records.save(request, folder / REQUEST)
        with self.database.change() as connection:
            new = _insert(connection, request, "queued")
            if not new:
                gone = () if self.done_already(request) else ("done",)  # somebody deleted its answer
                new = self._again(connection, request.id, ("failed", "cancelled", *gone))
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (request.id,)).fetchone()
        return job_of(row), new

    def as_done(self, request: JobRequest) -> ServiceJob:
        """Return a job whose answer is there already: its row, or what its row would be."""
        found = self.database.rows("SELECT * FROM jobs WHERE id = ?", (request.id,))
        fields = request.model_dump(exclude={"format"})
        job = job_of(found[0]) if found else ServiceJob(**fields, state="done")
        return replace(job, state="done", error=None)

    def find(self, job_id: str) -> ServiceJob:
        """Return a job.

        Raises
        ------
        HttpProblem
            There is none (404).
        """
        found = self.database.rows("SELECT * FROM jobs WHERE id = ?", (job_id[:64],))
        if not found:
            raise HttpProblem(404, f"no job {job_id[:40]} here", "the list of jobs has all of them", "data")
        return job_of(found[0])

    def knows(self, job_id: str) -> bool:
        """Tell whether there is such a job, however it stands."""
        return bool(self.database.rows("SELECT 1 FROM jobs WHERE id = ?", (job_id,)))

    def newest(self, limit: int = 200, state: str | None = None, store: str | None = None) -> list[ServiceJob]:
        """At most ``limit`` jobs, newest first; those in one state, about one store, or both."""
        conditions, values = ["1 = 1"], []
        for name, value in (("state", state), ("store", store)):
            if value is not None:
                conditions.append(f"{name} = ?")
                values.append(value)
        words = f"SELECT * FROM jobs WHERE {' AND '.join(conditions)} ORDER BY submitted DESC LIMIT ?"
        return [job_of(row) for row in self.database.rows(words, (*values, limit))]

    def waiting_before(self, job: ServiceJob) -> int:
        """How many queued jobs were submitted earlier; 0 for a job that is not queued."""
        words = "SELECT COUNT(*) FROM jobs WHERE state = 'queued' AND submitted < ?"
        return int(self.database.rows(words, (job.submitted,))[0][0]) if job.state == "queued" else 0

    def claim(self, memory: int, now: float | None = None) -> ServiceJob | None:
        """Take the oldest job that fits into so many bytes of memory: queued, or of a server that is gone."""
        now = time.time() if now is None else now
        with self.database.change() as connection:
            self._release_dead(connection, now)
            words = (
                "UPDATE jobs SET state = 'running', owner = ?, lease = ?, started = ?, ended = NULL, attempts = attempts + 1, error = '' "
                "WHERE id = (SELECT id FROM jobs WHERE state = 'queued' AND memory <= ? ORDER BY submitted LIMIT 1) RETURNING *"
            )
            row = connection.execute(words, (self.owner, now + LEASE_SECONDS, now, memory)).fetchone()
        return job_of(row) if row else None

    def confirm(self, job_ids: list[str], now: float | None = None) -> set[str]:
        """Extend this server's leases; return the jobs that somebody cancelled or another server has taken."""
        now = time.time() if now is None else now
        lost = set()
        with self.database.change() as connection:
            for job_id in job_ids:
                words = "UPDATE jobs SET lease = ? WHERE id = ? AND owner = ? RETURNING cancelling"
                row = connection.execute(words, (now + LEASE_SECONDS, job_id, self.owner)).fetchone()
                if row is None or row["cancelling"]:
                    lost.add(job_id)
        return lost

    def finish(self, job_id: str, outcome: JobOutcome) -> None:
        """Say how one of this server's jobs ended; what another server has taken over meanwhile is left to it."""
        words = "UPDATE jobs SET state = ?, ended = ?, error = ?, owner = NULL, lease = NULL, cancelling = 0 WHERE id = ? AND owner = ?"
        error = json.dumps(outcome.error) if outcome.error else ""
        self.database.rows(words, (outcome.state, outcome.ended, error, job_id, self.owner))

    def put_back(self, job_id: str, counted: bool = True) -> None:
        """Let another worker take a job of ours; the attempt is forgotten unless it is ``counted``."""
        words = "UPDATE jobs SET state = 'queued', owner = NULL, lease = NULL, attempts = attempts - ? WHERE id = ? AND owner = ?"
        self.database.rows(words, (0 if counted else 1, job_id, self.owner))

    def cancel(self, job_id: str) -> ServiceJob:
        """Take a queued job out, and have a running one stopped by the server that runs it."""
        job = self.find(job_id)
        if job.state == "queued":
            ended = JobOutcome(state="cancelled", ended=round(time.time(), 3))
            records.save(ended, job_folder(self.service, job_id) / OUTCOME)
        with self.database.change() as connection:
            words = "UPDATE jobs SET state = 'cancelled', ended = ? WHERE id = ? AND state = 'queued'"
            connection.execute(words, (time.time(), job_id))
            connection.execute("UPDATE jobs SET cancelling = 1 WHERE id = ? AND state = 'running'", (job_id,))
        return self.find(job_id)

    def retry(self, job_id: str) -> ServiceJob:
        """Queue a job again that failed or was cancelled; it goes on from what was kept."""
        self.find(job_id)
        with self.database.change() as connection:
            self._again(connection, job_id, ("failed", "cancelled"))
        return self.find(job_id)

    def _again(self, connection: sqlite3.Connection, job_id: str, states: tuple[str, ...]) -> bool:
        marks = ", ".join("?" * len(states))
        words = (
            f"UPDATE jobs SET state = 'queued', attempts = 0, ended = NULL, cancelling = 0, error = '' WHERE id = ? AND state IN ({marks})"
        )
        changed = connection.execute(words, (job_id, *states)).rowcount > 0
        if changed:
            (job_folder(self.service, job_id) / OUTCOME).unlink(missing_ok=True)
        return changed

    def _release_dead(self, connection: sqlite3.Connection, now: float) -> None:
        """Queue again what dead servers ran; what killed five of them has failed."""
        for row in connection.execute("SELECT id, owner, lease, attempts, cancelling FROM jobs WHERE state = 'running'").fetchall():
            if row["owner"] == self.owner or ((row["lease"] or 0.0) >= now and not self._is_dead(row["owner"] or "")):
                continue
            state, error = "queued", ""
            if row["cancelling"]:
                state = "cancelled"
            elif row["attempts"] >= MOST_ATTEMPTS:
                message = f"the server ended {row['attempts']} times while this job ran, perhaps for want of memory"
                state, error = "failed", json.dumps({"message": message, "hint": "ask for less at once", "kind": "budget", "exit_code": 5})
            words = "UPDATE jobs SET state = ?, error = ?, owner = NULL, lease = NULL, cancelling = 0 WHERE id = ?"
            connection.execute(words, (state, error, row["id"]))

    def _is_dead(self, owner: str) -> bool:
        """Tell whether a server of this machine is gone; another one's lease must run out."""
        host, process, begun, *_ = (*owner.split(":"), "", "")
        if host != self.owner.partition(":")[0] or not process.isdigit():
            return False
        return not process_runs(int(process)) or begun != started(int(process))  # another process has its number now

    def _rebuild(self, connection: sqlite3.Connection) -> None:
        for path in sorted((self.service / "results").glob(f"*/{REQUEST}")):
            _restore(connection, path, self.done_already)

    def recover(self) -> int:
        """Queue what was asked for and never reached the database, because the server was killed between the two; return how many."""
        known = {row["id"] for row in self.database.rows("SELECT id FROM jobs")}
        lost = [path for path in (self.service / "results").glob(f"*/{REQUEST}") if path.parent.name not in known]
        with self.database.change() as connection:
            for path in lost:
                _restore(connection, path, self.done_already)
        return len(lost)


def started(process: int) -> str:
    """Return when a process of this machine began, by the kernel's clock; empty where that cannot be known."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _restore(connection: sqlite3.Connection, path: Path, done_already: Callable[[JobRequest], bool]) -> None:
    try:
        request = records.load(JobRequest, path, warn=False)
        if request.id != path.parent.name:
            return
        ended = records.load(JobOutcome, path.with_name(OUTCOME), warn=False) if path.with_name(OUTCOME).exists() else None
    except DataError:
        return
    done = done_already(request) or (request.kind == "verify" and ended is not None and ended.state == "done")
    state = "done" if done else ended.state if ended and ended.state != "done" else "queued"
    if _insert(connection, request, state) and ended:
        words = "UPDATE jobs SET ended = ?, error = ? WHERE id = ?"
        connection.execute(words, (ended.ended, json.dumps(ended.error) if ended.error else "", request.id))


def _insert(connection: sqlite3.Connection, request: JobRequest, state: str) -> bool:
    fields = request.model_dump(exclude={"format"}) | {"state": state}
    fields |= {name: json.dumps(fields[name]) for name in ("question", "about")}
    words = f"INSERT OR IGNORE INTO jobs ({', '.join(fields)}) VALUES ({', '.join('?' * len(fields))})"
    return connection.execute(words, tuple(fields.values())).rowcount > 0


def as_plain(job: ServiceJob) -> dict[str, Any]:
    """Return a job as a dictionary of plain values, as JSON holds it."""
    return asdict(job)
