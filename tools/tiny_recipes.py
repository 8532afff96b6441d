"""The name of an embedded backbone in, how it was trained out: its videos, the worlds kept from it, and the settings of its run.

``tools/pretrain_tiny.py`` trains by a recipe and ``tools/measure_tiny.py`` measures what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tools.videos import MIXTURE


@dataclass(frozen=True)
class Recipe:
    """How one embedded backbone was trained.

    ``mixture`` are shares of clips by environment and ``episodes`` how many of each are played (others: ``usual_episodes``). ``unseen`` are
    environments of which no clip is trained on, and on which errors are measured. ``varied`` says whether half of the clips are mirrored left
    to right and half of them have their colours exchanged, anew whenever they are drawn. ``half`` says whether the weights are shipped as float16.
    """

    model: str
    mixture: Mapping[str, float]
    episodes: Mapping[str, int]
    usual_episodes: int
    steps: int
    clips: int
    log: int  # steps between two points of the loss curve
    unseen: tuple[str, ...] = ()
    varied: bool = False
    half: bool = False


RECIPES = {
    recipe.model: recipe
    for recipe in (
        Recipe(
            model="tiny",
            mixture=MIXTURE,
            episodes={"layerscout/Intercept-v0": 6000, "layerscout/Grid-v0": 200},
            usual_episodes=120,
            steps=14_000,
            clips=160_000,
            log=250,
        ),
        Recipe(
            model="tiny-2",
            mixture={
                "layerscout/Intercept-v0": 0.36,
                "layerscout/Intercept-v0 sideways=2.6": 0.08,
                "layerscout/Intercept-v0 gravity=0.06": 0.08,
                "layerscout/Lob-v0": 0.11,
                "layerscout/Rally-v0": 0.11,
                "layerscout/Dot-v0": 0.03,
                "layerscout/Grid-v0": 0.04,
                "CartPole-v1": 0.02,
                "Acrobot-v1": 0.03,
                "Pendulum-v1": 0.03,
                "MountainCar-v0": 0.01,
                "MiniGrid-Dynamic-Obstacles-8x8-v0": 0.04,
                "MiniGrid-DoorKey-8x8-v0": 0.02,
                "MiniGrid-LavaGapS7-v0": 0.02,
                "MiniGrid-SimpleCrossingS9N1-v0": 0.02,
            },
            episodes={
                "layerscout/Intercept-v0": 6000,
                "layerscout/Intercept-v0 sideways=2.6": 2000,
                "layerscout/Intercept-v0 gravity=0.06": 2000,
                "layerscout/Lob-v0": 1500,
                "layerscout/Rally-v0": 1500,
                "layerscout/Dot-v0": 1500,
                "layerscout/Grid-v0": 300,
                "CartPole-v1": 600,
            },
            usual_episodes=160,
            steps=15_000,
            clips=200_000,
            log=500,
            unseen=("layerscout/Catch-v0", "layerscout/TwoBalls-v0", "layerscout/Hunt-v0", "layerscout/Maze-v0", "layerscout/Keys-v0"),
            varied=True,
            half=True,
        ),
    )
}
