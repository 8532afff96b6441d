"""A trained world model and steps that were played in, a contact sheet out: what happened, what the model imagined of it, and the difference."""

from __future__ import annotations

import io

import numpy as np
import torch
from jaxtyping import UInt8

from layerscout.rl.agents.dreamer import on_device
from layerscout.rl.memory.sequences import SequenceReplay, StepWindows
from layerscout.rl.transfer.apv.learner import DreamerLearner

SEEN, IMAGINED = 5, 15  # frames that the model sees, and that it then goes on without
ROWS, AMONG = 3, 64  # windows that are shown: those of so many in which the fewest episodes begin
GAP = 2  # pixels between the seen and the imagined ones


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
    strips = [part for pair in zip(real, imagined, strict=True) for part in (*pair, (pair[1] - pair[0]) / 2 + 0.5)]
    rows = [
        np.concatenate([_strip(strip[:SEEN]), np.ones((strip.shape[1], GAP, strip.shape[3])), _strip(strip[SEEN:])], axis=1)
        for strip in strips
    ]
    sheet = np.concatenate(rows)
    return np.round(255 * (np.repeat(sheet, 3, axis=-1) if sheet.shape[-1] == 1 else sheet[..., :3])).astype(np.uint8)


def png_of(sheet: UInt8[np.ndarray, "height width channel"]) -> bytes:
    """Compress the picture, RGB of uint8, without loss."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "png")
    return file.getvalue()


def _strip(frames: np.ndarray) -> np.ndarray:
    return np.concatenate(list(frames), axis=1)
