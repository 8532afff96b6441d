"""Words for stores in; the stores, which must have the same rows, and the layers to measure, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from layerscout.cache.identity import STORE_ID
from layerscout.cache.layout import LayerSpec
from layerscout.cache.opening import open_store
from layerscout.cache.store import Store
from layerscout.errors import DataError, suggest
from layerscout.probe.config import ProbeConfig
from layerscout.showing import counted

CONTROLS = {"reinitialised": "untrained", "shuffled": "shuffled"}  # the option ``weights`` of a backbone, and what a control is called by


@dataclass(frozen=True)
class Job:
    """One layer of one store to measure. ``label`` tells the stores of a ranking apart; a twin has that of the store it is a twin of."""

    store: Store
    spec: LayerSpec
    role: Literal["layer", "control", "twin"]
    label: str = ""


def open_sources(config: ProbeConfig, scratch: Path | None = None) -> tuple[tuple[Store, ...], Store | None]:
    """Open the stores to rank, and the twin if there is one; ``scratch`` as of `open_store`.

    Raises
    ------
    DataError
        A store is missing, incomplete or damaged.
    """
    stores = tuple(open_store(config.root, word, scratch) for word in (config.store, *config.others))
    return stores, open_store(config.root, config.twin, scratch) if config.twin is not None else None


def jobs_of(config: ProbeConfig, stores: Sequence[Store], twin: Store | None) -> tuple[Job, ...]:
    """List the layers to measure: all candidates, then the controls, then the twin's layers.

    Raises
    ------
    DataError
        A layer is unknown, a store is given twice, or the stores do not have the same rows.
    """
    for place, other in enumerate(stores[1:], start=1):
        _require_same_rows(stores[0], other, "store", "extract the layers of every backbone from the same dataset")
        if other.id in [store.id for store in stores[:place]]:
            raise DataError(f"store {other.id} is given twice", hint="name every store once")
    if twin is not None:
        _require_same_rows(stores[0], twin, "twin store", "extract the untrained backbone's layers from the same dataset")
    labels = store_labels(config, stores)
    everything = [(store, spec, name) for store, name in zip(stores, labels, strict=True) for spec in store.specs.values()]
    chosen = [(store, spec, name) for store, spec, name in everything if spec.role == "layer"]
    if config.layers is not None:
        _require_known(config.layers, chosen, stores)
        chosen = [part for part in chosen if part[1].name in config.layers]
    if not chosen:
        raise DataError(f"store {stores[0].id} has no layer to rank", hint="extract at least one layer")
    jobs = [Job(store, spec, "layer", name) for store, spec, name in chosen]
    jobs += [Job(store, spec, "control", name) for store, spec, name in everything if spec.role == "control"]
    for store, spec, name in chosen if twin is not None else ():
        if store is not stores[0] or twin is None:
            continue
        if spec.name not in twin.specs:
            hint = "extract the same layers from the untrained backbone"
            raise DataError(f"twin store {twin.id} has no layer '{spec.name}'", hint=hint)
        jobs.append(Job(twin, twin.specs[spec.name], "twin", name))
    return tuple(jobs)


def store_labels(config: ProbeConfig, stores: Sequence[Store]) -> tuple[str, ...]:
    """Name the stores of a ranking for people: by the names they were asked for by, or else by backbone and pooling.

    One store needs no name. What two stores would share is followed by a part of each one's id.
    """
    if len(stores) == 1:
        return ("",)
    words = (config.store, *config.others)
    names = [
        word
        if not STORE_ID.fullmatch(word) and not set(word) & set("/\\:")
        else f"{backbone_name(store)} {store.identity.get('pooling', '')}".strip()
        for word, store in zip(words, stores, strict=True)
    ]
    return tuple(
        name if names.count(name) == 1 else f"{name} {store.id.removeprefix('ls1-')[:8]}" for name, store in zip(names, stores, strict=True)
    )


def _require_known(names: Sequence[str], chosen: Sequence[tuple[Store, LayerSpec, str]], stores: Sequence[Store]) -> None:
    known = list(dict.fromkeys(spec.name for _, spec, _ in chosen))
    where = f"store {stores[0].id}" if len(stores) == 1 else f"any of the {len(stores)} stores"
    for name in names:
        if name not in known:
            message = f"layer '{name}' is not in {where} ({counted(len(known), 'layer')}){suggest(name, known)}"
            raise DataError(message, hint=f"layers: {', '.join(known)}")


def _require_same_rows(store: Store, other: Store, what: str, hint: str) -> None:
    if other.id == store.id:
        raise DataError(f"the {what} is store {store.id} itself", hint=hint)
    if dataset_digest(store) != dataset_digest(other):
        raise DataError(f"{what} {other.id} is of dataset {dataset_digest(other)}, store {store.id} of {dataset_digest(store)}", hint=hint)
    if other.rows != store.rows or any(not np.array_equal(store.index(column), other.index(column)) for column in ("episode", "step")):
        raise DataError(f"{what} {other.id} has other rows than store {store.id}", hint=hint)


def dataset_digest(store: Store) -> str:
    """ "sha256:…" over the dataset's content, as the store's identity states it."""
    return str(store.identity["dataset"]["digest"])


def backbone_name(store: Store) -> str:
    """The video model's name in the store's identity; the digest of its weights where that has no name.

    A control says so: ``videomae-untrained`` where weights were drawn anew, ``videomae-shuffled`` where they changed places.
    """
    facts: Any = store.identity["backbone"]
    name, kind = str(facts.get("name", facts["weights_digest"])), str(facts.get("weights", "")).partition(",")[0]
    return f"{name}-{CONTROLS[kind]}" if kind in CONTROLS else name
