"""The shipped weights against their untrained twin: what the model card claims must be true of the file in the package."""

import hashlib
import importlib.resources

import numpy as np
import pytest
import torch
from safetensors.torch import load
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerscout.extract.backbones import tiny
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.loaded import fixed_noise, scale_pixels
from layerscout.extract.backbones.networks.tiny.tiny import new_model, predict
from layerscout.extract.config import ExtractConfig
from layerscout.extract.passes.capture import Capture
from layerscout.extract.run import plan, run
from layerscout.probe import run as probe
from layerscout.probe.config import ProbeConfig
from layerscout.worlds.arcade.catch import Catch
from layerscout.worlds.arcade.hunt import Hunt
from layerscout.worlds.arcade.two_balls import TwoBalls
from layerscout.worlds.intercept import Intercept

CPU = torch.device("cpu")
MODELS = ["tiny", "tiny-2"]
TINY = "sha256:4872d789d32c4b9a32ae4b4c97f77e80fa4918afe5d06577506bab9b9733b70c"
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


@pytest.mark.parametrize("name", MODELS)
def test_the_future_frame_is_predicted_better_than_by_copying_and_by_the_untrained_twin(name, played) -> None:
    clips, future, _ = (part[:300] for part in played)
    goal = scale_pixels(torch.from_numpy(future[:, None]))
    past = scale_pixels(torch.from_numpy(clips))
    noise = fixed_noise((1, 1, 3, tiny.SIZE, tiny.SIZE), tiny.NOISE_SEED).expand(len(past), -1, -1, -1, -1)

    def error(model: torch.nn.Module) -> float:
        with torch.no_grad():
            predicted = predict(model, torch.cat([past, noise], dim=1), torch.full((len(past),), tiny.PURE_NOISE))
        return float((predicted[:, -1:] - goal).square().mean())

    copying = float((past[:, -1:] - goal).square().mean())
    trained = error(find_backbone(name).load(CPU).module)
    assert trained < 0.3 * copying
    assert trained < 0.05 * error(new_model(tiny.UNTRAINED_SEED, name))


@pytest.mark.parametrize(("name", "layer"), [("tiny", "blocks.4"), ("tiny-2", "blocks.6")])
def test_motion_can_be_read_linearly_from_a_trained_layer_and_not_from_the_twin(name, layer, played) -> None:
    clips, _, state = played
    column_speed, half = state[:, 2], EPISODES // 2

    def readout(backbone) -> float:
        capture = Capture(backbone.load(CPU), [backbone.layer(layer)], backbone.grid, backbone.default_pooling)
        features = capture(torch.from_numpy(clips))[layer].numpy().astype(np.float64)
        model = make_pipeline(StandardScaler(), Ridge(100.0)).fit(features[:half], column_speed[:half])
        return model.score(features[half:], column_speed[half:])

    trained, untrained = readout(find_backbone(name)), readout(find_backbone(f"{name}-untrained"))
    assert trained > 0.5
    assert trained > untrained + 0.3


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_are_in_the_package_and_small(name) -> None:
    weights = importlib.resources.files("layerscout.extract.backbones") / "weights" / f"{name}.safetensors"
    assert 1_000_000 < len(weights.read_bytes()) <= 5_000_000


def test_the_first_models_weights_are_what_they_always_were() -> None:
    assert find_backbone("tiny").weights_digest() == TINY


def test_the_second_is_shipped_as_float16_and_computes_in_float32() -> None:
    backbone = find_backbone("tiny-2")
    shipped, loaded = load(tiny.weights("tiny-2")), backbone.load(CPU).module.state_dict()
    assert [layer.name for layer in backbone.layers] == [f"blocks.{depth}" for depth in range(12)]
    assert {value.dtype for value in shipped.values()} == {torch.float16}
    assert backbone.weights_digest() == f"sha256:{hashlib.sha256(tiny.weights('tiny-2')).hexdigest()}"
    for name, value in shipped.items():
        assert loaded[name].dtype is torch.float32
        assert torch.equal(loaded[name], value.float()), name


def test_worlds_that_were_kept_from_both_are_predicted_better_by_the_second_and_prey_better_than_by_copying() -> None:
    """As its model card says: on most of the kept worlds copying the last frame is still better than either model."""
    errors = {world: kept_world_errors(world) for world in (Catch, TwoBalls, Hunt)}
    assert errors[Hunt]["tiny-2"] < 0.9 * errors[Hunt]["copying"]
    assert sum(found["tiny-2"] for found in errors.values()) < 0.9 * sum(found["tiny"] for found in errors.values())


def kept_world_errors(world) -> dict[str, float]:
    game = world(200)
    game.reset(np.arange(200), 78_000_000 + np.arange(200))
    frames = [game.frames()]
    for _ in range(9):
        game.step(np.ones(200, dtype=np.int64))
        frames.append(game.frames())
    clean = scale_pixels(torch.from_numpy(np.stack([frames[step] for step in (5, 6, 7, 9)], axis=1)))
    noise = fixed_noise((1, 1, 3, tiny.SIZE, tiny.SIZE), tiny.NOISE_SEED).expand(200, -1, -1, -1, -1)
    inputs, times = torch.cat([clean[:, :3], noise], dim=1), torch.full((200,), tiny.PURE_NOISE)
    with torch.no_grad():
        guesses = {name: predict(find_backbone(name).load(CPU).module, inputs, times)[:, 3:] for name in MODELS}
    guesses["copying"] = clean[:, 2:3]
    return {name: float((guess - clean[:, 3:]).square().mean()) for name, guess in guesses.items()}


def test_rows_of_the_second_are_the_same_twice_and_its_layers_are_ranked(small, tmp_path) -> None:
    wanted = {"backbone": "tiny-2", "data": small.intercept, "layers": ("blocks.5", "blocks.11"), "pooling": "future/mean"}
    stores = [run(plan(ExtractConfig(**wanted, root=tmp_path / name))) for name in ("once", "again")]
    assert stores[0].id == stores[1].id
    for name in wanted["layers"]:
        assert np.array_equal(stores[0].layer(name)[:], stores[1].layer(name)[:])
    ranking = probe.run(probe.plan(ProbeConfig(store=stores[0].id, root=tmp_path / "once", out=tmp_path / "probe", shifts=3)))
    assert {layer.name for layer in ranking.candidates} == set(wanted["layers"])
