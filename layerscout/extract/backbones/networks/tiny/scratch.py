"""Memory that a pass writes its intermediate results into, kept from pass to pass: large results cost page faults each time otherwise.

It belongs to a loaded model and to one thread; blocks find it while that thread runs a pass on a processor in float32, without gradients.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

_PASS = threading.local()  # the memory of the pass that this thread runs now


class Scratch:
    """Named pieces of memory, as large as the largest that was asked for."""

    def __init__(self) -> None:
        self._pieces: dict[str, Tensor] = {}

    def piece(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return the piece called ``name``, uninitialised, in this shape; what it held before is lost."""
        size = math.prod(shape)
        if name not in self._pieces or self._pieces[name].numel() < size:
            self._pieces[name] = torch.empty(size)
        return self._pieces[name][:size].view(shape)

    def linear(self, layer: nn.Linear, rows: Float[Tensor, "row input"], name: str) -> Float[Tensor, "row output"]:
        """Apply a layer to rows, into the piece called ``name``."""
        return torch.addmm(layer.bias, rows, layer.weight.t(), out=self.piece(name, (len(rows), layer.out_features)))


@contextmanager
def used(memory: Scratch | None) -> Iterator[None]:
    """Let blocks that run in this thread use ``memory`` (None: none)."""
    _PASS.memory = memory
    try:
        yield
    finally:
        _PASS.memory = None


def of_this_pass(tokens: Tensor) -> Scratch | None:
    """Return the memory of the pass that runs in this thread, None where a block must compute plainly."""
    if torch.compiler.is_compiling() or getattr(_PASS, "memory", None) is None or torch.is_grad_enabled():
        return None
    return _PASS.memory if tokens.device.type == "cpu" and tokens.dtype is torch.float32 else None


def joined(first: Float[Tensor, "clip token feature"], second: Float[Tensor, "clip token feature"]) -> Float[Tensor, "clip token feature"]:
    """Return both, one behind the other in each clip; without a copy where they are neighbours in memory already."""
    clips, count, features = first.shape
    tokens = count + second.shape[1]
    steps = (tokens * features, features, 1)
    neighbours = second.data_ptr() == first.data_ptr() + count * features * first.element_size()
    if neighbours and first.stride() == second.stride() == steps and len(second) == clips:
        return first.as_strided((clips, tokens, features), steps)
    return torch.cat([first, second], dim=1)
