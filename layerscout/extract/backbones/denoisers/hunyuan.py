"""HunyuanVideo 1.0 checkpoints, text-to-video and image-to-video, from a folder or a hub id, read layer by layer.

Twenty blocks with two streams are followed by forty with one; they are layers in that order. Image-to-video comes in two
kinds: the image's latent frame replaces the first noisy one (``token_replace``), or lies beside it with a mask
(``latent_concat``). The image is not shown to a language model here: the text stays what ``text`` says. The VAE of 1.0
normalises over a whole clip, so a latent frame bears a trace of the clip's later frames (never of frames after the row's).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.assemble import assemble, check_channels, refuse_empty, source_of
from layerscout.extract.backbones.denoisers.denoiser import (
    TRAIN_STEPS,
    DenoiserOptions,
    LatentBackbone,
    Reading,
    block_layers,
    flow_noise,
    need_source,
    settle,
    video,
)
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.loading import load_model
from layerscout.settings import build as build_settings

KIND = "HunyuanVideoTransformer3DModel"
TEXT_LENGTH = 256  # of a file; zeros need one token: with none that counts the model gives NaN
GUIDANCE = {None: 6.0, "token_replace": 6.0, "latent_concat": 1.0}  # the distilled scale that each kind is run with

Latents = Float[Tensor, "clip channel slot row column"]


class HunyuanOptions(DenoiserOptions):
    """``frames`` is 4k+1 (9); ``sigma`` is the share of noise on the straight path, 0 to 1; ``text`` is ``zeros`` or a file."""


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a regime that it was not trained for, a frame count that is not 4k+1, or a size that its patches do not divide.
    DataError
        The folder is no HunyuanVideo 1.0 checkpoint.
    """
    name = need_source("hunyuan", source)
    chosen = build_settings(HunyuanOptions, options, "extract.backbone_options")
    refuse_empty("HunyuanVideo", chosen.text, "its prompts go through a language model with a template of its own")
    checkpoint = source_of(name, chosen.text)
    folder = checkpoint.described()
    needed = ("num_attention_heads", "attention_head_dim", "num_layers", "num_single_layers", "patch_size", "in_channels", "text_embed_dim")
    transformer = read_config(folder / "transformer", kind=KIND, needed=needed)
    vae = read_config(folder / "vae", kind="AutoencoderKLHunyuanVideo", needed=("latent_channels", "scaling_factor"))
    image, channels = transformer.get("image_condition_type"), vae["latent_channels"]
    check_channels(name, transformer["in_channels"], [2 * channels + 1 if image == "latent_concat" else channels])
    step, pixels = vae.get("temporal_compression_ratio", 4), vae.get("spatial_compression_ratio", 8)
    cell = pixels * transformer["patch_size"]
    reading = settle(
        f"HunyuanVideo 1.0{' image-to-video' if image else ''}",
        chosen,
        trained=("condition", "denoise") if image else ("denoise",),
        step=step,
        cell=cell,
        frames={"denoise": 9, "condition": 1},
        longest=1,
    )
    text = prompts.describe(chosen.text, TEXT_LENGTH, transformer["text_embed_dim"])
    width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    guidance = {"guidance": GUIDANCE[image]} if transformer.get("guidance_embeds") else {}
    return assemble(
        "hunyuan",
        checkpoint,
        reading,
        step=step,
        cell=cell,
        layers=block_layers(KIND, transformer, Hunyuan.lists, width),
        configs=(transformer, vae),
        identity={"text": text} | guidance,
        latent_shape=(channels, latent_slots(reading, bool(image)), reading.size[0] // pixels, reading.size[1] // pixels),
        open_with=lambda folder, device, dtype: Hunyuan(folder, chosen.text, reading, device, dtype),
    )


def latent_slots(reading: Reading, image: bool) -> int:
    """Latent frames of one clip as they may be stored: the clip's, and after them the image's; only the image's in ``condition``."""
    return 1 if reading.future else reading.past + image


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

    def __init__(self, folder: Path, text: str, reading: Reading, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel

        module = load_model(HunyuanVideoTransformer3DModel, folder / "transformer", dtype, device)
        vae = load_model(AutoencoderKLHunyuanVideo, folder / "vae", dtype, device)
        self._config: Any = module.config
        super().__init__(module, vae, reading, self._config.image_condition_type is not None, device, dtype)
        found = prompts.load(text, folder, 1 if text == "zeros" else TEXT_LENGTH, self._config.text_embed_dim)
        self._text, self._mask = found.embedding.to(device, dtype), found.mask.to(device, dtype)

    def denoise(self, latents: Latents) -> None:
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
