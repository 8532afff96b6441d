"""Environment names in, rendered random play out: the videos that the embedded backbones are trained on.

An environment is named ``ID`` or, of our own worlds, ``ID OPTION=VALUE ...``: ``layerscout/Intercept-v0 gravity=0.06``.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from layerscout import registry
from layerscout.worlds.core import random_actions

SIZE = 32
HOLD = 4  # steps for which a random action is kept, so that things move far enough to be seen
LIMIT = 60  # steps that are played of an episode
MIXTURE = {  # share of the clips that ``tiny`` and the small VideoMAE were trained on
    "layerscout/Intercept-v0": 0.55,
    "layerscout/Grid-v0": 0.07,
    "CartPole-v1": 0.08,
    "Acrobot-v1": 0.08,
    "Pendulum-v1": 0.08,
    "MountainCar-v0": 0.06,
    "MiniGrid-Dynamic-Obstacles-8x8-v0": 0.08,
}

Video = NDArray[np.uint8]  # [time, height, width, channel]
State = NDArray[np.float32]  # [time, feature]


def play(name: str, episodes: int, seed: int) -> list[tuple[Video, State | None]]:
    """Return ``episodes`` videos of random play, with the true state where the world tells it; a function of its arguments alone."""
    if name.startswith("layerscout/"):
        return _play_world(name, episodes, seed)
    return _play_gymnasium(name, episodes, seed)


def _play_world(name: str, episodes: int, seed: int) -> list[tuple[Video, State | None]]:
    known, *options = name.split()
    settings = {key: float(value) for key, value in (option.split("=") for option in options)}
    world: Any = registry.load_entry("world", known)(episodes, **settings)
    world.reset(np.arange(episodes), seed * 100_000 + np.arange(episodes))
    rng = np.random.default_rng(seed)
    frames, states, alive = [world.frames()], [world.state()], [~world.done]
    actions = None
    while not world.done.all() and len(frames) <= LIMIT:
        if (len(frames) - 1) % HOLD == 0:
            actions = random_actions(world, rng)
        alive.append(~world.done)
        world.step(actions)
        frames.append(world.frames())
        states.append(world.state())
    lengths = np.sum(alive, axis=0)
    video, state = np.stack(frames, 1), np.stack(states, 1)
    return [(video[i, :length].copy(), state[i, :length].copy()) for i, length in enumerate(lengths)]


def _play_gymnasium(name: str, episodes: int, seed: int) -> list[tuple[Video, State | None]]:
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # classic-control games draw with SDL; no window is wanted
    import gymnasium

    if name.startswith("MiniGrid"):
        import minigrid  # noqa: F401  (registers its environments)
    environment = gymnasium.make(name, render_mode="rgb_array")
    videos: list[tuple[Video, State | None]] = []
    for episode in range(episodes):
        environment.reset(seed=seed * 100_000 + episode)
        environment.action_space.seed(seed * 100_000 + episode)
        frames = [_shrink(environment.render())]
        for step in range(LIMIT):
            if step % HOLD == 0:
                action = environment.action_space.sample()
            _, _, terminated, truncated, _ = environment.step(action)
            frames.append(_shrink(environment.render()))
            if terminated or truncated:
                break
        videos.append((np.stack(frames), None))
    environment.close()
    return videos


def _shrink(picture: Video) -> Video:
    return np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.BOX))


def clips(
    videos: list[tuple[Video, State | None]], offsets: tuple[int, ...], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Draw ``count`` windows of frames at ``offsets`` around random steps; returns the clips and (video, step) of each."""
    before, after = -min(offsets), max(offsets)
    places = np.array([(v, t) for v, (video, _) in enumerate(videos) for t in range(before, len(video) - after)])
    chosen = places[rng.choice(len(places), size=count, replace=count > len(places))]
    return np.stack([videos[v][0][[t + o for o in offsets]] for v, t in chosen]), chosen
