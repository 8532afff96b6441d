"""The settings of the stage that plays: frozen, closed to unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from layerscout.settings import Config, Positional


class CollectConfig(Config):
    """What to play, how, and where the episodes go."""

    environment: Annotated[str, Positional("ENVIRONMENT")] = Field(
        description="layerscout/Intercept-v0, layerscout/Grid-v0, a simulator's task or any Gymnasium id."
    )
    steps: int = Field(ge=1, description="Environment steps, at least; the last episode is played to its end.")
    out: Path = Field(default=Path("outputs/data.h5"), description="The HDF5 file.")
    policy: str = Field(default="random", description="random, random:K, epsilon:E, epsilon:E:K or noise:S.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Decides every episode together with the episode's number.")
    copies: int = Field(default=32, ge=1, description="Games side by side; changes speed and memory, never the data.")
    size: int | None = Field(default=None, ge=1, description="Side of the square frame in pixels; left out: the environment's own.")
    options: dict[str, Any] = Field(default_factory=dict, description="Options that the environment itself takes.")
