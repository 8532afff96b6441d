"""Cosmos in memory, of all three generations.

diffusers asks torchvision to resize a mask of zeros; the zeros are given here at their final size instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.extract.backbones.denoisers.cosmos import FRAMES_A_SECOND, TEXT_LENGTH, mixture, text_width
from layerscout.extract.backbones.denoisers.options import Reading
from layerscout.extract.backbones.networks.latent_backbone import LatentBackbone, video
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.loading import load_model

Latents = Float[Tensor, "clip channel slot row column"]


class Cosmos(LatentBackbone):
    """A Cosmos world model of any of the three generations on one device; where noise is, and how much, is told slot by slot."""

    def __init__(
        self,
        folder: CheckpointFolder | Path,
        reading: Reading,
        text: str,
        device: torch.device,
        dtype: torch.dtype,
        *,
        generation: str,
        spread: float,
        latent: tuple[int, int],
    ) -> None:
        import diffusers

        vae = diffusers.AutoencoderKLCosmos if generation == "1.0" else diffusers.AutoencoderKLWan
        super().__init__(
            load_model(diffusers.CosmosTransformer3DModel, folder / "transformer", dtype, device),
            # both VAEs in float32, as their pipelines run Wan's; a CPU has no other pooling for that of 1.0
            load_model(vae, folder / "vae", torch.float32, device),
            device,
            dtype,
        )
        module: Any = self.module
        self._blank = 1 if module.config.concat_padding_mask else 0  # channels of zeros: nothing of a frame is padding
        module.register_to_config(concat_padding_mask=False)
        self._shown = module.config.in_channels - self._latent_channels  # channels of the mask of the past
        self._reading, self._generation = reading, generation
        self._mix = mixture(generation, reading, spread)
        self._mean, self._spread = self._statistics("latents_mean", 0.0), self._statistics("latents_std", 1.0)
        self._noise = self.noise((self._latent_channels, reading.slots, *latent))
        self._text = load_text(text, folder, TEXT_LENGTH, text_width(module.config), zero_padding=True).embedding.to(device, dtype)

    @property
    def _latent_channels(self) -> int:
        config: Any = self.vae.config
        return config.latent_channels if "latent_channels" in config else config.z_dim

    def _statistics(self, name: str, otherwise: float) -> Tensor:
        """One number a channel, or one a channel and slot (1.0); slots beyond those of the clip are left out."""
        values = getattr(self.vae.config, name)
        table = torch.full((self._latent_channels, 1), otherwise) if values is None else torch.tensor(values)
        return table.view(1, self._latent_channels, -1, 1, 1)[:, :, : self._reading.past].to(self.device)

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Latents:
        """Latents less their mean, over their deviation, both as the checkpoint states them."""
        return (self.latent_mode(video(clip)) - self._mean) / self._spread

    def denoise(self, latents: Latents) -> None:
        """Show the clip's slots at the noise of the past and the future's at its own, with a mask that tells them apart; run once."""
        count, past, mix = len(latents), self._reading.past, self._mix
        shown = mix.keep * latents + mix.past * self._noise[:, :, :past]
        noisy = torch.cat([shown, (mix.future * self._noise[:, :, past:]).expand(count, -1, -1, -1, -1)], dim=2)
        beside = noisy.new_zeros(count, self._shown + self._blank, *noisy.shape[2:])
        if self._reading.future:
            beside[:, : self._shown, :past] = 1.0
        time = torch.full((count, 1, self._reading.slots, 1, 1), mix.future_time, device=self.device)
        time[:, :, :past] = mix.past_time
        self.module(
            hidden_states=noisy.to(self.dtype),
            condition_mask=beside.to(self.dtype),
            timestep=time[:, 0, -1, 0, 0] if self._generation == "1.0" else time,
            encoder_hidden_states=self._text.expand(count, -1, -1),
            fps=FRAMES_A_SECOND[self._generation],
        )
