"""A run record in; experiment_returns.csv, experiment_summary.csv and experiment_summary_table.md out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import Arm, Estimate, RunRecord
from layerscout.pages.tables import UNDEFINED, as_csv, as_markdown
from layerscout.report.captions import overall_column, returns_column
from layerscout.report.numbers.gate import REFERENCE_WORDS, references_of
from layerscout.report.numbers.statistics import seed_warning
from layerscout.report.numbers.summaries import ArmSummary, arm_summaries, episodes_of, most_seeds

TABLE_NAMES = ("experiment_returns.csv", "experiment_summary.csv", "experiment_summary_table.md")
RETURNS_COLUMNS = ("arm", "layer", "seed", "episode", "return", "phase", "at")
BUDGET_COLUMNS = ("environment_steps", "updates", "trainable_parameters", "flops", "backbone_clips", "wall_seconds", "cpu_seconds")
SUMMARY_COLUMNS = (
    *("arm", "layer", "mean_return_last_50", "std_across_seeds", "mean_return_all_episodes"),
    *("iqm", "iqm_low", "iqm_high", "seeds", "failed", "score", "kind", "head"),
    *BUDGET_COLUMNS,
    *("evaluation", "evaluation_iqm", "evaluation_iqm_low", "evaluation_iqm_high", "auc", "auc_low", "auc_high"),
    *("threshold", "work_to_threshold", "reached_threshold"),
    *("optimality_gap", "optimality_gap_low", "optimality_gap_high"),
)
SPENT = ("Env. steps", "Updates", "Parameters", "GFLOP", "Wall s", "CPU s")  # the budget's columns in every table of arms
REFERENCE = "reference"  # kind of a row that is no arm: a policy that learns nothing
SPEED_COLUMNS = ("Arm", "AUC", "Work to threshold", "Reached", "Optimality gap", *SPENT)

Value = str | int | float | None


def returns_rows(record: RunRecord) -> Iterable[tuple[Value, ...]]:
    """Yield one row an episode under ``RETURNS_COLUMNS``; episodes are counted from 0 inside their phase."""
    layers = {arm.name: arm.layer for arm in record.arms}
    for run in record.runs:
        counts = {"train": 0, "eval": 0}
        for value, phase, at in episodes_of(run):
            yield run.arm, layers.get(run.arm, run.arm), run.seed, counts[phase], value, phase, at
            counts[phase] += 1


def paper_columns(mode: str) -> tuple[str, ...]:
    """Return the columns of the paper's table: they say what a run's return is where agents play, and where they learn offline."""
    means = ("Arm", returns_column(mode), "Std across seeds", overall_column(mode), "IQM", "95 % interval", "Evaluation")
    return (*means, "Seeds", "Failed", "Score", *SPENT)


def reference_rows(record: RunRecord) -> Iterable[tuple[Value, ...]]:
    """Yield a row under ``SUMMARY_COLUMNS`` for every policy that learns nothing: its mean return, and its interval as that of the IQM."""
    for one in references_of(record):
        known: dict[str, Value] = {
            "arm": REFERENCE_WORDS[one.name],
            "mean_return_last_50": one.mean,
            "iqm_low": one.low,
            "iqm_high": one.high,
            "kind": REFERENCE,
        }
        yield tuple(known.get(column) for column in SUMMARY_COLUMNS)


def summary_row(summary: ArmSummary) -> tuple[Value, ...]:
    """Return one arm's summary in the order of ``SUMMARY_COLUMNS``."""
    arm, arrival = summary.arm, summary.arrival
    owner = (arm.name, arm.layer, summary.last, summary.spread, summary.overall)
    spent = tuple(getattr(arm.budget, name) for name in BUDGET_COLUMNS)
    learned = (summary.level, arrival.median if arrival else None, arrival.reached if arrival else None)
    return (
        *(*owner, *estimate_cells(summary.iqm), summary.seeds, summary.failed, arm.score, arm.kind, arm.head, *spent),
        *(summary.evaluation, *estimate_cells(summary.evaluation_iqm), *estimate_cells(summary.auc)),
        *(*learned, *estimate_cells(summary.gap)),
    )


def estimate_cells(estimate: Estimate | None) -> tuple[float | None, float | None, float | None]:
    """Return an estimate as three cells: value, low, high."""
    return (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)


