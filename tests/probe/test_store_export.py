"""What other programs open: the projector's files say what the store says, and a recording holds every step that it promises."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from tensorboard.plugins.projector import ProjectorConfig

from layerscout.cache.testing import made_up
from layerscout.errors import DataError, UsageError
from layerscout.probe.export.projector import export_projector, spread
from layerscout.probe.export.scrubbing import components, export_recording, first_episodes, foretold


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_the_projectors_files_hold_the_stores_rows_and_columns(tmp_path):
    from google.protobuf import text_format

    store = made_up(seed=0, rows=9, widths=(3, 5)).write(tmp_path / "root")
    files = export_projector(store, ["blocks.0", "blocks.1"], tmp_path / "points", most=4)
    config = text_format.Parse((tmp_path / "points" / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [(one.tensor_name, one.metadata_path) for one in config.embeddings] == [
        ("blocks.0", "metadata.tsv"),
        ("blocks.1", "metadata.tsv"),
    ]
    assert {path.name for path in files} == {"blocks.0.tsv", "blocks.1.tsv", "metadata.tsv", "projector_config.pbtxt"}
    with (tmp_path / "points" / "metadata.tsv").open() as file:
        points = list(csv.DictReader(file, delimiter="\t"))
    rows = [int(point["row"]) for point in points]
    assert rows == [0, 3, 5, 8]
    for one in config.embeddings:
        values = np.loadtxt(tmp_path / "points" / one.tensor_path, delimiter="\t")
        np.testing.assert_allclose(values, store.layer(one.tensor_name).rows(np.array(rows)), rtol=1e-4, atol=1e-6)
    assert [int(point["step"]) for point in points] == store.index("step")[rows].tolist()
    with pytest.raises(DataError, match=r"did you mean 'blocks\.0'"):
        export_projector(store, ["blocks.00"], tmp_path / "other")
    with pytest.raises(UsageError, match="0 rows"):
        spread(5, 0)


def test_the_foretold_reward_is_that_of_the_other_half_and_components_are_principal():
    rng = np.random.default_rng(0)
    episode = np.repeat(np.arange(6), 20)
    values = rng.normal(size=(120, 4))
    reward = values @ np.array([1.0, -2.0, 0.0, 0.5]) + 3
    found = foretold(values, reward, episode)
    assert np.corrcoef(found, reward)[0, 1] > 0.99
    changed = reward.copy()
    changed[episode == 2] = 1e3  # an episode's own rewards say nothing of its forecast
    np.testing.assert_allclose(foretold(values, changed, episode)[episode == 2], found[episode == 2])
    assert foretold(values, np.full(120, np.nan), episode) is None
    assert foretold(values[:20], reward[:20], episode[:20]) is None
    scores = components(values)
    np.testing.assert_allclose(scores.T @ scores / 120, np.eye(3), atol=1e-9)
    assert components(np.ones((5, 2))).tolist() == [[0.0, 0.0]] * 5
    assert first_episodes(episode, 50).tolist() == list(range(40))
    assert first_episodes(episode, 5).tolist() == list(range(20))


def test_a_recording_holds_frames_rewards_and_components_of_every_step(tiny_store, tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed; it comes with the extra 'rerun'")
    told = export_recording(tiny_store, "blocks.3", tmp_path / "look.rrd", most=60)
    assert told["frames"]
    assert told["predicted_reward"]
    data = (tmp_path / "look.rrd").read_bytes()
    assert data[:4] == b"RRF2"
    for name in (b"/frame", b"/reward/given", b"/reward/foretold", b"/components/1", b"/components/3"):
        assert name in data
    assert json.dumps(told)
