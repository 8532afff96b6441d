"""An actor's output and noise in, bounded actions with their log densities out: the Gaussian behind a tanh."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

LOWEST, HIGHEST = -20.0, 2.0  # natural logarithm of the standard deviation before squashing


class Squashed(NamedTuple):
    """Actions a = tanh(u) of u ~ N(mean, deviation²), with ln π(a), and what the gradient needs."""

    action: Float[Tensor, "run batch dimension"]
    log_probability: Float[Tensor, "run batch"]
    deviation: Float[Tensor, "run batch dimension"]
    bounded: Bool[Tensor, "run batch dimension"]  # where the deviation was at a bound and does not move


def squash(output: Float[Tensor, "run batch two_dimension"], noise: Float[Tensor, "run batch dimension"]) -> Squashed:
    """Draw a = tanh(μ + σ ε) and its log density from an actor's output [μ, ln σ].

    ln π(a) = Σ_d −½ ε² − ln σ − ½ ln 2π − ln(1 − tanh² u), and ln(1 − tanh² u) = 2 (ln 2 − u − softplus(−2 u)), which stays exact
    where tanh u rounds to 1.

    References
    ----------
    Haarnoja et al. 2018, arXiv 1812.05905, appendix C.
    """
    mean, raw = output.chunk(2, dim=-1)
    logarithm = raw.clamp(LOWEST, HIGHEST)
    deviation = logarithm.exp()
    before = torch.addcmul(mean, deviation, noise)
    density = -0.5 * noise.square() - logarithm - 0.5 * math.log(2.0 * math.pi)
    jacobian = 2.0 * (math.log(2.0) - before - nn.functional.softplus(-2.0 * before))
    return Squashed(before.tanh(), (density - jacobian).sum(-1), deviation, raw != logarithm)
