"""What an hour of labour is worth to an agent: closed forms, agents on the state, an error limit, novelty, and pictures through a layer.

    python benchmarks/economics.py [--quick] [--json] [--only NAME …]

Parts: closed, state, upwards, surface, cumulative, limit, mild, hinge, novelty, pictures, owner, drawing. --quick: closed, state and cumulative at 30 hours, and drawing from 10⁵.
Expected profit is that of the deterministic policy, in closed form. Seeds 100 to 105, which no setting was chosen by. One torch thread, or as many as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch

from layerscout.rl.agents.configs import SACConfig
from layerscout.rl.economics.config import EncoderConfig, WorkConfig
from layerscout.rl.economics.working import Work, Workplace, work
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.sum_tree import SumTree
from layerscout.settings import build, merge, read_toml
from layerscout.worlds.labour.dishwashing import Dishwashing
from layerscout.worlds.labour.trade import expected_hour, optimum, shadow_price

SEEDS = tuple(range(100, 106))
SINK = "layerscout/Dishwashing-v0"
LIMITS = Path(__file__).parents[1] / "experiments" / "labour_limit.toml"
EXACT = {"feasible actions": 1997.0, "… that make 80 plates": 1621.0, "… without the floor": 506.0}
OWNER = SACConfig(gamma=0.995, lr=3e-4, batch=1024, tau=5e-3, hidden=(256, 256), init_temperature=0.1, warm_up=660, capacity=1_000_000)
UPWARDS = WorkConfig(
    actions="zero",
    averaging=0.0,
    sac=WorkConfig().sac.model_copy(update={"lr": 5e-4, "init_temperature": 0.03, "train_interval": 3}),
)
Figures = dict[str, Any]


def closed(quick: bool) -> Figures:
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


def profits(done: Work, name: str) -> Figures:
    """Mean and worst expected profit of every judgement."""
    return {
        f"{name}, {each.episode} h, {kind}": float(what(each.profit))
        for each in done.judgements
        for kind, what in (("mean", np.mean), ("worst", np.min))
    }


def timed(config: WorkConfig, root: Path | None = None) -> tuple[Work, float]:
    """Work; return what came of it and the processor seconds of one run."""
    start = time.process_time()
    return work(config, SEEDS, root=root), (time.process_time() - start) / len(SEEDS)


def state(quick: bool) -> Figures:
    """The default run."""
    done, seconds = timed(WorkConfig(episodes=30 if quick else 250))
    return profits(done, "by the minute") | {"CPU seconds a run": seconds}


def upwards(quick: bool) -> Figures:
    """Critics whose first guess is that more of both is better, since they count actions from zero; and the same turned round."""
    done, seconds = timed(UPWARDS.model_copy(update={"episodes": 30 if quick else 250}))
    turned, _ = timed(UPWARDS.model_copy(update={"episodes": 30, "actions": "one"}))
    bricks, _ = timed(UPWARDS.model_copy(update={"episodes": 60, "evaluate_every": 60, "environment": "layerscout/Bricklaying-v0"}))
    plain, _ = timed(WorkConfig(episodes=60, evaluate_every=60, environment="layerscout/Bricklaying-v0"))
    figures = profits(done, "counted from zero") | profits(turned, "counted from one") | {"counted from zero: CPU seconds a run": seconds}
    return figures | profits(bricks, "Bricklaying, counted from zero") | profits(plain, "Bricklaying, from the middle")


def surface(quick: bool, times: int = 300) -> Figures:
    """What knows the form of the answer finds in 1,800 minutes: a quadratic in speed and care, fitted four times, played around its best in between."""
    generator, trade = np.random.default_rng(0), Dishwashing.trade
    grid = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, 41)], indexing="ij"), axis=-1).reshape(-1, 2)
    found = []
    for _ in range(times):
        action, earned = np.zeros((0, 2)), np.zeros(0)
        value = np.zeros(len(grid))
        for minutes in (600, 300, 300, 300, 300):
            chance = np.exp((value - value.max()) / 1.5)
            tried = grid[generator.choice(len(grid), minutes, p=chance / chance.sum())]
            attempts = np.maximum(1, generator.poisson(trade.rate(*tried.T)))
            errors = generator.binomial(attempts, trade.error_probability(*tried.T))
            action = np.concatenate([action, tried])
            earned = np.concatenate([earned, 60 * (trade.prices.price * (attempts - errors) - trade.prices.damage * errors)])
            design = _quadratic(action)
            weights = np.linalg.solve(design.T @ design + 30 * np.eye(design.shape[1]), design.T @ (earned - earned.mean()))
            value = _quadratic(grid) @ weights
        found.append(float(expected_hour(trade, *grid[value.argmax()]).profit))
    enough = float(np.mean(np.array(found) >= 27.9))
    return {"a fitted quadratic, 30 h: mean, $/h": float(np.mean(found)), "… share of runs at 27.9": enough, "… of six, all": enough**6}


def _quadratic(action: np.ndarray) -> np.ndarray:
    speed, care = 2.0 * action.T - 1.0
    return np.stack([np.ones_like(speed), speed, care, speed * care, speed**2, care**2], axis=1)


def cumulative(quick: bool) -> Figures:
    """The profit of the hour until now as the reward; with the original's discount, and with ours."""
    hours = 30 if quick else 120
    owners, _ = timed(WorkConfig(episodes=hours, reward="cumulative", sac=WorkConfig().sac.model_copy(update={"gamma": 0.995})))
    figures = profits(owners, "cumulative, γ .995")
    if quick:
        return figures
    same, _ = timed(WorkConfig(episodes=hours, reward="cumulative"))
    return figures | profits(same, "cumulative, γ .9")


