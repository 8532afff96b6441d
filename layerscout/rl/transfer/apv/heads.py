"""Features in; rewards, ends, values and actions out: the small networks on top of a world model, and the distributions of actions."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

LEAST, MOST = -1 + 1e-6, 1 - 1e-6  # between which a drawn action lies


def mlp(inputs: int, outputs: int, layers: int, width: int) -> nn.Sequential:
    """A perceptron with ELU after every hidden layer."""
    widths = [inputs] + [width] * layers
    hidden = [part for before in widths[:-1] for part in (nn.Linear(before, width), nn.ELU())]
    return nn.Sequential(*hidden, nn.Linear(widths[-1], outputs))


def reward_loss(foretold: Float[Tensor, "*batch"], reward: Float[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """−log p of a Normal with variance 1, up to its constant: ½ (r − mean)²."""
    return 0.5 * (foretold.float() - reward).square().mean()


def discount_loss(logit: Float[Tensor, "*batch"], discount: Float[Tensor, "*batch"]) -> Float[Tensor, ""]:
    """−log p of a Bernoulli at a soft target: γ, or 0 where the task ended."""
    return functional.binary_cross_entropy_with_logits(logit.float(), discount)


class ActionDistribution(NamedTuple):
    """A distribution of actions: logits of one of n, or means and deviations of numbers in [−1, 1] (a truncated Normal)."""

    logits: Float[Tensor, "*batch action"] | None
    mean: Float[Tensor, "*batch action"] | None = None
    deviation: Float[Tensor, "*batch action"] | None = None

    def draw(self, chances: Float[Tensor, "*batch chance"]) -> Float[Tensor, "*batch action"]:
        """Draw at these uniform numbers: one-hot without a gradient, or a vector through which gradients pass to mean and deviation."""
        if self.logits is not None:
            below = self.logits.softmax(-1).cumsum(-1) <= chances
            return functional.one_hot(below.sum(-1).clamp(max=self.logits.shape[-1] - 1), self.logits.shape[-1]).to(self.logits.dtype)
        assert self.mean is not None and self.deviation is not None, "a distribution has either"  # noqa: PT018
        low, high = (_below((end - self.mean) / self.deviation) for end in (-1.0, 1.0))
        return (self.mean + self.deviation * torch.special.ndtri(low + chances * (high - low))).clamp(LEAST, MOST)

    @property
    def likeliest(self) -> Float[Tensor, "*batch action"]:
        """The action with the largest probability or density."""
        if self.logits is not None:
            return functional.one_hot(self.logits.argmax(-1), self.logits.shape[-1]).to(self.logits.dtype)
        assert self.mean is not None, "a distribution has either"
        return self.mean

    def log_probability(self, action: Float[Tensor, "*batch action"]) -> Float[Tensor, "*batch"]:
        """Logarithm of a drawn action's probability, or of its density."""
        if self.logits is not None:
            return (self.logits.log_softmax(-1) * action).sum(-1)
        assert self.mean is not None and self.deviation is not None, "a distribution has either"  # noqa: PT018
        low, high = ((end - self.mean) / self.deviation for end in (-1.0, 1.0))
        apart = ((action - self.mean) / self.deviation).square()
        return (-0.5 * (apart + math.log(2 * math.pi)) - self.deviation.log() - (_below(high) - _below(low)).log()).sum(-1)

    @property
    def entropy(self) -> Float[Tensor, "*batch"]:
        """In nats; of the truncated Normal: ln(√(2πe) σ Z) + (α φ(α) − β φ(β)) / 2Z."""
        if self.logits is not None:
            logs = self.logits.log_softmax(-1)
            return -(logs.exp() * logs).sum(-1)
        assert self.mean is not None and self.deviation is not None, "a distribution has either"  # noqa: PT018
        low, high = ((end - self.mean) / self.deviation for end in (-1.0, 1.0))
        inside = _below(high) - _below(low)
        ends = (low * _density(low) - high * _density(high)) / (2 * inside)
        return (0.5 * math.log(2 * math.pi * math.e) + self.deviation.log() + inside.log() + ends).sum(-1)


class Actor(nn.Module):
    """A policy on the world model's features.

    Of numbers in [−1, 1] it gives a truncated Normal with mean tanh(m) and deviation 2 σ(s / 2) + 0.1.

    References
    ----------
    The authors' ``common/nets.py`` of DreamerV2 (``trunc_normal``).
    """

    def __init__(self, features: int, count: int, dimensions: int, layers: int, width: int) -> None:
        super().__init__()
        self.continuous, self.width = dimensions > 0, dimensions or count  # of an action as the model takes it
        self.network = mlp(features, 2 * dimensions or count, layers, width)

    def forward(self, features: Float[Tensor, "*batch feature"]) -> ActionDistribution:
        """Return the distribution of the action at these features; see the class."""
        found = self.network(features)
        if not self.continuous:
            return ActionDistribution(found)
        mean, spread = found.chunk(2, -1)
        return ActionDistribution(None, mean.tanh(), 2 * (spread / 2).sigmoid() + 0.1)


def _below(x: Tensor) -> Tensor:
    return torch.special.ndtr(x)


def _density(x: Tensor) -> Tensor:
    return (-0.5 * x.square()).exp() / math.sqrt(2 * math.pi)
