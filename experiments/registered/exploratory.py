"""What was looked at in a registered study after its test: its own figures once more, by world, by pooling, and how the last block fares.

    python experiments/registered/exploratory.py [docs/experiments/registered/encoder.csv [AGAIN.csv]]

Reads a study's table of cells (default: study.csv there) and prints one figure a line. Of AGAIN, the table of the same study run once more, it prints
how far its returns lie from the first ones, at the largest budget that both have. Nothing here was registered.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from scipy import stats

TABLE = Path(__file__).parents[2] / "docs" / "experiments" / "registered" / "study.csv"
BUDGET = "mean_return_at_"
FEWEST = 3  # cells; among so few a rank correlation says nothing
Cells = list[dict[str, str]]


def column(cells: Cells, name: str) -> np.ndarray:
    """Return one column of a task's cells as numbers."""
    return np.array([float(cell[name]) for cell in cells])


def of_rank(cells: Cells) -> np.ndarray:
    """Return S-ctrl among these cells: half the rank of bits of action, half that of the state's R²."""
    return (stats.rankdata(column(cells, "bits_action")) + stats.rankdata(column(cells, "state_r2"))) / 2


def returns(cells: Cells) -> np.ndarray:
    """Return what 8 seeds earned on each cell at the largest budget of updates."""
    budgets = [int(name.removeprefix(BUDGET)) for name in cells[0] if name.startswith(BUDGET)]
    return column(cells, f"{BUDGET}{max(budgets)}")


def correlation(cells: Cells) -> float:
    """Return Spearman's ρ of S-ctrl with return."""
    return float(stats.spearmanr(of_rank(cells), returns(cells))[0])


def of_pooling(cells: Cells) -> float:
    """Return Spearman's ρ of a score that knows nothing but a cell's pooling, the grid above the mean."""
    return float(stats.spearmanr(["grid" in cell["pooling"] for cell in cells], returns(cells))[0])


def of_weights(cells: Cells) -> float:
    """Return Spearman's ρ of a score that knows nothing but whether a cell was pretrained."""
    return float(stats.spearmanr([cell["weights"] == "pretrained" for cell in cells], returns(cells))[0])


def given_up(cells: Cells, among: Cells) -> float:
    """Return what a random cell of ``among`` gives up, as a share of the way from the best to the worst."""
    found = returns(cells)
    return float((found.max() - returns(among).mean()) / np.ptp(found))


def with_interval(values: Iterable[float]) -> str:
    """Return a mean over tasks with Student's 95 % interval."""
    known = np.array(list(values))
    low, high = stats.t.interval(0.95, len(known) - 1, known.mean(), stats.sem(known))
    return f"{known.mean():.2f} [{low:.2f}, {high:.2f}]"


def in_percent(values: Iterable[float]) -> str:
    """Return a mean over tasks of shares, in per cent."""
    return f"{100 * np.mean(list(values)):.0f} %"


def deepest_is_worst(tasks: Collection[Cells]) -> str:
    """Return in how many tasks the deepest of these cells earned least."""
    return f"{sum(int(column(cells, 'depth').argmax() == returns(cells).argmin()) for cells in tasks)} of {len(tasks)}"


def learned(table: Path) -> dict[str, Cells]:
    """Return the cells of every task that was learned, with returns at the budgets that all of them reached."""
    with table.open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["learned"] == "learned"]
    tasks = {name: [row for row in rows if row["task"] == name] for name in sorted({row["task"] for row in rows})}
    return at_budgets(tasks, {name for name in rows[0] if name.startswith(BUDGET) and all(row[name] != "n/a" for row in rows)})


def budgets(tasks: dict[str, Cells]) -> set[str]:
    """Return the columns that hold returns at a budget of updates."""
    return {name for cells in tasks.values() for name in cells[0] if name.startswith(BUDGET)}


def at_budgets(tasks: dict[str, Cells], kept: Collection[str]) -> dict[str, Cells]:
    """Return the same cells with returns at these budgets alone."""
    return {
        task: [{name: cell[name] for name in cell if name in kept or not name.startswith(BUDGET)} for cell in cells]
        for task, cells in tasks.items()
    }


def first_choice(cells: Cells) -> dict[str, str]:
    """Return the cell that S-ctrl puts first; of equal ones the shallower."""
    return max(zip(of_rank(cells), cells, strict=True), key=lambda pair: (pair[0], -float(pair[1]["depth"])))[1]


