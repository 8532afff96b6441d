"""Every row of a store says what the dataset says of it, and what nobody knows is missing there, never invented."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from layerscout.cache.dataset.trajectories import Episode, Trajectories, TrajectoryWriter
from layerscout.cache.layout import STANDARD_COLUMNS
from layerscout.extract.config import ExtractConfig
from layerscout.extract.index import RowIndex, unusual
from layerscout.extract.run import plan, run

LENGTHS = (3, 1, 5)


def make(steps: int, seed: int) -> Episode:
    random = np.random.default_rng([seed, steps])
    return Episode(
        frames=random.integers(0, 256, (steps + 1, 64, 64, 3), dtype=np.uint8),
        actions=random.normal(size=(steps, 2)).astype(np.float32),
        rewards=None,
        terminated=np.arange(steps) == steps - 1,
        truncated=np.zeros(steps, bool),
        state=random.normal(size=(steps + 1, 3)).astype(np.float32),
        extra={
            "expert": random.normal(size=(steps, 4)).astype(np.float32),
            "joints": random.normal(size=(steps + 1, 1)).astype(np.float32),
        },
    )


@pytest.fixture
def episodes() -> list[Episode]:
    return [make(steps, seed) for seed, steps in enumerate(LENGTHS)]


def write(path, episodes):
    writer = TrajectoryWriter(path, {"source": "made up"})
    for episode in episodes:
        writer.append(episode)
    return writer.commit()


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_columns_are_the_episodes_laid_end_to_end(tmp_path, episodes, cut):
    """However the rows are cut, they are the per-step arrays with one missing value behind, and the per-frame arrays as they are."""
    with Trajectories(write(tmp_path / "x.h5", episodes)) as data:
        index = RowIndex(data)
        rows = len(index.table)
        pieces = [index.columns(low, min(rows, low + cut), (0,)) for low in range(0, rows, cut)]
        specs = index.specs()
    whole = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
    padded = {"action": [one.actions for one in episodes], "expert": [one.extra["expert"] for one in episodes]}
    for name, values in padded.items():
        expected = np.concatenate([np.pad(one, ((0, 1), (0, 0)), constant_values=np.nan) for one in values])
        np.testing.assert_array_equal(whole[name], expected)
    np.testing.assert_array_equal(whole["state"], np.concatenate([one.state for one in episodes]))
    np.testing.assert_array_equal(whole["joints"], np.concatenate([one.extra["joints"] for one in episodes]))
    assert np.isnan(whole["reward"]).all()
    np.testing.assert_array_equal(whole["episode"], np.repeat(np.arange(3), np.array(LENGTHS) + 1))
    for spec in specs:
        assert (whole[spec.name].dtype, whole[spec.name].shape[1:]) == (np.dtype(spec.dtype), (spec.width,) if spec.width else ())


def test_absent_actions_are_absent_in_every_row(tmp_path, episodes):
    bare = [replace(one, actions=None, state=None, extra={}) for one in episodes]
    with Trajectories(write(tmp_path / "x.h5", bare)) as data:
        index = RowIndex(data)
        assert index.specs() == STANDARD_COLUMNS
        assert unusual(index.specs()) == {}
        assert (index.columns(0, len(index.table), (0,))["action"] == -1).all()


def test_a_store_holds_every_column_and_its_identity_names_the_unusual_ones(tmp_path, episodes):
    data = write(tmp_path / "x.h5", episodes)
    planned = plan(ExtractConfig(backbone="tiny", data=data, root=tmp_path / "root", layers=("blocks.0",), rows_per_chunk=5))
    expected = [["action", "float32", 2], ["state", "float32", 3], ["expert", "float32", 4], ["joints", "float32", 1]]
    assert planned.identity["dataset"]["columns"] == expected
    store = run(planned)
    assert planned.existing is None
    assert [[name, store.columns[name].dtype, store.columns[name].width] for name, *_ in expected] == expected
    with Trajectories(data) as opened:
        index = RowIndex(opened)
        for name, values in index.columns(0, store.rows, tuple(planned.identity["recipe"]["offsets"])).items():
            np.testing.assert_array_equal(store.index(name), values)
    again = plan(ExtractConfig(backbone="tiny", data=data, root=tmp_path / "root", layers=("blocks.0",)))
    assert again.existing is not None
    assert again.existing.id == store.id
