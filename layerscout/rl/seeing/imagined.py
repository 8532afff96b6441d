"""A trained world model and steps that were played in, a contact sheet and a film out: what happened, what the model imagined of it, and the difference."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8

from layerscout.rl.agents.dreamer import on_device
from layerscout.rl.memory.sequences import SequenceReplay, StepWindows
from layerscout.rl.transfer.apv.learner import DreamerLearner

SEEN, IMAGINED = 5, 15  # frames that the model sees, and that it then goes on without
ROWS, AMONG = 3, 64  # windows that are shown: those of so many in which the fewest episodes begin
GAP = 2  # pixels between the seen and the imagined ones
ENLARGED, FRAMES_PER_SECOND = 3, 4  # of the film


@torch.no_grad()
def imagined_frames(learner: DreamerLearner, replay: SequenceReplay, run: int) -> tuple[np.ndarray, np.ndarray]:
    """Return real frames of windows of a run, and the model's: those it saw, then those that it foretold from the actions alone.

    Both are [window, time, height, width, channel], in [0, 1]. The latents are drawn from seed 0.
    """
    generator, length = np.random.default_rng(0), SEEN + IMAGINED
    drawn = replay.sample(run, AMONG, length, generator)
    fewest = np.argsort(drawn.first.sum(axis=1), kind="stable")[:ROWS]  # what a new episode looks like cannot be imagined
    windows = on_device(StepWindows(*(column[fewest] for column in drawn)), learner.device)
    chances = torch.from_numpy(generator.random((2, ROWS, length, learner.sizes.latents), dtype=np.float32)).to(learner.device)
    _, top = learner.world.observe(windows, chances)
    states = list(top.features[:, :SEEN].unbind(1))
    for t in range(SEEN, length):
        keep = (~windows.first[:, t]).float()[:, None]
        states.append(learner.world.top.imagine(states[-1] * keep, chances[1, :, t], windows.actions[:, t] * keep))
    decoded = learner.world.decoder(torch.stack(states, 1)).float().clamp(-0.5, 0.5) + 0.5
    return windows.frames.cpu().numpy() / 255, decoded.movedim(-3, -1).cpu().numpy()


def contact_sheet(real: np.ndarray, imagined: np.ndarray) -> UInt8[np.ndarray, "height width channel"]:
    """Lay out windows under one another, each as three strips: real, imagined, and the difference around grey; a gap where imagining begins."""
    rows = [
        np.concatenate([_strip(strip[:SEEN]), np.ones((strip.shape[1], GAP, strip.shape[3])), _strip(strip[SEEN:])], axis=1)
        for three in zip(real, imagined, _apart(real, imagined), strict=True)
        for strip in three
    ]
    return _as_bytes(np.concatenate(rows))


def film(real: np.ndarray, imagined: np.ndarray) -> UInt8[np.ndarray, "frame height width 3"]:
    """Lay out windows under one another as moving pictures, enlarged: real, imagined, the difference around grey; from frame ``SEEN`` on it is imagined."""
    columns = [
        np.concatenate(list(part), axis=1) for part in (real, imagined, _apart(real, imagined))
    ]  # [time, window · height, width, channel]
    return _as_bytes(np.concatenate(columns, axis=2)).repeat(ENLARGED, axis=1).repeat(ENLARGED, axis=2)


def _apart(real: np.ndarray, imagined: np.ndarray) -> np.ndarray:
    return (imagined - real) / 2 + 0.5


def _as_bytes(pictures: np.ndarray) -> UInt8[np.ndarray, "*any height width 3"]:
    colours = np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures[..., :3]
    missing = [(0, 0)] * (colours.ndim - 1) + [(0, 3 - colours.shape[-1])]  # of two colours the third is dark
    return np.round(255 * np.pad(colours, missing)).astype(np.uint8)


def _strip(frames: np.ndarray) -> np.ndarray:
    return np.concatenate(list(frames), axis=1)
