"""The owner's four candidate layers on the grid world's planes: no pretraining, a known right answer.

An observation is the last two frames of planes, flattened to 256 values in [0, 1]. Random weights come from
seed 7. ``structured_mid`` computes the agent's and the goal's coordinates in [-1, 1], their differences and the
differences squared; it is the layer that a good ranking must find.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid, network_part

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone

CELLS = 8
PLANES = 2
HISTORY = 2
INPUT = HISTORY * PLANES * CELLS * CELLS
RANDOM = {"random_wide": (128, 0.20), "random_narrow": (16, 0.30), "bottleneck": (4, 0.35)}  # width, weight scale
ORDER = ("random_wide", "structured_mid", "random_narrow", "bottleneck")
STRUCTURED_WIDTH = 8
SEED = 7


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """The four layers; they take no source and no options."""
    if source or options:
        raise UsageError("backbone 'synthetic' takes no source and no options", hint="write just: synthetic")
    widths = {name: width for name, (width, _) in RANDOM.items()} | {"structured_mid": STRUCTURED_WIDTH}
    return Backbone(
        name="synthetic",
        clip=ClipSpec(offsets=(-1, 0), frame_shape=(CELLS, CELLS, PLANES), resize=False),
        grid=TokenGrid(time=1, height=1, width=1, past=1),
        layers=tuple(
            LayerInfo(name, name, depth, widths[name], widths[name] * INPUT if name in RANDOM else 0) for depth, name in enumerate(ORDER)
        ),
        default_pooling="all/mean",
        identity={"class": "synthetic", "seed": SEED, "regime": "none"},
        weights_digest=_digest,
        load=_load,
    )


def _load(device: Any, dtype: Any = None) -> LoadedBackbone:
    return network_part("synthetic:Synthetic")(device, dtype)


def _digest() -> str:
    from layerscout.extract.backbones.loaded import digest_tensors

    return digest_tensors(network_part("synthetic:new_modules")().state_dict())
