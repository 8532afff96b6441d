"""Video files in, a table out: do the trained layers of TransNetV2 tell more of real video than the same layers untrained?

    python -m tools.transnet_probe VIDEO [VIDEO ...] [--frames N] [--out FOLDER]

The reward of a step is how much the picture has just changed: ln(0.1 + mean |frame_t - frame_{t-1}|), in grey levels at
27 x 48 pixels. A video is cut into episodes of 25 frames. The rest is the pipeline as it is: recording, extraction with
the trained network and with its untrained twin, probe.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from layerscout.cache.dataset.trajectories import Episode, TrajectoryWriter
from layerscout.cache.importers.video.decoding import pictures
from layerscout.cache.records import LayerScore, Ranking
from layerscout.extract import run as extraction
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.clips import fit
from layerscout.extract.config import ExtractConfig
from layerscout.probe import plan as probe_plan
from layerscout.probe import run as probing
from layerscout.probe.config import ProbeConfig

SEGMENT = 25  # frames an episode: one second of most videos
FLOOR = 0.1  # grey levels: a picture that stands still has a finite logarithm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--frames", type=int, default=None, help="of each video, from its start (default: all)")
    parser.add_argument("--clip", type=int, default=8, help="frames the network sees at a step")
    parser.add_argument("--out", type=Path, default=Path("outputs/transnet"))
    arguments = parser.parse_args()
    data = record(arguments.videos, arguments.out / "video.h5", arguments.frames)
    print(table(rank(data, arguments.out, arguments.clip)))


def record(videos: Sequence[Path], out: Path, limit: int | None = None) -> Path:
    """Write the videos as episodes without actions, whose reward is the change that the newest frame brought."""
    writer = TrajectoryWriter(out, {"videos": [video.name for video in videos], "reward": "ln(0.1 + mean |change|)", "limit": limit})
    if writer.finished:
        return out
    clip = find_backbone("transnet").clip
    for video in videos:
        frames = np.concatenate([fit(picture.values[None], clip) for picture in itertools.islice(pictures(video), limit)])
        change = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean(axis=(1, 2, 3))  # entry i is what frame i + 1 brought
        for first in range(1, len(frames) - SEGMENT + 1, SEGMENT):
            steps = SEGMENT - 1
            ended = np.arange(steps) == steps - 1
            rewards = np.log(FLOOR + change[first - 1 : first - 1 + steps]).astype(np.float32)
            writer.append(Episode(frames[first : first + SEGMENT], None, rewards, np.zeros(steps, bool), ended, None), video.name)
    writer.flush()
    return writer.commit()


def rank(data: Path, out: Path, frames: int, layers: Sequence[str] = ()) -> Ranking:
    """Extract with both networks and probe the trained one against its twin."""
    stores = []
    for backbone in ("transnet", "transnet-untrained"):
        config = ExtractConfig(
            backbone=backbone,
            data=data,
            root=out / "stores",
            layers=tuple(layers),
            dtype="float32",  # untrained layers put out numbers too small for float16
            backbone_options={"frames": frames},
            batch=32,
            passport_clips=0,
        )
        stores.append(str(extraction.run(extraction.plan(config)).path))
    config = ProbeConfig(store=stores[0], twin=stores[1], out=out / "probe", root=out / "stores", targets=(), confirmation=0)
    return probing.run(probe_plan.plan(config))


def table(ranking: Ranking) -> str:
    """The layers in forward order with the R² of the reward, trained and untrained, as Markdown."""
    trained = {layer.name: layer for layer in ranking.candidates}
    twins = {layer.name.removesuffix(":untrained"): layer for layer in ranking.layers if layer.role == "twin"}
    lines = ["| layer | width | trained | untrained |", "|---|---|---|---|"]
    for name, layer in sorted(trained.items(), key=lambda item: item[1].depth):
        lines.append(f"| `{name}` | {layer.width} | {_figure(layer)} | {_figure(twins.get(name))} |")
    lines += [f"| raw pixels | {layer.width} | {_figure(layer)} | |" for layer in ranking.layers if layer.role == "control"]
    return "\n".join(lines)


def _figure(layer: LayerScore | None) -> str:
    if layer is None or layer.reward_r2 is None:
        return "n/a"
    found = layer.reward_r2
    around = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.3f}{around}"


if __name__ == "__main__":
    main()
