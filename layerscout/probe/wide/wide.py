"""A layer that is wider than it has rows, or too wide for products of features with features, in; its evidence out.

With few rows the answer is exact, from products of rows with rows. Otherwise it is a sketch, and its error on a part of the
rows, where the exact answer can be had, stands beside it. Figures that cannot be had are None.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.components import Errors, HeldOut, components, shuffled_r2
from layerscout.probe.evidence.controls import autoregression_error, autoregression_out_of_fold, persistence_error
from layerscout.probe.evidence.evidence import SPECTRUM, LayerEvidence, as_measure, target_figures
from layerscout.probe.evidence.measures import AHEAD_R2, EXPERT_R2, empty_measures
from layerscout.probe.moments.rows import Reader
from layerscout.probe.questions.splits import Split
from layerscout.probe.questions.targets import EXPERT, NO_TARGETS, REWARD, REWARD_AHEAD, SHIFTED, Transitions, searched_only
from layerscout.probe.solve.rank import massive_features, participation_ratio
from layerscout.probe.wide import dual, sketch
from layerscout.probe.wide.methods import CHECK_ROWS, WideFit, measure_by_rows, measure_by_sketch, select_groups, select_sums, total_squares

WIDEST = 8192  # beyond, products of features with features take tens of GB and an hour
DUAL_ROWS = 4096  # up to here the exact answer takes about 1 GB beside the rows themselves


def is_wide(width: int, rows: int) -> bool:
    """Whether a layer is measured here, and not by products of features with features. ``rows`` is the number of transitions."""
    return width > WIDEST or rows < width


def wide_bytes(width: int, rows: int, itemsize: int, actions: int, scalars: int, groups: int) -> int:
    """Bytes that measuring a wide layer takes at its peak.

    Parameters
    ----------
    rows
        Number of transitions.
    itemsize
        Bytes of a stored activation.
    """
    sums = 8 * 12 * groups * width

    def exact(count: int) -> int:
        return 2 * count * width * itemsize + 8 * count * (9 * count + 4 * min(dual.PANEL, width) + 3 * scalars + actions)

    if rows <= DUAL_ROWS:
        return exact(rows) + sums
    both = min(sketch.LEADING + sketch.RANDOM, width)
    matrices = 3 * 8 * width * both + 3 * 8 * sketch.BLOCK_ROWS * width
    moments = 8 * (3 * groups + 24) * (both + actions) * (both + scalars)
    return matrices + moments + sums + exact(CHECK_ROWS)


def measure_wide(
    name: str,
    role: Literal["layer", "control", "twin"],
    depth: int,
    reader: Reader,
    transitions: Transitions,
    split: Split,
    config: ProbeConfig,
) -> LayerEvidence:
    """Read a layer and measure it; for where ``is_wide`` says so.

    The result depends on the rows and the settings alone, ``seed`` among them; not on how the store is cut into chunks.

    Raises
    ------
    DataError
        Too many rows hold a NaN or an infinity.
    """
    transitions = searched_only(transitions)
    found = (measure_by_rows if len(transitions) <= DUAL_ROWS else measure_by_sketch)(name, reader, transitions, split, config)
    names, width, ranking = transitions.target_names, reader.shape[1], slice(len(split.ranking))
    groups, features, fitted, live = select_sums(found.sums, ranking), select_groups(found.features, ranking), found.fitted, found.live
    squares, rows, has_reward = total_squares(found.sums, ranking), float(np.sum(groups.count)), REWARD in names
    errors = Errors(
        reward=fitted.scalars[:, 0] if has_reward else None,
        transition=fitted.transition,
        transition_share=fitted.transition_share,
        persistence=persistence_error(features),
        autoregression=autoregression_out_of_fold(features, split.fold_of_group[ranking]),
    )
    covariance, correlation = found.spectra.covariance, found.spectra.correlation
    shifted = np.array([column for column, target in enumerate(names) if target == SHIFTED], dtype=np.int64)
    exact = found.method == "dual"
    targets = target_figures(fitted, groups, names, width)
    beside = empty_measures(transitions) if config.measures else {}
    beside |= {name: as_measure(targets[target]) for name, target in ((AHEAD_R2, REWARD_AHEAD), (EXPERT_R2, EXPERT)) if target in targets}
    return LayerEvidence(
        **components(groups, errors, live, covariance.entropy, correlation.entropy).model_dump(),
        name=name,
        role=role,
        depth=depth,
        width=width,
        rows=int(rows),
        nonfinite_rows=found.nonfinite,
        live_features=int(live.sum()),
        massive_features=massive_features(squares[:width] / rows * live),
        reward_r2_shifted=shuffled_r2(fitted.scalars[:, shifted].sum(axis=0), squares[width + shifted]),
        transition_r2_without_action=min(float(1 - fitted.transition_alone_share.sum()), 1.0) if live.any() else None,
        transition_r2_weighted=min(float(1 - live @ fitted.transition / (live @ squares[:width])), 1.0) if exact and live.any() else None,
        bits_action=None,  # they need more rows than features, and products of features with features
        bits_action_by_chance=None,
        bits_total=None,
        correlation_rank=float(np.exp(correlation.entropy[0])),
        participation_ratio=participation_ratio(covariance.shares),
        rankme=found.spectra.rankme[0],
        rankme_centred=found.spectra.rankme[1],
        spectrum=tuple(covariance.shares[:SPECTRUM].tolist()),
        targets=dict.fromkeys(transitions.undefined) | {name: one for name, one in targets.items() if name not in NO_TARGETS},
        measures=beside,
        penalties=config.penalties,
        transition_path=tuple(fitted.transition_path.tolist()) if live.any() else None,
        reward_path=tuple(fitted.scalar_path[:, 0].tolist()) if has_reward else None,
        transition_penalties=tuple(config.penalties[choice] for choice in fitted.transition_choice),
        reward_penalties=tuple(config.penalties[choice] for choice in fitted.scalar_choice[:, 0]) if has_reward else (),
        at_grid_edge=float(max(fitted.transition_falling.mean(), fitted.reward_falling.mean() if has_reward else 0.0)),
        confirmation=_confirmation(found, ranking.stop),
        precision="float64" if exact else config.precision,
        method=found.method,
        method_error=found.error,
    )


def _confirmation(found: WideFit, first: int) -> HeldOut | None:
    if found.held is None:
        return None
    held, features = found.held, select_groups(found.features, slice(first, None))
    forecast = autoregression_error(select_groups(found.features, slice(first)), features)
    errors = Errors(held.reward, held.transition, held.transition_share, persistence_error(features), forecast)
    spectra = held.spectra
    sums = select_sums(found.sums, slice(first, None))
    parts = components(sums, errors, held.live, spectra.covariance.entropy, spectra.correlation.entropy)
    return HeldOut(**parts.model_dump())
