"""A pretrained model and rounds of play in, an agent that goes to goal pictures out: adaptation, alignment, reinforcement."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.networks.pvdr.counting import dynamics_flops, row_flops
from layerscout.extract.backbones.networks.pvdr.dynamics import Normal, VisualDynamics
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer
from layerscout.rl.transfer.pvdr.alignment import ActionAlignment, critic_of, seen
from layerscout.rl.transfer.pvdr.config import ArmName, PvdrConfig
from layerscout.rl.transfer.pvdr.experience import Experience
from layerscout.rl.transfer.pvdr.planning import DynamicsPlanner
from layerscout.rl.transfer.pvdr.pretraining import descend, falling
from layerscout.rl.transfer.pvdr.reinforcing import advantages, plan_rewards
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

STEPS_TOGETHER = 128  # steps of an update by reinforcement


class Pairs(NamedTuple):
    """What alignment learns from: z by the encoder, what was seen, and the action that was done."""

    z: Normal
    seen: Tensor
    actions: Tensor


class PvdrLearner:
    """Plans by sampled dynamics, and turns the chosen z into actions.

    Parameters
    ----------
    arm
        Which parts are at work, see ``PvdrConfig.arms``.
    config
        Settings.
    tokenizer, dynamics
        The pretrained networks; they are copied, so that arms do not change one another's.
    dimensions
        Of an action.
    seed
        Decides everything that is drawn.

    Notes
    -----
    Adaptation trains the dynamics on the agent's own clips; of the encoder only the last layer, which gives mean and variance of z, moves.
    Without pretraining there is nothing to keep, so there everything moves. The alignment learns from (z_t, a_t), z by the encoder, equally often in
    every arm; then, where it belongs to the arm, by clipped policy gradients from its own plans. The critic begins as the alignment module with
    another last layer.
    """

    def __init__(
        self, arm: ArmName, config: PvdrConfig, tokenizer: FrameTokenizer, dynamics: VisualDynamics, dimensions: int, seed: int
    ) -> None:
        self.arm, self.config, self.shape, self.dimensions = arm, config, dynamics.shape, dimensions
        self.tokenizer = copy.deepcopy(tokenizer).eval().requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.dynamics = VisualDynamics(dynamics.shape) if arm == "scratch" else copy.deepcopy(dynamics).requires_grad_(True)
            self.alignment = ActionAlignment(dynamics.shape.z, 2 * dynamics.shape.size, dimensions, config.hidden)
            self.critic = critic_of(self.alignment)
        if arm != "scratch":
            self.dynamics.encoder.trunk.requires_grad_(False)
            self.dynamics.encoder.squeeze.requires_grad_(False)
        moving = [parameter for parameter in self.dynamics.parameters() if parameter.requires_grad]
        self.optimisers = [torch.optim.Adam(parameters) for parameters in (moving, self.alignment.parameters(), self._both())]
        self.generator, self.torch_generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        self.experience = Experience(self.tokenizer, self.shape.history, self.shape.future)
        self.planner = DynamicsPlanner(self.tokenizer, self.dynamics, config.distance, config.compared)
        self.updates, self.flops = 0, 0.0
        self.explores = False

    def _both(self) -> list[nn.Parameter]:
        return [*self.alignment.parameters(), *self.critic.parameters()]

    @torch.no_grad()
    def act(self, past: UInt8[np.ndarray, "copy m height width channel"], goals: Frames, live: Bool[np.ndarray, " copy"]) -> Deed:
        """Plan, and do what leads to the chosen plan; while it explores, an action is drawn around that."""
        which = np.flatnonzero(live)
        tokens = self._tokens(past[which])
        samples = 1 if self.arm == "random-plans" else self.config.samples
        noise = torch.randn(len(which), samples, self.shape.z, generator=self.torch_generator)
        chosen = self.planner.choose(tokens, pictures(goals[which]), noise)
        mean = self.alignment(chosen.z, seen(pictures(past[which, -1])))
        if self.explores:
            mean = mean + self.alignment.deviation() * torch.randn(mean.shape, generator=self.torch_generator)
        action = np.zeros((len(past), self.dimensions), np.float32)
        action[which] = mean.numpy()
        z, size = torch.zeros(len(past), self.shape.z), self.shape.size
        planned, ending = torch.zeros(2, len(past), 3, size, size)
        z[which], planned[which], ending[which] = chosen.z, *map(self.tokenizer.decode, (chosen.tokens[:, 0], chosen.tokens[:, -1]))
        return Deed(action, z, planned, ending)

    def _tokens(self, frames: UInt8[np.ndarray, "copy m height width channel"]) -> Tensor:
        return self.tokenizer.encode(pictures(frames).flatten(0, 1)).unflatten(0, frames.shape[:2])

    def adapt(self, updates: int) -> None:
        """Train the dynamics on the agent's own clips."""
        rows, shape, config = self.experience.whole(), self.shape, self.config
        if not len(rows):
            return
        self.dynamics.train()
        for _ in range(updates):
            clips = self.experience.clips(rows[self.generator.integers(0, len(rows), config.adapt_batch)])
            losses = self.dynamics.losses(clips.tokens, torch.randn(config.adapt_batch, shape.z, generator=self.torch_generator))
            loss = losses.cross_entropy.mean() + config.adapt_beta * losses.divergence.mean()
            descend(self.dynamics, self.optimisers[0], loss, config.adapt_lr)
            self.updates += 1
            self.flops += config.adapt_batch * dynamics_flops(self.dynamics)

    def align(self, updates: int) -> None:
        """Learn actions from (z_t, a_t): −ln Π(a_t | z_t, s_t), with z_t drawn by the encoder.

        Raises
        ------
        DataError
            No episode that was played is as long as a clip, so no action has a z.
        """
        pairs = self._pairs()
        if pairs is None:
            window, lengths = self.shape.window, self.experience.lengths
            raise DataError(
                f"there is no action to align z with: z is of m + n = {window} frames, and the longest of {len(lengths)} "
                f"episodes that were played has {max(lengths, default=0)}",
                hint="a model of a shorter future (layerscout pretrain pvdr DATA --set shape.future=2), or a world with longer episodes",
            )
        for update in range(updates):
            lr = self.config.align_lr * falling(update, updates)
            descend(self.alignment, self.optimisers[1], self._supervised(pairs), lr)
            self.updates += 1
            self.flops += self.config.align_batch * row_flops(self.alignment)

    @torch.no_grad()
    def _pairs(self) -> Pairs | None:
        """Return all that was lived through as z by the encoder, what was seen and what was done; None when there is no whole clip."""
        rows = self.experience.whole()
        if not len(rows):
            return None
        clips = self.experience.clips(rows)
        parts = [self.dynamics.encoder(part) for part in clips.tokens.split(256)]
        mean, logarithm = (torch.cat([part[place] for part in parts]) for place in (0, 1))
        return Pairs(Normal(mean, logarithm), clips.seen, clips.actions)

    def _supervised(self, pairs: Pairs) -> Tensor:
        chosen = torch.from_numpy(self.generator.integers(0, len(pairs.actions), self.config.align_batch))
        noise = torch.randn(len(chosen), self.shape.z, generator=self.torch_generator)
        z = Normal(pairs.z.mean[chosen], pairs.z.logarithm[chosen]).sample(noise)
        return -self.alignment.log_probability(z, pairs.seen[chosen], pairs.actions[chosen]).mean()

    def reinforce(self, played: Round) -> None:
        """Learn from what plans came to: a clipped policy gradient over the round's steps, the critic's squared error, and still from (z_t, a_t)."""
        config, live, pairs = self.config, torch.from_numpy(played.live), self._pairs()
        zs = [deed.z for deed in played.deeds if deed.z is not None]
        z = torch.stack(zs)[live]
        now = seen(pictures(played.frames[:-1]).flatten(0, 1)).unflatten(0, played.live.shape)[live]
        actions = torch.from_numpy(played.actions)[live]
        with torch.no_grad():
            old = self.alignment.log_probability(z, now, actions)
            values = torch.zeros(played.live.shape)
            values[live] = self.critic(z, now)[:, 0]
        rewards = plan_rewards(played, config)
        gain = advantages(rewards, values, played.live, config.gamma, config.lam)
        goal, gain = (gain + values)[live], gain[live]
        gain = (gain - gain.mean()) / ((gain.std() if len(gain) > 1 else 0.0) + 1e-8)  # one step alone has no spread
        whole = nn.ModuleList([self.alignment, self.critic])
        for _ in range(config.epochs):
            for part in torch.from_numpy(self.generator.permutation(len(z))).split(STEPS_TOGETHER):
                ratio = (self.alignment.log_probability(z[part], now[part], actions[part]) - old[part]).clamp(max=20.0).exp()
                bounded = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
                surrogate = torch.minimum(ratio * gain[part], bounded * gain[part]).mean()
                error = (self.critic(z[part], now[part])[:, 0] - goal[part]).square().mean()
                copied = 0.0 if pairs is None else config.imitation * self._supervised(pairs)
                descend(whole, self.optimisers[2], 0.5 * error - surrogate + copied, config.reinforce_lr)
                self.updates += 1
                self.flops += len(part) * row_flops(whole) + config.align_batch * row_flops(self.alignment)

    def learn(self, played: Round) -> None:
        """Keep a round, adapt and align, and reinforce where the arm does; what was played at random planned nothing, so it only aligns."""
        self.experience.add(played)
        self.adapt(self.config.adapt_updates)
        self.align(self.config.align_updates)
        if played.deeds[0].z is not None and self.arm != "supervised":
            self.reinforce(played)

    def trained_parameters(self) -> int:
        """Return how many numbers are learned while it plays."""
        networks = (self.dynamics, self.alignment, self.critic)
        return sum(parameter.numel() for network in networks for parameter in network.parameters() if parameter.requires_grad)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next round depends on."""
        return {
            "networks": [module_state(network) for network in (self.dynamics, self.alignment, self.critic)],
            "optimisers": [optimiser_state(optimiser) for optimiser in self.optimisers],
            **streams_state(self.generator, self.torch_generator),
            "experience": self.experience.state_dict(),
            "updates": self.updates,
            "flops": self.flops,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` returned."""
        for network, arrays in zip((self.dynamics, self.alignment, self.critic), state["networks"], strict=True):
            put_module_state(network, arrays)
        for optimiser, arrays in zip(self.optimisers, state["optimisers"], strict=True):
            put_optimiser_state(optimiser, arrays)
        put_streams_state(self.generator, self.torch_generator, state)
        self.experience.load_state_dict(state["experience"])
        self.updates, self.flops = int(state["updates"]), float(state["flops"])
