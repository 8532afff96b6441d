"""A probe's settings in, a plan out: which layers to measure, what that costs, and what exists already."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from layerscout.cache import records
from layerscout.cache.layout import LayerSpec
from layerscout.cache.records import Ranking
from layerscout.cache.store import Store, open_store
from layerscout.errors import DataError, suggest
from layerscout.memory import available_memory
from layerscout.probe.config import RANKING_ONLY, RUN_ONLY, ProbeConfig
from layerscout.probe.evidence import Evidence
from layerscout.probe.moments import moment_bytes
from layerscout.probe.report import CSV_NAME, FIGURE_NAMES, SELECTED_NAME, TABLE_NAME
from layerscout.probe.splits import Split, split_episodes
from layerscout.probe.targets import Transitions, find_transitions

ALGORITHM = "probe/1"  # raise it when the same settings would give other numbers
RANKING_NAME, SELECTION_NAME, KEY_NAME, EVIDENCE_FOLDER = "ranking.json", "selection.json", "probe.json", "evidence"
OUTPUTS = (RANKING_NAME, SELECTION_NAME, CSV_NAME, TABLE_NAME, SELECTED_NAME, *FIGURE_NAMES)
MEMORY_SHARE = 0.7  # of what is free: the estimate leaves out what the system does with files


@dataclass(frozen=True)
class Job:
    """One layer of one store to measure."""

    store: Store
    spec: LayerSpec
    role: Literal["layer", "control", "twin"]


@dataclass(frozen=True)
class Plan:
    """What a probe will do. ``existing`` is the ranking that already answers it; ``done`` lists evidence already measured."""

    config: ProbeConfig
    store: Store
    twin: Store | None
    transitions: Transitions
    split: Split
    jobs: tuple[Job, ...]
    done: tuple[Evidence | None, ...]  # one a job
    existing: Ranking | None

    @property
    def pending(self) -> tuple[Job, ...]:
        """The jobs to do."""
        return tuple(job for job, found in zip(self.jobs, self.done, strict=True) if found is None and self.existing is None)

    @property
    def bytes(self) -> int:
        """Bytes to read."""
        return sum(job.store.rows * job.spec.width * np.dtype(job.spec.dtype).itemsize for job in self.pending)

    @property
    def layer_memory(self) -> int:
        """Peak bytes of the widest layer."""
        sizes = (self.transitions.actions, self.transitions.scalars.shape[1], self.split.groups, self.split.folds, self.config.precision)
        return max((moment_bytes(job.spec.width, *sizes) for job in self.pending), default=0)

    @property
    def workers(self) -> int:
        """How many layers are measured at once: one a core, unless memory holds fewer; 0 when not even one fits."""
        free = available_memory()
        cores = self.config.threads or os.cpu_count() or 1
        fitting = cores if free is None or not self.pending else int(MEMORY_SHARE * free // self.layer_memory)
        return min(cores, max(len(self.pending), 1), fitting)

    @property
    def seconds(self) -> float:
        """Expected processor seconds (at 50 GFLOP/s in products, measured proportions in the solver), for orientation."""
        folds = self.split.folds
        searches = folds * (folds - 1) / 2 if self.config.inner == "all" else folds
        rows = len(self.transitions)
        return sum(3 * rows * job.spec.width**2 / 5e10 + (3.1e-10 * searches + 1.9e-10 * folds) * job.spec.width**3 for job in self.pending)

    def describe(self) -> dict[str, Any]:
        """Rows, bytes, memory, time and what exists already, for ``--dry-run``."""
        return {
            "store": self.store.id,
            "twin": self.twin.id if self.twin else None,
            "layers": len(self.jobs),
            "layers_to_measure": len(self.pending),
            "rows": self.store.rows,
            "transitions": len(self.transitions),
            "episodes": len(self.transitions.lengths),
            "groups": self.split.groups,
            "folds": self.split.folds,
            "bytes": self.bytes,
            "files": 0 if self.existing else len(OUTPUTS) + len(self.pending) + 1,
            "memory_bytes": self.workers * self.layer_memory,
            "layers_at_once": self.workers,
            "seconds": round(self.seconds / max(self.workers, 1), 1),
            "out": str(self.config.out),
            "exists": str(self.config.out / RANKING_NAME) if self.existing else None,
        }


def plan(config: ProbeConfig) -> Plan:
    """Open the stores and work out what is missing; writes nothing.

    Raises
    ------
    DataError
        A store is missing or damaged, the twin does not fit the store, a layer is unknown, or there are too few episodes.
    """
    store = open_store(config.root, config.store)
    twin = open_store(config.root, config.twin) if config.twin is not None else None
    return plan_stores(config, store, twin)


def plan_stores(config: ProbeConfig, store: Store, twin: Store | None = None) -> Plan:
    """Work out what is missing for stores that are open already; see ``plan``."""
    jobs = _jobs(config, store, twin)
    if twin is not None:
        _require_same_rows(store, twin)
    episode, step, action, reward = (store.index(column) for column in ("episode", "step", "action", "reward"))
    transitions = find_transitions(episode, step, action, reward, config.shifts, config.seed)
    split = split_episodes(transitions.lengths, config.groups, config.folds)
    done = tuple(_measured(config, job) for job in jobs)
    return Plan(config, store, twin, transitions, split, jobs, done, _existing(config, store, twin))


def _jobs(config: ProbeConfig, store: Store, twin: Store | None) -> tuple[Job, ...]:
    candidates = [spec for spec in store.specs.values() if spec.role == "layer"]
    if config.layers is not None:
        known = [spec.name for spec in candidates]
        for name in config.layers:
            if name not in known:
                raise DataError(
                    f"layer '{name}' is not in store {store.id} ({len(known)} layers){suggest(name, known)}",
                    hint=f"layers: {', '.join(known)}",
                )
        candidates = [spec for spec in candidates if spec.name in config.layers]
    if not candidates:
        raise DataError(f"store {store.id} has no layer to rank", hint="extract at least one layer")
    jobs = [Job(store, spec, "layer") for spec in candidates]
    jobs += [Job(store, spec, "control") for spec in store.specs.values() if spec.role == "control"]
    if twin is not None:
        for spec in candidates:
            if spec.name not in twin.specs:
                raise DataError(
                    f"twin store {twin.id} has no layer '{spec.name}'", hint="extract the same layers from the untrained backbone"
                )
        jobs += [Job(twin, twin.specs[spec.name], "twin") for spec in candidates]
    return tuple(jobs)


def _require_same_rows(store: Store, twin: Store) -> None:
    hint = "extract the untrained backbone's layers from the same dataset"
    if twin.id == store.id:
        raise DataError(f"the twin is store {store.id} itself", hint=hint)
    if dataset(store) != dataset(twin):
        raise DataError(f"twin store {twin.id} is of dataset {dataset(twin)}, store {store.id} of {dataset(store)}", hint=hint)
    if twin.rows != store.rows or any(not np.array_equal(store.index(column), twin.index(column)) for column in ("episode", "step")):
        raise DataError(f"twin store {twin.id} has other rows than store {store.id}", hint=hint)


def dataset(store: Store) -> str:
    """Content digest of the dataset that a store was computed from."""
    return str(store.identity["dataset"]["digest"])


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps({"algorithm": ALGORITHM} | parts, sort_keys=True).encode()).hexdigest()


def key(config: ProbeConfig, store: Store, twin: Store | None) -> str:
    """Name of a question: equal for equal stores and settings, whatever their paths."""
    return _digest(
        {"store": store.id, "twin": twin.id if twin else None, "settings": config.model_dump(mode="json", exclude=set(RUN_ONLY))}
    )


def evidence_path(config: ProbeConfig, job: Job) -> Path:
    """Where a layer's evidence is kept, named by everything that its numbers depend on."""
    settings = config.model_dump(mode="json", exclude=set(RUN_ONLY | RANKING_ONLY))
    digest = _digest({"store": job.store.id, "layer": job.spec.name, "role": job.role, "settings": settings})
    return config.out / EVIDENCE_FOLDER / f"{digest[:32]}.json"


def _measured(config: ProbeConfig, job: Job) -> Evidence | None:
    try:
        return records.load(Evidence, evidence_path(config, job))
    except DataError:  # missing or unreadable: measuring again gives the same numbers
        return None


def _existing(config: ProbeConfig, store: Store, twin: Store | None) -> Ranking | None:
    if any(not (config.out / name).exists() for name in (*OUTPUTS, KEY_NAME)):
        return None
    try:
        found = json.loads((config.out / KEY_NAME).read_text())["key"]
        return records.load(Ranking, config.out / RANKING_NAME) if found == key(config, store, twin) else None
    except (ValueError, KeyError, TypeError, DataError):  # unreadable: writing everything again gives the same files
        return None
