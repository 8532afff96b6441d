"""Arrays and plans in, an error or what a store may hold out: every refusal happens before a byte is written."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from layerscout.cache import bfloat16
from layerscout.cache import identity as identities
from layerscout.cache.arrays import ArrayLayout
from layerscout.cache.layout import StoreLayout
from layerscout.errors import BudgetError, DataError

GivenRows = Shaped[np.ndarray, "..."]  # not checked yet, so no shape is claimed
BLOCK_BYTES = 1 << 18  # looked at in pieces that stay in the processor's cache


def checked_arrays(
    what: str, arrays: Mapping[str, ArrayLayout], given: Mapping[str, GivenRows], start: int, stop: int, threads: Executor
) -> list[tuple[ArrayLayout, GivenRows]]:
    """Pair every planned array with the given rows ``[start, stop)``, in the stored type.

    Floats may be rounded but must stay finite (an index column may hold NaN, which means "there is none");
    integers must keep their value. Arrays are rounded and looked at side by side, in ``threads``.

    Raises
    ------
    DataError
        An array is missing, superfluous, of a wrong shape or kind, or holds a number that cannot be stored.
    """
    if set(given) != set(arrays):
        odd = ", ".join(f"'{name}'" for name in sorted(set(given) ^ set(arrays)))
        raise DataError(f"{what} {odd} is missing or not planned", hint=f"planned: {', '.join(arrays)}")
    kept = threads.map(lambda name: _stored(f"{what} '{name}'", arrays[name], np.asarray(given[name]), start, stop), arrays)
    return list(zip(arrays.values(), kept, strict=True))


def _stored(what: str, array: ArrayLayout, values: GivenRows, start: int, stop: int) -> GivenRows:
    expected = (stop - start, *array.shape[1:])
    if values.shape != expected:
        message = f"{what} has shape {values.shape} for rows {start} to {stop}, expected {expected}"
        raise DataError(message, hint="give exactly the rows of span(unit)")
    kind = "f" if array.dtype == "bfloat16" else np.dtype(array.dtype).kind
    if values.dtype.kind != kind:
        raise DataError(f"{what} has dtype {values.dtype}, expected {array.dtype}", hint="convert the array first")
    with np.errstate(over="ignore"):  # an overflow is found below, and named
        stored = (
            bfloat16.to_bfloat16(values.astype(np.float32, copy=False))
            if array.dtype == "bfloat16"
            else values.astype(array.dtype, copy=False)
        )
    if kind == "i" and not np.array_equal(stored, values):
        raise DataError(f"{what} has values that do not fit {array.dtype}", hint="check the dataset's actions and episode lengths")
    if kind == "f" and (has_nonfinite(stored) if array.finite else np.isinf(stored).any()):
        bad = ~np.isfinite(array.give(stored)) if array.finite else np.isinf(stored)
        place = tuple(np.argwhere(bad)[0])
        value = values[place]
        found = "nan" if np.isnan(value) else "inf" if np.isinf(value) else f"{value:g}, too large for {array.dtype},"
        hint = "check the numbers that made it; float32 and bfloat16 hold larger ones than float16"
        raise DataError(f"{what} has {found} at row {start + int(place[0])}", hint=hint)
    return stored


EXPONENTS = {2: np.uint16(0x7C00), 4: np.uint32(0x7F800000)}  # all ones in an infinity or NaN, nowhere else


def has_nonfinite(stored: GivenRows) -> bool:
    """Tell whether a stored float array holds NaN or an infinity, by its bits: for float16 far faster than ``np.isfinite``."""
    size = stored.dtype.itemsize
    exponent = np.uint16(bfloat16.EXPONENT) if stored.dtype.kind == "u" else EXPONENTS[size]
    bits = stored.reshape(-1).view(f"u{size}") if stored.flags.c_contiguous else np.ascontiguousarray(stored).reshape(-1).view(f"u{size}")
    step = BLOCK_BYTES // size
    return any(bool(((bits[start : start + step] & exponent) == exponent).any()) for start in range(0, len(bits), step))


def check_identity_fits(identity: identities.Identity, layout: StoreLayout) -> None:
    """Raise DataError unless the identity is resolved and names exactly the planned layers, in order."""
    identities.check_identity(identity)
    planned = [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in layout.specs]
    for position, (stated, needed) in enumerate(zip(identity["layers"], planned, strict=False)):
        if stated != needed:
            raise DataError(f"identity.layers[{position}] is {stated}, the array is {needed}", hint="they must be equal")
    if len(planned) != len(identity["layers"]):
        raise DataError(
            f"the identity names {len(identity['layers'])} layers, {len(planned)} arrays are planned", hint="they must be equal"
        )
    for spec in layout.specs:
        if spec.role == "layer" and spec.dtype != identity["logical_dtype"]:
            message = f"layer '{spec.name}' is {spec.dtype}, but identity.logical_dtype is {identity['logical_dtype']!r}"
            raise DataError(message, hint="use one dtype in both")


def check_space(
    root: Path, needed: int, what: str = "the store", hint: str = "choose another --root, fewer layers, or free some space"
) -> None:
    """Raise BudgetError unless ``needed`` bytes for ``what`` are free on the disk where ``root`` is or will be."""
    existing = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        message = f"{what} needs {needed / 1e9:,.3f} GB under {root}, only {free / 1e9:,.3f} GB are free; nothing was written"
        raise BudgetError(message, hint=hint)
