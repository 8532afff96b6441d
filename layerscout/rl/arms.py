"""A selection in, the arms of a comparison out: which representation, which head, why it takes part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from layerscout.cache.records import Selection
from layerscout.cache.store import Store, open_store
from layerscout.errors import DataError, UsageError
from layerscout.rl.config import TrainConfig

PIXELS = "pixels"
IN_LOOP_CONTROLS = {"reinitialised": "re-initialised block", "identity": "no block", "trained": "trained block"}  # kind → name


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
        The selection is empty or names a layer twice; a store of it is missing, lacks the layer, or holds another dataset.
    """
    if not selection.choices:
        raise DataError("the selection has no layer", hint="run layerscout probe again")
    stores = {name: open_store(config.root, name) for name in {selection.store_id, *(choice.store_id for choice in selection.choices)}}
    arms = []
    for choice in selection.choices:
        store = stores[choice.store_id]
        _check(store, selection, choice.layer)
        label = choice.layer if choice.kind == "pixels" or store.id == selection.store_id else f"{choice.layer} (untrained)"
        for head in config.heads:
            name = label if len(config.heads) == 1 else f"{label} + {head}"
            hidden = config.dqn.hidden if head == "mlp" else ()
            arms.append(ArmSpec(name, choice.kind, choice.layer, store, head, hidden, choice.score))
    if config.scratch:
        store = stores[selection.store_id]
        _check(store, selection, PIXELS)
        arms.append(ArmSpec("scratch", "scratch", PIXELS, store, "mlp", config.scratch_hidden, None))
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the selection has '{twice}' twice", hint="a layer takes part once; remove one of the choices")
    return arms


def in_loop_arms(arms: Sequence[ArmSpec]) -> list[ArmSpec]:
    """Return the best ranked layer's block with every head, each followed by its controls: re-initialised, no and a trained block.

    Raises
    ------
    UsageError
        The selection has no ranked layer.
    """
    ranked = [arm for arm in arms if arm.kind == "ranked"]
    if not ranked:
        raise UsageError("in-loop training needs a ranked layer, and the selection has none", hint="use --mode offline or online")
    found = []
    for best in (arm for arm in ranked if arm.layer == ranked[0].layer):
        head = best.name.removeprefix(best.layer)  # " + mlp" when heads are compared
        found.append(best)
        found.extend(replace(best, name=name + head, kind=kind, score=None) for kind, name in IN_LOOP_CONTROLS.items())
    return found


def check_environment(config: TrainConfig, store: Store, path: Path) -> None:
    """Refuse to train on another environment than the one that the layers were ranked on."""
    recorded = store.manifest.provenance["dataset_attributes"].get("environment")
    if recorded is None:
        raise UsageError(
            f"{path} was made from an imported dataset, which names no environment to play", hint="collect one with layerscout collect"
        )
    if recorded != config.environment:
        raise UsageError(
            f"{path} was made from '{recorded}', not from '{config.environment}'",
            hint=f"layerscout train {recorded} --selection {path}, or collect, extract and probe {config.environment}",
        )


def check_actions(config: TrainConfig, store: Store) -> None:
    """Refuse to learn offline from a store whose actions a Q-network over discrete actions cannot take.

    Raises
    ------
    UsageError
        The store's actions are continuous, or it has none.
    """
    if config.mode != "offline":  # the agent's own actions count there, not the dataset's
        return
    hint = "--mode online and --mode in-loop act for themselves in an environment with discrete actions"
    column = store.columns["action"]
    if column.width is not None:
        message = f"store {store.id} has continuous actions ({column.width} dimensions), and Q-learning offline takes discrete ones"
        raise UsageError(message, hint=hint)
    if not (store.index("action") >= 0).any():
        raise UsageError(f"store {store.id} has no actions, and Q-learning offline learns from them", hint=hint)


def _check(store: Store, selection: Selection, layer: str) -> None:
    if layer not in store.specs:
        raise DataError(f"store {store.id} has no layer '{layer}'", hint=f"layers: {', '.join(store.specs)}")
    if store.identity["dataset"]["digest"] != selection.dataset_digest:
        raise DataError(f"store {store.id} holds another dataset than the selection", hint="probe stores of one dataset, then train")
