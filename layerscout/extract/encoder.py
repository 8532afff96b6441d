"""A committed store in, the same features for new frames out: what an agent sees when it acts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.cache.store import Store
from layerscout.errors import DataError, shell
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.device import check_convolutions
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import layer_of, pixel_features
from layerscout.extract.plan import PIXELS
from layerscout.extract.trust import trusted_backbone
from layerscout.progress import SILENT, Reporter


def backbone_of(store: Store, trust: bool = False, reporter: Reporter = SILENT) -> Backbone:
    """Describe the backbone that filled ``store``, verified against the store's identity.

    Parameters
    ----------
    trust
        Whether a checkpoint that is not on this machine may be fetched from where the store says (see `trust`).

    Raises
    ------
    UsageError
        It would have to be fetched, and the store is not trusted.
    DataError
        The weights or the recipe on this machine are not those of the store.
    """
    (name, options), expected = trusted_backbone(store, trust), store.identity["backbone"]
    backbone = find_backbone(name, options)
    if backbone.weights is not None:
        backbone.weights.fetch(reporter)
    here = {"name": backbone.name, "weights_digest": backbone.weights_digest(), **backbone.identity}
    for key in expected:
        if here.get(key) != expected[key]:
            raise DataError(
                f"backbone '{name}' is not the one that filled {store.id}: {key} is {here.get(key)}, stored {expected[key]}",
                hint=f"extract again: {shell('extract', name, 'DATA')}",
            )
    return backbone


class Encoder:
    """Clips to pooled features of some arrays of one store: the store's recipe, up to rounding where batches differ.

    A store of a compiled model is reproduced without compiling. ``trust`` as of `backbone_of`.
    """

    def __init__(self, store: Store, layers: Sequence[str], device: str = "cpu", trust: bool = False) -> None:
        self.backbone = backbone_of(store, trust)
        self.clip = self.backbone.clip
        self._stored = {name: getattr(torch, store.specs[name].dtype) for name in layers}
        wanted = [self.backbone.layer(name) for name in dict.fromkeys(layer_of(name) for name in layers if name != PIXELS)]
        dtype = getattr(torch, store.identity["recipe"]["compute_dtype"])
        check_convolutions(device, dtype)
        self._capture = (
            Capture(self.backbone.load(torch.device(device), dtype), wanted, self.backbone.grid, store.identity["pooling"])
            if wanted
            else None
        )

    def __call__(self, clip: UInt8[Tensor, "clip time height width channel"], layer: str) -> Float[Tensor, "clip pooled"]:
        """Return float32 features of one array for a batch of clips, rounded as the store rounds; the model runs no deeper than its layer."""
        return self.several(clip, [layer])[layer]

    def several(
        self, clip: UInt8[Tensor, "clip time height width channel"], layers: Sequence[str]
    ) -> dict[str, Float[Tensor, "clip pooled"]]:
        """Return several arrays of one pass, which ends after the deepest of them."""
        inside = [layer for layer in layers if layer != PIXELS]
        found = {PIXELS: pixel_features(clip)} if len(inside) < len(layers) else {}
        if inside:
            assert self._capture is not None, "the encoder was built without layers of its backbone"
            found |= self._capture(clip, only=[layer_of(layer) for layer in inside])
        return {layer: found[layer].to(self._stored[layer]).to(torch.float32) for layer in layers}

    def depth(self, layer: str) -> int:
        """Return how deep a pass runs for an array; 0 for the pixels."""
        return 0 if layer == PIXELS else self.backbone.layer(layer_of(layer)).depth + 1
