"""Batches with a leading run axis in, Q-values with a leading run axis out: every run has its own weights, all move in one call.

A parameter is always ``[run, ...]``, so a layer is one batched product over the runs. Each run is initialised from its own
generator, seeded by the run's seed: what a run starts from does not depend on its neighbours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from layerscout.errors import UsageError

HEAD, INPUT_ADAPTER, FIRST_CRITIC, SECOND_CRITIC, VALUE = range(5)  # parts of an agent that draw their first weights
NARROW = 16  # outputs narrower than this are computed transposed: the matrix library is slow on a narrow right-hand side


class RunNetwork(nn.Module):
    """Base of all networks with a run axis: knows its runs, and what a run costs."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.runs = runs

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Count each run's live trainable numbers; the zero padding of a narrower arm does not count."""
        children = [part.trainable_parameters() for part in self._parts()]
        own = sum(parameter[0].numel() for parameter in self.parameters(recurse=False))
        return np.sum(children, axis=0, dtype=np.int64) + np.full(self.runs, own, dtype=np.int64)

    def multiply_adds(self) -> Int64[np.ndarray, " run"]:
        """Count the multiply-adds of one forward pass of one sample, per run; the backward pass of a trained part costs twice that."""
        children = [part.multiply_adds() for part in self._parts()]
        return np.sum(children, axis=0, dtype=np.int64) + np.zeros(self.runs, dtype=np.int64)

    def _parts(self) -> list[RunNetwork]:
        within = [list(child) if isinstance(child, nn.Sequential) else [child] for child in self.children()]
        return [part for parts in within for part in parts if isinstance(part, RunNetwork)]

    def frozen_multiply_adds(self) -> int:
        """Count the part of ``multiply_adds`` that has no trainable weights; its backward pass costs only once the forward."""
        return 0

    def record(self, x: Shaped[Tensor, "run batch *feature"], learned: int) -> tuple[Float[Tensor, "run batch action"], Any]:
        """Return the output for all samples, and a tape of the first ``learned`` ones from which `pull_back` computes gradients."""
        with torch.enable_grad():
            values = self(x[:, :learned])
        with torch.no_grad():
            rest = [self(x[:, learned:])] if learned < x.shape[1] else []
        return torch.cat([values.detach(), *rest], dim=1), values

    def pull_back(self, tape: Any, slope: Float[Tensor, "run learned action"], out: Sequence[Tensor]) -> None:
        """Write the gradient of sum(slope · output) by every parameter into ``out``, in the order of ``parameters()``."""
        for place, gradient in zip(out, torch.autograd.grad(tape, list(self.parameters()), slope), strict=True):
            place.copy_(gradient)


def affine(
    x: Float[Tensor, "run batch feature"], weight: Float[Tensor, "run feature out"], bias: Float[Tensor, "run 1 out"]
) -> Float[Tensor, "run batch out"]:
    """y[r] = x[r] W[r] + b[r]."""
    if weight.shape[-1] < NARROW:
        return torch.baddbmm(bias.mT, weight.mT, x.mT).mT
    return torch.baddbmm(bias, x, weight)


def through_relu(
    slope: Float[Tensor, "run batch feature"], output: Float[Tensor, "run batch feature"]
) -> Float[Tensor, "run batch feature"]:
    """Pull a slope back through a ReLU with this output: kept where it let through, zero where not."""
    return torch.ops.aten.threshold_backward(slope, output, 0)


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (torch.relu_, through_relu),
    "tanh": (torch.tanh_, lambda slope, output: torch.ops.aten.tanh_backward(slope, output)),
}  # what a hidden layer does to its output in place, and how a slope is pulled back through it


def weight_generators(seeds: Sequence[int], part: int) -> list[torch.Generator]:
    """Return one generator a run, for the first weights of one part of its network; parts draw independently."""
    states = (np.random.SeedSequence([int(seed), part]).generate_state(1, np.uint64) for seed in seeds)
    return [torch.Generator().manual_seed(int(state[0])) for state in states]


class RunLinear(RunNetwork):
    """Affine map with its own weights for every run: y[r] = x[r] W[r] + b[r].

    The first weights are uniform in ±1/√fan_in, as in ``torch.nn.Linear``.

    Parameters
    ----------
    width_in, width_out
        Features in and out; ``width_in`` is the common, padded width.
    generators
        One generator a run.
    live_widths
        How many of the input features each run really has (default: all). The weights of the rest are zero, and stay
        zero because their inputs are zero; fan-in is the run's own.
    """

    def __init__(
        self, width_in: int, width_out: int, generators: Sequence[torch.Generator], live_widths: Sequence[int] | None = None
    ) -> None:
        super().__init__(len(generators))
        self.live_widths = np.full(self.runs, width_in) if live_widths is None else np.array(live_widths, dtype=np.int64)
        if self.live_widths.shape != (self.runs,) or self.live_widths.min() < 1 or self.live_widths.max() > width_in:
            raise UsageError(
                f"live widths {self.live_widths.tolist()} do not fit {self.runs} runs of width {width_in}",
                hint="give one width a run, between 1 and the common width",
            )
        self.width_out = width_out
        self.weight = nn.Parameter(torch.zeros(self.runs, width_in, width_out))
        self.bias = nn.Parameter(torch.zeros(self.runs, 1, width_out))
        with torch.no_grad():
            for run, (width, generator) in enumerate(zip(self.live_widths, generators, strict=True)):
                bound = 1.0 / math.sqrt(width)
                self.weight[run, :width].uniform_(-bound, bound, generator=generator)
                self.bias[run].uniform_(-bound, bound, generator=generator)

    def forward(self, x: Float[Tensor, "run batch feature"]) -> Float[Tensor, "run batch out"]:
        """y[r] = x[r] W[r] + b[r] for all runs in one call."""
        return affine(x, self.weight, self.bias)

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """(live features + 1) · outputs; weights of padded features do not count."""
        return (self.live_widths + 1) * self.width_out

    def multiply_adds(self) -> Int64[np.ndarray, " run"]:
        """Live features · outputs of each run."""
        return self.live_widths * self.width_out


