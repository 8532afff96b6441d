"""More numbers than a network is meant to see in, its output for the first of them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Shaped
from torch import Tensor

from layerscout.rl.networks.layers import RunNetwork


class FirstFeatures(RunNetwork):
    """A network that sees the first ``width`` numbers; the others are somebody else's."""

    def __init__(self, inner: RunNetwork, width: int) -> None:
        super().__init__(inner.runs)
        self.inner, self.width = inner, width

    def forward(self, x: Shaped[Tensor, "run batch feature"]) -> Float[Tensor, "run batch out"]:
        output: Tensor = self.inner(x[..., : self.width])
        return output

    def record(self, x: Shaped[Tensor, "run batch feature"], learned: int) -> tuple[Float[Tensor, "run batch out"], Any]:
        return self.inner.record(x[..., : self.width], learned)

    def pull_back(self, tape: Any, slope: Float[Tensor, "run learned out"], out: Sequence[Tensor]) -> None:
        self.inner.pull_back(tape, slope, out)
