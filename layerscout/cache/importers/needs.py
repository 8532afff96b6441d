"""A package, or so many bytes, in; nothing or the error that says what is missing out."""

from __future__ import annotations

import importlib
from typing import Any

from layerscout.errors import BudgetError, MissingExtraError, install
from layerscout.memory import available_memory


def need_package(module: str) -> Any:
    """Import an optional package of the extra ``import``.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        hint = install("import")
        raise MissingExtraError(f"this format needs the package '{module.partition('.')[0]}'", hint=hint) from None


def require_memory(count: int, what: str) -> None:
    """Refuse before allocating ``count`` bytes that are not there; a file may claim any shape.

    Raises
    ------
    BudgetError
    """
    available = available_memory()
    if available is not None and count > available:
        message = f"{what} claims {count / 1e9:,.1f} GB and {available / 1e9:,.1f} GB of memory are free"
        raise BudgetError(message, hint="free some memory, or leave the episode out; for videos --size, --stride or --fps")
