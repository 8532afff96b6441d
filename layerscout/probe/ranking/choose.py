"""A ranking's layers in order in, what goes to reinforcement learning out."""

from __future__ import annotations

from collections.abc import Sequence

from layerscout.cache.records import Choice, LayerScore


def choose(
    layers: Sequence[LayerScore], top_k: int, store_id: str, twin_id: str | None, kind: str = "S"
) -> tuple[tuple[Choice, ...], tuple[str, ...]]:
    """Pick the best layers, the middle one picked blind, the worst, the best one's twin, and the controls.

    ``layers`` is in the ranking's order. Of several stores, the middle layer and the controls are those of the best layer's
    store. No layer is chosen twice; a part that falls on a chosen layer becomes a note.
    """
    ranked = [layer for layer in layers if layer.role == "layer"]
    best = ranked[0]
    beside = sorted((layer for layer in ranked if layer.store_id == best.store_id), key=lambda layer: layer.depth)
    wanted: list[tuple[str, LayerScore]] = [("ranked", layer) for layer in ranked[:top_k]]
    wanted += [("middle", beside[len(beside) // 2]), ("worst", ranked[-1])]
    wanted += [("twin", layer) for layer in layers if layer.role == "twin" and layer.name == best.name and layer.label == best.label]
    wanted += [("pixels", layer) for layer in layers if layer.role == "control" and layer.store_id == best.store_id]
    choices: dict[tuple[str, str], Choice] = {}
    notes = []
    for part, layer in wanted:
        source = layer.store_id or (twin_id if layer.role == "twin" and twin_id is not None else store_id)
        if (source, layer.name) in choices:
            notes.append(f"the {part} layer {layer.name} is already chosen as {choices[source, layer.name].kind}")
            continue
        rank = ranked.index(layer) + 1 if layer.role == "layer" else None
        value = layer.ordered_by(kind)
        choices[source, layer.name] = Choice.model_validate(
            {"kind": part, "store_id": source, "layer": layer.name, "rank": rank, "score": value.value if value else None}
        )
    return tuple(choices.values()), tuple(notes)
