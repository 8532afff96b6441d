"""Pictures with a leading run axis in, feature maps with a leading run axis out; and the small network that learns from pixels alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from layerscout.rl.networks.layers import INPUT_ADAPTER, Head, RunNetwork, weight_generators


class RunConv2d(RunNetwork):
    """Convolution with its own weights for every run, as one grouped convolution.

    The first weights are uniform in ±1/√fan_in, as in ``torch.nn.Conv2d``.

    Parameters
    ----------
    size
        (height, width) of the pictures that it will see; ``size_out`` follows from it.
    kernel, stride, padding
        In pixels, equal in both directions.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        size: tuple[int, int],
        kernel: int,
        stride: int,
        padding: int,
        generators: Sequence[torch.Generator],
    ) -> None:
        super().__init__(len(generators))
        self.stride, self.padding = stride, padding
        self.channels_out = channels_out
        self.size_out = ((size[0] + 2 * padding - kernel) // stride + 1, (size[1] + 2 * padding - kernel) // stride + 1)
        self.weight = nn.Parameter(torch.empty(self.runs, channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(self.runs, channels_out))
        bound = 1.0 / math.sqrt(channels_in * kernel * kernel)
        with torch.no_grad():
            for run, generator in enumerate(generators):
                self.weight[run].uniform_(-bound, bound, generator=generator)
                self.bias[run].uniform_(-bound, bound, generator=generator)

    def forward(self, pictures: Float[Tensor, "run batch channel height width"]) -> Float[Tensor, "run batch feature row column"]:
        """Convolve every run's pictures with its own kernels, in one grouped call."""
        runs, batch = pictures.shape[:2]
        side_by_side = pictures.transpose(0, 1).flatten(1, 2)  # every run's channels are a group of their own
        maps = torch.nn.functional.conv2d(
            side_by_side, self.weight.flatten(0, 1), self.bias.flatten(), self.stride, self.padding, groups=runs
        )
        return maps.reshape(batch, runs, self.channels_out, *maps.shape[2:]).transpose(0, 1)

    def multiply_adds(self) -> Int64[np.ndarray, " run"]:
        """Numbers in one run's kernels times the places of ``size_out``."""
        return np.full(self.runs, self.weight[0].numel() * math.prod(self.size_out), dtype=np.int64)


def as_pictures(
    clips: Shaped[Tensor, "run batch time height width channel"],
) -> Float[Tensor, "run batch time_channel height width"]:
    """Bring uint8 clips to [-1, 1] with the frames' channels one after the other, as a convolution takes them."""
    return clips.permute(0, 1, 2, 5, 3, 4).flatten(2, 3).float() / 127.5 - 1.0


class ConvNetwork(RunNetwork):
    """The control "from scratch on pixels": three convolutions with stride 2 and a head, all trained, one network a run.

    Parameters
    ----------
    frame_shape
        (time, height, width, channel) of a clip; the frames of a clip are stacked as channels.
    channels
        Of the three convolutions.
    hidden
        Layers of the head.

    References
    ----------
    Mnih et al. 2015, "Human-level control through deep reinforcement learning", in the size of small frames.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int, int, int],
        actions: int,
        seeds: Sequence[int],
        channels: tuple[int, int, int] = (16, 32, 32),
        hidden: Sequence[int] = (64,),
        *,
        dueling: bool = False,
    ) -> None:
        super().__init__(len(seeds))
        self.frame_shape = frame_shape
        time, height, width, colours = frame_shape
        generators = weight_generators(seeds, INPUT_ADAPTER)
        layers, size, before = [], (height, width), time * colours
        for after in channels:
            layer = RunConv2d(before, after, size, 4, 2, 1, generators)
            layers.append(layer)
            before, size = after, layer.size_out
        self.layers = nn.Sequential(*layers)
        self.head = Head(before * math.prod(size), actions, seeds, "mlp", hidden, dueling=dueling)

    def forward(self, clips: Shaped[Tensor, "run batch *pixel"]) -> Float[Tensor, "run batch action"]:
        """One number an action from clips of uint8 pixels, flat or in their own shape."""
        maps = as_pictures(clips.unflatten(2, self.frame_shape) if clips.ndim == 3 else clips)
        for layer in self.layers:
            maps = torch.relu(layer(maps))
        return self.head(maps.flatten(2))
