"""Settings in, everything that answers requests, put together once, out."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from layerscout.cache.catalog.query import parse_byte_count
from layerscout.cache.durable import write_atomic
from layerscout.cache.manifest import read_manifest
from layerscout.cache.provenance import DatasetAttributes
from layerscout.cache.records import load_object
from layerscout.cache.root import SERVICE
from layerscout.errors import DataError, LayerscoutError
from layerscout.memory import available_memory
from layerscout.paths import expand, require_folder
from layerscout.service.data.catalogue import Catalogue, Shelved
from layerscout.service.data.datasets import Datasets
from layerscout.service.data.experiments import Experiments
from layerscout.service.data.notes import Notes
from layerscout.service.data.results import QUESTION, Results, result_id
from layerscout.service.data.roots import ServedRoot, served_roots
from layerscout.service.jobs.newcomers import probe_newcomers
from layerscout.service.jobs.queue import Queue
from layerscout.service.jobs.quotes import Limits, Quotes
from layerscout.service.jobs.records import JobRequest, job_folder
from layerscout.service.jobs.runner import Runner
from layerscout.service.problems import HttpProblem
from layerscout.service.security.limits import Allowance
from layerscout.service.security.tokens import UserTokens
from layerscout.service.settings import ServeConfig

MEMORY_SHARE = 0.7
SECRET_NAME, SECRET_BYTES = "secret", 32


class ServiceState:
    """What a server knows. Jobs, results and notes lie in the folder ``service`` of the first root that can be written to.

    Attributes
    ----------
    home
        That root; None where none can be written to. ``why`` then says so, and everything can still be read.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.roots = served_roots(config.roots)
        self.home = next((root for root in self.roots if root.folder and not root.why), None)
        self.why = "" if self.home else _why_no_jobs(self.roots)
        self.service = self.home.folder / SERVICE if self.home and self.home.folder else None
        runs = tuple(checked_runs(folder) for folder in config.runs)
        self.limits = Limits(config.jobs, _memory(config), config.scheduler)
        self.catalogue = Catalogue(self.roots)
        self.results = Results(self.service and self.service / "results", runs)
        self.experiments = Experiments(runs)
        self.datasets = Datasets((*runs, *(root.folder for root in self.roots if root.folder)))
        self.notes = Notes(self.service and self.service / "notes")
        self.tokens = UserTokens(config.token_file) if config.token_file else None
        self.allowance = Allowance(config.submissions)
        self.secret = _secret(self.service)
        self.quotes = Quotes(self.catalogue, self.results, self.limits, self.service, self.why)
        self.queue = Queue(self.service, self._answered) if self.service else None
        self.runner = Runner(self.queue, self.quotes, self.limits) if self.queue else None

    def start(self) -> None:
        """Begin to take jobs; those that an earlier server left behind first."""
        if self.queue and self.runner:
            self.queue.recover()
            if self.config.probe_new:
                self.runner.each_while = partial(probe_newcomers, self.catalogue, self.results, self.quotes, self.queue, set())
            self.runner.start()

    def stop(self) -> None:
        """End; running jobs go back to the queue."""
        if self.runner:
            self.runner.stop()

    def taking_jobs(self) -> Queue:
        """Return the queue.

        Raises
        ------
        HttpProblem
            This server takes no jobs (503).
        """
        if self.queue is None:
            raise HttpProblem(
                503, f"no jobs can be taken: {self.why}", "stores and rankings can be read; ask whoever runs the server", "data"
            )
        return self.queue

    def verification(self, shelved: Shelved, who: str) -> JobRequest:
        """Return the job that reads every file of a store."""
        name = hashlib.sha256(f"verify/1 {shelved.id} {shelved.digest}".encode()).hexdigest()[:32]
        about = {
            "backbone": shelved.entry.backbone or "n/a",
            "stores": [shelved.id],
            "layers": shelved.entry.layers,
            "rows": shelved.entry.rows,
        }
        shelved.folder()
        return JobRequest(
            id=name, kind="verify", question={}, about=about, store=shelved.id, who=who, submitted=round(time.time(), 3), memory=2**26
        )

    def tidy(self, text: str) -> str:
        """Return a text without the server's own places: readers have no use for them."""
        places = (*(root.folder for root in self.roots), *self.results.runs)
        for place in sorted(filter(None, places), key=lambda place: -len(str(place))):
            text = text.replace(f"{place}{os.sep}", "").replace(str(place), place.name)
        return text

    def environment(self, store_id: str) -> str:
        """Return what was played for a store's dataset, as far as the store tells; empty where it does not, or is not here."""
        try:
            manifest = read_manifest(self.catalogue.find(store_id).folder())
            return DatasetAttributes.model_validate(manifest.provenance.get("dataset_attributes") or {}).environment or ""
        except (LayerscoutError, ValidationError, AttributeError):
            return ""

    def digests(self) -> dict[str, str]:
        """Return the digest of every store's manifest by its id."""
        return {one.id: one.digest for one in self.catalogue.all() if one.digest}

    def version(self) -> tuple[int, ...]:
        """Return numbers that change with whatever pages are made of, but jobs and notes."""
        self.catalogue.all()
        self.results.all()
        self.experiments.all()
        return self.catalogue.version, self.results.version, self.experiments.version

    def _answered(self, request: JobRequest) -> bool:
        if request.kind != "probe" or self.service is None:
            return False
        try:
            folder = job_folder(self.service, request.id)
            return (folder / "ranking.json").exists() and result_id(str(load_object(folder / QUESTION)["key"])) == request.id
        except (DataError, KeyError):
            return False


def checked_runs(folder: Path) -> Path:
    """Return a folder of results as an absolute path.

    Raises
    ------
    DataError
        There is no such folder.
    """
    found = expand(folder).resolve()
    require_folder(found, "--runs is the folder that probe, train and report wrote to")
    return found


def _memory(config: ServeConfig) -> int:
    if config.memory is not None:
        return int(parse_byte_count(config.memory))
    return int(MEMORY_SHARE * (available_memory() or 2**32))


def _why_no_jobs(roots: tuple[ServedRoot, ...]) -> str:
    return "; ".join(f"{root.folder.name if root.folder else root.place}: {root.why}" for root in roots)


def _secret(service: Path | None) -> bytes:
    """Return what cookies and forms are signed with: kept beside the jobs, so that a restart ends no form that somebody fills in."""
    if service is None:
        return secrets.token_bytes(SECRET_BYTES)
    path = service / SECRET_NAME
    if not path.exists() or path.stat().st_size != SECRET_BYTES:
        mask = os.umask(0o077)
        try:
            write_atomic(path, secrets.token_bytes(SECRET_BYTES))
        finally:
            os.umask(mask)
    return path.read_bytes()
