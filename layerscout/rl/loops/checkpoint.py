"""Nested plain state in, one atomic file out, and back: arrays in npz, the rest as JSON; nothing that could run code."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.durable import whole_file
from layerscout.errors import BudgetError, DataError

ARRAY = "__array__"
STRUCTURE = "structure"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no space, no quota, no larger file


def save_checkpoint(path: Path, key: str, state: dict[str, Any]) -> None:
    """Write ``state`` (dicts, lists, numbers, words, None, numpy arrays); ``key`` names the settings that it belongs to.

    Raises
    ------
    BudgetError
        The disk is full; the checkpoint before this one is as it was.
    DataError
        The file cannot be written for another reason.
    """
    arrays: dict[str, Any] = {}
    structure = {"key": key, "state": _strip(state, arrays)}
    arrays[STRUCTURE] = np.frombuffer(json.dumps(structure).encode(), dtype=np.uint8)
    try:
        with whole_file(path) as file:  # straight to disk: a replay of pictures must not stand in memory a second time
            np.savez(file, **arrays)
    except OSError as error:
        need = sum(array.nbytes for array in arrays.values()) / 1e6
        message = f"a checkpoint of {need:,.1f} MB cannot be written to {path.parent}: {error.strerror or error}"
        if error.errno in FULL:
            raise BudgetError(message, hint="make room and run the same command: it continues from the checkpoint before") from None
        raise DataError(message, hint="check that the folder is there and writable, then run the same command to continue") from None


def load_checkpoint(path: Path, key: str) -> dict[str, Any] | None:
    """Read the state, or None when there is no file.

    Raises
    ------
    DataError
        The file is damaged, or was written under other settings.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            structure = json.loads(file[STRUCTURE].tobytes())
            arrays = {name: file[name] for name in file.files if name != STRUCTURE}
        written_for, state = structure["key"], _restore(structure["state"], arrays)
    except Exception as error:  # a damaged archive fails in many ways: bad checksum, truncation, "encrypted", unknown compression, ...
        why = f"{type(error).__name__}: {error}"
        raise DataError(f"checkpoint {path} is damaged: {why}", hint="delete it; training starts again from the beginning") from None
    if written_for != key:
        raise DataError(f"checkpoint {path} belongs to other settings", hint="use the same settings, another --out, or delete it")
    return state


def peek(path: Path) -> dict[str, Any]:
    """Read the plain part of a state; arrays are not read.

    Raises
    ------
    DataError
        The file is damaged.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            state = json.loads(file[STRUCTURE].tobytes())["state"]
    except Exception as error:  # as in load_checkpoint
        raise DataError(f"checkpoint {path} is damaged: {type(error).__name__}: {error}", hint="delete it") from None
    return dict(state)


def _strip(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {ARRAY: name}
    if isinstance(value, dict):
        return {str(key): _strip(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strip(item, arrays) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _restore(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        return arrays[value[ARRAY]] if set(value) == {ARRAY} else {key: _restore(item, arrays) for key, item in value.items()}
    return [_restore(item, arrays) for item in value] if isinstance(value, list) else value
