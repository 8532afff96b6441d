"""Wan 2.1 and 2.2 checkpoints, text-to-video, image-to-video and both in one (TI2V-5B), read layer by layer.

``denoise``: the clip's normalised latents on the straight path to noise. ``condition``: image-to-video models see the row's
own frame in extra channels, with a mask; TI2V-5B sees clean latent frames whose tokens have time 0, before noise at time
1000. Wan 2.2 A14B has two transformers: the one that was trained for the chosen share of noise is read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.assemble import assemble, source_of
from layerscout.extract.backbones.denoisers.clip_image import ENCODER, PROCESSOR, ClipImage
from layerscout.extract.backbones.denoisers.denoiser import (
    TRAIN_STEPS,
    DenoiserOptions,
    LatentBackbone,
    Reading,
    Regime,
    block_layers,
    flow_noise,
    need_source,
    settle,
    video,
)
from layerscout.extract.checkpoints.checkpoint import open_checkpoint
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.loading import load_model
from layerscout.settings import build as build_settings

KIND = "WanTransformer3DModel"
TIME_RATIO = 4  # frames a latent frame, after the first
TEXT_LENGTH, TEXT_WIDTH = 512, 4096  # image-to-video blocks find the text by this length
TRANSFORMER_FIELDS = ("num_attention_heads", "attention_head_dim", "num_layers", "patch_size", "in_channels")
VAE_FIELDS = ("z_dim", "dim_mult", "latents_mean", "latents_std")

Kind = Literal["text", "image", "both"]
TRAINED: dict[Kind, tuple[Regime, ...]] = {"text": ("denoise",), "image": ("condition", "denoise"), "both": ("condition", "denoise")}


class WanOptions(DenoiserOptions):
    """``frames`` is 4k+1: 9 in ``denoise``, 1 in ``condition`` (TI2V-5B takes more, though it was trained with one)."""


@dataclass(frozen=True)
class _Recipe:
    """What a pass needs to know besides the weights."""

    kind: Kind
    part: str  # folder of the transformer that is read
    reading: Reading
    text: str
    image_tokens: bool  # whether blocks also attend to CLIP tokens of the image


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a regime that it was not trained for, a frame count that is not 4k+1, or a size that its patches do not divide.
    DataError
        The folder is no Wan checkpoint of a known kind, or its weights are not safetensors.
    """
    source = need_source("wan", source)
    chosen = build_settings(WanOptions, options, "extract.backbone_options")
    folder = open_checkpoint(source, ("model_index.json", "transformer", "transformer_2", "vae"))
    index = read_config(folder, name="model_index.json")
    boundary = index.get("boundary_ratio")
    vae = read_config(folder / "vae", kind="AutoencoderKLWan", needed=VAE_FIELDS)
    first = read_config(folder / "transformer", kind=KIND, needed=TRANSFORMER_FIELDS)
    kind = _kind(source, first, vae, bool(index.get("expand_timesteps")))
    pixels = 2 ** (len(vae["dim_mult"]) - 1) * (vae.get("patch_size") or 1)  # a latent cell
    patch = first["patch_size"]
    reading = settle(
        "Wan" if kind == "text" else "Wan image-to-video",
        chosen,
        trained=TRAINED[kind],
        step=TIME_RATIO,
        cell=pixels * patch[1],
        frames={"denoise": 9, "condition": 1},
        longest=None if kind == "both" else 1,
    )
    part = "transformer" if boundary is None or reading.sigma >= boundary else "transformer_2"
    transformer = first if part == "transformer" else read_config(folder / part, kind=KIND, needed=TRANSFORMER_FIELDS)
    text = prompts.describe(chosen.text, TEXT_LENGTH, transformer.get("text_dim", TEXT_WIDTH))
    image_tokens = kind == "image" and transformer.get("image_dim") is not None
    checkpoint, configs = source_of(source, chosen.text, model=part, folder=folder), [transformer, vae]
    if image_tokens:
        checkpoint = replace(checkpoint, parts=(*checkpoint.parts, ENCODER, PROCESSOR), weighed=(*checkpoint.weighed, ENCODER))
        folder = checkpoint.described()
        configs += [read_config(folder / ENCODER), read_config(folder / PROCESSOR, name="preprocessor_config.json")]
    recipe = _Recipe(kind, part, reading, chosen.text, image_tokens)
    return assemble(
        "wan",
        checkpoint,
        reading,
        step=TIME_RATIO,
        cell=pixels * patch[1],
        layers=block_layers(KIND, transformer, ("blocks",), transformer["num_attention_heads"] * transformer["attention_head_dim"]),
        configs=configs,
        identity={"text": text} | ({"expert": part} if boundary is not None else {}) | ({"time": "per token"} if kind == "both" else {}),
        # CLIP tokens are no latents: such a model cannot start from stored ones
        latent_shape=None if image_tokens else _latent_shape(recipe, vae["z_dim"], pixels),
        open_with=lambda folder, device, dtype: _Wan(folder, recipe, device, dtype),
    )


