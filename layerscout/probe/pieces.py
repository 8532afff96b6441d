"""A plan's layers in; the spans of rows that each one is cut into, and which of them must be read, out."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from layerscout.cache.root import default_root
from layerscout.cache.store import Store
from layerscout.probe.config import ProbeConfig
from layerscout.probe.moments.partials import PartialsFolder
from layerscout.probe.moments.spans import SpanTransitions, spans, transitions_in_span
from layerscout.probe.questions.sources import Job
from layerscout.probe.questions.splits import Split
from layerscout.probe.questions.targets import Transitions
from layerscout.probe.wide.wide import is_wide


@dataclass(frozen=True)
class WorkList:
    """What is to be read of which layer. ``pending`` are the layers without evidence."""

    config: ProbeConfig
    transitions: Transitions
    split: Split
    pending: tuple[Job, ...]
    _by_span: dict[tuple[int, int], SpanTransitions] = field(default_factory=dict, compare=False, repr=False)

    def transitions_of_span(self, start: int, stop: int) -> SpanTransitions:
        """Pick the transitions of a span, once for all layers."""
        if (start, stop) not in self._by_span:
            self._by_span[start, stop] = transitions_in_span(self.transitions, self.split, start, stop)
        return self._by_span[start, stop]

    def is_wide(self, job: Job) -> bool:
        """Tell whether a layer is measured as a whole, from products of its rows or a sketch, and leaves no partials."""
        return is_wide(job.spec.width, len(self.transitions))

    def spans(self, job: Job) -> list[tuple[int, int]]:
        """Cut the rows of a layer into pieces of work."""
        return [(0, job.store.rows)] if self.is_wide(job) else spans(job.store.rows, job.spec.width)

    def partials_folder(self, job: Job) -> PartialsFolder:
        """Return where the partials of a layer are. Shards and workers meet there, so they always keep them."""
        keep = self.config.partials if self.config.shard is None and self.config.scheduler is None else "always"
        return PartialsFolder(Path(self.config.root or default_root()), job.store.id, keep)

    def absent(self, job: Job, precision: str | None = None) -> list[tuple[int, int]]:
        """List the spans of a layer whose rows must be read, because a partial of them is not there."""
        kept, cut = self.partials_folder(job), self.spans(job)
        if self.is_wide(job) or kept.keep == "never" or not kept.folder.is_dir() or not isinstance(job.store, Store):
            return cut
        reader = Store.layer(job.store, job.spec.name)  # of a mirror too, without bringing the layer here
        paths = {span: kept.paths(reader, self.transitions_of_span(*span), precision or self.config.precision) for span in cut}
        return [span for span in cut if not all(path.is_file() for path in paths[span] or (kept.folder / "none",))]

    @cached_property
    def to_read(self) -> tuple[tuple[Job, int, int], ...]:
        """(layer, start, stop) of all spans whose sums are not there yet, layer by layer."""
        return tuple((job, start, stop) for job in self.pending for start, stop in self.absent(job))
