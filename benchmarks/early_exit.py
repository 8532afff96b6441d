"""What a pass costs that ends after block k of n, as a share of the whole pass.

    python benchmarks/early_exit.py [--quick] [--json] [--device cuda]

A VideoMAE of ViT-S size (12 blocks, random weights). Only block k's activation is wanted, so the blocks after it are left out.
Every round runs all exits and the whole pass in another order; a share is of the whole pass of the same round. On a CPU, CPU
seconds of one thread; on a GPU, wall seconds. ``excess`` is the share minus k/n: embedding, pooling and what does not get
shorter. ``--quick`` has smaller frames and fewer rounds.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

import extract_world
import harness

EXITS = (3, 6, 9)


def main() -> None:
    chosen = harness.options(__doc__, device=True)
    import torch

    from layerscout.extract.backbones.finding import find_backbone
    from layerscout.extract.device import torch_threads
    from layerscout.extract.passes.capture import Capture

    device = torch.device(chosen.device)
    size, clips, rounds = (128, 4, 5) if chosen.quick else (224, 4, 11)
    clips *= 16 if device.type == "cuda" else 1
    with tempfile.TemporaryDirectory() as folder:
        backbone = find_backbone(extract_world.checkpoint(Path(folder), size))
        capture = Capture(backbone.load(device, torch.float32), backbone.layers, backbone.grid, "all/mean")
    clip = torch.randint(0, 256, (clips, len(backbone.clip.offsets), *backbone.clip.frame_shape), dtype=torch.uint8)

    def seconds(blocks: int) -> float:
        clock = time.perf_counter if device.type == "cuda" else time.thread_time
        began = clock()
        capture(clip, only=[backbone.layers[blocks - 1].name])
        if device.type == "cuda":
            torch.cuda.synchronize()
        return clock() - began

    total = extract_world.BLOCKS
    shares: dict[int, list[float]] = {blocks: [] for blocks in EXITS}
    order = [*EXITS, total]
    with torch_threads(1):
        seconds(total)
        for number in range(rounds):
            random.Random(number).shuffle(order)
            spent = {blocks: seconds(blocks) for blocks in order}
            for blocks in EXITS:
                shares[blocks].append(spent[blocks] / spent[total])
    figures: dict[str, object] = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "clips": clips}
    figures["tokens_a_clip"] = backbone.grid.tokens
    bars = {}
    for blocks, found in shares.items():
        figures[f"share_after_{blocks}_of_{total}"] = {"median": statistics.median(found), "min": min(found), "max": max(found)}
        figures[f"excess_after_{blocks}"] = statistics.median(found) - blocks / total
        bars[f"excess_after_{blocks}"] = 0.03
    harness.finish("early_exit", ("torch", "transformers"), figures, chosen.json, at_most=bars)


if __name__ == "__main__":
    main()
