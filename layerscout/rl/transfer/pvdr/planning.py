"""Pictures of possible futures and of a goal in, the future nearest to the goal out: planning by sampled dynamics."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer

DistanceName = Literal["pixels", "blurred", "both", "transport"]
Compared = Literal["all", "last"]
BLURRED_WEIGHT = 40.0  # of the distance of blurred pictures, beside that of pixels, where both count
Noise = Float[Tensor, "copy sample z"]


def picture_distance(
    pictures: Float[Tensor, "*more channel height width"],
    goals: Float[Tensor, "*more channel height width"],
    kind: DistanceName = "transport",
) -> Float[Tensor, "*more"]:
    """Return how far pictures are from goals.

    Squares of pixels tell no distance between things that do not overlap, and a plan in which the thing vanished is nearer than one that shows
    it in the wrong place. Blurred pictures see half a side farther. Light that must be moved costs in proportion to the way, at any distance,
    and light that is missing costs most.

    Parameters
    ----------
    pictures, goals
        Values in [−0.5, 0.5]; shapes that broadcast against each other.
    kind
        ``pixels``: Σ squares of differences. ``blurred``: the same of pictures averaged over half a side, times 40. ``both``: their sum.
        ``transport``: Σ |cumulated differences| of the light of rows, and of columns, in units of a row; what moving the light along each axis
        takes (the earth mover's distance of the marginals).
    """
    apart = pictures - goals
    channels, side = apart.shape[-3], apart.shape[-1]
    if kind == "transport":
        light = apart.mean(-3)
        return light.sum(-1).cumsum(-1).abs().sum(-1) + light.sum(-2).cumsum(-1).abs().sum(-1)
    plain = apart.square().sum((-1, -2)).mean(-1)
    if kind == "pixels":
        return plain
    window = max(3, side // 2 - 1)
    flat = apart.reshape(-1, channels, *apart.shape[-2:])  # blurring is linear, so the difference is blurred once
    soft = F.avg_pool2d(flat, window, max(1, side // 8), window // 2).square().sum((-1, -2)).mean(-1).view(plain.shape)
    return BLURRED_WEIGHT * soft if kind == "blurred" else plain + BLURRED_WEIGHT * soft


def nearest(distances: Float[Tensor, "copy sample"], noise: Noise | None = None) -> Int64[Tensor, " copy"]:
    """Return the number of the smallest distance of every copy; of equal ones the sample with the smallest noise, so that order decides nothing."""
    if noise is None:
        return distances.argmin(1)
    tied = distances == distances.min(1, keepdim=True).values
    return noise.square().sum(-1).masked_fill(~tied, float("inf")).argmin(1)


class ChosenPlans(NamedTuple):
    """For every copy the plan that was chosen: z, the tokens of its n frames, and how far those that are compared are from the goal."""

    z: Float[Tensor, "copy z"]
    tokens: Int64[Tensor, "copy n row column"]
    distance: Float[Tensor, " copy"]


class DynamicsPlanner:
    """z drawn from the prior, decoded into plans, and of these the one that is nearest to the goal.

    Of a plan the first step is done, and then another plan is made. Where the last frame alone counts, a plan that begins slowly and hurries at its
    end is as good as one that goes at once; chosen at every step, it never arrives. The mean over all frames prefers what goes at once.

    Parameters
    ----------
    tokenizer, dynamics
        The pretrained networks; they are only read.
    distance
        See ``picture_distance``.
    compared
        ``all``: a plan is as far from the goal as its frames are in the mean. ``last``: as its last frame is.
    """

    def __init__(
        self, tokenizer: FrameTokenizer, dynamics: VisualDynamics, distance: DistanceName = "transport", compared: Compared = "all"
    ) -> None:
        self.tokenizer, self.dynamics, self.distance, self.compared = tokenizer, dynamics, distance, compared

    @torch.no_grad()
    def sample(
        self, past: Int64[Tensor, "copy m row column"], noise: Noise
    ) -> tuple[Float[Tensor, "copy sample z"], Int64[Tensor, "copy sample n row column"]]:
        """Return z and plans of every sample."""
        copies, samples, _ = noise.shape
        prior = self.dynamics.prior(past)
        z = prior.mean[:, None] + prior.logarithm.exp()[:, None] * noise
        many = past[:, None].expand(-1, samples, -1, -1, -1).flatten(0, 1)
        return z, self.dynamics.plans(z.flatten(0, 1), many).unflatten(0, (copies, samples))

    @torch.no_grad()
    def choose(
        self, past: Int64[Tensor, "copy m row column"], goals: Float[Tensor, "copy channel height width"], noise: Noise
    ) -> ChosenPlans:
        """Choose a plan for every copy; ``noise`` is standard normal, and one sample is a plan that no goal chose."""
        z, plans = self.sample(past, noise)
        compared = plans if self.compared == "all" else plans[:, :, -1:]
        frames = self.tokenizer.decode(compared.flatten(0, 2)).unflatten(0, compared.shape[:3])
        distances = picture_distance(frames, goals[:, None, None], self.distance).mean(-1)
        best, rows = nearest(distances, noise), torch.arange(len(z))
        return ChosenPlans(z[rows, best], plans[rows, best], distances[rows, best])
