"""A chosen layer in other libraries: the same features as the store, one frozen copy, nothing in optimisers or files."""

from __future__ import annotations

import zipfile

import gymnasium
import numpy as np
import pytest
import torch
from by_hand import select

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.errors import DataError, UsageError
from layerscout.rl.export.export import layer_module
from layerscout.rl.seeing.representation import Representation, Scaler

stable_baselines3 = pytest.importorskip("stable_baselines3", reason="the extra [sb3] is not installed")


@pytest.fixture(scope="module")
def selection(tmp_path_factory, tiny_store, synthetic_store):
    folder = tmp_path_factory.mktemp("export")
    return select(folder / "tiny.json", ("ranked", tiny_store, "blocks.5"), ("pixels", tiny_store, "pixels"))


def stacked(frames: np.ndarray, step: int, count: int) -> np.ndarray:
    return np.stack([frames[max(0, step - back)] for back in reversed(range(count))])


@pytest.mark.parametrize("layer", ["blocks.5", "pixels"])
def test_the_module_gives_the_stored_rows_as_agents_see_them(selection, small, tiny_store, layer):
    module = layer_module(selection, layer, root=small.root)
    with Trajectories(small.intercept) as data:
        frames = data.episode(0).frames
    clips = torch.from_numpy(np.stack([stacked(frames, step, module.frames) for step in range(6)]))
    reader = tiny_store.layer(layer)
    stored = Scaler.measure(chunk for _, chunk in reader.chunks())(reader.read(0, 6))
    assert module(clips).shape == (6, module.width)
    np.testing.assert_allclose(module(clips).numpy(), stored, atol=0.02, rtol=0.02)  # a batch of another size rounds to the next float16


def test_the_frozen_copy_is_shared_and_is_nobodys_parameter(selection, small):
    one, again = (layer_module(selection, root=small.root) for _ in range(2))
    assert one is again
    assert not list(one.parameters())
    assert not one.state_dict()


def test_a_selection_that_changed_at_its_path_gives_its_new_layer(tmp_path, small, synthetic_store):
    path = tmp_path / "s.json"
    first = layer_module(select(path, ("ranked", synthetic_store, "structured_mid")), root=small.root)
    other = layer_module(select(path, ("ranked", synthetic_store, "random_narrow")), root=small.root)
    again = layer_module(select(path, ("ranked", synthetic_store, "structured_mid")), root=small.root)
    assert (first.layer, other.layer) == ("structured_mid", "random_narrow")
    assert again is first


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
def test_what_an_agent_sees_is_rounded_as_its_store_is(small, tmp_path, dtype):
    from layerscout.extract.config import ExtractConfig
    from layerscout.extract.run import plan, run

    store = run(plan(ExtractConfig(backbone="tiny", data=small.intercept, root=tmp_path / "root", layers=("blocks.1",), dtype=dtype)))
    module = layer_module(select(tmp_path / "one.json", ("ranked", store, "blocks.1")), root=tmp_path / "root", standardise=False)
    with Trajectories(small.intercept) as data:
        frames = data.episode(0).frames
    seen = module(torch.from_numpy(np.stack([stacked(frames, step, module.frames) for step in range(4)])))
    assert torch.equal(seen, seen.to(getattr(torch, dtype)).float())
    stored = store.layer("blocks.1").read(0, 4).astype(np.float32)
    tolerance = {"float16": 2e-3, "float32": 1e-4, "bfloat16": 2e-2}[dtype]  # a batch of another size may round to the next number
    np.testing.assert_allclose(seen.numpy(), stored, rtol=tolerance, atol=1e-4)


def test_wrong_frames_and_layers_are_refused(selection, small):
    module = layer_module(selection, root=small.root)
    with pytest.raises(UsageError, match="expected uint8"):
        module(torch.zeros(1, module.frames + 1, 64, 64, 3, dtype=torch.uint8))
    with pytest.raises(UsageError, match="expected uint8"):
        module(torch.zeros(1, module.frames, 64, 64, 3))
    with pytest.raises(DataError, match=r"no layer 'blocks\.77'"):
        layer_module(selection, "blocks.77", root=small.root)


@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_stable_baselines_trains_on_the_layer_and_saves_without_it(selection, small, tmp_path, algorithm):
    from stable_baselines3.common.logger import Logger

    from layerscout.rl.export.sb3 import FrozenLayerExtractor

    environment = gymnasium.wrappers.FrameStackObservation(gymnasium.make("layerscout.worlds.registered:layerscout/Intercept-v0"), 3)
    chosen = {"selection": str(selection), "root": str(small.root)}
    kwargs = {"features_extractor_class": FrozenLayerExtractor, "features_extractor_kwargs": chosen, "net_arch": [8]}
    options = {"DQN": {"buffer_size": 200, "learning_starts": 20}, "PPO": {"n_steps": 32, "batch_size": 16, "n_epochs": 1}}[algorithm]
    kind = getattr(stable_baselines3, algorithm)
    model = kind("MlpPolicy", environment, policy_kwargs=kwargs, device="cpu", seed=0, **options)
    model.set_logger(Logger(None, []))  # its own would leave a folder behind
    model.learn(40)
    width = model.policy.observation_space.shape
    assert width[0] == 3
    trained = sum(parameter.numel() for group in model.policy.optimizer.param_groups for parameter in group["params"])
    assert trained < 100_000, "heads only: the block is not in the optimiser"
    model.save(tmp_path / "model.zip")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert archive.getinfo("policy.pth").file_size < 4 * trained * 3
    loaded = kind.load(tmp_path / "model.zip", device="cpu")
    observation, _ = environment.reset(seed=3)
    assert np.array_equal(loaded.predict(observation, deterministic=True)[0], model.predict(observation, deterministic=True)[0])


def test_an_observation_that_holds_no_clip_is_refused(selection, small):
    from layerscout.rl.export.sb3 import FrozenLayerExtractor

    space = gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8)
    with pytest.raises(UsageError, match="needs uint8"):
        FrozenLayerExtractor(space, str(selection), root=str(small.root))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_random_layer_is_the_same_whenever_it_is_drawn(synthetic_store, seed):
    from layerscout.rl.arms import ArmSpec

    arm = ArmSpec("random", "random", "pixels", synthetic_store, "mlp", (16,), None, random_width=24, random_seed=seed)
    reader = synthetic_store.layer("pixels")
    one, again = (Representation.measure(arm, standardise=True).all_rows(reader) for _ in range(2))
    assert one.shape == (synthetic_store.rows, 24)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_allclose(one.mean(axis=0), 0, atol=1e-3)
    other = Representation.measure(ArmSpec("r", "random", "pixels", synthetic_store, "mlp", (16,), None, 24, seed + 1), True).all_rows(
        reader
    )
    assert abs(np.corrcoef(one[:, 0], other[:, 0])[0, 1]) < 0.9
