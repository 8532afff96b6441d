"""Pretrained networks and frames that they were not trained on in, figures out: each beside the baseline that it must beat."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from scipy.special import entr
from torch import Tensor

from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer, perplexity
from layerscout.rl.transfer.pvdr.tokens import pictures

TOGETHER = 64  # clips of one pass
COLLAPSED = 2.0  # a perplexity below this means that one code is nearly all
BLIND = 0.5  # of the frames' variance: with a larger error most of what moves is missing from what is painted


@dataclass(frozen=True)
class TokenizerFigures:
    """How frames come out.

    Attributes
    ----------
    error_share
        Mean squared error as a share of the frames' variance around their mean picture; None where frames do not vary.
    perplexity
        exp of the entropy of how often codes are used.
    """

    error_share: float | None
    perplexity: float

    @property
    def warning(self) -> str | None:
        """What to say of a codebook that collapsed, and of one that paints hardly more than the mean picture."""
        if self.perplexity < COLLAPSED:
            return (
                f"the codes have a perplexity of {self.perplexity:.2f}: one code stands for nearly everything, and plans will show nothing"
            )
        if self.error_share is not None and self.error_share >= BLIND:
            return (
                f"frames come out with an error of {100 * self.error_share:.0f} % of their variance, and the mean picture has 100 %: plans will hardly show "
                "what moves; larger things, more --tokenizer-updates or more codes (--set shape.codes=64) may help"
            )
        return None


@dataclass(frozen=True)
class DynamicsFigures:
    """How futures are foretold, in nats a clip.

    Attributes
    ----------
    cross_entropy, divergence
        Of the future's tokens given z by the encoder, and of the encoder's z from the prior's.
    marginal
        Baseline: cross-entropy of the future when each place shows each code as often as in what was trained on, nothing else known.
    copying
        Baseline: cross-entropy of copying the last known frame, see ``copying_nats``.
    copied
        Tokens of the future that are not those of the last known frame; of ``tokens`` together.
    unchanged
        Cross-entropy, with the encoder's mean as z, of the tokens alone that are those of the last known frame: near 0, or codes are ambiguous.
    still
        Cross-entropy of clips whose frames are all the same.
    """

    cross_entropy: float
    divergence: float
    marginal: float
    copying: float
    copied: float
    tokens: int
    unchanged: float
    still: float


@torch.no_grad()
def tokenizer_figures(
    tokenizer: FrameTokenizer, frames: UInt8[np.ndarray, "frame height width channel"], tokens: UInt8[np.ndarray, "frame row column"]
) -> TokenizerFigures:
    """Judge a tokenizer on frames and what it made of them."""
    pixels, chosen = pictures(frames), torch.from_numpy(tokens.astype(np.int64))
    error = float(torch.cat([tokenizer.decode(part) for part in chosen.split(256)]).sub(pixels).square().mean())
    variance = float((pixels - pixels.mean(0)).square().mean())
    return TokenizerFigures(error / variance if variance > 0 else None, perplexity(chosen, len(tokenizer.book)))


def dynamics_figures(
    dynamics: VisualDynamics, clips: Int64[Tensor, "clip time row column"], trained: UInt8[np.ndarray, "frame row column"]
) -> DynamicsFigures:
    """Judge dynamics on clips; ``trained`` are the tokens that they were trained on, from which the marginal is taken."""
    shape = dynamics.shape
    future, last = clips[:, shape.history :], clips[:, shape.history - 1 : shape.history]
    seen = torch.from_numpy(trained.astype(np.int64))
    shares = torch.stack([(seen == code).double().mean(0) for code in range(shape.codes)], -1).clamp(min=1.0 / (len(seen) + 1))
    known = shares.log().expand(*future.shape[:2], -1, -1, -1).gather(-1, future[..., None])
    crossed, diverged = held_out_nats(dynamics, clips)
    still = clips[:, :1].expand(-1, shape.window, -1, -1)
    with torch.no_grad():
        known_z = [dynamics.surprise(part, dynamics.encoder(part).mean) for part in clips.split(TOGETHER)]
    unchanged = torch.cat(known_z)[future == last.expand_as(future)]
    changed, tokens = float((future != last).double().sum((1, 2, 3)).mean()), shape.future * shape.tokens
    return DynamicsFigures(
        crossed,
        diverged,
        marginal=-float(known.sum()) / len(clips),
        copying=copying_nats(changed, tokens, shape.codes),
        copied=changed,
        tokens=tokens,
        unchanged=float(unchanged.sum()) / len(clips),
        still=held_out_nats(dynamics, still)[0],
    )


def copying_nats(changed: float, tokens: int, codes: int) -> float:
    """Return what copying the last frame costs, in nats a clip: N H(ρ) + c ln(K − 1), with ρ = c / N.

    Each of N tokens stays as it is with probability 1 − ρ, else each of the other K − 1 codes is as likely. The share ρ is that of the judged clips
    themselves, the best that there is: the baseline knows one thing more than it could.

    Parameters
    ----------
    changed, tokens, codes
        c, the mean number of tokens that change in a clip; N, a clip's tokens; K, all codes.
    """
    share = changed / tokens
    return tokens * float(entr(share) + entr(1.0 - share)) + changed * math.log(max(codes - 1, 1))


@torch.no_grad()
def held_out_nats(dynamics: VisualDynamics, clips: Int64[Tensor, "clip time row column"], seed: int = 0) -> tuple[float, float]:
    """Return cross-entropy and divergence of clips, in nats a clip, with the same noise at every call."""
    noise = torch.randn(len(clips), dynamics.shape.z, generator=torch.Generator().manual_seed(seed))
    parts = [dynamics.losses(*pair) for pair in zip(clips.split(TOGETHER), noise.split(TOGETHER), strict=True)]
    crossed, diverged = (torch.cat([part[i] for part in parts]).mean() for i in (0, 1))
    return float(crossed), float(diverged)
