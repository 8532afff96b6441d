"""Stable Video Diffusion in memory: a U-Net over frames, beside each of which lies the image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.base import LayerInfo
from layerscout.extract.backbones.denoisers.options import NOISE_SEED, Reading
from layerscout.extract.backbones.denoisers.svd import AUGMENTATION, FRAMES_A_SECOND, MOTION
from layerscout.extract.backbones.loaded import fixed_noise, scale_pixels
from layerscout.extract.backbones.networks.latent_backbone import LatentBackbone
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.loading import load_model

IMAGE_NOISE_SEED = NOISE_SEED + 1  # of the image's pixels: not the noise of the latents again

Latents = Float[Tensor, "clip slot channel row column"]


class SkippedMiddle(nn.Module):
    """Stands for the middle of a U-Net when the pass ends before it."""

    def forward(self, hidden_states: Tensor, **arguments: Any) -> Tensor:
        """Return the hidden states as they came."""
        return hidden_states


class Svd(LatentBackbone):
    """Stable Video Diffusion in memory; its head is dropped, since nobody reads what it would say."""

    lists = ("down_blocks", "up_blocks")

    def __init__(
        self, folder: CheckpointFolder | Path, reading: Reading, text: str, device: torch.device, dtype: torch.dtype, *, loudest: float
    ) -> None:
        from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

        super().__init__(
            load_model(UNetSpatioTemporalConditionModel, folder / "unet", dtype, device),
            load_model(AutoencoderKLTemporalDecoder, folder / "vae", torch.float32, device),  # it overflows in half precision
            device,
            dtype,
        )
        module: Any = self.module
        module.conv_norm_out = module.conv_act = module.conv_out = nn.Identity()
        self._middle, self._width = module.mid_block, module.config.cross_attention_dim
        self._reading = reading
        config: Any = self.vae.config
        self._scale = config.scaling_factor
        pixels = 2 ** (len(config.block_out_channels) - 1)
        self._noise = self.noise((reading.slots, config.latent_channels, *(side // pixels for side in reading.size)))
        self._image_noise = AUGMENTATION * fixed_noise((1, 3, *reading.size), IMAGE_NOISE_SEED).to(device)
        self._level = loudest if reading.future else reading.sigma / (1.0 - reading.sigma**2) ** 0.5
        self._time_ids = torch.tensor([[FRAMES_A_SECOND - 1.0, MOTION, AUGMENTATION]], device=device, dtype=dtype)

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Latents:
        """Latents of the image under its fixed noise, preceded by the scaled ones of the frames unless only the future is denoised."""
        frames = scale_pixels(clip)
        image = self._mode(frames[:, :1] + self._image_noise[:, None])
        return image if self._reading.future else torch.cat([self._mode(frames) * self._scale, image], dim=1)

    def denoise(self, latents: Latents) -> None:
        """Bring frames to the schedule's noise level, put the image beside each, and run the U-Net once."""
        frames, image = latents[:, :-1], latents[:, -1:]
        noisy = self._noise.expand(len(latents), -1, -1, -1, -1)
        if not self._reading.future:
            # (z + s e) / sqrt(s^2 + 1), the model's input at the schedule's level s
            noisy = (frames + self._level * noisy) / (self._level**2 + 1.0) ** 0.5
        self.module(
            sample=torch.cat([noisy, image.expand_as(noisy)], dim=2).to(self.dtype),
            timestep=torch.tensor(0.25 * math.log(self._level), device=self.device),
            encoder_hidden_states=latents.new_zeros(len(latents), 1, self._width, dtype=self.dtype),
            added_time_ids=self._time_ids.expand(len(latents), -1),
        )

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        """Feature maps of all frames as tokens in the order time, height, width."""
        frames = output[0] if isinstance(output, tuple) else output  # [clip · time, feature, height, width]
        return frames.unflatten(0, (-1, self._reading.slots)).permute(0, 1, 3, 4, 2).flatten(1, 3)

    def truncate(self, last: LayerInfo) -> None:
        """As of every denoiser; a pass that ends on the way down skips the middle too."""
        module: Any = self.module
        if last.module == "mid_block":
            module.down_blocks, module.up_blocks = self._whole["down_blocks"], self._whole["up_blocks"][:0]
        else:
            super().truncate(last)
        module.mid_block = SkippedMiddle() if last.module.startswith("down_blocks") else self._middle

    def _mode(self, frames: Float[Tensor, "clip time channel height width"]) -> Latents:
        vae: Any = self.vae
        return vae.encode(frames.flatten(0, 1)).latent_dist.mode().unflatten(0, frames.shape[:2])
