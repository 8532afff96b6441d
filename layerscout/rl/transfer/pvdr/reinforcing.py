"""A round of planned play in, rewards and advantages out: staying near the plan, coming nearer to the goal."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from layerscout.rl.transfer.pvdr.config import PvdrConfig
from layerscout.rl.transfer.pvdr.planning import picture_distance
from layerscout.rl.transfer.pvdr.rounds import Round
from layerscout.rl.transfer.pvdr.tokens import pictures


def plan_rewards(played: Round, config: PvdrConfig) -> Float[Tensor, "time copy"]:
    """Return r_t = progress · (d(x_t, g) − d(x_{t+1}, g)) / c − adherence · d(x_{t+1}, x̂_{t+1}) / c + arrival · [the goal is reached].

    x̂ is the plan's next picture, g the goal's; c is the mean distance from the first frames to the goals, which makes the reward
    free of the pictures' scale. After an episode's end it is 0.
    """
    seen, goals = pictures(played.frames), pictures(played.goals)
    away = picture_distance(seen, goals[None], config.distance)
    scale = away[0].mean().clamp(min=1e-6)
    rewards = config.progress * (away[:-1] - away[1:]) / scale
    planned = [deed.planned for deed in played.deeds]
    if config.adherence and all(plan is not None for plan in planned):
        expected = torch.stack([plan for plan in planned if plan is not None])
        rewards = rewards - config.adherence * picture_distance(seen[1:], expected, config.distance) / scale
    ended = played.live & ~np.concatenate([played.live[1:], np.zeros_like(played.live[:1])])
    rewards = rewards + config.arrival * torch.from_numpy(ended & played.reached[None])
    return rewards * torch.from_numpy(played.live)


def advantages(
    rewards: Float[Tensor, "time copy"], values: Float[Tensor, "time copy"], live: Bool[np.ndarray, "time copy"], gamma: float, lam: float
) -> Float32[Tensor, "time copy"]:
    """Return generalised advantages; an episode's end, also that by time, is worth nothing more.

    A_t = δ_t + γ λ A_{t+1}, δ_t = r_t + γ V_{t+1} − V_t.

    References
    ----------
    Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", eq. 16.
    """
    found, ahead = torch.zeros_like(rewards), torch.zeros_like(rewards[0])
    next_value = torch.zeros_like(rewards[0])
    for step in range(len(rewards) - 1, -1, -1):
        playing = torch.from_numpy(live[step]).float()
        error = rewards[step] + gamma * next_value - values[step]
        ahead = playing * (error + gamma * lam * ahead)
        next_value = playing * values[step]
        found[step] = ahead
    return found
