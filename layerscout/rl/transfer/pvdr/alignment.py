"""z and the present frame in, an action out: the module that turns dynamics into what can be done, and the critic that is made of it."""

from __future__ import annotations

import copy
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

FIRST_DEVIATION, SMALLEST_DEVIATION = 0.5, 0.05  # of the actions, in units of [−1, 1]


def seen(frames: Float[Tensor, "copy channel height width"]) -> Float[Tensor, "copy feature"]:
    """Return where things are: the share of the light above every row and left of every column, less that of an even picture, times the side.

    It changes in proportion to the way that a thing moves, of however small a part of a pixel, where a count of tokens and a coarse picture would
    have to be looked up. The distance ``transport`` compares such sums too. 2 · side features.
    """
    light, side = frames.mean(1) + 0.5, frames.shape[-1]
    sums = torch.stack([light.sum(2).cumsum(1), light.sum(1).cumsum(1)], dim=1)
    even = torch.arange(1, side + 1) / side
    return side * (sums / sums[:, :, -1:].clamp(min=1e-6) - even).flatten(1)


class ActionAlignment(nn.Module):
    """Π(a | z, s): a normal distribution of the action around what two hidden layers say, with one standard deviation for each dimension.

    Parameters
    ----------
    z, features, outputs
        Numbers of z, of what is seen, and of the action.
    hidden
        Width of both hidden layers.
    """

    def __init__(self, z: int, features: int, outputs: int, hidden: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(z + features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.last = nn.Linear(hidden, outputs)
        self.logarithm = nn.Parameter(torch.full((outputs,), math.log(FIRST_DEVIATION)))

    def forward(self, z: Float[Tensor, "row z"], features: Float[Tensor, "row feature"]) -> Float[Tensor, "row output"]:
        """Return the mean; what is done is it, cut to [−1, 1]."""
        return self.last(self.body(torch.cat([z, features], dim=1)))

    def deviation(self) -> Float[Tensor, " output"]:
        """Return the standard deviation of every dimension."""
        return self.logarithm.exp().clamp(min=SMALLEST_DEVIATION)

    def log_probability(
        self, z: Float[Tensor, "row z"], features: Float[Tensor, "row feature"], actions: Float[Tensor, "row output"]
    ) -> Float[Tensor, " row"]:
        """Return ln Π(a | z, s)."""
        deviation = self.deviation()
        away = (actions - self(z, features)) / deviation
        return -(0.5 * away.square() + deviation.log() + 0.5 * math.log(2.0 * math.pi)).sum(1)


def critic_of(alignment: ActionAlignment) -> ActionAlignment:
    """Return the critic: the alignment module with another last layer, which gives one number."""
    critic = copy.deepcopy(alignment)
    critic.last = nn.Linear(alignment.last.in_features, 1)
    critic.logarithm = nn.Parameter(torch.zeros(0))
    return critic
