"""The checkout in the working folder in; CPU seconds of writing, reading and sampling a store, extracting and probing, out.

    python -m tools.compare_checkouts BEFORE . --figure write read rows extract probe -- $PWD/tools/main_paths.py

Runs the checkout's own benchmarks' functions, on one thread, so that one script measures commits whose modules have other places.

write    a store of 8 layers of [8192, 1024] float16, committed, three times
read     all of its layers, ten times, every checksum compared
rows     256 random rows of every layer, four hundred times
extract  what extraction does around a model: a store of the synthetic backbone, whose passes are nearly free, of 16,384 frames, twice
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
WRITES, READS, DRAWS, EXTRACTIONS, PROBES = 3, 10, 400, 2, 3  # times


def main() -> None:
    sys.path.insert(0, str(Path.cwd() / "benchmarks"))
    import extract_overhead
    import extract_world
    import probe_speed
    import probe_world
    import store_io

    from layerscout.memory import hold_freed
    from layerscout.probe.config import ProbeConfig

    hold_freed()
    figures: dict[str, float] = {}

    def timed(name: str, times: int, work: Callable[[int], object]) -> None:
        began = time.process_time()
        for turn in range(times):
            work(turn)  # what it returns is dropped before the next turn
        figures[name] = time.process_time() - began

    with tempfile.TemporaryDirectory() as name, threadpool_limits(limits=1):
        folder, random = Path(name), np.random.default_rng(0)
        values = random.standard_normal((store_io.ROWS, store_io.WIDTH), dtype=np.float32).astype(store_io.DTYPE)
        layers = {f"blocks.{number}": np.roll(values, number) for number in range(LAYERS)}
        store_io.write_store(folder / "warm", layers)
        timed("write", WRITES, lambda turn: store_io.write_store(folder / f"store{turn}", layers))
        of, names = store_io.opened("store", folder / "store0"), list(layers)
        batch = np.sort(random.choice(store_io.ROWS, store_io.BATCH, replace=False))
        for one in names:
            of(one).all(), of(one).rows(batch)
        timed("read", READS * LAYERS, lambda turn: of(names[turn % LAYERS]).all())
        timed("rows", DRAWS * LAYERS, lambda turn: of(names[turn % LAYERS]).rows(batch))
        data = extract_world.dataset(folder / "data.h5", FRAMES, (8, 8, 2), steps=STEPS)
        extract_overhead.measure(str(data), str(folder / "first"))  # what is imported is paid once a process
        timed("extract", EXTRACTIONS, lambda turn: extract_overhead.measure(str(data), str(folder / f"root{turn}")))
        store = probe_world.write_store(folder / "probed", EPISODES, 1, probe_speed.WIDTH)
        alone = {"measures": False, "inner": "pair"}
        settings = {name: value for name, value in alone.items() if name in ProbeConfig.model_fields}
        what = probe_speed.planned(store, folder / "probed", precision="float32", **settings)
        probe_speed.probe(what, "float32")
        timed("probe", PROBES, lambda turn: probe_speed.probe(what, "float32"))
    print(json.dumps({"figures": figures}))


if __name__ == "__main__":
    main()
