"""CogVideoX 1.0 and 1.5 in memory: latents of the clip, or of its image beside pure noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.extract.backbones.denoisers.options import Reading
from layerscout.extract.backbones.networks.latent_backbone import LatentBackbone, video, vp_level
from layerscout.extract.backbones.networks.text import load_text
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.loading import load_model

OFFSET = 2.0  # the constant that 1.5 image-to-video was trained with


class CogVideoX(LatentBackbone):
    """CogVideoX 1.0 or 1.5, text-to-video or image-to-video, on one device; the prompt's embedding is computed once."""

    def __init__(
        self, folder: CheckpointFolder | Path, reading: Reading, text: str, device: torch.device, dtype: torch.dtype, *, image: bool
    ) -> None:
        from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel

        super().__init__(
            load_model(CogVideoXTransformer3DModel, folder / "transformer", dtype, device),
            load_model(AutoencoderKLCogVideoX, folder / "vae", dtype, device),
            device,
            dtype,
        )
        self._reading, self._image = reading, image
        config: Any = self.module.config
        self._config = config
        self._group = config.patch_size_t or 1
        schedule = CogVideoXDDIMScheduler.from_pretrained(folder, subfolder="scheduler").alphas_cumprod
        self._timestep, self._keep, self._share = vp_level(schedule, reading.sigma)
        shape: Any = self.vae.config
        pixels = 2 ** (len(shape.block_out_channels) - 1)
        latent = (reading.size[0] // pixels, reading.size[1] // pixels)
        slots = -(-reading.slots // self._group) * self._group
        self._noise = self.noise((slots, shape.latent_channels, *latent))
        self._text = load_text(text, folder, config.max_text_seq_length, config.text_embed_dim).embedding.to(device, dtype)
        self._rope = self._rotary((latent[0] // config.patch_size, latent[1] // config.patch_size), slots // self._group)

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip slot channel row column"]:
        """Scaled latents, the first repeated until they fill whole patches in time; beside them, or alone, those of the image."""
        frames = video(clip)
        if self._reading.regime == "condition":
            return self._image_latents(frames)
        latents = self.latent_mode(frames) * self._scale
        latents = latents.permute(0, 2, 1, 3, 4)
        lacking = -latents.shape[1] % self._group
        latents = torch.cat([latents[:, :1].expand(-1, lacking, -1, -1, -1), latents], dim=1)
        return torch.cat([latents, self._beside(self._image_latents(frames[:, :, :1]))], dim=2) if self._image else latents

    def denoise(self, latents: Float[Tensor, "clip slot channel row column"]) -> None:
        """Mix noise in at the schedule's step, or start from pure noise beside the image, and run the transformer once."""
        if self._reading.regime == "condition":
            noised = torch.cat([self._noise.expand(len(latents), -1, -1, -1, -1), self._beside(latents)], dim=2)
        else:
            channels = self._noise.shape[2]
            clean, image = latents[:, :, :channels], latents[:, :, channels:]
            noised = torch.cat([self._keep * clean + self._share * self._noise, image], dim=2)
        offset = {} if self._config.ofs_embed_dim is None else {"ofs": noised.new_full((1,), OFFSET)}
        self.module(
            hidden_states=noised.to(self.dtype),
            encoder_hidden_states=self._text.expand(len(latents), -1, -1),
            timestep=torch.full((len(latents),), self._timestep, device=self.device),
            image_rotary_emb=self._rope,
            **offset,
        )

    @property
    def _scale(self) -> float:
        config: Any = self.vae.config
        return config.scaling_factor

    def _image_latents(self, frames: Float[Tensor, "clip channel 1 height width"]) -> Float[Tensor, "clip 1 channel row column"]:
        config: Any = self.vae.config
        # 1.5 was trained with image latents divided where all others are multiplied
        scale = 1.0 / self._scale if config.invert_scale_latents else self._scale
        return self.latent_mode(frames).permute(0, 2, 1, 3, 4) * scale

    def _beside(self, image: Float[Tensor, "clip 1 channel row column"]) -> Float[Tensor, "clip slot channel row column"]:
        """The image in the first slot, zeros in the others."""
        return torch.cat([image, image.new_zeros(len(image), self._noise.shape[1] - 1, *image.shape[2:])], dim=1)

    def _rotary(self, grid: tuple[int, int], slots: int) -> tuple[Tensor, Tensor] | None:
        config = self._config
        if not config.use_rotary_positional_embeddings:
            return None
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        trained = (config.sample_height // config.patch_size, config.sample_width // config.patch_size)
        place: dict[str, Any] = {"crops_coords": centred_box(grid, trained)}
        if self._group > 1:
            place = {"crops_coords": None, "grid_type": "slice", "max_size": trained}
        return get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim, grid_size=grid, temporal_size=slots, device=self.device, **place
        )


def centred_box(grid: tuple[int, int], trained: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (top, left), (bottom, right) of the largest box with the shape of ``grid`` in the middle of the trained grid.

    Rotary positions of a frame of another size are spread over this box, so that they stay among the trained ones.
    """
    scale = min(trained[0] / grid[0], trained[1] / grid[1])
    rows, columns = (round(side * scale) for side in grid)
    top, left = round((trained[0] - rows) / 2), round((trained[1] - columns) / 2)
    return (top, left), (top + rows, left + columns)
