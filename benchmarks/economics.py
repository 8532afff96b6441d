"""What an hour of labour is worth to an agent: closed forms, soft actor-critic on the state, the multiplier of an error limit, weighted drawing.

python benchmarks/economics.py [--quick] [--json]
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import harness
import numpy as np
import torch

from layerscout.rl.economics.config import WorkConfig
from layerscout.rl.economics.working import Work, work
from layerscout.rl.memory.replay import run_generators
from layerscout.rl.memory.sum_tree import SumTree
from layerscout.worlds.labour.dishwashing import Dishwashing
from layerscout.worlds.labour.trade import expected_hour, optimum, shadow_price

SEEDS = tuple(range(6))
EXACT = {"feasible actions": 1997, "… that make 80 plates": 1621, "… without the floor": 506}


def closed_forms() -> dict[str, Any]:
    """Counts, best hours and shadow prices."""
    trade = Dishwashing.trade
    grid = np.meshgrid(np.linspace(0, 1, 50), np.linspace(0, 1, 50), indexing="ij")
    with_floor, without = expected_hour(trade, *grid), expected_hour(trade, *grid, floor=False)
    allowed = with_floor.error_rate <= 0.06 + 1e-12
    free, mild = (replace(trade.prices, damage=damage) for damage in (0.0, 0.1))
    return {
        "feasible actions": int(allowed.sum()),
        "… that make 80 plates": int((allowed & (with_floor.marginal_product >= 80)).sum()),
        "… without the floor": int((allowed & (without.marginal_product >= 80)).sum()),
        "best hour, $/h": optimum(trade).hour.profit,
        "best hour without damage at 6 %, $/h": optimum(trade, free, 0.06).hour.profit,
        "shadow price without damage": shadow_price(trade, 0.06, free),
        "shadow price at 0.10 $": shadow_price(trade, 0.06, mild),
    }


def profits(done: Work, name: str) -> dict[str, Any]:
    """Mean and worst expected profit of every judgement."""
    return {
        f"{name}, {each.episode} h, {kind}": float(what(each.profit))
        for each in done.judgements
        for kind, what in (("mean", np.mean), ("worst", np.min))
    }


def timed(config: WorkConfig) -> tuple[Work, float]:
    start = time.process_time()
    return work(config, SEEDS), (time.process_time() - start) / len(SEEDS)


def held(name: str, **settings: Any) -> dict[str, Any]:
    """How an error limit is held over 600 hours: λ of the last 200, its largest, error and profit of the policy in the end."""
    done, _ = timed(WorkConfig(episodes=600, evaluate_every=600, step_size=5.0, **settings))
    multiplier, last = done.column("multiplier"), done.judgements[-1]
    error = done.column("error_rate")[-200:].mean()
    return {
        f"{name}: λ of the last 200": float(multiplier[-200:].mean()),
        f"{name}: largest λ": float(multiplier.mean(1).max()),
        f"{name}: error of the last 200, %": 100 * float(error),
        f"{name}: profit in the end, $/h": float(last.profit.mean()),
    }


def drawing(capacity: int) -> dict[str, Any]:
    """Milliseconds a run of drawing 1,024 places by priority, six runs side by side."""
    tree, generators = SumTree(6, capacity), run_generators(SEEDS, 1)
    tree.change(np.tile(np.arange(capacity), (6, 1)), np.random.default_rng(0).random((6, capacity)))
    taken = []
    for _ in range(30):
        start = time.process_time()
        tree.draw(1024, generators)
        taken.append(1000 * (time.process_time() - start) / 6)
    return {f"drawing 1,024 of {capacity:,}, ms a run": {"median": float(np.median(taken)), "min": min(taken), "max": max(taken)}}


def main() -> None:
    chosen = harness.options(__doc__)
    torch.set_num_threads(1)
    figures = closed_forms()
    episodes = 30 if chosen.quick else 250
    done, seconds = timed(WorkConfig(episodes=episodes))
    figures |= profits(done, "by the minute") | {"CPU seconds a run": seconds}
    cumulative, _ = timed(WorkConfig(episodes=episodes, reward="cumulative", sac=WorkConfig().sac.model_copy(update={"gamma": 0.995})))
    figures |= profits(cumulative, "cumulative, γ .995")
    if not chosen.quick:
        same, _ = timed(WorkConfig(episodes=episodes, reward="cumulative"))
        figures |= profits(same, "cumulative, γ .9")
        figures |= held("no damage", damage=0.0) | held("damage 0.10 $", damage=0.1) | held("hinge", damage=0.0, penalty="hinge")
    figures |= drawing(100_000 if chosen.quick else 1_000_000)
    at_least: dict[str, float] = {name: float(count) for name, count in EXACT.items()}
    harness.finish("economics", ("numpy", "torch", "gymnasium"), figures, chosen.json, at_least, {"CPU seconds a run": 60.0})


if __name__ == "__main__":
    main()
