"""The embedded video-diffusion transformer: a 2 MB-class model that runs anywhere; trained, and its untrained twin.

Three past frames and one future slot of 32x32 RGB pixels, patches of 8x8, eight CogVideoX blocks of width 64.
It was trained to predict the clean future frame from a clean past and a noised future (``tools/pretrain_tiny.py``);
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
BLOCKS = 8
TEXT_WIDTH = 8  # one zero text token: the block needs a text stream, the model none
PURE_NOISE = 999  # timestep of sigma = 1 in the model's 1000 steps
NOISE_SEED = 5
UNTRAINED_SEED = 0

ARCHITECTURE: dict[str, Any] = {
    "num_attention_heads": 4,
    "attention_head_dim": WIDTH // 4,
    "in_channels": 3,
    "out_channels": 3,
    "time_embed_dim": 64,
    "text_embed_dim": TEXT_WIDTH,
    "num_layers": BLOCKS,
    "sample_width": SIZE,
    "sample_height": SIZE,
    "sample_frames": PAST + FUTURE,
    "patch_size": PATCH,
    "temporal_compression_ratio": 1,
    "max_text_seq_length": 1,
}


def pretrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """The trained model, from the weights inside the package."""
    return _describe("tiny", source, options)


def untrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """The same architecture with random weights (seed 0): the control for what training adds."""
    return _describe("tiny-untrained", source, options)


def _describe(name: str, source: str | None, options: dict[str, Any]) -> Backbone:
    if source or options:
        raise UsageError(f"backbone '{name}' takes no source and no options", hint=f"write just: {name}")

    def load(device: Any, dtype: Any = None) -> LoadedBackbone:
        return network_part("tiny.tiny:Tiny")(weights() if name == "tiny" else None, device, dtype)

    cells = SIZE // PATCH
    parameters = json.loads((files(__package__) / "weights" / "tiny.json").read_text(encoding="utf-8"))["parameters_per_block"]
    return Backbone(
        name=name,
        clip=ClipSpec(offsets=tuple(range(1 - PAST, 1)), frame_shape=(SIZE, SIZE, 3)),
        grid=TokenGrid(time=PAST + FUTURE, height=cells, width=cells, past=PAST),
        layers=tuple(LayerInfo(f"blocks.{i}", f"transformer_blocks.{i}", i, WIDTH, parameters) for i in range(BLOCKS)),
        default_pooling="future/grid4",
        identity={
            "class": "CogVideoXTransformer3DModel",
            "architecture": ARCHITECTURE,
            "regime": "condition",
            "sigma": 1.0,
            "noise": f"fixed, seed {NOISE_SEED}",
            "text": "zeros",
        },
        weights_digest=lambda: f"sha256:{hashlib.sha256(weights()).hexdigest()}" if name == "tiny" else _untrained_digest(),
        load=load,
    )


def weights() -> bytes:
    """Return the bytes of the safetensors file inside the package."""
    return (files(__package__) / "weights" / "tiny.safetensors").read_bytes()


def _untrained_digest() -> str:
    from layerscout.extract.backbones.loaded import digest_tensors

    return digest_tensors(network_part("tiny.tiny:new_model")(UNTRAINED_SEED).state_dict())
