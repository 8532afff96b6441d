"""Reward weights in, strong policies of Reacher's twin out, by gradients through its equations: teachers of the benchmark on transfer.

    python benchmarks/reacher_teachers.py --kinds similar --updates 250
    python benchmarks/reacher_teachers.py --kinds harmful --updates 250
    python benchmarks/reacher_teachers.py --kinds different --updates 350

A stand-in for long training: every step of the twin is differentiable, so the return's own gradient moves the policy. What is printed is a
teacher's score on the target task, which is what makes it similar, different or harmful; the cosine of reward weights does not.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from torch import Tensor

from layerscout.rl.agents.configs import PPOConfig
from layerscout.rl.agents.ppo import ActorCritic, heads
from layerscout.rl.transfer.tasks import reacher_task
from layerscout.rl.transfer.teacher import Teacher
from layerscout.worlds.reacher import DECAY, FRAME, GEAR, LENGTH, LIMIT, LINKS, REACH, SCALE

# name: weights of distance and control in the teacher's own task, standard deviation of its actions
KINDS = {"similar": ((1.0, 0.5), 0.1), "different": ((1.0, 0.1), 0.15), "harmful": ((1.0, 0.0), 0.15)}
COPIES = 48  # episodes in one update


def observed(angle: Tensor, speed: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the twin shows, and the distance to the goal."""
    first, both = angle[..., :1], angle.sum(-1, keepdim=True)
    tip = torch.cat([LINKS[0] * first.cos() + LINKS[1] * both.cos(), LINKS[0] * first.sin() + LINKS[1] * both.sin()], -1)
    seen = torch.cat([angle.cos(), angle.sin(), goal, speed, tip - goal], -1) * torch.from_numpy(SCALE)
    return seen, ((tip - goal).square().sum(-1) + 1e-5).sqrt()


def episode_return(network: ActorCritic, weights: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """Return the mean return of every kind of teacher over an update's episodes; it can be differentiated."""
    kinds = len(weights)

    def uniform(low: float, high: float, last: int) -> Tensor:
        return torch.rand(kinds, COPIES, last, generator=generator) * (high - low) + low

    angle, speed = uniform(-0.1, 0.1, 2), uniform(-0.005, 0.005, 2)
    radius, direction = REACH * uniform(0.0, 1.0, 1).sqrt(), uniform(0.0, math.tau, 1)
    goal = torch.cat([radius * direction.cos(), radius * direction.sin()], -1)
    total = torch.zeros(kinds)
    seen, _ = observed(angle, speed, goal)
    for _ in range(LENGTH):
        action = (network.policy(seen) + noise * torch.randn(kinds, COPIES, 2, generator=generator)).clamp(-1.0, 1.0)
        angle = (angle + speed * (1 - DECAY) + GEAR * action * (FRAME - (1 - DECAY))).clamp(-LIMIT, LIMIT)
        speed = speed * DECAY + GEAR * action * (1 - DECAY)
        seen, away = observed(angle, speed, goal)
        total = total - (weights[:, :1] * away + weights[:, 1:] * action.square().sum(-1)).mean(1)
    return total


def trained(updates: int, names: list[str]) -> dict[str, Teacher]:
    """Return one teacher of each of these kinds."""
    kinds = {name: KINDS[name] for name in names}
    generator, config = torch.Generator().manual_seed(0), PPOConfig()
    network = heads(config, len(SCALE), 2, 0, "mlp", None, None, range(len(kinds)))
    weights = torch.tensor([weights for weights, _ in kinds.values()])
    noise = torch.tensor([noise for _, noise in kinds.values()]).view(-1, 1, 1)
    parameters = list(network.policy.parameters())
    optimiser = torch.optim.Adam(parameters, lr=3e-3)
    for update in range(updates):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1.0 - 0.95 * update / updates)
        optimiser.zero_grad()
        (-episode_return(network, weights, noise, generator)).sum().backward()
        for kind in range(len(kinds)):
            norm = sum(parameter.grad[kind].square().sum() for parameter in parameters if parameter.grad is not None) ** 0.5
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad[kind] *= min(1.0, 1.0 / (float(norm) + 1e-6))
        optimiser.step()
    steps = updates * COPIES * LENGTH
    layers = [
        [(layer.weight[kind].detach(), layer.bias[kind, 0].detach()) for layer in network.policy.layers] for kind in range(len(kinds))
    ]
    return {
        name: Teacher(tuple(layers[kind]), config.activation, torch.full((2,), math.log(noise)), steps=steps)
        for kind, (name, (_, noise)) in enumerate(kinds.items())
    }


def cosine(weights: tuple[float, float]) -> float:
    """Cosine of reward weights to the target's (1, 1)."""
    return sum(weights) / (math.hypot(*weights) * math.sqrt(2.0))


def score(teacher: Teacher) -> float:
    """Return a teacher's mean return on the target task, played greedily."""
    return float(reacher_task().stage(1).evaluate(teacher.act, 64).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--updates", type=int, default=250)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/teachers"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    began = time.process_time()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, teacher in trained(chosen.updates, chosen.kinds).items():
        teacher.save(chosen.out / f"{name}.npz")
        print(f"{name}: {score(teacher):.2f} on the target, cosine {cosine(KINDS[name][0]):.3f}")
    print(f"{time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main()
