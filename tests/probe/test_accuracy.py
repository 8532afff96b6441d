"""What float32 products may have done to an R² is told before anybody believes it."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_layers import MemoryReader, columns_of, controllable_state, prepare, probe, with_reward

from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import measure
from layerscout.probe.moments.moments import accumulate
from layerscout.probe.solve.accuracy import LARGEST_ROUNDING_EFFECT, RoundingExceeded


def float32_effect(layer: np.ndarray, columns: dict[str, np.ndarray]) -> float:
    """The estimate, asked for by allowing nothing."""
    config = ProbeConfig(store="memory", shifts=0)
    transitions, split = prepare(columns, config)
    moments = accumulate("z", MemoryReader(layer, 100), transitions, split, "float32")
    with pytest.raises(RoundingExceeded) as told:
        measure("z", "layer", 0, moments, transitions, split, config, -1.0)
    return told.value.amount


@pytest.mark.parametrize("power", range(1, 9))
def test_what_rounding_moves_noticeably_is_always_measured_again(power):
    """The reward lies in directions with a share of 10^-power of the variance; float64 knows what they hold."""
    rng = np.random.default_rng(power)
    columns = columns_of([50] * 60, rng)
    state = controllable_state(columns, 4, rng)
    columns = with_reward(columns, state[:, 0])
    loud = rng.standard_normal((len(state), 8)) @ rng.standard_normal((8, 48))
    layer = (loud + 10 ** (-power / 2) * state @ rng.standard_normal((4, 48))).astype(np.float32)
    short, exact = (probe(layer, columns, shifts=0, precision=precision) for precision in ("float32", "float64"))
    moved = max(abs(short.reward_r2 - exact.reward_r2), abs(short.transition_r2 - exact.transition_r2))
    estimate = float32_effect(layer, columns)
    print(f"10^-{power}: R² moved by {moved:.1e}, estimate {estimate:.1e}")
    assert moved <= 1e-5 or estimate > 10 * LARGEST_ROUNDING_EFFECT
    assert moved <= max(20 * estimate, 1e-5), "the order of magnitude is told too"
