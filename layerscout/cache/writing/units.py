"""The files of a finished unit in, its marker out; an attempt's folder in, the units whose every file is intact out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from layerscout.cache import manifest
from layerscout.cache.files import StoredObject
from layerscout.cache.fingerprint import misfit_of_file
from layerscout.cache.layout import StoreLayout
from layerscout.cache.records import Record
from layerscout.cache.writing import staging


class UnitMarker(Record):
    """The content of ``units/<k>.json``, which says that a unit is done and with which files. ``digest`` covers all other fields."""

    identity_digest: str
    unit: int
    objects: tuple[StoredObject, ...]
    digest: str

    @staticmethod
    def of(identity_digest: str, unit: int, objects: Sequence[StoredObject]) -> UnitMarker:
        """Make the marker of a unit that is done: the identity it belongs to, its objects, and a digest of both."""
        fields = {"identity_digest": identity_digest, "unit": unit, "objects": [item.model_dump() for item in objects]}
        return UnitMarker.model_validate(fields | {"digest": manifest.digest_of(fields)})


def finished_unit_objects(attempt: Path, unit: int, layout: StoreLayout, identity_digest: str) -> tuple[StoredObject, ...] | None:
    """Return the files of a unit when its marker tells of exactly this unit and every file that it names is intact."""
    try:
        marker = UnitMarker.model_validate_json((attempt / staging.UNITS / f"{unit}.json").read_bytes())
    except (OSError, ValidationError):
        return None
    expected = [array.path(unit) for array in layout.arrays()]
    whole = UnitMarker.of(identity_digest, unit, marker.objects) == marker
    if not whole or [item.path for item in marker.objects] != expected:
        return None
    try:
        intact = all(misfit_of_file(attempt / staging.TREE / item.path, item, full=False) is None for item in marker.objects)
    except OSError:
        return None
    return marker.objects if intact else None
