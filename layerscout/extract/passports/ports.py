"""A block's own layout of tokens in, tokens [clip, token, feature] in the order (time, height, width) out, and back again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Shape = tuple[int, int, int]  # time, height, width of a token grid
Enter = Callable[[Float[Tensor, "clip token feature"], Shape, Tensor | None], Tensor]
Leave = Callable[[Tensor, int], Float[Tensor, "clip token feature"]]


@dataclass(frozen=True)
class Port:
    """The way into a block and out of it.

    ``enter(tokens, shape, class_token)`` makes the block's first argument (in any order in memory, see ``laid_out``), ``leave(raw, time)`` makes tokens of an argument
    or an output of the block, ``shape`` tells time, height and width of an argument, or None when its axes do not.
    """

    enter: Enter
    leave: Leave
    shape: Callable[[Tensor, int], Shape | None]
    class_token: bool = False


def _with_class(tokens: Tensor, class_token: Tensor | None) -> Tensor:
    assert class_token is not None, "this port needs a class token"
    return torch.cat([class_token.to(tokens).expand(len(tokens), 1, -1), tokens], dim=1)


def _time_fastest(tokens: Tensor, shape: Shape) -> Tensor:
    return tokens.unflatten(1, (shape[0], shape[1] * shape[2])).transpose(1, 2).flatten(1, 2)


def _time_slowest(tokens: Tensor, time: int) -> Tensor:
    return tokens.unflatten(1, (-1, time)).transpose(1, 2).flatten(1, 2)


def memory_axes(raw: Tensor) -> tuple[int, ...]:
    """Return the axes of an array from the slowest in memory to the fastest; empty where that is their own order (C order).

    Kernels choose their algorithm, and so their last bits, by the order in which an array lies in memory: a convolution gives other
    last bits for [clip, height, width, feature] in memory than for [clip, feature, height, width], though the array is the same.
    """
    # where an axis of length 1 has the stride of another, it is the faster of the two
    strides = raw.stride()
    axes = sorted(range(raw.ndim), key=lambda axis: (-strides[axis], -raw.shape[axis]))
    return () if axes == list(range(raw.ndim)) else tuple(axes)


def laid_out(raw: Tensor, axes: tuple[int, ...] = ()) -> Tensor:
    """Bring an array into the order in memory that ``memory_axes`` told of another, strides of axes of length 1 included."""
    order = axes or tuple(range(raw.ndim))
    strides, step = [0] * raw.ndim, 1
    for axis in reversed(order):
        strides[axis], step = step, step * raw.shape[axis]
    if raw.stride() == tuple(strides):
        return raw
    back = sorted(range(raw.ndim), key=order.__getitem__)
    return raw.permute(order).clone(memory_format=torch.contiguous_format).permute(back)


PORTS = {
    "tokens": Port(enter=lambda tokens, shape, _: tokens, leave=lambda raw, time: raw, shape=lambda raw, clips: None),
    "class-first": Port(
        enter=lambda tokens, shape, class_token: _with_class(tokens, class_token),
        leave=lambda raw, time: raw[:, 1:],
        shape=lambda raw, clips: None,
        class_token=True,
    ),
    "class-first-time-fastest": Port(
        enter=lambda tokens, shape, class_token: _with_class(_time_fastest(tokens, shape), class_token),
        leave=lambda raw, time: _time_slowest(raw[:, 1:], time),
        shape=lambda raw, clips: None,
        class_token=True,
    ),
    "frames": Port(  # [clip · time, feature, height, width]
        enter=lambda tokens, shape, _: tokens.unflatten(1, shape).permute(0, 1, 4, 2, 3).flatten(0, 1),
        leave=lambda raw, time: raw.unflatten(0, (-1, time)).permute(0, 1, 3, 4, 2).flatten(1, 3),
        shape=lambda raw, clips: (len(raw) // clips, raw.shape[2], raw.shape[3]),
    ),
    "volume": Port(  # [clip, feature, time, height, width]
        enter=lambda tokens, shape, _: tokens.unflatten(1, shape).permute(0, 4, 1, 2, 3),
        leave=lambda raw, time: raw.permute(0, 2, 3, 4, 1).flatten(1, 3),
        shape=lambda raw, clips: (raw.shape[2], raw.shape[3], raw.shape[4]),
    ),
}
OWN_ORDER = {"TimesformerLayer": "class-first-time-fastest"}  # blocks whose token order the number of axes does not tell
BY_AXES = {3: "tokens", 4: "frames", 5: "volume"}
AXES = dict.fromkeys(PORTS, 3) | {name: axes for axes, name in BY_AXES.items()}  # of what a port makes


def port_name(block: nn.Module, argument: Tensor, class_token: bool) -> str | None:
    """Return the name of the port of a block that is called with ``argument``; None when there is none.

    Parameters
    ----------
    class_token
        The backbone carries one before its video tokens.
    """
    name = OWN_ORDER.get(type(block).__name__) or BY_AXES.get(argument.ndim)
    return "class-first" if name == "tokens" and class_token else name


def hidden_states(output: Tensor | tuple[Any, ...]) -> Tensor:
    """Return the tokens of a block's raw output: they come alone or first, before a text stream, skips or attention maps."""
    return output[0] if isinstance(output, tuple) else output
