"""A policy that was learned before in, a frozen teacher out, and its file: arrays and words, nothing that could run code."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from layerscout.errors import DataError, UsageError
from layerscout.rl.agents.base import ActionArray
from layerscout.rl.agents.ppo import PPO, drawn
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.networks.layers import Head

FORMAT = "layerscout teacher 1"
NARROWEST = 0.02  # standard deviation of an action below which a cross-entropy explodes


@dataclass(frozen=True)
class Teacher:
    """A frozen policy of one run: an MLP from what was seen to means or logits.

    Attributes
    ----------
    layers
        (weight [in, out], bias [out]) of every layer.
    activation
        What follows every hidden layer.
    logarithm
        ln σ of a continuous policy, [dimension]; None: discrete actions.
    mean, inverse
        What the teacher itself does to what it sees, z ↦ (z − mean) · inverse, frozen with it; None: nothing.
    steps
        Environment steps that its training took; None: unknown.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    activation: Literal["tanh", "relu"]
    logarithm: Tensor | None = None
    mean: Tensor | None = None
    inverse: Tensor | None = None
    steps: int | None = None

    @staticmethod
    def of(agent: PPO, run: int = 0, steps: int | None = None) -> Teacher:
        """Freeze one run of a learner on features.

        Raises
        ------
        UsageError
            Its policy is not a head on features.
        """
        policy = agent.network.policy
        if not isinstance(policy, Head):
            raise UsageError("only a policy on features can be a teacher", hint="teach from --mode online")
        layers = tuple((layer.weight[run].detach().clone(), layer.bias[run, 0].detach().clone()) for layer in policy.layers)  # type: ignore[index]
        logarithm = None if agent.network.logarithm is None else agent.network.logarithm[run, 0].detach().clone()
        return Teacher(layers, agent.config.activation, logarithm, steps=steps)

    def __call__(self, z: Shaped[Tensor, "run batch feature"]) -> Float[Tensor, "run batch out"]:
        """Return means or logits."""
        x = z if self.mean is None or self.inverse is None else (z - self.mean) * self.inverse
        *inner, (weight, bias) = self.layers
        for inner_weight, inner_bias in inner:
            x = (x @ inner_weight + inner_bias).tanh() if self.activation == "tanh" else (x @ inner_weight + inner_bias).relu()
        return x @ weight + bias

    @torch.no_grad()
    def draw(self, z: Shaped[np.ndarray, "run batch feature"], generators: Sequence[np.random.Generator]) -> ActionArray:
        """Draw an action in every state, each run from its own generator."""
        return drawn(self(torch.from_numpy(z)), self.logarithm, generators)

    @torch.no_grad()
    def act(self, z: Shaped[np.ndarray, "run batch feature"]) -> ActionArray:
        """Return the teacher's likeliest actions, continuous ones clipped to [-1, 1]."""
        output = self(torch.from_numpy(z)).numpy()
        return output.argmax(-1) if self.logarithm is None else output.clip(-1.0, 1.0)

    def check(self, width: int, dimensions: int, actions: int) -> None:
        """Refuse to teach a student of other features or actions, or with actions that are nearly certain.

        Raises
        ------
        UsageError
            It says what the teacher has and what the student needs.
        """
        sees, gives = self.layers[0][0].shape[0], self.layers[-1][0].shape[1]
        if sees != width:
            raise UsageError(f"the teacher sees {sees} features and the student {width}", hint="teach on the same observation")
        if (self.logarithm is not None) != bool(dimensions) or gives != (dimensions or actions):
            mine = f"{gives} numbers" if self.logarithm is not None else f"one of {gives} actions"
            its = f"{dimensions} numbers" if dimensions else f"one of {actions} actions"
            raise UsageError(f"the teacher gives {mine} and the student {its}", hint="teach a task with the same actions")
        if self.logarithm is not None and float(self.logarithm.exp().min()) < NARROWEST:
            raise UsageError(
                f"the teacher's actions have a standard deviation of {float(self.logarithm.exp().min()):.3g}, below {NARROWEST}",
                hint="a student drawn to it would never explore; use a teacher that still varies",
            )

    def save(self, path: Path) -> None:
        """Write the teacher to a file."""
        numbered = {
            f"{name}{place}": array.numpy() for place, pair in enumerate(self.layers) for name, array in zip("wb", pair, strict=True)
        }
        more = {"logarithm": self.logarithm, "mean": self.mean, "inverse": self.inverse}
        state: dict[str, Any] = {name: None if array is None else array.numpy() for name, array in more.items()}
        save_checkpoint(path, FORMAT, {"arrays": numbered, "activation": self.activation, "steps": self.steps, **state})


def load_teacher(path: Path, activation: Literal["tanh", "relu"] = "tanh") -> Teacher:
    """Read a teacher: a file of ours, or the zip of a PPO of Stable-Baselines3, of which the weights alone are read.

    Parameters
    ----------
    activation
        Of a zip, which does not say it among its weights.

    Raises
    ------
    DataError
        There is no such file, it is damaged, holds no teacher, or holds something that is not finite.
    """
    if not path.exists():
        raise DataError(f"there is no teacher {path}", hint="Teacher.of(agent).save(path) writes one")
    try:
        foreign = zipfile.is_zipfile(path) and "policy.pth" in zipfile.ZipFile(path).namelist()
        found = _from_zip(path, activation) if foreign else _from_file(path)
    except DataError:
        raise
    except Exception as error:  # an archive can be damaged in many ways
        raise DataError(f"teacher {path} cannot be read: {type(error).__name__}: {error}", hint="save it again") from None
    for (before, _), (after, _) in itertools.pairwise(found.layers):
        if before.shape[1] != after.shape[0]:
            raise DataError(f"the layers of teacher {path} do not fit each other", hint="save it again")
    if not all(torch.isfinite(array).all() for pair in found.layers for array in pair):
        raise DataError(f"teacher {path} has weights that are not finite", hint="choose a run that did not fail")
    return found


def _from_file(path: Path) -> Teacher:
    state = load_checkpoint(path, FORMAT)
    assert state is not None, "the file is there"
    arrays = {name: torch.from_numpy(array) for name, array in state["arrays"].items()}
    layers = tuple((arrays[f"w{place}"], arrays[f"b{place}"]) for place in range(len(arrays) // 2))
    more = {name: None if state[name] is None else torch.from_numpy(state[name]) for name in ("logarithm", "mean", "inverse")}
    return Teacher(layers, state["activation"], **more, steps=state["steps"])


def _from_zip(path: Path, activation: Literal["tanh", "relu"]) -> Teacher:
    """Read the policy network of a Stable-Baselines3 PPO; torch's loader takes tensors only."""
    with zipfile.ZipFile(path) as archive, archive.open("policy.pth") as file:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    names = [name for name in weights if name.startswith("mlp_extractor.policy_net.") and name.endswith(".weight")]
    if "action_net.weight" not in weights:
        raise DataError(f"{path} holds no PPO with an MLP policy", hint="save it with PPO('MlpPolicy', …).save")
    layers = tuple((weights[name].T.contiguous(), weights[name[: -len("weight")] + "bias"]) for name in [*names, "action_net.weight"])
    return Teacher(layers, activation, weights.get("log_std"))
