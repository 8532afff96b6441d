"""What the extraction benchmarks run on: a VideoMAE of ViT-S size with random weights, and a dataset of its frames."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

from layerscout.cache.dataset.trajectories import Episode, TrajectoryWriter
from layerscout.extract.config import ExtractConfig

BLOCKS, WIDTH = 12, 384
POOLINGS = ("all/mean", "all/grid2")


def checkpoint(folder: Path, size: int) -> str:
    """Write the checkpoint for frames of ``size`` pixels and return how the backbone is called."""
    import torch
    from transformers import VideoMAEConfig, VideoMAEModel

    config = VideoMAEConfig(
        image_size=size, hidden_size=WIDTH, num_hidden_layers=BLOCKS, num_attention_heads=6, intermediate_size=4 * WIDTH
    )
    torch.manual_seed(0)
    with contextlib.redirect_stderr(io.StringIO()):
        VideoMAEModel(config).save_pretrained(folder)
    return f"videomae:{folder}"


def dataset(file: Path, rows: int, shape: tuple[int, int, int], steps: int = 31) -> Path:
    """Write episodes of ``steps`` steps with smooth random frames, at least so many rows."""
    rng = np.random.default_rng(0)
    writer = TrajectoryWriter(file, {"environment": "made up"}, part_episodes=4096)
    coarse = rng.integers(0, 256, (steps + 1, -(-shape[0] // 8), -(-shape[1] // 8), shape[2]), dtype=np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : shape[0], : shape[1]]
    for _ in range(-(-rows // (steps + 1))):
        writer.append(
            Episode(
                frames=np.roll(frames, int(rng.integers(1, 8)), axis=2),
                actions=rng.integers(0, 3, steps),
                rewards=rng.normal(size=steps).astype(np.float32),
                terminated=np.arange(steps) == steps - 1,
                truncated=np.zeros(steps, dtype=bool),
                state=None,
            )
        )
    return writer.commit()


def settings(backbone: str, data: Path, root: Path, device: str, batch: int, **changes: object) -> ExtractConfig:
    """The extraction that is measured: means and grids of every layer, without passports, which cost once and not by the row."""
    common = {"backbone": backbone, "data": data, "root": root, "device": device, "batch": batch, "pooling": POOLINGS}
    return ExtractConfig.model_validate(common | {"passport_clips": 0} | changes)
