"""Episodes in, one line each in a CSV and a JSONL file out: 36 named columns, each with its unit and its formula."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from layerscout.errors import DataError
from layerscout.rl.economics.spread import SpreadSplit
from layerscout.rl.economics.wages import (
    consumer_surplus,
    customer_price,
    error_rate,
    hourly_profit,
    implied_wage,
    marginal_product,
    wage_parity,
)
from layerscout.worlds.labour.trade import Prices


class LogColumn(NamedTuple):
    """One column of the log of episodes: its name, its unit and the formula that it follows."""

    name: str
    unit: str
    formula: str


COLUMNS = (
    LogColumn("episode", "1", "number of the episode, from 0"),
    LogColumn("seed", "1", "seed of the run"),
    LogColumn("hours", "h", "length of the episode"),
    LogColumn("completed", "units", "attempts − errors"),
    LogColumn("attempts", "units", "Σ over steps"),
    LogColumn("errors", "units", "Σ over steps"),
    LogColumn("marginal_product", "units/h", "completed / hours"),
    LogColumn("error_rate", "share", "errors / attempts"),
    LogColumn("speed", "share", "mean over steps"),
    LogColumn("care", "share", "mean over steps"),
    LogColumn("revenue", "$/h", "price · marginal_product"),
    LogColumn("damage_cost", "$/h", "damage · error_rate · marginal_product"),
    LogColumn("energy_cost", "$/h", "price of an hour's energy"),
    LogColumn("profit", "$/h", "implied_wage − energy_cost"),
    LogColumn("implied_wage", "$/h", "revenue − damage_cost"),
    LogColumn("human_wage", "$/h", "a person's wage"),
    LogColumn("wage_parity", "ratio", "implied_wage / human_wage"),
    LogColumn("error_target", "share", "e* of the episode"),
    LogColumn("violation", "share", "error_rate − error_target"),
    LogColumn("multiplier", "$/h", "λ in force, for a unit of error rate"),
    LogColumn("penalty", "$/h", "λ · violation, or λ · max(0, violation)"),
    LogColumn("next_multiplier", "$/h", "max(0, λ + η · violation)"),
    LogColumn("penalised_profit", "$/h", "profit − penalty"),
    LogColumn("spread", "$/h", "implied_wage − human_wage above parity, else 0"),
    LogColumn("spread_value", "$", "spread · hours"),
    LogColumn("customer_share", "share", "clip(predicted_gain / (gain + 10⁻⁶), 0, 1); 0 if none was foretold or came; none up to parity"),
    LogColumn("platform_share", "share", "1 − customer_share; none up to parity"),
    LogColumn("rebate", "$", "customer_share · spread_value"),
    LogColumn("captured", "$", "platform_share · spread_value"),
    LogColumn("customer_price", "$/h", "min(max(0, implied_wage − rebate / hours), human_wage)"),
    LogColumn("consumer_surplus", "$/h", "human_wage − customer_price"),
    LogColumn("novelty", "own", "mean over the episode's steps, in the unit of its way"),
    LogColumn("predicted_gain", "units/h", "what the data's value foretold; none before ten episodes"),
    LogColumn("gain", "units/h", "marginal_product − that of the episode before"),
    LogColumn("temperature", "1", "α of the entropy"),
    LogColumn("critic_loss", "own", "mean of the episode's updates; none without any"),
)
NAMES = tuple(column.name for column in COLUMNS)

Row = dict[str, float | int | None]


def episode_row(
    prices: Prices,
    counts: tuple[int, int, int],
    *,
    hours: float = 1.0,
    spread: SpreadSplit | None = None,
    error_target: float | None = None,
    multiplier: float = 0.0,
    next_multiplier: float = 0.0,
    hinge: bool = False,
    **measured: float | None,
) -> Row:
    """Return an episode's 36 columns from what was counted and measured; what cannot be computed is None.

    Parameters
    ----------
    prices
        Dollars.
    counts
        Completed units, attempts and errors.
    hours
        Length of the episode, above 0.
    spread
        The split, see `allocate_spread`.
    error_target, multiplier, next_multiplier, hinge
        e* (None: none is set), λ in force and after the episode, and whether the penalty is a hinge.
    measured
        The other columns by name: episode, seed, speed, care, novelty, predicted_gain, gain, temperature, critic_loss.
    """
    completed, attempts, errors = counts
    product, rate = marginal_product(completed, hours), error_rate(errors, attempts)
    wage = implied_wage(prices.price, product, rate, prices.damage)
    profit = hourly_profit(wage, prices.energy)
    violation = None if rate is None or error_target is None else rate - error_target
    penalty = None if violation is None else multiplier * (max(0.0, violation) if hinge else violation)
    paid = None if wage is None else customer_price(wage, 0.0 if spread is None else spread.rebate / hours, prices.human_wage)
    row: Row = dict.fromkeys(NAMES)
    row |= {
        "hours": hours,
        "completed": completed,
        "attempts": attempts,
        "errors": errors,
        "marginal_product": product,
        "error_rate": rate,
        "revenue": prices.price * product,
        "damage_cost": None if rate is None else prices.damage * rate * product,
        "energy_cost": prices.energy,
        "profit": profit,
        "implied_wage": wage,
        "human_wage": prices.human_wage,
        "wage_parity": wage_parity(wage, prices.human_wage),
        "error_target": error_target,
        "violation": violation,
        "multiplier": multiplier,
        "penalty": penalty,
        "next_multiplier": next_multiplier,
        "penalised_profit": None if profit is None or penalty is None else profit - penalty,
        "customer_price": paid,
        "consumer_surplus": None if paid is None else consumer_surplus(paid, prices.human_wage),
    }
    if spread is not None:
        row |= {"spread": spread.spread, "spread_value": spread.value, "rebate": spread.rebate, "captured": spread.captured}
        row |= {"customer_share": spread.customer_share, "platform_share": spread.platform_share}
    assert not measured.keys() - row.keys(), measured.keys() - row.keys()
    return row | {name: None if value is None or not math.isfinite(value) else value for name, value in measured.items()}


class EpisodeLog:
    """Writes every episode at once into ``episodes.csv`` and ``episodes.jsonl`` of a folder: an absent figure is empty, or null."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._csv: IO[str] = (folder / "episodes.csv").open("w", encoding="utf-8", newline="")
        self._lines: IO[str] = (folder / "episodes.jsonl").open("w", encoding="utf-8")
        self._writer = csv.DictWriter(self._csv, NAMES, lineterminator="\n")
        self._writer.writeheader()

    def add(self, row: Row) -> None:
        """Write one episode as the next line of the log."""
        self._writer.writerow({name: "" if row[name] is None else row[name] for name in NAMES})
        self._lines.write(json.dumps({name: row[name] for name in NAMES}, allow_nan=False) + "\n")

    def __enter__(self) -> EpisodeLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._csv.close()
        self._lines.close()


def read_episodes(file: Path) -> list[dict[str, Any]]:
    """Read the episodes of a log, of either file; an absent figure is None.

    Raises
    ------
    DataError
        The file's columns are not those of this log, or a line is no episode.
    """
    try:
        names, rows = _lines_of(file) if file.suffix == ".jsonl" else _table_of(file)
    except (ValueError, TypeError, AttributeError) as error:  # a line that was cut, or says something else than numbers
        raise DataError(f"{file} is no log of episodes: {error}", hint="work these hours again, or read the log's other file") from None
    if any(tuple(one) != NAMES for one in names):
        raise DataError(f"{file} is no log of episodes: its columns are others", hint=f"expected {', '.join(NAMES)}")
    return rows


def _lines_of(file: Path) -> tuple[list[tuple[str, ...]], list[dict[str, Any]]]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [tuple(row.keys()) for row in rows], rows


def _table_of(file: Path) -> tuple[list[tuple[str, ...]], list[dict[str, Any]]]:
    with file.open(encoding="utf-8", newline="") as lines:
        names, *rows = [tuple(line) for line in csv.reader(lines)] or [()]
    return [names], [{name: None if text == "" else float(text) for name, text in zip(names, row, strict=True)} for row in rows]
