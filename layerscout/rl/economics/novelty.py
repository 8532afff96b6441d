"""Steps of work in, how new each of them is out: one face for the ways to say so, one number a run and step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.clips import ClipWindow
from layerscout.extract.passes.noise_gap import NoiseGap
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.rl.memory.replay import Batch
from layerscout.rl.networks.layers import Head
from layerscout.rl.networks.optimiser import RunAdam

NOVELTY = 7  # purpose of the random streams
REMEMBERED, NEIGHBOURS = 256, 5
MEMBERS, MEMBER, MEMBER_LR = 5, 21, 1e-3
LEAST, MOST = 0.05, 20.0

NoveltyKind = Literal["none", "random", "neighbours", "ensemble", "denoising"]
Frames = UInt8[np.ndarray, "run height width channel"]


class Novelty:
    """Says how new a step is, positive and about 1 for a usual one. This one says 1 of everything.

    A kind that looks at pictures says so in ``sees``; one that learns does so from the batches that the agent learns from.
    """

    sees = False

    def begin(self, frames: Frames | None) -> None:
        """Begin an hour in every run, with its first pictures."""

    def __call__(
        self, z: Float32[np.ndarray, "run feature"], action: Float32[np.ndarray, "run dimension"], frames: Frames | None = None
    ) -> Float[np.ndarray, " run"]:
        """Say how new it is to see ``z`` and do ``action``; ``frames`` are the pictures of that moment, for who asked for them."""
        return np.ones(len(z))

    def learn(self, batch: Batch) -> None:
        """Let a kind that learns see the batch that the agent learns from; the others do nothing."""

    def state_dict(self) -> dict[str, Any]:
        """What an hour leaves to the next: here nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what ``state_dict`` gave."""


class RandomNovelty(Novelty):
    """A draw from [0.5, 1) that looks at nothing: the control of every other kind."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = run_generators(seeds, NOVELTY)

    def __call__(
        self, z: Float32[np.ndarray, "run feature"], action: Float32[np.ndarray, "run dimension"], frames: Frames | None = None
    ) -> Float[np.ndarray, " run"]:
        return np.array([generator.uniform(0.5, 1.0) for generator in self._generators])

    def state_dict(self) -> dict[str, Any]:
        """The generators, so that the next draw is the one that would have followed."""
        return {"generators": generator_states(self._generators)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Set the generators to where they stood."""
        restore_generators(self._generators, state["generators"])


class _Usual:
    """A figure over its running mean, within bounds; 1 until there is a mean."""

    def __init__(self, runs: int) -> None:
        self.mean = np.zeros(runs)

    def __call__(self, figure: Float[np.ndarray, " run"]) -> Float[np.ndarray, " run"]:
        self.mean = np.where(self.mean > 0.0, 0.99 * self.mean + 0.01 * figure, figure)
        return np.where(self.mean > 0.0, np.clip(figure / np.maximum(self.mean, 1e-12), LEAST, MOST), 1.0)


class NeighbourNovelty(Novelty):
    """Distance to the fifth nearest of 256 remembered latents, over its running mean; a latent takes the place of a random one."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = run_generators(seeds, NOVELTY)
        self._memory: Float32[np.ndarray, "run memory feature"] | None = None
        self._seen, self._usual = 0, _Usual(len(seeds))

    def __call__(
        self, z: Float32[np.ndarray, "run feature"], action: Float32[np.ndarray, "run dimension"], frames: Frames | None = None
    ) -> Float[np.ndarray, " run"]:
        if self._memory is None:
            self._memory = np.zeros((len(z), REMEMBERED, z.shape[1]), np.float32)
        filled = min(self._seen, REMEMBERED)
        novelty = np.ones(len(z))
        if filled > NEIGHBOURS:
            apart = np.linalg.norm(self._memory[:, :filled] - z[:, None], axis=-1)
            novelty = self._usual(np.partition(apart, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1].astype(np.float64))
        for run, generator in enumerate(self._generators):
            place = self._seen if self._seen < REMEMBERED else int(generator.integers(REMEMBERED))
            self._memory[run, place] = z[run]
        self._seen += 1
        return novelty

    def state_dict(self) -> dict[str, Any]:
        """The remembered latents, how many were seen, the mean distance, and the generators that choose which one goes."""
        memory = None if self._memory is None else self._memory.copy()
        return {"generators": generator_states(self._generators), "memory": memory, "seen": self._seen, "usual": self._usual.mean.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Remember again what was remembered."""
        restore_generators(self._generators, state["generators"])
        self._memory = None if state["memory"] is None else state["memory"].copy()
        self._seen, self._usual.mean = int(state["seen"]), state["usual"]


class EnsembleNovelty(Novelty):
    """How far five networks disagree on the next latent, over its running mean: √ mean over features of their variance.

    They differ in their first weights, and learn from the agent's batches. The members of all runs are one stack of networks.

    References
    ----------
    Pathak, Gandhi and Gupta 2019, "Self-supervised exploration via disagreement", arXiv 1906.04161, eq. 1.
    """

    def __init__(self, seeds: Sequence[int], width: int, dimensions: int) -> None:
        drawn = (np.random.SeedSequence([int(seed), MEMBER, member]).generate_state(1)[0] for seed in seeds for member in range(MEMBERS))
        self._network = Head(width + dimensions, width, [int(state) for state in drawn], "mlp", (64,))
        self._optimiser, self._usual = RunAdam(self._network, MEMBER_LR), _Usual(len(seeds))

    @torch.no_grad()
    def __call__(
        self, z: Float32[np.ndarray, "run feature"], action: Float32[np.ndarray, "run dimension"], frames: Frames | None = None
    ) -> Float[np.ndarray, " run"]:
        predicted = self._network(self._inputs(z[:, None], action[:, None])).unflatten(0, (-1, MEMBERS))[:, :, 0]
        return self._usual(predicted.var(1).mean(-1).sqrt().numpy().astype(np.float64))

    @torch.no_grad()
    def learn(self, batch: Batch) -> None:
        """Take one step of Adam on every member's squared error in the next latent, with all transitions of the batch."""
        inputs, size = self._inputs(batch.z, batch.action), batch.action.shape[1]
        wanted = torch.from_numpy(batch.next_z).repeat_interleave(MEMBERS, 0)
        predicted, tape = self._network.record(inputs, learned=size)
        error = predicted - wanted
        self._network.pull_back(tape, 2.0 * error / (size * error.shape[-1]), self._optimiser.gradient_views)
        self._optimiser.step(error.square().mean((1, 2)).numpy())

    def state_dict(self) -> dict[str, Any]:
        """Weights and moments of all members, and the mean disagreement."""
        return {"optimiser": self._optimiser.state_dict(), "usual": self._usual.mean.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the members' weights and moments back in place."""
        self._optimiser.load_state_dict(state["optimiser"])
        self._usual.mean = state["usual"]

    def _inputs(self, z: np.ndarray, action: np.ndarray) -> Tensor:
        return torch.from_numpy(np.concatenate([z, action.astype(np.float32)], axis=-1)).repeat_interleave(MEMBERS, 0)


class DenoisingNovelty(Novelty):
    """How badly a video diffusion model predicts the picture of now under noise, over its running mean (see `NoiseGap`)."""

    sees = True

    def __init__(self, seeds: Sequence[int], denoiser: str = "tiny") -> None:
        self._gap = NoiseGap(find_backbone(denoiser))
        self._everyone, self._usual = np.arange(len(seeds)), _Usual(len(seeds))
        self._window = ClipWindow(len(seeds), self._gap.clip)
        self._fresh = True

    def begin(self, frames: Frames | None) -> None:
        """Fill every run's clip with its first picture."""
        assert frames is not None, "it asked for pictures"
        self._window.start(self._everyone, frames)
        self._fresh = True

    def __call__(
        self, z: Float32[np.ndarray, "run feature"], action: Float32[np.ndarray, "run dimension"], frames: Frames | None = None
    ) -> Float[np.ndarray, " run"]:
        assert frames is not None, "it asked for pictures"
        if not self._fresh:
            self._window.push(self._everyone, frames)
        self._fresh = False
        return self._usual(self._gap(self._window.clips(self._everyone)).astype(np.float64))

    def state_dict(self) -> dict[str, Any]:
        """The mean error; clips are begun anew every hour."""
        return {"usual": self._usual.mean.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the mean error; the model itself is frozen."""
        self._usual.mean = state["usual"]


def novelty_of(kind: NoveltyKind, seeds: Sequence[int], width: int = 4, dimensions: int = 2, denoiser: str = "tiny") -> Novelty:
    """Return the novelty of this kind.

    Parameters
    ----------
    kind
        none, random, neighbours, ensemble or denoising.
    seeds
        One a run.
    width, dimensions
        Numbers of a latent and of an action.
    denoiser
        The video diffusion model of ``denoising``.

    Raises
    ------
    UsageError
        The model is no denoiser.
    """
    if kind == "neighbours":
        return NeighbourNovelty(seeds)
    if kind == "ensemble":
        return EnsembleNovelty(seeds, width, dimensions)
    if kind == "denoising":
        return DenoisingNovelty(seeds, denoiser)
    return RandomNovelty(seeds) if kind == "random" else Novelty()
