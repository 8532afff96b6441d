"""What every video model must tell about itself (without weights) and do (with weights): the backbone protocol.

A backbone is described by plain values first, so that ``layerscout layers`` costs no weights, and loaded second.
A new family is one file with one function ``build(options) -> Backbone`` and one line in the registry.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout import registry
from layerscout.errors import UsageError, suggest


@dataclass(frozen=True)
class LayerInfo:
    """One named block. ``module`` is its path inside the loaded model; ``width`` its features a token.

    ``grid`` is its own token grid where blocks differ (a U-Net, a convolutional network); None means the backbone's.
    """

    name: str
    module: str
    depth: int
    width: int
    parameters: int
    grid: TokenGrid | None = None


@dataclass(frozen=True)
class ClipSpec:
    """What a clip is for a backbone.

    ``offsets`` are environment steps relative to the row's step t, never positive: a clip is causal.
    ``frame_shape`` is (height, width, channel) as the model takes it; ``resize`` says whether other sizes may be
    brought to it (area filter) or must be refused.
    """

    offsets: tuple[int, ...]
    frame_shape: tuple[int, int, int]
    resize: bool = True

    def __post_init__(self) -> None:
        assert max(self.offsets) == 0, "a causal clip ends at its own step"


@dataclass(frozen=True)
class TokenGrid:
    """Token order of a layer's output: time, height, width, row-major. ``past`` is how many time slots hold the clip; later slots hold noise."""

    time: int
    height: int
    width: int
    past: int

    @property
    def tokens(self) -> int:
        return self.time * self.height * self.width


@dataclass(frozen=True)
class Backbone:
    """A video model described without its weights.

    ``identity`` holds every value that changes the numbers besides the weights: class, architecture, noise level,
    regime, conditioning. ``weights_digest`` answers without keeping a model; ``load(device, dtype=torch.float32)`` builds
    the model with weights, computing in ``dtype`` except where the family keeps modules in float32. ``class_token`` says
    whether the layers carry one beside the video tokens. ``latent_shape`` is the shape of one clip's latents, for models
    that can start from them (``LatentBackbone``). ``seen`` names, for every time slot that holds the clip, the newest
    environment step in it, relative to the row's step: needed to align rewards with slots.
    """

    name: str
    clip: ClipSpec
    grid: TokenGrid
    layers: tuple[LayerInfo, ...]
    default_pooling: str
    identity: dict[str, Any]
    weights_digest: Callable[[], str] = field(repr=False)
    load: Callable[..., LoadedBackbone] = field(repr=False)
    class_token: bool = False
    latent_shape: tuple[int, ...] | None = None
    seen: tuple[int, ...] | None = None

    def grid_of(self, layer: LayerInfo) -> TokenGrid:
        """Return the token grid of one layer's output."""
        return layer.grid or self.grid

    def layer(self, name: str) -> LayerInfo:
        """Return the layer called ``name``.

        Raises
        ------
        UsageError
            There is none; the message names the nearest.
        """
        known = {layer.name: layer for layer in self.layers}
        if name not in known:
            raise UsageError(
                f"layer '{name}' is not in {self.name} ({len(known)} layers){suggest(name, known)}", hint=f"layerscout layers {self.name}"
            )
        return known[name]


class LoadedBackbone(ABC):
    """A model in memory, frozen, in evaluation mode, on one device."""

    module: nn.Module
    device: torch.device

    @abstractmethod
    def forward(self, clip: UInt8[Tensor, "clip time height width channel"]) -> None:
        """Run the model on clips; hooks on its layers see the activations. Results are not returned on purpose."""

    @abstractmethod
    def tokens(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip token feature"]:
        """Video tokens of a layer's raw output, in the order of the layer's grid (text and class tokens dropped)."""

    def class_token(self, output: Any, layer: LayerInfo) -> Float[Tensor, "clip feature"]:
        """The class token of a layer's raw output; only of backbones whose ``class_token`` is true."""
        raise AssertionError(f"{type(self).__name__} has no class token")

    @abstractmethod
    def truncate(self, last: LayerInfo) -> None:
        """Make the next passes end after the block ``last`` (early exit); another call may ask for a deeper one again."""


def digest_tensors(tensors: dict[str, Tensor]) -> str:
    """Return "sha256:…" over named tensors, independent of their order, device and file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().to("cpu").contiguous()
        digest.update(f"{name}|{array.dtype}|{tuple(array.shape)}|".encode())
        digest.update(array.view(torch.uint8).numpy().tobytes() if array.ndim else array.reshape(1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def scale_pixels(clip: UInt8[Tensor, "clip time height width channel"]) -> Float[Tensor, "clip time channel height width"]:
    """Bring uint8 pixels to [-1, 1], channels before height and width."""
    return clip.permute(0, 1, 4, 2, 3).to(torch.float32) / 127.5 - 1.0


def fixed_noise(shape: tuple[int, ...], seed: int) -> Float[Tensor, ...]:
    """Standard normal noise that depends on nothing but the seed and the position: the same for every row, batch and machine."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).standard_normal(shape, dtype=np.float32))


def find(spec: str, options: dict[str, Any] | None = None) -> Backbone:
    """Describe the backbone ``NAME`` or ``NAME:SOURCE``; loads no weights.

    The option ``weights`` is every backbone's: ``trained``, ``reinitialised`` or ``shuffled`` (see ``untrained``).

    Raises
    ------
    UsageError
        No such backbone, or it does not take this source or these options.
    """
    from layerscout.extract.backbones.untrained import with_weights

    name, _, source = spec.partition(":")
    own = dict(options or {})
    weights = own.pop("weights", "trained")
    return with_weights(registry.load("backbone", name)(source or None, own), weights)
