"""A run record in; experiment_returns.csv, experiment_summary.csv and experiment_summary_table.md out."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerscout.cache.records import Arm, Estimate, Run, RunRecord, none_if_nan, write_atomic
from layerscout.rl.statistics import bootstrap

UNDEFINED = "n/a"
RETURNS_COLUMNS = ("arm", "layer", "seed", "episode", "return", "phase", "at")
SUMMARY_COLUMNS = (
    "arm",
    "layer",
    "mean_return_last_50",
    "std_across_seeds",
    "mean_return_all_episodes",
    "iqm",
    "iqm_low",
    "iqm_high",
    "seeds",
    "failed",
    "score",
    "kind",
    "head",
    "environment_steps",
    "updates",
    "trainable_parameters",
    "flops",
    "backbone_clips",
    "wall_seconds",
    "cpu_seconds",
)
PAPER_COLUMNS = (
    "Arm",
    "Mean return (last 50)",
    "Std across seeds",
    "Mean return (all episodes)",
    "IQM",
    "95 % interval",
    "Seeds",
    "Failed",
    "Score",
)

Cell = str | int | float | None


@dataclass(frozen=True)
class Summary:
    """One arm over its seeds. A figure without data is None.

    ``last`` is the mean over seeds of each run's final return (its last 50 episodes), ``spread`` the sample standard
    deviation of those, ``overall`` the mean over seeds of each run's `overall_return`, ``iqm`` the interquartile
    mean of the final returns with its bootstrap interval.
    """

    arm: Arm
    last: float | None
    spread: float | None
    overall: float | None
    iqm: Estimate | None
    seeds: int
    failed: int


def summarise(record: RunRecord, arm: Arm) -> Summary:
    """Aggregate the finished runs of one arm; failed runs are counted, never averaged in."""
    runs = [run for run in record.runs if run.arm == arm.name]
    done = [run for run in runs if run.status == "done"]
    final = np.array([run.final for run in done if run.final is not None], dtype=np.float64)
    overall = [value for run in done if (value := overall_return(run)) is not None]
    return Summary(
        arm=arm,
        last=float(final.mean()) if len(final) else None,
        spread=none_if_nan(float(final.std(ddof=1))) if len(final) > 1 else None,
        overall=float(np.mean(overall)) if overall else None,
        iqm=bootstrap([final]),
        seeds=len(runs),
        failed=len(runs) - len(done),
    )


def summaries(record: RunRecord) -> tuple[Summary, ...]:
    """Aggregate every arm, in the record's order."""
    return tuple(summarise(record, arm) for arm in record.arms)


def episodes(run: Run) -> Iterable[tuple[float, str, int | None]]:
    """Yield every episode of a run once, as (return, phase, at): training in the order it ended, then greedy rollouts.

    ``at`` is when a rollout was made: updates done when learning offline, environment steps of the run otherwise.

    A run that learned offline has no training episodes; its returns are those of its last rollouts and are not repeated.
    """
    rollouts = [(value, at) for at, values in run.evaluations for value in values]
    tail = tuple(value for value, _ in rollouts[len(rollouts) - len(run.returns) :])
    if len(run.returns) > len(rollouts) or tail != run.returns:
        yield from ((value, "train", None) for value in run.returns)
    yield from ((value, "eval", at) for value, at in rollouts)


def overall_return(run: Run) -> float | None:
    """Return the mean over all training episodes, or over all rollouts of a run that had none."""
    trained = [value for value, phase, _ in episodes(run) if phase == "train"]
    values = trained or [value for value, _, _ in episodes(run)]
    return float(np.mean(values)) if values else None


def returns_rows(record: RunRecord) -> Iterable[tuple[Cell, ...]]:
    """Yield one row an episode; episodes are counted from 0 inside their phase."""
    layers = {arm.name: arm.layer for arm in record.arms}
    for run in record.runs:
        counts = {"train": 0, "eval": 0}
        for value, phase, at in episodes(run):
            yield run.arm, layers.get(run.arm, run.arm), run.seed, counts[phase], value, phase, at
            counts[phase] += 1


def summary_row(summary: Summary) -> tuple[Cell, ...]:
    """Lay one summary out in the order of ``SUMMARY_COLUMNS``."""
    arm, iqm, budget = summary.arm, summary.iqm, summary.arm.budget
    interval = (iqm.value, iqm.low, iqm.high) if iqm else (None, None, None)
    owner = (arm.name, arm.layer, summary.last, summary.spread, summary.overall)
    spent = (budget.environment_steps, budget.updates, budget.trainable_parameters, budget.flops)
    times = (budget.backbone_clips, budget.wall_seconds, budget.cpu_seconds)
    return (*owner, *interval, summary.seeds, summary.failed, arm.score, arm.kind, arm.head, *spent, *times)


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Return CSV text; a missing figure is written as n/a and floats keep every digit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([UNDEFINED if cell is None else cell for cell in row] for row in rows)
    return text.getvalue()


def as_markdown(columns: Sequence[str], rows: Iterable[Sequence[str]], words: bool = False) -> str:
    """Return a Markdown table: the first column to the left, figures to the right, ``words`` to the left."""
    clean = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    head = f"| {' | '.join(columns)} |\n|---|{('---|' if words else '---:|') * (len(columns) - 1)}\n"
    return head + "".join(f"| {' | '.join(row)} |\n" for row in clean)


def number(value: float | None, digits: int = 3) -> str:
    """Format a figure for people, n/a when there is none."""
    return UNDEFINED if value is None else f"{value:,.{digits}f}"


def figure(estimate: Estimate | None, digits: int = 3, sign: str = "") -> str:
    """Format an estimate for a sentence: ``0.412 [0.380, 0.440]``."""
    if estimate is None:
        return UNDEFINED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}.{digits}f}"
    return f"{estimate.value:{sign}.{digits}f} [{estimate.low:{sign}.{digits}f}, {estimate.high:{sign}.{digits}f}]"


def interval(estimate: Estimate | None, digits: int = 3) -> str:
    """Format the interval alone, for a column of its own beside the value."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return UNDEFINED
    return f"[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"


def summary_cells(record: RunRecord) -> tuple[tuple[str, ...], ...]:
    """Return the rows of the paper's table, under ``PAPER_COLUMNS``: the figures that one reads first, then the robust ones."""
    rows = []
    for one in summaries(record):
        owner = (number(one.last), number(one.spread), number(one.overall))
        robust = (number(one.iqm.value if one.iqm else None), interval(one.iqm))
        rows.append((one.arm.name, *owner, *robust, str(one.seeds), str(one.failed), number(one.arm.score)))
    return tuple(rows)


def write_tables(record: RunRecord, folder: Path) -> tuple[Path, Path, Path]:
    """Write the two CSV files and the Markdown table, each whole or not at all; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    returns, summary, table = (
        folder / name for name in ("experiment_returns.csv", "experiment_summary.csv", "experiment_summary_table.md")
    )
    write_atomic(returns, as_csv(RETURNS_COLUMNS, returns_rows(record)).encode())
    write_atomic(summary, as_csv(SUMMARY_COLUMNS, map(summary_row, summaries(record))).encode())
    write_atomic(table, as_markdown(PAPER_COLUMNS, summary_cells(record)).encode())
    return returns, summary, table
