"""Everything that can go wrong for a user: what failed, the next step, and the exit code."""

from __future__ import annotations

import difflib
import errno
import shlex
from collections.abc import Iterable
from pathlib import Path

SHORTAGES = {  # what only tells that this machine has no more of something → what to do about it
    errno.ENOSPC: "free some space, then run the same command again",
    errno.EDQUOT: "free some of your quota, then run the same command again",
    errno.EFBIG: "allow larger files (ulimit -f) or use another disk, then run the same command again",
    errno.EMFILE: "allow more open files (ulimit -n), then run the same command again",
    errno.ENFILE: "close other programs, then run the same command again",
    errno.EAGAIN: "allow more processes and threads (ulimit -u), or ask for fewer, then run the same command again",
    errno.ENOMEM: "free some memory, or allow more (ulimit -v); --dry-run tells what a command needs",
}
THREADS, ALLOCATION = "can't start new thread", "can't allocate memory"  # how Python and torch say it


class LayerscoutError(Exception):
    """A mistake that the user can mend.

    ``hint`` names the next step, ``kind`` is a word for programs, ``exit_code`` is what the shell sees.
    """

    exit_code = 1
    kind = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(LayerscoutError):
    """Wrong words or settings on the command line or in a configuration file."""

    exit_code = 2
    kind = "usage"


class MissingExtraError(LayerscoutError):
    """An optional dependency is needed and not installed, or not usable on this machine."""

    exit_code = 3
    kind = "missing_extra"


class DataError(LayerscoutError):
    """A dataset, store or record is missing, damaged, or does not fit what was asked."""

    exit_code = 4
    kind = "data"


class BudgetError(LayerscoutError):
    """The planned disk space or memory is not there; nothing was written."""

    exit_code = 5
    kind = "budget"


class UnsealedFile(UserWarning):
    """A file has no digest to compare, because an older version or a person wrote it."""


def shortage(error: BaseException) -> str | None:
    """Return what to do about an error that tells of this machine and not of a file or a setting; None for any other error."""
    if isinstance(error, OSError):
        return SHORTAGES.get(error.errno or 0)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and ALLOCATION in str(error)):
        return SHORTAGES[errno.ENOMEM]
    return SHORTAGES[errno.EAGAIN] if isinstance(error, RuntimeError) and THREADS in str(error) else None


def raise_shortage(error: OSError, path: Path) -> None:
    """Raise an error again, with the file's name, when it is a shortage: then the file need not be damaged."""
    if shortage(error) is not None:
        error.filename = str(path)
        raise error


def suggest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known word nearest to ``name``, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def shell(*words: object) -> str:
    """Return a layerscout command as it must be typed into a shell, every word quoted where it needs to be."""
    return shlex.join(["layerscout", *map(str, words)])


def install(extra: str) -> str:
    """Return how to install what an optional part of layerscout needs; the name is not on a package index, so a checkout gives it."""
    return f"in a checkout of layerscout: pip install '.[{extra}]'"
