"""The settings of the stage that plays: frozen, closed to unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from layerscout.settings import Config


class CollectConfig(Config):
    """What to play, how, and where the episodes go.

    ``policy`` is ``random``, ``random:K``, ``epsilon:E``, ``epsilon:E:K`` or ``noise:S`` (see ``layerscout.worlds.exploring``).
    ``copies`` changes speed and memory, never the data. ``size`` and ``options`` go to the environment.
    """

    environment: str
    steps: int = Field(ge=1)
    out: Path = Path("outputs/data.h5")
    policy: str = "random"
    seed: int = Field(default=0, ge=0, lt=2**32)
    copies: int = Field(default=32, ge=1)
    size: int | None = Field(default=None, ge=1)
    options: dict[str, Any] = Field(default_factory=dict)
