"""LTX-Video checkpoints from a folder or a hub id, read layer by layer.

Latent frames are packed into one row of tokens, and every token has a time of its own. ``denoise``: all tokens at one low
share of noise. ``condition``: clean frames of the past at time 0, then slots of pure noise at time 1000.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.assemble import assemble, source_of
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

KIND = "LTXVideoTransformer3DModel"
TEXT_LENGTH, TEXT_WIDTH = 128, 4096
CAUSAL_POSITIONS = "LTXConditionPipeline"  # from 0.9.5 on: the first latent frame is one frame, positions count frames so
IMAGE_ONLY = ("LTXPipeline", "LTXImageToVideoPipeline")  # 0.9.0 and 0.9.1: conditioned on one image, positions count latent frames
STATISTICS = ("latents_mean", "latents_std")  # buffers of the VAE, used in float32
TRANSFORMER_FIELDS = ("num_attention_heads", "attention_head_dim", "num_layers", "in_channels")
VAE_FIELDS = ("latent_channels", "patch_size", "patch_size_t", "spatio_temporal_scaling")


class LtxOptions(DenoiserOptions):
    """``frames`` is 8k+1 (9); ``frame_rate`` is frames a second as the model is told."""

    frame_rate: float = Field(default=25.0, gt=0.0)


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a frame count that is not 8k+1, or a size that its latent cells do not divide.
    DataError
        The folder is no LTX-Video checkpoint, or its weights are not safetensors.
    """
    source = need_source("ltx", source)
    chosen = build_settings(LtxOptions, options, "extract.backbone_options")
    checkpoint = source_of(source, chosen.text)
    checkpoint = replace(checkpoint, parts=("model_index.json", *checkpoint.parts))
    folder = checkpoint.described()
    pipeline = read_config(folder, name="model_index.json").get("_class_name")
    if pipeline not in (CAUSAL_POSITIONS, *IMAGE_ONLY):
        raise DataError(
            f"{source} is made for {pipeline}, expected {IMAGE_ONLY[0]} or {CAUSAL_POSITIONS}", hint="choose an LTX-Video checkpoint"
        )
    transformer = read_config(folder / "transformer", kind=KIND, needed=TRANSFORMER_FIELDS)
    vae = read_config(folder / "vae", kind="AutoencoderKLLTXVideo", needed=VAE_FIELDS)
    if (
        transformer["in_channels"] != vae["latent_channels"]
        or transformer.get("patch_size", 1) != 1
        or transformer.get("patch_size_t", 1) != 1
    ):
        raise DataError(f"{source} does not take one latent cell a token", hint="choose an LTX-Video checkpoint")
    pixels, step = _compression(vae)
    causal = pipeline == CAUSAL_POSITIONS
    reading = settle(
        "LTX-Video",
        chosen,
        trained=("denoise", "condition"),
        step=step,
        cell=pixels,
        frames={"denoise": 9, "condition": 9 if causal else 1},
        longest=None if causal else 1,
    )
    text = prompts.describe(chosen.text, TEXT_LENGTH, transformer.get("caption_channels", TEXT_WIDTH))
    width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    return assemble(
        "ltx",
        checkpoint,
        reading,
        step=step,
        cell=pixels,
        layers=block_layers(KIND, transformer, ("transformer_blocks",), width),
        configs=(transformer, vae),
        identity={"text": text, "frame_rate": chosen.frame_rate, "positions": "causal" if causal else "plain"},
        latent_shape=(vae["latent_channels"], reading.past, *(side // pixels for side in reading.size)),
        open_with=lambda folder, device, dtype: _Ltx(folder, chosen, reading, causal, device, dtype),
    )


class _Ltx(LatentBackbone):
    def __init__(self, folder: Path, options: LtxOptions, reading: Reading, causal: bool, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel

        super().__init__(
            load_model(LTXVideoTransformer3DModel, folder / "transformer", dtype, device),
            load_model(AutoencoderKLLTXVideo, folder / "vae", dtype, device, keep=STATISTICS),
            device,
            dtype,
        )
        self._reading = reading
        model, vae = self._configs()
        pixels, step = _compression(vae)
        rows, columns = (side // pixels for side in reading.size)
        self._mean, self._std = (self.vae.get_buffer(name).view(1, -1, 1, 1, 1) for name in STATISTICS)
        self._scale = vae.scaling_factor
        self._noise = self.noise((vae.latent_channels, reading.slots, rows, columns))
        text = prompts.load(options.text, folder, TEXT_LENGTH, model.caption_channels)
        self._text, self._mask = text.embedding.to(device, dtype), text.mask.to(device, dtype)
        times = torch.full((reading.slots,), TRAIN_STEPS * reading.sigma, device=device)
        if reading.regime == "condition":
            times[: reading.past] = 0.0
        self._times = times.repeat_interleave(rows * columns)[None]
        self._grid = {"num_frames": reading.slots, "height": rows, "width": columns}
        self._spacing = (step / options.frame_rate, pixels, pixels)
        self._places = _causal_places(reading.slots, rows, columns, step, pixels, options.frame_rate).to(device) if causal else None

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip channel slot row column"]:
        return (self.latent_mode(video(clip)) - self._mean) * self._scale / self._std

    def denoise(self, latents: Float[Tensor, "clip channel slot row column"]) -> None:
        many, reading = len(latents), self._reading
        noise = self._noise.expand(many, -1, -1, -1, -1)
        if reading.regime == "denoise":
            noised = flow_noise(latents, noise, reading.sigma)
        else:
            noised = torch.cat([latents, noise[:, :, reading.past :]], dim=2)
        self.module(
            hidden_states=noised.flatten(2).transpose(1, 2).to(self.dtype),  # channels last: one latent cell a token
            encoder_hidden_states=self._text.expand(many, -1, -1),
            timestep=self._times.expand(many, -1),
            encoder_attention_mask=self._mask.expand(many, -1),
            **(
                self._grid | {"rope_interpolation_scale": self._spacing}
                if self._places is None
                else {"video_coords": self._places.expand(many, -1, -1)}
            ),
        )

    def _configs(self) -> tuple[Any, Any]:
        return self.module.config, self.vae.config


def _compression(vae: Mapping[str, Any]) -> tuple[int, int]:
    """Pixels a latent cell, and frames a latent frame."""
    halvings = 2 ** sum(vae["spatio_temporal_scaling"])
    pixels = vae.get("spatial_compression_ratio") or vae["patch_size"] * halvings
    return pixels, vae.get("temporal_compression_ratio") or vae["patch_size_t"] * halvings


def _causal_places(slots: int, rows: int, columns: int, step: int, pixels: int, frame_rate: float) -> Float[Tensor, "1 axis token"]:
    """Where every token is: seconds, pixel row, pixel column; the first latent frame is one frame long."""
    seconds = (torch.arange(slots) * step + 1 - step).clamp(min=0) * (1.0 / frame_rate)
    axes = (seconds, torch.arange(rows, dtype=torch.float32) * pixels, torch.arange(columns, dtype=torch.float32) * pixels)
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")])[None]
