"""A question in; the probe's own plan for it, its digest and its cost out, before anything is queued."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.errors import BudgetError, DataError, UsageError
from layerscout.service.data.catalogue import Catalogue, Shelved
from layerscout.service.data.results import Results, result_id
from layerscout.service.jobs.question import MOST_VALUES
from layerscout.service.jobs.records import JobRequest
from layerscout.service.problems import HttpProblem

KEPT, FRESH_SECONDS = 64, 60.0
PLACES = ("out", "exists")  # of a description: they are the server's own


@dataclass(frozen=True)
class Quote:
    """What a question costs. ``answer`` is the ranking that answers it already, if there is one.

    Attributes
    ----------
    id
        The beginning of the question's digest: over manifests, settings that change numbers, and the algorithm's version.
    config
        The probe's settings with the server's own places, for the process that does the work.
    facts
        What ``layerscout probe --dry-run --measure`` prints, without places.
    memory
        Bytes that the job is promised.
    """

    id: str
    config: dict[str, Any]
    facts: dict[str, Any]
    memory: int
    stores: tuple[str, ...]
    about: dict[str, Any]
    answer: str | None


@dataclass(frozen=True)
class Limits:
    """What all jobs share: how many at once, in how much memory, and where the work is done."""

    jobs: int
    memory: int
    scheduler: str | None = None

    def threads(self, layer_memory: int) -> int:
        """Return how many layers a job measures at once.

        Raises
        ------
        BudgetError
            Not even one fits into the memory of all jobs.
        """
        if layer_memory > self.memory:
            message = (
                f"probing one layer takes {layer_memory / 1e9:.2f} GB of memory, and jobs of this server have {self.memory / 1e9:.2f} GB"
            )
            raise BudgetError(message, hint="ask for fewer groups, or name narrower layers")
        cores = max(1, (os.cpu_count() or 1) // self.jobs)
        return max(1, min(cores, self.memory // self.jobs // max(layer_memory, 1)))


class Quotes:
    """Plans that were made lately, one at a time: fifty people with one question cost one plan."""

    def __init__(self, catalogue: Catalogue, results: Results, limits: Limits, service: Path | None, why: str) -> None:
        self.catalogue, self.results, self.limits, self.service, self.why = catalogue, results, limits, service, why
        self._lock = threading.Lock()
        self._made: OrderedDict[tuple[Any, ...], tuple[float, Quote]] = OrderedDict()

    def quote(self, question: Any) -> Quote:
        """Plan a question and return what answering it would cost: bytes, memory and seconds.

        Raises
        ------
        LayerscoutError
            What the command would raise: a store that is damaged, other rows, too few episodes, not enough memory.
        """
        words = (question.store, *question.others, *([question.twin] if question.twin else []))
        stores = [self.catalogue.find(word) for word in words]
        if any(isinstance(value, tuple) and len(value) > MOST_VALUES for value in question.model_dump().values()):
            raise UsageError(f"a setting has more than {MOST_VALUES} values", hint="give fewer")
        name = (question.model_dump_json(), *(store.digest for store in stores))
        with self._lock:
            made = self._made.get(name)
            if made is None or time.monotonic() - made[0] > FRESH_SECONDS:
                made = (time.monotonic(), self._plan(question, stores))
                self._made[name] = made
                while len(self._made) > KEPT:
                    self._made.popitem(last=False)
        found = made[1]
        answered = self.results.all().get(found.id)
        return found if answered is None or answered.damage else Quote(**{**vars(found), "answer": answered.id})

    def request(self, quote: Quote, question: Any, who: str) -> JobRequest:
        """Return the job that answers a question.

        Raises
        ------
        HttpProblem
            This server takes no jobs (503).
        """
        if self.service is None:
            raise HttpProblem(
                503, f"no jobs can be taken: {self.why}", "rankings and stores can be read; ask whoever runs the server", "data"
            )
        return JobRequest(
            id=quote.id,
            kind="probe",
            question=question.model_dump(mode="json"),
            about=quote.about,
            store=quote.stores[0],
            who=who,
            submitted=round(time.time(), 3),
            memory=quote.memory,
        )

    def _plan(self, question: Any, stores: list[Shelved]) -> Quote:
        from layerscout.probe.config import ProbeConfig
        from layerscout.probe.keys import ranking_key
        from layerscout.probe.plan import plan

        config = ProbeConfig(**question.model_dump() | self._places(question, stores), threads=1)
        planned = plan(config)
        key = ranking_key(config, planned.stores, planned.twin)
        layer_memory = planned.cost.layer_memory
        threads = self.limits.threads(layer_memory)
        config = config.model_copy(update={"threads": threads, "out": self._out(key)})
        planned = plan(config)
        facts = {name: value for name, value in planned.describe(measure=True).items() if name not in PLACES}
        about = {
            "backbone": stores[0].entry.backbone or "n/a",
            "dataset": stores[0].entry.dataset or "",
            "layers": facts["layers"],
            "rows": facts["rows"],
            "stores": [store.id for store in stores],
        }
        memory = int(threads * layer_memory)
        return Quote(result_id(key), config.model_dump(mode="json"), facts, memory, tuple(store.id for store in stores), about, None)

    def _out(self, key: str) -> Path:
        return (self.service or Path(os.devnull).parent) / "results" / result_id(key)

    def _places(self, question: Any, stores: list[Shelved]) -> dict[str, Any]:
        """Return where the stores lie: those of the first one's root by id, others by their folder."""
        first = stores[0]
        for store in stores:
            if store.entry.damage:
                raise DataError(f"store {store.id} is damaged: {store.entry.damage}", hint=f"layerscout store verify {store.id}")
            store.folder()
        words = [store.id if store.root == first.root else str(store.folder()) for store in stores]
        others = len(question.others)
        return {
            "store": words[0],
            "others": tuple(words[1 : 1 + others]),
            "twin": words[1 + others] if question.twin else None,
            "root": first.root.folder,
            "out": self._out("0" * 64),
            "scheduler": self.limits.scheduler,
            "partials": "auto" if not first.root.why or self.limits.scheduler else "never",
        }
