"""A dask scheduler's address and tasks in, each task when it is done out: whatever dies on the way, a task is done in the end.

Tasks carry paths and names only. What a task computes it leaves as a file on a disk that the client and all workers share, so
a task that is done twice writes the same file twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from layerscout.errors import LayerscoutError, MissingExtraError, UsageError, install

RETRIES = 5  # of one task: a worker may die of other tasks' faults
IN_FLIGHT = 2  # tasks a thread of the cluster: enough to keep it busy, few enough to keep the scheduler idle
CONNECT_SECONDS = 30

SCHEDULER = "Address of a dask scheduler (tcp://...), or local for processes here, local:N for N of them."
WORDS = re.compile(r"local(:[1-9]\d*)?|(tcp|tls|ucx|ws|wss|inproc)://.+")

Item = TypeVar("Item")


def check_scheduler(words: str | None) -> str | None:
    """Return what names a cluster, the same in every command; a ValueError says what it may be."""
    if words is not None and not WORDS.fullmatch(words):
        raise ValueError(f"'{words}' names no scheduler: expected local, local:N or an address such as tcp://10.0.0.1:8786")
    return words


def local_processes(scheduler: str, otherwise: int) -> int:
    """Return how many processes here ``local:N`` asks for, ``otherwise`` for ``local``, and 0 for an address elsewhere."""
    word, _, count = scheduler.partition(":")
    return int(count or otherwise) if word == "local" else 0


@contextmanager
def connected(scheduler: str | None, local_workers: int, setting: str, connect_seconds: float = CONNECT_SECONDS) -> Iterator[Any]:
    """Give a dask client, of a scheduler somewhere or of worker processes on this machine.

    Parameters
    ----------
    scheduler
        Its address; None starts ``local_workers`` processes here, one thread each.
    setting
        The setting that asked for a cluster, for errors.

    Raises
    ------
    MissingExtraError
        dask.distributed is not installed.
    UsageError
        The scheduler does not answer.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingExtraError(f"{setting} needs dask.distributed", hint=install("cluster")) from None
    if scheduler is None:
        local = {"n_workers": local_workers, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": "127.0.0.1:0"}
        with LocalCluster(host="127.0.0.1", processes=True, silence_logs=50, **local) as cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout=connect_seconds)
    except OSError as error:
        message = f"the scheduler {scheduler} does not answer: {error}"
        raise UsageError(message, hint="give the address that dask scheduler printed when it started") from None
    with client:
        yield client


def each_done(
    client: Any, do: Callable[..., None], shared: tuple[Any, ...], waiting: deque[Item], answers: tuple[type[Exception], ...] = ()
) -> Iterator[tuple[Item, Exception | None]]:
    """Do ``do(*shared, task)`` for every task, few at a time, and yield each when it is done; ``waiting`` may grow meanwhile.

    Parameters
    ----------
    answers
        Exceptions by which a task says something; they are yielded beside it. A result would lie on a worker that may be dead.

    Raises
    ------
    LayerscoutError
        A task failed on something that the user can mend, or whatever else it failed on again and again.
    """
    from distributed import as_completed

    running: dict[Any, tuple[Item, int]] = {}
    done = as_completed()

    def submit(task: Item, tries: int) -> None:
        future = client.submit(do, *shared, task, pure=False)
        running[future] = task, tries
        done.add(future)

    while waiting or running:
        threads = sum(client.nthreads().values()) or 1
        while waiting and len(running) < IN_FLIGHT * threads:
            submit(waiting.popleft(), 0)
        future = next(done)
        task, tries = running.pop(future)
        error = future.exception() if future.status == "error" else None
        if isinstance(error, answers):
            yield task, error
        elif error is None and future.status != "cancelled":
            yield task, None
        elif error is not None and (isinstance(error, LayerscoutError) or tries == RETRIES):
            raise error
        else:
            submit(task, tries + 1)
