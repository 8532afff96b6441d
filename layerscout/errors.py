"""Everything that can go wrong for a user: what failed, the next step, and the exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LayerscoutError(Exception):
    """A mistake that the user can mend. ``hint`` names the next step; ``exit_code`` is what the shell sees."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LayerscoutError):
    """Wrong words or settings on the command line or in a configuration file."""

    exit_code = 2


class MissingExtraError(LayerscoutError):
    """An optional dependency is needed and not installed, or not usable on this machine."""

    exit_code = 3


class DataError(LayerscoutError):
    """A dataset, store or record is missing, damaged, or does not fit what was asked."""

    exit_code = 4


class BudgetError(LayerscoutError):
    """The planned disk space or memory is not there; nothing was written."""

    exit_code = 5


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known word nearest to ``name``, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""
