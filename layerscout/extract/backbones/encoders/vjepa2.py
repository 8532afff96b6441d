"""V-JEPA 2 encoders from a local folder or a hub id: blocks of the encoder, the predictor is not run.

Rotary positions are computed inside every block from the configuration, so the model takes any size and any number of
frames without a word, and answers wrongly unless the configuration says the same. Here it always does: frames and size
that are asked for are written into it, and a clip of another shape is refused.
"""

from __future__ import annotations

from typing import Any

from layerscout.errors import UsageError
from layerscout.extract.backbones.encoders.encoders import EncoderFamily, EncoderOptions, Geometry, block_parameters, sides


def _geometry(config: dict[str, Any], options: EncoderOptions) -> Geometry:
    frames, size = options.frames or config["frames_per_clip"], options.size or config["crop_size"]
    tubelet, patch = config["tubelet_size"], sides(config["patch_size"])
    if frames % tubelet:
        lower = max(tubelet, frames - frames % tubelet)
        raise UsageError(
            f"V-JEPA 2 takes frames in groups of {tubelet}, not {frames}", hint=f"--set extract.backbone_options.frames={lower}"
        )
    if size % patch[0] or size % patch[1]:
        raise UsageError(
            f"frame size {size} is not a multiple of {patch[0]} pixels",
            hint=f"--set extract.backbone_options.size={max(patch[0], size - size % patch[0])}",
        )
    return Geometry(frames, (size, size), tubelet, patch)


FAMILY = EncoderFamily(
    name="vjepa2",
    model="VJEPA2Model",
    model_type="vjepa2",
    blocks="encoder.layer",
    defaults={
        "patch_size": 16,
        "crop_size": 256,
        "frames_per_clip": 64,
        "tubelet_size": 2,
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "mlp_ratio": 4.0,
        "qkv_bias": True,
    },
    geometry=_geometry,
    parameters=lambda config: block_parameters(config["hidden_size"], int(config["hidden_size"] * config["mlp_ratio"]), config["qkv_bias"]),
    configure=lambda geometry: {"frames_per_clip": geometry.frames, "crop_size": geometry.size[0]},
    pixels="pixel_values_videos",
    call={"skip_predictor": True},
    idle=("encoder.layernorm.", "predictor."),
)
build = FAMILY.build
