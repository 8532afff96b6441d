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
        """The inner network's output for ``x[..., :width]``."""
        output: Tensor = self.inner(x[..., : self.width])
        return output

    def record(self, x: Shaped[Tensor, "run batch feature"], learned: int) -> tuple[Float[Tensor, "run batch out"], Any]:
        """The inner network's output and tape for ``x[..., :width]``."""
        return self.inner.record(x[..., : self.width], learned)

    def pull_back(self, tape: Any, slope: Float[Tensor, "run learned out"], out: Sequence[Tensor]) -> None:
        """Pull the slope back through the inner network, whose parameters are all there are."""
        self.inner.pull_back(tape, slope, out)
