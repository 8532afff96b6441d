"""A chosen layer in, a plain torch module out: frames to features, for any other library or script.

z = layer_module("outputs/probe/selection.json")      # the best ranked layer
features = z(frames)                                  # uint8 [batch, time, height, width, channel] → float32 [batch, z.width]
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.cache import records
from layerscout.cache.opening import open_store
from layerscout.cache.records import Selection
from layerscout.errors import DataError, UsageError
from layerscout.extract.clips import fit
from layerscout.extract.device import one_thread_a_product
from layerscout.extract.encoder import Encoder
from layerscout.rl.arms import ArmSpec
from layerscout.rl.seeing.representation import Representation

MOST_SHARED = 4  # frozen layers that are kept for the next call


class LayerModule(nn.Module):
    """The frozen backbone up to one layer, pooled and scaled as agents of a comparison see it.

    It has no parameters and no state of its own: the frozen weights are held once in the process, enter no optimiser and no
    checkpoint, and cannot be trained by accident. It stays on the device that it was made for.

    Attributes
    ----------
    frames
        Frames a clip needs: the newest one last, all consecutive. At an episode's start its first frame is repeated.
    width
        Features out.
    """

    def __init__(self, encoder: Encoder, arm: ArmSpec, standardise: bool, whiten: bool = False) -> None:
        super().__init__()
        with one_thread_a_product():  # as in a comparison, to the last bit
            representation = Representation.measure(arm, standardise, whiten)
        self._shared = (encoder, representation)  # in a tuple: no part of this module's state
        self.layer, self.store_id, self.width = arm.layer, arm.store.id, arm.width
        self.frames = 1 - min(encoder.clip.offsets)

    @torch.no_grad()
    def forward(self, frames: UInt8[Tensor, "batch time height width channel"]) -> Float[Tensor, "batch feature"]:
        """Return the layer's features of the last frame of each clip.

        Raises
        ------
        UsageError
            The frames are not uint8, or not as many as the layer's clip needs.
        """
        if frames.dtype != torch.uint8 or frames.ndim != 5 or frames.shape[1] != self.frames:
            raise UsageError(
                f"frames are {frames.dtype} {tuple(frames.shape)}, expected uint8 [batch, {self.frames}, height, width, channel]",
                hint=f"stack the last {self.frames} frames, the newest last",
            )
        encoder, representation = self._shared
        chosen = frames[:, [self.frames - 1 + offset for offset in encoder.clip.offsets]].cpu().numpy()
        fitted = fit(chosen.reshape(-1, *chosen.shape[2:]), encoder.clip).reshape(*chosen.shape[:2], *encoder.clip.frame_shape)
        features = encoder(torch.from_numpy(np.ascontiguousarray(fitted)), self.layer).cpu().numpy()
        return torch.from_numpy(representation(features)).to(frames.device)


def layer_module(
    selection: Path | str,
    layer: str | None = None,
    *,
    root: Path | str | None = None,
    standardise: bool = True,
    whiten: bool = False,
    device: str = "cpu",
) -> LayerModule:
    """Return the module of one layer of a selection; the same call again shares the same frozen copy.

    Parameters
    ----------
    selection
        ``selection.json`` of ``layerscout probe``.
    layer
        One of its layers (default: the best ranked one).
    root
        Where the stores lie.
    standardise
        Bring each feature to mean 0 and standard deviation 1 over the dataset, as ``layerscout train`` does.
    whiten
        Also decorrelate the features, as ``layerscout train --whiten`` does.

    Raises
    ------
    DataError
        The selection or its store cannot be read, or has no such layer.
    """
    path = Path(selection)
    chosen = records.load(Selection, path)  # at every call: what lies at a path can change
    wanted = [choice for choice in chosen.choices if (choice.layer == layer if layer else choice.kind == "ranked")]
    if not wanted:
        known = ", ".join(choice.layer for choice in chosen.choices)
        raise DataError(f"{path} has no layer '{layer or 'ranked'}'", hint=f"its layers: {known}")
    best = wanted[0]
    return _module(None if root is None else str(Path(root).absolute()), best.store_id, best.layer, standardise, whiten, device)


@lru_cache(maxsize=MOST_SHARED)
def _module(root: str | None, store_id: str, layer: str, standardise: bool, whiten: bool, device: str) -> LayerModule:
    """Load a layer once: a committed store never changes, so these words say all."""
    store = open_store(None if root is None else Path(root), store_id)
    if layer not in store.specs:
        raise DataError(f"store {store.id} has no layer '{layer}'", hint=f"layers: {', '.join(store.specs)}")
    arm = ArmSpec(layer, "exported", layer, store, "mlp", (), None)
    return LayerModule(Encoder(store, [layer], device), arm, standardise, whiten)
