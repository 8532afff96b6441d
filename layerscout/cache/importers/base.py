"""What every importer is given and gives: options in, a list of foreign episodes and one of ours at a time out."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from layerscout.cache.dataset.episodes import Episode
from layerscout.errors import BudgetError, DataError, MissingExtraError, UsageError, suggest
from layerscout.memory import available_memory

Array = Shaped[np.ndarray, "row ..."]  # as a foreign file has it: any type and shape


@dataclass(frozen=True)
class Options:
    """What to take of a foreign dataset.

    Attributes
    ----------
    camera
        Which images, when the dataset has several.
    size
        Height and width of the frames; None keeps theirs.
    leave_out
        Names of numeric fields that are not taken.
    rate, stride
        Of videos: frames a second, or every so many-th frame.
    """

    camera: str | None = None
    size: tuple[int, int] | None = None
    leave_out: tuple[str, ...] = ()
    rate: float | None = None
    stride: int = 1


@dataclass(frozen=True)
class Item:
    """One foreign episode: its name within the source, and the steps T that it should have."""

    name: str
    steps: int


class Skipped(DataError):
    """One episode cannot be read, and the others can do without it."""


class Importer(ABC):
    """A foreign dataset, open for reading.

    ``facts`` tell what the dataset says of itself; they become attributes of the trajectory file. ``fields`` are the names
    that ``Options.leave_out`` may have.
    """

    takes_rate = False  # whether Options.rate and Options.stride mean something

    def __init__(self, path: Path, options: Options) -> None:
        self.path, self.options = path, options
        self.facts: dict[str, Any] = {}
        self.items: Sequence[Item] = ()
        self.fields: Sequence[str] = ()
        if options.stride < 1 or (options.rate is not None and not 0 < options.rate < 1e4):
            raise UsageError(
                f"--stride is {options.stride}, --fps {options.rate}", hint="a stride of at least 1, more than 0 frames a second"
            )
        if not self.takes_rate and (options.rate is not None or options.stride != 1):
            raise UsageError("--fps and --stride are for videos", hint="every step of a recorded episode is taken")

    @staticmethod
    @abstractmethod
    def recognises(path: Path) -> bool:
        """Tell whether a file or folder looks like this format; reads little."""

    @abstractmethod
    def episode(self, item: Item) -> Episode:
        """Read one episode.

        Raises
        ------
        Skipped
            It is unreadable, and the format is one whose episodes lie in files of their own.
        DataError
            It does not keep to the format.
        """


def need(module: str) -> Any:
    """Import an optional package of the extra ``import``.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        hint = "pip install 'layerscout[import]'"
        raise MissingExtraError(f"this format needs the package '{module.partition('.')[0]}'", hint=hint) from None


def choose_camera(asked: str | None, found: Sequence[str], where: Path, otherwise: str) -> str:
    """Return which of the image fields to read.

    Raises
    ------
    DataError
        There is none; ``otherwise`` says what there is instead.
    UsageError
        There are several and none was asked for, or the one asked for is not there.
    """
    hint = f"--camera takes one of: {', '.join(sorted(found))}"
    if not found:
        render = "layerscout looks at pixels: record the dataset with rendered frames, or choose a version that has images"
        raise DataError(f"{where} has no images, {otherwise}", hint=render)
    if asked is None and len(found) > 1:
        raise UsageError(f"{where} has images from {len(found)} cameras and none was chosen", hint=hint)
    if asked is not None and asked not in found:
        raise UsageError(f"{where} has no camera '{asked}'{suggest(asked, found)}", hint=hint)
    return asked or found[0]


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
