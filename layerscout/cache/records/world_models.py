"""What the world models of an arm's runs learned: the parts of their losses at equal updates."""

from __future__ import annotations

from typing import Any, Literal

from layerscout.cache.records.base import Record

WORLD_MODEL_NAME, SHEET_NAME, FILM_NAME = "world_model.json", "imagined.png", "imagined.gif"  # in the folder of an arm


class LossesAt(Record):
    """Mean parts of one run's losses since the last of these, by name; in nats a frame where they are likelihoods."""

    seed: int
    updates: int
    losses: dict[str, float]


class WorldModelRecord(Record):
    """An arm's world models, update by update.

    ``sheet`` says whether a picture and a film of real and imagined frames lie beside it; ``pretrained`` what the model that the arm started from says about
    itself: updates, video loss, mean picture, read-outs. None: it started from nothing.
    """

    format: Literal["layerscout-world-model/1"] = "layerscout-world-model/1"
    arm: str
    environment: str
    losses: tuple[LossesAt, ...]
    sheet: bool = False
    pretrained: dict[str, Any] | None = None