def format_number(value: float | None, digits: int = 3) -> str:
    """Return a figure for people, n/a when there is none."""
    return UNDEFINED if value is None else f"{value:z,.{digits}f}"


def format_p(p: float | None, digits: int = 4) -> str:
    """Return a p value for people: never 0, which no test gives."""
    return f"< {10.0**-digits:.{digits}f}" if p is not None and p < 0.5 * 10.0**-digits else format_number(p, digits)


def p_words(p: float | None) -> str:
    """Return a p value for a sentence: "p = 0.0123", "p n/a"; where all tasks agree to the last bit its limit is 0, which no test gives."""
    if p is None:
        return f"p {UNDEFINED}"
    return f"p = {p:.3g}" if p else "p < 0.0001"


def format_estimate(estimate: Estimate | None, digits: int = 3, sign: str = "") -> str:
    """Return an estimate for a sentence: ``0.412 [0.380, 0.440]``."""
    if estimate is None:
        return UNDEFINED
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}z.{digits}f}"
    return f"{estimate.value:{sign}z.{digits}f} [{estimate.low:{sign}z.{digits}f}, {estimate.high:{sign}z.{digits}f}]"


def format_interval(estimate: Estimate | None, digits: int = 3) -> str:
    """Return the interval alone, for a column of its own beside the value."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return UNDEFINED
    return f"[{estimate.low:z.{digits}f}, {estimate.high:z.{digits}f}]"


def spent_cells(arm: Arm) -> tuple[str, ...]:
    """Return an arm's budget under ``SPENT``: counts of one run, times as in `Budget`."""
    budget = arm.budget
    counts = (f"{budget.environment_steps:,}", f"{budget.updates:,}", f"{budget.trainable_parameters:,}")
    times = (format_number(budget.wall_seconds, 1), format_number(budget.cpu_seconds, 1))
    return (*counts, format_number(budget.flops / 1e9, 2), *times)


def summary_cells(record: RunRecord) -> tuple[tuple[str, ...], ...]:
    """Return the rows under `paper_columns`: the figures that one reads first, then the robust ones; policies that learn nothing come last."""
    rows = []
    for one in arm_summaries(record):
        means = (format_number(one.last), format_number(one.spread), format_number(one.overall))
        robust = (format_number(one.iqm.value if one.iqm else None), format_interval(one.iqm), format_number(one.evaluation))
        rows.append((one.arm.name, *means, *robust, str(one.seeds), str(one.failed), format_number(one.arm.score), *spent_cells(one.arm)))
    for reference in references_of(record):
        interval = format_interval(Estimate(value=reference.mean, low=reference.low, high=reference.high))
        blank = ("–",) * (len(SPENT) + 3)
        rows.append((REFERENCE_WORDS[reference.name], format_number(reference.mean), "–", "–", "–", interval, "–", *blank))
    return tuple(rows)


def speed_cells(record: RunRecord) -> tuple[tuple[str, ...], ...]:
    """Return how fast and how far each arm learned, under ``SPEED_COLUMNS``."""
    rows = []
    for one in arm_summaries(record):
        median = format_number(one.arrival.median if one.arrival else None, 0)
        reached = f"{one.arrival.reached} of {one.arrival.runs}" if one.arrival else UNDEFINED
        rows.append((one.arm.name, format_estimate(one.auc), median, reached, format_estimate(one.gap), *spent_cells(one.arm)))
    return tuple(rows)


def seed_caution(record: RunRecord) -> str | None:
    """Return the sentence that must stand with every table of an experiment with too few seeds to show anything."""
    return seed_warning(most_seeds(record)) if record.runs else None


def write_experiment_tables(record: RunRecord, folder: Path) -> tuple[Path, Path, Path]:
    """Write the two CSV files and the Markdown table, each whole or not at all; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    returns, summary, table = (folder / name for name in TABLE_NAMES)
    write_atomic(returns, as_csv(RETURNS_COLUMNS, returns_rows(record)).encode())
    write_atomic(summary, as_csv(SUMMARY_COLUMNS, [*map(summary_row, arm_summaries(record)), *reference_rows(record)]).encode())
    caution = seed_caution(record)
    text = as_markdown(paper_columns(record.mode), summary_cells(record)) + (f"\n{caution}\n" if caution else "")
    write_atomic(table, text.encode())
    return returns, summary, table
