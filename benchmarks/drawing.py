"""What a picture of a Meta-World task costs: fast and full quality in turns, and one simulator step beside them.

python benchmarks/drawing.py [--quick] [--json]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import harness
import numpy as np

from layerscout.worlds.simulators.meta_world import MetaWorld

TASK = "drawer-open-v3"
SIZE = 64  # pixels
QUALITIES = ("fast", "full")
BARS = {"times_faster": 8.0}
CLOSE = {"difference_of_mean": 2.0}  # of 255


def milliseconds(call: Callable[[], object], times: int) -> float:
    """CPU milliseconds of one call."""
    began = time.process_time()
    for _ in range(times):
        call()
    return 1e3 * (time.process_time() - began) / times


def summary(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}


def main() -> None:
    chosen = harness.options(__doc__)
    tasks = {quality: MetaWorld(TASK, SIZE, quality=quality) for quality in QUALITIES}
    for task in tasks.values():
        task.reset(0)
    means = {quality: float(np.mean(task.frame())) for quality, task in tasks.items()}
    spent: dict[str, list[float]] = {"fast": [], "full": [], "step": []}
    action = np.zeros(4, np.float32)
    for _ in range(7 if chosen.quick else 15):
        for quality, task in tasks.items():
            spent[quality].append(milliseconds(task.frame, 20 if quality == "fast" else 2))
        spent["step"].append(milliseconds(lambda: tasks["fast"].step(action), 10))
    for task in tasks.values():
        task.close()
    figures = {
        "fast_milliseconds": summary(spent["fast"]),
        "full_milliseconds": summary(spent["full"]),
        "step_milliseconds": summary(spent["step"]),
        "times_faster": round(statistics.median(full / fast for full, fast in zip(spent["full"], spent["fast"], strict=True)), 1),
        "difference_of_mean": round(abs(means["fast"] - means["full"]), 3),
    }
    harness.finish("drawing", ("metaworld", "mujoco"), figures, chosen.json, at_least=BARS, at_most=CLOSE)


if __name__ == "__main__":
    main()
