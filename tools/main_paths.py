"""The checkout in the working folder in; CPU seconds of writing, reading and sampling a store, extracting and probing, out.

    python -m tools.compare_checkouts BEFORE . --figure write read rows -- $PWD/tools/main_paths.py store
    python -m tools.compare_checkouts BEFORE . --figure extract -- $PWD/tools/main_paths.py extract
    python -m tools.compare_checkouts BEFORE . --figure probe -- $PWD/tools/main_paths.py probe

Runs functions of the checkout's own benchmarks, on one thread, so that one script measures commits whose modules have other places. Each is run once
before it is timed.

store    write: 8 layers of [8192, 1024] float16, committed, three times; read: all of them, ten times, every checksum compared; rows: 256
         random rows of every layer, four hundred times
extract  what extraction does around a model: a store of the synthetic backbone, whose passes are nearly free, of 16,384 frames, three times
probe    the score of a layer of 20,000 x 512, three times: no measures, penalties chosen on one partner fold, as in commits that had no more
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

LAYERS, EPISODES = 8, 100
FRAMES, STEPS = 16_384, 4095  # of the dataset that is extracted; steps of an episode
WRITES, READS, DRAWS, EXTRACTIONS, PROBES = 3, 10, 400, 3, 3  # times


def timed(times: int, work: Callable[[int], object]) -> float:
    """CPU seconds of some turns after a first one; what a turn returns is dropped before the next."""
    work(0)
    began = time.process_time()
    for turn in range(1, times + 1):
        work(turn)
    return time.process_time() - began


def store(folder: Path) -> dict[str, float]:
    """Time a store of made-up layers."""
    import store_io

    random = np.random.default_rng(0)
    values = random.standard_normal((store_io.ROWS, store_io.WIDTH), dtype=np.float32).astype(store_io.DTYPE)
    layers = {f"blocks.{number}": np.roll(values, number) for number in range(LAYERS)}
    written = timed(WRITES, lambda turn: store_io.write_store(folder / f"store{turn}", layers))
    of, names = store_io.opened("store", folder / "store0"), list(layers)
    batch = np.sort(random.choice(store_io.ROWS, store_io.BATCH, replace=False))
    for name in names:  # every chunk is verified once
        of(name).all()
        of(name).rows(batch)
    return {
        "write": written,
        "read": timed(READS * LAYERS, lambda turn: of(names[turn % LAYERS]).all()),
        "rows": timed(DRAWS * LAYERS, lambda turn: of(names[turn % LAYERS]).rows(batch)),
    }


def extract(folder: Path) -> dict[str, float]:
    """Time an extraction by a backbone that costs next to nothing."""
    import extract_overhead
    import extract_world

    data = extract_world.dataset(folder / "data.h5", FRAMES, (8, 8, 2), steps=STEPS)
    return {"extract": timed(EXTRACTIONS, lambda turn: extract_overhead.measure(str(data), str(folder / f"root{turn}")))}


def probe(folder: Path) -> dict[str, float]:
    """Time the score of a layer, and nothing that stands beside it."""
    import probe_speed
    import probe_world

    from layerscout.probe.config import ProbeConfig

    made = probe_world.write_store(folder / "probed", EPISODES, 1, probe_speed.WIDTH)
    alone = {"measures": False, "inner": "pair"}
    settings = {name: value for name, value in alone.items() if name in ProbeConfig.model_fields}
    what = probe_speed.planned(made, folder / "probed", precision="float32", **settings)
    return {"probe": timed(PROBES, lambda turn: probe_speed.probe(what, "float32"))}


PARTS: dict[str, Callable[[Path], dict[str, float]]] = {"store": store, "extract": extract, "probe": probe}


def main() -> None:
    sys.path.insert(0, str(Path.cwd() / "benchmarks"))
    from layerscout.memory import hold_freed

    hold_freed()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(limits=1):
        for name in sys.argv[1:] or PARTS:
            figures |= PARTS[name](Path(folder))
    print(json.dumps({"figures": figures}))


if __name__ == "__main__":
    main()
