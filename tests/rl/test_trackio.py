"""The Trackio sink says what the other sinks say; the package itself is stood in for."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from layerscout.errors import MissingExtraError
from layerscout.rl.loops.log import Log


def test_trackio_is_fed_every_evaluation_of_every_run(tmp_path, monkeypatch):
    runs = []

    def init(**named):
        run = SimpleNamespace(named=named, said=[], ended=False)
        run.log = lambda figures, step: run.said.append((step, figures))
        run.finish = lambda: setattr(run, "ended", True)
        runs.append(run)
        return run

    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=init))
    log = Log([("a", 0), ("a", 1)], tmp_path, trackio=True, facts={"mode": "offline"})
    log.add(10, np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([0.5, np.nan]))
    log.close()
    assert [(run.named["name"], run.named["group"], run.named["config"]["seed"]) for run in runs] == [("a 0", "a", 0), ("a 1", "a", 1)]
    assert [run.said for run in runs] == [[(10, {"return": 2.0, "loss": 0.5})], [(10, {"return": 2.0})]]
    assert all(run.ended for run in runs)


def test_a_missing_trackio_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(MissingExtraError, match=r"train\.trackio"):
        Log([("a", 0)], tmp_path, trackio=True)
