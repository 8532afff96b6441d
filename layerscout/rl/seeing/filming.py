"""A trained group in, short films of its greedy policies out (MP4 with PyAV, else GIF)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from layerscout.cache.durable import whole_file
from layerscout.errors import DataError
from layerscout.rl.agents.base import Agent
from layerscout.rl.seeing.rollouts import Stage

FRAMES_PER_SECOND = 15
SMALLEST_SIDE = 128  # pixels: smaller pictures are enlarged by whole factors, so that a person sees something
LONGEST = 1_000  # steps of one film

Film = UInt8[np.ndarray, "frame height width channel"]


def film_runs(agent: Agent, stage: Stage, runs: Sequence[int]) -> list[Film]:
    """Play the first evaluation episode of its block greedily with every run and return the pictures of ``runs``, from the first to the last frame.

    Raises
    ------
    DataError
        The world gives no pictures that a person can see.
    """
    total = len(agent.seeds)
    everyone = np.arange(total)
    observer = stage.make_observer(everyone)
    films: list[list[np.ndarray]] = [[] for _ in runs]
    live = np.ones(total, dtype=bool)
    with closing(stage.make_world(total)) as world:
        world.reset(everyone, stage.seeds(np.arange(1)).reshape(-1))
        frames = world.frames()
        observer.start(everyone, frames)
        _note(films, runs, live, world, frames)
        for _ in range(LONGEST):
            actions = agent.act(observer.observe(live)[:, None])[:, 0]
            outcome = world.step(actions)
            going_on = np.flatnonzero(live & ~(outcome.terminated | outcome.truncated))
            _note(films, runs, live, world, world.frames())
            live[:] = False
            live[going_on] = True
            if not live[list(runs)].any():
                break
            observer.push(going_on, world.frames(going_on))
    return [np.stack(pictures) for pictures in films]


def _note(films: list[list[np.ndarray]], runs: Sequence[int], live: np.ndarray, world: Any, frames: np.ndarray) -> None:
    pictures = world.pictures() if hasattr(world, "pictures") else frames
    if pictures.shape[-1] not in {1, 3}:
        raise DataError(f"the frames have {pictures.shape[-1]} channels and cannot be filmed", hint="--set train.videos=0")
    for kept, run in zip(films, runs, strict=True):
        if live[run]:
            kept.append(np.repeat(pictures[run], 3 // pictures.shape[-1], axis=-1))


def save_film(pictures: Film, path: Path) -> Path:
    """Write a film to ``path`` with the ending of its kind added: ``.mp4`` where PyAV is installed, else ``.gif``."""
    factor = max(1, -(-SMALLEST_SIDE // min(pictures.shape[1:3])))
    large = pictures.repeat(factor, axis=1).repeat(factor, axis=2)
    large = large[:, : large.shape[1] // 2 * 2, : large.shape[2] // 2 * 2]  # the codec wants even sides
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import av
    except ImportError:
        return _save_gif(large, path.with_name(f"{path.name}.gif"))
    path = path.with_name(f"{path.name}.mp4")
    with whole_file(path) as unfinished, av.open(unfinished, "w", format="mp4") as container:
        stream: Any = container.add_stream("libx264", rate=FRAMES_PER_SECOND)
        stream.height, stream.width, stream.pix_fmt = large.shape[1], large.shape[2], "yuv420p"
        for picture in large:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return path


def _save_gif(pictures: Film, path: Path) -> Path:
    with whole_file(path) as unfinished:
        unfinished.write(gif_of(pictures, FRAMES_PER_SECOND))
    return path


def gif_of(pictures: Film, rate: float) -> bytes:
    """Return moving pictures as a GIF file that begins again at its end; ``rate`` is in pictures a second."""
    from PIL import Image

    file = io.BytesIO()
    first, *rest = [Image.fromarray(picture) for picture in pictures]
    first.save(file, format="GIF", save_all=True, append_images=rest, duration=round(1000 / rate), loop=0)
    return file.getvalue()


def png_of(picture: UInt8[np.ndarray, "height width channel"]) -> bytes:
    """Return a picture as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png")
    return file.getvalue()
