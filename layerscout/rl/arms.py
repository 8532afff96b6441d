"""A selection in, the arms of a comparison out: which representation, which head, why it takes part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from layerscout.cache.records import Selection
from layerscout.cache.store import Store, open_store
from layerscout.errors import DataError, UsageError
from layerscout.rl.config import TrainConfig

PIXELS = "pixels"


@dataclass(frozen=True)
class ArmSpec:
    """One representation with one head. ``hidden`` is empty for a linear head."""

    name: str
    kind: str
    layer: str
    store: Store
    head: str
    hidden: tuple[int, ...]
    score: float | None

    @property
    def width(self) -> int:
        """Features that the head sees."""
        return self.store.specs[self.layer].width


def arms_of(selection: Selection, config: TrainConfig) -> list[ArmSpec]:
    """Return every choice with every head, and the network from scratch once.

    Raises
    ------
    DataError
        A store of the selection is missing, lacks the layer, or holds another dataset.
    """
    arms = []
    stores: dict[str, Store] = {}
    for choice in selection.choices:
        store = stores.setdefault(choice.store_id, open_store(config.root, choice.store_id))
        _check(store, selection, choice.layer)
        label = choice.layer if choice.kind in {"pixels"} or store.id == selection.store_id else f"{choice.layer} (untrained)"
        for head in config.heads:
            name = label if len(config.heads) == 1 else f"{label} + {head}"
            hidden = config.dqn.hidden if head == "mlp" else ()
            arms.append(ArmSpec(name, choice.kind, choice.layer, store, head, hidden, choice.score))
    if config.scratch:
        store = stores[selection.store_id]
        _check(store, selection, PIXELS)
        arms.append(ArmSpec("scratch", "scratch", PIXELS, store, "mlp", config.scratch_hidden, None))
    return arms


def check_environment(config: TrainConfig, store: Store, path: Path) -> None:
    """Refuse to train on another environment than the one that the layers were ranked on."""
    recorded = store.manifest.provenance["dataset_attributes"].get("environment")
    if recorded != config.environment:
        raise UsageError(
            f"{path} was made from '{recorded}', not from '{config.environment}'",
            hint=f"layerscout train {recorded} --selection {path}, or collect, extract and probe {config.environment}",
        )


def _check(store: Store, selection: Selection, layer: str) -> None:
    if layer not in store.specs:
        raise DataError(f"store {store.id} has no layer '{layer}'", hint=f"layers: {', '.join(store.specs)}")
    if store.identity["dataset"]["digest"] != selection.dataset_digest:
        raise DataError(f"store {store.id} holds another dataset than the selection", hint="probe stores of one dataset, then train")
