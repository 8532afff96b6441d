"""Frames in, embeddings out, and back: the convolutions of encoder and decoder."""

from __future__ import annotations

import itertools

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.rl.transfer.apv.config import APVModelConfig

PUBLISHED_KERNELS = (5, 5, 6, 6)  # of the decoder, from 1 x 1 to 64 x 64


def scaled(frames: UInt8[Tensor, "*batch height width channel"]) -> Float[Tensor, "*batch channel height width"]:
    """Bring bytes to [−½, ½], channels first."""
    return frames.movedim(-1, -3).float() / 255 - 0.5


class PictureEncoder(nn.Module):
    """Convolutions with kernel 4 and stride 2, each followed by ELU and with twice the channels of the one before."""

    def __init__(self, sizes: APVModelConfig) -> None:
        super().__init__()
        padding, channels = (0 if sizes.published else 1), [sizes.channels, *(width for width, _ in sizes.maps)]
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 4, 2, padding), nn.ELU()) for before, after in itertools.pairwise(channels)
        )

    def forward(self, frames: Float[Tensor, "*batch channel height width"]) -> Float[Tensor, "*batch embedding"]:
        """Return the last stage's maps of frames in [−½, ½] as one vector a frame."""
        x = frames.flatten(0, -4)
        for stage in self.stages:
            x = stage(x)
        return x.flatten(1).unflatten(0, frames.shape[:-3])


class PictureDecoder(nn.Module):
    """A dense layer, then transposed convolutions: the mean of a picture whose pixels are Normal with variance 1."""

    def __init__(self, sizes: APVModelConfig) -> None:
        super().__init__()
        channels, side = (sizes.depth * 2 ** (sizes.stages + 1), 1) if sizes.published else sizes.maps[-1]
        kernels, padding = (PUBLISHED_KERNELS, 0) if sizes.published else ((4,) * sizes.stages, 1)
        self.dense = nn.Linear(sizes.features, channels * side * side)
        self.shape = (channels, side, side)
        widths = [channels, *(width for width, _ in reversed(sizes.maps[:-1])), sizes.channels]
        layers: list[nn.Module] = []
        for kernel, before, after in zip(kernels, widths[:-1], widths[1:], strict=True):
            layers += [nn.ConvTranspose2d(before, after, kernel, 2, padding), nn.ELU()]
        self.stages = nn.Sequential(*layers[:-1])

    def forward(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch channel height width"]:
        """Return the mean picture of every feature vector, in the units of frames in [−½, ½]."""
        x = self.dense(features.flatten(0, -2)).unflatten(1, self.shape)
        return self.stages(x).unflatten(0, features.shape[:-1])


def picture_loss(
    means: Float[Tensor, "*batch channel height width"], frames: Float[Tensor, "*batch channel height width"]
) -> Float[Tensor, ""]:
    """−log p(o | features) up to its constant, in nats a frame: ½ Σ (o − mean)², mean over frames."""
    return 0.5 * (means.float() - frames).square().sum((-1, -2, -3)).mean()
