"""Frames in, a tokenizer and a model of visual dynamics out: two loops that can be killed after any update and go on bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.rl.transfer.pvdr.config import PretrainPvdrConfig
from layerscout.rl.transfer.pvdr.tokens import TokenStream, clip_begins, coded, pictures
from layerscout.rl.transfer.states import (
    module_state,
    optimiser_state,
    put_module_state,
    put_optimiser_state,
    put_streams_state,
    streams_state,
)

WARM_UP = 30  # updates in which the step size rises
LEAST = 0.1  # of the largest step size, at the end
LARGEST_GRADIENT = 1.0


class Films(NamedTuple):
    """Frames of many episodes, one after the other, and the number of frames of each."""

    frames: UInt8[np.ndarray, "frame height width channel"]
    lengths: Int64[np.ndarray, " episode"]


class PvdrPretraining:
    """The tokenizer's updates, then those of the dynamics; everything that is drawn comes from one generator.

    Parameters
    ----------
    config
        Settings.
    films
        What is trained on; frames have the shape's size.

    Raises
    ------
    DataError
        No episode is as long as a clip.
    """

    def __init__(self, config: PretrainPvdrConfig, films: Films) -> None:
        clip_begins(films.lengths, config.shape.window)  # refuses before any work
        self.config, self.films = config, films
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.tokenizer, self.dynamics = FrameTokenizer(config.shape), VisualDynamics(config.shape)
        self.generator, self.torch_generator = np.random.default_rng(config.seed), torch.Generator().manual_seed(config.seed)
        self.optimisers = [torch.optim.Adam(part.parameters()) for part in (self.tokenizer, self.dynamics)]
        self.done = [0, 0]  # updates of each
        self.errors: list[float] = []  # of every update of the tokenizer
        self.nats: list[tuple[float, float]] = []  # cross-entropy and divergence of every update of the dynamics
        self._stream: TokenStream | None = None

    @property
    def finished(self) -> bool:
        """Whether all updates are done."""
        return self.done == [self.config.tokenizer_updates, self.config.updates]

    @property
    def stream(self) -> TokenStream:
        """Tokens of all frames, by the finished tokenizer."""
        if self._stream is None:
            self._stream = TokenStream(coded(self.tokenizer.eval(), self.films.frames), self.films.lengths, self.config.shape.window)
        return self._stream

    def advance(self, updates: int, heard: Callable[[int], None] = lambda update: None) -> None:
        """Do so many more updates of whatever is next, and stop at a loop's end."""
        part = 0 if self.done[0] < self.config.tokenizer_updates else 1
        total = (self.config.tokenizer_updates, self.config.updates)[part]
        for _ in range(min(updates, total - self.done[part])):
            (self._learn_tokens, self._learn_dynamics)[part]()
            self.done[part] += 1
            heard(self.done[part])

    def _learn_tokens(self) -> None:
        chosen = self.generator.integers(0, len(self.films.frames), self.config.tokenizer_batch)
        coding = self.tokenizer.train()(pictures(self.films.frames[chosen]), self.torch_generator)
        self._descend(0, coding.loss, self.config.tokenizer_lr, self.config.tokenizer_updates)
        self.errors.append(float(coding.error.detach()))

    def _learn_dynamics(self) -> None:
        clips = self._clips()
        noise = torch.randn(len(clips), self.config.shape.z, generator=self.torch_generator)
        losses = self.dynamics.train().losses(clips, noise)
        crossed, diverged = losses.cross_entropy.mean(), losses.divergence.mean()
        self._descend(1, crossed + self.config.beta * diverged, self.config.lr, self.config.updates)
        self.nats.append((float(crossed.detach()), float(diverged.detach())))

    def _clips(self) -> Int64[Tensor, "clip time row column"]:
        """Draw the clips of an update; of those that stand still, the first frame is that of a drawn clip."""
        clips = self.stream.draw(self.config.batch, self.generator)
        still = torch.from_numpy(self.generator.random(len(clips)) < self.config.still)
        return torch.where(still[:, None, None, None], clips[:, :1], clips)

    def _descend(self, part: int, loss: Float[Tensor, ""], lr: float, total: int) -> None:
        network, optimiser = (self.tokenizer, self.dynamics)[part], self.optimisers[part]
        if not torch.isfinite(loss):
            name = ("tokenizer", "dynamics")[part]
            raise DataError(
                f"the loss of the {name} is {float(loss.detach())} at update {self.done[part] + 1}",
                hint="a smaller step size (--set lr=0.001); the same command continues from the checkpoint before",
            )
        descend(network, optimiser, loss, scheduled(lr, self.done[part], total))

    def state(self) -> dict[str, Any]:
        """Return everything that the next update depends on."""
        return {
            "done": self.done,
            "networks": [module_state(network) for network in (self.tokenizer, self.dynamics)],
            "optimisers": [optimiser_state(optimiser) for optimiser in self.optimisers],
            **streams_state(self.generator, self.torch_generator),
            "errors": np.array(self.errors),
            "nats": np.array(self.nats).reshape(-1, 2),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.done = [int(count) for count in state["done"]]
        for network, arrays in zip((self.tokenizer, self.dynamics), state["networks"], strict=True):
            put_module_state(network, arrays)
        for optimiser, arrays in zip(self.optimisers, state["optimisers"], strict=True):
            put_optimiser_state(optimiser, arrays)
        put_streams_state(self.generator, self.torch_generator, state)
        self.errors = state["errors"].tolist()
        self.nats = [(float(crossed), float(diverged)) for crossed, diverged in state["nats"]]
        self._stream = None


def scheduled(lr: float, update: int, total: int) -> float:
    """Return the step size of an update, which count from 0: it rises for 30 updates, then falls linearly to a tenth."""
    return lr * min(1.0, (update + 1) / WARM_UP) * falling(update, total)


def falling(update: int, total: int) -> float:
    """Return the share of the largest step size at an update, which count from 0: linearly from 1 to a tenth."""
    return 1.0 - (1.0 - LEAST) * update / total


def descend(network: nn.Module, optimiser: torch.optim.Optimizer, loss: Float[Tensor, ""], lr: float) -> None:
    """Take one step along the gradient, cut to a norm of 1."""
    for group in optimiser.param_groups:
        group["lr"] = lr
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
    optimiser.step()
