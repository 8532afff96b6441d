"""What extraction costs beyond the model's own forward passes, against what people do today, on the same clips.

    python benchmarks/extract_overhead.py [--quick] [--json] [--device cuda]

A VideoMAE of ViT-S size (12 blocks of width 384, random weights), 16 frames a clip. In every round, in another order:

- bare: the forward passes alone, clips ready in memory, as many batches side by side as cores (one on a GPU).
- layerscout: clips read from the dataset, mean and 2 x 2 grid of every layer pooled in the pass, written as a store and
  committed, everything made safe on the disk. Only loading the model is left out.
- hooks: a forward hook a block that keeps what the block gave; after each batch the same two poolings, ``.cpu()``, and
  np.save, one file a layer and batch. Clips ready in memory, one batch after another, each product on all cores, as torch
  does by itself.
- thingsvision's way: hooks that keep what the block gave; after each batch each layer's activations, not pooled, are copied
  to the host and saved. This is its loop rebuilt: the package itself needs torchvision and takes images.

Costs are wall seconds; on a CPU, for the first two also CPU seconds of the whole process, which other programs on the machine
change least, and the bar is on those. ``--quick`` has fewer clips and rounds, leaves the two loops by hand out, which have no
bar, and does not measure memory: the peak of a fresh process on another dataset, until row n and until the end at row 16 n.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import extract_world
import harness
import numpy as np

TIMES, MEMORY_ROWS = 16, 65_536


def main() -> None:
    chosen = harness.options(__doc__, device=True)
    import torch

    from layerscout.extract.clips import clips_of
    from layerscout.extract.device import batches_in_threads
    from layerscout.extract.passes.fill import fill_units, open_writer
    from layerscout.extract.passes.pipeline import batch_spans
    from layerscout.extract.passes.work import Extractor
    from layerscout.extract.plan import plan

    on_gpu = chosen.device == "cuda"
    size, clips, batch, rounds = (224, 8, 2, 2) if chosen.quick else (224, 16, 4, 5)
    if on_gpu:
        clips, batch, rounds = (512, 32, 3) if chosen.quick else (4096, 64, 7)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        backbone = extract_world.checkpoint(folder / "model", size)
        data = extract_world.dataset(folder / "data.h5", clips, (size, size, 3), steps=7)
        planned = plan(extract_world.settings(backbone, data, folder / "root", chosen.device, batch))
        from layerscout.cache.dataset.trajectories import Trajectories

        with Trajectories(data) as opened:
            extractor = Extractor(planned, opened)
            loaded, layers = planned.backbone.load(torch.device(chosen.device), torch.float32), planned.layers
            spans = batch_spans(0, planned.rows, batch)
            ready = [torch.from_numpy(clips_of(opened, extractor.index.table, *span, planned.backbone.clip)) for span in spans]
            kept: dict[str, Any] = {}
            bare_model = planned.backbone.load(torch.device(chosen.device), torch.float32)
            for layer in layers:
                loaded.module.get_submodule(layer.module).register_forward_hook(
                    lambda module, inputs, output, name=layer.name: kept.update({name: loaded.tokens(output, planned.backbone.layer(name))})
                )

            @torch.inference_mode()
            def forward(clip: torch.Tensor) -> None:
                bare_model.forward(clip.to(bare_model.device))

            def bare() -> None:
                for _ in batches_in_threads(forward, ready, extractor.workers):
                    pass

            def whole() -> None:
                writer = open_writer(planned)
                fill_units(extractor, writer, writer.pending())
                writer.commit({})

            @torch.inference_mode()
            def by_hand(save: Callable[[str, torch.Tensor], Iterable[torch.Tensor]]) -> None:
                target = folder / "saved"
                target.mkdir()
                for number, clip in enumerate(ready):
                    loaded.forward(clip.to(loaded.device))
                    for layer in layers:
                        for kind, values in enumerate(save(layer.name, kept.pop(layer.name))):
                            np.save(target / f"{layer.name}_{kind}_{number:05d}.npy", values.cpu().numpy())

            grid = planned.backbone.grid

            def pooled(layer: str, tokens: torch.Tensor) -> Iterable[torch.Tensor]:
                volume = tokens.unflatten(1, (grid.time, 2, grid.height // 2, 2, grid.width // 2))
                return tokens.mean(1), volume.mean((3, 5)).flatten(1)

            contenders: dict[str, Callable[[], None]] = {"bare": bare, "layerscout": whole}
            forward(ready[0])
            if not chosen.quick:
                contenders["hooks"] = lambda: by_hand(pooled)
                contenders["thingsvision_way"] = lambda: by_hand(lambda layer, tokens: (tokens,))
                with torch.inference_mode():
                    loaded.forward(ready[0].to(loaded.device))
            costs: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
            order = list(contenders)
            for _ in range(rounds):
                random.Random(len(costs["bare"])).shuffle(order)
                for name in order:
                    costs[name].append(spent(contenders[name], planned.rows, torch.device(chosen.device)))
                    for left in (folder / "saved", folder / "root"):  # untimed
                        shutil.rmtree(left, ignore_errors=True)
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "clips": planned.rows,
        "tokens_a_clip": grid.tokens,
        "batch": batch,
        "side_by_side": extractor.workers,
    }
    for kind, what in enumerate(("cpu", "wall")):
        figures[f"bare_{what}_seconds_a_clip"] = spread([cost[kind] for cost in costs["bare"]])
        for name in order:
            if name == "layerscout" or (name != "bare" and what == "wall"):
                ratios = [cost[kind] / alone[kind] - 1 for cost, alone in zip(costs[name], costs["bare"], strict=True)]
                figures[f"{name}_{what}_overhead_percent"] = spread([100 * ratio for ratio in ratios])
    bars = {"overhead_percent": 3.0}
    if not chosen.quick:
        figures |= memory()
        bars["peak_of_16n_over_n"] = 1.1
    counted = "wall" if on_gpu else "cpu"
    figures["overhead_percent"] = figures[f"layerscout_{counted}_overhead_percent"]["median"]
    harness.finish("extract_overhead", ("torch", "transformers", "numpy"), figures, chosen.json, at_most=bars)


def spent(work: Callable[[], None], rows: int, device: Any) -> tuple[float, float]:
    """CPU seconds and wall seconds a row."""
    import torch

    began, began_cpu = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.process_time() - began_cpu) / rows, (time.perf_counter() - began) / rows


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def memory() -> dict[str, float]:
    """Peak memory of a fresh process that extracts 16 n rows: until row n, and until the end."""
    with tempfile.TemporaryDirectory() as name:
        data = extract_world.dataset(Path(name) / "data.h5", TIMES * MEMORY_ROWS, (8, 8, 2), steps=4095)
        done = subprocess.run([sys.executable, __file__, "--measure", str(data), name], check=True, capture_output=True, text=True)
    begun, ended = json.loads(done.stdout)
    return {"rows_n": MEMORY_ROWS, "peak_n_megabytes": begun / 1e6, "peak_16n_megabytes": ended / 1e6, "peak_of_16n_over_n": ended / begun}


def measure(data: str, root: str) -> None:
    """Extract in this process and print its peak memory after n rows and at the end."""
    from layerscout.cache.dataset.trajectories import Trajectories
    from layerscout.extract.passes.fill import fill_units, open_writer
    from layerscout.extract.passes.work import Extractor
    from layerscout.extract.run import plan
    from layerscout.memory import peak_memory

    planned = plan(extract_world.settings("synthetic", Path(data), Path(root), "cpu", 64, pooling="all/mean"))
    peaks: list[int] = []
    rows = 0

    def heard(count: int) -> None:
        nonlocal rows
        rows += count
        if rows >= MEMORY_ROWS and not peaks:
            peaks.append(peak_memory())

    with Trajectories(data) as opened:
        writer = open_writer(planned)
        fill_units(Extractor(planned, opened), writer, writer.pending(), heard)
    writer.commit({})
    print(json.dumps([*peaks, peak_memory()]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2], sys.argv[3])
    else:
        main()
