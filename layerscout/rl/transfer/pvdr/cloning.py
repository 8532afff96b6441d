"""Rounds of play in, an agent that copies what led to later frames out: behaviour cloning on the pretrained layer, the control of planning."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from layerscout.extract.backbones.networks.pvdr.counting import row_flops
from layerscout.extract.backbones.networks.pvdr.dynamics import VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.rl.transfer.pvdr.alignment import ActionAlignment
from layerscout.rl.transfer.pvdr.config import PvdrConfig
from layerscout.rl.transfer.pvdr.experience import Experience
from layerscout.rl.transfer.pvdr.pretraining import descend
from layerscout.rl.transfer.pvdr.rounds import Deed, Frames, Round
from layerscout.rl.transfer.pvdr.tokens import pictures
from layerscout.rl.transfer.states import (
    module_state,
    optimiser_state,
    put_module_state,
    put_optimiser_state,
    put_streams_state,
    streams_state,
)

FARTHEST = 16  # steps from a frame to the later frame of its episode that is taken for its goal


class CloningLearner:
    """Copies the action that was done at a frame, given that frame and a later one of the episode as the goal it led to.

    Frames are seen through the last block of the frozen prior: the layer's features of every place, squeezed as the prior's head reads them.
    It plans nothing and has as many supervised updates as the planning arms.

    Parameters
    ----------
    config, tokenizer, dynamics, dimensions, seed
        See ``PvdrLearner``.

    References
    ----------
    Ghosh et al. 2021, "Learning to reach goals via iterated supervised learning", arXiv 1912.06088, for hindsight goals in cloning.
    """

    def __init__(self, config: PvdrConfig, tokenizer: FrameTokenizer, dynamics: VisualDynamics, dimensions: int, seed: int) -> None:
        self.config, self.shape, self.dimensions = config, dynamics.shape, dimensions
        self.tokenizer, self.dynamics = copy.deepcopy(tokenizer).eval(), copy.deepcopy(dynamics).eval()
        self.width = self.dynamics.prior.squeeze.out_features * self.shape.history * self.shape.places
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = ActionAlignment(self.width, self.width, dimensions, config.hidden)
        self.optimiser = torch.optim.Adam(self.policy.parameters())
        self.generator, self.torch_generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        self.experience = Experience(self.tokenizer, self.shape.history, self.shape.future)
        self.updates, self.flops = 0, 0.0
        self.explores = False

    @torch.no_grad()
    def features(self, tokens: Int64[Tensor, "frame row column"]) -> Float[Tensor, "frame feature"]:
        """Return the layer's features of single frames, each taken for its own past."""
        prior = self.dynamics.prior
        still = tokens[:, None].expand(-1, self.shape.history, -1, -1)
        return torch.cat([prior.squeeze(prior.trunk(part)).flatten(1) for part in still.split(256)])

    @torch.no_grad()
    def act(self, past: UInt8[np.ndarray, "copy m height width channel"], goals: Frames, live: Bool[np.ndarray, " copy"]) -> Deed:
        """Do what was done where such a goal came to be."""
        now, goal = (self.features(self.tokenizer.encode(pictures(frames))) for frames in (past[:, -1], goals))
        mean = self.policy(now, goal)
        if self.explores:
            mean = mean + self.policy.deviation() * torch.randn(mean.shape, generator=self.torch_generator)
        return Deed(mean.numpy())

    def learn(self, played: Round) -> None:
        """Keep a round, and clone from all that was kept."""
        self.experience.add(played)
        rows = self.experience.acted()
        features = self.features(torch.from_numpy(self.experience.tokens.astype(np.int64)))
        actions = torch.from_numpy(self.experience.actions)
        for _ in range(self.config.align_updates):
            chosen = rows[self.generator.integers(0, len(rows), self.config.align_batch)]
            later = self.experience.ahead(chosen, self.generator.random(len(chosen)), FARTHEST)
            loss = -self.policy.log_probability(features[chosen], features[later], actions[chosen]).mean()
            descend(self.policy, self.optimiser, loss, self.config.align_lr)
            self.updates += 1
            self.flops += self.config.align_batch * row_flops(self.policy)

    def trained_parameters(self) -> int:
        """Return how many numbers are learned while it plays."""
        return sum(parameter.numel() for parameter in self.policy.parameters())

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next round depends on."""
        return {
            "network": module_state(self.policy),
            "optimiser": optimiser_state(self.optimiser),
            **streams_state(self.generator, self.torch_generator),
            "experience": self.experience.state_dict(),
            "updates": self.updates,
            "flops": self.flops,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        put_module_state(self.policy, state["network"])
        put_optimiser_state(self.optimiser, state["optimiser"])
        put_streams_state(self.generator, self.torch_generator, state)
        self.experience.load_state_dict(state["experience"])
        self.updates, self.flops = int(state["updates"]), float(state["flops"])
