"""What folders of pretrained models have in common: names, the settings that a checkpoint belongs to, the facts of a card. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel

from layerscout.errors import DataError
from layerscout.text import markdown_cell

CHECKPOINT, CARD = "checkpoint.npz", "README.md"
IMPORTED = "videos.h5"  # in the folder: what an importer made of somebody else's dataset


def settings_of(config: BaseModel, exempt: Collection[str], digest: str) -> dict[str, Any]:
    """Return what decides the weights: settings but for the exempt ones, and the digest of the dataset."""
    return json.loads(config.model_dump_json(exclude=set(exempt))) | {"dataset": digest}


def require_same(made: dict[str, Any], asked: dict[str, Any], what: str, hint: str = "ask for the same, or use another folder") -> None:
    """Compare settings; the first that differs is named, with both values.

    Raises
    ------
    DataError
        One differs.
    """
    for name in asked:
        if made.get(name) != asked[name]:
            if isinstance(made.get(name), dict) and isinstance(asked[name], dict):
                require_same(made[name], asked[name], f"{what}, {name}", hint)
            raise DataError(f"{what} was made with {name} = {made.get(name)!r}, and {asked[name]!r} is asked for", hint=hint)


def facts_rows(facts: Mapping[str, Any]) -> str:
    """Return facts as rows of a Markdown table of two columns; what others wrote into a dataset stays text."""
    return "\n".join(f"| {markdown_cell(name.replace('_', ' '))} | {markdown_cell(_told(value))} |" for name, value in facts.items())


def _told(value: Any) -> str:
    return "n/a" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
