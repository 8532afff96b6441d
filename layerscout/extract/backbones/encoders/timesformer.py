"""TimeSformer encoders from a local folder or a hub id.

Its blocks put out the class token, then height, width and time with time fastest; here they are brought to time, height,
width. Its divided attention reads the number of frames from the configuration and takes any other without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from layerscout.errors import DataError
from layerscout.extract.backbones.base import TokenGrid
from layerscout.extract.backbones.counting import attention, linear
from layerscout.extract.backbones.encoders.encoders import EncoderFamily, EncoderOptions, Geometry, block_parameters, fixed_geometry, sides

if TYPE_CHECKING:
    from torch import Tensor


def _geometry(config: dict[str, Any], options: EncoderOptions) -> Geometry:
    if config["attention_type"] == "space_only":
        raise DataError(
            "this TimeSformer has attention_type 'space_only': it sees single frames", hint="use a divided_space_time checkpoint"
        )
    return fixed_geometry("TimeSformer", config, options, 1, sides(config["patch_size"]))


def time_first(tokens: Tensor, grid: TokenGrid) -> Tensor:
    """Bring tokens from (height, width, time) to (time, height, width)."""
    return tokens.unflatten(1, (grid.height * grid.width, grid.time)).transpose(1, 2).flatten(1, 2)


def _parameters(config: dict[str, Any]) -> int:
    width, bias = config["hidden_size"], config["qkv_bias"]
    in_time = (
        attention(width, width, bias=bias) + linear(width, width) + 2 * width if config["attention_type"] == "divided_space_time" else 0
    )
    return block_parameters(width, config["intermediate_size"], bias) + in_time


FAMILY = EncoderFamily(
    name="timesformer",
    model="TimesformerModel",
    model_type="timesformer",
    blocks="encoder.layer",
    defaults={
        "image_size": 224,
        "patch_size": 16,
        "num_frames": 8,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "intermediate_size": 3072,
        "qkv_bias": True,
        "attention_type": "divided_space_time",
    },
    geometry=_geometry,
    parameters=_parameters,
    order=time_first,
    class_token=True,
    normalised=((0.45, 0.45, 0.45), (0.225, 0.225, 0.225)),
)
build = FAMILY.build
