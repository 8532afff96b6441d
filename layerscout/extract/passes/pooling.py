"""Token grid in, one vector a clip out: what a layer's activation is reduced to before it leaves the forward pass.

A pooling is named ``WHERE/HOW``. WHERE: ``all`` time slots, the ``last`` slot that holds a real frame, or the
``future`` slots that hold noise (conditioned backbones). HOW:

- ``mean`` over tokens, and ``max`` over tokens, feature by feature;
- ``gridN``: an N x N grid of cell means, row-major, which keeps where things are (a mean over all tokens loses it); a layer of one place has one cell;
- ``energy``: a mean weighted by softmax((n - mean n) / std n) over the tokens' norms n: what attention pooling does,
  tokens that stand out count more, without learned queries;
- ``tokens``: every token, unreduced.

``cls`` alone is the class token of backbones that have one. Text tokens never take part.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import TokenGrid

CLASS_TOKEN = "cls"
_NAME = re.compile(r"(all|last|future)/(mean|max|energy|tokens|grid([1-9]\d?))")
PIXEL_CELLS = 8  # the raw-pixel control keeps an 8 x 8 picture of every frame of the clip

Tokens = Float[Tensor, "clip token feature"]
Volume = Float[Tensor, "clip time height width feature"]
Pooled = Float[Tensor, "clip pooled"]


@dataclass(frozen=True)
class Pooling:
    """A pooling's name taken apart. ``cells`` a side of a grid, else None; ``where`` is empty for the class token."""

    where: str
    how: str
    cells: int | None = None

    def slots(self, grid: TokenGrid) -> slice:
        """The time slots of a token grid that are pooled, as a slice of its time axis."""
        return {"all": slice(0, grid.time), "last": slice(grid.past - 1, grid.past), "future": slice(grid.past, grid.time)}[self.where]


def parse_pooling(name: str, grid: TokenGrid, class_token: bool = False) -> Pooling:
    """Take a pooling's name apart, checked against a layer's grid.

    Raises
    ------
    UsageError
        The name is not of the form ``WHERE/HOW`` or ``cls``, or this layer cannot be pooled so.
    """
    if name == CLASS_TOKEN:
        if not class_token:
            raise UsageError("pooling 'cls' needs a class token, and this backbone has none", hint="use all/mean or last/mean")
        return Pooling("", CLASS_TOKEN)
    match = _NAME.fullmatch(name)
    if match is None:
        raise UsageError(
            f"unknown pooling '{name}'",
            hint="WHERE/HOW with WHERE all, last or future and HOW mean, max, gridN, energy or tokens, e.g. last/grid4; or cls",
        )
    where, how, cells = match.groups()
    if where == "future" and grid.past == grid.time:
        raise UsageError(f"pooling '{name}' needs future slots, and this backbone has none", hint="use last/… or all/…")
    if cells and (grid.height, grid.width) == (1, 1):
        cells = "1"  # a layer of one place is one cell of every grid
    if cells and (grid.height % int(cells) or grid.width % int(cells)):
        raise UsageError(
            f"pooling '{name}' does not divide the token grid {grid.height}x{grid.width}", hint="choose N that divides both sides"
        )
    return Pooling(where, "grid", int(cells)) if cells else Pooling(where, how)


def pooled_width(name: str, grid: TokenGrid, token_width: int, class_token: bool = False) -> int:
    """Features a row has after pooling: slots x cells x token width for a grid or for tokens, else the token width."""
    pooling = parse_pooling(name, grid, class_token)
    if pooling.how not in ("grid", "tokens"):
        return token_width
    slots = pooling.slots(grid)
    cells = pooling.cells**2 if pooling.cells else grid.height * grid.width
    return (slots.stop - slots.start) * cells * token_width


