"""The settings of a pretraining from videos in; its frames, parted into what is trained on and what is only judged on, out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from layerscout.errors import DataError, UsageError
from layerscout.progress import Reporter
from layerscout.rl.loops.checkpoint import load_checkpoint
from layerscout.rl.transfer.clips import FrameStream, read_frames
from layerscout.rl.transfer.folders import CHECKPOINT


class FromVideos(Protocol):
    """Settings that every pretraining from videos has."""

    @property
    def data(self) -> Path:
        """Trajectory file, or what others recorded."""

    @property
    def out(self) -> Path:
        """Folder of the model and of its checkpoint."""

    @property
    def fps(self) -> float | None:
        """Of videos: frames a second that are taken; None: all."""

    @property
    def stride(self) -> int:
        """Of videos: every so many-th frame is taken."""

    @property
    def held_out(self) -> float:
        """Share of the episodes that is only judged on, in [0, 1)."""


def begun(config: FromVideos, key: str) -> dict[str, Any] | None:
    """Return the checkpoint that stands in the folder, None where there is none; reads no frame.

    Raises
    ------
    DataError
        There is no such dataset, or the checkpoint is damaged or of another kind.
    """
    if not config.data.exists():
        raise DataError(f"no dataset {config.data}", hint="give a trajectory file of layerscout collect, or a folder of videos")
    return load_checkpoint(config.out / CHECKPOINT, key)


def count_parameters(*makers: Callable[[], nn.Module]) -> int:
    """Return how many numbers networks learn, without room for them in memory."""
    with torch.device("meta"):
        return sum(parameter.numel() for make in makers for parameter in make().parameters())


def read_videos(config: FromVideos, size: int, channels: int, hint: str, reporter: Reporter) -> FrameStream:
    """Read all frames at ``size`` x ``size`` pixels and say what was done to them.

    Raises
    ------
    DataError
        There is no such dataset, or it is damaged or of no known format.
    UsageError
        Frames have other colours than the model takes; ``hint`` says what to do, with their number in the place of {}.
    BudgetError
        The frames do not fit into memory.
    """
    stream = read_frames(config.data, size, config.out, fps=config.fps, stride=config.stride, reporter=reporter)
    for note in stream.notes:
        reporter.say(note)
    found = stream.frames.shape[-1]
    if found != channels:
        raise UsageError(f"frames have {found} channels and the model takes {channels}", hint=hint.format(found))
    return stream


def parted(
    stream: FrameStream, config: FromVideos, serves: Callable[[FrameStream], bool], reporter: Reporter
) -> tuple[FrameStream, FrameStream]:
    """Return the episodes that are trained on and those that are judged on: the same where none can be spared, which is said.

    Parameters
    ----------
    serves
        Whether episodes that were kept apart are enough to judge on.
    """
    trained, apart = stream.held_out(config.held_out)
    if apart is not None and serves(apart):
        return trained, apart
    reporter.say("no episode was kept apart: figures are of what was trained on")
    return stream, stream
