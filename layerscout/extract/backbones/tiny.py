"""The embedded video-diffusion transformer: a 2 MB-class model that runs anywhere; trained, and its untrained twin.

Three past frames and one future slot of 32x32 RGB pixels, patches of 8x8, eight CogVideoX blocks of width 64.
It was trained to predict the clean future frame from a clean past and a noised future (``tools/pretrain_tiny.py``);
features are read in the same regime, with pure noise in the future slot, so a row never sees a later frame.
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid
from layerscout.extract.backbones.loaded import LoadedBackbone, digest_tensors, fixed_noise, scale_pixels

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


def new_model(seed: int) -> nn.Module:
    """Build the transformer with random weights drawn from ``seed`` alone; the global generator is left as it was."""
    from diffusers import CogVideoXTransformer3DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return CogVideoXTransformer3DModel(**ARCHITECTURE)


def predict(
    model: nn.Module, frames: Float[Tensor, "clip time channel height width"], timestep: Tensor
) -> Float[Tensor, "clip time channel height width"]:
    """Predict clean frames; the first ``PAST`` input frames are clean, the rest noised to ``timestep``."""
    text = frames.new_zeros(len(frames), 1, TEXT_WIDTH)
    return model(hidden_states=frames, encoder_hidden_states=text, timestep=timestep).sample


class _Tiny(LoadedBackbone):
    def __init__(self, name: str, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.module = new_model(UNTRAINED_SEED)
        if name == "tiny":
            from safetensors.torch import load

            self.module.load_state_dict(load(_weights()))
        nn.Module.to(self.module.eval().requires_grad_(False), device, dtype)  # that of diffusers warns of any dtype
        self._blocks: Any = self.module.transformer_blocks
        self._noise = fixed_noise((1, FUTURE, 3, SIZE, SIZE), NOISE_SEED).to(device, dtype)

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        past = scale_pixels(clip).to(self._noise.dtype)
        frames = torch.cat([past, self._noise.expand(len(past), -1, -1, -1, -1)], dim=1)
        predict(self.module, frames, torch.full((len(past),), PURE_NOISE, device=self.device))

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        return output[0]

    def truncate(self, last: LayerInfo) -> None:
        self.module.transformer_blocks = self._blocks[: last.depth + 1]


def _describe(name: str, source: str | None, options: dict[str, Any]) -> Backbone:
    if source or options:
        raise UsageError(f"backbone '{name}' takes no source and no options", hint=f"write just: {name}")
    cells = SIZE // PATCH
    parameters = json.loads((files(__package__) / "weights" / "tiny.json").read_text())["parameters_per_block"]
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
        weights_digest=lambda: f"sha256:{hashlib.sha256(_weights()).hexdigest()}" if name == "tiny" else _untrained_digest(),
        load=lambda device, dtype=torch.float32: _Tiny(name, device, dtype),
    )


def _weights() -> bytes:
    return (files(__package__) / "weights" / "tiny.safetensors").read_bytes()


def _untrained_digest() -> str:
    return digest_tensors(new_model(UNTRAINED_SEED).state_dict())
