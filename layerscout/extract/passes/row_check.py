"""A captured model and some clips in, nothing or an error out: a row must depend on its own clip and on nothing else.

A store is known by its inputs, among which no batch is. A module of somebody's own may still look at its whole batch, keep something
from pass to pass, or draw random numbers; then the rows of a store would depend on how it was filled. Comparing a few passes shows it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.errors import DataError, UsageError
from layerscout.extract.passes.capture import Capture

ROWS = 8  # clips that are compared: some 22 in five passes
# how far rows may lie apart, of the layer's mean norm. Other batches take other kernels, whose sums differ in the last bits; networks
# magnify that some hundredfold. Honest families differ by 4e-5 at most in float32, on any instruction set and any number of threads.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}

Clips = UInt8[Tensor, "clip time height width channel"]
Rows = Float[Tensor, "clip pooled"]


def check_rows(capture: Capture, clips: Clips, name: str, dtype: torch.dtype) -> None:
    """Run the same clips in one batch, again, in two batches, and alone; compare.

    Parameters
    ----------
    clips
        At least two, of different steps.
    name
        What errors call the model.

    Raises
    ------
    UsageError
        A layer's rows depend on the batch or on earlier passes; the message names the first such layer and by how much.
    """
    whole, half = capture(clips), max(1, len(clips) // 2)
    again = "in a second pass over the same batch", "keep nothing from pass to pass, and draw nothing at random"
    other = "when the batch around them changes", "let no row see its batch: no statistics, extremes or branches over the first axis"
    for repeated, (when, hint) in (
        (capture(clips), again),
        (
            {
                layer: torch.cat([first, rest])
                for (layer, first), rest in zip(capture(clips[:half]).items(), capture(clips[half:]).values(), strict=True)
            },
            other,
        ),
        (capture(clips[-1:]), other),
    ):
        for layer, rows in repeated.items():
            apart = difference(rows, whole[layer][-len(rows) :])
            if not apart <= TOLERANCE[dtype]:
                raise UsageError(f"layer '{layer}' of {name} gives other rows {when}: they differ by {apart:.3g} of their size", hint=hint)


def check_compiled(eager: Rows, compiled: Rows, columns: dict[str, slice], dtype: torch.dtype) -> None:
    """Compare the first batch of a compiled model with the same batch before compilation.

    Raises
    ------
    DataError
        They differ by more than rounding: the compiled code was made for another processor, or torch.compile is wrong here.
    """
    for layer, place in columns.items():
        apart = difference(compiled[:, place], eager[:, place])
        if not apart <= TOLERANCE[dtype]:
            raise DataError(
                f"layer '{layer}' differs by {apart:.3g} of its size after torch.compile",
                hint="empty the folder TORCHINDUCTOR_CACHE_DIR, where code made for another processor may lie, or leave --compile out",
            )


def difference(rows: Rows, others: Rows) -> float:
    """Return the largest distance between two versions of a row, of the mean norm of the rows; 0 when all are zero."""
    apart = torch.linalg.vector_norm((rows - others).double(), dim=1).max()
    size = torch.linalg.vector_norm(others.double(), dim=1).mean()
    return float(apart / size) if float(apart) else 0.0
