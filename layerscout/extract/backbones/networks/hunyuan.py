"""HunyuanVideo 1.0 in memory, and what both generations do with the image that a clip goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.denoisers.hunyuan import GUIDANCE, TEXT_LENGTH
from layerscout.extract.backbones.denoisers.options import Reading
from layerscout.extract.backbones.networks.latent_backbone import TRAIN_STEPS, LatentBackbone, flow_noise, video
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.loading import load_model

Latents = Float[Tensor, "clip channel slot row column"]


class ImageLatents(LatentBackbone):
    """What both HunyuanVideos do with a clip: scaled latents with its first frame's at the end, noise on all but that one."""

    def __init__(self, module: nn.Module, vae: nn.Module, reading: Reading, image: bool, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(module, vae, device, dtype)
        self._reading, self._image = reading, image
        config: Any = vae.config
        self._scale = config.scaling_factor
        side = [length // config.spatial_compression_ratio for length in reading.size]
        self._noise = self.noise((config.latent_channels, reading.slots, *side))

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Latents:
        """Scaled latents of the clip; of image-to-video models followed by those of its first frame."""
        frames = video(clip)
        latents = self.latent_mode(frames) * self._scale
        if self._reading.future or not self._image:
            return latents
        return torch.cat([latents, self.latent_mode(frames[:, :, :1]) * self._scale], dim=2)

    def noisy_and_image(self, latents: Latents) -> tuple[Latents, Latents]:
        """Noisy latent frames for the model, and the clean one of its image (none for text-to-video)."""
        reading = self._reading
        if reading.future:
            return self._noise.expand(len(latents), -1, -1, -1, -1), latents
        return flow_noise(latents[:, :, : reading.past], self._noise, reading.sigma), latents[:, :, reading.past :]

    @staticmethod
    def beside(noisy: Latents, image: Latents) -> Latents:
        """Noisy latents, the image in the first slot of as many channels, and one channel that tells where it is."""
        empty = noisy.shape[2] - image.shape[2]
        shown = torch.cat([image, image.new_zeros(len(image), image.shape[1], empty, *image.shape[3:])], dim=2)
        mask = torch.cat([torch.ones_like(image[:, :1]), image.new_zeros(len(image), 1, empty, *image.shape[3:])], dim=2)
        return torch.cat([noisy, shown, mask], dim=1)


class Hunyuan(ImageLatents):
    """HunyuanVideo 1.0 in memory."""

    lists = ("transformer_blocks", "single_transformer_blocks")

    def __init__(self, folder: CheckpointFolder | Path, reading: Reading, text: str, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel

        module = load_model(HunyuanVideoTransformer3DModel, folder / "transformer", dtype, device)
        vae = load_model(AutoencoderKLHunyuanVideo, folder / "vae", dtype, device)
        self._config: Any = module.config
        super().__init__(module, vae, reading, self._config.image_condition_type is not None, device, dtype)
        found = load_text(text, folder, 1 if text == "zeros" else TEXT_LENGTH, self._config.text_embed_dim)
        self._text, self._mask = found.embedding.to(device, dtype), found.mask.to(device, dtype)

    def denoise(self, latents: Latents) -> None:
        """Put the image where this kind of checkpoint wants it, and run the transformer once; the second text is zeros."""
        noisy, image = self.noisy_and_image(latents)
        kind, count = self._config.image_condition_type, len(latents)
        if kind == "token_replace":
            noisy = torch.cat([image, noisy[:, :, 1:]], dim=2)
        elif kind == "latent_concat":
            noisy = self.beside(noisy, image)
        # in float32 whatever the model computes in: half precision has no 6000
        guidance = torch.full((count,), GUIDANCE[kind] * 1000, device=self.device)
        self.module(
            hidden_states=noisy.to(self.dtype),
            timestep=torch.full((count,), TRAIN_STEPS * self._reading.sigma, device=self.device),
            encoder_hidden_states=self._text.expand(count, -1, -1),
            encoder_attention_mask=self._mask.expand(count, -1),
            pooled_projections=self._text.new_zeros(count, self._config.pooled_projection_dim),
            guidance=guidance if self._config.guidance_embeds else None,
        )
