"""LTX-Video checkpoints, described layer by layer.

Latent frames are packed into one row of tokens, and every token has a time of its own. ``denoise``: all tokens at one low
share of noise. ``condition``: clean frames of the past at time 0, then slots of pure noise at time 1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from layerscout.errors import DataError
from layerscout.extract.backbones.counting import attention, feed_forward
from layerscout.extract.backbones.denoisers.family import Configurations, DenoiserFamily, Details, block_layers
from layerscout.extract.backbones.denoisers.options import DenoiserOptions, Reading, Training

TEXT_LENGTH, TEXT_WIDTH = 128, 4096
CAUSAL_POSITIONS = "LTXConditionPipeline"  # from 0.9.5 on: the first latent frame is one frame, positions count frames so
IMAGE_ONLY = ("LTXPipeline", "LTXImageToVideoPipeline")  # 0.9.0 and 0.9.1: conditioned on one image, positions count latent frames


class LtxOptions(DenoiserOptions):
    """``frames`` is 8k+1 (9); ``frame_rate`` is frames a second as the model is told."""

    frame_rate: float = Field(default=25.0, gt=0.0)


def training(found: Configurations, chosen: LtxOptions) -> Training:
    """Tell the generation by its pipeline, and the ratios by the VAE; refuses relatives."""
    pipeline, model = found.index.get("_class_name"), found.model
    if pipeline not in (CAUSAL_POSITIONS, *IMAGE_ONLY):
        raise DataError(
            f"{found.source} is made for {pipeline}, expected {IMAGE_ONLY[0]} or {CAUSAL_POSITIONS}", hint="choose an LTX-Video checkpoint"
        )
    if model["in_channels"] != found.vae["latent_channels"] or model.get("patch_size", 1) != 1 or model.get("patch_size_t", 1) != 1:
        raise DataError(f"{found.source} does not take one latent cell a token", hint="choose an LTX-Video checkpoint")
    pixels, step = compression(found.vae)
    causal = pipeline == CAUSAL_POSITIONS
    return Training(
        title="LTX-Video",
        step=step,
        pixels=pixels,
        cell=pixels,
        regimes=("denoise", "condition"),
        frames={"denoise": 9, "condition": 9 if causal else 1},
        longest=None if causal else 1,
    )


def details(found: Configurations, chosen: LtxOptions, reading: Reading) -> Details:
    """Say what a pass needs: the frame rate and how positions are counted."""
    model, causal = found.model, found.index["_class_name"] == CAUSAL_POSITIONS
    return Details(
        layers=block_layers({"transformer_blocks": [block_parameters(model)] * model["num_layers"]}, found.width),
        latent_shape=(found.vae["latent_channels"], reading.past, *reading.latent_size(compression(found.vae)[0])),
        text=(TEXT_LENGTH, model.get("caption_channels", TEXT_WIDTH)),
        identity={"frame_rate": chosen.frame_rate, "positions": "causal" if causal else "plain"},
        network={"frame_rate": chosen.frame_rate, "causal": causal},
    )


def block_parameters(model: dict[str, Any]) -> int:
    """Parameters of one block: attention to itself and to the text, feed-forward, modulation."""
    width, source = model["num_attention_heads"] * model["attention_head_dim"], model.get("cross_attention_dim", 2048)
    biases = model.get("attention_bias", True), model.get("attention_out_bias", True)
    attentions = attention(width, width, None, *biases) + attention(width, width, source, *biases) + 4 * width
    norms = 2 * width if model.get("norm_elementwise_affine", False) else 0
    return attentions + norms + feed_forward(width, 4 * width, model.get("activation_fn", "gelu-approximate")) + 6 * width


def compression(vae: Mapping[str, Any]) -> tuple[int, int]:
    """Return pixels a latent cell, and frames a latent frame."""
    halvings = 2 ** sum(vae["spatio_temporal_scaling"])
    pixels = vae.get("spatial_compression_ratio") or vae["patch_size"] * halvings
    return pixels, vae.get("temporal_compression_ratio") or vae["patch_size_t"] * halvings


FAMILY = DenoiserFamily(
    name="ltx",
    title="LTX-Video",
    model="LTXVideoTransformer3DModel",
    vae="AutoencoderKLLTXVideo",
    network="ltx:Ltx",
    options=LtxOptions,
    needed={
        "transformer": ("num_attention_heads", "attention_head_dim", "num_layers", "in_channels"),
        "vae": ("latent_channels", "patch_size", "patch_size_t", "spatio_temporal_scaling"),
    },
    training=training,
    details=details,
    parts=("model_index.json", "transformer", "vae"),
)
build = FAMILY.build
