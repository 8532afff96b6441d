"""Frames with a leading run axis in, Q-values out: one frozen layer that all runs share between their own adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from layerscout.errors import UsageError
from layerscout.rl.networks.adapters import InputAdapter, OutputAdapter
from layerscout.rl.networks.layers import RunNetwork


class OwnBlocks(RunNetwork):
    """The control "a trained block": every run trains its own copy of one block, [run, batch, token, width] → the same.

    The blocks have one architecture; they may differ in their weights, not in their buffers.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        super().__init__(len(blocks))
        self._template = (blocks[0],)  # in a tuple: the template's own weights are not this module's parameters
        self._names = [name for name, _ in blocks[0].named_parameters()]
        self.stacks = nn.ParameterList(
            nn.Parameter(torch.stack([block.get_parameter(name).detach() for block in blocks])) for name in self._names
        )

    def forward(self, tokens: Float[Tensor, "run batch token width"]) -> Float[Tensor, "run batch token width"]:
        """Call every run's copy on its own tokens, one after the other."""
        weights = zip(*(stack.unbind(0) for stack in self.stacks), strict=True)
        outputs = [
            torch.func.functional_call(self._template[0], dict(zip(self._names, own, strict=True)), (tokens[run],))
            for run, own in enumerate(weights)
        ]
        return torch.stack(outputs)

    def trainable_parameters(self) -> Int64[np.ndarray, " run"]:
        """Numbers of one copy, the same for every run."""
        return np.full(self.runs, sum(stack[0].numel() for stack in self.stacks), dtype=np.int64)


class InLoopNetwork(RunNetwork):
    """Q(o, a) = h(f(g(o)))_a with a frozen layer f between two trained adapters; gradients pass through f to g.

    Parameters
    ----------
    g, h
        The trained adapters.
    frozen
        Maps tokens [sample, token, width] to the same; it is held once, called once for all runs, and is no part of this
        network's parameters or state. Give `OwnBlocks` for the control in which every run trains its own block.
    frozen_multiply_adds
        Cost of ``frozen`` for one sample, see `count_multiply_adds`.

    Raises
    ------
    UsageError
        ``frozen`` has weights that would collect gradients.
    """

    def __init__(
        self,
        g: InputAdapter,
        frozen: Callable[[Float[Tensor, "sample token width"]], Float[Tensor, "sample token width"]] | OwnBlocks,
        h: OutputAdapter,
        frozen_multiply_adds: int = 0,
    ) -> None:
        super().__init__(g.runs)
        self.g, self.h = g, h
        self.own = frozen if isinstance(frozen, OwnBlocks) else None
        self._shared = (None if self.own is not None else frozen,)  # in a tuple: one shared copy, in no state dict
        self._frozen_multiply_adds = frozen_multiply_adds
        if self.own is None and isinstance(frozen, nn.Module) and any(parameter.requires_grad for parameter in frozen.parameters()):
            raise UsageError("the frozen layer has trainable parameters", hint="call frozen.requires_grad_(False) first")

    def forward(self, frames: Shaped[Tensor, "run batch time height width channel"]) -> Float[Tensor, "run batch action"]:
        """One number an action from uint8 frames; all runs go through the frozen layer in one batch."""
        tokens = self.g(frames)
        if self.own is not None:
            return self.h(self.own(tokens))
        shared = self._shared[0]
        assert shared is not None
        return self.h(shared(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2]))

    def multiply_adds(self) -> Int64[np.ndarray, " run"]:
        """Those of both adapters and of the layer between them, frozen or not."""
        return self.g.multiply_adds() + self.h.multiply_adds() + self._frozen_multiply_adds

    def frozen_multiply_adds(self) -> int:
        """Those of the shared layer; 0 where every run trains its own block."""
        return 0 if self.own is not None else self._frozen_multiply_adds


def count_multiply_adds(block: nn.Module, tokens: int, width: int) -> int:
    """Count the multiply-adds of one forward pass of ``block`` on one sample of [token, width], products and attention only."""
    from torch.utils.flop_counter import FlopCounterMode

    device = next((parameter.device for parameter in block.parameters()), torch.device("cpu"))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        block(torch.zeros(1, tokens, width, device=device))
    return counter.get_total_flops() // 2
