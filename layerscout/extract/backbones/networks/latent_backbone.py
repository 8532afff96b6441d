"""What every video denoiser does with a clip once it is in memory: latents, noise at a share, one pass; and how noise is mixed in."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.base import LayerInfo
from layerscout.extract.backbones.denoisers.options import NOISE_SEED
from layerscout.extract.backbones.loaded import LoadedBackbone, fixed_noise, scale_pixels

TRAIN_STEPS = 1000  # timesteps of every family's schedule


def flow_noise(latents: Float[Tensor, "*shape"], noise: Float[Tensor, "*shape"], sigma: float) -> Float[Tensor, "*shape"]:
    """x = (1 - sigma) z + sigma e: the straight path of flow matching, whose timestep is 1000 sigma after any shift.

    References
    ----------
    Lipman et al., Flow Matching for Generative Modeling, eq. 23 with sigma_min = 0; Esser et al., 2403.03206, eq. 13.
    """
    return (1.0 - sigma) * latents + sigma * noise


def vp_level(alphas: Float[Tensor, " timestep"], sigma: float) -> tuple[int, float, float]:
    """Return (timestep, share of signal, share of noise) of the schedule's step nearest to a noise share ``sigma``.

    ``alphas`` are cumulative; the shares are sqrt(alpha) and sqrt(1 - alpha). An integer timestep means another noise in
    every schedule, so it is never an option itself.

    References
    ----------
    Ho et al., Denoising Diffusion Probabilistic Models, eq. 4.
    """
    timestep = int(torch.argmin((alphas.sqrt() - (1 - sigma**2) ** 0.5).abs()))
    return timestep, float(alphas[timestep]) ** 0.5, float(1 - alphas[timestep]) ** 0.5


def video(clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip channel time height width"]:
    """Pixels in [-1, 1] as a VAE takes them."""
    return scale_pixels(clip).permute(0, 2, 1, 3, 4)


class LatentBackbone(LoadedBackbone):
    """A denoiser in memory: ``encode`` is the VAE's part of a pass (and may be stored), ``denoise`` the rest.

    ``encode`` answers in float32 whatever the model computes in, so latents that were stored give the same activations
    bit for bit. ``lists`` names the model's block lists in the order they run.
    """

    lists: tuple[str, ...] = ("transformer_blocks",)

    def __init__(self, module: nn.Module, vae: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.module, self.vae, self.device, self.dtype = module, vae, device, dtype
        self._whole = {name: cast(nn.ModuleList, getattr(module, name)) for name in self.lists}

    @abstractmethod
    def encode(self, clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip *latent"]:
        """Latents of clips, normalised as the family wants them; no noise yet."""

    @abstractmethod
    def denoise(self, latents: Float[Tensor, "clip *latent"]) -> None:
        """Add the noise, and run the model."""

    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        """Encode and denoise; stored latents go through ``denoise`` alone."""
        self.denoise(self.encode(clip))

    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        """The video tokens; of blocks that answer with video and text, the first of the two."""
        return output[0] if isinstance(output, tuple) else output

    def latent_mode(self, frames: Float[Tensor, "clip channel time height width"]) -> Float[Tensor, "clip channel slot row column"]:
        """The most likely latents (never a sample, which would be hidden noise), in float32, not normalised."""
        vae: Any = copy.copy(self.vae)  # some keep the state of a pass on themselves, and several threads encode at once
        weight = next(vae.parameters())
        return vae.encode(frames.to(weight.dtype)).latent_dist.mode().to(torch.float32)

    def noise(self, shape: Sequence[int]) -> Float[Tensor, "1 *shape"]:
        """The noise of one clip, to be made once: the same for every row, batch and machine."""
        return fixed_noise((1, *shape), NOISE_SEED).to(self.device)

    def truncate(self, last: LayerInfo) -> None:
        """Shorten the list that ``last`` is in, and empty the lists after it; all blocks stay in memory."""
        wanted, _, index = last.module.rpartition(".")
        stop = None
        for name, blocks in self._whole.items():
            if name == wanted:
                stop = int(index) + 1
                setattr(self.module, name, blocks[:stop])
            else:
                setattr(self.module, name, blocks if stop is None else blocks[:0])