def held(name: str) -> Figures:
    """How an error limit is held over 600 hours: λ of the last 200, its largest, error and profit of the policy in the end.

    The settings are those of an arm of ``experiments/labour_limit.toml``.
    """
    told = read_toml(LIMITS)["train"]["work"]
    config = build(WorkConfig, merge({key: told[key] for key in told.keys() - {"arms"}}, told["arms"][name]), "train.work")
    place = Workplace(config, SEEDS)
    done = Work(place.agent)
    for hour in place.hours():
        done.take(hour)
    multiplier, last = done.column("multiplier"), done.judgements[-1]
    figures = {
        f"{name}: λ of the last 200": float(multiplier[-200:].mean()),
        f"{name}: largest λ": float(multiplier.mean(1).max()),
        f"{name}: error of the last 200, %": 100 * float(done.column("error_rate")[-200:].mean()),
        f"{name}: profit in the end, $/h": float(last.profit.mean()),
        f"{name}: error in the end, %": 100 * float(last.error.mean()),
        f"{name}: λ of each run": [round(float(value), 1) for value in multiplier[-200:].mean(0)],
    }
    if config.penalty == "hinge":  # whose λ is no price
        return figures
    regressed = np.array([_regressed(config, place, run) for run in range(len(SEEDS))])
    return figures | {
        f"{name}: λ that a regression of the same minutes tells, each run": [round(float(value), 1) for value in regressed],
        f"{name}: … its mean": float(regressed.mean()),
        f"{name}: … its standard deviation over runs": float(regressed.std(ddof=1)),
    }


