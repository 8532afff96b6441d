"""Checkpoints of agents: they come back as they were, and no damage passes for another state."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.errors import DataError
from layerscout.rl.loops import checkpoint

STATE = {
    "agent": {"values": np.arange(40, dtype=np.float32).reshape(4, 10), "updates": 7, "reasons": {"1": "loss"}},
    "generators": [np.random.default_rng(0).bit_generator.state],
    "evaluations": [[3, [[0.5, 1.0], [float(np.float32(0.1)), -1.0]]]],
    "nothing": None,
    "seen": np.zeros((2, 3), np.uint8),
}


def same(one, other) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_a_checkpoint_round_trips_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "folder" / "checkpoint.npz"
    assert checkpoint.load_checkpoint(path, "key") is None
    checkpoint.save_checkpoint(path, "key", STATE)
    checkpoint.save_checkpoint(path, "key", STATE)
    assert same(checkpoint.load_checkpoint(path, "key"), STATE)
    assert list(path.parent.iterdir()) == [path]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    checkpoint.save_checkpoint(tmp_path / "c.npz", "key", STATE)
    with pytest.raises(DataError, match="belongs to other settings"):
        checkpoint.load_checkpoint(tmp_path / "c.npz", "another key")


def test_no_damaged_byte_gives_another_state(tmp_path):
    path = tmp_path / "c.npz"
    checkpoint.save_checkpoint(path, "key", STATE)
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            assert same(checkpoint.load_checkpoint(path, "key"), STATE), f"byte {place}"
        except DataError:
            refused += 1
    assert refused > 0.5 * len(content) / 5


@pytest.mark.parametrize("kept", [0, 1, 50, -1, -40])
def test_a_truncated_checkpoint_is_refused(tmp_path, kept):
    path = tmp_path / "c.npz"
    checkpoint.save_checkpoint(path, "key", STATE)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=f"{path} is damaged") as error:
        checkpoint.load_checkpoint(path, "key")
    assert error.value.exit_code == 4
