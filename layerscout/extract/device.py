"""Where and on how many threads torch works: devices checked, cores used by whole batches instead of by single products."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch.nn import functional

from layerscout.errors import UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")
KERNELS = "ONEDNN_MAX_CPU_ISA"  # tells oneDNN which instructions it may use at most
WRONG = 0.05  # of its own size that a product in bfloat16 differs by; rounding takes a tenth of it


def check_device(name: str) -> None:
    """Refuse a device that this machine lacks: a silent CPU run would be a wrong benchmark and a long wait.

    Raises
    ------
    UsageError
        The device is unknown, not supported, or not there.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device '{name}'", hint="cpu, cuda or cuda:0") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device '{name}' was asked for and torch sees no GPU", hint="layerscout doctor shows what torch sees; use --device cpu"
        )
    if device.type not in {"cpu", "cuda"}:
        raise UsageError(f"device '{name}' is not supported", hint="cpu, cuda or cuda:0")


def check_convolutions(device: str, dtype: torch.dtype) -> None:
    """Refuse to compute in bfloat16 on a processor whose convolutions are wrong in it.

    With AMX, oneDNN's strided convolution to one column reads what was never written (torch 2.13): its numbers are off by their own size, or infinite.
    It is tried on one of a few hundred numbers, of which bfloat16 rounds 0.3 % away.

    Raises
    ------
    UsageError
        They are wrong: torch was at work before layerscout could choose its kernels, or ``ONEDNN_MAX_CPU_ISA`` chose others.
    """
    if dtype != torch.bfloat16 or torch.device(device).type != "cpu":
        return
    generator = torch.Generator().manual_seed(0)
    frames, weights = (torch.randn(shape, generator=generator) for shape in ((1, 8, 7, 4, 2), (8, 8, 3, 3, 3)))
    exact, rounded = (
        functional.conv3d(frames.to(kind), weights.to(kind), stride=2, padding=(0, 1, 1)).float() for kind in (torch.float32, dtype)
    )
    if not (rounded - exact).norm() < WRONG * exact.norm():
        raise UsageError(
            "bfloat16 is wrong on this processor: a convolution of torch's differs from the same in float32",
            hint=f"--compute float32, or start Python with {KERNELS}=AVX512_CORE_BF16",
        )


def cores(threads: int | None = None) -> int:
    """Return ``threads``, or as many as this process may use (OMP_NUM_THREADS and the like are honoured)."""
    return threads or min(torch.get_num_threads(), os.cpu_count() or 1)


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Run torch's products on ``count`` threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def one_thread_a_product() -> Iterator[None]:
    """Run every product of torch and of NumPy on one thread inside the block.

    A product that is spread over threads adds in another order, so its last bits depend on how many there are; and what is decomposed or learned from it
    depends on its last bits. Not to be entered by several threads at once: the number of NumPy's threads is the process's.
    """
    from threadpoolctl import threadpool_limits

    with torch_threads(1), threadpool_limits(limits=1, user_api="blas"):
        yield


def batches_in_threads(work: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield ``work(item)`` in the order of the items, ``workers`` of them at a time, each product on one thread.

    Small transformers leave most cores idle when one product is spread over them; whole batches side by side do not.
    Every batch computes the same numbers whatever the number of workers.
    """
    with torch_threads(1):  # threads that start now inherit this
        if workers == 1:
            yield from map(work, items)
            return
        with ThreadPoolExecutor(workers) as pool:
            yield from pool.map(work, items)
