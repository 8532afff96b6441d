"""HunyuanVideo 1.5 checkpoints, text-to-video and image-to-video, from a folder or a hub id, read layer by layer.

The model takes noisy latents, as many channels for an image, and a mask; text-to-video leaves the latter empty. Its second
text (letters to draw) and its image embedding are zeros, which mark both as absent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.assemble import assemble, check_channels, refuse_empty, source_of
from layerscout.extract.backbones.denoisers.denoiser import TRAIN_STEPS, DenoiserOptions, Reading, block_layers, need_source, settle
from layerscout.extract.backbones.denoisers.hunyuan import ImageLatents, Latents, latent_slots
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.loading import load_model
from layerscout.settings import build as build_settings

KIND = "HunyuanVideo15Transformer3DModel"
TEXT_LENGTH = 1000  # of a file; zeros need one token


class Hunyuan15Options(DenoiserOptions):
    """``frames`` is 4k+1 (9); ``sigma`` is the share of noise on the straight path, 0 to 1; ``text`` is ``zeros`` or a file."""


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a regime that it was not trained for, a frame count that is not 4k+1, or a size that its patches do not divide.
    DataError
        The folder is no HunyuanVideo 1.5 checkpoint.
    """
    name = need_source("hunyuan15", source)
    chosen = build_settings(Hunyuan15Options, options, "extract.backbone_options")
    refuse_empty("HunyuanVideo 1.5", chosen.text, "its prompts go through a language model with a template of its own")
    checkpoint = source_of(name, chosen.text)
    folder = checkpoint.described()
    needed = ("num_attention_heads", "attention_head_dim", "num_layers", "patch_size", "in_channels", "text_embed_dim", "task_type")
    transformer = read_config(folder / "transformer", kind=KIND, needed=needed)
    vae = read_config(folder / "vae", kind="AutoencoderKLHunyuanVideo15", needed=("latent_channels", "scaling_factor"))
    image, channels = transformer["task_type"] == "i2v", vae["latent_channels"]
    check_channels(name, transformer["in_channels"], [2 * channels + 1])
    step, pixels = vae.get("temporal_compression_ratio", 4), vae.get("spatial_compression_ratio", 16)
    cell = pixels * transformer["patch_size"]
    reading = settle(
        f"HunyuanVideo 1.5{' image-to-video' if image else ''}",
        chosen,
        trained=("condition", "denoise") if image else ("denoise",),
        step=step,
        cell=cell,
        frames={"denoise": 9, "condition": 1},
        longest=1,
    )
    return assemble(
        "hunyuan15",
        checkpoint,
        reading,
        step=step,
        cell=cell,
        layers=block_layers(KIND, transformer, Hunyuan15.lists, transformer["num_attention_heads"] * transformer["attention_head_dim"]),
        configs=(transformer, vae),
        identity={"text": prompts.describe(chosen.text, TEXT_LENGTH, transformer["text_embed_dim"])},
        latent_shape=(channels, latent_slots(reading, image), reading.size[0] // pixels, reading.size[1] // pixels),
        open_with=lambda folder, device, dtype: Hunyuan15(folder, chosen.text, reading, device, dtype),
    )


class Hunyuan15(ImageLatents):
    """HunyuanVideo 1.5 in memory."""

    def __init__(self, folder: Path, text: str, reading: Reading, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLHunyuanVideo15, HunyuanVideo15Transformer3DModel

        module = load_model(HunyuanVideo15Transformer3DModel, folder / "transformer", dtype, device)
        vae = load_model(AutoencoderKLHunyuanVideo15, folder / "vae", dtype, device)
        vae.enable_slicing()  # its attention mask is wrong for more than one clip at a time
        self._config: Any = module.config
        super().__init__(module, vae, reading, self._config.task_type == "i2v", device, dtype)
        found = prompts.load(text, folder, 1 if text == "zeros" else TEXT_LENGTH, self._config.text_embed_dim)
        self._text, self._mask = found.embedding.to(device, dtype), found.mask.to(device)

    def denoise(self, latents: Latents) -> None:
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
