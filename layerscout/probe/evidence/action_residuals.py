"""Rows that were read and the fits of bits of action in; the bits without each episode group, and of episodes kept apart, out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from layerscout.probe.evidence.bits import Bits, bits_of_rows_apart, bits_without_groups
from layerscout.probe.evidence.components import LeftOut
from layerscout.probe.evidence.measures import Measure
from layerscout.probe.evidence.sampled import SampledRows, share_of_rows
from layerscout.probe.questions.splits import Split
from layerscout.probe.questions.targets import Transitions


def residual_matrices(found: Bits, width: int) -> tuple[Float[np.ndarray, "feature column"], ...]:
    """What to multiply z_t and z_{t+1} with for ``bits_left``; nothing without bits of action."""
    if found.residuals is None or found.action is None:
        return ()
    alone, both = found.residuals
    after = np.zeros((width, both.right.shape[1]))
    after[: len(both.right)] = both.right
    return np.hstack([alone.left[:width], both.left[:width]]), after


def bits_left(found: Bits, sample: SampledRows, transitions: Transitions, split: Split) -> LeftOut | None:
    """Bits of action without each episode group, from the rows that were read."""
    if found.residuals is None or found.action is None or not len(sample.chosen):
        return None
    residuals = _residuals(found, sample.width, sample.chosen, sample.extra, transitions)
    share = share_of_rows(sample, transitions, split)
    without = bits_without_groups(found, residuals, sample.group, len(split.ranking), share)
    return without if np.isfinite(without).all() else None


def bits_held(found: Bits, sample: SampledRows, transitions: Transitions, split: Split) -> Measure | None:
    """Bits of action of the confirmation set's rows that were read, by the fit on all rows that ranked."""
    if found.residuals is None or found.action is None or not len(sample.held):
        return None
    residuals = _residuals(found, sample.width, sample.held, sample.extra_held, transitions)
    group = split.group_of_episode[transitions.episode[sample.held]] - len(split.ranking)
    bits = bits_of_rows_apart(found, residuals, group, len(split.confirmation))
    return None if np.isnan(bits).any() else Measure(value=float(bits[0]), left=tuple(bits[1:].tolist()))


def _residuals(
    found: Bits,
    width: int,
    chosen: Int[np.ndarray, " some"],
    extra: tuple[Float[np.ndarray, "some other"], Float[np.ndarray, "some other"]],
    transitions: Transitions,
) -> tuple[Float[np.ndarray, "some action"], Float[np.ndarray, "some action"]]:
    """What z_t, and what z_t and z_{t+1}, leave of the actions of some transitions."""
    assert found.residuals is not None
    actions, (now, after), q = np.asarray(transitions.inputs[chosen], np.float64), extra, found.columns
    alone, both = (fit.left[width:] for fit in found.residuals)
    return now[:, :q] + actions @ alone, now[:, q:] + after + actions @ both
