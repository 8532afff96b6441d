"""A probe's settings in, a plan out: which layers to measure, what that costs, and what exists already."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from layerscout.cache import records
from layerscout.cache.records import Ranking, Selection
from layerscout.cache.root import default_root
from layerscout.cache.store import Store
from layerscout.errors import BudgetError, DataError
from layerscout.memory import available_memory
from layerscout.probe.config import RANKING_ONLY, RUN_ONLY, ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.evidence.kept import EvidenceKey, load_evidence_of
from layerscout.probe.moments.moments import moment_bytes
from layerscout.probe.moments.partials import PartialsFolder, span_bytes
from layerscout.probe.moments.rows import READ_ROWS
from layerscout.probe.moments.spans import SpanTransitions, spans, transitions_in_span
from layerscout.probe.page.tables import CSV_NAME, FIGURE_NAMES, PAGE_NAME, SELECTED_NAME, TABLE_NAME
from layerscout.probe.questions.sources import Job, jobs_of, open_sources, store_labels
from layerscout.probe.questions.splits import Split, split_episodes
from layerscout.probe.questions.targets import Transitions, find_transitions, needed_columns
from layerscout.probe.wide.wide import is_wide, wide_bytes
from layerscout.showing import ShownPlan

__all__ = ["Job", "ProbePlan", "plan", "plan_stores"]

ALGORITHM = "probe/3"  # raise it when the same settings would give other numbers
RANKING_NAME, SELECTION_NAME, KEY_NAME, EVIDENCE_FOLDER = "ranking.json", "selection.json", "probe.json", "evidence"
OUTPUTS = (RANKING_NAME, SELECTION_NAME, CSV_NAME, TABLE_NAME, SELECTED_NAME, PAGE_NAME, *FIGURE_NAMES)
MEMORY_SHARE = 0.7  # of what is free: the estimate leaves out what the system does with files


@dataclass(frozen=True)
class ProbePlan(ShownPlan):
    """What a probe will do. ``existing`` is the ranking that already answers it; ``done`` lists evidence already measured."""

    config: ProbeConfig
    stores: tuple[Store, ...]
    twin: Store | None
    transitions: Transitions
    split: Split
    jobs: tuple[Job, ...]
    done: tuple[LayerEvidence | None, ...]  # one a job
    existing: Ranking | None
    _by_span: dict[tuple[int, int], SpanTransitions] = field(default_factory=dict, compare=False, repr=False)

    @property
    def store(self) -> Store:
        """The first store: its index columns are the ones that are read, and the twin is its twin."""
        return self.stores[0]

    @property
    def pending(self) -> tuple[Job, ...]:
        """The jobs to do."""
        return tuple(job for job, found in zip(self.jobs, self.done, strict=True) if found is None and self.existing is None)

    def transitions_of_span(self, start: int, stop: int) -> SpanTransitions:
        """Pick the transitions of a span, once for all layers."""
        if (start, stop) not in self._by_span:
            self._by_span[start, stop] = transitions_in_span(self.transitions, self.split, start, stop)
        return self._by_span[start, stop]

    def wide(self, job: Job) -> bool:
        """Whether a layer is measured as a whole, from products of its rows or a sketch, and leaves no partials."""
        return is_wide(job.spec.width, len(self.transitions))

    def spans(self, job: Job) -> list[tuple[int, int]]:
        """Cut the rows of a layer into pieces of work."""
        return [(0, job.store.rows)] if self.wide(job) else spans(job.store.rows, job.spec.width)

    def partials_folder(self, job: Job) -> PartialsFolder:
        """Where the partials of a layer are."""
        keep = self.config.partials if self.config.shard is None and self.config.scheduler is None else "always"
        return PartialsFolder(Path(self.config.root or default_root()), job.store.id, keep)

    def scratch(self) -> Path:
        """A folder for sums that wait, on a disk that is meant to be written to."""
        self.config.out.mkdir(parents=True, exist_ok=True)
        return self.config.out

    def absent(self, job: Job, precision: str | None = None) -> list[tuple[int, int]]:
        """Spans of a layer whose rows must be read, because a partial of them is not there."""
        kept, cut = self.partials_folder(job), self.spans(job)
        if self.wide(job) or kept.keep == "never" or not kept.folder.is_dir() or not isinstance(job.store, Store):
            return cut
        reader = Store.layer(job.store, job.spec.name)  # of a mirror too, without bringing the layer here
        paths = {span: kept.paths(reader, self.transitions_of_span(*span), precision or self.config.precision) for span in cut}
        return [span for span in cut if not all(path.is_file() for path in paths[span] or (kept.folder / "none",))]

    @cached_property
    def to_read(self) -> tuple[tuple[Job, int, int], ...]:
        """Spans to read, of every layer in turn."""
        return tuple((job, start, stop) for job in self.pending for start, stop in self.absent(job))

    @property
    def bytes(self) -> int:
        """Bytes to read."""
        return sum((stop - start) * _row_bytes(job) for job, start, stop in self.to_read)

    @property
    def partial_bytes(self) -> int:
        """Bytes of partials to write."""
        found = 0
        for job, start, stop in self.to_read:
            chosen = self.transitions_of_span(start, stop)
            if (
                isinstance(job.store, Store)
                and not self.wide(job)
                and self.partials_folder(job).writes(chosen, job.spec.width, _row_bytes(job))
            ):
                found += span_bytes(chosen, job.spec.width)
        return found

    @cached_property
    def layer_memory(self) -> int:
        """Peak bytes of the widest layer."""
        return max(map(self._memory, self.pending), default=0)

    def _memory(self, job: Job) -> int:
        rows, width, folds = job.store.rows, job.spec.width, self.split.folds
        sizes = (self.transitions.inputs.shape[1], self.transitions.scalars.shape[1], self.split.groups)
        if self.wide(job):
            return wide_bytes(width, len(self.transitions), _row_bytes(job) // width, *sizes)
        chunk_rows = job.store.manifest.rows_per_chunk if isinstance(job.store, Store) else READ_ROWS
        return moment_bytes(rows, width, *sizes, folds, self.config.precision, min(rows, chunk_rows))

    @property
    def workers(self) -> int:
        """How many layers are measured at once; 0 when not even one fits in memory."""
        return self.at_once(len(self.pending))

    def at_once(self, pieces: int) -> int:
        """How many pieces of work are done at once, each with the memory of a layer: one a core, unless memory holds fewer."""
        free = available_memory()
        cores = self.config.threads or os.cpu_count() or 1
        fitting = cores if free is None or not self.pending else int(MEMORY_SHARE * free // self.layer_memory)
        return min(cores, max(pieces, 1), fitting)

    @property
    def seconds(self) -> float:
        """Expected processor seconds (at 50 GFLOP/s in products, measured proportions in the solver), for orientation."""
        folds = self.split.folds
        searches = folds * (folds - 1) / 2 if self.config.inner == "all" else (folds + 1) // 2
        products = sum(3 * (stop - start) * job.spec.width**2 / 5e10 for job, start, stop in self.to_read)
        return products + sum((3.1e-10 * searches + 1.9e-10 * folds) * job.spec.width**3 for job in self.pending)

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Rows, bytes, memory and what exists already, for ``--dry-run``; with ``measure`` also the expected seconds."""
        seconds = {"seconds": round(self.seconds / max(self.workers, 1), 1)} if measure else {}
        return {
            "store": self.store.id,
            "others": [store.id for store in self.stores[1:]],
            "twin": self.twin.id if self.twin else None,
            "layers": len(self.jobs),
            "layers_to_measure": len(self.pending),
            "rows": self.store.rows,
            "transitions": len(self.transitions),
            "episodes": len(self.transitions.lengths),
            "groups": self.split.groups,
            "folds": self.split.folds,
            "spans": sum(len(self.spans(job)) for job in self.pending),
            "spans_to_read": len(self.to_read),
            "bytes": self.bytes,
            "partial_bytes": self.partial_bytes,
            "files": 0 if self.existing else len(OUTPUTS) + len(self.pending) + 1,
            "memory_bytes": self.workers * self.layer_memory,
            "layers_at_once": self.workers,
            **seconds,
            "out": str(self.config.out),
            "exists": str(self.config.out / RANKING_NAME) if self.existing else None,
        }


