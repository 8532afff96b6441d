"""ExtractConfig in, a committed store of every layer's activations out: plan what is missing, then do only that."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import layerscout
from layerscout.cache.identity import SCHEMA
from layerscout.cache.layout import ColumnSpec, StoreLayout, planned_bytes
from layerscout.cache.manifest import object_paths
from layerscout.cache.store import LayerSpec, Store, check_name, default_root, find_store, name_store
from layerscout.cache.trajectories import Trajectories
from layerscout.cache.writer import StoreWriter
from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone, LayerInfo, find, scale_pixels
from layerscout.extract.capture import Capture
from layerscout.extract.clips import RowTable, clips_of, fit
from layerscout.extract.config import ExtractConfig
from layerscout.extract.device import batches_in_threads, check_device, cores, torch_threads
from layerscout.extract.index import RowIndex, unusual
from layerscout.extract.pooling import pixel_features, width
from layerscout.progress import SILENT, Reporter

PILOT_CLIPS = 8
PIXELS = "pixels"  # the control layer that every store carries


@dataclass(frozen=True)
class Plan:
    """What an extraction will do; ``existing`` is the store that already answers it, if any."""

    config: ExtractConfig
    backbone: Backbone
    layers: tuple[LayerInfo, ...]
    specs: tuple[LayerSpec, ...]
    columns: tuple[ColumnSpec, ...]
    identity: dict[str, Any]
    rows: int
    root: Path
    existing: Store | None

    @property
    def bytes(self) -> int:
        return planned_bytes(self.layout)

    @property
    def layout(self) -> StoreLayout:
        return StoreLayout.plan(self.specs, self.rows, self.config.rows_per_chunk, self.columns, self.config.codec)

    def describe(self) -> dict[str, Any]:
        """Rows, bytes, files, memory, time and what exists already, for ``--dry-run``."""
        layout = self.layout
        return {
            "backbone": self.config.backbone,
            "layers": len(self.layers),
            "rows": self.rows,
            "bytes": 0 if self.existing else self.bytes,
            "files": 0 if self.existing else len(object_paths(layout)) + 1,  # the manifest lists all but itself
            "units": layout.units,
            "memory_bytes": 2 * layout.chunk_rows * sum(spec.width * 4 for spec in self.specs),  # one unit computed, one written
            "seconds": 0.0 if self.existing else round(self._seconds(), 1),
            "root": str(self.root),
            "exists": self.existing.id if self.existing else None,
        }

    def _seconds(self) -> float:
        """Estimate the forward passes from one small batch of blank clips; loads the model for it."""
        config = self.config
        capture = Capture(self.backbone.load(torch.device(config.device)), self.layers, self.backbone.grid, self.identity["pooling"])
        blank = torch.zeros((PILOT_CLIPS, len(self.backbone.clip.offsets), *self.backbone.clip.frame_shape), dtype=torch.uint8)
        with torch_threads(1):
            capture(blank)  # the first pass pays for what is set up once
            began = time.monotonic()
            capture(blank)
        return self.rows * (time.monotonic() - began) / PILOT_CLIPS / (cores(config.threads) if config.device == "cpu" else 1)


def plan(config: ExtractConfig) -> Plan:
    """Work out the store's identity and what is missing; writes nothing.

    Raises
    ------
    UsageError
        Unknown backbone, layer or pooling; a device that is not there.
    DataError
        The dataset cannot be read or its frames do not fit the backbone.
    """
    check_device(config.device)
    if config.name:
        check_name(config.name)
    backbone = find(config.backbone, config.backbone_options)
    layers = tuple(backbone.layer(name) for name in config.layers) or backbone.layers
    pooling = config.pooling or backbone.default_pooling
    with Trajectories(config.data) as data:
        rows = len(RowTable(data.lengths))
        probe_frames = probe_input(data.frame_shape)
        fitted = fit(probe_frames, backbone.clip)
        dataset_digest = data.digest()
        columns = RowIndex(data).specs()
    pixel_width = pixel_features(torch.zeros((1, len(backbone.clip.offsets), *backbone.clip.frame_shape), dtype=torch.uint8)).shape[1]
    specs = (
        *(
            LayerSpec(layer.name, width(pooling, backbone.grid, layer.width), config.dtype, "layer", layer.depth, layer.module)
            for layer in layers
        ),
        LayerSpec(PIXELS, pixel_width, config.dtype, "control", -1, ""),
    )
    identity = {
        "schema": SCHEMA,
        "backbone": {"name": backbone.name, "weights_digest": backbone.weights_digest(), **backbone.identity},
        "recipe": {"offsets": list(backbone.clip.offsets), "padding": "repeat first frame", "compute_dtype": "float32"},
        "preprocessing": {"frame_shape": list(backbone.clip.frame_shape), "fingerprint": _fingerprint(fitted)},
        "dataset": {"digest": dataset_digest, "rows": "every frame, in episode order"} | unusual(columns),
        "layers": [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs],
        "pooling": pooling,
        "logical_dtype": config.dtype,
    }
    root = config.root or default_root()
    return Plan(config, backbone, layers, specs, columns, identity, rows, root, find_store(root, identity))


def run(planned: Plan, reporter: Reporter = SILENT) -> Store:
    """Do what the plan lacks and commit; the same command continues after a kill, unit by unit, bit-equal."""
    if planned.existing:
        reporter.say(f"already there: {planned.existing.id}")
    store = planned.existing or _extract(planned, reporter)
    if planned.config.name:
        name_store(planned.root, planned.config.name, store)
    return store


def _extract(planned: Plan, reporter: Reporter) -> Store:
    config, backbone = planned.config, planned.backbone
    writer = StoreWriter.open(
        planned.root, planned.identity, planned.specs, planned.rows, config.rows_per_chunk, planned.columns, config.codec
    )
    pending = writer.pending()
    began, began_cpu, done = time.monotonic(), time.process_time(), 0
    workers = cores(config.threads) if config.device == "cpu" else 1
    with Trajectories(config.data) as data:
        capture = (
            Capture(backbone.load(torch.device(config.device)), planned.layers, backbone.grid, planned.identity["pooling"])
            if pending
            else None
        )
        index = RowIndex(data)

        def one_batch(span: tuple[int, int]) -> dict[str, np.ndarray]:
            assert capture is not None
            clips = torch.from_numpy(clips_of(data, index.table, *span, backbone.clip))
            return {name: pooled.cpu().numpy() for name, pooled in (capture(clips) | {PIXELS: pixel_features(clips)}).items()}

        with ThreadPoolExecutor(1) as background, reporter.task(f"extract {backbone.name}", planned.rows, "rows") as task:
            written = background.submit(lambda: None)
            task.resume(planned.rows - sum(stop - start for start, stop in map(writer.span, pending)))
            for unit in pending:
                start, stop = writer.span(unit)
                # float32 whatever is stored: the writer rounds, and refuses by name what does not fit
                arrays = {spec.name: np.empty((stop - start, spec.width), np.float32) for spec in planned.specs}
                # batches are cut inside a unit, so a resumed run sees the same batches as an unbroken one
                spans = [(low, min(stop, low + config.batch)) for low in range(start, stop, config.batch)]
                for (low, high), features in zip(spans, batches_in_threads(one_batch, spans, workers), strict=True):
                    for name, pooled in features.items():
                        arrays[name][low - start : high - start] = pooled
                    writer.beat()
                    task.advance(high - low)
                written.result()  # one unit is written while the next is computed; never more, so memory is bounded
                written = background.submit(writer.write_unit, unit, arrays, index.columns(start, stop, backbone.clip.offsets))
                done += stop - start
            written.result()
        attributes = dict(data.attributes)
    seconds = time.monotonic() - began
    return writer.commit(
        {
            "layerscout": layerscout.__version__,
            "torch": torch.__version__,
            "backbone": config.backbone,
            "backbone_options": config.backbone_options,
            "data": str(config.data.absolute()),
            "dataset_attributes": attributes,
            "device": config.device,
            "batch": config.batch,
            "threads": workers,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(time.process_time() - began_cpu, 3),
            "rows_per_second": round(done / max(seconds, 1e-9), 1),
        }
    )


def probe_input(frame_shape: tuple[int, ...]) -> np.ndarray:
    """A fixed pseudo-random frame that shows what preprocessing does to this frame shape."""
    if len(frame_shape) != 3:
        raise DataError(f"frames have shape {frame_shape}, expected height x width x channel", hint="collect the dataset again")
    return np.random.Generator(np.random.Philox(0)).integers(0, 256, (1, *frame_shape), dtype=np.uint8)


def _fingerprint(fitted: np.ndarray) -> str:
    scaled = scale_pixels(torch.from_numpy(fitted[None]))
    return f"sha256:{hashlib.sha256(scaled.contiguous().numpy().tobytes()).hexdigest()}"
