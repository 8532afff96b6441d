"""A backbone's name in, its layers out: the ``layers`` command; no weights are read."""

from __future__ import annotations

from typing import Annotated

import typer

from layerscout.commands.console import Call, table
from layerscout.commands.words import command
from layerscout.showing import counted


@command("layerscout layers tiny")
def layers(
    call: Call, backbone: Annotated[str, typer.Argument(metavar="BACKBONE", help="NAME, NAME:SOURCE, or module:function of your own.")]
) -> None:
    """List a video model's layers without loading its weights.

    For each layer its width and its number of parameters; before them the clip that the model sees.
    """
    from layerscout.extract.backbones.finding import find_backbone

    found = find_backbone(backbone)
    facts = {
        "backbone": backbone,
        "clip_steps": list(found.clip.offsets),
        "frame_shape": list(found.clip.frame_shape),
        "default_pooling": found.default_pooling,
        "layers": [{"name": layer.name, "width": layer.width, "parameters": layer.parameters} for layer in found.layers],
    }
    rows = [(layer.depth, layer.name, layer.width, f"{layer.parameters:,}") for layer in found.layers]
    clip = f"clip of {counted(len(found.clip.offsets), 'frame')} {'x'.join(map(str, found.clip.frame_shape))}, default pooling {found.default_pooling}"
    call.emit(facts, f"{clip}\n{table(('depth', 'layer', 'width', 'parameters'), rows)}")
