"""A work list in; what it takes of bytes, memory, cores and time, out, and a refusal before work that does not fit."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from layerscout.cache.root import default_root
from layerscout.cache.store import Store
from layerscout.errors import BudgetError
from layerscout.memory import available_memory
from layerscout.probe.moments.moments import moment_bytes
from layerscout.probe.moments.partials import span_bytes
from layerscout.probe.moments.rows import READ_ROWS
from layerscout.probe.pieces import WorkList
from layerscout.probe.questions.sources import Job
from layerscout.probe.solve.crossfit import search_roles
from layerscout.probe.wide.wide import wide_bytes

MEMORY_SHARE = 0.7  # of what is free: the estimate leaves out what the system does with files
PRODUCTS_A_SECOND = 5e10  # floating-point operations of products, on one core
DECOMPOSITION, FIT = 3.1e-10, 1.9e-10  # seconds over width³: one pair of left-out folds, one fold
SCALARS_ONLY = 0.5  # share of that of a pair on which no transition is validated


@dataclass(frozen=True)
class ProbeCost:
    """What a list of work will take: bytes to read and to write, memory and processor time."""

    work: WorkList

    @property
    def bytes(self) -> int:
        """Bytes of activations that will be read; spans whose sums are kept are not among them."""
        return sum((stop - start) * row_bytes(job) for job, start, stop in self.work.to_read)

    @property
    def partial_bytes(self) -> int:
        """Bytes of sums that will be kept for later probes."""
        found = 0
        for job, start, stop in self.work.to_read:
            if not isinstance(job.store, Store) or self.work.is_wide(job):
                continue
            chosen = self.work.transitions_of_span(start, stop)
            if self.work.partials_folder(job).writes(chosen, job.spec.width, row_bytes(job)):
                found += span_bytes(chosen, job.spec.width)
        return found

    @cached_property
    def layer_memory(self) -> int:
        """Peak bytes of the layer that takes the most."""
        return max(map(self._memory, self.work.pending), default=0)

    def _memory(self, job: Job) -> int:
        rows, width, transitions, split = job.store.rows, job.spec.width, self.work.transitions, self.work.split
        sizes = (transitions.inputs.shape[1], transitions.scalars.shape[1], split.groups)
        if self.work.is_wide(job):
            return wide_bytes(width, len(transitions), row_bytes(job) // width, *sizes)
        chunk_rows = job.store.manifest.rows_per_chunk if isinstance(job.store, Store) else READ_ROWS
        return moment_bytes(rows, width, *sizes, split.folds, self.work.config.precision, min(rows, chunk_rows))

    @property
    def workers(self) -> int:
        """How many layers are measured at once; 0 when not even one fits in memory."""
        return self.at_once(len(self.work.pending))

    def at_once(self, pieces: int) -> int:
        """How many pieces of work are done at once, each with the memory of a layer: one a core, unless memory holds fewer."""
        free = available_memory()
        cores = self.work.config.threads or os.cpu_count() or 1
        fitting = cores if free is None or not self.work.pending else int(MEMORY_SHARE * free // self.layer_memory)
        return min(cores, max(pieces, 1), fitting)

    @property
    def seconds(self) -> float:
        """Expected seconds of one processor, counted from the products and decompositions at usual speeds."""
        folds = self.work.split.folds
        roles = search_roles(folds, self.work.config.inner)
        pairs = len(roles["latents"]) + SCALARS_ONLY * (len(roles["scalars"]) - len(roles["latents"]))
        products = sum(3 * (stop - start) * job.spec.width**2 for job, start, stop in self.work.to_read) / PRODUCTS_A_SECOND
        return products + sum((DECOMPOSITION * pairs + FIT * folds) * job.spec.width**3 for job in self.work.pending)


def row_bytes(job: Job) -> int:
    """width · 4 for a layer in float32, width · 2 for one in half precision."""
    return job.spec.width * (4 if job.spec.dtype == "float32" else 2)


def require_room(cost: ProbeCost) -> None:
    """Refuse what does not fit in memory or on the disk, before anything is read.

    Raises
    ------
    BudgetError
        Not even one layer fits in memory, or partials that were asked for do not fit on the disk.
    """
    config = cost.work.config
    if cost.workers < 1:
        widest = max(job.spec.width for job in cost.work.pending)
        message = f"probing one layer of width {widest} takes {cost.layer_memory / 1e9:.1f} GB of memory, more than is free"
        raise BudgetError(message, hint=f"set probe.groups={config.folds}, or name narrower layers in probe.layers")
    wanted = cost.partial_bytes
    root = Path(config.root or default_root())
    if wanted and (free := shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free) < 1.05 * wanted:
        message = f"the partial sums take {wanted / 1e9:.1f} GB, and {root} has {free / 1e9:.1f} GB free"
        spare = "" if config.shard or config.scheduler else ", or set probe.partials=never"
        raise BudgetError(message, hint=f"free some disk (layerscout store prune){spare}")
