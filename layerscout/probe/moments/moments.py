"""One layer's rows in, one pass, the first and second moments of every episode group out.

Everything the probe reports is a function of these moments, so no penalty, fold or interval reads the rows again.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from layerscout.errors import DataError
from layerscout.probe.moments import partials
from layerscout.probe.moments.partials import PartialsFolder, PartialSource
from layerscout.probe.moments.products import BUFFER_ROWS
from layerscout.probe.moments.rows import READ_ROWS, Reader, pilot_mean
from layerscout.probe.moments.spans import Borders, SpanTransitions, add_up, spans, transitions_in_span
from layerscout.probe.moments.sums import ColumnSums, LatentSums, SumsOfSpan
from layerscout.probe.moments.symmetric import mirror
from layerscout.probe.questions.splits import CONFIRMATION, Split
from layerscout.probe.questions.targets import Transitions

MAX_NONFINITE = 1e-3  # share of a layer's rows
SMALLEST_SQUARE = {"float32": 1e-35, "float64": 1e-290}  # of an activation, on average: smaller ones lose digits below the normal range


class OutOfRange(DataError):
    """Squares of the activations are too large or too small for the precision of the products."""


@dataclass(frozen=True)
class MomentSums:
    """Raw moments of some rows, with x = [z_t - c, action] and y = [z_{t+1} - c, scalars], all float64."""

    count: Any  # int, or int[group]
    x: Float[np.ndarray, "*group feature"]
    y: Float[np.ndarray, "*group target"]
    xx: Float[np.ndarray, "*group feature feature"]
    xy: Float[np.ndarray, "*group feature target"]
    yy: Float[np.ndarray, "*group target"]  # squares only: products between targets are never needed

    def __getitem__(self, group: int) -> MomentSums:
        return MomentSums(self.count[group], self.x[group], self.y[group], self.xx[group], self.xy[group], self.yy[group])

    def __add__(self, other: MomentSums) -> MomentSums:
        return MomentSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))

    def __iadd__(self, other: MomentSums) -> MomentSums:
        for name in self.__dataclass_fields__:
            mine = getattr(self, name)
            mine += getattr(other, name)  # in place: sums of wide layers are large
        return self

    def __sub__(self, other: MomentSums) -> MomentSums:
        return MomentSums(*(getattr(self, name) - getattr(other, name) for name in self.__dataclass_fields__))

    def first_targets(self, count: int) -> MomentSums:
        """The same sums of the first ``count`` targets only; nothing is copied."""
        return MomentSums(self.count, self.x, self.y[..., :count], self.xx, self.xy[..., :count], self.yy[..., :count])

    def pool(self, groups: Int[np.ndarray, " chosen"]) -> MomentSums:
        """Add up some groups, in the order given."""
        total = [np.array(getattr(self, name)[groups[0]]) for name in self.__dataclass_fields__]
        for group in groups[1:]:
            for part, name in zip(total, self.__dataclass_fields__, strict=True):
                part += getattr(self, name)[group]
        return MomentSums(*total)


@dataclass(frozen=True)
class Moments:
    """All moments of one layer.

    Attributes
    ----------
    groups
        Moments of each episode group.
    next_minus_latent
        Sum of z_{t+1} z_{t+1}' minus sum of z_t z_t' over the transitions that rank: only episode ends differ, so it costs nothing.
    shift
        The pilot mean c, in the precision of the products. With it, they stay exact to that precision whatever the features'
        mean.
    nonfinite_rows
        Rows with a NaN or an infinity; the transitions from and to them are in no sum.

    Examples
    --------
    Six episodes of three rows each make two transitions an episode; the sums give back the mean and the products of z_t.

    >>> import numpy as np
    >>> from layerscout.probe.config import ProbeConfig
    >>> from layerscout.probe.questions.splits import split_episodes
    >>> from layerscout.probe.questions.targets import find_transitions
    >>> class Rows:
    ...     shape = (18, 2)
    ...     def read(self, start, stop):
    ...         return np.arange(36.0).reshape(18, 2)[start:stop]
    >>> columns = {"episode": np.arange(18) // 3, "step": np.arange(18) % 3, "action": np.arange(18) % 2, "reward": np.arange(18.0)}
    >>> transitions = find_transitions(columns, ProbeConfig(store="made up", confirmation=0, shifts=0))
    >>> split = split_episodes(transitions.lengths, groups=3, folds=3)
    >>> moments = accumulate("layer", Rows(), transitions, split, "float64")
    >>> moments.groups.count.tolist()
    [4, 4, 4]
    >>> total = moments.groups.pool(np.arange(3))
    >>> z = Rows().read(0, 18)[transitions.row] - moments.shift
    >>> bool(np.allclose(total.xx[:2, :2], z.T @ z))
    True
    >>> (total.x[:2] / total.count + moments.shift).tolist()
    [16.0, 17.0]
    """

    width: int
    groups: MomentSums
    next_minus_latent: Float[np.ndarray, "feature feature"]
    shift: Float[np.ndarray, " feature"]
    nonfinite_rows: int = 0

    @property
    def precision(self) -> str:
        """The floating-point type in which rows are multiplied; sums are kept in float64."""
        return self.shift.dtype.name


def moment_bytes(
    rows: int, width: int, actions: int, scalars: int, groups: int, folds: int, precision: str, chunk_rows: int = READ_ROWS
) -> int:
    """Bytes that probing one layer takes at its peak: group and fold moments, rows waiting to be multiplied, and the solver's work."""
    features, targets, itemsize = width + actions, width + scalars, np.dtype(precision).itemsize
    cut = spans(rows, width)
    states = groups + folds + 3
    waiting = (
        min(groups * BUFFER_ROWS[itemsize], 2 * cut[0][1]) * (targets + actions) + 2 * max(READ_ROWS, chunk_rows) * width + 2 * width**2
    )
    return 8 * states * features * (features + targets) + itemsize * waiting + 8 * 12 * features * targets


def accumulate(
    name: str,
    reader: Reader,
    transitions: Transitions,
    split: Split,
    precision: str = "float32",
    max_nonfinite: float = MAX_NONFINITE,
    folder: PartialsFolder | None = None,
    choose: Callable[[int, int], SpanTransitions] | None = None,
    scratch: Path | None = None,
    advance: Callable[[], None] = lambda: None,
    space: ReusableSums | None = None,
) -> Moments:
    """Read a layer once, span by span in row order, and add up its moments group by group.

    The result does not depend on how the store is cut into chunks, nor on what of it was added up before, to the last bit.

    Parameters
    ----------
    max_nonfinite
        Largest share of rows that may hold a NaN or an infinity.
    folder
        Where the sums of single spans are kept and found.
    choose
        Gives the transitions of a span, when they are kept for several layers.
    advance
        Called after each span.
    space
        Where the moments are to lie; they hold until it is used again.

    Raises
    ------
    DataError
        Too many rows are not finite; the layer and the first such row are named.
    OutOfRange
        Squares of the activations overflow, or are below what the precision can hold.
    """
    rows, width = reader.shape
    actions, scalars = transitions.inputs.shape[1], transitions.scalars.shape[1]
    shift = pilot_mean(reader, precision)
    total = (space or ReusableSums()).empty(split.groups, width, actions, scalars)
    into = split_views(total, width)
    cut = spans(rows, width)
    choose = choose or functools.partial(transitions_in_span, transitions, split)
    with ExitStack() as open_files:
        borders = _add_spans(reader, (choose(*span) for span in cut), shift, into, folder, scratch, advance, open_files)
    for start, before, after in zip([start for start, _ in cut[1:]], borders[:-1], borders[1:], strict=True):
        _cross(transitions, split, start, before.last, after.first, *into)
    nonfinite = sum(each.nonfinite for each in borders)
    first_nonfinite = next((each.first_nonfinite for each in borders if each.nonfinite), -1)
    if nonfinite > max_nonfinite * rows:
        raise DataError(
            f"layer '{name}' has NaN or infinite values in {nonfinite} of {rows} rows, first in row {first_nonfinite}; "
            f"probe.max_nonfinite allows {max_nonfinite:g} of them",
            hint="extract the store again (float32 if the layer overflows float16), or name the other layers in probe.layers",
        )
    next_minus_latent = into[0].next_minus_latent
    for square in (*total.xx[:, :width, :width], next_minus_latent):
        mirror(square)
    total.xx[:, width:, :width] = total.xx[:, :width, width:].transpose(0, 2, 1)
    _require_range(name, total, width, precision)
    return Moments(width, total, next_minus_latent, shift, nonfinite)


def _require_range(name: str, sums: MomentSums, width: int, precision: str) -> None:
    """Refuse sums of squares that overflowed, or that are so small that what is left of them in float32 is not exact."""
    hint = "set probe.precision=float64, or name the other layers in probe.layers"
    if not np.isfinite(sums.yy).all():
        raise OutOfRange(f"squares of the activations of layer '{name}' exceed the range of {precision}", hint=hint)
    squares = np.diagonal(sums.xx, axis1=1, axis2=2)[:, :width]
    least = SMALLEST_SQUARE[precision] * np.maximum(sums.count, 1)[:, None]
    if ((squares < least) & (sums.x[:, :width] != 0)).any():  # a feature that varies, or one that is not its pilot mean
        raise OutOfRange(f"squares of the activations of layer '{name}' are too small for {precision}", hint=hint)


def _add_spans(
    reader: Any,
    cut: Iterable[SpanTransitions],
    shift: Float[np.ndarray, " feature"],
    into: SumsOfSpan,
    folder: PartialsFolder | None,
    scratch: Path | None,
    advance: Callable[[], None],
    open_files: ExitStack,
) -> list[Borders]:
    """Add up spans into ``into``: from partials that are there, else from rows.

    Only the last span's sums wait in memory; the others wait in their partial, or in a scratch file that no name leads to.
    """
    sources: tuple[list[PartialSource], list[PartialSource]] = ([], [])
    held = [False, False]
    waiting: Any = None
    borders: list[Borders] = []
    for chosen in cut:
        paths = folder.paths(reader, chosen, shift.dtype.name) if folder is not None else None
        kept = (None, None) if paths is None else (partials.open_partial(paths[0]), partials.open_partial(paths[1]))
        for side, found in enumerate(kept):
            if found is not None:
                sources[side].append(found[1])
        missing = None if kept[0] is not None else into[0], None if kept[1] is not None else into[1]
        complete = kept[0] or kept[1] if missing == (None, None) else None
        borders.append(complete[0] if complete else add_up(reader, chosen, shift, *missing))
        for side, sums in enumerate(missing):
            if sums is None:
                continue
            source = None
            if folder is not None and paths is not None and folder.writes(chosen, reader.shape[1], reader.layout.row_bytes):
                source = partials.write_partial(paths[side], sums, borders[-1])
            held[side] = chosen.stop == reader.shape[0]
            if held[side]:
                continue
            if source is None:
                if waiting is None:
                    waiting = open_files.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115 - closed with the others
                source = partials.spill_sums(waiting, sums)
            sources[side].append(source)
            sums.clear()
        advance()
    partials.combine_sums(sources[0], into[0], held[0])
    partials.combine_sums(sources[1], into[1], held[1])
    return borders


def empty_sums(groups: int, width: int, actions: int, scalars: int) -> MomentSums:
    """Return sums of no rows, all zeros, for so many groups, features, actions and scalars."""
    x, y = width + actions, width + scalars
    return MomentSums(np.zeros(groups, dtype=np.int64), *(np.zeros((groups, *shape)) for shape in ((x,), (y,), (x, x), (x, y), (y,))))


class ReusableSums:
    """Memory of one layer's sums, for the next layer to use again: asking the system for it anew takes a tenth of the time."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[int, ...], MomentSums] | None = None

    def empty(self, *shape: int) -> MomentSums:
        """Return sums of no rows as `empty_sums` does, in memory that was used before where the shape is the same."""
        if self._kept is None or self._kept[0] != shape:
            self._kept = None  # given back before more is asked for
            self._kept = shape, empty_sums(*shape)
        else:
            for name in MomentSums.__dataclass_fields__:
                getattr(self._kept[1], name).fill(0)
        return self._kept[1]


def split_views(sums: MomentSums, width: int) -> tuple[LatentSums, ColumnSums]:
    """The same memory, as the parts that are added up and kept apart."""
    z, c, x, y, xx, xy = slice(0, width), slice(width, None), sums.x, sums.y, sums.xx, sums.xy
    latents = LatentSums(sums.count, x[:, z], y[:, z], xx[:, z, z], xy[:, z, z], sums.yy[:, z], np.zeros((width, width)))
    columns = ColumnSums(x[:, c], y[:, c], xx[:, z, c], xy[:, z, c], xy[:, c, z], xx[:, c, c], xy[:, c, c], sums.yy[:, c])
    return latents, columns


def _cross(
    transitions: Transitions,
    split: Split,
    start: int,
    last: Float[np.ndarray, " feature"],
    first: Float[np.ndarray, " feature"],
    latents: LatentSums,
    columns: ColumnSums,
) -> None:
    """Add the transition from the last row of one span to the first of the next, if that is one and both are finite."""
    at = int(np.searchsorted(transitions.row, start - 1))
    if at == len(transitions) or transitions.row[at] != start - 1 or not np.isfinite([last, first]).all():
        return
    group = split.group_of_episode[transitions.episode[at]]
    z, n = last.astype(np.float64), first.astype(np.float64)
    a, s = (array[at].astype(last.dtype).astype(np.float64) for array in (transitions.inputs, transitions.scalars))
    for total, more in (
        (latents.count, 1),
        (latents.latent, z),
        (latents.next, n),
        (latents.latent_latent, np.outer(z, z)),
        (latents.latent_next, np.outer(z, n)),
        (latents.next_squares, n * n),
        (columns.action, a),
        (columns.scalar, s),
        (columns.latent_action, np.outer(z, a)),
        (columns.latent_scalar, np.outer(z, s)),
        (columns.action_next, np.outer(a, n)),
        (columns.action_action, np.outer(a, a)),
        (columns.action_scalar, np.outer(a, s)),
        (columns.scalar_squares, s * s),
    ):
        total[group] += more
    if split.fold_of_group[group] != CONFIRMATION:
        latents.next_minus_latent[:] += np.outer(n, n) - np.outer(z, z)
