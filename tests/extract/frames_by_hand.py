"""Datasets of made-up frames, so that a test can change any frame it likes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from layerscout.cache.dataset.trajectories import Episode, TrajectoryWriter

RGB, PLANES = (32, 32, 3), (8, 8, 2)


def random_episodes(lengths: Sequence[int], shape: tuple[int, int, int] = RGB, seed: int = 0) -> list[Episode]:
    """Episodes of the given numbers of steps with random frames, actions and rewards; each ends by termination."""
    generator = np.random.default_rng(seed)
    return [
        Episode(
            frames=generator.integers(0, 256, (steps + 1, *shape), dtype=np.uint8),
            actions=generator.integers(0, 3, steps),
            rewards=generator.normal(size=steps).astype(np.float32),
            terminated=np.arange(steps) == steps - 1,
            truncated=np.zeros(steps, dtype=bool),
            state=None,
        )
        for steps in lengths
    ]


def write(path: Path, episodes: Iterable[Episode]) -> Path:
    """Write a trajectory file."""
    writer = TrajectoryWriter(path, {"environment": "made up"})
    for episode in episodes:
        writer.append(episode)
    return writer.commit()


def with_other_ending(episodes: Sequence[Episode], episode: int, step: int) -> list[Episode]:
    """The same episodes, but every frame of one episode from ``step`` on is turned into its negative."""
    frames = episodes[episode].frames.copy()
    frames[step:] = 255 - frames[step:]
    changed = list(episodes)
    changed[episode] = replace(episodes[episode], frames=frames)
    return changed
