"""A policy that was learned before in, a frozen teacher out, and its file: arrays and words, nothing that could run code."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from layerscout.rl.networks.layers import Head, affine
from layerscout.rl.networks.parts import FirstFeatures
from layerscout.rl.seeing.representation import Scaler

FORMAT = "layerscout teacher 1"
NARROWEST = 0.02  # standard deviation of an action below which a cross-entropy explodes
WIDEST_SQUASHED, NARROWEST_SQUASHED = 2.0, -20.0  # ln σ before the hyperbolic tangent

Affine = tuple[Tensor, Tensor]  # weight [in, out], bias [out]


@dataclass(frozen=True)
class Teacher:
    """A frozen policy of one run: an MLP from what was seen to means or logits.

    A squashed policy, as of soft actor-critic, is a = tanh(μ + σ ε). It teaches as the Gaussian of mean tanh(μ) whose standard deviation is
    that of a to first order, σ (1 − tanh² μ), and at least 0.02.

    Attributes
    ----------
    layers
        (weight [in, out], bias [out]) of every layer.
    activation
        What follows every hidden layer.
    logarithm
        ln σ of a continuous policy, [dimension], the same in every state; None: discrete actions, or ``spread``.
    spread
        (weight, bias) from the last hidden layer to ln σ before squashing; None: the policy is not squashed.
    mean, inverse
        What the teacher itself does to what it sees, z ↦ (z − mean) · inverse, frozen with it; None: nothing.
    first
        Place of the first number that it sees among those of the student and its own.
    steps
        Environment steps that its training took; None: unknown.
    sees
        What its numbers are; empty: unknown.
    """

    layers: tuple[Affine, ...]
    activation: Literal["tanh", "relu"]
    logarithm: Tensor | None = None
    mean: Tensor | None = None
    inverse: Tensor | None = None
    steps: int | None = None
    spread: Affine | None = None
    first: int = 0
    sees: str = ""

    @staticmethod
    def of(agent: PPO, run: int = 0, steps: int | None = None) -> Teacher:
        """Freeze one run of a learner on features.

        Raises
        ------
        UsageError
            Its policy is not a head on features.
        """
        policy = agent.network.policy
        policy = policy.inner if isinstance(policy, FirstFeatures) else policy
        if not isinstance(policy, Head):
            raise UsageError("only a policy on features can be a teacher", hint="teach from --mode online")
        layers = tuple((layer.weight[run].detach().clone(), layer.bias[run, 0].detach().clone()) for layer in policy.layers)  # type: ignore[index]
        logarithm = None if agent.network.logarithm is None else agent.network.logarithm[run, 0].detach().clone()
        return Teacher(layers, agent.config.activation, logarithm, steps=steps)

    @property
    def continuous(self) -> bool:
        """True where it gives means and a spread rather than one logit an action."""
        return self.logarithm is not None or self.spread is not None

    def __call__(self, z: Shaped[Tensor, "run batch feature"]) -> Float[Tensor, "run batch out"]:
        """Return means or logits."""
        return self.policy(z)[0]

    def policy(self, z: Shaped[Tensor, "run batch feature"]) -> tuple[Float[Tensor, "run batch out"], Float[Tensor, "*place out"] | None]:
        """Return means and ln σ, or logits and None."""
        x = z[..., self.first :] if self.first else z
        x = x if self.mean is None or self.inverse is None else (x - self.mean) * self.inverse
        *inner, last = self.layers
        for layer in inner:
            x = _mapped(x, layer).tanh() if self.activation == "tanh" else _mapped(x, layer).relu()
        output = _mapped(x, last)
        if self.spread is None:
            return output, self.logarithm
        action, logarithm = output.tanh(), _mapped(x, self.spread)
        deviation = logarithm.clamp(NARROWEST_SQUASHED, WIDEST_SQUASHED).exp() * (1.0 - action.square())
        return action, deviation.clamp(min=NARROWEST).log()

    @torch.no_grad()
    def draw(self, z: Shaped[np.ndarray, "run batch feature"], generators: Sequence[np.random.Generator]) -> ActionArray:
        """Draw an action in every state, each run from its own generator."""
        return drawn(*self.policy(torch.from_numpy(z)), generators)

    @torch.no_grad()
    def act(self, z: Shaped[np.ndarray, "run batch feature"]) -> ActionArray:
        """Return the teacher's likeliest actions, continuous ones clipped to [-1, 1]."""
        output = self(torch.from_numpy(z)).numpy()
        return output.clip(-1.0, 1.0) if self.continuous else output.argmax(-1)

    def behind(self, scale: Scaler, first: int = 0) -> Teacher:
        """Return the same policy of numbers that a scale was put on: what both scales do is folded into the first layer.

        Parameters
        ----------
        scale
            What turns the teacher's own numbers into those that it will be given.
        first
            Place of the first of them.
        """
        mean = torch.from_numpy(scale.mean) if self.mean is None else torch.from_numpy(scale.mean) - self.mean
        deviation = torch.from_numpy(np.divide(1.0, scale.inverse, out=np.zeros_like(scale.inverse), where=scale.inverse > 0))
        inverse = torch.ones_like(deviation) if self.inverse is None else self.inverse
        (weight, bias), *rest = self.layers
        folded = ((deviation * inverse)[:, None] * weight, bias + (mean * inverse) @ weight)
        return replace(self, layers=(folded, *rest), mean=None, inverse=None, first=first)

    def check(self, width: int, dimensions: int, actions: int, sees: str = "") -> None:
        """Refuse to teach a student of other features or actions, or with actions that are nearly certain.

        Raises
        ------
        UsageError
            It says what the teacher has and what the student needs.
        """
        seen, gives = self.layers[0][0].shape[0], self.layers[-1][0].shape[1]
        if seen != width:
            raise UsageError(f"the teacher sees {seen} features and the student {width}", hint="teach on the same observation")
        if self.sees and sees and self.sees != sees:
            raise UsageError(f"the teacher sees {self.sees} and the student {sees}", hint="teach on the same observation")
        if self.continuous != bool(dimensions) or gives != (dimensions or actions):
            mine = f"{gives} numbers" if self.continuous else f"one of {gives} actions"
            its = f"{dimensions} numbers" if dimensions else f"one of {actions} actions"
            raise UsageError(f"the teacher gives {mine} and the student {its}", hint="teach a task with the same actions")
        if self.logarithm is not None and float(self.logarithm.exp().min()) < NARROWEST:
            raise UsageError(
                f"the teacher's actions have a standard deviation of {float(self.logarithm.exp().min()):.3g}, below {NARROWEST}",
                hint="a student drawn to it would never explore; use a teacher that still varies",
            )

    def save(self, path: Path) -> None:
        """Write the teacher to a file.

        Raises
        ------
        UsageError
            It is a squashed policy, or sees a part of what a student sees: those have files of their own.
        """
        if self.spread is not None or self.first:
            raise UsageError("this teacher was read from another file, which is the one to keep", hint="use that file again")
        numbered = {
            f"{name}{place}": array.numpy() for place, pair in enumerate(self.layers) for name, array in zip("wb", pair, strict=True)
        }
        more = {"logarithm": self.logarithm, "mean": self.mean, "inverse": self.inverse}
        state: dict[str, Any] = {name: None if array is None else array.numpy() for name, array in more.items()}
        words = {"activation": self.activation, "steps": self.steps, "sees": self.sees}
        save_checkpoint(path, FORMAT, {"arrays": numbered, **words, **state})


