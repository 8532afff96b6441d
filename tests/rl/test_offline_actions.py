"""Q-learning from a store takes discrete actions, and says so to everything else before it trains."""

from __future__ import annotations

import numpy as np
import pytest
from by_hand import GRID, select, settings

from layerscout.cache.dataset.trajectories import Episode, TrajectoryWriter
from layerscout.errors import UsageError
from layerscout.extract.config import ExtractConfig
from layerscout.extract.run import plan as plan_extraction
from layerscout.extract.run import run as extract
from layerscout.rl.run import plan


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.zeros((4, 7), np.float32), r"store ls1-\w+ has continuous actions \(7 dimensions\)"),
        (None, r"store ls1-\w+ has no actions"),
    ],
    ids=["continuous", "absent"],
)
def test_offline_training_refuses_other_actions_and_names_the_modes_that_do_not_need_them(tmp_path, actions, message):
    none = np.zeros(4, bool)
    frames = np.zeros((5, 64, 64, 3), np.uint8)
    writer = TrajectoryWriter(tmp_path / "x.h5", {"environment": GRID})
    writer.append(Episode(frames, actions, np.zeros(4, np.float32), none, none, None))
    store = extract(
        plan_extraction(
            ExtractConfig(backbone="tiny", data=writer.commit(), root=tmp_path / "root", layers=("blocks.0",), pooling="last/mean")
        )
    )
    selection = select(tmp_path / "selection.json", ("ranked", store, "blocks.0"))
    with pytest.raises(UsageError, match=message) as caught:
        plan(settings(selection, tmp_path / "out", tmp_path / "root"))
    assert "--mode online" in caught.value.hint
    assert plan(settings(selection, tmp_path / "out", tmp_path / "root", mode="online")).arms
