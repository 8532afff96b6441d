"""One part of a checkpoint in, its configuration and the configuration's digest out. Nothing here imports torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from layerscout.errors import DataError
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder, as_checkpoint
from layerscout.extract.checkpoints.weight_set import AGAIN

__all__ = ["AGAIN", "config_digest", "read_config"]


def read_config(
    folder: CheckpointFolder | Path, *, name: str = "config.json", kind: str | None = None, needed: Sequence[str] = ()
) -> dict[str, Any]:
    """Read the configuration of one part of a checkpoint; ``kind`` is the class that it must be of, ``needed`` fields it must have.

    Raises
    ------
    DataError
        The file is missing or not JSON, the part is of another class, or a field is missing.
    """
    part = as_checkpoint(folder)
    content = part.document(name)
    if content is None:
        raise DataError(f"{part.parent} has no {part.name}/{name}", hint=_hint(part, name))
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{part}/{name} is not valid JSON: {error}", hint=AGAIN) from None
    if not isinstance(config, dict) or (kind is not None and config.get("_class_name") != kind):
        seen = config.get("_class_name") if isinstance(config, dict) else config
        raise DataError(f"{part}/{name} describes {seen!r}, expected {kind or 'a table'}", hint="choose the backbone of that family")
    for field in needed:
        if field not in config:
            raise DataError(f"{part.parent}: {part.name}/{name} misses '{field}'", hint=AGAIN)
    return config


def config_digest(*configs: dict[str, Any]) -> str:
    """Return "sha256:..." over configurations, without the fields that say where and by which version they were written."""
    lasting = [{key: value for key, value in config.items() if not key.startswith("_") or key == "_class_name"} for config in configs]
    return f"sha256:{hashlib.sha256(json.dumps(lasting, sort_keys=True).encode()).hexdigest()}"


def _hint(part: CheckpointFolder, name: str) -> str:
    """A part of a checkpoint is easily given in place of the whole."""
    alone = not part.path and name != "config.json" and part.document("config.json") is not None
    return (
        f"that is one part of a checkpoint: give the folder around it, {part.parent}"
        if alone
        else "give the folder that save_pretrained wrote"
    )
