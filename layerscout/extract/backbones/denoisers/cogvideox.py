"""CogVideoX checkpoints, 1.0 and 1.5, text-to-video and image-to-video, from a folder or a hub id, read layer by layer.

``denoise``: a clip of 4k+1 frames is encoded by the checkpoint's VAE, brought to a low noise level with noise that is the
same for every row, and passed once. ``condition`` (image-to-video): the row's own frame is the image, all slots are noise.
In 1.5 two latent frames share a token slot; an odd one out is repeated before the first, as in its training.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.assemble import assemble, source_of
from layerscout.extract.backbones.denoisers.denoiser import (
    DenoiserOptions,
    LatentBackbone,
    Reading,
    block_layers,
    need_source,
    newest_steps,
    settle,
    video,
    vp_level,
)
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.loading import load_model
from layerscout.settings import build as build_settings

KIND = "CogVideoXTransformer3DModel"
TIME_RATIO = 4  # frames a latent frame, after the first
TEXT_LENGTH, TEXT_WIDTH = 226, 4096  # where a configuration does not say
OFFSET = 2.0  # the constant that 1.5 image-to-video was trained with

TRANSFORMER_FIELDS = ("num_attention_heads", "attention_head_dim", "num_layers", "patch_size", "in_channels")
VAE_FIELDS = ("block_out_channels", "latent_channels")


class CogVideoXOptions(DenoiserOptions):
    """``frames`` is 4k+1 (9; 13 for 1.5); ``sigma`` is the noise share sqrt(1 - alpha_bar)."""


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a regime that it was not trained for, a frame count that is not 4k+1, or a size that its patches do not divide.
    DataError
        The folder is no CogVideoX checkpoint, or its weights are not safetensors.
    """
    source = need_source("cogvideox", source)
    chosen = build_settings(CogVideoXOptions, options, "extract.backbone_options")
    checkpoint = source_of(source, chosen.text, scheduler=True)
    folder = checkpoint.described()
    transformer = read_config(folder / "transformer", kind=KIND, needed=TRANSFORMER_FIELDS)
    vae = read_config(folder / "vae", kind="AutoencoderKLCogVideoX", needed=VAE_FIELDS)
    scheduler = read_config(folder / "scheduler", name="scheduler_config.json")
    image = _takes_image(source, transformer, vae)
    group = transformer.get("patch_size_t") or 1
    pixels = 2 ** (len(vae["block_out_channels"]) - 1)  # a latent cell
    patch = transformer["patch_size"]
    learned = bool(transformer.get("use_learned_positional_embeddings"))  # a table for one size and length
    slots = (transformer.get("sample_frames", 49) - 1) // TIME_RATIO + 1
    trained = (transformer.get("sample_height", 60) * pixels, transformer.get("sample_width", 90) * pixels)
    reading = settle(
        f"CogVideoX 1.{5 if group > 1 else 0}{' image-to-video' if image else ''}",
        chosen,
        trained=("condition", "denoise") if image else ("denoise",),
        step=TIME_RATIO,
        cell=pixels * patch,
        frames={"denoise": (slots - 1) * TIME_RATIO + 1 if learned else 13 if group > 1 else 9, "condition": 1},
        longest=1,
        size=trained if learned else (min(256, trained[0]), min(256, trained[1])) if group > 1 else (256, 256),
        future=slots - 1 if learned else 3,
    )
    _check_positions(reading, group, trained, slots if learned else None)
    latent = (reading.size[0] // pixels, reading.size[1] // pixels)
    text_shape = (transformer.get("max_text_seq_length", TEXT_LENGTH), transformer.get("text_embed_dim", TEXT_WIDTH))
    denoising, groups = reading.regime == "denoise", -(-reading.slots // group)
    odd = {"padding": "first latent frame"} if denoising and reading.slots % group else {}
    described = assemble(
        "cogvideox",
        checkpoint,
        reading,
        step=TIME_RATIO,
        cell=pixels * patch,
        layers=block_layers(
            KIND, transformer, ("transformer_blocks",), transformer["num_attention_heads"] * transformer["attention_head_dim"]
        ),
        configs=(transformer, vae, scheduler),
        identity={"text": prompts.describe(chosen.text, *text_shape)} | odd,
        latent_shape=(groups * group if denoising else 1, vae["latent_channels"] * (2 if image and denoising else 1), *latent),
        open_with=lambda folder, device, dtype: _CogVideoX(folder, chosen.text, reading, image, device, dtype),
    )
    return replace(
        described,
        grid=replace(described.grid, time=groups, past=groups if denoising else 1),
        seen=newest_steps(reading.frames, TIME_RATIO, group if denoising else 1),
    )


class _CogVideoX(LatentBackbone):
    def __init__(self, folder: Path, text: str, reading: Reading, image: bool, device: torch.device, dtype: torch.dtype) -> None:
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
        self._text = prompts.load(text, folder, config.max_text_seq_length, config.text_embed_dim).embedding.to(device, dtype)
        self._rope = self._rotary((latent[0] // config.patch_size, latent[1] // config.patch_size), slots // self._group)

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip slot channel row column"]:
        frames = video(clip)
        if self._reading.regime == "condition":
            return self._image_latents(frames)
        latents = self.latent_mode(frames) * self._scale
        latents = latents.permute(0, 2, 1, 3, 4)
        lacking = -latents.shape[1] % self._group
        latents = torch.cat([latents[:, :1].expand(-1, lacking, -1, -1, -1), latents], dim=1)
        return torch.cat([latents, self._beside(self._image_latents(frames[:, :, :1]))], dim=2) if self._image else latents

    def denoise(self, latents: Float[Tensor, "clip slot channel row column"]) -> None:
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


def _takes_image(source: str, transformer: dict[str, Any], vae: dict[str, Any]) -> bool:
    """Whether the model takes image latents beside the noisy ones; refuses what is neither that nor text-to-video."""
    channels = transformer["in_channels"] / vae["latent_channels"]
    if channels not in (1, 2):
        raise DataError(
            f"{source} takes {transformer['in_channels']} channels and its VAE gives {vae['latent_channels']}",
            hint="this backbone reads text-to-video and image-to-video checkpoints (once and twice the VAE's channels)",
        )
    return channels == 2


def _check_positions(reading: Reading, group: int, trained: tuple[int, int], learned: int | None) -> None:
    """Refuse clips for which the model has no position of its own (it would take others without a word).

    ``trained`` is the frame size that it was trained with; ``learned`` the one number of latent frames of a learned table.
    """
    where, size = "--set extract.backbone_options", f"[{trained[0]},{trained[1]}]"
    if reading.future and reading.slots % group:
        raise UsageError(f"CogVideoX 1.5 takes an even number of latent frames, not 1 + {reading.future}", hint=f"{where}.future=3")
    if group > 1 and (reading.size[0] > trained[0] or reading.size[1] > trained[1]):
        raise UsageError(f"CogVideoX 1.5 takes frames up to {trained} pixels, not {reading.size}", hint=f"{where}.size={size}")
    if learned and (reading.size, reading.slots) != (trained, learned):
        length = f"future={learned - 1}" if reading.future else f"frames={(learned - 1) * TIME_RATIO + 1}"
        raise UsageError(
            f"this checkpoint learned its positions for {learned} latent frames of {size} pixels only, not {reading.slots} of {reading.size}",
            hint=f"{where}.size={size} {where}.{length}",
        )
