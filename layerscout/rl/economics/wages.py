"""Counts and prices in, marginal product, wage, profit and parity out: what an hour of work is worth. Pure functions; None is "not defined"."""

from __future__ import annotations

import math

from layerscout.errors import UsageError


def marginal_product(completed: float, hours: float) -> float:
    """MP = completed / hours, in good units an hour.

    Parameters
    ----------
    completed
        Units without fault, at least 0.
    hours
        Hours of work, above 0.

    Returns
    -------
    float
        Good units an hour.

    Raises
    ------
    UsageError
        ``hours`` is not above 0, or a number is not finite.
    """
    return at_least_zero("completed", completed) / above_zero("hours", hours)


def error_rate(errors: float, attempts: float) -> float | None:
    """err = errors / attempts, a share in [0, 1]; None without attempts, because nothing was tried.

    Raises
    ------
    UsageError
        There are more errors than attempts, or a number is negative or not finite.
    """
    if at_least_zero("errors", errors) > at_least_zero("attempts", attempts):
        raise UsageError(f"{errors} errors in {attempts} attempts", hint="give counts of the same span, errors at most attempts")
    return errors / attempts if attempts else None


def implied_wage(price: float, product: float, error: float | None, damage: float) -> float | None:
    """ŵ = price · MP − damage · err · MP, in dollars an hour: what the machine's hour is worth to who buys the units.

    Parameters
    ----------
    price
        Dollars a good unit, above 0.
    product
        Marginal product, good units an hour, at least 0.
    error
        Errors an attempt, in [0, 1], or None.
    damage
        Dollars an error, at least 0.

    Returns
    -------
    float or None
        Dollars an hour; None where the error rate is.
    """
    above_zero("price", price)
    at_least_zero("damage", damage)
    at_least_zero("product", product)
    return None if error is None else price * product - damage * _share("error", error) * product


def wage_parity(wage: float | None, human_wage: float) -> float | None:
    """ŵ / w_h: how many of a person's wages the machine earns, without unit; None where the wage is.

    Raises
    ------
    UsageError
        ``human_wage``, in dollars an hour, is not above 0.
    """
    above_zero("human_wage", human_wage)
    return None if wage is None else wage / human_wage


def hourly_profit(wage: float | None, energy: float) -> float | None:
    """Profit = ŵ − energy, in dollars an hour; ``energy`` in dollars an hour, at least 0. None where the wage is."""
    at_least_zero("energy", energy)
    return None if wage is None else wage - energy


def customer_price(wage: float, rebate: float, human_wage: float, base_fee: float = 0.0) -> float:
    """What an hour costs the customer: min(max(0, ŵ − rebate) + base fee, w_h), in dollars an hour.

    Parameters
    ----------
    wage, rebate, human_wage, base_fee
        Dollars an hour; the rebate and the fee at least 0, a person's wage above 0. The rebate of more than one hour is divided by them first.
    """
    at_least_zero("rebate", rebate)
    at_least_zero("base_fee", base_fee)
    return min(max(0.0, wage - rebate) + base_fee, above_zero("human_wage", human_wage))


def consumer_surplus(price_of_hour: float, human_wage: float) -> float:
    """w_h − what the hour costs, in dollars an hour: what the customer keeps against hiring a person, at least 0 for our prices."""
    return above_zero("human_wage", human_wage) - at_least_zero("price_of_hour", price_of_hour)


def wage_index(index: float, market: float, inflation: float = 0.0, weight: float = 0.1) -> float:
    """Follow the market's wage: w ← (weight · market + (1 − weight) · w) / (1 + inflation), in dollars an hour of the first day.

    Parameters
    ----------
    index, market
        Dollars an hour, above 0.
    inflation
        Share a period by which a dollar loses, above −1.
    weight
        Share of the market's wage, in [0, 1].
    """
    if not -1.0 < inflation < math.inf:
        raise UsageError(f"inflation is {inflation}", hint="inflation is a finite share above -1")
    weight = _share("weight", weight)
    return (weight * above_zero("market", market) + (1.0 - weight) * above_zero("index", index)) / (1.0 + inflation)


def above_zero(name: str, value: float) -> float:
    """Return the number if it is finite and above 0; else say which one is not."""
    if not (math.isfinite(value) and value > 0.0):
        raise UsageError(f"{name} is {value}", hint=f"{name} is a finite number above 0")
    return value


def at_least_zero(name: str, value: float) -> float:
    """Return the number if it is finite and at least 0; else say which one is not."""
    if not (math.isfinite(value) and value >= 0.0):
        raise UsageError(f"{name} is {value}", hint=f"{name} is a finite number, at least 0")
    return value


def _share(name: str, value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise UsageError(f"{name} is {value}", hint=f"{name} is a share in [0, 1]")
    return value
