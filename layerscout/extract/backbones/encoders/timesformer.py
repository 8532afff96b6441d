"""TimeSformer encoders from a local folder or a hub id.

Its blocks put out the class token, then height, width and time with time fastest; here they are brought to time, height,
width. Its divided attention reads the number of frames from the configuration and takes any other without a word.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone, TokenGrid
from layerscout.extract.backbones.encoders.encoders import EncoderOptions, Family, Geometry, describe, fixed_geometry, sides


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; it takes its own frame count and size only."""
    return describe(FAMILY, source, options)


def _geometry(config: dict[str, Any], options: EncoderOptions) -> Geometry:
    if config["attention_type"] == "space_only":
        raise DataError(
            "this TimeSformer has attention_type 'space_only': it sees single frames", hint="use a divided_space_time checkpoint"
        )
    return fixed_geometry("TimeSformer", config, options, 1, sides(config["patch_size"]))


def time_first(tokens: Float[Tensor, "clip token feature"], grid: TokenGrid) -> Float[Tensor, "clip token feature"]:
    """Bring tokens from (height, width, time) to (time, height, width)."""
    return tokens.unflatten(1, (grid.height * grid.width, grid.time)).transpose(1, 2).flatten(1, 2)


FAMILY = Family(
    name="timesformer",
    model="TimesformerModel",
    model_type="timesformer",
    blocks="encoder.layer",
    geometry=_geometry,
    order=time_first,
    class_token=True,
    normalised=((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
)
