"""Small trainings for tests: a selection in, settings and a record out."""

from __future__ import annotations

from by_hand import INTERCEPT, settings

from layerscout.cache.records import RunRecord
from layerscout.progress import SILENT
from layerscout.rl.run import plan, run

MODES = ["offline", "online", "in-loop"]


def small_settings(chosen, out, mode="offline", **changes):
    if mode != "in-loop":
        return settings(chosen.grid, out, chosen.root, mode=mode, **changes)
    shorter = {"environment": INTERCEPT, "steps": 12, "evaluations": 1, "checkpoint_updates": 5, "in_loop_grid": 2}
    shorter |= {"evaluation_episodes": 1, "final_episodes": 1, "dqn": {"batch": 3, "warm_up": 5, "target_interval": 4, "hidden": [8]}}
    return settings(chosen.intercept, out, chosen.root, mode=mode, **(shorter | changes))


def train(config, reporter=SILENT) -> RunRecord:
    return run(plan(config), reporter)
