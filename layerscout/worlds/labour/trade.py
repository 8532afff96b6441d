"""A trade's constants, its prices and an action in, what one hour of it is expected to give out: every figure of a labour world in closed form."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from layerscout.errors import UsageError

STEPS_PER_HOUR = 60  # a step is a minute
LOWEST_RATE = 0.1  # attempts a minute
HIGHEST_ERROR = 0.5  # probability


@dataclass(frozen=True)
class Prices:
    """What an hour is paid and charged.

    Parameters
    ----------
    price
        Dollars for a unit without fault, above 0.
    damage
        Dollars for an error, at least 0.
    energy
        Dollars an hour that the machine costs, at least 0.
    human_wage
        Dollars an hour that a person earns for the same work, above 0.

    Raises
    ------
    UsageError
        A number is outside its range or not finite.
    """

    price: float
    damage: float
    energy: float
    human_wage: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = float(getattr(self, field.name))
            lowest_allowed = field.name in ("damage", "energy")
            if not math.isfinite(value) or value < 0.0 or (value == 0.0 and not lowest_allowed):
                expected = "at least 0" if lowest_allowed else "above 0"
                raise UsageError(f"{field.name} is {value} dollars", hint=f"{field.name} is a finite number {expected}")


@dataclass(frozen=True)
class Trade:
    """How speed and care turn into attempts and errors.

    Parameters
    ----------
    base_rate
        Attempts a minute of a hand that moves at full speed without care.
    care_cost
        Share of the rate that full care costs, in [0, 1).
    least_error
        Probability of an error that neither slowness nor care avoids.
    haste, haste_power
        Errors of speed that no care avoids: ``haste · speed ** haste_power``.
    slip, speed_power, care_power
        Errors that care avoids: ``slip · speed ** speed_power · (1 − care) ** care_power``.
    prices
        What the trade is paid, where nobody says otherwise.
    """

    base_rate: float
    care_cost: float
    least_error: float
    haste: float
    haste_power: float
    slip: float
    speed_power: float
    care_power: float
    prices: Prices

    def rate(self, speed: ArrayLike, care: ArrayLike) -> NDArray[np.float64]:
        """Mean of the Poisson number of attempts a minute: max(0.1, base_rate (0.5 + 0.5 speed) (1 − care_cost care))."""
        slowed = self.base_rate * (0.5 + 0.5 * np.asarray(speed, np.float64)) * (1.0 - self.care_cost * np.asarray(care, np.float64))
        return np.maximum(LOWEST_RATE, slowed)

    def error_probability(self, speed: ArrayLike, care: ArrayLike) -> NDArray[np.float64]:
        """Probability that an attempt fails: least_error + haste speed^q + slip speed^q_s (1 − care)^q_c, cut to [0, 0.5]."""
        quick, careless = np.asarray(speed, np.float64), 1.0 - np.asarray(care, np.float64)
        errors = self.least_error + self.haste * quick**self.haste_power + self.slip * quick**self.speed_power * careless**self.care_power
        return np.clip(errors, 0.0, HIGHEST_ERROR)


class Hour(NamedTuple):
    """What one hour gives: numbers or arrays of one shape."""

    attempts: Any  # units begun an hour
    marginal_product: Any  # units without fault an hour
    error_rate: Any  # errors an attempt, in [0, 1]
    profit: Any  # dollars an hour


def expected_hour(trade: Trade, speed: ArrayLike, care: ArrayLike, prices: Prices | None = None, *, floor: bool = True) -> Hour:
    """Return what an hour at a constant action is expected to give.

    E max(1, Poisson(λ)) = λ + e^−λ attempts a minute; MP = 60 E[attempts] (1 − p_err); profit = price MP − damage p_err MP − energy.

    Parameters
    ----------
    trade
        The constants.
    speed, care
        The action, each in [0, 1]; arrays broadcast.
    prices
        Dollars; None: the trade's own.
    floor
        Whether an attempt is always under way, max(1, ·), as in the worlds; False leaves it out.
    """
    prices = prices or trade.prices
    rate, error = trade.rate(speed, care), trade.error_probability(speed, care)
    attempts = STEPS_PER_HOUR * (rate + np.exp(-rate) if floor else rate)
    product = attempts * (1.0 - error)
    return Hour(attempts, product, error, prices.price * product - prices.damage * error * product - prices.energy)


class Optimum(NamedTuple):
    """The constant action that is expected to earn most."""

    speed: float
    care: float
    hour: Hour


def optimum(trade: Trade, prices: Prices | None = None, largest_error: float = 1.0) -> Optimum:
    """Return the action of the largest expected profit among those whose error rate is at most ``largest_error``.

    A grid is searched again around its best point until its points lie 10⁻⁶ apart.

    Raises
    ------
    UsageError
        No action has so few errors.
    """
    low, high = np.zeros(2), np.ones(2)
    best = np.zeros(2)
    for _ in range(9):
        speed, care = np.meshgrid(*(np.linspace(low[axis], high[axis], 81) for axis in range(2)), indexing="ij")
        hour = expected_hour(trade, speed, care, prices)
        allowed = hour.error_rate <= largest_error + 1e-12
        if not allowed.any():
            lowest = float(trade.error_probability(0.0, 1.0))
            raise UsageError(f"no action errs as little as {largest_error}", hint=f"give an error rate of at least {lowest}")
        place = np.unravel_index(np.where(allowed, hour.profit, -np.inf).argmax(), speed.shape)
        best = np.array([speed[place], care[place]])
        reach = (high - low) / 10.0
        low, high = np.clip(best - reach, 0.0, 1.0), np.clip(best + reach, 0.0, 1.0)
    return Optimum(float(best[0]), float(best[1]), Hour(*(float(value) for value in expected_hour(trade, best[0], best[1], prices))))


def shadow_price(trade: Trade, largest_error: float, prices: Prices | None = None, *, width: float = 1e-3) -> float:
    """Return λ*: dollars an hour that the best profit gains for each unit by which the error rate may be larger.

    λ* = d(best profit at error ≤ e)/de at ``largest_error``, by a central difference over ``2 · width``. A linear penalty
    λ (error − e) holds the error at e when λ = λ*; 0 where the limit does not bind. Below the fewest errors that there can be is no hour,
    so the difference begins there at the earliest.
    """
    fewest = float(trade.error_probability(0.0, 1.0))
    tight, loose = min(largest_error, max(largest_error - width, fewest)), largest_error + width
    above, below = (optimum(trade, prices, limit).hour.profit for limit in (loose, tight))
    return (above - below) / (loose - tight)
