"""Units that a store lacks in, their files out: one unit is written while the next is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from layerscout.cache.writing.writer import StoreWriter
from layerscout.extract.passes.work import Extractor
from layerscout.extract.plan import ExtractPlan


def open_writer(planned: ExtractPlan, resume: bool = True) -> StoreWriter:
    """Begin or continue the plan's store.

    Parameters
    ----------
    resume
        Whether to take over units that other attempts have finished.
    """
    return StoreWriter.open(
        planned.root,
        planned.identity,
        planned.specs,
        planned.rows,
        planned.rows_per_chunk,
        planned.columns,
        planned.config.codec,
        resume=resume,
    )


def fill_units(extractor: Extractor, writer: StoreWriter, units: Sequence[int], advance: Callable[[int], None] = lambda rows: None) -> None:
    """Compute and write the given units; ``advance`` hears how many rows each batch had.

    Never more than one unit waits to be written, so memory does not grow with the rows.

    Raises
    ------
    DataError
        The dataset was changed or replaced while it was read; no unit of it was written after that.
    """

    def count_rows(rows: int) -> None:
        writer.keep_alive()
        advance(rows)

    offsets = extractor.plan.backbone.clip.offsets
    with ThreadPoolExecutor(1) as background, closing(extractor.units([writer.span(unit) for unit in units], count_rows)) as computed:
        written = background.submit(lambda: None)
        for unit, arrays in zip(units, computed, strict=True):
            written.result()
            index = extractor.index.columns(*writer.span(unit), offsets) | extractor.more_columns(*writer.span(unit))
            extractor.data.require_unchanged()  # all that this unit is made of was read before this
            written = background.submit(writer.write_unit, unit, arrays, index)
        written.result()
