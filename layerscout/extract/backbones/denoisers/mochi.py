"""Mochi 1 checkpoints from a folder or a hub id, read layer by layer.

A clip of 6k+1 frames is encoded by the checkpoint's VAE and brought to a low noise level. Time runs backwards in this
family: timestep 1000 is data, 0 is noise. An empty prompt is zeros that no token attends to, as in its training.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.assemble import assemble, check_channels, refuse_empty, source_of
from layerscout.extract.backbones.denoisers.denoiser import (
    TRAIN_STEPS,
    DenoiserOptions,
    LatentBackbone,
    Reading,
    block_layers,
    flow_noise,
    need_source,
    settle,
    video,
)
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.loading import load_model
from layerscout.settings import build as build_settings

KIND = "MochiTransformer3DModel"
TIME_RATIO, PIXELS = 6, 8  # frames and pixels a latent cell

Latents = Float[Tensor, "clip channel slot row column"]


class MochiOptions(DenoiserOptions):
    """``frames`` is 6k+1 (13); ``sigma`` is the share of noise on the straight path, 0 to 1; ``text`` is ``zeros`` or a file."""


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a regime other than ``denoise``, a frame count that is not 6k+1, or a size that its patches do not divide.
    DataError
        The folder is no Mochi checkpoint.
    """
    name = need_source("mochi", source)
    chosen = build_settings(MochiOptions, options, "extract.backbone_options")
    refuse_empty("Mochi", chosen.text, "its own empty prompt is zeros")
    checkpoint = source_of(name, chosen.text)
    folder = checkpoint.described()
    needed = (
        "num_attention_heads",
        "attention_head_dim",
        "num_layers",
        "patch_size",
        "in_channels",
        "text_embed_dim",
        "max_sequence_length",
    )
    transformer = read_config(folder / "transformer", kind=KIND, needed=needed)
    vae = read_config(
        folder / "vae", kind="AutoencoderKLMochi", needed=("latent_channels", "scaling_factor", "latents_mean", "latents_std")
    )
    check_channels(name, transformer["in_channels"], [vae["latent_channels"]])
    cell = PIXELS * transformer["patch_size"]
    reading = settle("Mochi", chosen, trained=("denoise",), step=TIME_RATIO, cell=cell, frames={"denoise": 13})
    text = prompts.describe(chosen.text, transformer["max_sequence_length"], transformer["text_embed_dim"])
    return assemble(
        "mochi",
        checkpoint,
        reading,
        step=TIME_RATIO,
        cell=cell,
        layers=block_layers(KIND, transformer, Mochi.lists, transformer["num_attention_heads"] * transformer["attention_head_dim"]),
        configs=(transformer, vae),
        identity={"text": text},
        latent_shape=(vae["latent_channels"], reading.slots, reading.size[0] // PIXELS, reading.size[1] // PIXELS),
        open_with=lambda folder, device, dtype: Mochi(folder, chosen.text, reading, device, dtype),
    )


class Fixed(nn.Module):
    """Answers the same whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def forward(self, *asked: Any, **named: Any) -> Any:
        return self._answer


class Mochi(LatentBackbone):
    """Mochi 1 in memory."""

    def __init__(self, folder: Path, text: str, reading: Reading, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLMochi, MochiTransformer3DModel

        super().__init__(
            # its rotary frequencies are weights: rounded, positions would drift
            load_model(MochiTransformer3DModel, folder / "transformer", dtype, device, keep=("pos_frequencies",)),
            # its VAE sees waves of 64 periods a unit over the pixels, which half precision cannot hold
            load_model(AutoencoderKLMochi, folder / "vae", torch.float32, device),
            device,
            dtype,
        )
        self._reading = reading
        config: Any = self.module.config
        shape: Any = self.vae.config
        self._mean, self._spread = (
            torch.tensor(values, device=device).view(1, -1, 1, 1, 1) for values in (shape.latents_mean, shape.latents_std)
        )
        self._scale = shape.scaling_factor
        self._fix_positions()
        self._noise = self.noise((shape.latent_channels, reading.slots, *(side // PIXELS for side in reading.size)))
        found = prompts.load(text, folder, config.max_sequence_length, config.text_embed_dim)
        self._text = found.embedding.to(device, dtype)
        self._mask = torch.zeros_like(found.mask).bool().to(device) if text == "zeros" else found.mask.bool().to(device)

    def _fix_positions(self) -> None:
        """Compute the rotary table once: it is the same in every pass, and the model warns of the CPU whenever it makes one."""
        module: Any = self.module
        cells = (side // (PIXELS * module.config.patch_size) for side in self._reading.size)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "In CPU autocast")
            module.rope = Fixed(module.rope(module.pos_frequencies, self._reading.slots, *cells, device=self.device, dtype=torch.float32))

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Latents:
        return (self.latent_mode(video(clip)) - self._mean) * self._scale / self._spread

    def denoise(self, latents: Latents) -> None:
        count, sigma = len(latents), self._reading.sigma
        self.module(
            hidden_states=flow_noise(latents, self._noise, sigma).to(self.dtype),
            encoder_hidden_states=self._text.expand(count, -1, -1),
            timestep=torch.full((count,), TRAIN_STEPS * (1.0 - sigma), device=self.device),
            encoder_attention_mask=self._mask.expand(count, -1),
        )