class Head(RunNetwork):
    """Adapter h after the features: a linear map, or an MLP, to one Q-value an action (or what else a learner needs).

    Parameters
    ----------
    width
        Features in (the common width of all arms).
    actions
        Values out.
    seeds
        One seed a run.
    kind
        "linear", or "mlp" with the layers of ``hidden``. The head's capacity is a declared factor of a comparison.
    live_widths
        Each run's own number of features, see `RunLinear`.
    dueling
        The last layer gives a value V and an advantage A of every action, and Q(s, a) = V(s) + A(s, a) − mean_a' A(s, a').
    part
        Which stream of the seeds draws the first weights, so that an agent's networks begin apart.
    activation
        What follows every hidden layer.

    References
    ----------
    Wang et al. 2016, arXiv 1511.06581, eq. 9 (dueling); here the two streams share all hidden layers.
    """

    def __init__(
        self,
        width: int,
        actions: int,
        seeds: Sequence[int],
        kind: Literal["linear", "mlp"] = "mlp",
        hidden: Sequence[int] = (64,),
        live_widths: Sequence[int] | None = None,
        *,
        dueling: bool = False,
        part: int = HEAD,
        activation: Literal["relu", "tanh"] = "relu",
    ) -> None:
        super().__init__(len(seeds))
        self.dueling = dueling
        self._activate, self._through = ACTIVATIONS[activation]
        generators = weight_generators(seeds, part)
        widths = [width, *(hidden if kind == "mlp" else ()), actions + dueling]
        layers = [
            RunLinear(before, after, generators, live_widths if depth == 0 else None)
            for depth, (before, after) in enumerate(itertools.pairwise(widths))
        ]
        self.layers = nn.Sequential(*layers)
        self._pairs = tuple((layer.weight, layer.bias) for layer in layers)  # what every forward pass reads

    def forward(self, x: Float[Tensor, "run batch feature"]) -> Float[Tensor, "run batch action"]:
        """One number an action; with duelling, advantages about their mean plus the value."""
        *inner, last = self._pairs
        for weight, bias in inner:
            x = self._activate(affine(x, weight, bias))
        return self._values(affine(x, *last))

    @torch.no_grad()
    def record(self, x: Float[Tensor, "run batch feature"], learned: int) -> tuple[Float[Tensor, "run batch action"], list[Tensor]]:
        """Return the output for all samples, and as tape the inputs of every layer for the first ``learned`` of them."""
        inputs = [x]
        for weight, bias in self._pairs[:-1]:
            inputs.append(self._activate(affine(inputs[-1], weight, bias)))
        return self._values(affine(inputs[-1], *self._pairs[-1])), [each[:, :learned] for each in inputs]

    @torch.no_grad()
    def pull_back(self, tape: list[Tensor], slope: Float[Tensor, "run learned action"], out: Sequence[Tensor]) -> None:
        """Write the gradient by hand: the same numbers as autograd, without its bookkeeping and copies."""
        slope = self._by_last_layer(slope)
        for depth in reversed(range(len(tape))):
            x, weight = tape[depth], self._pairs[depth][0]
            torch.sum(slope, 1, keepdim=True, out=out[2 * depth + 1])
            if weight.shape[-1] < NARROW:
                out[2 * depth].copy_(torch.bmm(slope.mT, x).mT)
            else:
                torch.bmm(x.mT, slope, out=out[2 * depth])
            if depth:
                slope = self._through(torch.bmm(slope, weight.mT), x)

    @torch.no_grad()
    def input_slope(self, tape: list[Tensor], slope: Float[Tensor, "run learned action"], columns: slice) -> Float[Tensor, "run learned _"]:
        """Return the gradient of sum(slope · output) by some of the input features, without that of the weights."""
        slope = self._by_last_layer(slope)
        for x, (weight, _) in zip(reversed(tape[1:]), reversed(self._pairs[1:]), strict=True):
            slope = self._through(torch.bmm(slope, weight.mT), x)
        return torch.bmm(slope, self._pairs[0][0][:, columns].mT)

    def _values(self, last: Float[Tensor, "run batch out"]) -> Float[Tensor, "run batch action"]:
        if not self.dueling:
            return last
        value, advantage = last[..., :1], last[..., 1:]
        return value + advantage - advantage.mean(-1, keepdim=True)

    def _by_last_layer(self, slope: Float[Tensor, "run learned action"]) -> Float[Tensor, "run learned out"]:
        """Pull a slope by Q-values back to one by the outputs of the last layer."""
        if not self.dueling:
            return slope
        return torch.cat([slope.sum(-1, keepdim=True), slope - slope.mean(-1, keepdim=True)], dim=-1)
