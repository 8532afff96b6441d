"""A teacher's file in, the teacher out: ours, or the zip of a PPO or SAC of Stable-Baselines3, of which weights and words alone are read."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerscout.errors import DataError
from layerscout.rl.transfer.teacher import Affine, Teacher, checked_teacher, read_own_file

WEIGHTS, WORDS = "policy.pth", "data"  # members of the zip: tensors, and JSON
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")

Activation = Literal["tanh", "relu"]


def load_teacher(path: Path, activation: Activation | None = None) -> Teacher:
    """Read a teacher.

    Parameters
    ----------
    path
        A file that `Teacher.save` wrote, or what ``save`` of a PPO or SAC of Stable-Baselines3 with an MLP policy wrote. Of the latter the
        tensors are read, and of its words the bounds of actions and the steps of its training; nothing that is pickled is opened.
    activation
        Of a zip, whose words for it are pickled. None: what its algorithm has unless told otherwise, tanh for PPO and relu for SAC.

    Raises
    ------
    DataError
        There is no such file, it is damaged, holds no teacher, something pickled where tensors belong, or something that is not finite.
    """
    hint = "give a student-N.npz of layerscout transfer, or the zip of a PPO or SAC of Stable-Baselines3"
    if not path.exists():
        raise DataError(f"there is no teacher {path}", hint=hint)
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} holds no teacher: it is damaged or another kind of file", hint=hint)
    try:
        foreign = WEIGHTS in zipfile.ZipFile(path).namelist()
        found = _from_zip(path, activation) if foreign else read_own_file(path)
    except DataError:
        raise
    except Exception as error:  # an archive can be damaged in many ways
        raise DataError(f"teacher {path} cannot be read: {type(error).__name__}: {error}", hint="save it again") from None
    return checked_teacher(found, path)


def _from_zip(path: Path, activation: Activation | None) -> Teacher:
    with zipfile.ZipFile(path) as archive:
        words: dict[str, Any] = json.loads(archive.read(WORDS)) if WORDS in archive.namelist() else {}
        with archive.open(WEIGHTS) as file:
            weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    if any("features_extractor" in name for name in weights):
        raise DataError(f"{path} holds a policy that looks at pictures", hint="only an MLP policy on vectors can teach")
    if "actor.mu.weight" in weights:
        found = _squashed(weights, activation or "relu")
    elif "action_net.weight" in weights:
        found = _gaussian(weights, activation or "tanh", _bounds(words))
    else:
        raise DataError(f"{path} holds no PPO or SAC with an MLP policy", hint="save it with PPO('MlpPolicy', …).save")
    steps = words.get("num_timesteps")
    return replace(found, steps=steps if isinstance(steps, int) and steps > 0 else None)


def _gaussian(weights: dict[str, Tensor], activation: Activation, bounds: Float[np.ndarray, "bound dimension"] | None) -> Teacher:
    """Read a PPO, which acts in the environment's own units; teachers act in [-1, 1]."""
    *inner, (weight, bias) = [*_layers(weights, "mlp_extractor.policy_net."), _affine(weights, "action_net")]
    logarithm = weights.get("log_std")
    if logarithm is not None and bounds is not None:
        low, half = torch.from_numpy(bounds[0]), torch.from_numpy((bounds[1] - bounds[0]) / 2)
        weight, bias, logarithm = weight / half, (bias - low) / half - 1.0, logarithm - half.log()
    return Teacher((*inner, (weight, bias)), activation, logarithm)


def _squashed(weights: dict[str, Tensor], activation: Activation) -> Teacher:
    """Read the actor of a SAC, which acts in [-1, 1] already."""
    layers = (*_layers(weights, "actor.latent_pi."), _affine(weights, "actor.mu"))
    return Teacher(layers, activation, spread=_affine(weights, "actor.log_std"))


def _layers(weights: dict[str, Tensor], before: str) -> list[Affine]:
    return [_affine(weights, name.removesuffix(".weight")) for name in weights if name.startswith(before) and name.endswith(".weight")]


def _affine(weights: dict[str, Tensor], name: str) -> Affine:
    return weights[f"{name}.weight"].T.contiguous(), weights[f"{name}.bias"]


def _bounds(words: dict[str, Any]) -> Float[np.ndarray, "bound dimension"] | None:
    """Return the lowest and highest actions as the zip prints them; None where it does not: then they are taken to be -1 and 1."""
    space = words.get("action_space")
    printed = [space.get(end) for end in ("low", "high")] if isinstance(space, dict) else []
    if not all(isinstance(text, str) for text in printed) or "..." in "".join(map(str, printed)):
        return None
    bounds = [[float(number) for number in NUMBER.findall(str(text))] for text in printed]
    if len(bounds) != 2 or not 0 < len(bounds[0]) == len(bounds[1]):
        return None
    found = np.array(bounds, np.float32)
    return found if np.isfinite(found).all() and (found[0] < found[1]).all() else None
