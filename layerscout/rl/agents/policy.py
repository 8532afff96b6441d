"""Features in, likely actions out: a policy that learns by weighted likelihood, for continuous and for discrete actions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from layerscout.rl.networks.layers import RunNetwork

LOWEST, HIGHEST = -5.0, 2.0  # natural logarithm of a Gaussian policy's standard deviation


class WeightedPolicy(RunNetwork):
    """π(a|z): a Gaussian whose deviation does not depend on z, or one probability a discrete action.

    Parameters
    ----------
    trunk
        Network [run, batch, ...] → [run, batch, out]: means of a continuous action, or logits of the discrete ones.
    dimensions
        Numbers of a continuous action; 0 = discrete.
    """

    def __init__(self, trunk: RunNetwork, dimensions: int = 0) -> None:
        super().__init__(trunk.runs)
        self.dimensions = dimensions
        if dimensions:
            self.logarithm = nn.Parameter(torch.zeros(trunk.runs, 1, dimensions))
        self.trunk = trunk

    def forward(self, z: Shaped[Tensor, "run batch *feature"]) -> Float[Tensor, "run batch out"]:
        """Means of a continuous action, or one logit a discrete action."""
        return self.trunk(z)

    def deviation(self) -> Float[Tensor, "run 1 dimension"]:
        """The Gaussian's standard deviation, the exponential of its learned logarithm within [LOWEST, HIGHEST]."""
        return self.logarithm.clamp(LOWEST, HIGHEST).exp()

    def learn(
        self,
        z: Shaped[Tensor, "run batch *feature"],
        action: Shaped[Tensor, "run batch *dimension"],
        weight: Float[Tensor, "run batch 1"],
        out: Sequence[Tensor],
    ) -> Float[Tensor, "run batch"]:
        """Return ln π(a|z) and write the gradient of −Σ weight · ln π(a|z) by every parameter into ``out``."""
        output, tape = self.trunk.record(z, learned=z.shape[1])
        if not self.dimensions:
            logarithms, taken = output.log_softmax(-1), action[..., None]
            slope = (logarithms.exp() * weight).scatter_add_(-1, taken, -weight)
            self.trunk.pull_back(tape, slope, out)
            return logarithms.gather(-1, taken)[..., 0]
        deviation, free = self.deviation(), (self.logarithm > LOWEST) & (self.logarithm < HIGHEST)
        distance = (action - output) / deviation
        out[0].copy_(((1.0 - distance.square()) * weight).sum(1, keepdim=True) * free)
        self.trunk.pull_back(tape, -weight * distance / deviation, out[1:])
        return (-0.5 * distance.square() - deviation.log() - 0.5 * math.log(2.0 * math.pi)).sum(-1)
