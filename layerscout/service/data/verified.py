"""What a verification of a store found in, one small file out, and back: when the store was last found whole."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from layerscout.cache import records
from layerscout.cache.catalog.verification import Verification
from layerscout.cache.records import Record
from layerscout.errors import DataError

FOLDER, MOST = "verified", 50  # problems that are kept


class KeptVerification(Record):
    """The content of ``verified/<store id>.json``."""

    format: Literal["layerscout-verified/1"] = "layerscout-verified/1"
    store_id: str
    when: float  # seconds since 1970
    files: int
    bytes: int
    problems: tuple[tuple[str, str, str], ...]  # file, kind, detail


def keep_verification(service: Path, found: Verification) -> None:
    """Write down when a store was verified and what was wrong, at most ``MOST`` problems, replacing what was known."""
    problems = tuple((one.path, one.kind, one.detail) for one in found.problems[:MOST])
    kept = KeptVerification(store_id=found.store_id, when=round(time.time(), 3), files=found.files, bytes=found.bytes, problems=problems)
    records.save(kept, service / FOLDER / f"{found.store_id}.json")


def kept_verification(service: Path | None, store_id: str) -> KeptVerification | None:
    """Return what the last verification found; None when there was none."""
    if service is None:
        return None
    try:
        return records.load(KeptVerification, service / FOLDER / f"{store_id}.json", warn=False)
    except DataError:
        return None
