"""Rollouts in, policies out: clipped proximal policy optimisation for many runs side by side, in the order of the paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor, nn

from layerscout.rl.agents.base import ActionArray, discounts, normal_noise
from layerscout.rl.agents.configs import PPOConfig
from layerscout.rl.agents.densities import entropy, log_probability
from layerscout.rl.agents.learner import Learner
from layerscout.rl.memory.replay import Batch
from layerscout.rl.memory.rollout import Rollout, advantages
from layerscout.rl.networks.layers import HEAD, VALUE, Head, RunLinear, RunNetwork, weight_generators

SHUFFLING = 4  # purpose of the random stream that orders the steps of a rollout
# first weights are orthogonal, of this gain: within; of a policy's last layer, so that it hardly prefers any action; of a value's
GAIN, POLICY_GAIN, VALUE_GAIN = 2.0**0.5, 0.01, 1.0
ORTHOGONAL = 8  # added to a part's number: the stream of the seeds from which its orthogonal weights are drawn
HIGHEST = 1.0  # natural logarithm of a continuous policy's standard deviation


class ActorCritic(RunNetwork):
    """A policy and a value that share no weights, under one optimiser.

    Parameters
    ----------
    policy
        Network [run, batch, ...] → [run, batch, out]: means of a continuous action, or logits of the discrete ones.
    value
        Network [run, batch, ...] → [run, batch, 1].
    dimensions
        Numbers of a continuous action; 0 = discrete.
    log_deviation
        First ln σ of a continuous policy; it depends on the run, not on the state.
    """

    def __init__(self, policy: RunNetwork, value: RunNetwork, dimensions: int = 0, log_deviation: float = 0.0) -> None:
        super().__init__(policy.runs)
        self.dimensions = dimensions
        if dimensions:
            self.log_deviation = nn.Parameter(torch.full((policy.runs, 1, dimensions), log_deviation))
        self.policy, self.value = policy, value

    @property
    def logarithm(self) -> Float[Tensor, "run 1 dimension"] | None:
        """ln σ of a continuous policy; None where actions are discrete."""
        return self.log_deviation if self.dimensions else None


class Steps(NamedTuple):
    """Played steps of every run with what they are judged by: old ln π, advantage and the value's goal."""

    z: Shaped[Tensor, "run step *feature"]
    action: Shaped[Tensor, "run step *dimension"]
    old: Float[Tensor, "run step"]  # ln π of the action when it was drawn
    advantage: Float[Tensor, "run step"]
    goal: Float[Tensor, "run step"]  # what the value should have been

    def at(self, places: Int64[Tensor, "run batch"]) -> Steps:
        """Gather the steps at ``places``, each run's from its own rollout."""
        runs = torch.arange(len(places), device=places.device)[:, None]
        return Steps(*(column[runs, places] for column in self))


