"""What a run observes in, a latent of fixed width out: an MLP that ends in a layer normalisation, and the two losses that it may have of its own."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from layerscout.rl.networks.layers import Head, RunLinear, RunNetwork, weight_generators

LATENT = 128  # features between any encoder and an agent
LATENTS, PREDICTOR, PROJECTOR = 11, 12, 13  # parts of an agent that draw their first weights, beside those of layers.py
SHARPNESS = 0.1  # temperature of the contrastive loss


class RunNorm(RunNetwork):
    """Layer normalisation over the features, with a scale and a shift of every run's own.

    References
    ----------
    Ba, Kiros and Hinton 2016, arXiv 1607.06450, eq. 4.
    """

    def __init__(self, runs: int, width: int) -> None:
        super().__init__(runs)
        self.scale = nn.Parameter(torch.ones(runs, 1, width))
        self.shift = nn.Parameter(torch.zeros(runs, 1, width))

    def forward(self, x: Float[Tensor, "run batch feature"]) -> Float[Tensor, "run batch feature"]:
        """Bring every row to mean 0 and variance 1 over its features, then scale and shift it by the run's own numbers."""
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.scale + self.shift


class LatentNetwork(RunNetwork):
    """z = LayerNorm(W_n relu(… relu(W_1 x))), [run, batch, width] → [run, batch, 128].

    Parameters
    ----------
    width
        Features in.
    seeds
        One seed a run.
    hidden
        Widths between; none: one linear map.
    """

    def __init__(self, width: int, seeds: Sequence[int], hidden: Sequence[int] = (256, 256)) -> None:
        super().__init__(len(seeds))
        generators = weight_generators(seeds, LATENTS)
        self.layers = nn.Sequential(
            *[RunLinear(before, after, generators) for before, after in itertools.pairwise((width, *hidden, LATENT))]
        )
        self.norm = RunNorm(len(seeds), LATENT)

    def forward(self, x: Float[Tensor, "run batch feature"]) -> Float[Tensor, "run batch 128"]:
        """128 numbers a sample, normalised over the features."""
        *inner, last = self.layers
        for layer in inner:
            x = torch.relu(layer(x))
        return self.norm(last(x))


class OwnLosses(RunNetwork):
    """The losses that an encoder may have besides the critics': whether z_t foretells z_{t+1}, and whether they are recognised as neighbours.

    consistency = mean ‖P z_t − sg z_{t+1}‖² over features; contrastive = −mean log softmax_j(u_i · v_j / 0.1)_i with u and v the
    normalised projections of z_t and z_{t+1}: a transition's own successor against those of the rest of the batch.

    References
    ----------
    van den Oord, Li and Vinyals 2018, arXiv 1807.03748, eq. 4 (InfoNCE), with positives one step apart.
    """

    def __init__(self, seeds: Sequence[int], consistency: float, contrastive: float) -> None:
        super().__init__(len(seeds))
        self.consistency, self.contrastive = consistency, contrastive
        if consistency:
            self.predictor = Head(LATENT, LATENT, seeds, "mlp", (256,), part=PREDICTOR)
        if contrastive:
            self.projector = Head(LATENT, LATENT, seeds, "mlp", (LATENT,), part=PROJECTOR)

    def forward(self, z: Float[Tensor, "run batch 128"], next_z: Float[Tensor, "run batch 128"]) -> Float[Tensor, " run"]:
        """Return the weighted sum of both losses of every run; finite for a batch of one too, whose contrastive loss is 0."""
        loss = z.new_zeros(self.runs)
        if self.consistency:
            loss = loss + self.consistency * (_through(self.predictor, z) - next_z.detach()).square().mean((1, 2))
        if self.contrastive:
            own, next_own = (nn.functional.normalize(_through(self.projector, each), dim=-1) for each in (z, next_z))
            logits = own @ next_own.mT / SHARPNESS
            loss = loss - self.contrastive * logits.log_softmax(-1).diagonal(dim1=1, dim2=2).mean(1)
        return loss


def _through(head: Head, x: Float[Tensor, "run batch feature"]) -> Float[Tensor, "run batch out"]:
    """Run a head so that autograd may go through it: its own pass works in place."""
    *inner, last = head.layers
    for layer in inner:
        x = torch.relu(layer(x))
    return last(x)


class TunedBackbone(RunNetwork):
    """A copy of a video model for every run, up to one layer, pooled as its store is: clips [run, batch, ...] → features [run, batch, width].

    Parameters
    ----------
    features
        A module that holds the model, and maps clips [sample, ...] to features [sample, width].
    runs
        How many copies.
    """

    def __init__(self, features: nn.Module, runs: int) -> None:
        super().__init__(runs)
        self._template = (features,)  # in a tuple: the template's own weights are not this network's parameters
        self._names = [name for name, _ in features.named_parameters()]
        self.stacks = nn.ParameterList(
            nn.Parameter(parameter.detach()[None].repeat(runs, *[1] * parameter.ndim)) for parameter in features.parameters()
        )

    def forward(self, clips: Shaped[Tensor, "run batch time height width channel"]) -> Float[Tensor, "run batch width"]:
        """Call every run's copy on its own clips, one after the other; gradients reach the copy's weights."""
        own: Any = zip(*(stack.unbind(0) for stack in self.stacks), strict=True)
        copies = [dict(zip(self._names, weights, strict=True)) for weights in own]
        return torch.stack([torch.func.functional_call(self._template[0], weights, (clips[run],)) for run, weights in enumerate(copies)])

    def shared(self, clips: Shaped[Tensor, "run batch time height width channel"]) -> Float[Tensor, "run batch width"]:
        """Run the weights that every copy began with, on the clips of all runs together."""
        return self._template[0](clips.flatten(0, 1)).unflatten(0, clips.shape[:2])

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Numbers of one copy of the model, the same for every run."""
        return np.full(self.runs, sum(stack[0].numel() for stack in self.stacks), dtype=np.int64)
