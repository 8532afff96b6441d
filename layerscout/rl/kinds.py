"""Settings of a training in, a refusal where its folder holds a training of another kind out: all kinds write files of the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from layerscout.errors import UsageError
from layerscout.rl.config import TrainConfig
from layerscout.rl.differences import elsewhere, kept_settings
from layerscout.rl.transfer.config import TransferConfig

Kind = Literal["comparison", "work", "goals", "students"]
WHAT: dict[Kind, str] = {
    "comparison": "a comparison of layers",
    "work": "agents that earn a wage",
    "goals": "agents that plan towards a picture",
    "students": "students of a teacher",
}


def kind_of(config: TrainConfig | TransferConfig) -> Kind:
    """Return what these settings train: agents on layers, agents at work, agents that are shown a goal, or students."""
    if isinstance(config, TransferConfig):
        return "students"
    if config.work is not None:
        return "work"
    return "goals" if config.algorithm == "pvdr" else "comparison"


def kind_in(folder: Path) -> Kind | None:
    """Return what was trained in a folder, by the settings that are kept there; None where none can be read."""
    before = kept_settings(folder, TrainConfig) or kept_settings(folder, TransferConfig)
    return None if before is None else kind_of(before)


def require_same_kind(config: TrainConfig | TransferConfig) -> None:
    """Refuse a folder in which another kind of training left its settings: its results would be written over.

    Raises
    ------
    UsageError
        It does.
    """
    there, asked = kind_in(config.out), kind_of(config)
    if there is not None and there != asked:
        stage = "transfer" if asked == "students" else "train"
        raise UsageError(
            f"{config.out} holds {WHAT[there]}, and the same place was named for {WHAT[asked]}",
            hint=f"keep what is there, and train elsewhere: {elsewhere(stage, config)}",
        )