class PPO(Learner[PPOConfig]):
    """Proximal policy optimisation with the clipped objective; one object trains all runs.

    Parameters
    ----------
    network_factory
        Seeds of the runs → `ActorCritic`.
    seeds
        One seed a run; it draws first weights and the order in which steps are learned from.
    device
        Where to compute; "cuda" without a GPU is an error.

    References
    ----------
    Schulman et al. 2017, "Proximal policy optimization algorithms", arXiv 1707.06347, eq. 7 and 9, algorithm 1.
    """

    def __init__(
        self, config: PPOConfig, network_factory: Callable[[Sequence[int]], ActorCritic], seeds: Sequence[int], device: str = "cpu"
    ) -> None:
        super().__init__(config, seeds, device)
        self.network = self.train_network("network", network_factory(self.seeds), config.lr, config.gradient_clip)
        self.order = self.random_streams("order", SHUFFLING)

    # --- acting

    @torch.no_grad()
    def act(self, z: Shaped[np.ndarray, "run batch *feature"]) -> ActionArray:
        """Return the likeliest action: the mean cut to [-1, 1], or the action of the largest probability; draws nothing."""
        output = self.network.policy(self.tensor(z)).cpu().numpy()
        return output.clip(-1.0, 1.0) if self.network.dimensions else output.argmax(-1)

    def explore(self, z: Shaped[np.ndarray, "run batch *feature"], step: int, generators: Sequence[np.random.Generator]) -> ActionArray:
        """Draw actions of the policy, cut to [-1, 1]; a run draws from its own generator."""
        return playable(self.draw(z, generators))

    @torch.no_grad()
    def draw(self, z: Shaped[np.ndarray, "run batch *feature"], generators: Sequence[np.random.Generator]) -> ActionArray:
        """Draw actions of the policy as they are learned from: a continuous one may lie outside [-1, 1]."""
        return drawn(self.network.policy(self.tensor(z)), self.network.logarithm, generators)

    @torch.no_grad()
    def values(self, z: Shaped[np.ndarray, "run batch *feature"]) -> Float32[np.ndarray, "run batch"]:
        """Return V(z), in units of scaled rewards."""
        return self.network.value(self.tensor(z))[..., 0].cpu().numpy()

    # --- learning

    @torch.no_grad()
    def learn(self, rollout: Rollout) -> Float32[np.ndarray, "update run"]:
        """Learn from a rollout of the policy as it is now, ``epochs`` times in batches; return the losses of every update."""
        steps = self.prepare(rollout)
        losses = []
        for _ in range(self.config.epochs):
            order = torch.from_numpy(np.stack([generator.permutation(rollout.steps) for generator in self.order])).to(self.device)
            batches = order.split(self.config.batch, dim=1)
            losses += [self.counted(partial(self.improve_on, steps.at(places))) for places in batches]
        return np.stack(losses)

    @torch.no_grad()
    def prepare(self, rollout: Rollout) -> Steps:
        """Return the steps of a rollout with what was thought of them before anything is learned."""
        z, action = rollout.flat("z"), rollout.flat("action")
        parts = [
            self._look(z[:, first : first + self.config.batch], action[:, first : first + self.config.batch]) for first in self._firsts(z)
        ]
        value, old = (torch.cat(columns, dim=1) for columns in zip(*parts, strict=True))
        found = self.advantages_of(rollout, value.cpu().numpy())
        advantage = self.tensor(found.reshape(len(found), -1))
        return Steps(self.tensor(z), self.tensor(action), old, advantage, advantage + value)

    def advantages_of(self, rollout: Rollout, value: Float32[np.ndarray, "run step"]) -> Float32[np.ndarray, "run time environment"]:
        """Return generalised advantages of a rollout whose states have these values."""
        scaled = rollout.reward * np.float32(self.config.reward_scale)
        ends = (rollout.terminated, rollout.truncated, rollout.ahead)
        of_last = self.values(np.ascontiguousarray(rollout.last))
        return advantages(scaled, value.reshape(scaled.shape), of_last, *ends, self.config.gamma, self.config.gae)

    def improve(self, batch: Batch) -> Float32[np.ndarray, " run"]:
        """Take one step from transitions of the policy as it is now, each a rollout of one step."""
        z, action = self.tensor(batch.z), self.tensor(batch.action)
        value, old = self._look(batch.z, batch.action)
        following = self.network.value(self.tensor(batch.next_z))[..., 0]
        goal = self.tensor(batch.reward) * self.config.reward_scale + self.tensor(discounts(batch, self.config.gamma)) * following
        return self.improve_on(Steps(z, action, old, goal - value, goal))

    def improve_on(self, steps: Steps) -> Float32[np.ndarray, " run"]:
        """L = −L_clip + c_V (V − goal)² − c_H H, averaged over the steps; eq. 9. Returns it from before the update."""
        size = steps.z.shape[1]
        output, policy_tape = self.network.policy.record(steps.z, learned=size)
        value, value_tape = self.network.value.record(steps.z, learned=size)
        with torch.enable_grad():
            leaves = [leaf.requires_grad_() for leaf in (output, value)]
            loss = self.value_loss(steps, value) + self.policy_loss(steps, output)
        self.descend(loss, leaves, policy_tape, value_tape)
        return loss.detach().cpu().numpy()

    def value_loss(self, steps: Steps, value: Float[Tensor, "run step 1"]) -> Float[Tensor, " run"]:
        """c_V (V − goal)² of every run."""
        return self.config.value_weight * (value[..., 0] - steps.goal).square().mean(1)

    def policy_loss(self, steps: Steps, output: Float[Tensor, "run step out"]) -> Float[Tensor, " run"]:
        """−L_clip − c_H H of every run; advantages are brought to mean 0 and standard deviation 1 within the batch."""
        logarithm, config = self.network.logarithm, self.config
        ratio = (log_probability(output, logarithm, steps.action) - steps.old).exp()
        loss = -clipped(ratio, standardised(steps.advantage), config.clip).mean(1)
        return loss - config.entropy * entropy(output, logarithm).mean(1) if config.entropy else loss

    def descend(self, loss: Float[Tensor, " run"], leaves: Sequence[Tensor], policy_tape: object, value_tape: object) -> None:
        """Step along the gradient of a loss of (policy's output, value, ln σ); the networks pull it back to their weights."""
        optimiser, own = self.optimisers["network"], [] if self.network.logarithm is None else [self.network.logarithm]
        by_output, by_value, *by_own = torch.autograd.grad(loss, [*leaves, *own], torch.ones_like(loss))
        views = optimiser.gradient_views
        for view, slope in zip(views, by_own, strict=False):
            view.copy_(slope)
        of_value = len(views) - len(list(self.network.value.parameters()))
        self.network.policy.pull_back(policy_tape, by_output, views[len(own) : of_value])
        self.network.value.pull_back(value_tape, by_value, views[of_value:])
        self.step(optimiser, loss.detach().cpu().numpy())
        for logarithm in own:
            logarithm.data.clamp_(self.config.lowest_log_deviation, HIGHEST)

    def _look(
        self, z: Shaped[np.ndarray, "run batch *feature"], action: Shaped[np.ndarray, "run batch *dimension"]
    ) -> tuple[Float[Tensor, "run batch"], Float[Tensor, "run batch"]]:
        """V(z) and ln π(a|z)."""
        seen = self.tensor(np.ascontiguousarray(z))
        found = log_probability(self.network.policy(seen), self.network.logarithm, self.tensor(np.ascontiguousarray(action)))
        return self.network.value(seen)[..., 0], found

    def _firsts(self, z: Shaped[np.ndarray, "run step *feature"]) -> range:
        return range(0, z.shape[1], self.config.batch)

    # --- accounts

    def update_flops(self) -> Int64[np.ndarray, " run"]:
        """Floating-point operations of one update, per run: forward and backward of policy and value, and their look at the rollout."""
        network = self.network
        both = network.policy.multiply_adds() + network.value.multiply_adds()
        frozen = network.policy.frozen_multiply_adds() + network.value.frozen_multiply_adds()
        return 2 * self.config.batch * (3 * both - frozen + both // self.config.epochs)


def playable(action: ActionArray) -> ActionArray:
    """Cut continuous actions to [-1, 1]; discrete ones are as they were."""
    return action.clip(-1.0, 1.0) if action.ndim == 3 else action


def drawn(
    output: Float[Tensor, "run batch out"], logarithm: Float[Tensor, "run one out"] | None, generators: Sequence[np.random.Generator]
) -> ActionArray:
    """Draw one action for every output of a policy, each run from its own generator."""
    if logarithm is not None:
        noise = torch.from_numpy(normal_noise(generators, tuple(output.shape[1:]))).to(output.device)
        return (output + logarithm.exp() * noise).cpu().numpy()
    below = output.double().softmax(-1).cumsum(-1).cpu().numpy()
    chance = np.stack([generator.random(output.shape[1]) for generator in generators])
    return (below[..., :-1] <= chance[..., None]).sum(-1)  # the last border is 1 but for rounding


def clipped(ratio: Float[Tensor, "run step"], advantage: Float[Tensor, "run step"], clip: float) -> Float[Tensor, "run step"]:
    """min(ρ A, clip(ρ, 1 − ε, 1 + ε) A); eq. 7."""
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)


