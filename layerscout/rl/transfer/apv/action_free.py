"""Windows of frames in, what is learned from them out: the action-free model, which is pretrained."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.latents import balanced_divergence
from layerscout.rl.transfer.apv.pictures import PictureDecoder, PictureEncoder, picture_loss, scaled
from layerscout.rl.transfer.apv.rssm import RSSM, Seen


class VideoLosses(NamedTuple):
    """What an update descends and its parts, in nats a frame, and what the frames were taken for."""

    total: Float[Tensor, ""]
    picture: Float[Tensor, ""]
    divergence: Float[Tensor, ""]
    seen: Seen


class ActionFree(nn.Module):
    """Encoder, recurrent state-space model without actions, decoder.

    The authors' code gives this model 50 zeros in place of an action, which add nothing; here there is no such input.

    References
    ----------
    Seo et al. 2022, section 4.1 and eq. 3.
    """

    def __init__(self, sizes: APVModelConfig) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = PictureEncoder(sizes)
        self.rssm = RSSM(sizes, sizes.embedding)
        self.decoder = PictureDecoder(sizes)

    def forward(
        self,
        frames: UInt8[Tensor, "window time height width channel"],
        first: Bool[Tensor, "window time"],
        chances: Float[Tensor, "window time latent"] | None,
        kl_weight: float = 0.1,
        kl_balance: float = 0.8,
        free_nats: float = 0.0,
    ) -> VideoLosses:
        """−log p(o | z, h) + weight · KL: the picture's error, and how far what was foretold is from what was seen."""
        pictures = scaled(frames)
        seen = self.rssm.observe(self.encoder(pictures), first, chances)
        picture = picture_loss(self.decoder(seen.features), pictures)
        kl = balanced_divergence(seen.posterior, seen.prior, kl_balance, free_nats)
        return VideoLosses(picture + kl_weight * kl, picture, kl, seen)


def new_action_free(sizes: APVModelConfig, seed: int) -> ActionFree:
    """Make the model with first weights that depend on the seed alone; no other random state changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ActionFree(sizes)