class _Wan(LatentBackbone):
    lists = ("blocks",)

    def __init__(self, folder: Path, recipe: _Recipe, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLWan, WanTransformer3DModel

        super().__init__(
            load_model(WanTransformer3DModel, folder / recipe.part, dtype, device),
            load_model(AutoencoderKLWan, folder / "vae", torch.float32, device),  # its authors run it in float32
            device,
            dtype,
        )
        self._recipe, self._reading = recipe, recipe.reading
        model, vae = self._configs()
        pixels = 2 ** (len(vae.dim_mult) - 1) * (vae.patch_size or 1)
        self._channels = vae.z_dim
        self._mean = torch.tensor(vae.latents_mean, device=device).view(1, -1, 1, 1, 1)
        self._std = torch.tensor(vae.latents_std, device=device).view(1, -1, 1, 1, 1)
        rows, columns = (side // pixels for side in self._reading.size)
        self._noise = self.noise((vae.z_dim, self._reading.slots, rows, columns))
        self._text = prompts.load(recipe.text, folder, TEXT_LENGTH, model.text_dim, zero_padding=True).embedding.to(device, dtype)
        self._image = ClipImage(folder, device, dtype) if recipe.image_tokens else None
        self._tokens_a_slot = rows // model.patch_size[1] * (columns // model.patch_size[2])

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        self._run(self.encode(clip), self._image(clip[:, 0]) if self._image else None)

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip channel slot row column"]:
        frames, reading = video(clip), self._reading
        clean = [self._normalised(frames)] if reading.regime == "denoise" or self._recipe.kind == "both" else []
        if self._recipe.kind == "image":  # the first frame, then grey ones
            rest = frames.new_zeros(*frames.shape[:2], TIME_RATIO * (reading.slots - 1), *frames.shape[3:])
            clean.append(self._normalised(torch.cat([frames[:, :, :1], rest], dim=2)))
        return torch.cat(clean, dim=1)

    def denoise(self, latents: Float[Tensor, "clip channel slot row column"]) -> None:
        self._run(latents, None)

    def _run(self, latents: Float[Tensor, "clip channel slot row column"], image: Float[Tensor, "clip token feature"] | None) -> None:
        reading, noise = self._reading, self._noise.expand(len(latents), -1, -1, -1, -1)
        if reading.regime == "denoise":
            noised = flow_noise(latents[:, : self._channels], noise, reading.sigma)
        elif self._recipe.kind == "both":
            noised = torch.cat([latents, noise[:, :, reading.past :]], dim=2)
        else:
            noised = noise
        if self._recipe.kind == "image":
            mask = torch.zeros_like(noise[:, :TIME_RATIO])  # one channel for each frame of a slot
            mask[:, :, 0] = 1.0
            noised = torch.cat([noised, mask, latents[:, -self._channels :]], dim=1)
        self.module(
            hidden_states=noised.to(self.dtype),
            timestep=self._times().expand(len(latents), *([-1] * (self._recipe.kind == "both"))),
            encoder_hidden_states=self._text.expand(len(latents), -1, -1),
            encoder_hidden_states_image=image,
        )

    def _times(self) -> Float[Tensor, "..."]:
        """One time for the clip, or one for each of its tokens."""
        time = torch.tensor([TRAIN_STEPS * self._reading.sigma], device=self.device)
        if self._recipe.kind != "both":
            return time
        slots = time.repeat(self._reading.slots)
        if self._reading.regime == "condition":
            slots[: self._reading.past] = 0.0
        return slots.repeat_interleave(self._tokens_a_slot)[None]

    def _normalised(self, frames: Float[Tensor, "clip channel time height width"]) -> Float[Tensor, "clip channel slot row column"]:
        return (self.latent_mode(frames) - self._mean) * (1.0 / self._std)

    def _configs(self) -> tuple[Any, Any]:
        return self.module.config, self.vae.config


def _latent_shape(recipe: _Recipe, channels: int, pixels: int) -> tuple[int, ...]:
    reading = recipe.reading
    with_image = recipe.kind == "image" and reading.regime == "denoise"  # the clip's latents and the image's
    slots = reading.past if recipe.kind == "both" else reading.slots
    return (channels * (2 if with_image else 1), slots, *(side // pixels for side in reading.size))


def _kind(source: str, transformer: dict[str, Any], vae: dict[str, Any], per_token: bool) -> Kind:
    """What a checkpoint is conditioned on, by its input channels; refuses relatives that this file would run wrongly."""
    taken, given = transformer["in_channels"], vae["z_dim"]
    hint = "this backbone reads Wan text-to-video, image-to-video and TI2V checkpoints"
    if transformer.get("pos_embed_seq_len") is not None:
        raise DataError(f"{source} is conditioned on a first and a last frame: the last one is the future", hint=hint)
    if transformer["patch_size"][0] != 1 or transformer["patch_size"][1] != transformer["patch_size"][2]:
        raise DataError(f"{source} has patches of {transformer['patch_size']}, expected [1, n, n]", hint=hint)
    if taken == given:
        return "both" if per_token else "text"
    if taken == 2 * given + TIME_RATIO:
        return "image"
    raise DataError(f"{source} takes {taken} channels and its VAE gives {given}", hint=hint)
