"""What stages wrote in; open stores and records out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscout.paths import expand

if TYPE_CHECKING:
    from layerscout.cache.records import Ranking, RunRecord
    from layerscout.cache.store import Store


def open_store(store: Path | str, root: Path | str | None = None) -> Store:
    """Open a store by its id, name, folder or URL: ``open_store("best")["blocks.3"][0:5]``.

    Parameters
    ----------
    store
        What names it. Of a URL (``s3://…``), only the layers that are read are fetched.
    root
        Folder of all stores; None means ``LAYERSCOUT_ROOT``, or the user's cache.

    Raises
    ------
    DataError
        There is no such store, or it is damaged or cannot be reached.
    """
    from layerscout.cache.opening import open_store as opened

    return opened(None if root is None else expand(root), store)


def load_ranking(path: Path | str = "outputs/probe") -> Ranking:
    """Read a ranking from its ``ranking.json`` or from the folder that holds it.

    Raises
    ------
    DataError
        There is no such file, or it is damaged.
    """
    return _load("Ranking", path, "ranking.json")


def load_runs(path: Path | str = "outputs/train") -> RunRecord:
    """Read agents' results from their ``runs.json`` or from the folder that holds it.

    Raises
    ------
    DataError
        There is no such file, or it is damaged.
    """
    return _load("RunRecord", path, "runs.json")


def _load(kind: str, path: Path | str, name: str) -> Any:
    from layerscout.cache import records

    place = expand(path)
    return records.load(getattr(records, kind), place / name if place.is_dir() else place)
