"""Passes with and without capture in, what the tool says of its own speed out: throughput, overhead, memory, use of the GPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from layerscout.memory import peak_memory

Result = TypeVar("Result")
MOST_COMPARED = 5  # batches
ONE_IN = 50  # batches: what comparing costs stays below 2 %
LOOK_SECONDS = 1.0  # between two looks at the GPU


class Meter:
    """Follows one extraction. Batches are numbered from 0 in the order they are computed; the first, which sets things up, is not timed."""

    def __init__(self, device: torch.device, batches: int) -> None:
        self._device = device
        self.compared = frozenset(range(1, 1 + min(MOST_COMPARED, batches // ONE_IN)))
        self._pairs: list[tuple[int, float, float]] = []  # rows, seconds bare, seconds captured
        self._use: list[int] = []
        self._looked = float("-inf")
        self._began = time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def compare(self, number: int, rows: int, bare: Callable[[], None], captured: Callable[[], Result]) -> Result:
        """Run a batch both ways, turn about first, and return the captured one's result."""
        if number % 2:
            without, _ = self._timed(bare)
            with_, result = self._timed(captured)
        else:
            with_, result = self._timed(captured)
            without, _ = self._timed(bare)
        self._pairs.append((rows, without, with_))
        return result

    def look(self) -> None:
        """Note how busy the GPU is; cheap enough for every batch."""
        if self._device.type != "cuda" or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            self._use.append(torch.cuda.utilization(self._device))
        except Exception:  # without NVIDIA's library, or where it may not be asked; its errors have no common class
            self._looked = float("inf")

    def figures(self, rows: int, workers: int) -> dict[str, Any]:
        """What was measured over ``rows`` rows, ``workers`` batches at a time; None where nothing could be.

        ``bare_rows_per_second`` is what the forward passes alone would reach, ``capture_overhead`` what hooks and pooling add
        to a pass, ``overhead`` what the whole of reading, capturing and writing adds, both as shares of the bare pass.
        """
        rate = rows / max(time.monotonic() - self._began, 1e-9)
        bare = statistics.median(count / seconds for count, seconds, _ in self._pairs) * workers if self._pairs else None
        captured = statistics.median(with_ / without for _, without, with_ in self._pairs) - 1 if self._pairs else None
        cuda = self._device.type == "cuda"
        return {
            "rows_per_second": round(rate, 1),
            "bare_rows_per_second": None if bare is None else round(bare, 1),
            "capture_overhead": None if captured is None else round(captured, 4),
            "overhead": None if bare is None else round(bare / rate - 1, 4),
            "gpu_use_percent": round(statistics.mean(self._use), 1) if self._use else None,
            "peak_memory_bytes": peak_memory(),
            "peak_gpu_memory_bytes": torch.cuda.max_memory_allocated(self._device) if cuda else None,
        }

    def _timed(self, work: Callable[[], Result]) -> tuple[float, Result]:
        self._wait()
        began = time.perf_counter()
        result = work()
        self._wait()
        return time.perf_counter() - began, result

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
