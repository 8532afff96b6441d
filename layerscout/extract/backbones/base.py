"""What every video model tells about itself before its weights are read: its clips, its token grid, its layers, its identity.

Nothing here imports torch, so a description costs a fraction of a second. What a model does once it is in memory is
``loaded.LoadedBackbone``. A new family is one function ``build(source, options) -> Backbone`` and one line in the registry.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from layerscout.errors import UsageError, shell, suggest
from layerscout.showing import counted

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone
    from layerscout.extract.checkpoints.checkpoint_weights import CheckpointWeights

NETWORKS = "layerscout.extract.backbones.networks"


def network_part(name: str) -> Any:
    """Return ``module:object`` of the networks: a description names its network as the registry names descriptions, and nothing of
    torch is imported before a model is loaded."""
    module, _, part = name.partition(":")
    return getattr(importlib.import_module(f"{NETWORKS}.{module}"), part)


@dataclass(frozen=True)
class LayerInfo:
    """One named block. ``module`` is its path inside the loaded model; ``width`` its features a token.

    ``grid`` is its own token grid where blocks differ (a U-Net, a convolutional network); None means the backbone's.
    """

    name: str
    module: str
    depth: int
    width: int
    parameters: int
    grid: TokenGrid | None = None


@dataclass(frozen=True)
class ClipSpec:
    """What a clip is for a backbone.

    ``offsets`` are environment steps relative to the row's step t, never positive: a clip is causal.
    ``frame_shape`` is (height, width, channel) as the model takes it; ``resize`` says whether other sizes may be
    brought to it (area filter) or must be refused.
    """

    offsets: tuple[int, ...]
    frame_shape: tuple[int, int, int]
    resize: bool = True

    def __post_init__(self) -> None:
        assert max(self.offsets) == 0, "a causal clip ends at its own step"


@dataclass(frozen=True)
class TokenGrid:
    """Token order of a layer's output: time, height, width, row-major. ``past`` is how many time slots hold the clip; later slots hold noise."""

    time: int
    height: int
    width: int
    past: int

    @property
    def tokens(self) -> int:
        """time · height · width."""
        return self.time * self.height * self.width


class ToldDigest:
    """A digest of weights that remembers what it told, so that no other weights are loaded: ``told`` is None until it was asked."""

    def __init__(self, digest: Callable[[], str]) -> None:
        self._digest = digest
        self.told: str | None = None

    def __call__(self) -> str:
        self.told = self._digest()
        return self.told


@dataclass(frozen=True)
class Backbone:
    """A video model described without its weights.

    ``identity`` holds every value that changes the numbers besides the weights: class, architecture, noise level,
    regime, conditioning. ``weights_digest`` answers without keeping a model; ``load(device, dtype=torch.float32)`` builds
    the model with weights, computing in ``dtype`` except where the family keeps modules in float32. ``class_token`` says
    whether the layers carry one beside the video tokens. ``latent_shape`` is the shape of one clip's latents, for models
    that can start from them (``LatentBackbone``). ``seen`` names, for every time slot that holds the clip, the newest
    environment step in it, relative to the row's step: needed to align rewards with slots. ``weights`` is what the model takes from
    a checkpoint, None where its weights lie in none.
    """

    name: str
    clip: ClipSpec
    grid: TokenGrid
    layers: tuple[LayerInfo, ...]
    default_pooling: str
    identity: dict[str, Any]
    weights_digest: Callable[[], str] = field(repr=False)
    load: Callable[..., LoadedBackbone] = field(repr=False)
    class_token: bool = False
    latent_shape: tuple[int, ...] | None = None
    seen: tuple[int, ...] | None = None
    code: Callable[[], str] | None = field(default=None, repr=False)
    own: bool = False
    weights: CheckpointWeights | None = field(default=None, repr=False)

    def grid_of(self, layer: LayerInfo) -> TokenGrid:
        """Return the token grid of one layer's output."""
        return layer.grid or self.grid

    def layer(self, name: str) -> LayerInfo:
        """Return the layer called ``name``.

        Raises
        ------
        UsageError
            There is none; the message names the nearest.
        """
        known = {layer.name: layer for layer in self.layers}
        if name not in known:
            raise UsageError(
                f"layer '{name}' is not in {self.name} ({counted(len(known), 'layer')}){suggest(name, known)}",
                hint=shell("layers", self.name),
            )
        return known[name]
