"""A selection in, the arms of a comparison out: which representation, which head, why it takes part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from layerscout.cache import records
from layerscout.cache.opening import open_store
from layerscout.cache.provenance import played_attributes
from layerscout.cache.records import Choice, Ranking, Selection
from layerscout.cache.store import Store
from layerscout.errors import DataError, LayerscoutError, UsageError, shell
from layerscout.rl.config import TrainConfig

PIXELS = "pixels"
CLIPS = "clips"  # in place of a layer's name: the frames themselves, uint8
IN_LOOP_CONTROLS = {
    "reinitialised": "re-initialised block",
    "shuffled": "weight-shuffled block",
    "identity": "no block",
    "trained": "trained block",
}  # kind → name


@dataclass(frozen=True)
class ArmSpec:
    """One representation with one head. ``hidden`` is empty for a linear head.

    ``random_width`` makes it a random frozen layer of the raw pixels, drawn from ``random_seed``.
    """

    name: str
    kind: str
    layer: str
    store: Store
    head: str
    hidden: tuple[int, ...]
    score: float | None
    random_width: int | None = None
    random_seed: int = 0

    @property
    def width(self) -> int:
        """Features that the head sees; of clips, their pixels."""
        if self.layer == CLIPS:
            height, width, channels = self.store.identity["preprocessing"]["frame_shape"]
            return int(len(self.store.identity["recipe"]["offsets"]) * height * width * channels)
        return self.random_width or self.store.specs[self.layer].width

    @property
    def folder(self) -> str:
        """The arm's name as a file system takes it, below the folder where it is put."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).lstrip(".") or "-"


def arms_of(selection: Selection, config: TrainConfig, hidden: tuple[int, ...] | None = None) -> list[ArmSpec]:
    """Return every choice with every head, then the controls that the settings ask for.

    ``hidden`` is what an MLP head has (default: that of the dqn settings).

    Raises
    ------
    DataError
        The selection is empty or names a layer twice; a store of it is missing, lacks the layer, or holds another dataset; or all
        layers were asked for and the ranking that the selection names cannot be read.
    """
    if not any(config.pixels or choice.kind != "pixels" for choice in selection.choices):
        raise DataError("the selection has no layer", hint="run layerscout probe again")
    hidden = config.dqn.hidden if hidden is None else hidden
    ranking = _ranking(selection, config.selection) if config.all_layers else None
    named = [selection.store_id, *(choice.store_id for choice in selection.choices)]
    named += [] if ranking is None else [store.store_id for store in ranking.stores]
    # in an order that every process repeats: a group that continues finds its runs by their places
    stores = {name: open_store(config.root, name) for name in dict.fromkeys(named)}
    choices = list(selection.choices) + ([] if ranking is None else _other_layers(selection, stores, ranking))
    arms = []
    for choice in (choice for choice in choices if config.pixels or choice.kind != "pixels"):
        store = stores[choice.store_id]
        _check(store, selection, choice.layer)
        label = choice.layer if choice.kind == "pixels" or store.id == selection.store_id else f"{choice.layer} ({_weights(store)})"
        arms.extend(_with_heads(ArmSpec(label, choice.kind, choice.layer, store, "mlp", hidden, choice.score), config.heads))
    home = stores[selection.store_id]
    _check(home, selection, PIXELS)
    width = next((arm.width for arm in arms if arm.kind == "ranked"), arms[0].width)
    for number in range(config.random_layers):
        random = ArmSpec(f"random layer {number}", "random", PIXELS, home, "mlp", hidden, None, random_width=width, random_seed=number)
        arms.extend(_with_heads(random, config.heads))
    if config.scratch:
        arms.append(ArmSpec("scratch", "scratch", PIXELS, home, "mlp", config.scratch_hidden, None))
    if config.cnn:
        arms.append(ArmSpec("scratch cnn", "cnn", CLIPS, home, "mlp", hidden, None))
    names = [arm.name for arm in arms]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the selection has '{twice}' twice", hint="a layer takes part once; remove one of the choices")
    return arms


def _weights(store: Store) -> str:
    """Say what tells a backbone from the one that leads: its weights where they are no trained ones, else its name."""
    backbone = store.identity["backbone"]
    name = str(backbone.get("name", "untrained"))
    return str(backbone.get("weights", "untrained" if name.endswith("untrained") else name)).partition(",")[0]


