"""Hooks that pool inside the forward pass: clips in, one pooled matrix a layer out, in one pass for all layers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import LayerInfo, LoadedBackbone, TokenGrid
from layerscout.extract.pooling import pool


class Capture:
    """Runs a loaded backbone and returns what the wanted layers said, pooled in float32 while the pass runs.

    Only the pooled vectors outlive a block, so memory does not grow with the number of layers. A pass ends after the
    deepest wanted layer. The hooks return None: anything else would replace the block's output.
    """

    def __init__(self, loaded: LoadedBackbone, layers: Sequence[LayerInfo], grid: TokenGrid, pooling: str) -> None:
        self._loaded, self._grid, self._pooling = loaded, grid, pooling
        self.layers = tuple(layers)
        self._pass = threading.local()  # each thread's own pass: several batches may be under way at once
        for layer in self.layers:
            loaded.module.get_submodule(layer.module).register_forward_hook(self._hook(layer.name))

    @torch.inference_mode()
    def __call__(
        self, clip: UInt8[Tensor, "clip time height width channel"], only: Sequence[str] | None = None
    ) -> dict[str, Float[Tensor, "clip pooled"]]:
        """Return each layer's pooled activation for a batch of clips, on the backbone's device.

        Passes of several threads may overlap if they want the same deepest layer.

        Parameters
        ----------
        only
            Names of the layers wanted from this pass (default: all of ``layers``).

        Raises
        ------
        DataError
            A layer did not fire, or fired more than once, in this pass.
        """
        wanted = [layer for layer in self.layers if only is None or layer.name in only]
        self._loaded.truncate(max(wanted, key=lambda layer: layer.depth))
        pooled: dict[str, Tensor] = {}
        self._pass.wanted, self._pass.pooled = {layer.name for layer in wanted}, pooled
        try:
            self._loaded.forward(clip.to(self._loaded.device))
        finally:
            self._pass.wanted = frozenset()
        missing = [layer.name for layer in wanted if layer.name not in pooled]
        if missing:
            raise DataError(
                f"layer '{missing[0]}' never ran in the forward pass", hint="the backbone's layer list does not match its model"
            )
        return pooled

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            if name not in getattr(self._pass, "wanted", ()):
                return  # nobody asked in this pass
            pooled = self._pass.pooled
            if name in pooled:
                raise DataError(f"layer '{name}' ran twice in one forward pass", hint="list the block that runs once")
            pooled[name] = pool(self._loaded.tokens(output), self._pooling, self._grid)

        return hook
