"""A store of recorded hours in, their steps in a replay out: precomputed activations, so that no model runs for them."""

from __future__ import annotations

from typing import Literal

import numpy as np

from layerscout.errors import DataError
from layerscout.rl.economics.encoding import Encoding
from layerscout.rl.economics.ledger import WorkLedger
from layerscout.worlds.labour.base import STATE_SCALES, LabourWorld
from layerscout.worlds.labour.trade import STEPS_PER_HOUR, Prices

NOVELTY_COLUMN = "denoising_error"


def fill_with_recorded(
    ledger: WorkLedger, encoding: Encoding, world: LabourWorld, form: Literal["step", "cumulative"], cut: bool = False
) -> int:
    """Put every whole step of a store's hours into the replay of every run; return how many there were. ``cut`` ends the value with the hour.

    Their dollars are counted anew from their counts, at the prices of ``world``. Their novelty is the denoising error that the extraction
    kept, over its mean, and 1 where it kept none.

    Raises
    ------
    DataError
        The rows are not hours of labour: they have no state of four numbers, or no action of two.
    """
    assert encoding.arm is not None and encoding.seen is not None, "recorded hours lie in a store"  # noqa: PT018
    store = encoding.arm.store
    columns = {column.name: column for column in store.columns.values()}
    if "state" not in columns or columns["state"].width != 4 or columns["action"].width != 2:
        raise DataError(
            f"the rows of store {store.id} are no hours of labour: they need a state of 4 numbers and an action of 2",
            hint="collect layerscout/Dishwashing-v0 or layerscout/Bricklaying-v0 again, and extract that",
        )
    features = encoding.seen.all_rows(store.layer(encoding.arm.layer))
    step, action = store.index("step"), store.index("action")
    raw = store.index("state")
    counts = np.rint(raw * (1.0 if raw[:, 0].max() > 2.0 else STATE_SCALES)).astype(np.int64)[:, 1:]
    novelty = np.ones(store.rows)
    if NOVELTY_COLUMN in columns:
        error = store.index(NOVELTY_COLUMN).astype(np.float64)
        novelty = error / error.mean()
    prices, runs, taken = world.prices, ledger.runs, 0
    for row in np.flatnonzero(np.isfinite(action).all(1)).tolist():  # the last row of an hour has no action
        completed, attempts, errors = (counts[row + 1] - counts[row]).tolist()
        _, attempts_before, errors_before = counts[row].tolist()
        earned = [_earned(prices, *counts[row + late].tolist()) for late in (0, 1)]
        minutes = int(step[row]) + 1
        energy = prices.energy / STEPS_PER_HOUR
        by_step = STEPS_PER_HOUR * (earned[1] - earned[0] - energy)
        to_date = STEPS_PER_HOUR * (earned[1] - energy * minutes) / minutes
        assert completed + errors == attempts, "counts of a labour world add up"
        ledger.add(
            np.broadcast_to(features[row], (runs, features.shape[1])),
            np.broadcast_to(action[row], (runs, 2)),
            np.broadcast_to(features[row + 1], (runs, features.shape[1])),
            np.full(runs, cut and minutes == STEPS_PER_HOUR),
            profit=np.full(runs, by_step if form == "step" else to_date),
            errors=np.full(runs, errors),
            attempts=np.full(runs, attempts),
            errors_before=np.full(runs, errors_before),
            attempts_before=np.full(runs, attempts_before),
            novelty=np.full(runs, novelty[row]),
        )
        taken += 1
    return taken


def _earned(prices: Prices, completed: int, attempts: int, errors: int) -> float:
    """Dollars of an hour until now, without its energy."""
    return completed * (prices.price - prices.damage * errors / max(attempts, 1))
