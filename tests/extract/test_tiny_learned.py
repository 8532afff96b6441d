"""The shipped weights against their untrained twin: what the model card claims must be true of the file in the package."""

import importlib.resources

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerscout.extract.backbones import tiny
from layerscout.extract.backbones.loaded import fixed_noise, scale_pixels
from layerscout.extract.backbones.networks.tiny.tiny import new_model, predict
from layerscout.extract.passes.capture import Capture
from layerscout.worlds.intercept import Intercept

HORIZON = 2
EPISODES = 1500


@pytest.fixture(scope="module")
def played() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips of three frames, the frame two steps later, and the true state, from episodes that no training saw; one clip an episode."""
    world = Intercept(EPISODES)
    world.reset(np.arange(EPISODES), 77_000_000 + np.arange(EPISODES))
    rng = np.random.default_rng(0)
    frames, states = [world.frames()], [world.state()]
    for step in range(12):
        actions = rng.integers(0, 3, EPISODES) if step % 4 == 0 else actions
        world.step(actions)
        frames.append(world.frames())
        states.append(world.state())
    ends = rng.integers(2, 11, EPISODES)
    video, state = np.stack(frames, 1), np.stack(states, 1)
    rows = np.arange(EPISODES)
    clips = video[rows[:, None], ends[:, None] + np.array([-2, -1, 0])]
    return clips, video[rows, ends + HORIZON], state[rows, ends]


def test_the_future_frame_is_predicted_better_than_by_copying_and_by_the_untrained_twin(played) -> None:
    clips, future, _ = (part[:300] for part in played)
    goal = scale_pixels(torch.from_numpy(future[:, None]))
    past = scale_pixels(torch.from_numpy(clips))
    noise = fixed_noise((1, 1, 3, tiny.SIZE, tiny.SIZE), tiny.NOISE_SEED).expand(len(past), -1, -1, -1, -1)

    def error(model: torch.nn.Module) -> float:
        with torch.no_grad():
            predicted = predict(model, torch.cat([past, noise], dim=1), torch.full((len(past),), tiny.PURE_NOISE))
        return float((predicted[:, -1:] - goal).square().mean())

    copying = float((past[:, -1:] - goal).square().mean())
    trained = error(tiny.pretrained(None, {}).load(torch.device("cpu")).module)
    assert trained < 0.3 * copying
    assert trained < 0.05 * error(new_model(tiny.UNTRAINED_SEED))


def test_motion_can_be_read_linearly_from_a_trained_layer_and_not_from_the_twin(played) -> None:
    clips, _, state = played
    column_speed, half = state[:, 2], EPISODES // 2

    def readout(backbone) -> float:
        capture = Capture(backbone.load(torch.device("cpu")), [backbone.layer("blocks.4")], backbone.grid, backbone.default_pooling)
        features = capture(torch.from_numpy(clips))["blocks.4"].numpy().astype(np.float64)
        model = make_pipeline(StandardScaler(), Ridge(100.0)).fit(features[:half], column_speed[:half])
        return model.score(features[half:], column_speed[half:])

    trained, untrained = readout(tiny.pretrained(None, {})), readout(tiny.untrained(None, {}))
    assert trained > 0.5
    assert trained > untrained + 0.3


def test_the_weights_are_in_the_package_and_small() -> None:
    weights = importlib.resources.files("layerscout.extract.backbones") / "weights" / "tiny.safetensors"
    assert 1_000_000 < len(weights.read_bytes()) <= 5_000_000
