"""A committed store in, one of its arrays as a module out, through which gradients pass: what a video model is fine-tuned by."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.cache.store import Store
from layerscout.errors import UsageError
from layerscout.extract.encoder import backbone_of
from layerscout.extract.passes.pooling import CLASS_TOKEN, array_name, layer_of, pool
from layerscout.extract.plan import PIXELS
from layerscout.rl.seeing.representation import Scaler


class PooledLayer(nn.Module):
    """Clips to one array of a store, on the scale that heads see: the model up to the layer, pooled, then standardised.

    The model computes in float32 and stays in evaluation mode, so that dropout is off and normalisations keep their stored statistics.

    Parameters
    ----------
    store, array
        The store, and the name of one of its arrays.
    scaler
        What brings its features to mean 0 and standard deviation 1.
    trust
        As of `backbone_of`.

    Raises
    ------
    UsageError
        The array is the raw pixels or a class token: there is no model to tune, or no grid of tokens to pool.
    """

    def __init__(self, store: Store, array: str, scaler: Scaler, device: str = "cpu", trust: bool = False) -> None:
        super().__init__()
        if array == PIXELS:
            raise UsageError(
                "the raw pixels have no video model that could be tuned", hint="choose a layer of the store, or kind = 'store'"
            )
        poolings = store.identity["pooling"]
        self._poolings = (poolings,) if isinstance(poolings, str) else tuple(poolings)
        backbone = backbone_of(store, trust)
        self._info = backbone.layer(layer_of(array))
        self._pooling = next(name for name in self._poolings if array_name(self._info.name, name, len(self._poolings) == 1) == array)
        if self._pooling == CLASS_TOKEN:
            raise UsageError(f"'{array}' is a class token, and only pooled tokens can be tuned", hint="extract with another pooling")
        self._grid = backbone.grid_of(self._info)
        self._loaded = backbone.load(torch.device(device), torch.float32)
        self._loaded.truncate(self._info)
        self.model = self._loaded.module
        self._output: Any = None
        self.model.get_submodule(self._info.module).register_forward_hook(self._keep)
        self.mean: Tensor
        self.inverse: Tensor
        self.register_buffer("mean", torch.from_numpy(scaler.mean))
        self.register_buffer("inverse", torch.from_numpy(scaler.inverse))

    def forward(self, clips: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip width"]:
        """Run the model up to the layer, pool its tokens as the store did, and standardise them; gradients reach the weights."""
        self._loaded.forward(clips)
        tokens = self._loaded.tokens(self._output, self._info)
        self._output = None
        return (pool(tokens, self._pooling, self._grid) - self.mean) * self.inverse

    def _keep(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._output = output