def _row_bytes(job: Job) -> int:
    return job.spec.width * (4 if job.spec.dtype == "float32" else 2)


def require_room(plan: ProbePlan) -> None:
    """Refuse what does not fit in memory or on the disk, before anything is read.

    Raises
    ------
    BudgetError
        Not even one layer fits in memory, or partials that were asked for do not fit on the disk.
    """
    if plan.workers < 1:
        widest = max(job.spec.width for job in plan.pending)
        message = f"probing one layer of width {widest} takes {plan.layer_memory / 1e9:.1f} GB of memory, more than is free"
        raise BudgetError(message, hint=f"set probe.groups={plan.config.folds}, or name narrower layers in probe.layers")
    wanted = plan.partial_bytes
    root = Path(plan.config.root or default_root())
    if wanted and (free := shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free) < 1.05 * wanted:
        message = f"the partial sums take {wanted / 1e9:.1f} GB, and {root} has {free / 1e9:.1f} GB free"
        spare = "" if plan.config.shard or plan.config.scheduler else ", or set probe.partials=never"
        raise BudgetError(message, hint=f"free some disk (layerscout store prune){spare}")


def plan(config: ProbeConfig, scratch: Path | None = None) -> ProbePlan:
    """Open the stores and work out what is missing; of a URL the columns are brought into a mirror, otherwise nothing is written.

    Parameters
    ----------
    scratch
        A folder for that mirror in place of the root, by whoever only wants to look.

    Raises
    ------
    DataError
        A store is missing or damaged, the twin does not fit the store, a layer is unknown, or there are too few episodes.
    """
    stores, twin = open_sources(config, scratch)
    return plan_stores(config, stores[0], twin, stores[1:])


