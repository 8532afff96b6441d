"""Moments, fits and some rows of a layer in; the measures that stand beside the score, by name, out.

None of them is part of S. A measure that the data cannot give is None; one that nobody can expect, because no expert labelled
the rows, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from layerscout.cache.records import Record
from layerscout.probe.evidence.bits import bits_without_groups
from layerscout.probe.evidence.components import LeftOut, WholeAndLeft, mean_r2, single_r2, target_share
from layerscout.probe.evidence.components import left as left_out
from layerscout.probe.evidence.sampled import SampledRows, bits_of_pairs, pairs_apart, share_of_rows, sums_of
from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.questions.splits import Split
from layerscout.probe.questions.targets import EXPERT, OUTCOME, RETURN, REWARD, REWARD_AHEAD, SHIFTED, Transitions
from layerscout.probe.solve.fixed import FixedColumns, FixedFit
from layerscout.probe.solve.ridge import PredictionSums

SHALLOW = 1.0  # the fixed penalty, relative to the number of rows: about what the first few thousand steps of a small head reach
INVERSE_PENALTY = 1e-3  # of inverse dynamics, whose inputs are few and have variance 1
LATER = (4, 8)  # steps
TURNS = 20  # copies of the null
ROUNDING = 1e-12  # share of a sum of squares below which what is left after taking the mean away is rounding

INVERSE_R2, INVERSE_ACCURACY = "inverse dynamics R²", "inverse dynamics accuracy"
BITS_LATER = tuple(f"bits of action, {steps} steps" for steps in LATER)
AHEAD_R2, EXPERT_R2, EXPERT_ACCURACY = f"reward R², {REWARD_AHEAD.partition(', ')[2]}", "expert action R²", "expert action accuracy"
ADVANTAGE, ADVANTAGE_SHORT, ADVANTAGE_TURNED = "advantage", "advantage, 8 steps", "advantage, by chance"
LIFT, LIFT_SHORT, LIFT_CONSTANT = "advantage lift", "advantage lift, 8 steps", "advantage lift, best constant action"
CONTROL_RANK = "S-ctrl, rank"  # of a ranking's candidates: added there
SHALLOW_WORDS = " at λ = 1"
ALWAYS = (
    *(f"reward R²{SHALLOW_WORDS}", AHEAD_R2, AHEAD_R2 + SHALLOW_WORDS),
    *(INVERSE_R2, INVERSE_ACCURACY, *BITS_LATER),
    *(ADVANTAGE, ADVANTAGE_TURNED, LIFT, LIFT_CONSTANT, ADVANTAGE_SHORT, LIFT_SHORT),
)
WITHOUT_BOUND = (-np.inf, np.inf)


class Measure(Record):
    """A measure over all rows, and without each episode group; or with a range of its own, for a null."""

    value: float
    left: LeftOut | None = None
    low: float | None = None
    high: float | None = None


def bounds_of(name: str) -> tuple[float, float]:
    """The least and the most that a measure can be."""
    if "accuracy" in name or name == CONTROL_RANK:
        return 0.0, 1.0
    if name in (ADVANTAGE, ADVANTAGE_SHORT, ADVANTAGE_TURNED):
        return -1.0, 1.0
    return (-np.inf, 1.0) if "R²" in name else WITHOUT_BOUND


def empty_measures(transitions: Transitions) -> dict[str, Measure | None]:
    """Name → None for every measure that this dataset could give, an expert's actions where it has them."""
    expert = (EXPERT_R2, EXPERT_R2 + SHALLOW_WORDS, EXPERT_ACCURACY) if EXPERT in transitions.target_names else ()
    return dict.fromkeys((*ALWAYS, *expert))


def fixed_columns(transitions: Transitions, penalty: float, turned: int) -> FixedColumns:
    """Name the scalars to fit at the fixed penalty: all but the return and the shuffled rewards; and ``turned`` more that are pooled."""
    names = transitions.target_names
    wanted = [column for column, name in enumerate(names) if name not in (SHIFTED, RETURN)]
    columns = np.array([*wanted, *range(len(names), len(names) + turned)], dtype=np.int64)
    return FixedColumns(penalty, transitions.scalars.searched, columns, turned)


