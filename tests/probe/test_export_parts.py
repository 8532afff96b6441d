"""What a recording shows of a layer is that of scikit-learn on the same rows, and no episode foretells itself."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerscout.probe.export.projector import spread
from layerscout.probe.export.scrubbing import PENALTY, components, first_episodes, foretold


@pytest.mark.parametrize("rows", [1, 2, 3, 10, 1001])
@pytest.mark.parametrize("most", [1, 2, 3, 7, 5000])
def test_points_are_spread_evenly_and_are_as_many_as_are_asked_for(rows: int, most: int) -> None:
    found = spread(rows, most)
    assert len(found) == min(rows, most)
    assert (np.diff(found) >= 1).all()
    assert found[0] == 0
    assert found[-1] == (rows - 1 if len(found) > 1 else 0)
    if len(found) > 2:
        assert np.diff(found).max() - np.diff(found).min() <= 1


@pytest.mark.parametrize(
    ("episode", "most", "rows"),
    [
        ([0, 0, 0, 1, 1, 2], 6, 6),
        ([0, 0, 0, 1, 1, 2], 5, 5),
        ([0, 0, 0, 1, 1, 2], 4, 3),
        ([0, 0, 0, 1, 1, 2], 1, 3),  # one episode is always shown
        ([7, 7, 3, 3], 3, 2),
        ([5], 10, 1),
    ],
)
def test_whole_episodes_are_shown_as_far_as_they_fit(episode: list[int], most: int, rows: int) -> None:
    assert first_episodes(np.array(episode), most).tolist() == list(range(rows))


def test_components_are_those_of_principal_component_analysis_with_variance_1() -> None:
    values = np.random.default_rng(0).standard_normal((50, 6)) * [9.0, 5.0, 3.0, 1.0, 0.5, 0.1] + 7.0
    expected = PCA(3, whiten=True).fit_transform(values) * np.sqrt(50 / 49)
    found = components(values)
    np.testing.assert_allclose(found * np.sign(found[0]), expected * np.sign(expected[0]), atol=1e-9)


@pytest.mark.parametrize(("rows", "features", "columns"), [(5, 2, 2), (2, 6, 2), (1, 4, 1), (5, 0, 0)])
def test_there_are_no_more_components_than_rows_or_features(rows: int, features: int, columns: int) -> None:
    assert components(np.random.default_rng(0).standard_normal((rows, features))).shape == (rows, columns)


def test_directions_that_do_not_vary_are_0() -> None:
    values = np.outer(np.arange(6.0), [1.0, 2.0, -1.0])
    found = components(values)
    np.testing.assert_allclose(found[:, 0] ** 2, (np.arange(6) - 2.5) ** 2 / np.var(np.arange(6)))
    assert not found[:, 1:].any()


def test_a_reward_is_foretold_by_the_ridge_of_the_other_half_of_the_episodes() -> None:
    rng = np.random.default_rng(0)
    episode = np.repeat([4, 9, 2, 7, 5], 8)
    values = rng.standard_normal((40, 3)) * [1.0, 100.0, 0.01] + 5.0
    values[:, 2] = 3.0  # a feature that does not vary
    reward = values[:, 0] + rng.standard_normal(40)
    reward[7::8] = np.nan  # the last frame of an episode has none, and is foretold all the same
    half = np.unique(episode, return_inverse=True)[1] % 2
    found = foretold(values, reward, episode)
    for one in (0, 1):
        fit = np.isfinite(reward) & (half != one)
        model = make_pipeline(StandardScaler(), Ridge(alpha=PENALTY * fit.sum())).fit(values[fit], reward[fit])
        np.testing.assert_allclose(found[half == one], model.predict(values[half == one]))


def test_rewards_in_one_half_alone_foretell_nothing() -> None:
    episode = np.repeat([0, 1, 2], 4)
    values = np.random.default_rng(0).standard_normal((12, 2))
    assert foretold(values, np.where(episode == 1, 1.0, np.nan), episode) is None
    assert foretold(values, np.where(episode == 2, np.nan, 1.0), episode) is not None
