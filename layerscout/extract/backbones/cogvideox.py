"""CogVideoX 1.0 checkpoints (2b, 5b, or any of that class) from a local folder or a hub id, read layer by layer.

A clip of 4k+1 frames is encoded by the checkpoint's VAE (mode, never a sample), brought to a low noise level with
noise that is the same for every row, and passed once through the transformer with a zero text embedding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, LoadedBackbone, TokenGrid, fixed_noise, scale_pixels
from layerscout.extract.backbones.checkpoint import config_digest, fetch, load_model, read_config, weights_digest
from layerscout.settings import Config
from layerscout.settings import build as build_settings

PARTS = ("transformer", "vae", "scheduler")
NOISE_SEED = 5
TIME_RATIO = 4  # frames a latent frame, after the first


class CogVideoXOptions(Config):
    """``frames`` is 4k+1; ``size`` in pixels (height, width); ``sigma`` is the noise share sqrt(1 - alpha_bar), 0 to 1."""

    frames: int = Field(default=9, ge=1)
    size: tuple[int, int] = (256, 256)
    sigma: float = Field(default=0.2, ge=0.0, lt=1.0)


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a frame count that is not 4k+1, or a size that the patches do not divide.
    DataError
        The folder is not a CogVideoX 1.0 checkpoint, or its weights are not safetensors.
    """
    if source is None:
        raise UsageError("backbone 'cogvideox' needs a checkpoint", hint="write cogvideox:FOLDER or cogvideox:HUB-ID")
    chosen = build_settings(CogVideoXOptions, options, "extract.backbone_options")
    folder = fetch(source, PARTS, weights=False)
    transformer = read_config(folder / "transformer", kind="CogVideoXTransformer3DModel")
    vae = read_config(folder / "vae", kind="AutoencoderKLCogVideoX")
    scheduler = read_config(folder / "scheduler", name="scheduler_config.json")
    _check_kind(source, transformer, vae)
    if (chosen.frames - 1) % TIME_RATIO:
        raise UsageError(f"CogVideoX takes 4k+1 frames, not {chosen.frames}", hint="--set extract.backbone_options.frames=9")
    pixels = 2 ** (len(vae["block_out_channels"]) - 1)  # pixels a latent cell
    patch = transformer["patch_size"]
    if any(side % (pixels * patch) for side in chosen.size):
        raise UsageError(
            f"frame size {chosen.size} is not a multiple of {pixels * patch} pixels", hint="--set extract.backbone_options.size=[256,256]"
        )
    latent = tuple(side // pixels for side in chosen.size)
    slots = (chosen.frames - 1) // TIME_RATIO + 1
    width = transformer["num_attention_heads"] * transformer["attention_head_dim"]
    parameters = _block_parameters(transformer)
    return Backbone(
        name="cogvideox",
        clip=ClipSpec(offsets=tuple(range(1 - chosen.frames, 1)), frame_shape=(*chosen.size, 3)),
        grid=TokenGrid(time=slots, height=latent[0] // patch, width=latent[1] // patch, past=slots),
        layers=tuple(
            LayerInfo(f"transformer_blocks.{i}", f"transformer_blocks.{i}", i, width, parameters) for i in range(transformer["num_layers"])
        ),
        default_pooling="all/mean",
        identity={
            "class": "CogVideoXTransformer3DModel",
            "config_digest": config_digest(transformer, vae, scheduler),
            "regime": "denoise",
            "sigma": chosen.sigma,
            "noise": f"fixed, seed {NOISE_SEED}",
            "text": "zeros",
            "vae": "mode",
        },
        weights_digest=lambda: weights_digest([fetch(source, PARTS, weights=True) / part for part in ("transformer", "vae")]),
        load=lambda device: _CogVideoX(fetch(source, PARTS, weights=True), chosen, device),
    )


class _CogVideoX(LoadedBackbone):
    def __init__(self, folder: Path, options: CogVideoXOptions, device: torch.device) -> None:
        from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel

        self.device = device
        self.module = load_model(CogVideoXTransformer3DModel, folder / "transformer").to(device)
        self._vae = load_model(AutoencoderKLCogVideoX, folder / "vae").to(device)
        self._blocks: Any = self.module.transformer_blocks
        schedule = CogVideoXDDIMScheduler.from_pretrained(folder, subfolder="scheduler").alphas_cumprod
        # the noise level is a share of standard deviation; integer timesteps mean different things in different schedules
        self._timestep = int(torch.argmin((schedule.sqrt() - (1 - options.sigma**2) ** 0.5).abs()))
        self._keep, self._noise_share = float(schedule[self._timestep]) ** 0.5, float(1 - schedule[self._timestep]) ** 0.5
        self._rope = self._rotary(options)

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        frames = scale_pixels(clip).permute(0, 2, 1, 3, 4)  # the VAE wants channels before time
        latents = self._vae.encode(frames).latent_dist.mode() * self._vae.config.scaling_factor
        latents = latents.permute(0, 2, 1, 3, 4)
        noise = fixed_noise((1, *latents.shape[1:]), NOISE_SEED).to(latents)
        config: Any = self.module.config
        self.module(
            hidden_states=self._keep * latents + self._noise_share * noise,
            encoder_hidden_states=latents.new_zeros(len(latents), config.max_text_seq_length, config.text_embed_dim),
            timestep=torch.full((len(latents),), self._timestep, device=self.device),
            image_rotary_emb=self._rope,
        )

    def tokens(self, output: Any) -> Float[Tensor, "clip token feature"]:
        return output[0]

    def truncate(self, last: LayerInfo) -> None:
        self.module.transformer_blocks = self._blocks[: last.depth + 1]

    def _rotary(self, options: CogVideoXOptions) -> tuple[Tensor, Tensor] | None:
        config: Any = self.module.config
        if not config.use_rotary_positional_embeddings:
            return None
        from diffusers.models.embeddings import get_3d_rotary_pos_embed

        pixels = 2 ** (len(self._vae.config.block_out_channels) - 1) * config.patch_size
        grid = (options.size[0] // pixels, options.size[1] // pixels)
        trained = (config.sample_height // config.patch_size, config.sample_width // config.patch_size)
        return get_3d_rotary_pos_embed(
            embed_dim=config.attention_head_dim,
            crops_coords=centred_box(grid, trained),
            grid_size=grid,
            temporal_size=(options.frames - 1) // TIME_RATIO + 1,
            device=self.device,
        )


def centred_box(grid: tuple[int, int], trained: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (top, left), (bottom, right) of the largest box with the shape of ``grid`` in the middle of the trained grid.

    Rotary positions of a frame of another size are spread over this box, so that they stay among the trained ones.
    """
    scale = min(trained[0] / grid[0], trained[1] / grid[1])
    rows, columns = (round(side * scale) for side in grid)
    top, left = round((trained[0] - rows) / 2), round((trained[1] - columns) / 2)
    return (top, left), (top + rows, left + columns)


def _check_kind(source: str, transformer: dict[str, Any], vae: dict[str, Any]) -> None:
    """Refuse relatives that this file would run wrongly."""
    if transformer.get("patch_size_t") is not None:
        raise DataError(
            f"{source} is CogVideoX 1.5 (patch_size_t={transformer['patch_size_t']})", hint="this backbone reads CogVideoX 1.0: 2b and 5b"
        )
    for part, config, needed in (
        ("transformer", transformer, ("num_attention_heads", "attention_head_dim", "num_layers", "patch_size", "in_channels")),
        ("vae", vae, ("block_out_channels", "latent_channels")),
    ):
        for name in needed:
            if name not in config:
                raise DataError(f"{source}: {part}/config.json misses '{name}'", hint="download the checkpoint again")
    if transformer["in_channels"] != vae["latent_channels"]:
        raise DataError(
            f"{source} takes {transformer['in_channels']} channels and its VAE gives {vae['latent_channels']}: an image-to-video checkpoint",
            hint="this backbone reads the text-to-video checkpoints 2b and 5b",
        )


def _block_parameters(config: dict[str, Any]) -> int:
    from diffusers import CogVideoXTransformer3DModel

    with torch.device("meta"):
        model = CogVideoXTransformer3DModel.from_config(config | {"num_layers": 1})
    return sum(parameter.numel() for parameter in model.transformer_blocks[0].parameters())
