"""What is going on in chosen copies in, pictures of 64 × 64 pixels out: the brushes that both trades paint with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, UInt8
from numpy.typing import ArrayLike, NDArray

SIZE = 64  # pixels, square
FRAMES_A_MINUTE = 24  # frames of film
ROWS, COLUMNS = np.mgrid[:SIZE, :SIZE].astype(np.float64)
CLOCK, CLOCK_REST = (235.0, 200.0, 90.0), (48.0, 50.0, 58.0)

_Colour = tuple[float, float, float]
_Canvas = Float[np.ndarray, "copy 64 64 3"]


class Moment(NamedTuple):
    """What a picture shows, one entry a copy."""

    share: float  # how much of the minute is over
    clock: Float[np.ndarray, " copy"]  # how much of the hour is over
    speed: Float[np.ndarray, " copy"]  # of the minute, in [0, 1]
    care: Float[np.ndarray, " copy"]
    phase: Float[np.ndarray, " copy"]  # of the hand's stroke: a whole number is one stroke
    good: Int64[np.ndarray, " copy"]  # units finished in the minute until now
    bad: Int64[np.ndarray, " copy"]  # errors of the minute that have been seen
    completed: Int64[np.ndarray, " copy"]  # of the hour until now
    errors: Int64[np.ndarray, " copy"]


def backdrop(copies: int, wall: _Colour, table: _Colour, edge: int) -> _Canvas:
    """Return rooms with a wall above row ``edge`` and a table below it."""
    canvas = np.empty((copies, SIZE, SIZE, 3))
    canvas[:, :edge], canvas[:, edge:] = wall, table
    return canvas


def paint_clock(canvas: _Canvas, clock: Float[np.ndarray, " copy"]) -> None:
    """Paint the hour as a bar on the first two rows that fills from the left."""
    cover = np.clip(clock[:, None] * SIZE - COLUMNS[0], 0.0, 1.0)[:, None, :, None]
    canvas[:, :2] = np.array(CLOCK_REST) + cover * (np.array(CLOCK) - np.array(CLOCK_REST))


def paint_ellipse(
    canvas: _Canvas,
    row: Float[np.ndarray, " copy"] | float,
    column: Float[np.ndarray, " copy"] | float,
    half_height: float,
    half_width: float,
    colour: _Colour,
    strength: Float[np.ndarray, " copy"] | Bool[np.ndarray, " copy"] | float = 1.0,
) -> None:
    """Paint one antialiased ellipse a picture; ``strength`` in [0, 1] lets the ground through."""
    place = _window(row, column, half_height, half_width)
    down, across, strengths = _inside(canvas, place, row, column, strength)
    radius = np.hypot(down / half_height, across / half_width)
    cover = (np.clip((1.0 - radius) * min(half_height, half_width) + 0.5, 0.0, 1.0) * strengths)[..., None]
    canvas[place] += cover * (np.array(colour) - canvas[place])


def paint_box(
    canvas: _Canvas,
    row: Float[np.ndarray, " copy"] | float,
    column: Float[np.ndarray, " copy"] | float,
    half_height: float,
    half_width: float,
    colour: _Colour,
    strength: Float[np.ndarray, " copy"] | Bool[np.ndarray, " copy"] | float = 1.0,
    tilt: Float[np.ndarray, " copy"] | float = 0.0,
) -> None:
    """Paint one antialiased box a picture, turned by ``tilt`` (rows a column)."""
    place = _window(row, column, half_height + half_width * float(np.abs(tilt).max()), half_width)
    down, across, strengths = _inside(canvas, place, row, column, strength)
    down = down - np.broadcast_to(np.asarray(tilt, np.float64), len(canvas))[:, None, None] * across
    cover = np.clip(half_height + 0.5 - np.abs(down), 0.0, 1.0) * np.clip(half_width + 0.5 - np.abs(across), 0.0, 1.0)
    cover = (cover * strengths)[..., None]
    canvas[place] += cover * (np.array(colour) - canvas[place])


def _window(row: ArrayLike, column: ArrayLike, half_height: float, half_width: float) -> tuple[slice, slice, slice]:
    """Return the part of the canvases that a shape of this size reaches in any of them: painting costs no more than that."""
    rows, columns = (
        slice(max(0, int(np.min(centre) - half - 1.0)), max(0, int(np.ceil(np.max(centre) + half + 2.0))))
        for centre, half in ((row, half_height), (column, half_width))
    )
    return slice(None), rows, columns


def _inside(canvas: _Canvas, place: tuple[slice, slice, slice], row: ArrayLike, column: ArrayLike, strength: ArrayLike) -> list[NDArray]:
    """Return how far each pixel of the window lies below and right of the centre, and how strongly each picture is painted."""
    rows, columns, strengths = (
        np.broadcast_to(np.asarray(value, np.float64), len(canvas))[:, None, None] for value in (row, column, strength)
    )
    return [ROWS[place[1:]] - rows, COLUMNS[place[1:]] - columns, strengths]


def finish(canvas: _Canvas) -> UInt8[np.ndarray, "copy 64 64 3"]:
    """Return the painted scene as pixels, clipped and rounded down to bytes."""
    return np.clip(canvas, 0.0, 255.0).astype(np.uint8)
