"""The commit of a store: every file with size and digests, written last. Without a manifest there is no store."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from layerscout import __version__
from layerscout.cache import identity as identities
from layerscout.cache import records
from layerscout.cache.arrays import NAME as LAYER
from layerscout.cache.arrays import Codec, ColumnSpec, LayerSpec
from layerscout.cache.durable import sync_folders
from layerscout.cache.files import LARGEST_DOCUMENT, StoredObject, read_document, write_file
from layerscout.cache.layout import STANDARD_COLUMNS, StoreLayout
from layerscout.cache.records import Record
from layerscout.errors import DataError, raise_shortage

REPAIR = "delete the store and extract it again"
NAME = "manifest.json"
IDENTITY_NAME = "identity.json"
CARD_NAME = "README.md"  # for people; stores of before 0.2 have none
PASSPORTS = "passports"  # folder of what is needed to run single blocks: two files a block, for as many blocks as there are
PASSPORT = re.compile(rf"{PASSPORTS}/({LAYER.pattern})\.(json|safetensors)")
LARGEST_PASSPORT = 2**30  # bytes of its tensors: what a store from a stranger may make a reader allocate at once


class Manifest(Record):
    """The commit of a store: every file with its digests, and how the store came to be. ``digest`` covers all other fields."""

    format: Literal["layerscout-store/1"] = "layerscout-store/1"
    store_id: str
    identity_digest: str
    run_key: str
    created: str  # UTC, ISO 8601
    written_by: str
    rows: int
    rows_per_chunk: int
    layers: tuple[LayerSpec, ...]
    columns: tuple[ColumnSpec, ...] = STANDARD_COLUMNS  # stores of before 0.2 do not list them
    codec: Codec = "none"
    objects: tuple[StoredObject, ...]
    provenance: dict[str, Any]  # what made the store without changing its numbers: command, host, versions, times
    digest: str

    @property
    def passports(self) -> tuple[str, ...]:
        """Return the names of the layers whose passports the store keeps."""
        found = (PASSPORT.fullmatch(item.path) for item in self.objects)
        return tuple(match[1] for match in found if match and match[2] == "json")

    @property
    def layout(self) -> StoreLayout:
        """Arrays, chunks and files as they follow from what the manifest states."""
        return StoreLayout.plan(self.layers, self.rows, self.rows_per_chunk, self.columns, self.codec)


def write_manifest(
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
        "columns": [vars(column) for column in layout.columns],
        "codec": layout.codec,
        "objects": [item.model_dump() for item in sorted(objects, key=lambda item: item.path)],
        "provenance": json.loads(identities.plain_json(provenance, "provenance")),
    }
    fields["digest"] = digest_of(fields)
    content = manifest_text(fields)
    if len(content) > LARGEST_DOCUMENT:
        raise DataError(
            f"the manifest would have {len(content):,} bytes, at most {LARGEST_DOCUMENT:,} are read", hint="give less provenance"
        )
    write_file(root, NAME, content)
    sync_folders(root)
    return Manifest.model_validate(fields)


def read_manifest(root: Path) -> Manifest:
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
    try:
        content = read_document(path)
    except OSError as error:
        raise_shortage(error, path)
        raise DataError(f"{path} cannot be read: {error.strerror}", hint=REPAIR) from None
    return parse_manifest(content, path)


def parse_manifest(content: bytes, path: Path | str) -> Manifest:
    """Check the bytes of a manifest before anything they say is used; ``path`` is what errors call it.

    Raises
    ------
    DataError
        It is damaged, or lists other files than its layers need, or sizes that they cannot have.
    """
    fields = records.parse_json(content, path)
    try:
        manifest = records.validate_record(Manifest, fields, path)
        if digest_of({key: value for key, value in fields.items() if key != "digest"}) != manifest.digest:
            raise DataError(f"{path} is damaged: its content does not have the digest it states", hint=REPAIR)
        check_objects(manifest, path)
    except DataError as error:
        if str(path) in str(error):
            raise
        raise DataError(f"{path} is no manifest: {error}", hint=REPAIR) from None
    except (ValueError, OverflowError, RecursionError) as error:  # numbers of thousands of digits, or nested without end
        raise DataError(f"{path} is damaged: {error}", hint=REPAIR) from None
    return manifest


def check_objects(manifest: Manifest, path: Path | str) -> None:
    """Refuse a manifest that does not list exactly the files its layers need, each with a size that the file can have.

    A store may come from a stranger, so nothing is allocated or enumerated before its count is known to be that of the list.
    """
    layout = manifest.layout
    count = layout.units * len(layout.arrays()) + len(layout.metadata_paths()) + 1
    passports = [item for item in manifest.objects if is_passport(item.path)]
    own = [item for item in manifest.objects if not is_passport(item.path)]
    if card := next((item for item in own if item.path == CARD_NAME), None):
        own.remove(card)  # one; a second is a file listed twice
    if count != len(own):
        raise DataError(f"{path} lists {len(own)} files, its layers need {count}", hint=REPAIR)
    listed, needed = sorted(item.path for item in own), sorted(object_paths(layout))
    if listed != needed:
        odd = min(set(listed) ^ set(needed), default="a file twice")
        raise DataError(f"{path} does not list the files that its layers need: {odd}", hint=REPAIR)
    sizes = {item.path: item.size for item in manifest.objects}
    documents = (*layout.metadata_paths(), IDENTITY_NAME, *([CARD_NAME] if CARD_NAME in sizes else []))
    if large := next((path for path in documents if sizes[path] > LARGEST_DOCUMENT), None):
        raise DataError(f"{path} states {sizes[large]:,} bytes for {large}, more than such a file has", hint=REPAIR)
    for array in layout.arrays():
        for unit in range(layout.units):
            size = sizes[array.path(unit)]
            if not 0 < size <= array.most_file_bytes or (layout.codec == "none" and size != array.most_file_bytes):
                message = f"{path} states {size} bytes for {array.path(unit)}, which has {array.most_file_bytes}"
                raise DataError(message, hint=REPAIR)
    _check_passports(passports, path)


def _check_passports(items: Sequence[StoredObject], path: Path | str) -> None:
    layers = set()
    for item in items:
        match = PASSPORT.fullmatch(item.path)
        most = LARGEST_DOCUMENT if item.path.endswith(".json") else LARGEST_PASSPORT
        if match is None or not 0 < item.size <= most:
            raise DataError(f"{path} lists {item.path} of {item.size:,} bytes, which is no passport", hint=REPAIR)
        layers.add(match[1])
    if sorted(item.path for item in items) != sorted(name for layer in layers for name in passport_paths(layer)):
        raise DataError(f"{path} lists half a passport, or one twice", hint=REPAIR)


def is_passport(path: str) -> bool:
    """Tell whether a file of a store belongs to a passport, by its folder alone."""
    return path.startswith(f"{PASSPORTS}/")


def passport_paths(layer: str) -> tuple[str, str]:
    """Return the two files of a layer's passport: what it says, and its tensors."""
    return f"{PASSPORTS}/{layer}.json", f"{PASSPORTS}/{layer}.safetensors"


def object_paths(layout: StoreLayout) -> list[str]:
    """Return every file that a store of this layout must have, the manifest aside."""
    arrays = layout.arrays()
    chunks = [array.path(unit) for unit in range(layout.units) for array in arrays]
    return [*chunks, *layout.metadata_paths(), IDENTITY_NAME]


def manifest_text(fields: dict[str, Any]) -> bytes:
    """Indented JSON in UTF-8 with a last line break; NaN is refused."""
    return json.dumps(fields, indent=1, allow_nan=False).encode() + b"\n"


def digest_of(fields: dict[str, Any]) -> str:
    """Return "sha256:..." over plain data, whatever the order of its keys and however it is spelled."""
    return "sha256:" + hashlib.sha256(identities.plain_json(fields, "the manifest").encode()).hexdigest()