def again(table: Path, other: Path) -> dict[str, str]:
    """Return how far the returns of a study that was run once more lie from the first ones, over the cells of the tasks learned in both."""
    tables = learned(table), learned(other)
    shared = budgets(tables[0]) & budgets(tables[1])
    if not shared:
        raise SystemExit("the two tables have no budget of updates in common")
    one, two = (at_budgets(tasks, shared) for tasks in tables)
    both = sorted(one.keys() & two.keys())

    def named(cell: dict[str, str]) -> tuple[str, str, str]:
        return cell["weights"], cell["layer"], cell["pooling"]

    pairs = [(sorted(one[name], key=named), sorted(two[name], key=named)) for name in both]
    if any(list(map(named, first)) != list(map(named, second)) for first, second in pairs):
        raise SystemExit("the two tables are not of the same cells")
    apart = np.concatenate([np.abs(returns(second) - returns(first)) for first, second in pairs])
    same = sum(named(first_choice(first)) == named(first_choice(second)) for first, second in pairs)
    orders = [float(stats.spearmanr(returns(first), returns(second))[0]) for first, second in pairs]
    return {
        "tasks learned in both": f"{len(both)}",
        "a cell's mean return moved by": f"{apart.mean():.3f} in the mean, {apart.max():.3f} at most",
        "ρ of the two orders of returns, by task": f"{min(orders):.2f} to {max(orders):.2f}",
        "tasks with the same first choice": f"{same} of {len(both)}",
    }


def figures(table: Path = TABLE) -> dict[str, str]:
    """Return every figure of the learned tasks under its name."""
    tasks = learned(table)
    pretrained = {name: [cell for cell in cells if cell["weights"] == "pretrained"] for name, cells in tasks.items()}
    pooled, both = (
        {kind: [[cell for cell in cells if kind in cell["pooling"]] for cells in some.values()] for kind in ("grid", "mean")}
        for some in (pretrained, tasks)
    )
    enough = {kind: [cells for cells in found if len(cells) > FEWEST] for kind, found in pooled.items()}
    whole = [correlation(cells) for cells in tasks.values()]
    of_s = [float(stats.spearmanr(column(cells, "score"), returns(cells))[0]) for cells in tasks.values()]
    worlds: dict[str, list[float]] = {}
    for name, found in zip(tasks, whole, strict=True):
        worlds.setdefault(name.split(" ")[0], []).append(found)
    told = {
        "H1, mean ρ of S-ctrl with return": f"{np.mean(whole):.3f}",
        "H3, its difference to that of S": f"{np.mean(whole) - np.mean(of_s):+.3f}",
        f"ρ, mean over {len(worlds)} worlds": with_interval(float(np.mean(found)) for found in worlds.values()),
    }
    if len({cell["pooling"] for cells in tasks.values() for cell in cells}) == 1:
        untrained = [[cell for cell in cells if cell["weights"] != "pretrained"] for cells in tasks.values()]
        return told | {
            "ρ among pretrained blocks": with_interval(map(correlation, pretrained.values())),
            "ρ among untrained blocks": with_interval(map(correlation, untrained)),
            "ρ of the weights alone": with_interval(map(of_weights, tasks.values())),
            "tasks in which the last pretrained block is the worst": deepest_is_worst(pretrained.values()),
        }
    more = [
        float(np.mean([value for value, cell in zip(returns(cells), cells, strict=True) if "grid" in cell["pooling"]]))
        - float(np.mean([value for value, cell in zip(returns(cells), cells, strict=True) if "mean" in cell["pooling"]]))
        for cells in tasks.values()
    ]
    return told | {
        **{f"ρ among pretrained blocks as a {kind}": with_interval(map(correlation, cells)) for kind, cells in enough.items() if cells},
        **{f"ρ among all blocks as a {kind}": with_interval(map(correlation, cells)) for kind, cells in both.items()},
        "ρ of the pooling alone": with_interval(map(of_pooling, tasks.values())),
        "given up by a random cell seen as a grid": in_percent(map(given_up, tasks.values(), both["grid"])),
        "the grid earns more than the mean, by task": f"{min(more):.2f} to {max(more):.2f}",
        "tasks in which the last pretrained block is the worst, as a grid": deepest_is_worst(pooled["grid"]),
    }


if __name__ == "__main__":
    told = figures(*map(Path, sys.argv[1:2]))
    for what, figure in (told | (again(*map(Path, sys.argv[1:3])) if sys.argv[2:] else {})).items():
        print(f"{what}: {figure}")