def with_turned(
    total: MomentSums, folds: Sequence[MomentSums], groups: MomentSums, transitions: Transitions, split: Split, seed: int
) -> tuple[MomentSums, list[MomentSums], int]:
    """Append the null of the advantage to the targets of all sums: its outcomes with their sign turned in half of the groups, at random.

    What a layer tells of them then holds in some groups and is turned round in others, so that a fit on some groups says nothing
    about the others; whatever binds rows of one group stays. The copies need no pass over the rows, for a group's sums are turned with
    it. Returned are also the number of columns.
    """
    outcomes, width = transitions.scalars.outcomes, len(total.y) - len(transitions.target_names)
    if outcomes is None:
        return total, list(folds), 0
    first = width + transitions.scalars.searched
    columns = np.arange(first, first + outcomes.actions)
    count, x_mean, y_mean = total.count, total.x / total.count, total.y[columns] / total.count
    held, x, y = np.asarray(groups.count, dtype=np.float64)[:, None], groups.x, groups.y[:, columns]
    # about the means of all rows: a turned mean would be no mean
    products = groups.xy[:, :, columns] - x_mean[:, None] * y[:, None, :] - (x - held * x_mean)[:, :, None] * y_mean
    squares = groups.yy[:, columns] - 2 * y_mean * y + held * y_mean**2
    sums, random = y - held * y_mean, np.random.default_rng(seed)
    signs = random.permuted(np.tile(np.where(np.arange(len(held)) % 2, 1.0, -1.0), (TURNS, 1)), axis=1)
    found = []
    for fold, own in enumerate(folds):
        members = split.fold_of_group == fold
        turned = signs[:, members]
        y_turned = np.einsum("sg,gk->sk", turned, sums[members]).reshape(-1)
        xy = np.einsum("sg,gfk->fsk", turned, products[members]).reshape(len(own.x), -1) + np.outer(x_mean, y_turned)
        yy = np.tile(squares[members].sum(axis=0), TURNS)
        found.append(replace(own, y=np.append(own.y, y_turned), xy=np.hstack([own.xy, xy]), yy=np.append(own.yy, yy)))
    whole = replace(
        total,
        y=np.append(total.y, np.sum([one.y[len(total.y) :] for one in found], axis=0)),
        xy=np.hstack([total.xy, np.sum([one.xy[:, len(total.y) :] for one in found], axis=0)]),
        yy=np.append(total.yy, np.sum([one.yy[len(total.y) :] for one in found], axis=0)),
    )
    assert whole.count == count
    return whole, found, outcomes.actions * TURNS


def measures_of_sums(
    fixed: FixedFit,
    ahead: Measure | None,
    expert: Measure | None,
    groups: MomentSums,
    folds: Sequence[MomentSums],
    transitions: Transitions,
    split: Split,
) -> dict[str, Measure | None]:
    """Return the measures that sums can give.

    Parameters
    ----------
    ahead, expert
        R² of the rewards ahead and of the expert's action, at the penalty chosen for each.
    folds
        From ``with_turned``.
    """
    found: dict[str, Measure | None] = {AHEAD_R2: ahead}
    names, width = transitions.target_names, fixed.width
    for name in dict.fromkeys(names):
        columns = np.array([column for column in fixed.asked.by_group if names[column] == name], dtype=np.int64)
        if len(columns) and name != OUTCOME:
            found[_shallow_name(name)] = _shallow_r2(fixed, groups, columns, width)
    if EXPERT in names:
        found[EXPERT_R2] = expert
    if (outcomes := transitions.scalars.outcomes) is not None:
        first = transitions.scalars.searched
        for kind, name in enumerate((ADVANTAGE, ADVANTAGE_SHORT)):
            columns = np.array(outcomes.columns_of(kind)) + first
            at = np.searchsorted(fixed.asked.by_group, columns)
            sums = PredictionSums(*(getattr(fixed.groups, part)[:, at] for part in PredictionSums.__dataclass_fields__))
            found[name] = _measure(_correlation(sums, groups, width + columns, split.fold_of_group))
        found[ADVANTAGE_TURNED] = _turned_advantage(fixed, folds, outcomes.actions)
    return found


def _shallow_name(name: str) -> str:
    known = {REWARD: "reward R²", REWARD_AHEAD: AHEAD_R2, EXPERT: EXPERT_R2}
    return known.get(name, f"{name} R²") + SHALLOW_WORDS


def _measure(figure: WholeAndLeft) -> Measure | None:
    return None if not np.isfinite(figure[0]) else Measure(value=float(figure[0]), left=left_out(figure))


def _shallow_r2(fixed: FixedFit, groups: MomentSums, columns: Float[np.ndarray, " column"], width: int) -> Measure | None:
    at = np.searchsorted(fixed.asked.by_group, columns)
    error = groups.yy[:, width + columns] - 2 * fixed.groups.products[:, at] + fixed.groups.squares[:, at]
    error = np.maximum(error, 0.0)
    if len(columns) == 1:
        return _measure(single_r2(error[:, 0], groups, width + int(columns[0])))
    side_by_side, live = slice(width + int(columns[0]), width + int(columns[-1]) + 1), np.ones(len(columns))
    share = target_share(groups, side_by_side, live)
    return _measure(mean_r2(error.sum(axis=0), error @ share, groups, side_by_side, live))


