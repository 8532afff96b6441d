"""Hours that runs worked in; rows of the log, judgements, curves and correlations out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from layerscout.cache.records.work import WorkCurve, WorkJudgement
from layerscout.rl.agents.sac import SAC
from layerscout.rl.economics.data_value import data_value
from layerscout.rl.economics.episode_log import COLUMNS, NAMES, Row, episode_row
from layerscout.rl.economics.spread import allocate_spread
from layerscout.rl.economics.wages import error_rate, implied_wage
from layerscout.worlds.labour.base import LabourWorld

BLOCKS = 100  # points of a curve at most
CURVES = (
    "profit",
    "marginal_product",
    "error_rate",
    "wage_parity",
    "multiplier",
    "error_target",
    "temperature",
    "rebate",
    "captured",
    "customer_price",
    "speed",
    "care",
)


class Judgement(NamedTuple):
    """What a deterministic policy is expected to earn, in closed form, on the states of its own hours; one number a run."""

    episode: int
    profit: Float[np.ndarray, " run"]  # dollars an hour
    error: Float[np.ndarray, " run"]  # share
    speed: Float[np.ndarray, " run"]
    care: Float[np.ndarray, " run"]

    def record(self) -> WorkJudgement:
        """Return it as it is kept."""
        figures = {name: tuple(getattr(self, name).tolist()) for name in ("profit", "error", "speed", "care")}
        return WorkJudgement(episode=self.episode, **figures)


class WorkedHour(NamedTuple):
    """An hour of every run: its rows of the log, and what the policy was judged to be worth after it, where it was asked."""

    rows: list[Row]
    judgement: Judgement | None


@dataclass
class Work:
    """What all runs did and learned at work: their agent, how it was judged, and a log of every episode."""

    agent: SAC
    judgements: list[Judgement] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=list)  # [episode][run]

    def take(self, hour: WorkedHour) -> None:
        """Append the hour's rows, and its judgement where the policy was judged after it."""
        self.rows.append(hour.rows)
        if hour.judgement is not None:
            self.judgements.append(hour.judgement)

    def column(self, name: str) -> Float[np.ndarray, "episode run"]:
        """Return one of the log's columns; NaN where it is absent."""
        return np.array([[math.nan if row[name] is None else row[name] for row in hour] for hour in self.rows], dtype=np.float64)

    @property
    def blocks(self) -> tuple[int, ...]:
        """The last hour of every block over which curves are averaged."""
        return tuple(int(block[-1]) for block in _blocks(len(self.rows)))

    def curves(self) -> tuple[WorkCurve, ...]:
        """Return the columns that a page draws, averaged over blocks of hours."""
        units = {column.name: column.unit for column in COLUMNS}
        return tuple(WorkCurve(column=name, unit=units[name], values=_averaged(self.column(name))) for name in CURVES)

    def correlations(self, first: str, second: str) -> tuple[float | None, ...]:
        """Pearson's correlation of two columns over a run's hours in which both are defined; None where one does not vary."""
        return tuple(_correlation(*pair) for pair in zip(self.column(first).T, self.column(second).T, strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return rows and judgements as plain lists."""
        judged = [[judgement.episode, *(figure.tolist() for figure in judgement[1:])] for judgement in self.judgements]
        return {"rows": [[[row[name] for name in NAMES] for row in hour] for hour in self.rows], "judgements": judged}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave."""
        self.rows = [[dict(zip(NAMES, values, strict=True)) for values in hour] for hour in state["rows"]]
        self.judgements = [Judgement(int(episode), *map(np.array, figures)) for episode, *figures in state["judgements"]]


class Books:
    """Counts of an hour in, its row of the log out, one a run: remembers the hour before, and learns what new data are worth."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = tuple(seeds)
        self.values = [data_value() for _ in seeds]
        self._before: list[float | None] = [None] * len(self.seeds)  # good units of the hour before

    def close(self, world: LabourWorld, run: int, novelty: float, measured: dict[str, float | None], **constraint: Any) -> Row:
        """Return a run's row of the hour that ended.

        Parameters
        ----------
        world
            Where it was worked.
        run
            Which run.
        novelty
            Mean over the hour's steps.
        measured
            Further columns that are known: episode, speed, care, temperature, critic_loss.
        constraint
            error_target, multiplier, next_multiplier and hinge, see `episode_row`.
        """
        completed, attempts, errors = world.counts()[run].tolist()
        prices, product, past = world.prices, float(completed), self._before[run]
        foretold, gain = self.values[run].predict(novelty), None if past is None else product - past
        wage = implied_wage(prices.price, product, error_rate(errors, attempts), prices.damage)
        shared = allocate_spread(wage, prices.human_wage, 1.0, foretold or 0.0, gain or 0.0)
        known: dict[str, Any] = measured | {"seed": self.seeds[run], "novelty": novelty, "predicted_gain": foretold, "gain": gain}
        if gain is not None:
            self.values[run].update(novelty, gain)
        self._before[run] = product
        return episode_row(prices, (completed, attempts, errors), spread=shared, **constraint, **known)

    def state_dict(self) -> dict[str, Any]:
        """Return what goes on to the next hour."""
        return {"before": list(self._before), "values": [line.state_dict() for line in self.values]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave."""
        self._before = list(state["before"])
        for line, saved in zip(self.values, state["values"], strict=True):
            line.load_state_dict(saved)


def _blocks(hours: int) -> list[np.ndarray]:
    return np.array_split(np.arange(hours), min(hours, BLOCKS))


def _averaged(column: Float[np.ndarray, "episode run"]) -> tuple[tuple[float | None, ...], ...]:
    """Average over blocks of hours what is defined in them."""
    found = []
    for block in _blocks(len(column)):
        rows = column[block]
        known = np.isfinite(rows)
        total = np.where(known, rows, 0.0).sum(0) / np.maximum(known.sum(0), 1)
        found.append(tuple(float(value) if there else None for value, there in zip(total, known.any(0), strict=True)))
    return tuple(found)


def _correlation(first: Float[np.ndarray, " episode"], second: Float[np.ndarray, " episode"]) -> float | None:
    known = np.isfinite(first) & np.isfinite(second)
    if known.sum() < 3 or np.ptp(first[known]) == 0.0 or np.ptp(second[known]) == 0.0:
        return None
    one, two = (values[known] - values[known].mean() for values in (first, second))
    return float(one @ two / np.sqrt((one @ one) * (two @ two)))
