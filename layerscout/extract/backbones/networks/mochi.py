"""Mochi 1 in memory: noisy latents, and a time that runs backwards."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.denoisers.mochi import PIXELS
from layerscout.extract.backbones.denoisers.options import Reading
from layerscout.extract.backbones.networks.latent_backbone import TRAIN_STEPS, LatentBackbone, flow_noise, video
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.loading import load_model

Latents = Float[Tensor, "clip channel slot row column"]


class Fixed(nn.Module):
    """Answers the same whatever it is asked."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def forward(self, *asked: Any, **named: Any) -> Any:
        """Return what the constructor was given, whatever is asked."""
        return self._answer


class Mochi(LatentBackbone):
    """Mochi 1 on one device; its VAE and rotary frequencies stay in float32."""

    def __init__(self, folder: CheckpointFolder | Path, reading: Reading, text: str, device: torch.device, dtype: torch.dtype) -> None:
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
        found = load_text(text, folder, config.max_sequence_length, config.text_embed_dim)
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
        """Latents less their mean, over their deviation, times the VAE's scale."""
        return (self.latent_mode(video(clip)) - self._mean) * self._scale / self._spread

    def denoise(self, latents: Latents) -> None:
        """Mix noise in along the flow's straight line, and run the transformer once at the time 1,000 · (1 − sigma)."""
        count, sigma = len(latents), self._reading.sigma
        self.module(
            hidden_states=flow_noise(latents, self._noise, sigma).to(self.dtype),
            encoder_hidden_states=self._text.expand(count, -1, -1),
            timestep=torch.full((count,), TRAIN_STEPS * (1.0 - sigma), device=self.device),
            encoder_attention_mask=self._mask.expand(count, -1),
        )
