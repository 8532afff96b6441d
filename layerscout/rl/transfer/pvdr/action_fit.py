"""An agent that plans in, how well actions can be told from what its model makes of them out: R² on episodes that nobody learned from."""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerscout.rl.seeing.rollouts import evaluation_seeds
from layerscout.rl.transfer.pvdr.arms import MakeGoalWorld
from layerscout.rl.transfer.pvdr.experience import ActionClips, Experience
from layerscout.rl.transfer.pvdr.learner import PvdrLearner
from layerscout.rl.transfer.pvdr.rounds import HeldActions, play_round

EPISODES = 24  # that are judged on
FITTING = 8  # purpose of the random stream from which their actions are drawn
TOGETHER = 256  # clips of one pass


class ActionFit(NamedTuple):
    """R² of actions: what the alignment says of z and the frame, and what a linear map says of z alone; None where nothing can be said."""

    aligned: float | None
    linear: float | None


@torch.no_grad()
def action_fit(learner: PvdrLearner, make_world: MakeGoalWorld, seed: int) -> ActionFit:
    """Judge a learner on held random actions in the evaluation episodes of its block; the linear map is fitted on what it lived through.

    z is the encoder's mean of the clip that an action began. Nothing that is learned or drawn later changes.
    """
    held = HeldActions(learner.dimensions, learner.config.hold, np.random.default_rng((seed, FITTING)))
    others = Experience(learner.tokenizer, learner.shape.history, learner.shape.future)
    with closing(make_world(EPISODES)) as world:
        others.add(play_round(world, held, evaluation_seeds(seed, np.arange(EPISODES)), learner.shape.history))
    known, judged = _whole(learner.experience), _whole(others)
    if judged is None:
        return ActionFit(None, None)
    z = _encoded(learner, judged)
    aligned = explained(learner.alignment(z, judged.seen), judged.actions)
    return ActionFit(aligned, None if known is None else linear_fit(_encoded(learner, known), known.actions, z, judged.actions))


def linear_fit(
    z: Float[Tensor, "row z"],
    actions: Float[Tensor, "row dimension"],
    others: Float[Tensor, "other z"],
    done: Float[Tensor, "other dimension"],
) -> float | None:
    """Return R² of a least-squares map from z to actions, on other steps: what z holds of actions before anything is aligned."""
    ones = torch.ones(len(z), 1), torch.ones(len(others), 1)
    # double precision and the least norm: a number of z that never varies says nothing and must not break the map
    fitted = torch.linalg.lstsq(torch.cat([z, ones[0]], 1).double(), actions.double(), driver="gelsd").solution
    return explained(torch.cat([others, ones[1]], 1).double() @ fitted, done)


def explained(said: Float[Tensor, "row dimension"], done: Float[Tensor, "row dimension"]) -> float | None:
    """Return R² = 1 − Σ (a − â)² / Σ (a − mean a)², all dimensions together; None where actions do not vary."""
    around = float((done - done.mean(0)).square().sum())
    return None if around == 0 else 1.0 - float((said - done).square().sum()) / around


def _whole(experience: Experience) -> ActionClips | None:
    rows = experience.whole()
    return experience.clips(rows) if len(rows) else None


def _encoded(learner: PvdrLearner, clips: ActionClips) -> Float[Tensor, "clip z"]:
    return torch.cat([learner.dynamics.encoder(part).mean for part in clips.tokens.split(TOGETHER)])
