"""What a stranger's environment gives in, numbers out; what is no number is named, with the way to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float32

from layerscout.errors import DataError

NUMBERS = "biuf"  # kinds of numpy's types
SHOWN = 80  # characters of a value in a message
MEND = "wrap the environment so that it gives this: docs/how-to/own-environment.md"


def one_number(environment_id: str, reward: Any) -> float:
    """Return a reward as a number; an array or list of one number is that number.

    Raises
    ------
    DataError
        It is something else.
    """
    value = _array(reward)
    if value is None or value.size != 1:
        raise DataError(f"{environment_id} gave the reward {_shown(reward)}, expected one number", hint=MEND)
    return float(value.item())


def vector(environment_id: str, name: str, state: Any) -> Float32[np.ndarray, " number"]:
    """Return a state as a vector, whatever its shape.

    Raises
    ------
    DataError
        It is no array of numbers.
    """
    value = _array(state)
    if value is None:
        raise DataError(f"{environment_id} gave {name} = {_shown(state)}, expected a vector of numbers", hint=MEND)
    return value.astype(np.float32).ravel()


def python_command(statements: Iterable[str]) -> str:
    """Return the command that runs these statements, as it must be typed into a shell: in double quotes, since Python writes single ones."""
    program = re.sub(r'([\\"$`])', r"\\\1", "; ".join(statements))
    return f'python -c "{program}"'


def _array(value: Any) -> np.ndarray | None:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):  # rows of different lengths, an object that makes a poor array
        return None
    return array if array.dtype.kind in NUMBERS else None


def _shown(value: Any) -> str:
    words = " ".join(repr(value).split())
    return words if len(words) <= SHOWN else f"{words[: SHOWN - 1]}…"
