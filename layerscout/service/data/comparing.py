"""Several rankings of one dataset in; their layers side by side out, and why a ranking does not belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from layerscout.cache.records import Estimate, LayerScore, Ranking
from layerscout.errors import LayerscoutError
from layerscout.pages.ranking import ordering
from layerscout.service.data.results import FoundResult, Results

MOST = 8


@dataclass(frozen=True)
class RankingBeside:
    """A ranking among others, and the layers' places in it by their common names."""

    found: FoundResult
    ranking: Ranking
    layers: dict[str, LayerScore]
    places: dict[str, int]

    @property
    def title(self) -> str:
        """The words that tell this ranking from the others on the page: its layers' labels, its score, and the start of its id."""
        return f"{', '.join(self.found.labels)}, {self.ranking.score_kind} {self.found.id[:6]}"

    def score(self, name: str) -> Estimate | None:
        """The estimate that orders this ranking; None for a layer that is not in it or has none."""
        return ordering(self.ranking, self.layers[name]) if name in self.layers else None

    def above(self, other: RankingBeside, name: str) -> float | None:
        """By how much a layer scores higher here than in another ranking; None where one has no score of it, or another kind of score orders."""
        mine, theirs = self.score(name), other.score(name)
        if mine is None or theirs is None or self.ranking.score_kind != other.ranking.score_kind:
            return None
        return mine.value - theirs.value


@dataclass(frozen=True)
class SideBySide:
    """Rankings of the same rows. ``refused`` says of every other one that was asked for why it does not belong here."""

    rankings: tuple[RankingBeside, ...]
    refused: tuple[tuple[str, str], ...]

    @property
    def names(self) -> list[str]:
        """Every layer of every ranking, in the order of the first ranking that has it."""
        return list(dict.fromkeys(name for one in self.rankings for name in one.layers))


def side_by_side(results: Results, ids: Sequence[str]) -> SideBySide:
    """Open rankings and put those together that are of the first one's dataset."""
    kept: list[RankingBeside] = []
    refused: list[tuple[str, str]] = []
    for result_id in dict.fromkeys(ids):
        try:
            found = results.find(result_id)
            ranking = results.ranking(found)
        except LayerscoutError as error:
            refused.append((result_id, str(error)))
            continue
        if len(kept) >= MOST:
            refused.append((result_id, f"{MOST} rankings are compared at most"))
        elif kept and found.dataset != kept[0].found.dataset:
            refused.append(
                (
                    result_id,
                    f"it is of dataset {found.dataset[7:19]}, the first of {kept[0].found.dataset[7:19]}: scores of different data do not compare",
                )
            )
        else:
            layers = {_common(ranking, layer): layer for layer in ranking.candidates}
            kept.append(RankingBeside(found, ranking, layers, {name: place for place, name in enumerate(layers, 1)}))
    return SideBySide(tuple(kept), tuple(refused))


def _common(ranking: Ranking, layer: LayerScore) -> str:
    """Return a layer's name with its model's, or with its store's label where two stores are of one model: their blocks are not one layer."""
    backbone = next((store.backbone for store in ranking.stores if store.store_id == layer.store_id), ranking.backbone)
    alike = sum(store.backbone == backbone for store in ranking.stores)
    return f"{layer.label if alike > 1 and layer.label else backbone}: {layer.name}"
