"""Tokens of m past and n future frames in, z and the future's tokens out: a conditional variational autoencoder of visual dynamics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from layerscout.extract.backbones.networks.pvdr.space_time import SpaceTime, patches, unpatched
from layerscout.extract.backbones.pvdr import SQUEEZED, PvdrShape

LOGARITHM = (-5.0, 2.0)  # bounds of the logarithm of z's standard deviation


class Normal(NamedTuple):
    """A normal distribution of z with a diagonal covariance."""

    mean: Float[Tensor, "clip z"]
    logarithm: Float[Tensor, "clip z"]  # of the standard deviation

    def sample(self, noise: Float[Tensor, "*more clip z"]) -> Float[Tensor, "*more clip z"]:
        """Move standard normal noise of the mean's shape: mean + exp(logarithm) · noise."""
        return self.mean + self.logarithm.exp() * noise


class DynamicsLoss(NamedTuple):
    """Parts of the loss, in nats a clip."""

    cross_entropy: Float[Tensor, " clip"]
    divergence: Float[Tensor, " clip"]


class ZReader(nn.Module):
    """A transformer over a clip and a linear head over all its places: the distribution of z, given the clip."""

    def __init__(self, shape: PvdrShape, frames: int) -> None:
        super().__init__()
        self.trunk = SpaceTime(shape, frames)
        self.squeeze = nn.Linear(shape.width, SQUEEZED)
        self.last = nn.Linear(SQUEEZED * frames * shape.places, 2 * shape.z)

    def forward(self, tokens: Int64[Tensor, "clip time row column"]) -> Normal:
        """Mean and bounded logarithm of the deviation of z, from the tokens of all frames."""
        mean, logarithm = self.last(self.squeeze(self.trunk(tokens)).flatten(1)).chunk(2, -1)
        return Normal(mean, logarithm.clamp(*LOGARITHM))


class VisualDynamics(nn.Module):
    """Encoder E(z | past, future), prior P(z | past) and decoder D(future | z, past) over tokens.

    L = E_q[−log D] + β KL(E ‖ P), in nats a clip, summed over the n · tokens of the future, which D foretells all at once. What stays need not be
    learned code by code: the features of a place also say how much likelier each of its tokens is to be that of the last known frame.
    """

    def __init__(self, shape: PvdrShape) -> None:
        super().__init__()
        self.shape = shape
        self.encoder, self.prior = ZReader(shape, shape.window), ZReader(shape, shape.history)
        self.decoder = SpaceTime(shape, shape.window, condition=shape.z)
        self.head = nn.Linear(shape.width, shape.patch**2 * shape.codes)
        self.stays = nn.Linear(shape.width, shape.patch**2)

    def decode(self, z: Float[Tensor, "clip z"], past: Int64[Tensor, "clip m row column"]) -> Float[Tensor, "clip n row column code"]:
        """Return the logits of the future's tokens."""
        shape = self.shape
        features = self.imagine(z, past)[:, shape.history :]
        logits = self.head(features).view(len(z), shape.future, shape.places, shape.patch**2, shape.codes)
        last = F.one_hot(patches(past[:, -1:], shape.patch), shape.codes).to(logits.dtype)
        logits = logits + self.stays(features)[..., None] * last
        return unpatched(logits, shape.patch, shape.grid)

    def imagine(self, z: Float[Tensor, "clip z"], past: Int64[Tensor, "clip m row column"]) -> Float[Tensor, "clip time place width"]:
        """Return the decoder's features of m known and n unknown frames."""
        shape = self.shape
        unknown = past.new_full((len(z), shape.future, shape.grid, shape.grid), shape.codes)
        return self.decoder(torch.cat([past, unknown], dim=1), z)

    def losses(self, tokens: Int64[Tensor, "clip time row column"], noise: Float[Tensor, "clip z"]) -> DynamicsLoss:
        """Return cross-entropy and divergence of clips of m + n frames; ``noise`` is standard normal."""
        posterior, prior = self.encoder(tokens), self.prior(tokens[:, : self.shape.history])
        wrong = self.surprise(tokens, posterior.sample(noise))
        return DynamicsLoss(wrong.flatten(1).sum(1), divergence(posterior, prior))

    def surprise(self, tokens: Int64[Tensor, "clip time row column"], z: Float[Tensor, "clip z"]) -> Float[Tensor, "clip n row column"]:
        """Return −ln D of every token of the future, in nats."""
        past, future = tokens[:, : self.shape.history], tokens[:, self.shape.history :]
        logits = self.decode(z, past)
        return F.cross_entropy(logits.flatten(0, 3), future.flatten(), reduction="none").view(future.shape)

    def plans(self, z: Float[Tensor, "clip z"], past: Int64[Tensor, "clip m row column"]) -> Int64[Tensor, "clip n row column"]:
        """Return the most likely tokens of the future, each by itself."""
        return self.decode(z, past).argmax(-1)


def divergence(first: Normal, second: Normal) -> Float[Tensor, " clip"]:
    """KL(first ‖ second) = Σ ln(s₂ / s₁) + (s₁² + (m₁ − m₂)²) / (2 s₂²) − ½, in nats."""
    apart = (first.mean - second.mean).square() + (2.0 * first.logarithm).exp()
    return (second.logarithm - first.logarithm + 0.5 * apart * (-2.0 * second.logarithm).exp() - 0.5).sum(-1)
