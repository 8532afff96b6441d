"""Frames in, tokens out and back: a vector-quantised autoencoder whose unused codes are revived where pictures come out worst."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from layerscout.extract.backbones.pvdr import PvdrShape

DECAY = 0.95  # of the moving sums that the codes are means of
DEAD = 0.05  # a code that stands for fewer vectors a batch than this, by its moving count, is revived
COMMITMENT = 0.25  # weight of the pull of vectors to their codes
CANDIDATES = 4  # vectors from among which each revived code is drawn: the worst ones


class Coded(NamedTuple):
    """One pass of the tokenizer in training: the loss to descend, the pictures' error, and each place's code."""

    loss: Float[Tensor, ""]
    error: Float[Tensor, ""]  # mean squared error of the pictures
    tokens: Int64[Tensor, "frame row column"]


class FrameTokenizer(nn.Module):
    """Convolutions to a grid of vectors, the nearest of K codes for each, and convolutions back.

    L = ‖x − D(e + sg(q − e))‖² + 0.25 ‖e − sg q‖², both means; codes are moving means of the vectors that they stand for.
    A code that stands for hardly any vector gets a new place among the vectors that lie farthest from their codes.

    References
    ----------
    van den Oord et al. 2017, "Neural discrete representation learning", arXiv 1711.00937, eq. 3 and appendix A.1.
    """

    book: Tensor
    count: Tensor
    total: Tensor

    def __init__(self, shape: PvdrShape) -> None:
        super().__init__()
        width, code = shape.tokenizer_width, shape.code_width
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, width, 4, 2, 1), nn.ReLU(), nn.Conv2d(width, code, 3, 1, 1)
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(code, width, 3, 1, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 4, 2, 1),
        )
        self.register_buffer("book", torch.randn(shape.codes, code))
        self.register_buffer("count", torch.zeros(shape.codes))  # none is in use: the first batch gives them places
        self.register_buffer("total", torch.zeros_like(self.book))

    def vectors(self, frames: Float[Tensor, "frame 3 height width"]) -> Float[Tensor, "frame row column code"]:
        """Return the vectors of frames with values in [−0.5, 0.5]."""
        return self.encoder(frames).permute(0, 2, 3, 1)

    def nearest(self, vectors: Float[Tensor, "frame row column code"]) -> Int64[Tensor, "frame row column"]:
        """Number of the code in the book with the least Euclidean distance to each vector."""
        flat = vectors.reshape(-1, vectors.shape[-1])
        return torch.addmm(self.book.square().sum(1), flat, self.book.T, alpha=-2.0).argmin(1).view(vectors.shape[:3])

    def encode(self, frames: Float[Tensor, "frame 3 height width"]) -> Int64[Tensor, "frame row column"]:
        """Number of the nearest code in the book at every place, of frames in [-0.5, 0.5]."""
        return self.nearest(self.vectors(frames))

    def decode(self, tokens: Int64[Tensor, "frame row column"]) -> Float[Tensor, "frame 3 height width"]:
        """Look the codes up in the book and paint frames of them, about [-0.5, 0.5]."""
        return self.decoder(self.book[tokens].permute(0, 3, 1, 2))

    def forward(self, frames: Float[Tensor, "frame 3 height width"], generator: torch.Generator | None = None) -> Coded:
        """Code frames and decode them; in training mode the codes move, and with a generator unused ones are revived."""
        vectors = self.vectors(frames)
        tokens = self.nearest(vectors.detach())
        coded = self.book[tokens]
        passed = vectors + (coded - vectors).detach()  # gradients pass the choice of a code unchanged
        error = F.mse_loss(self.decoder(passed.permute(0, 3, 1, 2)), frames)
        loss = error + COMMITMENT * F.mse_loss(vectors, coded)
        if self.training:
            self._move(vectors.detach().reshape(-1, vectors.shape[-1]), tokens.flatten(), generator)
        return Coded(loss, error, tokens)

    @torch.no_grad()
    def _move(self, vectors: Float[Tensor, "vector code"], tokens: Int64[Tensor, " vector"], generator: torch.Generator | None) -> None:
        chosen = F.one_hot(tokens, len(self.book)).to(vectors.dtype)
        away = (vectors - self.book[tokens]).square().sum(1)
        self.count.lerp_(chosen.sum(0), 1.0 - DECAY)
        self.total.lerp_(chosen.T @ vectors, 1.0 - DECAY)
        self.book.copy_(self.total / (self.count[:, None] + 1e-5))
        dead = self.count < DEAD
        number = int(dead.sum())
        if number and generator is not None:
            worst = away.topk(min(CANDIDATES * number, len(away))).indices
            places = vectors[worst[torch.randperm(len(worst), generator=generator)[:number]]]
            dead = dead.nonzero().flatten()[: len(places)]
            self.book[dead], self.total[dead], self.count[dead] = places, places, 1.0


def perplexity(tokens: Int64[Tensor, "*any"], codes: int) -> float:
    """Return exp of the entropy of how often each code is used: 1 when one code is all, the number of codes when all are used alike."""
    share = torch.bincount(tokens.flatten(), minlength=codes).double()
    share = share / share.sum()
    return float((-torch.special.xlogy(share, share).sum()).exp())
