"""VideoMAE encoders from a local folder or a hub id; its position table fits one frame count and one size."""

from __future__ import annotations

from typing import Any

from layerscout.extract.backbones.encoders.encoders import EncoderFamily, EncoderOptions, Geometry, block_parameters, fixed_geometry, sides


def _geometry(config: dict[str, Any], options: EncoderOptions) -> Geometry:
    return fixed_geometry("VideoMAE", config, options, config["tubelet_size"], sides(config["patch_size"]))


def _parameters(config: dict[str, Any]) -> int:
    bias = config.get("qkv_bias", config["qv_bias"])  # its older name; keys have none
    return block_parameters(config["hidden_size"], config["intermediate_size"], bias) - (config["hidden_size"] if bias else 0)


FAMILY = EncoderFamily(
    name="videomae",
    model="VideoMAEModel",
    model_type="videomae",
    blocks="encoder.layer",
    defaults={
        "image_size": 224,
        "patch_size": 16,
        "num_frames": 16,
        "tubelet_size": 2,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "intermediate_size": 3072,
        "qv_bias": True,
    },
    geometry=_geometry,
    parameters=_parameters,
)
build = FAMILY.build