def pool(tokens: Tokens, name: str, grid: TokenGrid) -> Pooled:
    """Reduce video tokens to one float32 vector a clip; the reduction itself is done in float32."""
    pooling = parse_pooling(name, grid)
    volume = tokens.to(torch.float32).unflatten(1, (grid.time, grid.height, grid.width))[:, pooling.slots(grid)]
    if pooling.how == "mean":
        return volume.mean(dim=(1, 2, 3))
    if pooling.how == "max":
        return volume.amax(dim=(1, 2, 3))
    if pooling.how == "energy":
        return _by_energy(volume.flatten(1, 3))
    if pooling.cells is None:
        return volume.flatten(1)
    in_cells = volume.unflatten(2, (pooling.cells, grid.height // pooling.cells)).unflatten(4, (pooling.cells, grid.width // pooling.cells))
    return in_cells.mean(dim=(3, 5)).flatten(1)


def pool_all(tokens: Tokens, names: Sequence[str], grid: TokenGrid) -> dict[str, Pooled]:
    """Do several poolings as one: ``pool`` of each name up to the order of sums, but means and grids read the tokens once.

    Cells of the finest grid are averaged first; coarser grids and means are averages of those cells.
    """
    poolings = {name: parse_pooling(name, grid) for name in names}
    finest = max([0, *[pooling.cells or 0 for pooling in poolings.values()]])  # lists: torch.compile takes no generators here
    shared = {name: pooling for name, pooling in poolings.items() if _nests(pooling, finest)}
    if len(shared) < 2:
        return {name: pool(tokens, name, grid) for name in names}
    slots = [pooling.slots(grid) for pooling in shared.values()]
    read = slice(min([one.start for one in slots]), max([one.stop for one in slots]))
    volume = tokens.to(torch.float32).unflatten(1, (grid.time, grid.height, grid.width))[:, read]
    cells = _cells(volume, finest)
    pooled: dict[str, Pooled] = {}
    for name, pooling in poolings.items():
        if name not in shared:
            pooled[name] = pool(tokens, name, grid)
            continue
        slot = pooling.slots(grid)
        part = cells[:, slot.start - read.start : slot.stop - read.start]
        pooled[name] = part.mean(dim=(1, 2, 3)) if pooling.cells is None else _cells(part, pooling.cells).flatten(1)
    return pooled


def _nests(pooling: Pooling, finest: int) -> bool:
    """Tell whether a pooling is an average of the finest grid's cells."""
    return finest > 0 and (pooling.how == "mean" or (pooling.cells is not None and finest % pooling.cells == 0))


def _cells(volume: Volume, cells: int) -> Volume:
    """Average a volume over ``cells`` x ``cells`` equal cells, rows within a line first: long contiguous sums, several times faster."""
    clips, time, height, across, features = volume.shape
    if (cells, cells) == (height, across):
        return volume
    lines = volume.reshape(clips * time * cells, height // cells, across * features).sum(1)
    return (lines.view(clips, time, cells, cells, across // cells, features).sum(4)) / (height // cells * (across // cells))


def _by_energy(tokens: Tokens) -> Pooled:
    norms = torch.linalg.vector_norm(tokens, dim=2)
    apart = norms - norms.mean(dim=1, keepdim=True)
    deviation = apart.square().mean(dim=1, keepdim=True).sqrt()
    # equal norms have no deviation: their weights are equal too
    weights = (apart / deviation.clamp_min(torch.finfo(torch.float32).tiny)).softmax(dim=1)
    return torch.bmm(weights[:, None], tokens)[:, 0]


def array_name(layer: str, pooling: str, alone: bool) -> str:
    """Return what a layer's array is called in a store: the layer's own name, followed by the pooling if there are several."""
    return layer if alone else f"{layer}@{pooling.replace('/', '-')}"


def layer_of(array: str) -> str:
    """Return the layer whose activations an array of a store holds."""
    return array.partition("@")[0]


def pixel_features(clip: UInt8[Tensor, "clip time height width channel"]) -> Pooled:
    """The control without a model: every frame of the clip brought to at most 8 x 8 cells by averaging, in [-1, 1]."""
    # channels moved while they are bytes, then scaled in place: several times faster than the same sum written plainly
    frames = clip.permute(0, 1, 4, 2, 3).flatten(0, 1).contiguous().to(torch.float32).div_(127.5).sub_(1.0)
    cells = (min(PIXEL_CELLS, frames.shape[-2]), min(PIXEL_CELLS, frames.shape[-1]))
    return torch.nn.functional.adaptive_avg_pool2d(frames, cells).reshape(len(clip), -1)
