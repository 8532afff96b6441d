"""A passport in, one block as a layer of tokens to tokens out: bit for bit what the block does inside its model."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from layerscout.extract.passports.context import block_arguments, call_block
from layerscout.extract.passports.passport_record import Passport
from layerscout.extract.passports.ports import PORTS, hidden_states, laid_out


class FrozenLayer(nn.Module):
    """One block with its context: ``tokens [clip, token, feature] -> tokens``, gradient to the tokens, none to the weights.

    Tokens go in and come out in the order (time, height, width), whatever order the block itself wants; a class token is added
    from its calibration mean and dropped again. The block's argument lies in memory as it did in the model, so that kernels round
    alike. The block computes in the type in which it was harvested; the tokens that come
    out have the type of those that went in. The context goes along with ``.to(device)`` and is in no state dict.

    Parameters
    ----------
    block
        Another block of the same architecture, for controls (default: the passport's own).

    Raises
    ------
    DataError
        No block is given, and the passport is without its own.
    """

    def __init__(self, passport: Passport, block: nn.Module | None = None) -> None:
        super().__init__()
        self.block = (passport.block if block is None else block).eval().requires_grad_(False)
        self._port, self._argument, self._shape = PORTS[passport.port], passport.argument, passport.input_shape
        self._layout, self._dtype, self._axes = passport.context.layout, passport.dtype, passport.memory_axes
        self._names = {name: f"context_{number}" for number, name in enumerate(passport.context.tensors)}
        for name, buffer in self._names.items():
            self.register_buffer(buffer, passport.context.tensors[name], persistent=False)
        self.class_token: Tensor | None
        self.register_buffer("class_token", passport.class_token, persistent=False)

    def train(self, mode: bool = True) -> FrozenLayer:
        """Stay in evaluation mode whatever the agent around does: dropout must never wake up."""
        return super().train(False)

    def forward(self, tokens: Float[Tensor, "clip token feature"]) -> Float[Tensor, "clip token feature"]:
        """Call the block in its own context and layout; the answer has the tokens' shape and type."""
        tensors = {name: self.get_buffer(buffer) for name, buffer in self._names.items()}
        context = block_arguments(self._layout, tensors, len(tokens))
        raw = laid_out(self._port.enter(tokens.to(self._dtype), self._shape, self.class_token), self._axes)
        output = hidden_states(call_block(self.block, self._argument, raw, context))
        return self._port.leave(output, self._shape[0]).to(tokens.dtype)
