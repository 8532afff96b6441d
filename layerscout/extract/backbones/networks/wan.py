"""Wan 2.1 and 2.2 in memory: noisy latents, a mask and an image beside them, or times of its own for every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.extract.backbones.denoisers.options import Reading
from layerscout.extract.backbones.denoisers.wan import TEXT_LENGTH, TIME_RATIO, Kind
from layerscout.extract.backbones.networks.clip_image import ClipImage
from layerscout.extract.backbones.networks.latent_backbone import TRAIN_STEPS, LatentBackbone, flow_noise, video
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.loading import load_model


class Wan(LatentBackbone):
    """A Wan checkpoint in memory; of A14B, the one of its two models that was chosen."""

    lists = ("blocks",)

    def __init__(
        self,
        folder: CheckpointFolder | Path,
        reading: Reading,
        text: str,
        device: torch.device,
        dtype: torch.dtype,
        *,
        kind: Kind,
        part: str,
        image_tokens: bool,
    ) -> None:
        from diffusers import AutoencoderKLWan, WanTransformer3DModel

        super().__init__(
            load_model(WanTransformer3DModel, folder / part, dtype, device),
            load_model(AutoencoderKLWan, folder / "vae", torch.float32, device),  # its authors run it in float32
            device,
            dtype,
        )
        self._kind, self._reading = kind, reading
        model, vae = self._configs()
        pixels = 2 ** (len(vae.dim_mult) - 1) * (vae.patch_size or 1)
        self._channels = vae.z_dim
        self._mean = torch.tensor(vae.latents_mean, device=device).view(1, -1, 1, 1, 1)
        self._std = torch.tensor(vae.latents_std, device=device).view(1, -1, 1, 1, 1)
        rows, columns = (side // pixels for side in self._reading.size)
        self._noise = self.noise((vae.z_dim, self._reading.slots, rows, columns))
        self._text = load_text(text, folder, TEXT_LENGTH, model.text_dim, zero_padding=True).embedding.to(device, dtype)
        self._image = ClipImage(folder, device, dtype) if image_tokens else None
        self._tokens_a_slot = rows // model.patch_size[1] * (columns // model.patch_size[2])

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        """Encode and denoise; where an image encoder stands beside, the clip's first frame goes through it."""
        self._run(self.encode(clip), self._image(clip[:, 0]) if self._image else None)

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip channel slot row column"]:
        """Normalised latents of the clip, of its first frame with grey ones behind it, or of both, as the checkpoint and regime want."""
        frames, reading = video(clip), self._reading
        clean = [self._normalised(frames)] if reading.regime == "denoise" or self._kind == "both" else []
        if self._kind == "image":  # the first frame, then grey ones
            rest = frames.new_zeros(*frames.shape[:2], TIME_RATIO * (reading.slots - 1), *frames.shape[3:])
            clean.append(self._normalised(torch.cat([frames[:, :, :1], rest], dim=2)))
        return torch.cat(clean, dim=1)

    def denoise(self, latents: Float[Tensor, "clip channel slot row column"]) -> None:
        """Mix noise in and run the transformer once, without an image encoder: latents can be kept only where there is none."""
        self._run(latents, None)

    def _run(self, latents: Float[Tensor, "clip channel slot row column"], image: Float[Tensor, "clip token feature"] | None) -> None:
        reading, noise = self._reading, self._noise.expand(len(latents), -1, -1, -1, -1)
        if reading.regime == "denoise":
            noised = flow_noise(latents[:, : self._channels], noise, reading.sigma)
        elif self._kind == "both":
            noised = torch.cat([latents, noise[:, :, reading.past :]], dim=2)
        else:
            noised = noise
        if self._kind == "image":
            mask = torch.zeros_like(noise[:, :TIME_RATIO])  # one channel for each frame of a slot
            mask[:, :, 0] = 1.0
            noised = torch.cat([noised, mask, latents[:, -self._channels :]], dim=1)
        self.module(
            hidden_states=noised.to(self.dtype),
            timestep=self._times().expand(len(latents), *([-1] * (self._kind == "both"))),
            encoder_hidden_states=self._text.expand(len(latents), -1, -1),
            encoder_hidden_states_image=image,
        )

    def _times(self) -> Float[Tensor, "..."]:
        """One time for the clip, or one for each of its tokens."""
        time = torch.tensor([TRAIN_STEPS * self._reading.sigma], device=self.device)
        if self._kind != "both":
            return time
        slots = time.repeat(self._reading.slots)
        if self._reading.regime == "condition":
            slots[: self._reading.past] = 0.0
        return slots.repeat_interleave(self._tokens_a_slot)[None]

    def _normalised(self, frames: Float[Tensor, "clip channel time height width"]) -> Float[Tensor, "clip channel slot row column"]:
        return (self.latent_mode(frames) - self._mean) * (1.0 / self._std)

    def _configs(self) -> tuple[Any, Any]:
        return self.module.config, self.vae.config
