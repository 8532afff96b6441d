"""A video encoder of transformers in memory: normalised pixels in, one pass through its blocks."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.backbones.base import LayerInfo
from layerscout.extract.backbones.encoders.encoders import EncoderFamily, Geometry
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.backbones.pixels import PixelScaling
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.transformers_folder import completed
from layerscout.extract.checkpoints.transformers_loading import load_transformers


def load_encoder(
    family: EncoderFamily,
    folder: CheckpointFolder,
    written: dict[str, Any],
    geometry: Geometry,
    scaling: PixelScaling,
    device: torch.device,
    dtype: torch.dtype | None,
) -> LoadedBackbone:
    """Load an encoder with its weights.

    Parameters
    ----------
    written
        Its configuration, with the geometry that was asked for.
    dtype
        What it computes in (default: float32).
    """
    model = load_transformers(family.model, folder, completed(written), family.construct, family.idle, dtype or torch.float32)
    return LoadedEncoder(family, geometry, scaling, model.to(device), device, dtype or torch.float32)


class LoadedEncoder(LoadedBackbone):
    """An encoder in memory; clips of another shape than it was described for are refused."""

    def __init__(
        self, family: EncoderFamily, geometry: Geometry, scaling: PixelScaling, model: Any, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.module, self.device = model, device
        self._family, self._geometry, self._scaling, self._dtype = family, geometry, scaling, dtype
        parent, _, self._list = family.blocks.rpartition(".")
        self._parent = model.get_submodule(parent)
        self._blocks: Any = getattr(self._parent, self._list)

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        """Scale pixels as the checkpoint's processor does, and run all blocks once.

        Raises
        ------
        DataError
            The clip has another shape than the encoder was described for.
        """
        expected = (self._geometry.frames, *self._geometry.size, 3)
        if tuple(clip.shape[1:]) != expected:  # some of these models take any shape and answer wrongly
            raise DataError(
                f"{self._family.name} was described for clips {'x'.join(map(str, expected))} and is given {'x'.join(map(str, clip.shape[1:]))}",
                hint="set extract.backbone_options frames and size, and extract again",
            )
        pixels = self._scaling(clip).permute(0, 1, 4, 2, 3).to(self._dtype)
        self.module(**{self._family.pixels: pixels}, **self._family.call)

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        """Tokens without the class token, in the order time, height, width."""
        hidden = _hidden(output)
        return self._family.order(hidden[:, 1:] if self._family.class_token else hidden, self._geometry.grid)

    def class_token(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip feature"]:
        """The first token of a layer's output; an error for encoders that have none."""
        return _hidden(output)[:, 0] if self._family.class_token else super().class_token(output, layer)

    def truncate(self, last: LayerInfo) -> None:
        """Keep the blocks up to ``last`` in the model's list; all of them stay in memory."""
        setattr(self._parent, self._list, self._blocks[: last.depth + 1])


def _hidden(output: Any) -> Tensor:
    """Hidden states of a block, which gives them alone or first of a tuple."""
    return output[0] if isinstance(output, tuple) else output
