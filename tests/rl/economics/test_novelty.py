"""Laws of novelty: what was seen is not new, what surprises is, random numbers are neither, and runs do not touch each other."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.errors import UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.passes.noise_gap import NoiseGap
from layerscout.rl.economics.config import SETTLED, WorkConfig
from layerscout.rl.economics.novelty import novelty_of
from layerscout.rl.economics.working import Workplace
from layerscout.rl.memory.replay import Batch

STILL = np.zeros((2, 2), np.float32)


@pytest.mark.parametrize("way", ["neighbours", "ensemble"])
def test_what_was_seen_before_is_not_new(way):
    novelty, rng = novelty_of(way, [0, 1], width=3), np.random.default_rng(0)
    for _ in range(150):
        z = rng.random((2, 17, 3)).astype(np.float32)
        novelty.learn(
            Batch(np.concatenate([z[:, :16], 0.5 * z[:, :16]], 1), np.zeros((2, 16, 2), np.float32), z[:, :16, 0], z[:, :16, 0] > 2)
        )
        usual = novelty(z[:, 16], STILL)
    assert (usual > 0.0).all()
    assert (usual < 4.0).all()
    assert (novelty(np.full((2, 3), 9.0, np.float32), STILL) > 4.0).all()


def test_the_controls_look_at_nothing():
    z = np.random.default_rng(0).random((2, 3)).astype(np.float32)
    assert novelty_of("none", [0, 1])(z, STILL).tolist() == [1.0, 1.0]
    drawn = np.array([novelty_of("random", [0, 1])(z * scale, STILL) for scale in (1, 100)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert ((drawn >= 0.5) & (drawn < 1.0)).all()


def test_a_picture_that_does_not_follow_is_newer_than_one_that_does():
    """tiny predicts a picture from those before it: of a world that jumps it knows less than of one that stands still."""
    novelty, rng = novelty_of("denoising", [0, 1]), np.random.default_rng(0)
    scene = np.full((64, 64, 3), 120, np.uint8)
    scene[20:40, 20:40] = (200, 60, 40)
    noise = rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    novelty.begin(np.stack([scene, scene]))
    for _ in range(4):
        usual = novelty(STILL, STILL, np.stack([scene, scene]))
    np.testing.assert_allclose(usual, 1.0, atol=0.05)
    jumped = novelty(STILL, STILL, np.stack([scene, noise]))
    assert jumped[0] < 1.1
    assert jumped[1] > 3.0


def test_a_denoising_novelty_needs_a_denoiser():
    with pytest.raises(UsageError, match="'synthetic' is no video diffusion model"):
        NoiseGap(find_backbone("synthetic"))
    with pytest.raises(UsageError, match="needs one that predicts its clip under noise"):
        Workplace(WorkConfig(novelty="denoising", denoiser="synthetic"), [0])


@pytest.mark.parametrize("way", ["neighbours", "ensemble"])
def test_a_run_is_as_new_to_itself_alone_as_beside_others(way):
    quick = SETTLED.model_copy(update={"warm_up": 30, "batch": 8, "hidden": (8,), "train_interval": 10})
    config = WorkConfig(episodes=1, replay="novelty", weighting="novelty", novelty=way, sac=quick)
    many, one = Workplace(config, [4, 9]).hour(0), Workplace(config, [9]).hour(0)
    assert many[1]["novelty"] == pytest.approx(one[0]["novelty"], rel=1e-4)
    assert many[1]["attempts"] == one[0]["attempts"]


def test_work_is_done_under_a_denoising_novelty():
    quick = SETTLED.model_copy(update={"warm_up": 30, "batch": 8, "hidden": (8,), "train_interval": 30})
    row = Workplace(WorkConfig(episodes=1, replay="novelty", novelty="denoising", sac=quick), [4]).hour(0)[0]
    assert 0.2 < row["novelty"] < 5.0
