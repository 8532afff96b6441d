"""Teachers of Reacher in, what each arm of REPAINT saves out: the short form against its bars, or a finished comparison scored on the simulator.

    python benchmarks/repaint.py [--quick] [--json]           two arms, 3 seeds, 20 iterations, against the bars
    python benchmarks/repaint.py --real FOLDER --out FILE     the bars of the whole comparison, its students scored on Reacher-v5
    python benchmarks/repaint.py --savings FOLDER             what each arm of any finished comparison saved to each target, as JSON

The comparison itself is `layerscout transfer --config experiments/repaint_reacher.toml --out FOLDER`: eight seeds of all arms with three teachers,
which `benchmarks/reacher_teachers.py` makes. Scores are of greedy episodes; the real Reacher-v5 is Gymnasium's, on MuJoCo. One torch thread, or as many as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import harness
import numpy as np
import torch

from layerscout.cache import records
from layerscout.cache.records.transfer import TransferRecord
from layerscout.report.numbers.savings import WINDOW, Saving, kinds_of_teachers, last_score, savings_at, share_range, targets_of
from layerscout.rl.transfer.config import RepaintConfig
from layerscout.rl.transfer.students import train_arm
from layerscout.rl.transfer.tasks import reacher_task
from layerscout.rl.transfer.teacher import Teacher
from layerscout.rl.transfer.teacher_files import load_teacher

FOLDER = Path(__file__).parent / "teachers"
WHOLE = 60  # iterations of the comparison that the short form is the beginning of
REAL_EPISODES = 20
QUICK_BASELINE, QUICK_REPAINT = -12.0, -6.0  # last scores of the short form: below, and at least


def started(arm: str, teacher: Teacher | None, iterations: int, seeds: int) -> tuple[float, float]:
    """Train the beginning of one arm; return its last mean score and the processor seconds of a seed."""
    began, more = time.process_time(), WHOLE / iterations
    config = RepaintConfig(arm=arm, seeds=seeds, iterations=iterations, beta_decay=0.4 * more, alpha2_decay=0.25 * more)  # type: ignore[arg-type]
    _, curves = train_arm(config, reacher_task(), teacher)
    return float(np.mean(curves.scores[-1])), (time.process_time() - began) / seeds


def quick(as_json: bool) -> None:
    """Train two arms shortly and print both scores against their bars; a bar that fails ends with exit code 1."""
    figures: dict[str, Any] = {}
    for arm, teacher in (("baseline", None), ("repaint", load_teacher(FOLDER / "similar.npz"))):
        figures[f"{arm}_score"], figures[f"{arm}_cpu_seconds_a_seed"] = started(arm, teacher, 20, 3)
    bars = {"at_least": {"repaint_score": QUICK_REPAINT}, "at_most": {"baseline_score": QUICK_BASELINE}}
    harness.finish("repaint", ("torch", "numpy"), figures, as_json, **bars)
    if not (figures["baseline_score"] < QUICK_BASELINE and figures["repaint_score"] >= QUICK_REPAINT):
        raise SystemExit(1)


def real_scores(folder: Path, arm: str, episodes: int) -> list[float]:
    """Mean return of every student of an arm on the simulator, which counts no step of training."""
    import gymnasium

    game, found = gymnasium.make("Reacher-v5"), []
    for path in sorted((folder / "arms" / arm.replace(", ", "-").replace(" ", "-")).glob("student-*.npz")):
        policy = load_teacher(path).behind(reacher_task().scale)
        returns = [_played(game, policy, seed) for seed in range(episodes)]
        found.append(float(np.mean(returns)))
    game.close()
    return found


def _played(game: Any, policy: Teacher, seed: int) -> float:
    from layerscout.worlds.reacher import SCALE

    seen, over, total = game.reset(seed=seed)[0], False, 0.0
    while not over:
        action = policy.act((seen.astype(np.float32) * SCALE)[None, None])[0, 0]
        seen, reward, terminated, truncated, _ = game.step(action)
        over, total = terminated or truncated, total + float(reward)
    return total


def bars_of(record: TransferRecord) -> dict[str, tuple[float | None, float, bool]]:
    """Return every bar of the arms that are there: figure, bound, whether it holds; a target that was never reached holds no bar."""
    savings, kinds, found = savings_at(record), kinds_of_teachers(record), dict[str, tuple[float | None, float, bool]]()
    baseline = record.arm("baseline", None)
    assert baseline is not None, "the comparison has a baseline"

    def bar(name: str, figure: float | None, bound: float) -> None:
        found[name] = (figure, bound, figure is not None and figure >= bound)

    for teacher, kind in kinds.items():
        arms = {arm: record.arm(arm, teacher) for arm in ("ks", "it", "repaint")}  # type: ignore[arg-type]
        both = arms["repaint"]
        if both is None:
            continue
        own: dict[str, Saving] = {name: savings[arm.name] for name, arm in arms.items() if arm is not None}
        if kind == "similar":
            for name, bound in (("repaint", 0.8), ("ks", 0.7), ("it", 0.4)):
                if name in own:
                    bar(f"{teacher}: {name}, reduced in iterations", own[name].reduced, bound)
            bar(f"{teacher}: repaint, reduced in steps", own["repaint"].reduced_steps, 0.6)
        elif kind == "different":
            bar(f"{teacher}: repaint, reduced in iterations", own["repaint"].reduced, 0.6)
            if "ks" in own:
                bar(f"{teacher}: repaint, reduced in iterations, against ks", own["repaint"].reduced, (own["ks"].reduced or 0.0) - 0.03)
            bar(f"{teacher}: repaint, reduced in steps", own["repaint"].reduced_steps, 0.35)
            others = sorted((last_score(arm) for arm in (baseline, *arms.values()) if arm is not None), reverse=True)
            bar(f"{teacher}: repaint, last score, against the second best arm", last_score(both), others[1])
        else:
            bar(f"{teacher}: repaint, last score", last_score(both), last_score(baseline) - 1.5)
        for name, arm in arms.items():
            if arm is not None and (shares := share_range(arm, "kept")) is not None:
                bar(f"{teacher}: {name}, smallest kept share", shares[0], 0.05)
                found[f"{teacher}: {name}, largest kept share"] = (shares[1], 0.5, shares[1] <= 0.5)
    return found


def last_scores(record: TransferRecord) -> dict[str, tuple[float, float, float]]:
    """Return last scores of REPAINT less those of every other arm of its teacher and of the baseline, with 95 % bootstraps over both arms' seeds."""
    found = {}
    for teacher in kinds_of_teachers(record):
        both, generator = record.arm("repaint", teacher), np.random.default_rng(0)
        for other in (record.arm("ks", teacher), record.arm("it", teacher), record.arm("baseline", None)):
            if both is not None and other is not None:
                mine, its = (one.matrix("scores")[-WINDOW:].mean(axis=0) for one in (both, other))
                drawn = [generator.choice(values, (10_000, len(values))).mean(axis=1) for values in (mine, its)]
                low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
                found[f"{both.name}, less {other.name}"] = (float(mine.mean() - its.mean()), float(low), float(high))
    return found