def _regressed(config: WorkConfig, place: Workplace, run: int) -> float:
    """Return the price of the limit that least squares read from all minutes of a run: the slope of profit by care over that of the error rate.

    Both are polynomials of third degree in speed and care, read at the action that is best in closed form: what the minutes tell, whoever learns from them.
    """
    trade, ledger = Dishwashing.trade, place.ledger
    best = optimum(trade, place.world.prices, config.last_target)
    speed, care = (0.5 * (ledger.action[run] + 1.0)).T.astype(np.float64)
    attempts = ledger.attempts[run].astype(np.float64)
    per_attempt = float(attempts.mean())
    design = _cubic(speed, care)
    slopes = []
    for seen in (ledger.profit[run].astype(np.float64), (ledger.errors[run] - config.last_target * attempts) / per_attempt):
        weights = np.linalg.lstsq(design, seen, rcond=None)[0]
        above, below = (_cubic(np.array([best.speed]), np.array([best.care + step])) @ weights for step in (0.01, -0.01))
        slopes.append(float((above - below)[0]))
    return slopes[0] / slopes[1]


def _cubic(speed: np.ndarray, care: np.ndarray) -> np.ndarray:
    return np.stack([speed**power * care**other for power in range(4) for other in range(4 - power)], axis=1)


def limit(quick: bool) -> Figures:
    return held("no damage")


def mild(quick: bool) -> Figures:
    return held("damage 0.10 $")


def hinge(quick: bool) -> Figures:
    return held("hinge")


def novelty(quick: bool) -> Figures:
    """Drawing by |error| · novelty against drawing evenly, 60 hours."""
    base = WorkConfig(episodes=60, evaluate_every=60)
    even, _ = timed(base)
    figures = profits(even, "drawn evenly")
    for way in ("random", "neighbours", "ensemble"):
        done, _ = timed(base.model_copy(update={"replay": "novelty", "weighting": "novelty", "novelty": way}))
        figures |= profits(done, f"drawn by novelty, {way}")
    return figures


def pictures(quick: bool) -> Figures:
    """The state, and pictures through a layer of tiny, its untrained twin, the pixels and a network from scratch on them, 30 hours each."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "stores"
        stores = {name: _extracted(name, Path(folder) / "sink.h5", root) for name in ("tiny", "tiny-untrained")}
        arms = {
            "state": EncoderConfig(kind="mlp"),
            "layer of tiny": EncoderConfig(kind="store", store=stores["tiny"], layer="blocks.3"),
            "… untrained": EncoderConfig(kind="store", store=stores["tiny-untrained"], layer="blocks.3"),
            "pixels": EncoderConfig(kind="store", store=stores["tiny"], layer="pixels"),
            "scratch": EncoderConfig(kind="store", store=stores["tiny"], layer="pixels", hidden=(256, 64)),
        }
        figures: Figures = {}
        for name, encoder in arms.items():
            done, seconds = timed(WorkConfig(episodes=30, evaluation_hours=1, encoder=encoder), root)
            figures |= profits(done, f"pictures: {name}") | {f"pictures: {name}, CPU seconds a run": seconds}
        of_state = figures["pictures: state, 30 h, mean"]
        return figures | {"pictures: layer of tiny, % of the state's": 100 * figures["pictures: layer of tiny, 30 h, mean"] / of_state}


def _extracted(backbone: str, data: Path, root: Path) -> str:
    from layerscout.extract.config import ExtractConfig
    from layerscout.extract.run import plan as plan_extract
    from layerscout.extract.run import run as extract
    from layerscout.worlds.collect import plan, run
    from layerscout.worlds.config import CollectConfig

    run(plan(CollectConfig(environment=SINK, steps=600, policy="random", out=data)))
    settings = ExtractConfig(backbone=backbone, data=data, root=root, layers=("blocks.3",), pooling=("future/mean",), passport_clips=0)
    return extract(plan_extract(settings)).id


def owner(quick: bool) -> Figures:
    """One update of the original's run, batch 1,024 and 256 × 256 heads, and what 250 hours of 60 updates cost at that."""
    config = WorkConfig(
        episodes=13, reward="cumulative", encoder=EncoderConfig(kind="mlp"), sac=OWNER.model_copy(update={"train_interval": 10**6})
    )
    place = Workplace(config, SEEDS[:1])
    for episode in range(13):
        place.hour(episode)
    terms = place.terms(12)
    place.learn(terms)
    taken = []
    for _ in range(8):
        start = time.process_time()
        place.learn(terms)
        taken.append(time.process_time() - start)
    middle = float(np.median(taken))
    return {
        "the original's update, CPU ms": {"median": 1000 * middle, "min": 1000 * min(taken), "max": 1000 * max(taken)},
        "… its 250 hours of 60, CPU minutes": middle * (250 - 11) * 60 / 60,
    }


