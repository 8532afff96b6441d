"""Small models of visual dynamics, and Dot played with its true dynamics, for tests."""

from __future__ import annotations

import numpy as np
import torch

from layerscout.extract.backbones.pvdr import PvdrShape
from layerscout.rl.transfer.pvdr.planning import nearest, picture_distance
from layerscout.rl.transfer.pvdr.pretraining import Films
from layerscout.rl.transfer.pvdr.tokens import pictures
from layerscout.worlds.dot import RANGE, SPEED, Dot
from layerscout.worlds.exploring import parse_policy
from layerscout.worlds.pixels import make_world
from layerscout.worlds.playing import play

SMALL = PvdrShape(size=16, codes=8, code_width=4, tokenizer_width=8, z=2, width=8, heads=2, blocks=1, history=1, future=2)
AHEAD = 4  # steps for which a velocity is held in the true futures


def small_dot(copies: int):
    """Dot at 16 x 16 pixels."""
    return make_world("layerscout/Dot-v0", copies, size=16)


def small_films(steps: int = 200) -> Films:
    """Frames of held random actions, at 16 x 16 pixels."""
    episodes = list(play(small_dot(8), parse_policy("random:6"), 0, steps))
    return Films(np.concatenate([one.frames for one in episodes]), np.array([len(one.frames) for one in episodes]))


def plan_with_true_dynamics(copies: int, samples: int, kind: str, ground: str = "textured") -> float:
    """Success of planning whose futures are the game's own: velocities held for four steps, chosen by the planner's own code."""
    world, generator = Dot(copies, ground), np.random.default_rng(3)
    world.reset(np.arange(copies), 7 * np.arange(copies))
    goals, live, reached = pictures(world.goals()), np.ones(copies, bool), np.zeros(copies, bool)
    while live.any():
        velocities = generator.uniform(-1, 1, (samples, copies, 2))
        ends = np.stack([world.picture_of(np.clip(world.place + AHEAD * SPEED * one, *RANGE)) for one in velocities], axis=1)
        best = nearest(picture_distance(pictures(ends), goals[:, None], kind)).numpy()
        outcome = world.step(velocities[best, np.arange(copies)].astype(np.float32))
        reached |= outcome.terminated
        live &= ~(outcome.terminated | outcome.truncated)
    return float(reached.mean())


def random_tokens(shape: PvdrShape, clips: int, seed: int = 0) -> torch.Tensor:
    """Return tokens without sense."""
    return torch.randint(0, shape.codes, (clips, shape.window, shape.grid, shape.grid), generator=torch.Generator().manual_seed(seed))
