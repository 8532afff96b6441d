"""How long `layerscout store ls` takes on a thousand stores: their manifests and identities are read, and nothing else.

    python benchmarks/store_listing.py [--quick] [--json]

Each store has 26 layers of 8,192 rows, so its manifest lists 103 files. 200 stores with --quick.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import harness
from store_io import identity_of

from layerscout.cache import manifest as manifests
from layerscout.cache.catalog.entries import list_entries
from layerscout.cache.identity import canonical_json, identity_digest
from layerscout.cache.layout import StoreLayout
from layerscout.cache.store import LayerSpec

TURNS = 5


def write_stores(root: Path, count: int) -> None:
    """Write manifests and identities of stores whose data is not there."""
    specs = [LayerSpec(f"blocks.{i}", 1024, "float16", "layer", i, f"blocks.{i}") for i in range(26)]
    identity = identity_of(specs)
    item = {"size": 1000, "crc32c": 123456789, "sha256": "ab" * 32}
    fields = {
        "format": "layerscout-store/1",
        "created": "2026-01-01T00:00:00+00:00",
        "rows": 8192,
        "layers": [vars(spec) for spec in specs],
    }
    fields |= {"identity_digest": identity_digest(identity), "provenance": {}}
    fields |= {"objects": [{"path": path} | item for path in manifests.object_paths(StoreLayout.plan(specs, 8192))]}
    for number in range(count):
        folder = root / "stores" / f"ls1-{number:032x}"
        folder.mkdir(parents=True)
        own = fields | {"store_id": folder.name}
        (folder / "manifest.json").write_text(json.dumps(own | {"digest": manifests.digest_of(own)}, indent=1))
        (folder / "identity.json").write_bytes(canonical_json(identity))


def main() -> None:
    chosen = harness.options(__doc__)
    count, seconds = 200 if chosen.quick else 1000, []
    with tempfile.TemporaryDirectory(dir=".") as folder:
        write_stores(Path(folder), count)
        for _ in range(TURNS):
            began = time.perf_counter()
            assert len(list_entries(Path(folder))) == count
            seconds.append(time.perf_counter() - began)
    figures = {"stores": count, "seconds_a_thousand": 1000 / count * statistics.median(seconds)}
    harness.finish("store_listing", (), figures, chosen.json, at_most={"seconds_a_thousand": 1.0})


if __name__ == "__main__":
    main()
