"""A store's layers in, a folder that TensorBoard's projector opens out: the rows as points, with what is known of each beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped

from layerscout.cache.durable import write_atomic
from layerscout.cache.store import Store
from layerscout.errors import UsageError

CONFIG_NAME, METADATA_NAME = "projector_config.pbtxt", "metadata.tsv"
MOST_POINTS = 5_000  # what the projector draws without stalling


def export_projector(store: Store, layers: Sequence[str], out: Path, most: int = MOST_POINTS) -> list[Path]:
    """Write tensors, metadata and the projector's own settings; return the files.

    Parameters
    ----------
    layers
        Which layers; each becomes a tensor of its own over the same points.
    out
        The folder, for ``tensorboard --logdir``.
    most
        At most so many rows, evenly spread over the store, at least 1.

    Raises
    ------
    UsageError
        ``most`` is smaller than 1.
    DataError
        The store has no such layer, or a chunk is damaged.
    """
    rows = spread(store.rows, most)
    written = [out / METADATA_NAME]
    write_atomic(written[0], _metadata(store, rows).encode())
    parts = []
    for name in layers:
        reader = store.layer(name)  # an unknown layer is refused by name
        values = np.asarray(reader.rows(rows), dtype=np.float32)
        path = out / f"{name}.tsv"
        write_atomic(path, "".join("\t".join(f"{value:.6g}" for value in row) + "\n" for row in values).encode())
        written.append(path)
        parts.append(
            f"embeddings {{\n  tensor_name: {json.dumps(name)}\n  tensor_path: {json.dumps(path.name)}\n"
            f"  metadata_path: {json.dumps(METADATA_NAME)}\n}}\n"
        )
    written.append(out / CONFIG_NAME)
    write_atomic(written[-1], "".join(parts).encode())
    return written


def spread(rows: int, most: int) -> Int[np.ndarray, " point"]:
    """Return at most ``most`` row numbers, evenly spread, the first and the last among them where there are two or more."""
    if most < 1:
        raise UsageError(f"{most} rows cannot be shown", hint="--rows takes 1 or more")
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).round().astype(np.int64))


def _metadata(store: Store, rows: Int[np.ndarray, " point"]) -> str:
    """One line a point under the index columns' names; of a column of several numbers each has its own."""
    columns: dict[str, Shaped[np.ndarray, " point"]] = {"row": rows}
    for name in store.columns:
        values = store.index(name)[rows]
        if values.ndim == 1:
            columns[name] = values
        else:
            columns |= {f"{name}.{place}": values[:, place] for place in range(values.shape[1])}
    lines = ["\t".join(columns), *("\t".join(str(value) for value in point) for point in zip(*columns.values(), strict=True))]
    return "\n".join(lines) + "\n"
