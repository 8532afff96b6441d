"""A backbone with weights from Philox in; its activations compared with those on record, so that new numerics are noticed.

torch's own initialisation may change from version to version; numpy's Philox does not. So a difference here means that the
model computes otherwise than it did: a changed library or a changed recipe. If it is meant, write the record again:
``LAYERSCOUT_WRITE_GOLDEN=1 python -m pytest -n 0 tests/extract/test_NAME.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from layerscout.extract.backbones.base import Backbone

FOLDER = Path(__file__).parent / "golden"
# of the activations' own scale: another instruction set or another number of threads sums in another order. Measured over all families:
# at most 4e-5 for a U-Net on single pixels, whose norms magnify rounding, and 1.3e-5 for the others
TOLERANCE = 1e-4


def philox(name: str) -> np.random.Generator:
    """A generator that depends on nothing but a name."""
    return np.random.Generator(np.random.Philox(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")))


def fill(module: nn.Module) -> nn.Module:
    """Give every weight a value that depends on its name and shape only, at a scale that keeps activations alive."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = philox(name).standard_normal(tuple(parameter.shape), dtype=np.float32)
            if parameter.ndim >= 2:
                drawn = drawn / np.sqrt(np.prod(parameter.shape[1:]))
            else:
                drawn = (1.0 if name.endswith("weight") else 0.0) + 0.1 * drawn
            parameter.copy_(torch.from_numpy(drawn))
    return module


def clips(backbone: Backbone, count: int = 1) -> torch.Tensor:
    """Clips of noise from Philox, as the backbone takes them."""
    shape = (count, len(backbone.clip.offsets), *backbone.clip.frame_shape)
    return torch.from_numpy(philox("clips").integers(0, 256, shape, dtype=np.uint8))


def activations(backbone: Backbone, clip: torch.Tensor, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Video tokens of every layer, float32, for one batch."""
    loaded, seen = backbone.load(torch.device("cpu"), dtype), {}
    for layer in backbone.layers:

        def note(module: nn.Module, arguments: object, output: object, layer=layer) -> None:
            seen[layer.name] = loaded.tokens(output, layer).to(torch.float32).clone()

        loaded.module.get_submodule(layer.module).register_forward_hook(note)
    with torch.no_grad():
        loaded.forward(clip)
    return seen


def check(name: str, backbone: Backbone) -> None:
    """Compare the first and the last layer with ``golden/NAME.json``: mean, standard deviation, first eight values."""
    seen = activations(backbone, clips(backbone))
    here = {}
    for layer in (backbone.layers[0].name, backbone.layers[-1].name):
        values = seen[layer].double()
        assert torch.isfinite(values).all()
        here[layer] = {"mean": values.mean().item(), "std": values.std().item(), "first": values.flatten()[:8].tolist()}
    file = FOLDER / f"{name}.json"
    if os.environ.get("LAYERSCOUT_WRITE_GOLDEN"):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(json.dumps(here, indent=1) + "\n")
    recorded = json.loads(file.read_text())
    assert here.keys() == recorded.keys()
    for layer, values in recorded.items():
        scale = abs(values["mean"]) + values["std"]
        assert values["std"] > 0
        for key, expected in values.items():
            assert here[layer][key] == pytest.approx(expected, abs=TOLERANCE * scale), (layer, key)
