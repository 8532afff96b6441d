"""The commit of a store: every file with size and digests, written last. Without a manifest there is no store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from layerscout import __version__
from layerscout.cache import identity as identities
from layerscout.cache import records
from layerscout.cache.files import StoredObject, sync_folders, write_file
from layerscout.cache.layout import LayerSpec, StoreLayout
from layerscout.cache.records import Record
from layerscout.errors import DataError

NAME = "manifest.json"
IDENTITY_NAME = "identity.json"


class Manifest(Record):
    """What a committed store holds. ``digest`` covers all other fields, so a damaged manifest is noticed too."""

    format: Literal["layerscout-store/1"] = "layerscout-store/1"
    store_id: str
    identity_digest: str
    run_key: str
    created: str  # UTC, ISO 8601
    written_by: str
    rows: int
    rows_per_chunk: int
    layers: tuple[LayerSpec, ...]
    objects: tuple[StoredObject, ...]
    provenance: dict[str, Any]  # what made the store without changing its numbers: command, host, versions, times
    digest: str

    @property
    def layout(self) -> StoreLayout:
        """Where every array lies."""
        return StoreLayout.plan(self.layers, self.rows, self.rows_per_chunk)


def write(
    root: Path, identity: identities.Identity, layout: StoreLayout, objects: Sequence[StoredObject], provenance: dict[str, Any]
) -> Manifest:
    """Write the manifest of the store that lies complete in ``root``.

    Raises
    ------
    DataError
        ``provenance`` is not plain JSON data.
    """
    fields = {
        "format": "layerscout-store/1",
        "store_id": identities.store_id(identity),
        "identity_digest": identities.identity_digest(identity),
        "run_key": identities.run_key(identity),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "written_by": f"layerscout {__version__}",
        "rows": layout.rows,
        "rows_per_chunk": layout.chunk_rows,
        "layers": [vars(spec) for spec in layout.specs],
        "objects": [item.model_dump() for item in sorted(objects, key=lambda item: item.path)],
        "provenance": json.loads(identities.plain_json(provenance, "provenance")),
    }
    fields["digest"] = _digest(fields)
    write_file(root, NAME, json.dumps(fields, indent=1, allow_nan=False).encode() + b"\n")
    sync_folders(root)
    return Manifest.model_validate(fields)


def read(root: Path) -> Manifest:
    """Read the manifest of a store and check that it is whole.

    Raises
    ------
    DataError
        There is no manifest, it is damaged, or it does not list exactly the files that its layers need.
    """
    path = root / NAME
    if not path.is_file():
        what = "is incomplete: it has no manifest.json" if root.is_dir() else "does not exist"
        raise DataError(f"store {root} {what}", hint="run the same extract command again; it continues where it stopped")
    manifest = records.load(Manifest, path)
    fields = json.loads(path.read_bytes())
    del fields["digest"]
    if _digest(fields) != manifest.digest:
        raise DataError(f"{path} is damaged: its content does not have the digest it states", hint="delete the store and extract it again")
    listed, needed = sorted(item.path for item in manifest.objects), sorted(object_paths(manifest.layout))
    if listed != needed:
        odd = min(set(listed) ^ set(needed), default="a file twice")
        message = f"{path} lists {len(listed)} files, its layers need {len(needed)}: {odd}"
        raise DataError(message, hint="delete the store and extract it again")
    return manifest


def object_paths(layout: StoreLayout) -> list[str]:
    """Return every file that a store of this layout consists of, the manifest aside."""
    arrays = layout.arrays()
    chunks = [array.path(unit) for unit in range(layout.units) for array in arrays]
    return [*chunks, *layout.metadata_files(), IDENTITY_NAME]


def _digest(fields: dict[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(identities.plain_json(fields, "the manifest").encode()).hexdigest()
