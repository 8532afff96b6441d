"""Names of torch that it does not promise to keep: every one that is used in this package, each with what needs it.

A version of torch that does not have one of them any more is refused by its number, in one line, when the name is needed.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any

import torch
from torch import nn

from layerscout.errors import MissingExtraError


@functools.cache
def dispatch_mode() -> Any:
    """Return a class whose subclasses see the result of every operation."""

    class Watching(private("torch.utils._python_dispatch", "TorchDispatchMode")):  # type: ignore[misc]
        """Imports no compiler to keep it from compiling what looks at results: that takes longer than many an extraction."""

        @classmethod
        def _should_skip_dynamo(cls) -> bool:
            return "torch._dynamo" in sys.modules

    return Watching


def compile_errors() -> tuple[type[Exception], ...]:
    """Return what torch.compile raises where it cannot work; importing them takes a second."""
    return private("torch._dynamo.exc", "TorchDynamoException"), private("torch._inductor.exc", "InductorError")


def is_batch_norm(module: nn.Module) -> bool:
    """Tell whether a module keeps running statistics."""
    return isinstance(module, private("torch.nn.modules.batchnorm", "_NormBase"))


def is_convolution(module: nn.Module) -> bool:
    """Tell whether a module is a convolution, of any number of axes, transposed or not."""
    return isinstance(module, private("torch.nn.modules.conv", "_ConvNd"))


def is_transposed(module: nn.Module) -> bool:
    """Tell whether a module is a transposed convolution, of any number of axes."""
    return isinstance(module, private("torch.nn.modules.conv", "_ConvTransposeNd"))


def fused_adam() -> Any:
    """Return the operation that takes one step of Adam with all parameters of a list."""
    return private("torch", "_fused_adam_")


@functools.cache
def private(module: str, name: str) -> Any:
    """Return a name of a module of torch.

    Raises
    ------
    MissingExtraError
        This version of torch has no such name.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise MissingExtraError(
            f"torch {torch.__version__} is another than this version of layerscout knows: it has no {module}.{name}",
            hint="install an older torch, as constraints.txt of layerscout names it, or a newer layerscout",
        ) from None
