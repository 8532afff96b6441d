"""A trade and its prices in, the sweeps that need no agent out: the frontier of all actions, and the best hour at other prices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from layerscout.cache.records.work import ElasticityPoint, FrontierPoint, WageHour
from layerscout.worlds.labour.trade import Prices, Trade, expected_hour, optimum, shadow_price

FINE, COARSE = 50, 25  # actions a side: of the counts, and of the points that are kept to be drawn
FACTORS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # of a price, in the elasticity curves; 0 of damage alone
ABOVE_PERSON = 4.0 / 3.0  # the product that is asked of a machine, in those of a person


def best_hour(trade: Trade, prices: Prices, limit: float | None) -> WageHour:
    """Return the hour of the largest expected profit, with the shadow price of the limit on errors, where there is one."""
    best = optimum(trade, prices, 1.0 if limit is None else limit)
    return wage_hour(trade, prices, best.speed, best.care, None if limit is None else max(0.0, shadow_price(trade, limit, prices)))


def wage_hour(trade: Trade, prices: Prices, speed: float, care: float, multiplier: float | None = None) -> WageHour:
    """Expected product, error rate, profit and wage ($/h) of an hour at this speed and care, each in [0, 1]."""
    hour = expected_hour(trade, speed, care, prices)
    wage = float(hour.profit) + prices.energy
    return WageHour(
        speed=speed,
        care=care,
        product=float(hour.marginal_product),
        error=float(hour.error_rate),
        profit=float(hour.profit),
        wage=wage,
        parity=wage / prices.human_wage,
        multiplier=multiplier,
    )


def needed_product(prices: Prices) -> float:
    """Return four thirds of the units with which a person earns the wage: at the sink 80 an hour."""
    return ABOVE_PERSON * prices.human_wage / prices.price


def counts(trade: Trade, prices: Prices, limit: float) -> tuple[int, int]:
    """Count, of 50 × 50 actions, those that keep the limit, and those that besides make `needed_product`."""
    hour = expected_hour(trade, *_grid(FINE), prices)
    kept = hour.error_rate <= limit + 1e-12
    return int(kept.sum()), int((kept & (hour.marginal_product >= needed_product(prices))).sum())


def frontier(trade: Trade, prices: Prices, limit: float) -> tuple[FrontierPoint, ...]:
    """Expected product, error and profit at 25 × 25 speeds and cares, and which of them keep the limit at a sufficient product."""
    speed, care = (axis.ravel() for axis in _grid(COARSE))
    hour = expected_hour(trade, speed, care, prices)
    needed = needed_product(prices)
    return tuple(
        FrontierPoint(speed=s, care=c, product=m, error=e, profit=p, feasible=e <= limit + 1e-12 and m >= needed)
        for s, c, m, e, p in zip(*(x.tolist() for x in (speed, care, hour.marginal_product, hour.error_rate, hour.profit)), strict=True)
    )


def elasticity(trade: Trade, prices: Prices, limit: float | None) -> tuple[ElasticityPoint, ...]:
    """Return the best hour at a tenth to three times of the price, the damage and a person's wage, each by itself."""
    found = []
    for setting in ("price", "damage", "human_wage"):
        for factor in FACTORS if setting == "damage" else FACTORS[1:]:
            dollars = factor * (getattr(prices, setting) or 1.0)
            other = replace(prices, **{setting: dollars})
            found.append(ElasticityPoint(setting=setting, dollars=dollars, hour=best_hour(trade, other, limit)))
    return tuple(found)


def _grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    speed, care = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    return speed, care
