"""A policy's output and actions in, their logarithms of probability, entropies and cross-entropies out: Gaussian and categorical."""

from __future__ import annotations

import math

from jaxtyping import Float, Shaped
from torch import Tensor

HALF_LOG_2_PI = 0.5 * math.log(2.0 * math.pi)

# ``logarithm``: ln σ of a diagonal Gaussian whose mean is ``output``; None: ``output`` holds the logits of discrete actions.


def log_probability(
    output: Float[Tensor, "run batch out"], logarithm: Float[Tensor, "*place out"] | None, action: Shaped[Tensor, "run batch *dimension"]
) -> Float[Tensor, "run batch"]:
    """ln π(a|s): Σ_i −½ ((a_i − μ_i) / σ_i)² − ln σ_i − ½ ln 2π, or the logarithm of the softmax at a."""
    if logarithm is None:
        return output.log_softmax(-1).gather(-1, action[..., None])[..., 0]
    distance = (action - output) / logarithm.exp()
    return (-0.5 * distance.square() - logarithm - HALF_LOG_2_PI).sum(-1)


def entropy(output: Float[Tensor, "run batch out"], logarithm: Float[Tensor, "run one out"] | None) -> Float[Tensor, "run _"]:
    """H(π(.|s)): Σ_i ½ + ½ ln 2π + ln σ_i, the same in every state, or −Σ_a π_a ln π_a."""
    if logarithm is None:
        logarithms = output.log_softmax(-1)
        return -(logarithms.exp() * logarithms).sum(-1)
    return (0.5 + HALF_LOG_2_PI + logarithm).sum(-1)


def cross_entropy(
    teacher: Float[Tensor, "run batch out"],
    teacher_logarithm: Float[Tensor, "*place out"] | None,
    output: Float[Tensor, "run batch out"],
    logarithm: Float[Tensor, "run one out"] | None,
) -> Float[Tensor, "run batch"]:
    """H(π_T, π_S) = −E_{a ~ π_T} ln π_S(a).

    Diagonal Gaussians: Σ_i ½ ln 2π + ln σ_S + (σ_T² + (μ_T − μ_S)²) / (2 σ_S²); categorical: −Σ_a π_T(a) ln π_S(a).
    """
    if logarithm is None or teacher_logarithm is None:
        return -(teacher.softmax(-1) * output.log_softmax(-1)).sum(-1)
    spread = (2.0 * teacher_logarithm).exp() + (teacher - output).square()
    return (HALF_LOG_2_PI + logarithm + 0.5 * spread * (-2.0 * logarithm).exp()).sum(-1)
