"""Teachers from Stable-Baselines3: what its models do is what the teacher does, and nothing that is pickled is opened."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from layerscout.errors import DataError
from layerscout.rl.seeing.representation import Scaler
from layerscout.rl.transfer.tasks import reacher_task
from layerscout.rl.transfer.teacher import NARROWEST, Teacher
from layerscout.rl.transfer.teacher_files import load_teacher

Z = np.random.default_rng(0).standard_normal((1, 7, 10)).astype(np.float32)


class Nothing(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9.0, 9.0, (10,), np.float32)

    def __init__(self, bound: float = 1.0) -> None:
        self.action_space = gymnasium.spaces.Box(-bound, bound, (2,), np.float32)


def saved(path: Path, algorithm: str, bound: float = 1.0) -> Any:
    stable_baselines3 = pytest.importorskip("stable_baselines3", reason="extra 'sb3' is not installed; runs in CI")
    model = getattr(stable_baselines3, algorithm)("MlpPolicy", Nothing(bound), policy_kwargs={"net_arch": [16, 8]}, seed=3, device="cpu")
    model.save(path)
    return model


def repacked(path: Path, member: str, content: bytes) -> None:
    """Put other content in place of one member of a zip."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, there in (members | {member: content}).items():
            archive.writestr(name, there)


@pytest.mark.parametrize("bound", [1.0, 2.0])
def test_a_ppo_teaches_what_it_does_in_units_of_the_worlds(tmp_path: Path, bound: float) -> None:
    model = saved(tmp_path / "model.zip", "PPO", bound)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(100.0)  # so that there is something to see
        model.policy.log_std.fill_(-1.0)
    model.save(tmp_path / "model.zip")
    its = load_teacher(tmp_path / "model.zip")
    np.testing.assert_allclose(its.act(Z)[0], model.predict(Z[0], deterministic=True)[0] / bound, atol=1e-5)
    assert its.logarithm is not None
    np.testing.assert_allclose(its.logarithm.exp(), np.exp(-1.0) / bound, rtol=1e-5)
    its.check(10, 2, 0)
    assert its.steps is None, "it was never trained"


def test_a_sac_teaches_its_mean_and_the_spread_of_its_squashed_actions(tmp_path: Path) -> None:
    model = saved(tmp_path / "model.zip", "SAC")
    its = load_teacher(tmp_path / "model.zip")
    np.testing.assert_allclose(its.act(Z)[0], model.predict(Z[0], deterministic=True)[0], atol=1e-5)
    mean, logarithm = its.policy(torch.from_numpy(Z))
    assert logarithm is not None
    with torch.no_grad():  # a = tanh(mu + sigma e): to first order around mu
        mu, raw, _ = model.actor.get_action_dist_params(torch.from_numpy(Z[0]))
    narrow = replace_spread(its, -3.0)
    drawn = torch.tanh(mu + np.exp(-3.0) * torch.randn(4_000, 7, 2, generator=torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(narrow.policy(torch.from_numpy(Z))[1].exp()[0], drawn.std(0).clamp(min=NARROWEST), rtol=0.05)
    np.testing.assert_allclose(logarithm.exp()[0], (raw.exp() * (1 - mean[0] ** 2)).clamp(min=NARROWEST), rtol=1e-4)
    reacher_task().fitted(its)


def replace_spread(its: Teacher, logarithm: float) -> Teacher:
    assert its.spread is not None
    weight, bias = its.spread
    return Teacher(its.layers, its.activation, spread=(torch.zeros_like(weight), torch.full_like(bias, logarithm)))


def test_what_is_pickled_is_refused_and_never_run(tmp_path: Path) -> None:
    saved(tmp_path / "model.zip", "PPO")
    mark = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (mark,)

    torch.save({"action_net.weight": Trap()}, tmp_path / "trap.pth")
    repacked(tmp_path / "model.zip", "policy.pth", (tmp_path / "trap.pth").read_bytes())
    with pytest.raises(DataError, match="cannot be read"):
        load_teacher(tmp_path / "model.zip")
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError):
        load_teacher(tmp_path / "plain.npz")
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["nothing known", "pictures", "damaged", "not finite", "words"])
def test_zips_that_hold_no_teacher_are_told(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.zip"
    saved(path, "PPO")
    with zipfile.ZipFile(path) as archive, archive.open("policy.pth") as file:
        weights = torch.load(file, weights_only=True)
    changed = {
        "nothing known": {name: value for name, value in weights.items() if "action_net" not in name},
        "pictures": weights | {"features_extractor.cnn.0.weight": torch.zeros(1)},
        "not finite": weights | {"log_std": torch.tensor([0.0, torch.nan])},
    }
    if kind in changed:
        torch.save(changed[kind], tmp_path / "changed.pth")
        repacked(path, "policy.pth", (tmp_path / "changed.pth").read_bytes())
    elif kind == "damaged":
        path.write_bytes(path.read_bytes()[:-400])
    else:
        repacked(path, "data", b"{no json")
    with pytest.raises(DataError):
        load_teacher(path)


def test_bounds_that_are_not_printed_are_taken_to_be_one(tmp_path: Path) -> None:
    model = saved(tmp_path / "model.zip", "PPO")
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        words = json.loads(archive.read("data"))
    repacked(tmp_path / "model.zip", "data", json.dumps(words | {"action_space": {"low": "[-2. ... -2.]", "high": "x"}}).encode())
    np.testing.assert_allclose(load_teacher(tmp_path / "model.zip").act(Z)[0], model.predict(Z[0], deterministic=True)[0], atol=1e-5)


def test_a_scale_that_is_frozen_with_a_teacher_does_not_shift_under_its_student() -> None:
    """The student's numbers are scaled in another way than the teacher's were: the teacher must act as it did on the raw ones."""
    rng = np.random.default_rng(0)
    own, students = (Scaler(rng.normal(0, 3, 10).astype(np.float32), rng.uniform(0.2, 5, 10).astype(np.float32)) for _ in range(2))
    students.inverse[4] = 0.0  # a number that never changed where the scale was measured
    generator = torch.Generator().manual_seed(0)
    layers = tuple((torch.randn(a, b, generator=generator), torch.randn(b, generator=generator)) for a, b in ((10, 6), (6, 2)))
    its = Teacher(layers, "tanh", torch.zeros(2), torch.from_numpy(own.mean), torch.from_numpy(own.inverse))
    raw = rng.normal(0, 4, (1, 20, 10)).astype(np.float32)
    raw[..., 4] = students.mean[4]
    seen = np.concatenate([np.ones((1, 20, 3), np.float32), students(raw)], axis=-1)
    with torch.no_grad():
        np.testing.assert_allclose(its.behind(students, 3)(torch.from_numpy(seen)), its(torch.from_numpy(raw)), rtol=2e-4, atol=2e-4)
