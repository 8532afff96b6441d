"""A probe's settings in, a plan out: which layers to measure, what that costs, and what exists already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from layerscout.cache.records import Ranking
from layerscout.cache.store import Store
from layerscout.probe.config import ProbeConfig
from layerscout.probe.costs import ProbeCost
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.keys import OUTPUTS, RANKING_NAME, existing_ranking, measured_evidence
from layerscout.probe.pieces import WorkList
from layerscout.probe.questions.sources import Job, jobs_of, open_sources
from layerscout.probe.questions.splits import Split, split_episodes
from layerscout.probe.questions.targets import Transitions, find_transitions, needed_columns
from layerscout.showing import ShownPlan

__all__ = ["Job", "ProbePlan", "plan", "plan_stores"]


@dataclass(frozen=True)
class ProbePlan(ShownPlan):
    """What a probe will do.

    Attributes
    ----------
    stores
        The stores to rank. The index columns of the first one are those that are read.
    twin
        The store of the first one's blocks in the untrained backbone, if there is one.
    jobs
        The layers to measure, with the controls and the twin's layers.
    done
        Evidence of each job that is measured already, else None.
    existing
        The ranking that already answers the same question, if there is one. Then nothing is pending.

    Examples
    --------
    A plan reads the index columns and no activation, and writes nothing. Here ``root`` holds one store of 60 rows in six
    episodes, with one layer of 4 features in float32.

    >>> looked = plan(ProbeConfig(store=store_id, root=root, out=root / "probe", folds=3))
    >>> [job.spec.name for job in looked.pending]
    ['blocks.0']
    >>> looked.describe()["rows"], looked.describe()["episodes"], looked.existing
    (60, 6, None)
    >>> looked.cost.bytes
    960
    >>> (root / "probe").exists()
    False
    """

    config: ProbeConfig
    stores: tuple[Store, ...]
    twin: Store | None
    transitions: Transitions
    split: Split
    jobs: tuple[Job, ...]
    done: tuple[LayerEvidence | None, ...]
    existing: Ranking | None

    @property
    def store(self) -> Store:
        """The store whose rows and columns stand for all: the first one named."""
        return self.stores[0]

    @property
    def pending(self) -> tuple[Job, ...]:
        """The layers that have still to be measured; none when the ranking exists already."""
        return tuple(job for job, found in zip(self.jobs, self.done, strict=True) if found is None and self.existing is None)

    @cached_property
    def work(self) -> WorkList:
        """The list of work for the layers that have still to be measured."""
        return WorkList(self.config, self.transitions, self.split, self.pending)

    @cached_property
    def cost(self) -> ProbeCost:
        """What the list of work will take, in bytes, memory and seconds."""
        return ProbeCost(self.work)

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Rows, bytes, memory and what exists already, for ``--dry-run``; with ``measure`` also the expected seconds."""
        cost, work = self.cost, self.work
        seconds = {"seconds": round(cost.seconds / max(cost.workers, 1), 1)} if measure else {}
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
            "spans": sum(len(work.spans(job)) for job in self.pending),
            "spans_to_read": len(work.to_read),
            "bytes": cost.bytes,
            "partial_bytes": cost.partial_bytes,
            "files": 0 if self.existing else len(OUTPUTS) + len(self.pending) + 1,
            "memory_bytes": cost.workers * cost.layer_memory,
            "layers_at_once": cost.workers,
            **seconds,
            "out": str(self.config.out),
            "exists": str(self.config.out / RANKING_NAME) if self.existing else None,
        }


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
    done = tuple(measured_evidence(config, job, store) for job in jobs)
    return ProbePlan(config, stores, twin, transitions, split, jobs, done, existing_ranking(config, stores, twin))
