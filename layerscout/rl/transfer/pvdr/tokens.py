"""Frames of episodes in, their tokens and clips of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.backbones.networks.pvdr.tokenizer import FrameTokenizer

TOGETHER = 256  # frames that are coded in one pass


def pictures(frames: UInt8[np.ndarray, "*more height width channel"]) -> Float[Tensor, "*more channel height width"]:
    """Bring pixels to [−0.5, 0.5], the channel before height and width."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3))).float() / 255.0 - 0.5


@torch.no_grad()
def coded(tokenizer: FrameTokenizer, frames: UInt8[np.ndarray, "frame height width channel"]) -> UInt8[np.ndarray, "frame row column"]:
    """Return the tokens of frames."""
    parts = [tokenizer.encode(pictures(frames[at : at + TOGETHER])) for at in range(0, len(frames), TOGETHER)]
    return torch.cat(parts).to(torch.uint8).numpy()


@dataclass(frozen=True)
class TokenStream:
    """Tokens of the frames of many episodes, one after the other, and the number of frames of each."""

    tokens: UInt8[np.ndarray, "frame row column"]
    lengths: Int64[np.ndarray, " episode"]
    window: int

    @cached_property
    def begins(self) -> Int64[np.ndarray, " clip"]:
        """Where clips begin that lie in one episode: every place that leaves room."""
        return clip_begins(self.lengths, self.window)

    def clips(self, chosen: Int64[np.ndarray, " chosen"]) -> Int64[Tensor, "chosen time row column"]:
        """Return clips by their numbers."""
        rows = self.begins[chosen][:, None] + np.arange(self.window)
        return torch.from_numpy(self.tokens[rows].astype(np.int64))

    def draw(self, count: int, generator: np.random.Generator) -> Int64[Tensor, "clip time row column"]:
        """Draw clips, each as likely as any other."""
        return self.clips(generator.integers(0, len(self.begins), count))

    def spread(self, count: int) -> Int64[Tensor, "clip time row column"]:
        """Return clips that are spread evenly: the same at every call."""
        return self.clips(np.linspace(0, len(self.begins) - 1, min(count, len(self.begins))).astype(np.int64))


def clip_begins(lengths: Sequence[int] | Int64[np.ndarray, " episode"], window: int) -> Int64[np.ndarray, " clip"]:
    """Return where clips of ``window`` frames begin that lie in one episode.

    Raises
    ------
    DataError
        No episode is that long.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    places = [np.arange(start, start + length - window + 1) for start, length in zip(starts, lengths, strict=True) if length >= window]
    if not places:
        raise DataError(
            f"clips are m + n = {window} frames long, and the longest of {len(lengths)} videos has {int(lengths.max())}",
            hint="longer recordings, or fewer frames: --set shape.history=1 --set shape.future=2",
        )
    return np.concatenate(places)