def drawing(quick: bool) -> Figures:
    """Milliseconds a run of drawing 1,024 places by priority, six runs side by side."""
    capacity = 100_000 if quick else 1_000_000
    tree, generators = SumTree(6, capacity), run_generators(SEEDS, 1)
    tree.change(np.tile(np.arange(capacity), (6, 1)), np.random.default_rng(0).random((6, capacity)))
    taken = []
    for _ in range(30):
        start = time.process_time()
        tree.draw(1024, generators)
        taken.append(1000 * (time.process_time() - start) / 6)
    return {
        "drawing 1,024 by priority, ms a run": float(np.median(taken)),
        "drawing, spread": {"median": float(np.median(taken)), "min": min(taken), "max": max(taken)},
    }


PARTS: dict[str, Callable[[bool], Figures]] = {
    part.__name__: part for part in (closed, state, upwards, surface, cumulative, limit, mild, hinge, novelty, pictures, owner, drawing)
}
QUICK = ("closed", "state", "cumulative", "drawing")
AT_LEAST = EXACT | {
    "by the minute, 30 h, worst": 27.9,
    **{f"by the minute, {hours} h, mean": 27.9 for hours in (60, 120, 250)},
    **{f"by the minute, {hours} h, worst": 27.7 for hours in (60, 120, 250)},
    "counted from zero, 30 h, worst": 27.9,
    **{f"counted from zero, {hours} h, mean": 27.9 for hours in (60, 120, 250)},
    **{f"counted from zero, {hours} h, worst": 27.7 for hours in (60, 120, 250)},
    "no damage: λ of the last 200": 17.1,
    "no damage: profit in the end, $/h": 32.2,
    "no damage: error in the end, %": 5.5,
    "damage 0.10 $: λ of the last 200": 8.2,
    "hinge: λ of the last 200": 34.0,
    "pictures: layer of tiny, % of the state's": 90.0,
}
AT_MOST = {
    "CPU seconds a run": 60.0,
    "no damage: λ of the last 200": 25.7,
    "no damage: largest λ": 1.5 * 21.4,
    "no damage: error in the end, %": 6.5,
    "damage 0.10 $: λ of the last 200": 12.4,
    "hinge: λ of the last 200": 46.0,
    "drawing 1,024 by priority, ms a run": 2.0,
}


def main() -> None:
    chosen = harness.options(__doc__, only=tuple(PARTS))
    torch.set_num_threads(harness.threads_told())
    figures: Figures = {}
    for name in chosen.only or (QUICK if chosen.quick else PARTS):
        figures |= PARTS[name](chosen.quick)
        print(json.dumps({name: figures}) if chosen.only and not chosen.json else f"{name} done", file=sys.stderr, flush=True)
    if {"by the minute, 30 h, mean", "cumulative, γ .995, 30 h, mean"} <= figures.keys():
        hours = 30 if chosen.quick else 120
        figures["by the minute above cumulative, $/h"] = (
            figures[f"by the minute, {hours} h, mean"] - figures[f"cumulative, γ .995, {hours} h, mean"]
        )
    bars = [{name: bound for name, bound in one.items() if name in figures} for one in (AT_LEAST, AT_MOST)]
    if "by the minute above cumulative, $/h" in figures and not chosen.quick:
        bars[0]["by the minute above cumulative, $/h"] = 1.0
    harness.finish("economics", ("numpy", "torch", "gymnasium"), figures, chosen.json, *bars)


if __name__ == "__main__":
    main()
