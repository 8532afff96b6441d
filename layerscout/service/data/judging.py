"""Rankings and runs in; for a dataset what to train on and how sure that is, and for a team the best of every model on every task, out."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from layerscout.cache.records import Estimate, LayerScore, Ranking
from layerscout.errors import LayerscoutError, shell
from layerscout.pages.ranking import best_twin, layer_title, ordering, twin_of
from layerscout.service.data.catalogue import UNTRAINED, Shelved
from layerscout.service.data.experiments import FoundRuns
from layerscout.service.data.measured import difference, evidence_of
from layerscout.service.data.results import FoundResult, Results
from layerscout.service.state import ServiceState

KEPT = 256
CHIPS = {"too few seeds": "cannot be tested", "not run": "not trained", "partly supported": "partly supported"}


@dataclass(frozen=True)
class BestLayer:
    """The first layer of a ranking against what it must beat: pixels, the same block without training, the next layer."""

    found: FoundResult
    title: str
    score: Estimate | None
    over_pixels: Estimate | None
    over_untrained: Estimate | None
    over_best_untrained: Estimate | None
    best_untrained: str
    over_next: Estimate | None
    next: str
    tied: tuple[str, ...]  # layers that cannot be told from the first
    p_top: float | None
    top_k: int | None
    flags: tuple[str, ...]
    environment: str

    @property
    def surely_first(self) -> bool | None:
        """Whether no other layer could as well be first; None where it was not measured how far the next one lies behind."""
        return None if self.next and self.over_next is None else not self.tied


@dataclass(frozen=True)
class JudgedRuns:
    """What agents on a dataset earned: the verdict's word and sentence, and the best layer's return."""

    found: FoundRuns
    outcome: str
    sentence: str
    layer: str
    returned: Estimate | None
    learned: str  # whether the task was learned at all

    @property
    def chip(self) -> str:
        """The verdict in two words; of a task that nobody learned, that it was not learned."""
        if self.learned == "not learned":
            return self.learned
        return CHIPS.get(self.outcome, self.outcome)


@dataclass(frozen=True)
class TaskDecision:
    """All that decides what to train on for one dataset."""

    dataset: str
    environment: str
    stores: tuple[Shelved, ...]
    rankings: tuple[FoundResult, ...]
    best: BestLayer | None
    runs: tuple[JudgedRuns, ...]

    @property
    def reasons(self) -> list[tuple[str, str, bool]]:
        """What speaks for the first layer and what does not: a question, its answer, and whether it speaks for it."""
        best = self.best
        if best is None:
            return []
        asked = [
            ("Does training show in it?", _against(best.over_untrained, "the same block without training"), _surely(best.over_untrained)),
            (
                "Is it more than any untrained block?",
                _against(best.over_best_untrained, best.best_untrained or "untrained blocks"),
                _surely(best.over_best_untrained),
            ),
            ("Is it more than the picture?", _against(best.over_pixels, "raw pixels"), _surely(best.over_pixels)),
            ("Is it ahead of the next layer?", _ahead(best), not best.tied and best.over_next is not None),
        ]
        if self.runs:
            asked.append(("Did agents learn more on it?", self.runs[0].sentence, self.runs[0].chip == "supported"))
        else:
            asked.append(("Did agents learn more on it?", "No agent was trained on this dataset yet.", False))
        return asked

    @property
    def command(self) -> str:
        """The command that trains agents on the chosen layers, beside the downloaded ``selection.json``; empty where there is none."""
        return shell("train", self.environment or "ENVIRONMENT", "--selection", "selection.json") if self.best else ""

    @property
    def sure(self) -> bool:
        """Whether the first layer is surely above its own untrained block, and not surely below the best of all untrained blocks."""
        best = self.best
        if best is None or not _surely(best.over_untrained):
            return False
        other = best.over_best_untrained
        return other is None or other.high is None or other.high >= 0

    @property
    def how_sure(self) -> str:
        """How sure the choice is, in one sentence; empty where there is none."""
        reasons = self.reasons
        if not reasons:
            return ""
        good, bad = sum(shown for *_, shown in reasons), sum(answer.startswith("No:") for _, answer, _ in reasons)
        against = f", {bad} {'speaks' if bad == 1 else 'speak'} against it" if bad else ""
        return f"How sure is that? Of {len(reasons)} questions below, {good} {'speaks' if good == 1 else 'speak'} for it{against}."


def _surely(found: Estimate | None) -> bool:
    return found is not None and found.low is not None and found.low > 0


def _against(found: Estimate | None, what: str) -> str:
    if found is None:
        return f"It was not measured against {what}."
    if found.low is None or found.high is None:
        return f"Its score is {found.value:+.3f} against {what}; without evidence files there is no interval."
    figure = f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}] against {what}"
    return (
        f"Yes: {figure}."
        if found.low > 0
        else f"No: {figure}."
        if found.high < 0
        else f"That cannot be told: {figure}, and the interval holds 0."
    )


def _ahead(best: BestLayer) -> str:
    if best.over_next is None:
        return f"How far {best.next} lies behind was not measured." if best.next else "There is no other layer."
    found = best.over_next
    figure = f"by {found.value:.3f}" + (f" [{found.low:.3f}, {found.high:.3f}]" if found.low is not None and found.high is not None else "")
    if not best.tied:
        return f"Yes: {best.next} lies behind {figure}."
    more = f" and {len(best.tied) - 1} more" if len(best.tied) > 1 else ""
    why = "there is no interval" if found.low is None else "the interval holds 0"
    return f"That cannot be told: {best.tied[0]}{more} lies behind {figure}, and {why}. Train on both."


class Judge:
    """What was worked out lately, for rankings and runs that have not changed since."""

    def __init__(self, state: ServiceState) -> None:
        self.state = state
        self._lock = threading.Lock()
        self._best: OrderedDict[tuple[str, float, int], BestLayer | None] = OrderedDict()
        self._runs: OrderedDict[tuple[str, float], JudgedRuns | None] = OrderedDict()

    def board(self) -> list[tuple[BestLayer, JudgedRuns | None]]:
        """Return the newest ranking's best layer for every model on every dataset, by what training gave; what does not know that comes last."""
        newest: dict[tuple[str, str], FoundResult] = {}
        for found in self.state.results.all().values():
            name = (found.backbone, found.dataset)
            if not found.damage and not found.backbone.endswith(UNTRAINED) and _better_proof(found, newest.get(name)):
                newest[name] = found
        lines = [(best, self._run_of(found)) for found in newest.values() if (best := self.best_of(found)) is not None]
        return sorted(lines, key=lambda line: -line[0].over_untrained.value if line[0].over_untrained else float("inf"))

    def tasks(self) -> list[TaskDecision]:
        """Return every dataset that stores or rankings are of, those with rankings first."""
        return [self.task(dataset) for dataset in self.datasets()]

    def datasets(self) -> list[str]:
        """Return the digest of every dataset that rankings or stores are of."""
        digests = dict.fromkeys(found.dataset for found in self.state.results.all().values() if found.dataset)
        digests |= dict.fromkeys(one.entry.dataset for one in self.state.catalogue.all() if one.entry.dataset)
        return list(digests)

    def task(self, dataset: str) -> TaskDecision:
        """Everything on one dataset: stores, undamaged rankings, the best of them, and the comparisons that were run on it."""
        rankings = [found for found in self.state.results.all().values() if found.dataset == dataset and not found.damage]
        chosen: FoundResult | None = None
        for found in rankings:
            chosen = found if _better_proof(found, chosen) else chosen
        best = self.best_of(chosen) if chosen else None
        runs = [
            self.runs_of(found)
            for found in self.state.experiments.all().values()
            if found.kind == "comparison" and self._is_of(found, dataset)
        ]
        known = tuple(one for one in runs if one is not None)
        environment = next((one.found.title for one in known), best.environment if best else "")
        stores = tuple(one for one in self.state.catalogue.all() if one.entry.dataset == dataset)
        return TaskDecision(dataset, environment, stores, tuple(rankings), best, known)

    def best_of(self, found: FoundResult) -> BestLayer | None:
        """Return a ranking's first layer against what it must beat; None for a ranking that cannot be read, or has no layers."""
        name = (found.id, found.when, self.state.catalogue.version)
        if name not in self._best:
            try:
                ranking = self.state.results.ranking(found)
                made = self._compare(found, ranking) if ranking.candidates else None
            except LayerscoutError:
                made = None
            _keep(self._best, name, made, self._lock)
        return self._best.get(name)

    def runs_of(self, found: FoundRuns) -> JudgedRuns | None:
        """Return what a comparison says of its best layer; None where it cannot be judged."""
        name = (found.id, found.when)
        if name not in self._runs:
            try:
                chapters: Any = self.state.experiments.chapters(found)
                verdict = chapters[0].verdict
                made = JudgedRuns(found, verdict.outcome, verdict.sentence, verdict.best or "", verdict.returned, chapters[0].gate.learned)
            except (LayerscoutError, IndexError):
                made = None
            _keep(self._runs, name, made, self._lock)
        return self._runs.get(name)

    def _run_of(self, found: FoundResult) -> JudgedRuns | None:
        """Return the newest comparison of agents on a ranking's dataset whose ranking lies beside it or has its stores."""
        for runs in self.state.experiments.all().values():
            if runs.kind == "comparison" and runs.experiment and self._is_of(runs, found.dataset) and self._same_model(runs, found):
                return self.runs_of(runs)
        return None

    def _is_of(self, runs: FoundRuns, dataset: str) -> bool:
        return (runs.dataset or self._dataset_beside(runs)) == dataset

    def _dataset_beside(self, runs: FoundRuns) -> str:
        return next((one.dataset for one in self.state.results.all().values() if lies_beside(runs, one)), "")

    def _same_model(self, runs: FoundRuns, found: FoundResult) -> bool:
        return any(one.backbone == found.backbone for one in self.state.results.all().values() if lies_beside(runs, one))

    def _compare(self, found: FoundResult, ranking: Ranking) -> BestLayer:
        first, *others = ranking.candidates
        evidence = evidence_of(found, ranking, self.state.digests())
        pixels = next((layer for layer in ranking.layers if layer.role == "control" and layer.store_id in ("", first.store_id)), None)
        pixels = pixels or next((layer for layer in ranking.layers if layer.role == "control"), None)
        twin, strongest = twin_of(ranking, first), best_twin(ranking)

        def over(other: LayerScore | None) -> Estimate | None:
            return difference(ranking, first, other, evidence) if other is not None else None

        tied = [layer for layer in others if layer.behind_best is not None and (layer.behind_best.low or 0.0) <= 0]
        nearest = next(iter([*tied, *others]), None)
        return BestLayer(
            found=found,
            title=layer_title(ranking, first),
            score=ordering(ranking, first),
            over_pixels=over(pixels),
            over_untrained=over(twin),
            over_best_untrained=over(strongest),
            best_untrained=layer_title(ranking, strongest) if strongest else "",
            over_next=nearest.behind_best if nearest else None,
            next=layer_title(ranking, nearest) if nearest else "",
            tied=tuple(layer_title(ranking, layer) for layer in tied),
            p_top=first.p_top_k,
            top_k=ranking.top_k,
            flags=first.flags,
            environment=self.state.environment(ranking.store_id),
        )

    def owner_of(self, best: BestLayer) -> str:
        """Return whose files the first store of a ranking is; empty where that cannot be known."""
        return next((one.by for one in self.state.catalogue.all() if one.id in best.found.stores), "")


def lies_beside(runs: FoundRuns, found: FoundResult) -> bool:
    """Tell whether a ranking lies beside runs: then it chose their layers."""
    return runs.experiment is not None and found.folder in (runs.experiment, runs.experiment / "probe")


def ranking_beside(results: Results, found: FoundRuns) -> FoundResult | None:
    """Return the ranking that lies beside runs, which chose their layers."""
    return next((one for one in results.all().values() if lies_beside(found, one)), None)


def _better_proof(found: FoundResult, than: FoundResult | None) -> bool:
    """Tell whether a ranking is to be believed rather than another: of a trained model, then with an untrained twin, then the newer one."""
    return than is None or _proof(found) > _proof(than)


def _proof(found: FoundResult) -> tuple[bool, bool, float]:
    return not found.backbone.endswith(UNTRAINED), found.twin is not None, found.when


def _keep(made: OrderedDict[Any, Any], name: Any, value: Any, lock: threading.Lock) -> None:
    with lock:
        made[name] = value
        while len(made) > KEPT:
            made.popitem(last=False)