def _mapped(x: Float[Tensor, "run batch feature"], layer: Affine) -> Float[Tensor, "run batch out"]:
    """Return x W + b, one product a run: a run's numbers do not depend on how many there are."""
    weight, bias = layer
    return affine(x, weight.expand(len(x), *weight.shape), bias.expand(len(x), 1, len(bias)))


def checked_teacher(found: Teacher, path: Path) -> Teacher:
    """Refuse a teacher whose arrays do not fit each other or are not finite.

    Raises
    ------
    DataError
        It names the file.
    """
    if not found.layers:
        raise DataError(f"teacher {path} has no layers", hint="save it again")
    widths = [(before.shape[1], after.shape[0]) for (before, _), (after, _) in itertools.pairwise(found.layers)]
    widths += [(weight.shape[1], len(bias)) for weight, bias in found.layers]
    widths += [(found.layers[0][0].shape[0], len(array)) for array in (found.mean, found.inverse) if array is not None]
    widths += [(found.layers[-1][0].shape[1], len(array)) for array in (found.logarithm,) if array is not None]
    if any(one != other for one, other in widths):
        raise DataError(f"the layers of teacher {path} do not fit each other", hint="save it again")
    more = [array for array in (found.logarithm, found.mean, found.inverse, *(found.spread or ())) if array is not None]
    if not all(torch.isfinite(array).all() for array in (*itertools.chain(*found.layers), *more)):
        raise DataError(f"teacher {path} has weights that are not finite", hint="choose a run that did not fail")
    return found


def read_own_file(path: Path) -> Teacher:
    """Read a file that `Teacher.save` wrote.

    Raises
    ------
    DataError
        It is damaged or something else.
    """
    try:
        state = load_checkpoint(path, FORMAT)
    except DataError as error:
        raise DataError(f"{path} holds no teacher: {error}", hint="give a student-N.npz of layerscout transfer, or save it again") from None
    assert state is not None, "the file is there"
    arrays = {name: torch.from_numpy(array) for name, array in state["arrays"].items()}
    layers = tuple((arrays[f"w{place}"], arrays[f"b{place}"]) for place in range(len(arrays) // 2))
    logarithm, mean, inverse = (None if state[name] is None else torch.from_numpy(state[name]) for name in ("logarithm", "mean", "inverse"))
    return Teacher(layers, state["activation"], logarithm, mean, inverse, state["steps"], sees=state.get("sees", ""))
