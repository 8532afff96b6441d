"""What torch.compile throws in, an error that a user can act on out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from layerscout.errors import MissingExtraError
from layerscout.extract.torch_private import compile_errors

HINT = "leave --compile out; on a CPU it needs a C++ compiler (g++) and Python's headers, on a GPU Triton"


@contextmanager
def compiling() -> Iterator[None]:
    """Tell in one line why torch.compile does not work on this machine.

    Raises
    ------
    MissingExtraError
        A compiler is missing, or a block cannot be compiled.
    """
    errors = compile_errors()
    try:
        yield
    except errors as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise MissingExtraError(f"torch.compile does not work here: {' '.join(lines[:2])}", hint=HINT) from error
