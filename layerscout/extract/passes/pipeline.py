"""Spans of rows in, packed features on the host out, in order: reading, copying, computing and copying back overlap, bounded.

    reader threads ─► pinned uint8 ─► copy stream ─► forward, pooled into one buffer ─► copy stream ─► pinned ─► writer

On a CPU the same stages run without pinning and without streams: several batches side by side, each on one thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Item = TypeVar("Item")
Result = TypeVar("Result")
Span = tuple[int, int]
Inputs = tuple[Shaped[Tensor, "clip ..."], ...]
READERS = 2  # threads that read and resize; HDF5 lets one read at a time, so more would wait
AHEAD = 2  # results waiting beyond those being worked on


def computed_ahead(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result]:
    """Yield ``work(item)`` in the order of the items, ``workers`` at a time; at most ``AHEAD`` finished ones wait to be taken."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= workers + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def batch_spans(start: int, stop: int, batch: int) -> list[Span]:
    """Cut the rows of a unit into batches: always at the same rows, so that a resumed run sees the same batches as an unbroken one."""
    return [(low, min(stop, low + batch)) for low in range(start, stop, batch)]


class DeviceTransfer(Protocol):
    """How a batch travels to the device and back."""

    def ready(self, inputs: Inputs) -> Inputs:
        """Prepare host tensors for the way there; called by reader threads."""

    def start(self, inputs: Inputs) -> PendingFeatures:
        """Send a batch, compute, and begin the way back."""


class PendingFeatures(Protocol):
    """The features of one batch on their way from the device to the host."""

    def wait(self) -> Float[np.ndarray, "clip packed"]:
        """Block until the features are on the host, and return them."""


@dataclass(frozen=True)
class HostTransfer:
    """The transfer for a model on the processor: inputs are ready at once, and features need no copy."""

    compute: Callable[[Inputs], Tensor]

    def ready(self, inputs: Inputs) -> Inputs:
        """Return the inputs as they are."""
        return inputs

    def start(self, inputs: Inputs) -> PendingFeatures:
        """Compute at once; waiting for the result costs nothing."""
        return _Ready(self.compute(inputs))


@dataclass(frozen=True)
class _Ready:
    packed: Tensor

    def wait(self) -> Float[np.ndarray, "clip packed"]:
        return self.packed.numpy()


class CudaTransfer:
    """Pinned memory and one stream a direction; the host waits only for features that are on their way back.

    The caching host allocator keeps a pinned block until the copies that were issued from it are over, and ``record_stream``
    does the same for device memory, so no slot is reused too early.
    """

    def __init__(self, compute: Callable[[Inputs], Tensor], device: torch.device) -> None:
        self._compute, self._device = compute, device
        self._there, self._back = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def ready(self, inputs: Inputs) -> Inputs:
        """Copy the inputs into pinned host memory, from which the device fetches them by itself."""
        return tuple(part.pin_memory() for part in inputs)

    def start(self, inputs: Inputs) -> PendingFeatures:
        """Queue copy, computation and copy back on their three streams, and return before any of them has happened."""
        main = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._there):
            sent = tuple(part.to(self._device, non_blocking=True) for part in inputs)
        main.wait_stream(self._there)
        for part in sent:
            part.record_stream(main)
        packed = self._compute(sent)
        self._back.wait_stream(main)
        with torch.cuda.stream(self._back):
            host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
            host.copy_(packed, non_blocking=True)
            packed.record_stream(self._back)
            over = torch.cuda.Event()
            over.record(self._back)
        return _CopyingBack(host, over)


@dataclass(frozen=True)
class _CopyingBack:
    host: Tensor
    over: torch.cuda.Event

    def wait(self) -> Float[np.ndarray, "clip packed"]:
        self.over.synchronize()  # before it, the pinned memory holds anything
        return self.host.numpy()


def features_in_order(
    spans: Sequence[Span], read: Callable[[Span], Inputs], transfer: DeviceTransfer, workers: int
) -> Generator[tuple[Span, Float[np.ndarray, "clip packed"]]]:
    """Yield every span with its features, in order.

    Parameters
    ----------
    workers
        Batches computed side by side: one on a GPU, whose streams overlap by themselves.
    """
    inputs = computed_ahead(lambda span: transfer.ready(read(span)), spans, READERS)
    with closing(computed_ahead(transfer.start, inputs, workers)) as pending:
        for span, features in zip(spans, pending, strict=True):
            yield span, features.wait()
