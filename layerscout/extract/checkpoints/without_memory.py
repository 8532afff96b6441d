"""A function that makes a module in, the module out: its parameters without memory, its buffers (position tables) real."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

Module = TypeVar("Module", bound=nn.Module)


def without_memory(make: Callable[[], Module]) -> Module:
    """Return what ``make`` builds, its parameters on the meta device and its buffers in memory.

    Layers ask for their weights with ``torch.empty``, and fill them afterwards; here they get an empty tensor on the meta
    device, which takes no memory and which filling does not touch. Parameters that are made otherwise are small tables, and go
    there when the module is whole. The mode is this thread's own and no function is replaced, so modules that other threads
    build meanwhile are real. Torch's generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        with _EmptyOnMeta():
            built = make()
        if any(buffer.is_meta for buffer in built.buffers()):  # a table that was filled piece by piece: build with memory after all
            built = make()
    for module in built.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.to("meta"), requires_grad=False))
    left = [name for name, buffer in built.named_buffers() if buffer.is_meta]
    assert not left, f"tables without memory: {left}"
    return built


class _EmptyOnMeta(TorchFunctionMode):
    """Gives whoever asks for uninitialised memory, in this thread, a tensor of the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if func is torch.empty and named.get("device") is None:
            named["device"] = "meta"
        return func(*args, **named)
