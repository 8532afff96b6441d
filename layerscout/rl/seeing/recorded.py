"""A store in, clips of the dataset that it was made from out, verified by the dataset's digest."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.provenance import dataset_path
from layerscout.cache.store import Store
from layerscout.errors import DataError
from layerscout.extract.backbones.base import ClipSpec
from layerscout.extract.clips import ClipTable, clips_of


def clip_spec(store: Store) -> ClipSpec:
    """Return which frames a row of the store shows, and in which size."""
    return ClipSpec(tuple(store.identity["recipe"]["offsets"]), tuple(store.identity["preprocessing"]["frame_shape"]))


def recorded_clips(store: Store, rows: int | None = None) -> UInt8[np.ndarray, "clip time height width channel"]:
    """Return the clips of the store's first rows (default: of all).

    Raises
    ------
    DataError
        The dataset is gone, or is another one now.
    """
    path = dataset_path(store)
    if not path.exists():
        raise DataError(f"the dataset {path} of {store.id} is gone, and its clips are needed", hint="put it back or collect it again")
    with Trajectories(path) as data:
        if data.digest() != store.identity["dataset"]["digest"]:
            raise DataError(f"{path} is not the dataset that {store.id} was made from", hint="collect it again with the same settings")
        table = ClipTable(data.lengths)
        clips = clips_of(data, table, 0, len(table) if rows is None else min(len(table), rows), clip_spec(store))
        data.require_unchanged()
        return clips
