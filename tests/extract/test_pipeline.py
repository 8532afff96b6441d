"""The pipeline keeps the order, is bounded, and drops no error; batches are as large as memory takes; speeds are what was timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from layerscout.extract.passes import autotune, measure
from layerscout.extract.passes.autotune import doubled, find_batch, power_of_two
from layerscout.extract.passes.measure import Meter
from layerscout.extract.passes.pipeline import AHEAD, READERS, HostTransfer, batch_spans, computed_ahead, features_in_order

CPU = torch.device("cpu")


# --- bounded and in order


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items_whatever_takes_longer(workers):
    delays = np.random.default_rng(0).uniform(0, 0.004, 40)

    def work(number: int) -> int:
        time.sleep(delays[number])
        return number

    assert list(computed_ahead(work, range(40), workers)) == list(range(40))


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_is_begun_than_workers_and_a_few_results_that_wait(workers):
    begun: list[int] = []
    results = computed_ahead(lambda number: begun.append(number) or number, range(100), workers)
    for taken in range(20):
        next(results)
        assert len(begun) <= taken + workers + AHEAD
    results.close()
    time.sleep(0.02)
    assert len(begun) <= 20 + workers + AHEAD, "what nobody waits for is not begun"


def test_items_are_asked_for_as_they_are_needed():
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        while True:  # without an end
            asked += 1
            yield asked

    results = computed_ahead(lambda number: number, items(), 2)
    assert [next(results) for _ in range(5)] == [1, 2, 3, 4, 5]
    assert asked <= 5 + 2 + AHEAD
    results.close()


def test_an_error_arrives_in_its_place():
    results = computed_ahead(lambda number: 1 / (3 - number), range(10), 2)
    assert [next(results) for _ in range(3)] == [1 / 3, 1 / 2, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 20))
def test_cuts_cover_a_unit_once_and_do_not_depend_on_where_a_run_begins(start, rows, batch):
    found = batch_spans(start, start + rows, batch)
    assert [row for low, high in found for row in range(low, high)] == list(range(start, start + rows))
    assert all(high - low == batch for low, high in found[:-1])


def test_reading_computing_and_taking_overlap():
    """Each batch is computed until a later one is read, and taken until a later one is computed: one after another, this would never end."""
    read_begun, compute_begun = ([threading.Event() for _ in range(20)] for _ in range(2))

    def read(span):
        read_begun[span[0] // 2].set()
        return (torch.arange(*span, dtype=torch.float32)[:, None],)

    def compute(inputs):
        number = int(inputs[0][0]) // 2
        compute_begun[number].set()
        assert all(one.wait(20) for one in read_begun[number + 1 : number + 2])
        return inputs[0] * 2

    for (low, high), found in features_in_order(batch_spans(0, 40, 2), read, HostTransfer(compute), 1):
        np.testing.assert_array_equal(found[:, 0], 2 * np.arange(low, high))
        assert all(one.wait(20) for one in compute_begun[high // 2 : high // 2 + 1])


def test_a_slow_taker_holds_up_the_readers():
    reads: list[int] = []
    flow = features_in_order(
        batch_spans(0, 1000, 1), lambda span: reads.append(span[0]) or (torch.zeros(1),), HostTransfer(lambda inputs: inputs[0]), 2
    )
    next(flow)
    time.sleep(0.05)
    assert len(reads) <= 1 + (2 + AHEAD) + (READERS + AHEAD)
    flow.close()


def test_threads_end_with_the_flow():
    before = threading.active_count()
    flow = features_in_order(batch_spans(0, 100, 1), lambda span: (torch.zeros(1),), HostTransfer(lambda inputs: inputs[0]), 2)
    next(flow)
    flow.close()
    del flow
    assert threading.active_count() == before


# --- how many clips a pass takes


@pytest.mark.parametrize(("fixed", "each", "room"), [(100, 7, 1000), (0, 10, 1000), (500, 1, 501), (10, 3, 10_000), (2000, 1, 1000)])
def test_a_batch_is_doubled_until_memory_is_full(fixed, each, room):
    tried = []

    def peak(count: int) -> int:
        tried.append(count)
        return fixed + each * count

    found = doubled(peak, room, most=512)
    assert found == 1 or fixed + each * found <= room
    assert found == 512 or fixed + 2 * each * found > room
    assert max(tried) <= max(2, found), "what would not fit is not tried, once the growth is known"


def test_memory_that_runs_out_all_the_same_ends_the_search():
    def peak(count: int) -> int:
        if count > 8:
            raise torch.OutOfMemoryError
        return count

    assert doubled(peak, 10**9, most=512) == 8


@given(st.integers(-5, 10**12))
def test_powers_of_two(limit):
    found = power_of_two(limit)
    assert bin(found).count("1") == 1
    assert found == 1 or found <= limit < 2 * found


def test_on_a_cpu_the_batch_follows_from_the_largest_tensor_of_one_clip(monkeypatch):
    counts = []

    def run(count: int) -> None:
        counts.append(count)
        torch.zeros(count, 2**24).sum()  # 64 MiB a clip

    monkeypatch.setattr(autotune, "available_memory", lambda: 10**12)
    assert find_batch(run, CPU, workers=2) == autotune.LARGEST_TENSOR // 2**26
    monkeypatch.setattr(autotune, "available_memory", lambda: 2**30)
    assert find_batch(run, CPU, workers=4) == 1
    assert find_batch(lambda count: torch.zeros(count), CPU, workers=1) == autotune.MOST["cpu"]
    assert counts == [1, 1]


# --- what the tool says of its own speed


@dataclass
class Clock:
    now: float = 0.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


def test_speeds_are_those_of_the_batches_that_ran_both_ways(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measure, "time", clock)
    meter = Meter(CPU, batches=200)
    assert meter.compared == {1, 2, 3, 4}

    def takes(seconds: float) -> str:
        clock.now += seconds
        return "result"

    for number in range(200):
        if number in meter.compared:
            assert meter.compare(number, 10, lambda: takes(2.0), lambda: takes(2.02)) == "result"
            clock.now -= 2.0  # so that the whole is as if nothing had been compared
        else:
            takes(2.02)
    told = meter.figures(2000, workers=1)
    assert told["bare_rows_per_second"] == pytest.approx(5.0)
    assert told["rows_per_second"] == pytest.approx(2000 / 404, abs=0.06)
    assert told["capture_overhead"] == pytest.approx(0.01)
    assert told["overhead"] == pytest.approx(0.01)
    assert told["gpu_use_percent"] is told["peak_gpu_memory_bytes"] is None
    assert told["peak_memory_bytes"] > 10**6


def test_a_short_run_compares_nothing_and_says_so():
    meter = Meter(CPU, batches=49)
    assert not meter.compared
    told = meter.figures(100, workers=2)
    assert told["overhead"] is told["bare_rows_per_second"] is told["capture_overhead"] is None
