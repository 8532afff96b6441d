"""A trained agent that plans in, its plans beside what happened out: a contact sheet and a film."""

from __future__ import annotations

from contextlib import closing

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from layerscout.rl.seeing.rollouts import evaluation_seeds
from layerscout.rl.transfer.pvdr.arms import MakeGoalWorld
from layerscout.rl.transfer.pvdr.learner import PvdrLearner
from layerscout.rl.transfer.pvdr.rounds import Round, play_round

SHOWN = 4  # episodes
ENLARGED = 3  # times
FRAMES_PER_SECOND = 4
BETWEEN = 1  # pixels between pictures
WHITE = 255


def played_for_show(learner: PvdrLearner, make_world: MakeGoalWorld) -> Round:
    """Play the first evaluation episodes of block 0 without exploring."""
    with closing(make_world(SHOWN)) as world:
        return play_round(world, learner, evaluation_seeds(0, np.arange(SHOWN)), learner.shape.history)


def contact_sheet(played: Round) -> UInt8[np.ndarray, "height width 3"]:
    """Return what every copy saw, below it where its plans of these moments end, and at the right the goal; white after an episode's end."""
    steps, (height, width) = len(played.deeds), played.goals.shape[1:3]
    copies = len(played.goals)
    sheet = np.full((copies * (2 * height + 3), (steps + 1) * (width + BETWEEN), 3), WHITE, np.uint8)
    for copy in range(copies):
        top = copy * (2 * height + 3)
        for step in np.flatnonzero(played.live[:, copy]):
            left, ending = step * (width + BETWEEN), played.deeds[step].ending
            sheet[top : top + height, left : left + width] = played.frames[step, copy]
            if ending is not None:
                sheet[top + height + 1 : top + 2 * height + 1, left : left + width] = _as_bytes(ending[copy])
        sheet[top : top + height, -width - BETWEEN : -BETWEEN] = played.goals[copy]
    return _enlarged(sheet)


def film(played: Round) -> UInt8[np.ndarray, "frame height width 3"]:
    """Return the same as moving pictures: of every copy what it sees, where the plan of this moment ends, and the goal; after its end it stands still.

    The last picture of each is the frame that its last action led to, beside the plan before it.
    """
    (height, width), copies = played.goals.shape[1:3], len(played.goals)
    pictures = np.full((len(played.deeds) + 1, copies * (height + BETWEEN) - BETWEEN, 3 * (width + BETWEEN) - BETWEEN, 3), WHITE, np.uint8)
    for copy, length in enumerate(played.lengths):
        rows = slice(copy * (height + BETWEEN), copy * (height + BETWEEN) + height)
        for time, picture in enumerate(pictures):
            ending = played.deeds[min(time, length - 1)].ending
            picture[rows, :width] = played.frames[min(time, length), copy]
            if ending is not None:
                picture[rows, width + BETWEEN : 2 * width + BETWEEN] = _as_bytes(ending[copy])
            picture[rows, -width:] = played.goals[copy]
    return _enlarged(pictures)


def _enlarged(pictures: UInt8[np.ndarray, "*any height width 3"]) -> UInt8[np.ndarray, "*any large wide 3"]:
    return pictures.repeat(ENLARGED, axis=-3).repeat(ENLARGED, axis=-2)


def _as_bytes(picture: Tensor) -> UInt8[np.ndarray, "height width 3"]:
    return ((picture.permute(1, 2, 0) + 0.5).clamp(0, 1) * 255).round().to("cpu").numpy().astype(np.uint8)
