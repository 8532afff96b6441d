"""Which folds a fit may see, and what is added up of those it may not: laws without a single fit."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from layerscout.probe.moments.moments import MomentSums
from layerscout.probe.solve.crossfit import inner_roles, search_roles, still_falling, sums_of_squares, without
from layerscout.probe.solve.fixed import FixedColumns, FixedFit
from layerscout.probe.solve.ridge import LinearMap, PredictionSums
from layerscout.probe.wide.methods import select_sums, total_squares


def sums(x: np.ndarray, y: np.ndarray) -> MomentSums:
    return MomentSums(np.array(len(x)), x.sum(axis=0), y.sum(axis=0), x.T @ x, x.T @ y, (y**2).sum(axis=0))


def of_groups(x: np.ndarray, y: np.ndarray, size: int) -> MomentSums:
    each = [sums(x[start : start + size], y[start : start + size]) for start in range(0, len(x), size)]
    return MomentSums(*(np.stack([getattr(one, name) for one in each]) for name in MomentSums.__dataclass_fields__))


@pytest.mark.parametrize("folds", range(2, 8))
@pytest.mark.parametrize(("inner", "times"), [("all", lambda folds: folds - 1), ("pair", lambda folds: 1)])
def test_every_fold_is_tested_and_never_validated_on_itself(folds, inner, times):
    roles = [(pair, role) for pair, served in inner_roles(folds, inner).items() for role in served]
    assert all(set(pair) == set(role) and role[0] != role[1] for pair, role in roles), "the tested and the validated fold are left out"
    tested = [role[0] for _, role in roles]
    assert {fold: tested.count(fold) for fold in range(folds)} == dict.fromkeys(range(folds), times(folds))
    assert len(set(roles)) == len(roles)


@pytest.mark.parametrize("folds", range(2, 8))
@pytest.mark.parametrize("inner", ["all", "scalars", "pair"])
def test_the_search_of_the_latents_shares_the_decompositions_of_the_scalars(folds, inner):
    roles = search_roles(folds, inner)
    assert all(set(served) <= set(roles["scalars"][pair]) for pair, served in roles["latents"].items())
    assert (roles["latents"] == roles["scalars"]) == (inner != "scalars" or folds == 2)


def test_a_large_value_in_a_fold_left_out_leaves_nothing_behind():
    generator = np.random.default_rng(0)
    folds = [sums(generator.standard_normal((5, 2)), generator.standard_normal((5, 3))) for _ in range(4)]
    small = [copy.deepcopy(fold) for fold in folds]
    for name in ("x", "y", "xx", "xy", "yy"):
        getattr(folds[1], name)[...] = 1e20
    found, expected = without(folds, (1,)), without([small[0], small[2], small[3]])
    again = without(folds, (1,))
    for name in MomentSums.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        np.testing.assert_array_equal(getattr(again, name), getattr(expected, name), err_msg="the folds themselves were added to")


@pytest.mark.parametrize(
    ("losses", "falls"),
    [
        ([3.0, 2.0, 1.0], True),
        ([1.0, 2.0, 3.0], True),
        ([2.0, 1.0, 2.0], False),
        ([1.0, 0.995, 0.99], False),  # by less than 1 %
        ([3e-4, 2e-4, 1.5e-4], False),  # by less than matters
        ([1.0], False),
    ],
)
def test_a_grid_was_too_short_where_the_best_penalty_is_an_end_towards_which_the_loss_falls(losses, falls):
    assert still_falling(np.array([losses, losses])).tolist() == [falls, falls]


def test_squares_are_about_the_mean_of_the_rows_that_are_asked_for():
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((12, 2)), generator.standard_normal((12, 3)) + np.array([0.0, 3.0, 0.0])
    y[:, 2] = 0.1
    groups = of_groups(x, y, size=3)
    np.testing.assert_allclose(sums_of_squares(sums(x, y)), ((y - y.mean(axis=0)) ** 2).sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(sums_of_squares(groups)[1], ((y[3:6] - y[3:6].mean(axis=0)) ** 2).sum(axis=0), atol=1e-12)
    assert (sums_of_squares(groups) >= 0.0).all(), "rounding makes no square negative"
    np.testing.assert_allclose(total_squares(groups, slice(1, 3)), ((y[3:9] - y[3:9].mean(axis=0)) ** 2).sum(axis=0), atol=1e-12)
    assert select_sums(groups, slice(1, 3)).count.tolist() == [3, 3]


def test_of_fixed_columns_single_ones_are_kept_by_group_and_pooled_ones_by_fold():
    generator = np.random.default_rng(2)
    x, y = generator.standard_normal((6, 2)), generator.standard_normal((6, 2 + 5))  # two latents, then five scalars
    asked = FixedColumns(penalty=1.0, first=2, columns=np.array([2, 3, 4]), pooled=1)
    fit = FixedFit(asked, 2, PredictionSums(*np.zeros((3, 3, 2))), PredictionSums(*np.zeros((3, 2, 1))))
    line = LinearMap(generator.standard_normal((2, 3)), generator.standard_normal(3))
    fit.add(1, line, sums(x, y))
    predicted = x @ line.weights[:, 2] + line.intercept[2]
    assert asked.by_group.tolist() == [2, 3]
    assert fit.maps[0].weights.shape == (2, 2), "the map is kept of single columns alone"
    found = [getattr(fit.folds, name)[1, 0] for name in ("predicted", "squares", "products")]
    np.testing.assert_allclose(found, [predicted.sum(), predicted @ predicted, predicted @ y[:, 2 + 4]])
    assert not fit.folds.predicted[0].any()
    fit.add_group(2, PredictionSums(*np.arange(12.0).reshape(3, 4)), first=2)
    assert fit.groups.squares.tolist() == [[0.0, 0.0], [0.0, 0.0], [6.0, 7.0]]
