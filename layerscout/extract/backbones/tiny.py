"""The embedded video-diffusion transformers: ``tiny`` and the deeper ``tiny-2``, which run anywhere; each trained, and its untrained twin.

Three past frames and one future slot of 32x32 RGB pixels, patches of 8x8, eight or twelve CogVideoX blocks of width 64.
They were trained to predict the clean future frame from a clean past and a noised future (``tools/pretrain_tiny.py``);
features are read in the same regime, with pure noise in the future slot, so a row never sees a later frame.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid, network_part

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone

PAST = 3  # frames
FUTURE = 1  # slots
SIZE = 32  # pixels
PATCH = 8  # pixels
WIDTH = 64
BLOCKS = {"tiny": 8, "tiny-2": 12}
TEXT_WIDTH = 8  # one zero text token: the block needs a text stream, the model none
PURE_NOISE = 999  # timestep of sigma = 1 in the model's 1000 steps
NOISE_SEED = 5
UNTRAINED_SEED = 0

_SHARED: dict[str, Any] = {
    "num_attention_heads": 4,
    "attention_head_dim": WIDTH // 4,
    "in_channels": 3,
    "out_channels": 3,
    "time_embed_dim": 64,
    "text_embed_dim": TEXT_WIDTH,
    "sample_width": SIZE,
    "sample_height": SIZE,
    "sample_frames": PAST + FUTURE,
    "patch_size": PATCH,
    "temporal_compression_ratio": 1,
    "max_text_seq_length": 1,
}
ARCHITECTURES: dict[str, dict[str, Any]] = {model: _SHARED | {"num_layers": blocks} for model, blocks in BLOCKS.items()}


def pretrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """``tiny`` as it was trained, from the weights inside the package."""
    return _describe("tiny", True, source, options)


def untrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """The architecture of ``tiny`` with random weights (seed 0): the control for what training adds."""
    return _describe("tiny", False, source, options)


def second_pretrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """``tiny-2`` as it was trained; its file holds float16, which loading widens."""
    return _describe("tiny-2", True, source, options)


def second_untrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """The architecture of ``tiny-2`` with random weights (seed 0)."""
    return _describe("tiny-2", False, source, options)


def _describe(model: str, trained: bool, source: str | None, options: dict[str, Any]) -> Backbone:
    name = model if trained else f"{model}-untrained"
    if source or options:
        raise UsageError(f"backbone '{name}' takes no source and no options", hint=f"write just: {name}")

    def load(device: Any, dtype: Any = None) -> LoadedBackbone:
        return network_part("tiny.tiny:Tiny")(model, weights(model) if trained else None, device, dtype)

    cells = SIZE // PATCH
    parameters = json.loads((files(__package__) / "weights" / f"{model}.json").read_text(encoding="utf-8"))["parameters_per_block"]
    return Backbone(
        name=name,
        clip=ClipSpec(offsets=tuple(range(1 - PAST, 1)), frame_shape=(SIZE, SIZE, 3)),
        grid=TokenGrid(time=PAST + FUTURE, height=cells, width=cells, past=PAST),
        layers=tuple(LayerInfo(f"blocks.{i}", f"transformer_blocks.{i}", i, WIDTH, parameters) for i in range(BLOCKS[model])),
        default_pooling="future/grid4",
        identity={
            "class": "CogVideoXTransformer3DModel",
            "architecture": ARCHITECTURES[model],
            "regime": "condition",
            "sigma": 1.0,
            "noise": f"fixed, seed {NOISE_SEED}",
            "text": "zeros",
        },
        weights_digest=lambda: f"sha256:{hashlib.sha256(weights(model)).hexdigest()}" if trained else _untrained_digest(model),
        load=load,
    )


def weights(model: str) -> bytes:
    """Return the bytes of a model's safetensors file inside the package."""
    return (files(__package__) / "weights" / f"{model}.safetensors").read_bytes()


def _untrained_digest(model: str) -> str:
    from layerscout.extract.backbones.loaded import digest_tensors

    return digest_tensors(network_part("tiny.tiny:new_model")(UNTRAINED_SEED, model).state_dict())
