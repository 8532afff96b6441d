"""A described model and its layers in, the expected seconds of its forward passes out; the model is loaded and run on blank clips."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from layerscout.extract.backbones.base import Backbone, LayerInfo
from layerscout.extract.config import ExtractConfig
from layerscout.extract.device import cores, torch_threads
from layerscout.extract.passes.capture import Capture

CLIPS = 8


def seconds_of_passes(
    config: ExtractConfig, backbone: Backbone, layers: Sequence[LayerInfo], poolings: Sequence[str], rows: int, dtype: torch.dtype
) -> float:
    """Estimate the seconds of the forward passes over some rows from one small batch of blank clips."""
    loaded = backbone.load(torch.device(config.device), dtype)
    clips = CLIPS if config.batch == "auto" else min(CLIPS, config.batch)
    blank = torch.zeros((clips, len(backbone.clip.offsets), *backbone.clip.frame_shape), dtype=torch.uint8)
    with torch_threads(1), Capture(loaded, layers, backbone.grid, poolings) as capture:
        clock = time.process_time if config.device == "cpu" else time.monotonic  # one thread: however busy the machine is now
        capture(blank)  # the first pass pays for what is set up once
        began = clock()
        capture(blank)
        spent = clock() - began
    return rows * spent / clips / (cores(config.threads) if config.device == "cpu" else 1)