def saved(record: TransferRecord, place: int = 0) -> dict[str, dict[str, Any]]:
    """Return what every arm saved to one of the targets, the first when not told, its best and last score, and its CPU seconds."""
    found = {}
    savings = savings_at(record, place)
    for arm in record.arms:
        one = savings[arm.name]
        figures = {"k": one.iterations, "reduced": one.reduced, "low": one.low, "high": one.high, "steps": one.steps}
        found[arm.name] = figures | {"reduced_steps": one.reduced_steps, "best": one.best, "last": one.last, "cpu_seconds": arm.cpu_seconds}
    return found


def to_every_target(record: TransferRecord) -> dict[str, dict[str, dict[str, Any]]]:
    """Return ``saved`` by target, which is told as a number unless it is the baseline's best."""
    names = [f"to {target:g}" for target in targets_of(record)]
    if record.target is None:
        names[0] = "to the baseline's best"
    return {name: saved(record, place) for place, name in enumerate(names)}


def whole(folder: Path, out: Path | None) -> None:
    """Print the bars and the students' scores on the simulator, and keep both."""
    record = records.load(TransferRecord, folder / "transfer.json")
    bars, savings = bars_of(record), saved(record)
    print(f"target {targets_of(record)[0]:.2f}; teachers: {kinds_of_teachers(record)}")
    for name, (figure, bound, holds) in bars.items():
        print(f"  {name:55} {'n/a' if figure is None else f'{figure:8.3f}'}   bar {bound:.3f}   {'holds' if holds else 'DOES NOT HOLD'}")
    apart = last_scores(record)
    for name, (difference, low, high) in apart.items():
        print(f"  last score of {name:40} {difference:7.3f} [{low:.3f}, {high:.3f}]")
    rows = {}
    for arm in record.arms:
        real = real_scores(folder, arm.name, REAL_EPISODES)
        twin = float(np.mean(arm.scores[-1]))
        rows[arm.name] = savings[arm.name] | {"kept": share_range(arm, "kept"), "last_on_twin": twin, "on_reacher_v5": real}
        print(f"  {arm.name:22} on Reacher-v5 {np.mean(real):7.2f}, on the twin {twin:7.2f}")
    if out is not None:
        teachers = [one.model_dump() for one in record.teachers]
        bounds = {name: {"figure": figure, "bar": bound, "holds": holds} for name, (figure, bound, holds) in bars.items()}
        document = {"target": targets_of(record)[0], "teachers": teachers, "bars": bounds, "last_scores": apart, "arms": rows}
        out.write_text(json.dumps(document, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the short form, which is what there is without --real")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--real", type=Path, help="folder of a finished comparison")
    parser.add_argument("--savings", type=Path, help="folder of any finished comparison: what its arms saved to each target, as JSON")
    parser.add_argument("--out", type=Path, help="where the figures of a finished comparison go")
    chosen = parser.parse_args()
    torch.set_num_threads(harness.threads_told())
    if chosen.savings is not None:
        print(json.dumps(to_every_target(records.load(TransferRecord, chosen.savings / "transfer.json"))))
    elif chosen.real is not None:
        whole(chosen.real, chosen.out)
    else:
        quick(chosen.json)


if __name__ == "__main__":
    main()
