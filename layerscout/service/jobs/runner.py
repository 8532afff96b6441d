"""A queue in, its jobs done out: a thread that starts processes, confirms leases, stops what was cancelled, and tells how jobs ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache import records
from layerscout.errors import DataError, LayerscoutError
from layerscout.service.jobs.child import BUSY, error_fields
from layerscout.service.jobs.question import ProbeQuestion
from layerscout.service.jobs.queue import LEASE_SECONDS, Queue
from layerscout.service.jobs.quotes import Limits, Quotes
from layerscout.service.jobs.records import LOG, OUTCOME, JobOutcome, ServiceJob, job_folder

CHILD = (  # as the command line begins, so that its figures are the command's to the last bit
    "from layerscout.processor import name_core_type; name_core_type(); from layerscout.service.jobs.child import main; raise SystemExit(main())"
)
TICK_SECONDS, STOP_SECONDS, BUSY_SECONDS, IDLE_SECONDS = 0.5, 5.0, 2.0, 10.0


@dataclass
class Running:
    """A job's process, with the memory that it was promised."""

    job: ServiceJob
    process: subprocess.Popen[bytes]
    stopped: float | None = None  # when it was asked to end

    def end(self) -> None:
        """End the process now, and let go of it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


class Runner:
    """At most so many jobs at once, in at most so much memory."""

    def __init__(self, queue: Queue, quotes: Quotes, limits: Limits) -> None:
        self.queue, self.quotes, self.limits = queue, quotes, limits
        self.running: dict[str, Running] = {}
        self.trouble = ""
        self.each_while: Callable[[], object] | None = None  # done now and then, between jobs
        self._idled = -IDLE_SECONDS
        self._wake, self._ending = threading.Event(), threading.Event()
        self._confirmed = 0.0
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)

    def start(self) -> None:
        """Start the thread that takes jobs; it returns at once."""
        self._thread.start()

    def wake(self) -> None:
        """Look at the queue now: something was submitted or cancelled."""
        self._wake.set()

    def stop(self) -> None:
        """End: running jobs are stopped and stay in the queue, to be continued."""
        self._ending.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        for running in self.running.values():
            running.end()
            self.queue.put_back(running.job.id, counted=False)
        self.queue.database.close()

    def _loop(self) -> None:
        while not self._ending.is_set():
            try:
                self._turn()
                self.trouble = ""
            except Exception as error:  # a full disk, a database that somebody replaced: the next turn may do better
                self.trouble = str(error)
                print(f"jobs: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                time.sleep(TICK_SECONDS)
            self._wake.wait(TICK_SECONDS / 5 if self.running else TICK_SECONDS)
            self._wake.clear()

    def _turn(self) -> None:
        now = time.time()
        for job_id in [job_id for job_id, running in self.running.items() if running.process.poll() is not None]:
            self._ended(self.running.pop(job_id))
        if self.running and (now - self._confirmed > LEASE_SECONDS / 10 or self._wake.is_set()):
            for job_id in self.queue.confirm(list(self.running), now):
                self._stop(self.running[job_id], now)
            self._confirmed = now
        if self.each_while is not None and time.monotonic() - self._idled > IDLE_SECONDS:
            self._idled = time.monotonic()
            self.each_while()
        while len(self.running) < self.limits.jobs and now >= self._not_before and not self._ending.is_set():
            free = self.limits.memory - sum(running.job.memory for running in self.running.values())
            job = self.queue.claim(free)
            if job is None:
                return
            self._begin(job)

    def _begin(self, job: ServiceJob) -> None:
        folder = job_folder(self.queue.service, job.id)
        try:
            task = self._task(job) | {"kind": job.kind, "folder": str(folder), "service": str(self.queue.service)}
        except Exception as error:  # its store vanished, or does not fit any more
            self.queue.finish(job.id, JobOutcome(state="failed", ended=round(time.time(), 3), error=error_fields(error)))
            return
        try:
            self.running[job.id] = Running(job, self._child(folder, task))
        except OSError:  # a full disk, no more processes: it waits for a better turn
            self.queue.put_back(job.id, counted=False)
            raise

    def _child(self, folder: Path, task: dict[str, Any]) -> subprocess.Popen[bytes]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / OUTCOME).unlink(missing_ok=True)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [_package(), os.environ.get("PYTHONPATH", "")]))}
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, which the next turn tells
            process.stdin.write(json.dumps(task).encode() + b"\n")
            process.stdin.flush()  # left open: its end tells the process that its server is gone
        return process

    def _task(self, job: ServiceJob) -> dict[str, Any]:
        if job.kind == "verify":
            return {"store": str(self.quotes.catalogue.find(job.store).folder())}
        quote = self.quotes.quote(ProbeQuestion.model_validate(job.question))
        if quote.id != job.id:
            raise _another_question(job)
        return {"config": quote.config}

    def _stop(self, running: Running, now: float) -> None:
        if running.stopped is None:
            running.stopped = now
            running.process.terminate()
        elif now - running.stopped > STOP_SECONDS:
            running.process.kill()

    def _ended(self, running: Running) -> None:
        running.end()
        job, code = running.job, running.process.returncode
        path = job_folder(self.queue.service, job.id) / OUTCOME
        if code == BUSY:  # what an earlier server began still runs: it will end by itself
            self._not_before = time.time() + BUSY_SECONDS
            self.queue.put_back(job.id, counted=False)
            return
        kept = None
        with suppress(DataError):  # it wrote nothing, or what cannot be read: then its code alone tells how it ended
            kept = records.load(JobOutcome, path, warn=False) if path.exists() else None
        if kept is not None:
            outcome = kept
        elif running.stopped is not None:
            outcome = JobOutcome(state="cancelled", ended=round(time.time(), 3))
            records.save(outcome, path)
        else:
            message = f"the job's process was ended by signal {-code}" if code < 0 else f"the job's process ended with code {code}"
            error = {
                "message": message,
                "hint": "memory may have run out; try again, or ask for less at once",
                "kind": "budget",
                "exit_code": 5,
            }
            outcome = JobOutcome(state="failed", ended=round(time.time(), 3), error=error)
        self.quotes.results.look_again()
        self.queue.finish(job.id, outcome)


def _another_question(job: ServiceJob) -> LayerscoutError:
    return DataError(f"store {job.store} is not what it was when job {job.id} was submitted", hint="ask again")


def _package() -> str:
    return str(Path(__file__).parents[3])
