"""LTX-Video in memory: latents packed into one row of tokens, each with a time and a place of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.extract.backbones.denoisers.ltx import TEXT_LENGTH, compression
from layerscout.extract.backbones.denoisers.options import Reading
from layerscout.extract.backbones.networks.latent_backbone import TRAIN_STEPS, LatentBackbone, flow_noise, video
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.loading import load_model

STATISTICS = ("latents_mean", "latents_std")  # buffers of the VAE, used in float32


class Ltx(LatentBackbone):
    """LTX-Video on one device: latents are one row of tokens, each with a time and a place of its own."""

    def __init__(
        self,
        folder: CheckpointFolder | Path,
        reading: Reading,
        text: str,
        device: torch.device,
        dtype: torch.dtype,
        *,
        frame_rate: float,
        causal: bool,
    ) -> None:
        from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel

        super().__init__(
            load_model(LTXVideoTransformer3DModel, folder / "transformer", dtype, device),
            load_model(AutoencoderKLLTXVideo, folder / "vae", dtype, device, keep=STATISTICS),
            device,
            dtype,
        )
        self._reading = reading
        model, vae = self._configs()
        pixels, step = compression(vae)
        rows, columns = (side // pixels for side in reading.size)
        self._mean, self._std = (self.vae.get_buffer(name).view(1, -1, 1, 1, 1) for name in STATISTICS)
        self._scale = vae.scaling_factor
        self._noise = self.noise((vae.latent_channels, reading.slots, rows, columns))
        found = load_text(text, folder, TEXT_LENGTH, model.caption_channels)
        self._text, self._mask = found.embedding.to(device, dtype), found.mask.to(device, dtype)
        times = torch.full((reading.slots,), TRAIN_STEPS * reading.sigma, device=device)
        if reading.regime == "condition":
            times[: reading.past] = 0.0
        self._times = times.repeat_interleave(rows * columns)[None]
        self._grid = {"num_frames": reading.slots, "height": rows, "width": columns}
        self._spacing = (step / frame_rate, pixels, pixels)
        self._places = causal_places(reading.slots, rows, columns, step, pixels, frame_rate).to(device) if causal else None

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip channel slot row column"]:
        """Latents less their mean, over their deviation, times the VAE's scale."""
        return (self.latent_mode(video(clip)) - self._mean) * self._scale / self._std

    def denoise(self, latents: Float[Tensor, "clip channel slot row column"]) -> None:
        """Pack noisy latents into tokens, one a cell, each with its own time and place, and run the transformer once."""
        many, reading = len(latents), self._reading
        noise = self._noise.expand(many, -1, -1, -1, -1)
        if reading.regime == "denoise":
            noised = flow_noise(latents, noise, reading.sigma)
        else:
            noised = torch.cat([latents, noise[:, :, reading.past :]], dim=2)
        self.module(
            hidden_states=noised.flatten(2).transpose(1, 2).contiguous().to(self.dtype),  # channels last: one latent cell a token
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


def causal_places(slots: int, rows: int, columns: int, step: int, pixels: int, frame_rate: float) -> Float[Tensor, "1 axis token"]:
    """Return where every token is: seconds, pixel row, pixel column; the first latent frame is one frame long."""
    seconds = (torch.arange(slots) * step + 1 - step).clamp(min=0) * (1.0 / frame_rate)
    axes = (seconds, torch.arange(rows, dtype=torch.float32) * pixels, torch.arange(columns, dtype=torch.float32) * pixels)
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")])[None]