def _correlation(
    predicted: PredictionSums, groups: MomentSums, targets: Float[np.ndarray, " target"], fold: Float[np.ndarray, " group"]
) -> WholeAndLeft:
    """Σ_k cov(ψ̂_k, ψ_k) / √(Σ_k var ψ̂_k · Σ_k var ψ_k), over all groups and without each.

    Centred inside each fold: a fold's fit has the mean of the others for its level, which goes against its own.
    """
    count = np.asarray(groups.count, dtype=np.float64)[:, None]
    sums = (count, predicted.predicted, predicted.squares, predicted.products, groups.y[:, targets], groups.yy[:, targets])
    folds = np.arange(int(fold.max()) + 1)[:, None] == fold
    whole = [folds @ part for part in sums]
    parts = np.empty((len(count) + 1, len(folds), 3))
    parts[0] = _centred(*whole).sum(axis=-1).T
    for group in range(len(count)):
        parts[group + 1] = parts[0]
        one = fold[group]
        parts[group + 1, one] = _centred(*(each[one] - part[group] for each, part in zip(whole, sums, strict=True))).sum(axis=-1)
    covariance, predictions, outcomes = parts.sum(axis=1).T
    scale = np.sqrt(np.maximum(predictions, 0) * np.maximum(outcomes, 0))
    vary = (predictions > ROUNDING * float(sums[2].sum())) & (outcomes > ROUNDING * float(sums[5].sum()))
    return np.where(vary, covariance / np.where(scale > 0, scale, 1.0), np.nan)


def _centred(
    count: Float[np.ndarray, "*fold 1"],
    p: Float[np.ndarray, "*fold target"],
    pp: Float[np.ndarray, "*fold target"],
    py: Float[np.ndarray, "*fold target"],
    y: Float[np.ndarray, "*fold target"],
    yy: Float[np.ndarray, "*fold target"],
) -> Float[np.ndarray, "3 *fold target"]:
    """Sums of products and of squares about the means."""
    rows = np.maximum(count, 1)
    return np.array([py - p * y / rows, pp - p * p / rows, yy - y * y / rows])


def _turned_advantage(fixed: FixedFit, folds: Sequence[MomentSums], actions: int) -> Measure | None:
    """Mean of the correlations with turned outcomes, with their 2.5 and 97.5 percentiles."""
    columns, sums = fixed.width + fixed.asked.columns[len(fixed.asked.by_group) :], fixed.folds
    count = np.array([[float(fold.count)] for fold in folds])
    y, yy = (np.array([getattr(fold, name)[columns] for fold in folds]) for name in ("y", "yy"))
    each = _centred(count, sums.predicted, sums.squares, sums.products, y, yy).sum(axis=1).reshape(3, -1, actions).sum(axis=2)
    squares = np.array([sums.squares, yy]).sum(axis=1).reshape(2, -1, actions).sum(axis=2)
    covariance, predictions, outcomes = each[:, (each[1:] > ROUNDING * squares).all(axis=0)]
    if not len(covariance):
        return None
    found = covariance / np.sqrt(predictions * outcomes)
    low, high = np.percentile(found, [2.5, 97.5])
    return Measure(value=float(np.mean(found)), low=float(low), high=float(high))


def measures_of_rows(sample: SampledRows, fixed: FixedFit | None, transitions: Transitions, split: Split) -> dict[str, Measure | None]:
    """The measures that need single rows: bits of the action now and later, and the lift in the outcome.

    Empty where a fold has no sampled row; None stands for a measure that these rows cannot give.
    """
    found: dict[str, Measure | None] = {}
    if not len(sample.chosen) or len(np.unique(sample.fold)) < split.folds:
        return found
    count = len(split.ranking)
    codes = transitions.inputs[sample.chosen]
    if codes.shape[1]:
        found |= _inverse(sample, codes, bool(transitions.levels), count)
        for steps, name in zip(LATER, BITS_LATER, strict=True):
            found[name] = _bits_later(sample, transitions, steps, split)
    outcomes, names = transitions.scalars.outcomes, transitions.target_names
    if fixed is not None and outcomes is not None:
        true = np.asarray(transitions.scalars[sample.chosen])
        for kind, name in enumerate((LIFT, LIFT_SHORT)):
            columns = np.array(outcomes.columns_of(kind)) + transitions.scalars.searched
            best = sample.predicted[:, np.searchsorted(fixed.asked.by_group, columns)].argmax(axis=1)
            gained = np.take_along_axis(true[:, columns], best[:, None], axis=1)[:, 0] * outcomes.scale[kind]
            found[name] = _measure(_mean_and_left(gained, sample.group, count))
        own = true[:, np.array(outcomes.columns_of(0)) + transitions.scalars.searched]
        found[LIFT_CONSTANT] = _measure(_mean_and_left(_constant_action(own, sample.fold) * outcomes.scale[0], sample.group, count))
    if fixed is not None and names.count(EXPERT) > 1:
        columns = np.array([column for column, name in enumerate(names) if name == EXPERT])
        best = sample.predicted[:, np.searchsorted(fixed.asked.by_group, columns)].argmax(axis=1)
        true = np.asarray(transitions.scalars[sample.chosen])[:, columns]
        if len(np.unique(true, axis=0)) == len(columns):  # one-hot, each level scaled by itself
            found[EXPERT_ACCURACY] = _measure(_mean_and_left(best == true.argmax(axis=1), sample.group, count))
    return found


