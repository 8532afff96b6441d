"""ExtractConfig in, a plan out: what the store will be called and hold, what exists already, what the rest costs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layerscout.cache.dataset.trajectories import BoundDataset, Trajectories
from layerscout.cache.identity import SCHEMA, store_id
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
from layerscout.extract.checkpoints.checking import check_weights
from layerscout.extract.clips import ClipTable, fit
from layerscout.extract.config import ExtractConfig
from layerscout.extract.device import check_convolutions, check_device
from layerscout.extract.index import RowIndex, unusual
from layerscout.extract.passes.noise_gap import check_denoiser, recipe
from layerscout.extract.passes.pilot import seconds_of_passes
from layerscout.extract.passes.pooling import array_name, pixel_features, pooled_width
from layerscout.progress import Reporter
from layerscout.showing import ShownPlan

PIXELS = "pixels"  # the control layer that every store carries
ERROR_COLUMN = ColumnSpec("denoising_error", "float32")  # of every row, where it is asked for
LATENTS = "latents"  # the only layer of a store of latents
LATENT_CHUNK_BYTES = 2**26
LARGEST_LATENT_BATCH = 64  # clips, where the batch is chosen automatically
UNNAMED = "known when the weights are here: the hub states no digest of some of their files"
# what changes a denoiser's activations and not its latents; anything else that a backbone states is taken to change both
NOT_OF_LATENTS = ("sigma", "noise", "future_slots", "text")


@dataclass(frozen=True)
class ExtractPlan(ShownPlan):
    """What an extraction will do; ``existing`` is the store that already answers it, if any.

    ``latents`` is the plan of the store that must be filled first, when latents are kept; ``of_latents`` says that this is it.
    While the hub states no digest of weights that are still to be downloaded, ``identity`` lacks it and names no store.

    Examples
    --------
    A plan loads no model and writes nothing. Here ``data`` is a dataset of two episodes of 4 and 2 steps, which have 5 and 3 frames:

    >>> planned = plan(ExtractConfig(backbone="tiny", data=data, root=root, layers=("blocks.0", "blocks.5")))
    >>> planned.rows, [(spec.name, spec.width) for spec in planned.specs]
    (8, [('blocks.0', 1024), ('blocks.5', 1024), ('pixels', 576)])
    >>> planned.existing, root.exists()
    (None, False)

    What changes numbers makes another store; how many clips are computed at once does not:

    >>> def named(**changes):
    ...     return store_id(plan(planned.config.model_copy(update=changes), planned.data).identity)
    >>> named(batch=2) == store_id(planned.identity), named(pooling=("all/mean",)) == store_id(planned.identity)
    (True, False)
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
    latents: ExtractPlan | None = None
    of_latents: bool = False

    @property
    def bytes(self) -> int:
        """Bytes that the store will need at most: arrays and index columns uncompressed, and the JSON beside them."""
        return planned_bytes(self.layout)

    @property
    def layout(self) -> StoreLayout:
        """How many rows, chunks and shards each array of the store will have."""
        return StoreLayout.plan(self.specs, self.rows, self.rows_per_chunk, self.columns, self.config.codec)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type in which the model computes; what is stored may be another."""
        return getattr(torch, self.config.compute)

    @property
    def named(self) -> bool:
        """Whether the store's id is known."""
        return self.identity["backbone"]["weights_digest"] is not None

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Rows, bytes, files, memory, what exists already and what would be downloaded, for ``--dry-run``.

        Nothing is loaded, downloaded or written, unless ``measure`` asks for the seconds of the forward passes: they are estimated from
        one small batch, so the model is loaded.
        """
        layout = self.layout
        latents = {} if self.latents is None else {"latents_bytes": 0 if self.latents.existing else self.latents.bytes}
        facts = {
            "backbone": self.config.backbone,
            "store": store_id(self.identity) if self.named else UNNAMED,
            "layers": len(self.layers),
            "poolings": list(self.poolings),
            "rows": self.rows,
            "bytes": 0 if self.existing else self.bytes,
            **latents,
            "files": 0 if self.existing else len(object_paths(layout)) + self._passport_files + 2,  # and the manifest and the card
            "units": layout.units,
            "memory_bytes": 2 * layout.chunk_rows * sum(spec.width * 4 for spec in self.specs),  # one unit computed, one written
            **self._weights(),
            "root": str(self.root),
            "exists": self.existing.id if self.existing else None,
        }
        return facts | ({"seconds": 0.0 if self.existing else round(self._seconds(), 1)} if measure else {})

    def _weights(self) -> dict[str, Any]:
        """What of a checkpoint is read, and how much of it is not here yet."""
        weights = self.backbone.weights
        if weights is None:
            return {}
        return {"weights_bytes": weights.bytes, "download_bytes": 0 if self.existing else weights.missing_bytes()}

    def _seconds(self) -> float:
        return seconds_of_passes(self.config, self.backbone, self.layers, self.poolings, self.rows, self.dtype)

    @property
    def _passport_files(self) -> int:
        """Files of passports, if every layer can have one."""
        return 2 * len(self.layers) if self.config.passport_clips and not self.of_latents else 0


def plan(config: ExtractConfig, data: BoundDataset | None = None) -> ExtractPlan:
    """Work out the store's identity and what is missing; loads no model, downloads nothing, writes nothing.

    Weights on this machine are hashed; of those that are still on the hub, its listing tells sizes and digests, and their headers
    are read.

    Parameters
    ----------
    data
        The dataset as an earlier plan saw it; otherwise every array of the dataset is read for its digest.

    Raises
    ------
    UsageError
        Unknown backbone, layer or pooling; a device that is not there, or that is wrong in this type; latents of a model that has none.
    DataError
        The dataset cannot be read or its frames do not fit the backbone; or the checkpoint's weights are incomplete, in a format
        that is not read, or not those of its configuration.
    """
    check_device(config.device)
    check_convolutions(config.device, getattr(torch, config.compute))
    if config.name:
        check_name(config.name)
    return _planned(config, find_backbone(config.backbone, config.backbone_options), data)


def with_weights_here(planned: ExtractPlan, reporter: Reporter) -> ExtractPlan:
    """Download what a plan's model lacks, and return the plan with the identity that it has now.

    Raises
    ------
    BudgetError
        The disk has no room for the weights.
    DataError
        The hub does not give them, or gives others than it said.
    """
    weights = planned.backbone.weights
    if weights is None or planned.existing or (planned.named and not weights.missing_bytes()):
        return planned
    weights.fetch(reporter)
    again = _planned(planned.config, planned.backbone, planned.data)
    if planned.named and again.identity != planned.identity:
        raise DataError(f"the hub gave other weights of {planned.config.backbone} than it had listed", hint="run the same command again")
    return again


def _planned(config: ExtractConfig, backbone: Backbone, data: BoundDataset | None) -> ExtractPlan:
    if config.latents and backbone.latent_shape is None:
        raise UsageError(f"backbone '{backbone.name}' has no latents to keep", hint="leave --latents out; denoisers with a VAE have them")
    if config.denoising_error:
        check_denoiser(backbone)
        if config.latents:
            raise UsageError("latents and a denoising error cannot be kept in one command", hint="leave one of them out")
    layers = tuple(backbone.layer(name) for name in config.layers) or backbone.layers
    poolings = config.pooling or (backbone.default_pooling,)
    with Trajectories(config.data, data) as opened:
        rows = len(ClipTable(opened.lengths))
        fitted = fit(probe_input(opened.frame_shape), backbone.clip)
        bound = data or opened.bound()
        recorded = RowIndex(opened).specs()
    pixels = torch.zeros((1, len(backbone.clip.offsets), *backbone.clip.frame_shape), dtype=torch.uint8)
    specs = (
        *(
            LayerSpec(
                array_name(layer.name, name, len(poolings) == 1),
                pooled_width(name, backbone.grid_of(layer), layer.width, backbone.class_token),
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
        "backbone": {"name": backbone.name, "weights_digest": _digest(backbone), **backbone.identity},
        "recipe": {"offsets": list(backbone.clip.offsets), "padding": "repeat first frame", "compute_dtype": config.compute}
        | ({"compile": True} if config.compile else {})
        | ({"denoising_error": recipe(backbone)} if config.denoising_error else {}),
        "preprocessing": {"frame_shape": list(backbone.clip.frame_shape), "fingerprint": _fingerprint(fitted)},
        "dataset": {"digest": bound.digest, "rows": "every frame, in episode order"} | unusual(recorded),
        "layers": _stated(specs),
        "pooling": poolings[0] if len(poolings) == 1 else list(poolings),
        "logical_dtype": config.dtype,
    }
    columns = recorded + ((ERROR_COLUMN,) if config.denoising_error else ())  # that one is named by its recipe
    root = config.root or default_root()
    found = _existing(root, identity)
    if found is None and backbone.weights is not None:
        check_weights(backbone.weights)
    whole = ExtractPlan(config, bound, backbone, layers, poolings, specs, columns, identity, rows, config.rows_per_chunk, root, found)
    return replace(whole, latents=_latents(whole)) if config.latents and found is None else whole


def _latents(whole: ExtractPlan) -> ExtractPlan:
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
    return replace(whole, specs=specs, identity=own, rows_per_chunk=chunk, existing=_existing(whole.root, own), of_latents=True)


def _digest(backbone: Backbone) -> str | None:
    return backbone.weights_digest() if backbone.weights is None else backbone.weights.digest()


def _existing(root: Path, identity: dict[str, Any]) -> Store | None:
    return None if identity["backbone"]["weights_digest"] is None else find_store(root, identity)


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
