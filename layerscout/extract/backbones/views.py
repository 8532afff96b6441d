"""The shape of a module's output in; where its tokens, their grid and their features lie out."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from jaxtyping import Float
from torch import Tensor

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import TokenGrid


@dataclass(frozen=True)
class View:
    """How to read a module's output as tokens.

    ``frames`` is above 0 where the first axis holds clips x frames; ``feature_axis`` counts after that axis is split.
    """

    grid: TokenGrid
    width: int
    frames: int
    feature_axis: int
    class_tokens: int

    def tokens(self, output: Tensor) -> Float[Tensor, "clip token feature"]:
        """Bring one output to tokens in the order of the grid, without class tokens."""
        value = output.unflatten(0, (-1, self.frames)) if self.frames else output
        if self.class_tokens:
            value = value.narrow(-2, self.class_tokens, value.shape[-2] - self.class_tokens)
        value = value.movedim(self.feature_axis, -1)
        return value.flatten(1, -2) if value.ndim > 2 else value.unsqueeze(1)


def first_tensor(output: Any) -> Tensor:
    """Return the tensor that a module put out; of a tuple or list, the first entry."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise UsageError(
            f"a module puts out {type(output).__name__}, expected a tensor or a tuple of them", hint="name the modules inside it"
        )
    return output


def read_view(
    name: str, shape: tuple[int, ...], clips: int, frames: int, grid: tuple[int, int, int] | None = None, class_tokens: int = 0
) -> View:
    """Tell from the shape that ``clips`` clips of ``frames`` frames gave how a module's output is to be read.

    Parameters
    ----------
    grid
        Time, height, width of the tokens of a [clip, token, feature] output; it cannot be seen in its shape.

    Raises
    ------
    UsageError
        The shape is none that is known, or the tokens are not those of the grid.
    """
    if not 2 <= len(shape) <= 5 or shape[0] not in (clips, clips * frames):
        raise UsageError(
            f"module '{name}' puts out {shape} for {clips} clips of {frames} frames",
            hint="expected [clip, feature, time, height, width], [clip, feature, height, width], [clip, token, feature] or [clip, feature]",
        )
    per_frame = shape[0] != clips
    slots = frames if per_frame else 1
    if len(shape) == 3:
        if grid is None or prod(grid) + class_tokens != shape[1]:
            raise UsageError(
                f"module '{name}' puts out {shape[1]} tokens, {class_tokens} of them class tokens, and the grid is {grid}",
                hint="give grid=(time, height, width) and class_tokens so that they add up",
            )
        if per_frame and grid[0] != 1:
            raise UsageError(f"module '{name}' sees every frame by itself, and the grid is {grid}", hint="give grid=(1, height, width)")
        cells: tuple[int, ...] = (slots * grid[0], *grid[1:])
        axis, width = (3 if per_frame else 2), shape[2]
    else:
        if per_frame and len(shape) == 5:
            raise UsageError(f"module '{name}' puts out {shape}: both clips x frames and time", hint="name another module")
        cells = {2: (slots, 1, 1), 4: (slots, *shape[-2:]), 5: shape[-3:]}[len(shape)]
        axis, width = (2 if per_frame else 1), shape[1]
    return View(
        grid=TokenGrid(cells[0], cells[1], cells[2], past=cells[0]),  # every slot holds frames of the clip
        width=width,
        frames=frames if per_frame else 0,
        feature_axis=axis,
        class_tokens=class_tokens if len(shape) == 3 else 0,
    )
