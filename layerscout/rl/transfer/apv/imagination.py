"""A world model, an actor and where futures begin in; imagined futures, their returns, and the losses of actor and critic, out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.rl.transfer.apv.heads import Actor
from layerscout.rl.transfer.apv.stacked import WorldModel


class Future(NamedTuple):
    """States 0 … H of imagined futures, and the actions 0 … H − 1 between them."""

    features: Float[Tensor, "state start feature"]
    actions: Float[Tensor, "step start action"]


def imagine(
    world: WorldModel,
    actor: Actor,
    start: Float[Tensor, "start feature"],
    chances: tuple[Float[Tensor, "step start latent"], Float[Tensor, "step start chance"]],
) -> Future:
    """Go on from the states ``start`` without frames: actions by the actor from the detached state, latents as the model foretells them.

    Only the action-conditional model is used; the action-free one below has no part in it.

    Parameters
    ----------
    chances
        Uniform numbers for latents and actions of every step.
    """
    states, actions = [start], []
    for latent, chance in zip(*chances, strict=True):
        action = actor(states[-1].detach()).draw(chance)
        states.append(world.top.imagine(states[-1], latent, action))
        actions.append(action)
    return Future(torch.stack(states), torch.stack(actions))


def returns_of(
    rewards: Float[Tensor, "step start"],
    values: Float[Tensor, "step start"],
    discounts: Float[Tensor, "step start"],
    last_value: Float[Tensor, " start"],
    weight: float,
) -> Float[Tensor, "step start"]:
    """λ-returns: V_t = r_t + d_t [(1 − λ) v_{t+1} + λ V_{t+1}], with v and V of the last step after them as ``last_value``."""
    following, found = [*values[1:], last_value], []
    ahead = last_value
    for t in reversed(range(len(rewards))):
        ahead = rewards[t] + discounts[t] * ((1 - weight) * following[t] + weight * ahead)
        found.append(ahead)
    return torch.stack(found[::-1])


class BehaviourLosses(NamedTuple):
    """Losses of actor and critic, and what is worth logging of the futures."""

    actor: Float[Tensor, ""]
    critic: Float[Tensor, ""]
    entropy: Float[Tensor, ""]
    value: Float[Tensor, ""]


def behaviour_losses(
    world: WorldModel,
    actor: Actor,
    critic: nn.Module,
    slow_critic: nn.Module,
    start: Float[Tensor, "start feature"],
    going: Float[Tensor, " start"],
    chances: tuple[Float[Tensor, "step start latent"], Float[Tensor, "step start chance"]],
    config: DreamerConfig,
) -> BehaviourLosses:
    """Judge imagined futures of ``config.horizon`` steps.

    Actions of numbers learn by back-propagation through the model: −V. Discrete ones by REINFORCE: −log π(a) (V − v_slow), V without gradient.
    Both with the entropy, on the steps 1 … H − 1: the last one is the bootstrap, the first one has no action that led to it. The critic learns V
    without gradient on the steps 0 … H − 1. Every step counts by the discounts before it.

    Parameters
    ----------
    start, going
        States to begin with, without gradient, and 0 for those in which the task had ended, else 1.

    References
    ----------
    Hafner et al. 2021, eq. 4 to 6, and the authors' ``agent.py``.
    """
    with torch.set_grad_enabled(actor.continuous):
        future = imagine(world, actor, start, chances)
        rewards, values = world.reward(future.features)[..., 0], slow_critic(future.features)[..., 0]
        discounts = torch.full_like(rewards, config.gamma)
        if world.discount is not None:
            foretold = world.discount(future.features[1:])[..., 0].sigmoid()
            discounts = torch.cat([config.gamma * going[None], foretold])
        targets = returns_of(rewards[:-1], values[:-1], discounts[:-1], values[-1], config.returns)
    with torch.no_grad():
        weights = torch.cat([torch.ones_like(discounts[:1]), discounts[:-1]]).cumprod(0)
    states = future.features.detach()
    distribution = actor(states[:-2])
    if actor.continuous:
        objective = targets[1:]
    else:
        advantage = (targets[1:] - values[:-2]).detach()
        objective = distribution.log_probability(future.actions[:-1]) * advantage
    entropy = distribution.entropy
    actor_loss = -(weights[:-2] * (objective + config.entropy * entropy)).mean()
    value = critic(states[:-1])[..., 0]
    critic_loss = (0.5 * weights[:-1] * (value - targets.detach()).square()).mean()
    return BehaviourLosses(actor_loss, critic_loss, entropy.mean().detach(), value.mean().detach())