def plan_stores(config: ProbeConfig, store: Store, twin: Store | None = None, others: Sequence[Store] = ()) -> ProbePlan:
    """Work out what is missing for stores that are open already; see ``plan``."""
    stores = (store, *others)
    jobs = jobs_of(config, stores, twin)
    transitions = find_transitions({name: store.index(name) for name in needed_columns(store.columns, config)}, config)
    split = split_episodes(transitions.lengths, config.groups, config.folds, config.confirmation)
    done = tuple(_measured(config, job, store) for job in jobs)
    return ProbePlan(config, stores, twin, transitions, split, jobs, done, _existing(config, stores, twin))


def _digest(parts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps({"algorithm": ALGORITHM} | parts, sort_keys=True).encode()).hexdigest()


def ranking_key(config: ProbeConfig, stores: Sequence[Store], twin: Store | None) -> str:
    """Name of a question: equal for equal stores and settings, whatever their paths."""
    # manifests, not ids: two runs of one identity need not have the same bytes
    names: dict[str, Any] = {"stores": [store.manifest.digest for store in stores], "labels": store_labels(config, stores)}
    names["twin"] = twin.manifest.digest if twin else None
    return _digest(names | {"settings": config.model_dump(mode="json", exclude=set(RUN_ONLY))})


def evidence_key(config: ProbeConfig, job: Job, store: Store) -> EvidenceKey:
    """Return everything that a layer's evidence depends on; ``store`` gives the index columns."""
    return EvidenceKey(
        algorithm=ALGORITHM,
        stores=(job.store.manifest.digest, store.manifest.digest),
        layer=job.spec.name,
        role=job.role,
        columns=tuple(sorted(needed_columns(store.columns, config))),
        settings=config.model_dump(mode="json", exclude=set(RUN_ONLY | RANKING_ONLY)),
    )


def _measured(config: ProbeConfig, job: Job, store: Store) -> LayerEvidence | None:
    try:
        return load_evidence_of(config.out / EVIDENCE_FOLDER, evidence_key(config, job, store))
    except DataError:  # missing or unreadable: measuring again gives the same numbers
        return None


def _existing(config: ProbeConfig, stores: Sequence[Store], twin: Store | None) -> Ranking | None:
    if any(not (config.out / name).exists() for name in (*OUTPUTS, KEY_NAME)):
        return None
    try:
        if records.load_object(config.out / KEY_NAME).get("key") != ranking_key(config, stores, twin):
            return None
        records.load(Selection, config.out / SELECTION_NAME)
        return records.load(Ranking, config.out / RANKING_NAME)
    except DataError:  # unreadable: writing everything again gives the same files
        return None
