"""Two stores of one id in, how far their numbers lie apart out: what another processor, driver or library changed.

A store's id says what it was computed from. Two honest runs of one id need not agree to the last bit, because the order in which a
machine adds numbers is its own.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache import manifest as manifests
from layerscout.cache.reader import LayerReader
from layerscout.cache.remote.address import check_address
from layerscout.cache.root import STORES
from layerscout.cache.store import Store
from layerscout.errors import DataError, UsageError, shell
from layerscout.paths import expand
from layerscout.progress import SILENT, Reporter

BLOCK_VALUES = 2**20  # compared at a time


@dataclass(frozen=True)
class LayerDifference:
    """What was found when one layer was compared in two stores.

    ``largest_relative`` is the largest |a - b| / max(|a|, |b|) of a single value; values near zero make it large, so it is to be read
    beside ``largest_absolute`` and the layer's ``root_mean_square`` (in the first store).
    """

    name: str
    values: int
    different: int
    largest_absolute: float
    largest_relative: float
    root_mean_square: float


@dataclass(frozen=True)
class Comparison:
    """What was found when two stores of one id were compared. Where ``unequal_columns`` names an index column, the rows are not the same."""

    store_id: str
    path: Path
    other_path: Path
    digest: str
    other_digest: str
    layers: tuple[LayerDifference, ...]
    unequal_columns: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Tell whether every number is the same, bit for bit."""
        return not self.unequal_columns and not any(layer.different for layer in self.layers)

    def describe(self) -> dict[str, Any]:
        """Return the result as plain data, for ``--json``."""
        facts: dict[str, Any] = {"store": self.store_id, "path": str(self.path), "against": str(self.other_path), "equal": self.equal}
        facts |= {"digest": self.digest, "other_digest": self.other_digest}
        return facts | {"layers": [asdict(layer) for layer in self.layers], "unequal_columns": list(self.unequal_columns)}


def open_against(store_id: str, place: Path | str) -> Store:
    """Open the store to compare with: ``place`` is its folder, or the folder of stores in which it lies.

    Raises
    ------
    DataError
        There is none, or it is damaged.
    UsageError
        The place is a URL.
    """
    check_address(str(place))
    if "://" in str(place):
        hint = f"give the folder to --against after: {shell('store', 'pull', place, '--root', 'FOLDER')}"
        raise UsageError(f"{place} is elsewhere", hint=hint)
    folder = expand(place)
    return Store.open(folder if (folder / manifests.NAME).exists() else folder / STORES / store_id)


def compare_stores(store: Store, other: Store, reporter: Reporter = SILENT) -> Comparison:
    """Read two stores of one id side by side and tell how far they lie apart; every chunk read is verified.

    Raises
    ------
    DataError
        The stores have different ids, or a chunk is damaged.
    """
    if store.id != other.id:
        message = f"{other.path} is store {other.id}, not {store.id}: they were computed from different things"
        raise DataError(
            message, hint=f"only stores of one id can be compared; from what this one was computed: {shell('store', 'info', other.path)}"
        )
    with reporter.task(f"compare {store.id[:12]}", len(store.specs), "layers") as task:
        layers = []
        for name in store.specs:
            layers.append(layer_difference(name, store.layer(name), other.layer(name)))
            task.advance()
    unequal = tuple(name for name in store.columns if store.index(name).tobytes() != other.index(name).tobytes())
    return Comparison(store.id, store.path, other.path, store.manifest.digest, other.manifest.digest, tuple(layers), unequal)


def layer_difference(name: str, one: LayerReader, other: LayerReader) -> LayerDifference:
    """Compare two arrays of one shape, block by block, in float64."""
    rows, width = one.shape
    step = max(1, BLOCK_VALUES // width)
    different, absolute, relative, squares = 0, 0.0, 0.0, 0.0
    for start in range(0, rows, step):
        first, second = (reader.read(start, min(rows, start + step)).astype(np.float64) for reader in (one, other))
        apart = np.abs(first - second)
        largest = np.maximum(np.abs(first), np.abs(second))
        different += int(np.count_nonzero(apart))
        absolute = max(absolute, float(apart.max()))
        relative = max(relative, float(np.divide(apart, largest, out=np.zeros_like(apart), where=largest > 0).max()))
        squares += float(np.vdot(first, first))
    return LayerDifference(name, rows * width, different, absolute, relative, float(np.sqrt(squares / (rows * width))))
