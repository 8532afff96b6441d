"""HunyuanVideo 1.5 in memory: noisy latents, an image and a mask beside them, and no second text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerscout.extract.backbones.denoisers.hunyuan15 import TEXT_LENGTH
from layerscout.extract.backbones.denoisers.options import Reading
from layerscout.extract.backbones.networks.hunyuan import ImageLatents, Latents
from layerscout.extract.backbones.networks.latent_backbone import TRAIN_STEPS
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.loading import load_model


class Hunyuan15(ImageLatents):
    """HunyuanVideo 1.5 in memory."""

    def __init__(self, folder: CheckpointFolder | Path, reading: Reading, text: str, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLHunyuanVideo15, HunyuanVideo15Transformer3DModel

        module = load_model(HunyuanVideo15Transformer3DModel, folder / "transformer", dtype, device)
        vae = load_model(AutoencoderKLHunyuanVideo15, folder / "vae", dtype, device)
        vae.enable_slicing()  # its attention mask is wrong for more than one clip at a time
        self._config: Any = module.config
        super().__init__(module, vae, reading, self._config.task_type == "i2v", device, dtype)
        found = load_text(text, folder, 1 if text == "zeros" else TEXT_LENGTH, self._config.text_embed_dim)
        self._text, self._mask = found.embedding.to(device, dtype), found.mask.to(device)

    def denoise(self, latents: Latents) -> None:
        """Run the transformer once on noisy latents with image and mask beside them; absent texts and images are zeros."""
        noisy, image = self.noisy_and_image(latents)
        count = len(latents)

        def absent(width: int) -> Tensor:
            return self._text.new_zeros(count, 1, width)

        # the time embedding is computed in the timestep's own precision
        timestep = torch.full((count,), TRAIN_STEPS * self._reading.sigma, device=self.device, dtype=self.dtype)
        self.module(
            hidden_states=self.beside(noisy, image).to(self.dtype),
            timestep=timestep,
            timestep_r=torch.zeros_like(timestep) if self._config.use_meanflow else None,  # distilled models aim at the clean end
            encoder_hidden_states=self._text.expand(count, -1, -1),
            encoder_attention_mask=self._mask.expand(count, -1),
            encoder_hidden_states_2=absent(self._config.text_embed_2_dim),
            encoder_attention_mask_2=self._mask.new_zeros(count, 1),
            image_embeds=absent(self._config.image_embed_dim),
        )
