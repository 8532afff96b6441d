"""Wages and contributions in, who gets what out: the spread over a person's wage, split between customer and platform."""

from __future__ import annotations

from typing import NamedTuple

from layerscout.errors import UsageError
from layerscout.rl.economics.wages import above_zero

TOLERANCE = 0.05  # parity above 1 that still counts as parity
SMALLEST = 1e-6  # units an hour, beside the total gain in the denominator


class SpreadSplit(NamedTuple):
    """The split of an hour's worth above a person's wage. Below parity there is none, and shares are None: do not average over them."""

    spread: float  # dollars an hour
    value: float  # dollars
    customer_share: float | None  # in [0, 1]
    platform_share: float | None  # in [0, 1]
    rebate: float  # dollars, to the customer
    captured: float  # dollars, by the platform


def allocate_spread(
    wage: float | None, human_wage: float, hours: float, customer_gain: float, total_gain: float, tolerance: float = TOLERANCE
) -> SpreadSplit | None:
    """Split the spread by what the customer's data contributed: s_c = clip(ΔMP_c / (ΔMP + 10⁻⁶), 0, 1), the platform's share is the rest.

    Parameters
    ----------
    wage
        ŵ, the machine's implied wage, dollars an hour; None: not defined, and so is the split.
    human_wage
        Dollars an hour, above 0.
    hours
        Hours of work, above 0.
    customer_gain, total_gain
        Gains in marginal product, good units an hour: what the customer's data was foretold to bring, and what came.
        A total that is not above 0 gives the customer nothing.
    tolerance
        ŵ / w_h must be above 1 + tolerance.

    Returns
    -------
    SpreadSplit or None
        spread = ŵ − w_h; value = spread · hours; rebate = s_c · value; captured = value − rebate. Up to parity: zeros, without shares.
    """
    above_zero("human_wage", human_wage)
    above_zero("hours", hours)
    if not 0.0 <= tolerance < float("inf"):
        raise UsageError(f"tolerance is {tolerance}", hint="tolerance is a finite number, at least 0")
    if wage is None:
        return None
    if wage / human_wage <= 1.0 + tolerance:
        return SpreadSplit(0.0, 0.0, None, None, 0.0, 0.0)
    share = min(1.0, max(0.0, customer_gain / (total_gain + SMALLEST))) if total_gain > 0.0 else 0.0
    spread = wage - human_wage
    value = spread * hours
    return SpreadSplit(spread, value, share, 1.0 - share, share * value, (1.0 - share) * value)