def standardised(advantage: Float[Tensor, "run step"]) -> Float[Tensor, "run step"]:
    """Bring every run's advantages to mean 0 and standard deviation 1; a single one stays as it is."""
    if advantage.shape[1] == 1:
        return advantage
    return (advantage - advantage.mean(1, keepdim=True)) / (advantage.std(1, keepdim=True) + 1e-8)


def ppo_on_features(
    config: PPOConfig,
    width: int,
    seeds: Sequence[int],
    *,
    dimensions: int = 0,
    actions: int = 0,
    kind: Literal["linear", "mlp"] = "mlp",
    hidden: Sequence[int] | None = None,
    live_widths: Sequence[int] | None = None,
    device: str = "cpu",
) -> PPO:
    """Return the learner with heads on features of ``width``, for continuous actions of ``dimensions`` numbers or for ``actions`` discrete ones."""
    return PPO(config, partial(heads, config, width, dimensions, actions, kind, hidden, live_widths), seeds, device)


def heads(
    config: PPOConfig,
    width: int,
    dimensions: int,
    actions: int,
    kind: Literal["linear", "mlp"],
    hidden: Sequence[int] | None,
    live_widths: Sequence[int] | None,
    seeds: Sequence[int],
) -> ActorCritic:
    """Return a policy and a value that are heads on features, with orthogonal first weights; the first policy's output is near zero."""
    sizes = config.hidden if hidden is None else hidden
    policy = Head(width, dimensions or actions, seeds, kind, sizes, live_widths, activation=config.activation)
    value = Head(width, 1, seeds, kind, sizes, live_widths, part=VALUE, activation=config.activation)
    _orthogonal(policy, weight_generators(seeds, ORTHOGONAL + HEAD), POLICY_GAIN)
    _orthogonal(value, weight_generators(seeds, ORTHOGONAL + VALUE), VALUE_GAIN)
    return ActorCritic(policy, value, dimensions, config.log_deviation)


@torch.no_grad()
def _orthogonal(head: Head, generators: Sequence[torch.Generator], last: float) -> None:
    """Draw orthogonal first weights for every run and layer; biases are zero, and so is the padding of narrower runs."""
    layers = [layer for layer in head.layers if isinstance(layer, RunLinear)]
    for layer in layers:
        gain = last if layer is layers[-1] else GAIN
        layer.bias.zero_()
        for run, (width, generator) in enumerate(zip(layer.live_widths.tolist(), generators, strict=True)):
            nn.init.orthogonal_(layer.weight[run, :width], gain, generator=generator)
