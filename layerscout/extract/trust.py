"""A store in, what it would have fetched from elsewhere out: a stranger's word is followed only when the user says so.

A store's provenance names the backbone that filled it and the environment that was played. Of a store that came from somebody else
both are only told, until the digests are compared; so nothing that it names is asked of a network before ``--trust``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerscout import registry
from layerscout.cache.provenance import backbone_source, dataset_path
from layerscout.cache.remote.mirror import Mirror
from layerscout.cache.store import Store
from layerscout.errors import DataError, UsageError
from layerscout.extract.checkpoints.places.hub import split_hub_id


def trusted_backbone(store: Store, trust: bool) -> tuple[str, dict[str, Any]]:
    """Return which backbone filled a store, as ``layerscout extract`` takes it, and its options.

    Raises
    ------
    UsageError
        It comes from a place that is not on this machine, and the store is not trusted.
    DataError
        The store does not tell, or tells nonsense.
    """
    if not trust and (source := foreign_source(store)) is not None:
        raise UsageError(
            f"store {store.id} says that its model comes from {source}, which is not on this machine",
            hint="--trust fetches it; its digest is compared with the store's before anything is computed",
        )
    return backbone_source(store)


def foreign_source(store: Store) -> str | None:
    """Return the checkpoint that a store names, if it is not on this machine, or the code that somebody elsewhere named; asks no network."""
    name, source = registry.split_source("backbone", backbone_source(store)[0])
    if ":" in name and made_elsewhere(store):  # a stranger's word must not import a module
        return name
    return source if source and not is_here(source) else None


def is_here(source: str) -> bool:
    """Tell whether a checkpoint lies on this machine: a folder, or in the cache of the hub."""
    if "://" in source:
        return source.startswith("file://") and Path(source.removeprefix("file://")).exists()
    hub = split_hub_id(source)
    return Path(source).expanduser().exists() or (hub is not None and hub.cached)


def made_elsewhere(store: Store) -> bool:
    """Tell whether a store came from another machine: a mirror, or one whose dataset is not here."""
    if isinstance(store, Mirror):
        return True
    try:
        return not dataset_path(store).exists()
    except DataError:  # it does not even say
        return True
