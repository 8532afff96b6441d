"""VideoMAE encoders from a local folder or a hub id; its position table fits one frame count and one size."""

from __future__ import annotations

from typing import Any

from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.encoders.encoders import EncoderOptions, Family, Geometry, describe, fixed_geometry, sides


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; it takes its own frame count and size only."""
    return describe(FAMILY, source, options)


def _geometry(config: dict[str, Any], options: EncoderOptions) -> Geometry:
    return fixed_geometry("VideoMAE", config, options, config["tubelet_size"], sides(config["patch_size"]))


FAMILY = Family(name="videomae", model="VideoMAEModel", model_type="videomae", blocks="encoder.layer", geometry=_geometry)
