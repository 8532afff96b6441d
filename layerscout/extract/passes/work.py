"""A plan in, units of its store out: the model is loaded once, rows are read, run and collected unit by unit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, nullcontext

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.store import Store
from layerscout.errors import DataError
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.backbones.networks.latent_backbone import LatentBackbone
from layerscout.extract.clips import clips_of
from layerscout.extract.device import cores, torch_threads
from layerscout.extract.index import RowIndex
from layerscout.extract.passes.autotune import MOST, find_batch, power_of_two
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.compiling import compiling
from layerscout.extract.passes.measure import Meter
from layerscout.extract.passes.noise_gap import NoiseGap
from layerscout.extract.passes.pipeline import CudaTransfer, DeviceTransfer, HostTransfer, Inputs, Span, batch_spans, features_in_order
from layerscout.extract.passes.pooling import pixel_features
from layerscout.extract.passes.row_check import ROWS, check_compiled, check_rows
from layerscout.extract.plan import ERROR_COLUMN, LARGEST_LATENT_BATCH, LATENTS, PIXELS, ExtractPlan

Packed = Float[np.ndarray, "clip packed"]
Arrays = dict[str, Float[np.ndarray, "row pooled"]]
HINTS = {
    "float16": "float16 ends at 65,504: --compute bfloat16, or float32",
    "bfloat16": "--compute float32",
    "float32": "the weights may be damaged: download the checkpoint again",
}


class Extractor:
    """A loaded model with everything that turns rows of a plan into arrays.

    Parameters
    ----------
    latents
        Store of the same rows' latents, to start from instead of the frames.

    Attributes
    ----------
    batch, workers
        Clips a pass, and passes side by side.
    meter
        What was measured since ``units`` was last called.
    """

    def __init__(self, planned: ExtractPlan, data: Trajectories, latents: Store | None = None) -> None:
        config = planned.config
        self.plan, self.index = planned, RowIndex(data)
        self.data, self._latents = data, latents
        self._device = torch.device(config.device)
        self._loaded = planned.backbone.load(self._device, planned.dtype)
        self._capture = Capture(self._loaded, planned.layers, planned.backbone.grid, planned.poolings)
        self._compiled = config.compile and not planned.of_latents
        # whole batches side by side keep all cores busy; compiled code runs one pass at a time, on all of them
        on_cores = cores(config.threads) if self._device.type == "cpu" else 1
        self.workers, self._torch_threads = (1, on_cores) if self._compiled else (on_cores, 1)
        self._columns = {LATENTS: slice(0, planned.specs[0].width)} if planned.of_latents else self._capture.columns()
        self._pixels = next((spec.width for spec in planned.specs if spec.name == PIXELS), 0)
        self.batch = self._find_batch() if config.batch == "auto" else config.batch
        if planned.backbone.own and not planned.of_latents:
            self._check_own()
        if self._compiled:  # for one shape only, so after the batch is known
            self._capture.compile(planned.backbone.layers)
        self.meter = Meter(self._device, 0)
        self._gap = NoiseGap(planned.backbone, device=config.device) if config.denoising_error else None

    def more_columns(self, start: int, stop: int) -> dict[str, Float[np.ndarray, " row"]]:
        """Return the columns of rows [start, stop) that the model gives beside its activations."""
        if self._gap is None:
            return {}
        spans, clip = batch_spans(start, stop, self.batch), self._gap.clip
        errors = [self._gap(clips_of(self.data, self.index.table, low, high, clip)) for low, high in spans]
        return {ERROR_COLUMN.name: np.concatenate(errors)}

    def close(self) -> None:
        """Remove what captures activations; the model stays loaded for others."""
        self._capture.close()

    @property
    def loaded(self) -> LoadedBackbone | None:
        """The model, unless it was compiled: hooks that come later would not fire in it."""
        return None if self._compiled else self._loaded

    def units(self, spans: Sequence[Span], advance: Callable[[int], None] = lambda rows: None) -> Generator[Arrays]:
        """Yield the arrays of each unit, given as its span of rows; float32 whatever is stored.

        Batches run on across units, so the device does not wait at their borders.

        Parameters
        ----------
        advance
            Hears how many rows each batch had.

        Raises
        ------
        DataError
            An activation is not finite, or the model's layers are not what its description says.
        MissingExtraError
            The model should be compiled and torch.compile does not work here.
        """
        batches = [span for start, stop in spans for span in batch_spans(start, stop, self.batch)]
        self.meter = Meter(self._device, len(batches))
        numbers = itertools.count()

        def compute(inputs: Inputs) -> Tensor:
            return self._compute(inputs, next(numbers))

        transfer: DeviceTransfer = CudaTransfer(compute, self._device) if self._device.type == "cuda" else HostTransfer(compute)
        with (
            torch_threads(self._torch_threads),
            compiling() if self._compiled else nullcontext(),
            closing(features_in_order(batches, self._read, transfer, self.workers)) as flow,
        ):
            for start, stop in spans:
                arrays = {spec.name: np.empty((stop - start, spec.width), np.float32) for spec in self.plan.specs}
                for low, high in batch_spans(start, stop, self.batch):
                    _, packed = next(flow)
                    self._unpack(packed[: high - low], low, arrays, start)
                    self.meter.look()
                    advance(high - low)
                yield arrays

    def _read(self, span: Span) -> Inputs:
        """The clips of some rows, and their latents where those are kept."""
        parts = [torch.from_numpy(clips_of(self.data, self.index.table, *span, self.plan.backbone.clip))]
        if self._latents is not None:
            # read as single rows, because then a chunk is verified once and not for every batch
            rows = self._latents.layer(LATENTS).rows(np.arange(*span))
            parts.append(torch.from_numpy(rows).view(len(rows), *(self.plan.backbone.latent_shape or ())))
        lacking = self.batch - len(parts[0])
        if self._compiled and lacking:  # compiled for one shape: the last row stands in
            parts = [torch.cat([part, part[-1:].expand(lacking, *part.shape[1:])]) for part in parts]
        return tuple(parts)

    @torch.inference_mode()
    def _compute(self, inputs: Inputs, number: int) -> Tensor:
        clip, *latents = inputs
        if self.plan.of_latents:
            assert isinstance(self._loaded, LatentBackbone)
            return self._loaded.encode(clip.to(self._device)).flatten(1)
        shown, run = (latents[0], self._denoise) if latents else (clip, None)

        def captured() -> Tensor:
            return self._capture.packed(shown, run=run, room=self._pixels)

        if number == 0 and self._compiled:
            self._check_compiled(captured)
        packed = (
            self.meter.compare(number, len(clip), lambda: self._capture.bare(shown, run), captured)
            if number in self.meter.compared
            else captured()
        )
        packed[:, packed.shape[1] - self._pixels :] = pixel_features(clip)
        return packed

    def _check_own(self) -> None:
        """Refuse a module whose rows depend on more than their clips, by rows that lie far apart."""
        rows = sorted({int(row) for row in np.linspace(0, self.plan.rows - 1, ROWS)})
        clips = np.concatenate([clips_of(self.data, self.index.table, row, row + 1, self.plan.backbone.clip) for row in rows])
        if len(clips) > 1:
            with torch_threads(self._torch_threads):
                check_rows(self._capture, torch.from_numpy(clips), f"own backbone '{self.plan.backbone.name}'", self.plan.dtype)

    def _check_compiled(self, captured: Callable[[], Tensor]) -> None:
        compiled = captured()
        with torch.compiler.set_stance("force_eager"):
            eager = captured()
        check_compiled(eager, compiled, self._columns, self.plan.dtype)

    def _denoise(self, latents: Tensor) -> None:
        assert isinstance(self._loaded, LatentBackbone)
        self._loaded.denoise(latents)

    def _unpack(self, packed: Packed, row: int, arrays: Arrays, first: int) -> None:
        """Put a batch's features, which begin at ``row``, into the arrays of a unit, which begins at ``first``."""
        if not np.isfinite(packed).all():
            raise self._not_finite(packed, row)
        rows = slice(row - first, row - first + len(packed))
        for name, place in self._columns.items():
            arrays[name][rows] = packed[:, place]
        if self._pixels:
            arrays[PIXELS][rows] = packed[:, -self._pixels :]

    def _not_finite(self, packed: Packed, row: int) -> DataError:
        """Name the first layer that is not finite: those after it may only have been spoilt by it."""
        column = int(np.flatnonzero(~np.isfinite(packed).all(axis=0))[0])
        clip = int(np.flatnonzero(~np.isfinite(packed[:, column]))[0])
        name = next((name for name, place in self._columns.items() if place.start <= column < place.stop), PIXELS)
        compute = self.plan.config.compute
        return DataError(f"layer '{name}' has {packed[clip, column]} at row {row + clip}, computed in {compute}", hint=HINTS[compute])

    def _find_batch(self) -> int:
        clip = self.plan.backbone.clip
        most = MOST[self._device.type]
        if self.plan.config.latents:  # both stores must be computed in the same batches
            most = min(most, LARGEST_LATENT_BATCH)

        def run(count: int) -> None:
            self._capture.packed(torch.zeros((count, len(clip.offsets), *clip.frame_shape), dtype=torch.uint8))

        with torch_threads(self._torch_threads):
            return find_batch(run, self._device, self.workers, min(most, 2 * power_of_two(self.plan.rows)))
