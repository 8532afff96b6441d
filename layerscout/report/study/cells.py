"""A layer of a ranking and the arm that was trained on it in, one cell of a study out: with its backbone, weights, pooling and depth."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from layerscout.cache.records import Arm, LayerScore, Ranking, RunRecord

UNTRAINED = ("untrained", "shuffled")  # words in a backbone's name that say that its weights are a control's


@dataclass(frozen=True)
class StudyCell:
    """A layer of a backbone, pretrained or not, in one pooling, with the arm that was trained on it.

    ``place`` is how deep it lies among the layers of its series in the ranking, from 0 for the first to 1 for the last.
    """

    score: LayerScore
    arm: Arm
    record: RunRecord
    store_id: str
    backbone: str
    weights: Literal["pretrained", "untrained"]
    pooling: str
    place: float

    @property
    def series(self) -> tuple[str, str, str, str]:
        """What cells share that differ by depth alone."""
        return self.backbone, self.weights, self.pooling, self.store_id

    @property
    def name(self) -> str:
        """The layer with its backbone and weights, as far as its arm does not say them."""
        return f"{self.score.name} ({self.backbone}, {self.weights})"


def cell_of(layer: LayerScore, ranking: Ranking, record: RunRecord, arm: Arm) -> StudyCell:
    """Return a layer with its arm, and what tells it from other layers: backbone, weights, pooling and place in depth."""
    store = store_of_layer(layer, ranking)
    backbone = next((one.backbone for one in ranking.stores if one.store_id == store), ranking.backbone)
    untrained = layer.role == "twin" or any(word in backbone for word in UNTRAINED)
    pooling = layer.name.partition("@")[2]
    beside = [
        other.depth
        for other in ranking.layers
        if (store_of_layer(other, ranking), other.role, other.name.partition("@")[2]) == (store, layer.role, pooling)
    ]
    order = sorted(set(beside))
    place = order.index(layer.depth) / (len(order) - 1) if len(order) > 1 else 0.5
    family = re.sub(rf"[- ]?({'|'.join(UNTRAINED)})", "", backbone).strip() or backbone
    return StudyCell(layer, arm, record, store, family, "untrained" if untrained else "pretrained", pooling, place)


def store_of_layer(layer: LayerScore, ranking: Ranking) -> str:
    """Id of the layer's store, of the twin's for a twin's layer; "" for a twin's where the ranking names none."""
    return layer.store_id or ((ranking.twin_store_id or "") if layer.role == "twin" else ranking.store_id)
