"""ViViT encoders from a local folder or a hub id: one sequence of tubelets in joint attention, class token first."""

from __future__ import annotations

from typing import Any

from layerscout.extract.backbones.encoders.encoders import HALVES, EncoderFamily, EncoderOptions, Geometry, block_parameters, fixed_geometry


def _geometry(config: dict[str, Any], options: EncoderOptions) -> Geometry:
    tubelet, height, width = config["tubelet_size"]
    return fixed_geometry("ViViT", config, options, tubelet, (height, width))


FAMILY = EncoderFamily(
    name="vivit",
    model="VivitModel",
    model_type="vivit",
    blocks="layers",
    defaults={
        "image_size": 224,
        "num_frames": 32,
        "tubelet_size": (2, 16, 16),
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "intermediate_size": 3072,
        "qkv_bias": True,
    },
    geometry=_geometry,
    parameters=lambda config: block_parameters(config["hidden_size"], config["intermediate_size"], config["qkv_bias"]),
    construct={"add_pooling_layer": False},  # no layer of ours, and classifiers have none to load
    class_token=True,
    normalised=HALVES,
)
build = FAMILY.build
