"""ViViT encoders from a local folder or a hub id: one sequence of tubelets in joint attention, class token first."""

from __future__ import annotations

from typing import Any

from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.encoders.encoders import HALVES, EncoderOptions, Family, Geometry, describe, fixed_geometry


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; it takes its own frame count and size only."""
    return describe(FAMILY, source, options)


def _geometry(config: dict[str, Any], options: EncoderOptions) -> Geometry:
    tubelet, height, width = config["tubelet_size"]
    return fixed_geometry("ViViT", config, options, tubelet, (height, width))


FAMILY = Family(
    name="vivit",
    model="VivitModel",
    model_type="vivit",
    blocks="layers",
    geometry=_geometry,
    construct={"add_pooling_layer": False},  # no layer of ours, and classifiers have none to load
    class_token=True,
    normalised=HALVES,
)