def _with_heads(arm: ArmSpec, heads: Sequence[str]) -> list[ArmSpec]:
    return [
        replace(arm, name=f"{arm.name} + {head}" if len(heads) > 1 else arm.name, head=head, hidden=arm.hidden if head == "mlp" else ())
        for head in heads
    ]


def _ranking(selection: Selection, path: Path) -> Ranking:
    try:
        return records.load(Ranking, path.parent / selection.ranking)
    except LayerscoutError as error:
        raise DataError(f"all layers were asked for, and the ranking cannot be read: {error}", hint="layerscout probe writes it") from None


def _other_layers(selection: Selection, stores: dict[str, Store], ranking: Ranking) -> list[Choice]:
    """Every layer of the ranking's stores, and of the twin, that was not chosen, with its score from the ranking."""
    ranked = {(layer.store_id or selection.store_id, layer.name): layer for layer in ranking.candidates}
    twins = {layer.name: layer for layer in ranking.layers if layer.role == "twin"}
    backbones = {store for store, _ in ranked}
    chosen = {(choice.store_id, choice.layer) for choice in selection.choices}
    found = []
    for store in stores.values():
        part: Literal["layer", "twin"] = "layer" if store.id in backbones else "twin"
        for name in (name for name, spec in store.specs.items() if spec.role == "layer" and (store.id, name) not in chosen):
            layer = ranked.get((store.id, name)) if part == "layer" else twins.get(name)
            value = None if layer is None else layer.ordered_by(selection.score_kind or "S")
            found.append(Choice(kind=part, store_id=store.id, layer=name, rank=None, score=value.value if value else None))
    return found


def in_loop_arms(arms: Sequence[ArmSpec], config: TrainConfig) -> list[ArmSpec]:
    """Return the best ranked layer's block with every head, followed by its controls: re-initialised, shuffled, no and a trained block.

    When all layers were asked for, the other blocks of the ranked backbone come after them.

    Raises
    ------
    UsageError
        The selection has no ranked layer.
    DataError
        Two arms' names differ only in signs that no folder can have.
    """
    ranked = [arm for arm in arms if arm.kind == "ranked"]
    if not ranked:
        raise UsageError("in-loop training needs a ranked layer, and the selection has none", hint="use --mode offline or online")
    found = []
    for best in (arm for arm in ranked if arm.layer == ranked[0].layer and arm.store.id == ranked[0].store.id):
        head = best.name.removeprefix(best.layer)  # " + mlp" when heads are compared
        found.append(best)
        found.extend(replace(best, name=name + head, kind=kind, score=None) for kind, name in IN_LOOP_CONTROLS.items())
    if config.all_layers:
        found += [arm for arm in arms if arm.kind in {"ranked", "layer", "middle", "worst"} and arm not in found]
    by_folder = {arm.folder: arm.name for arm in found}
    for arm in found:
        if by_folder[arm.folder] != arm.name:
            message = f"the results of '{arm.name}' and of '{by_folder[arm.folder]}' would lie in one folder, {arm.folder}"
            raise DataError(message, hint="train them with two commands and two --out")
    return found


def check_environment(config: TrainConfig, store: Store, path: Path) -> None:
    """Refuse to train on another environment than the one that the layers were ranked on."""
    recorded = played_attributes(store).get("environment")
    if recorded is None:
        raise UsageError(
            f"{path} was made from an imported dataset, which names no environment to play", hint="collect one with layerscout collect"
        )
    if recorded != config.environment:
        raise UsageError(
            f"{path} was made from '{recorded}', not from '{config.environment}'",
            hint=f"collect, extract and probe {config.environment}, or train where it was made: {shell('train', recorded, '--selection', path)}",
        )


def _check(store: Store, selection: Selection, layer: str) -> None:
    if layer not in store.specs:
        raise DataError(f"store {store.id} has no layer '{layer}'", hint=f"layers: {', '.join(store.specs)}")
    if store.identity["dataset"]["digest"] != selection.dataset_digest:
        raise DataError(f"store {store.id} holds another dataset than the selection", hint="probe stores of one dataset, then train")
