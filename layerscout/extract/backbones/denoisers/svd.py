"""Stable Video Diffusion checkpoints from a folder or a hub id, read part by part of their U-Net.

Half of the model's channels are noisy latents of every frame, half the latents of one image, repeated. ``condition``: the
image is the row's own frame and all frames are pure noise. ``denoise``: frames are the clip's own at a low noise level, and
its first frame is the image. The embedding of the image by CLIP is left at zero, which the model was trained to do without.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import Backbone, LayerInfo, TokenGrid
from layerscout.extract.backbones.denoisers.assemble import assemble, check_channels, source_of
from layerscout.extract.backbones.denoisers.denoiser import NOISE_SEED, DenoiserOptions, LatentBackbone, Reading, need_source, settle
from layerscout.extract.backbones.loaded import fixed_noise, scale_pixels
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.loading import load_model
from layerscout.settings import build as build_settings

KIND = "UNetSpatioTemporalConditionModel"
FRAMES_A_SECOND, MOTION, AUGMENTATION = 7, 127, 0.02  # what the published pipeline says of a clip
IMAGE_NOISE_SEED = NOISE_SEED + 1  # of the image's pixels: not the noise of the latents again

Latents = Float[Tensor, "clip slot channel row column"]


class SvdOptions(DenoiserOptions):
    """``frames`` any number (the trained one), ``future`` noisy frames after the image (trained - 1); no ``text`` is taken.

    ``sigma`` is the share of noise in standard deviation, s / sqrt(s^2 + 1) for the schedule's own s.
    """


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the checkpoint at ``source``; reads its configuration, no weights.

    Raises
    ------
    UsageError
        No source, a text, no noise at all, or a size that the parts do not divide.
    DataError
        The folder is no Stable Video Diffusion checkpoint.
    """
    name = need_source("svd", source)
    chosen = build_settings(SvdOptions, options, "extract.backbone_options")
    if chosen.text != "zeros":
        raise UsageError(f"Stable Video Diffusion takes no text, not '{chosen.text}'", hint="leave text out")
    if chosen.sigma == 0.0:
        raise UsageError("Stable Video Diffusion has no noise level 0: its time is the noise's logarithm", hint="sigma 0.01 or more")
    checkpoint = source_of(name, chosen.text, scheduler=True, model="unet")
    folder = checkpoint.described()
    unet = read_config(folder / "unet", kind=KIND, needed=("block_out_channels", "in_channels", "num_frames"))
    vae = read_config(
        folder / "vae", kind="AutoencoderKLTemporalDecoder", needed=("block_out_channels", "latent_channels", "scaling_factor")
    )
    scheduler = read_config(folder / "scheduler", name="scheduler_config.json", needed=("sigma_max",))
    check_channels(name, unet["in_channels"], [2 * vae["latent_channels"]])
    pixels = 2 ** (len(vae["block_out_channels"]) - 1)  # a latent cell
    cell = pixels * 2 ** (len(unet["block_out_channels"]) - 1)  # a token of the coarsest part
    if "future" not in chosen.model_fields_set:
        chosen = chosen.model_copy(update={"future": max(1, unet["num_frames"] - 1)})
    reading = settle(
        "Stable Video Diffusion",
        chosen,
        trained=("condition", "denoise"),
        step=1,
        cell=cell,
        frames={"condition": 1, "denoise": unet["num_frames"]},
        longest=1,
    )
    latent = (reading.size[0] // pixels, reading.size[1] // pixels)
    return assemble(
        "svd",
        checkpoint,
        reading,
        step=1,
        cell=cell,
        layers=part_layers(unet, reading, latent),
        configs=(unet, vae, scheduler),
        identity={"image": "CLIP zeros", "frames_a_second": FRAMES_A_SECOND, "motion": MOTION, "augmentation": AUGMENTATION},
        latent_shape=(1 if reading.future else reading.slots + 1, vae["latent_channels"], *latent),
        open_with=lambda folder, device, dtype: Svd(folder, reading, scheduler["sigma_max"], device, dtype),
    )


def part_layers(unet: dict[str, Any], reading: Reading, latent: tuple[int, int]) -> tuple[LayerInfo, ...]:
    """Describe the parts of the U-Net in the order they run; each has its own width and its own grid.

    A part that halves or doubles the grid is read after it did.
    """
    import diffusers

    with torch.device("meta"):
        model = getattr(diffusers, KIND).from_config(unet)
    widths = tuple(unet["block_out_channels"])
    last = len(widths) - 1
    downward = [(f"down_blocks.{i}", widths[i], min(i + 1, last)) for i in range(len(widths))]
    upward = [(f"up_blocks.{i}", widths[last - i], max(last - i - 1, 0)) for i in range(len(widths))]
    return tuple(
        LayerInfo(
            name,
            name,
            depth,
            width,
            sum(parameter.numel() for parameter in model.get_submodule(name).parameters()),
            TokenGrid(reading.slots, latent[0] // 2**halvings, latent[1] // 2**halvings, reading.past),
        )
        for depth, (name, width, halvings) in enumerate([*downward, ("mid_block", widths[-1], last), *upward])
    )


class Skipped(nn.Module):
    """Stands for the middle of a U-Net when the pass ends before it."""

    def forward(self, hidden_states: Tensor, **arguments: Any) -> Tensor:
        return hidden_states


class Svd(LatentBackbone):
    """Stable Video Diffusion in memory; its head is dropped, since nobody reads what it would say."""

    lists = ("down_blocks", "up_blocks")

    def __init__(self, folder: Path, reading: Reading, loudest: float, device: torch.device, dtype: torch.dtype) -> None:
        from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel

        super().__init__(
            load_model(UNetSpatioTemporalConditionModel, folder / "unet", dtype, device),
            load_model(AutoencoderKLTemporalDecoder, folder / "vae", torch.float32, device),  # it overflows in half precision
            device,
            dtype,
        )
        module: Any = self.module
        module.conv_norm_out = module.conv_act = module.conv_out = nn.Identity()
        self._middle, self._width = module.mid_block, module.config.cross_attention_dim
        self._reading = reading
        config: Any = self.vae.config
        self._scale = config.scaling_factor
        pixels = 2 ** (len(config.block_out_channels) - 1)
        self._noise = self.noise((reading.slots, config.latent_channels, *(side // pixels for side in reading.size)))
        self._image_noise = AUGMENTATION * fixed_noise((1, 3, *reading.size), IMAGE_NOISE_SEED).to(device)
        self._level = loudest if reading.future else reading.sigma / (1.0 - reading.sigma**2) ** 0.5
        self._told = torch.tensor([[FRAMES_A_SECOND - 1.0, MOTION, AUGMENTATION]], device=device, dtype=dtype)

    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Latents:
        frames = scale_pixels(clip)
        image = self._mode(frames[:, :1] + self._image_noise[:, None])
        return image if self._reading.future else torch.cat([self._mode(frames) * self._scale, image], dim=1)

    def denoise(self, latents: Latents) -> None:
        frames, image = latents[:, :-1], latents[:, -1:]
        noisy = self._noise.expand(len(latents), -1, -1, -1, -1)
        if not self._reading.future:
            # (z + s e) / sqrt(s^2 + 1), the model's input at the schedule's level s
            noisy = (frames + self._level * noisy) / (self._level**2 + 1.0) ** 0.5
        self.module(
            sample=torch.cat([noisy, image.expand_as(noisy)], dim=2).to(self.dtype),
            timestep=torch.tensor(0.25 * math.log(self._level), device=self.device),
            encoder_hidden_states=latents.new_zeros(len(latents), 1, self._width, dtype=self.dtype),
            added_time_ids=self._told.expand(len(latents), -1),
        )

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        frames = output[0] if isinstance(output, tuple) else output  # [clip · time, feature, height, width]
        return frames.unflatten(0, (-1, self._reading.slots)).permute(0, 1, 3, 4, 2).flatten(1, 3)

    def truncate(self, last: LayerInfo) -> None:
        module: Any = self.module
        if last.module == "mid_block":
            module.down_blocks, module.up_blocks = self._whole["down_blocks"], self._whole["up_blocks"][:0]
        else:
            super().truncate(last)
        module.mid_block = Skipped() if last.module.startswith("down_blocks") else self._middle

    def _mode(self, frames: Float[Tensor, "clip time channel height width"]) -> Latents:
        vae: Any = self.vae
        return vae.encode(frames.flatten(0, 1)).latent_dist.mode().unflatten(0, frames.shape[:2])
