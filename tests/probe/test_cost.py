"""What a probe cost is written when it was measured in one go, and never for a part of the work."""

from __future__ import annotations

import time
from pathlib import Path

from test_run import config, stores

from layerscout.cache.records import COST_NAME, Cost, load
from layerscout.probe.plan import plan_stores
from layerscout.probe.run import run


def test_the_cost_is_that_of_measuring_all_layers_at_once(tmp_path: Path) -> None:
    store, twin = stores()
    began, began_cpu = time.monotonic(), time.process_time()
    run(plan_stores(config(tmp_path), store, twin))
    cost = load(Cost, tmp_path / COST_NAME)
    assert 0 < cost.wall_seconds <= time.monotonic() - began
    assert 0 < cost.cpu_seconds <= time.process_time() - began_cpu
    run(plan_stores(config(tmp_path, weights=(0.2, 0.7, 0.1)), store, twin))  # reads no activations, so the cost stays that of reading them
    assert load(Cost, tmp_path / COST_NAME) == cost


def test_a_probe_that_found_some_layers_measured_has_no_cost(tmp_path: Path) -> None:
    store, twin = stores()
    run(plan_stores(config(tmp_path, layers=("blocks.1",)), store))
    assert (tmp_path / COST_NAME).exists()
    run(plan_stores(config(tmp_path), store, twin))
    assert not (tmp_path / COST_NAME).exists()
