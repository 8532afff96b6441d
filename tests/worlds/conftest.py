"""Recordings whose parts are small, so that few episodes make several parts."""

from __future__ import annotations

import pytest

from layerscout.cache.dataset.recording import TrajectoryWriter

PART = 4  # episodes


@pytest.fixture
def small_parts(monkeypatch) -> int:
    """Episodes of one part of a recording in this test."""
    assert TrajectoryWriter.__init__.__defaults__ == (64, ""), "part_episodes and the command are the only defaults"
    monkeypatch.setattr(TrajectoryWriter.__init__, "__defaults__", (PART, ""))
    return PART
