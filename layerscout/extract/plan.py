"""ExtractConfig in, a plan out: what the store will be called and hold, what exists already, what the rest costs."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layerscout.cache.dataset.trajectories import BoundDataset, Trajectories
from layerscout.cache.identity import SCHEMA
from layerscout.cache.layout import ColumnSpec, StoreLayout, planned_bytes
from layerscout.cache.manifest import object_paths
from layerscout.cache.naming import check_name
from layerscout.cache.opening import find_store
from layerscout.cache.root import default_root
from layerscout.cache.store import LayerSpec, Store
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone, LayerInfo
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import scale_pixels
from layerscout.extract.clips import RowTable, fit
from layerscout.extract.config import ExtractConfig
from layerscout.extract.device import check_device, cores, torch_threads
from layerscout.extract.index import RowIndex, unusual
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import array_name, pixel_features, width
from layerscout.showing import ShownPlan

PILOT_CLIPS = 8
PIXELS = "pixels"  # the control layer that every store carries
LATENTS = "latents"  # the only layer of a store of latents
LATENT_CHUNK_BYTES = 2**26
LARGEST_LATENT_BATCH = 64  # clips, where the batch is chosen automatically
# what changes a denoiser's activations and not its latents; anything else that a backbone states is taken to change both
NOT_OF_LATENTS = ("sigma", "noise", "future_slots", "text")


@dataclass(frozen=True)
class Plan(ShownPlan):
    """What an extraction will do; ``existing`` is the store that already answers it, if any.

    ``latents`` is the plan of the store that must be filled first, when latents are kept; ``of_latents`` says that this is it.
    """

    config: ExtractConfig
    data: BoundDataset
    backbone: Backbone
    layers: tuple[LayerInfo, ...]
    poolings: tuple[str, ...]
    specs: tuple[LayerSpec, ...]
    columns: tuple[ColumnSpec, ...]
    identity: dict[str, Any]
    rows: int
    rows_per_chunk: int
    root: Path
    existing: Store | None
    latents: Plan | None = None
    of_latents: bool = False

    @property
    def bytes(self) -> int:
        return planned_bytes(self.layout)

    @property
    def layout(self) -> StoreLayout:
        return StoreLayout.plan(self.specs, self.rows, self.rows_per_chunk, self.columns, self.config.codec)

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return getattr(torch, self.config.compute)

    def describe(self) -> dict[str, Any]:
        """Rows, bytes, files, memory, time and what exists already, for ``--dry-run``."""
        layout = self.layout
        latents = {} if self.latents is None else {"latents_bytes": 0 if self.latents.existing else self.latents.bytes}
        return {
            "backbone": self.config.backbone,
            "layers": len(self.layers),
            "poolings": list(self.poolings),
            "rows": self.rows,
            "bytes": 0 if self.existing else self.bytes,
            **latents,
            "files": 0 if self.existing else len(object_paths(layout)) + self._passport_files + 1,  # the manifest lists all but itself
            "units": layout.units,
            "memory_bytes": 2 * layout.chunk_rows * sum(spec.width * 4 for spec in self.specs),  # one unit computed, one written
            "seconds": 0.0 if self.existing else round(self._seconds(), 1),
            "root": str(self.root),
            "exists": self.existing.id if self.existing else None,
        }

    @property
    def _passport_files(self) -> int:
        """Files of passports, if every layer can have one."""
        return 2 * len(self.layers) if self.config.passport_clips and not self.of_latents else 0

    def _seconds(self) -> float:
        """Estimate the forward passes from one small batch of blank clips; loads the model for it."""
        config = self.config
        capture = Capture(self.backbone.load(torch.device(config.device), self.dtype), self.layers, self.backbone.grid, self.poolings)
        clips = PILOT_CLIPS if config.batch == "auto" else min(PILOT_CLIPS, config.batch)
        blank = torch.zeros((clips, len(self.backbone.clip.offsets), *self.backbone.clip.frame_shape), dtype=torch.uint8)
        with torch_threads(1):
            capture(blank)  # the first pass pays for what is set up once
            began = time.monotonic()
            capture(blank)
        return self.rows * (time.monotonic() - began) / clips / (cores(config.threads) if config.device == "cpu" else 1)


def plan(config: ExtractConfig, data: BoundDataset | None = None) -> Plan:
    """Work out the store's identity and what is missing; writes nothing.

    Parameters
    ----------
    data
        The dataset as an earlier plan saw it; otherwise every array of the dataset is read for its digest.

    Raises
    ------
    UsageError
        Unknown backbone, layer or pooling; a device that is not there; latents of a model that has none.
    DataError
        The dataset cannot be read or its frames do not fit the backbone.
    """
    check_device(config.device)
    if config.name:
        check_name(config.name)
    backbone = find_backbone(config.backbone, config.backbone_options)
    if config.latents and backbone.latent_shape is None:
        raise UsageError(f"backbone '{backbone.name}' has no latents to keep", hint="leave --latents out; denoisers with a VAE have them")
    layers = tuple(backbone.layer(name) for name in config.layers) or backbone.layers
    poolings = config.pooling or (backbone.default_pooling,)
    with Trajectories(config.data, data) as opened:
        rows = len(RowTable(opened.lengths))
        fitted = fit(probe_input(opened.frame_shape), backbone.clip)
        bound = data or opened.bound()
        columns = RowIndex(opened).specs()
    pixels = torch.zeros((1, len(backbone.clip.offsets), *backbone.clip.frame_shape), dtype=torch.uint8)
    specs = (
        *(
            LayerSpec(
                array_name(layer.name, name, len(poolings) == 1),
                width(name, backbone.grid_of(layer), layer.width, backbone.class_token),
                config.dtype,
                "layer",
                layer.depth,
                layer.module,
            )
            for layer in layers
            for name in poolings
        ),
        LayerSpec(PIXELS, pixel_features(pixels).shape[1], config.dtype, "control", -1, ""),
    )
    identity = {
        "schema": SCHEMA,
        "backbone": {"name": backbone.name, "weights_digest": backbone.weights_digest(), **backbone.identity},
        "recipe": {"offsets": list(backbone.clip.offsets), "padding": "repeat first frame", "compute_dtype": config.compute}
        | ({"compile": True} if config.compile else {}),
        "preprocessing": {"frame_shape": list(backbone.clip.frame_shape), "fingerprint": _fingerprint(fitted)},
        "dataset": {"digest": bound.digest, "rows": "every frame, in episode order"} | unusual(columns),
        "layers": _stated(specs),
        "pooling": poolings[0] if len(poolings) == 1 else list(poolings),
        "logical_dtype": config.dtype,
    }
    root = config.root or default_root()
    found = find_store(root, identity)
    whole = Plan(config, bound, backbone, layers, poolings, specs, columns, identity, rows, config.rows_per_chunk, root, found)
    return replace(whole, latents=_latents(whole)) if config.latents and found is None else whole


def _latents(whole: Plan) -> Plan:
    """Plan the store of a denoiser's latents: float32, without what does not change them, so that every noise level reads the same."""
    config, identity = whole.config, whole.identity
    assert whole.backbone.latent_shape is not None
    size = int(np.prod(whole.backbone.latent_shape))
    specs = (LayerSpec(LATENTS, size, "float32", "layer", 0, "vae"),)
    model = {key: value for key, value in identity["backbone"].items() if key not in NOT_OF_LATENTS}
    own = identity | {
        "backbone": model | {"part": "latents", "latent_shape": list(whole.backbone.latent_shape)},
        "recipe": {key: value for key, value in identity["recipe"].items() if key != "compile"},
        "layers": _stated(specs),
        "pooling": "none",
        "logical_dtype": "float32",
    }
    # a chunk holds whole batches, so that latents are computed in the batches that read them
    batch = LARGEST_LATENT_BATCH if config.batch == "auto" else config.batch
    chunk = min(config.rows_per_chunk, max(1, LATENT_CHUNK_BYTES // (4 * size) // batch) * batch)
    return replace(whole, specs=specs, identity=own, rows_per_chunk=chunk, existing=find_store(whole.root, own), of_latents=True)


def _stated(specs: tuple[LayerSpec, ...]) -> list[dict[str, Any]]:
    return [{"name": spec.name, "module": spec.module, "width": spec.width, "role": spec.role} for spec in specs]


def probe_input(frame_shape: tuple[int, ...]) -> np.ndarray:
    """A fixed pseudo-random frame that shows what preprocessing does to this frame shape."""
    if len(frame_shape) != 3:
        raise DataError(f"frames have shape {frame_shape}, expected height x width x channel", hint="collect the dataset again")
    return np.random.Generator(np.random.Philox(0)).integers(0, 256, (1, *frame_shape), dtype=np.uint8)


def _fingerprint(fitted: np.ndarray) -> str:
    scaled = scale_pixels(torch.from_numpy(fitted[None]))
    return f"sha256:{hashlib.sha256(scaled.contiguous().numpy().tobytes()).hexdigest()}"
