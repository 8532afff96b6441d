"""A stream of bytes and what the manifest says of it in, one verified file or an error out; several streams side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeVar

from layerscout.cache.durable import whole_file
from layerscout.cache.files import StoredObject
from layerscout.cache.fingerprint import Fingerprint
from layerscout.errors import DataError

Done = TypeVar("Done")


def receive_file(blocks: Iterable[Any], folder: Path, item: StoredObject, source: str) -> None:
    """Write a stream to ``folder/item.path`` completely or not at all, forced to disk, once it has proved to be ``item``.

    Raises
    ------
    DataError
        It is not; nothing but ``item.size`` bytes at most was ever written.
    """
    fingerprint = Fingerprint()
    with whole_file(folder / item.path, alone=False) as file:
        for block in blocks:
            fingerprint.update(block)
            if fingerprint.size > item.size:
                break
            file.write(block)
        if misfit := fingerprint.misfit(item):
            hint = "push the store again from where it is whole; that replaces what is damaged"
            raise DataError(f"{source}/{item.path} is damaged: it came with {misfit}", hint=hint)


def in_parallel(work: Callable[[StoredObject], Done], items: Sequence[StoredObject], workers: int) -> Iterator[tuple[StoredObject, Done]]:
    """Do ``work`` for every item in threads and yield each when it is done; the first error stops what has not begun."""
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        running = {pool.submit(work, item): item for item in items}
        for future in as_completed(running):
            yield running[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)
