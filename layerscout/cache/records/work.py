"""What an hour of labour is worth in closed form, and what agents that worked for a wage were expected to earn: one record an experiment."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from layerscout.cache.records.base import Record

WORK_NAME = "work.json"

Seeds = tuple[float | None, ...]  # a figure of every seed; None: not defined


class WageHour(Record):
    """What an hour at one action is expected to give, in closed form. ``multiplier`` is the shadow price of a limit on errors, None without one."""

    speed: float
    care: float
    product: float  # good units an hour
    error: float  # share
    profit: float  # dollars an hour
    wage: float  # dollars an hour
    parity: float
    multiplier: float | None = None


class FrontierPoint(Record):
    """One action of the grid over which a trade was swept, and whether it keeps the limit."""

    speed: float
    care: float
    product: float
    error: float
    profit: float
    feasible: bool


class ElasticityPoint(Record):
    """The best hour where one price is another, the others being as they are."""

    setting: str  # price, damage or human_wage
    dollars: float
    hour: WageHour


class WorkJudgement(Record):
    """What the policy was expected to earn after so many hours, a number a seed."""

    episode: int
    profit: tuple[float, ...]
    error: tuple[float, ...]
    speed: tuple[float, ...]
    care: tuple[float, ...]


class WorkCurve(Record):
    """One column of the log of episodes, averaged over blocks of hours: [block][seed]."""

    column: str
    unit: str
    values: tuple[Seeds, ...]


class WorkArm(Record):
    """One set of settings, worked by every seed.

    ``settings`` are those in which the arm differs. ``foretold`` and ``novel`` are the correlations over a run's hours of the gain in
    marginal product with what was foretold of it, and with the hour's novelty; None where one of the two does not vary. ``reasons`` say why
    a seed stopped learning, where one did: its policy is the one from before.
    """

    name: str
    settings: dict[str, Any]
    environment: str
    prices: dict[str, float]
    limit: float | None
    swept: str | None
    best: WageHour
    hours: int
    updates: int
    clips: int
    trainable_parameters: int
    cpu_seconds: float
    judgements: tuple[WorkJudgement, ...]
    blocks: tuple[int, ...]  # the last hour of every block
    curves: tuple[WorkCurve, ...]
    foretold: Seeds
    novel: Seeds
    reasons: dict[int, str] = Field(default_factory=dict)

    @property
    def last(self) -> WorkJudgement:
        """Judgement of the policy after its last hour."""
        return self.judgements[-1]

    def curve(self, column: str) -> WorkCurve:
        """What the column was hour by hour; a column that the arm lacks is a StopIteration."""
        return next(one for one in self.curves if one.column == column)


class WorkRecord(Record):
    """An experiment with labour: its arms, and what closed forms say of the first one's prices."""

    environment: str
    seeds: tuple[int, ...]
    limit: float
    feasible: int  # of 2,500 actions, those that keep the limit
    profitable: int  # those that besides make a person's product times four thirds
    needed: float  # that product
    frontier: tuple[FrontierPoint, ...]
    elasticity: tuple[ElasticityPoint, ...]
    arms: tuple[WorkArm, ...]