def _constant_action(outcomes: Float[np.ndarray, "row action"], fold: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    """Outcomes of the action that is best on average in the other folds: what a layer that knows nothing can give."""
    best = np.array([outcomes[fold != one].mean(axis=0).argmax() for one in range(int(fold.max()) + 1)])
    return np.take_along_axis(outcomes, best[fold][:, None], axis=1)[:, 0]


def _mean_and_left(values: Float[np.ndarray, " row"], group: Float[np.ndarray, " row"], groups: int) -> WholeAndLeft:
    totals, counts = np.bincount(group, values, groups), np.bincount(group, minlength=groups)
    left = (totals.sum() - totals) / np.maximum(counts.sum() - counts, 1)
    return np.append(totals.sum() / max(counts.sum(), 1), left)


def _inverse(sample: SampledRows, actions: Float[np.ndarray, "row action"], discrete: bool, groups: int) -> dict[str, Measure | None]:
    """R² and accuracy of a_t from [z_t, z_{t+1}] on the leading directions, out of fold."""
    x = np.hstack([sample.coordinates, sample.following])
    x -= x.mean(axis=0, dtype=np.float64).astype(x.dtype)  # squares of far-off rows would leave float32 nothing of their differences
    predicted = np.empty(actions.shape)
    folds = np.unique(sample.fold)
    parts = [sums_of(x[sample.fold == fold], actions[sample.fold == fold]) for fold in folds]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    for fold, tested in zip(folds, parts, strict=True):
        train = total - tested
        mean, level = train.x / train.count, train.y / train.count
        matrix = train.xx / train.count - np.outer(mean, mean)
        matrix.flat[:: len(matrix) + 1] += INVERSE_PENALTY
        weights = np.linalg.solve(matrix, train.xy / train.count - np.outer(mean, level))
        own = sample.fold == fold
        predicted[own] = (x[own] - mean) @ weights + level
    error = (actions - predicted) ** 2
    live = np.ptp(actions, axis=0) > 0
    by_group, y, yy = (
        np.array([np.bincount(sample.group, column, groups) for column in values[:, live].T]).T.reshape(groups, -1)
        for values in (error, actions, actions**2)
    )
    counts = np.bincount(sample.group, minlength=groups)
    squares = MomentSums(counts, np.zeros((groups, 0)), y, np.zeros((groups, 0, 0)), np.zeros((groups, 0, y.shape[1])), yy)
    found: dict[str, Measure | None] = {INVERSE_R2: None, INVERSE_ACCURACY: None}
    if live.any():
        columns, every = slice(0, int(live.sum())), np.ones(int(live.sum()))
        share = target_share(squares, columns, every)
        found[INVERSE_R2] = _measure(mean_r2(by_group.sum(axis=0), by_group @ share, squares, columns, every))
    if discrete:
        hits = predicted.argmax(axis=1) == actions.argmax(axis=1)
        found[INVERSE_ACCURACY] = _measure(_mean_and_left(hits, sample.group, groups))
    return found


def _bits_later(sample: SampledRows, transitions: Transitions, steps: int, split: Split) -> Measure | None:
    """Bits of a_t about z_{t+steps} beyond z_t, on the leading directions; see ``bits.bits``."""
    (pair, end), count = pairs_apart(sample, transitions, steps), len(split.ranking)
    if len(pair) < 2:
        return None
    now, y = sample.coordinates[pair], sample.rows[end]
    x = np.hstack([now, transitions.inputs[sample.chosen[pair]].astype(now.dtype)])
    kinds = dict.fromkeys((x.dtype, np.dtype(np.float64)))  # of nearly dependent directions, float32 sums may have no factor
    found = next(filter(None, (bits_of_pairs(x.astype(kind), y.astype(kind), bool(transitions.levels)) for kind in kinds)), None)
    if found is None or found.action is None or found.residuals is None:
        return None
    residuals = tuple(x @ one.left.astype(x.dtype) + y[:, : len(one.right)] @ one.right.astype(y.dtype) for one in found.residuals)
    share = len(pair) / max(len(sample.chosen), 1) * share_of_rows(sample, transitions, split)
    return _measure(np.append(found.action, bits_without_groups(found, residuals, sample.group[pair], count, share)))
