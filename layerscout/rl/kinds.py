"""Settings of a training in, a refusal where its folder holds a training of another kind out: all kinds write files of the same names."""

from __future__ import annotations

from typing import Literal

from layerscout.errors import UsageError
from layerscout.rl.config import TrainConfig
from layerscout.rl.differences import elsewhere, kept_settings

Kind = Literal["comparison", "work", "goals"]
WHAT: dict[Kind, str] = {
    "comparison": "a comparison of layers",
    "work": "agents that earn a wage",
    "goals": "agents that plan towards a picture",
}


def kind_of(config: TrainConfig) -> Kind:
    """Return what these settings train: agents on layers, agents at work, or agents that are shown a goal."""
    if config.work is not None:
        return "work"
    return "goals" if config.algorithm == "pvdr" else "comparison"


def require_same_kind(config: TrainConfig) -> None:
    """Refuse a folder in which another kind of training left its settings: its results would be written over.

    Raises
    ------
    UsageError
        It does.
    """
    before = kept_settings(config.out, TrainConfig)
    if before is not None and kind_of(before) != kind_of(config):
        raise UsageError(
            f"{config.out} holds {WHAT[kind_of(before)]}, and the same place was named for {WHAT[kind_of(config)]}",
            hint=f"keep what is there, and train elsewhere: {elsewhere('train', config)}",
        )
