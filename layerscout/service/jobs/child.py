"""A line on stdin in, one job done out: the process in which a job runs. It ends when its server does, and is continued by the next.

What it says goes to the job's log, how far it is to the job's events, how it ended to the job's outcome.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.errors import LayerscoutError, shortage
from layerscout.progress import Reporter
from layerscout.service.jobs.records import EVENTS, LOCK, OUTCOME, JobOutcome

NICE = 5
BUSY = 75  # exit code: another process works on this job


def main() -> int:
    """Do the job that the first line of stdin describes."""
    task = json.loads(sys.stdin.readline())
    os.nice(NICE)  # whoever reads pages goes before it
    folder = Path(task["folder"])
    threading.Thread(target=_end_with_server, args=(sys.stdin,), daemon=True).start()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return BUSY
        outcome = run_task(task, folder)
        records.save(outcome, folder / OUTCOME)
    return 0 if outcome.state == "done" else 1


def run_task(task: dict[str, Any], folder: Path) -> JobOutcome:
    """Do a job, and tell how it ended; whatever goes wrong is told in words."""
    error: dict[str, Any] | None = None
    try:
        TASKS[task["kind"]](task, folder)
    except Exception as wrong:
        import traceback

        traceback.print_exc()
        error = error_fields(wrong)
    return JobOutcome(state="failed" if error else "done", ended=round(time.time(), 3), error=error)


def error_fields(error: Exception) -> dict[str, Any]:
    """Return an error as the command line would tell it."""
    if isinstance(error, LayerscoutError):
        return {"message": str(error), "hint": error.hint, "kind": error.kind, "exit_code": error.exit_code}
    if (advice := shortage(error)) is not None:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "out of memory"
        return {"message": what, "hint": advice, "kind": "budget", "exit_code": 5}
    return {
        "message": f"this is a bug: {type(error).__name__}: {error}",
        "hint": "the job's log has the rest",
        "kind": "bug",
        "exit_code": 1,
    }


def _probe(task: dict[str, Any], folder: Path) -> None:
    from layerscout.probe.config import ProbeConfig
    from layerscout.probe.evidence.kept import save_evidence
    from layerscout.probe.keys import EVIDENCE_FOLDER, evidence_key, shared_evidence
    from layerscout.probe.run import plan, run
    from layerscout.probe.work import load_evidence

    planned = plan(ProbeConfig.model_validate(task["config"]))
    if planned.existing is None:
        for job, found in zip(planned.jobs, planned.done, strict=True):
            key = evidence_key(planned.config, job, planned.store)
            if found is not None and not (folder / EVIDENCE_FOLDER / key.file_name).exists():  # measured for another question
                save_evidence(folder / EVIDENCE_FOLDER, key, found)
    run(planned, Reporter(events=folder / EVENTS, stream=sys.stderr))
    for job in planned.jobs:
        load_evidence(planned, job)
        share(folder / EVIDENCE_FOLDER, shared_evidence(planned.config), evidence_key(planned.config, job, planned.store).file_name)


def share(own: Path, shared: Path | None, name: str) -> None:
    """Let other questions find a layer's evidence, without writing it twice where that can be had."""
    if shared is None or (shared / name).exists():
        return
    with suppress(OSError):  # a root that cannot be written to: others measure again
        shared.mkdir(parents=True, exist_ok=True)
        try:
            os.link(own / name, shared / name)
        except OSError:
            write_atomic(shared / name, (own / name).read_bytes())


def _verify(task: dict[str, Any], folder: Path) -> None:
    from layerscout.cache.catalog.verification import verify_store
    from layerscout.service.data.verified import keep_verification

    found = verify_store(Path(task["store"]), reporter=Reporter(events=folder / EVENTS, stream=sys.stderr))
    keep_verification(Path(task["service"]), found)


TASKS = {"probe": _probe, "verify": _verify}


def _end_with_server(stdin: IO[str]) -> None:
    """Wait for the end of stdin, which the server's death is, however it died."""
    while stdin.read(1):
        pass
    os._exit(130)
