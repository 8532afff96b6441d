"""One store's folder in, everything that is known about it out, from its manifest, its identity and the root around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerscout.cache import manifest as manifests
from layerscout.cache.catalog.references import references
from layerscout.cache.remote.mirror import open_mirror
from layerscout.cache.root import ORIGIN_NAME, PARTIALS, tree_bytes
from layerscout.cache.store import check_files


def store_details(root: Path, path: Path) -> dict[str, Any]:
    """Return identity, manifest, layers with their bytes, index columns, names and pin of a store. No data is read.

    Raises
    ------
    DataError
        The manifest or the identity is missing or damaged.
    """
    manifest = manifests.read_manifest(path)
    identity = check_files(path, manifest, ())
    sizes = {item.path: item.size for item in manifest.objects}
    layout, standing = manifest.layout, references(root)
    held = {name: sum(sizes[array.path(unit)] for unit in range(layout.units)) for name, array in layout.layers().items()}
    mirror = open_mirror(path.parents[1], path.name) if (path / ORIGIN_NAME).exists() else None
    pin = standing.pins.get(manifest.store_id)
    return {
        "store": manifest.store_id,
        "path": str(path),
        "mirror_of": mirror.url if mirror else None,
        "layers_here": list(mirror.layers_here if mirror else layout.layers()),
        "names": list(standing.names.get(manifest.store_id, ())),
        "pinned": manifest.store_id in standing.pins,
        "pin_reason": pin.reason if pin else None,
        "created": manifest.created,
        "written_by": manifest.written_by,
        "rows": manifest.rows,
        "rows_per_chunk": manifest.rows_per_chunk,
        "units": layout.units,
        "files": len(manifest.objects) + 1,
        "bytes": sum(sizes.values()) + (path / manifests.NAME).stat().st_size,
        "bytes_on_disk": tree_bytes(path),
        "partial_sums_bytes": tree_bytes(root / PARTIALS / manifest.store_id),
        "codec": manifest.codec,
        "passports": list(manifest.passports),
        "columns": [column.name for column in manifest.columns],
        "layers": [vars(spec) | {"bytes": held[spec.name]} for spec in manifest.layers],
        "identity_digest": manifest.identity_digest,
        "run_key": manifest.run_key,
        "identity": identity,
        "provenance": manifest.provenance,
    }
