"""A loaded backbone in, the number of clips of a pass out: as many as memory takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from layerscout.extract.torch_private import dispatch_mode
from layerscout.memory import available_memory

MOST = {"cpu": 64, "cuda": 512}  # clips: beyond it a pass gains nothing
LARGEST_TENSOR = 2**28  # bytes on a CPU: larger intermediate results leave the caches for good
ALIVE = 4  # tensors of the largest size that a pass holds at once, roughly
SHARE = 0.8  # of a GPU's memory
Pass = Callable[[int], Any]  # runs so many blank clips


def find_batch(run: Pass, device: torch.device, workers: int, most: int | None = None) -> int:
    """Return a power of two, at most ``most`` (None: ``MOST``), for passes of which ``workers`` run side by side."""
    most = most or MOST[device.type]
    if device.type == "cuda":
        room = SHARE * (torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
        return doubled(lambda count: _peak(run, count, device), int(room), most)
    largest = _largest_tensor(run)
    available = available_memory()
    room = LARGEST_TENSOR if available is None else min(LARGEST_TENSOR, available // (2 * ALIVE * workers))
    return power_of_two(min(most, room // max(1, largest)))


def doubled(peak: Callable[[int], int], room: int, most: int) -> int:
    """Double the batch while the next one is expected to fit into ``room`` bytes, judging by the growth so far.

    ``peak(count)`` runs a pass and returns its peak of memory in bytes; it may raise torch.OutOfMemoryError.
    """
    count, before = 1, peak(1)
    while 2 * count <= most and before < room:
        try:
            now = peak(2 * count)
        except torch.OutOfMemoryError:
            break
        if now > room:
            break
        growth, before, count = now - before, now, 2 * count
        if now + 2 * growth > room:
            break
    return count


def power_of_two(limit: int) -> int:
    """Return the largest power of two that is at most ``limit``, and at least 1."""
    return 1 << (max(1, int(limit)).bit_length() - 1)


def _peak(run: Pass, count: int, device: torch.device) -> int:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    run(count)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_reserved(device)


def _largest_tensor(run: Pass) -> int:
    """Bytes of the largest tensor that a pass of one clip makes: the same on every machine and in every run."""
    largest = 0

    class Looking(dispatch_mode()):  # type: ignore[misc]
        """Looks at what every operation gives."""

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            given = func(*args, **(kwargs or {}))
            for one in given if isinstance(given, tuple | list) else (given,):
                if isinstance(one, Tensor):
                    largest = max(largest, one.numel() * one.element_size())
            return given

    with Looking():
        run(1)
    return largest
