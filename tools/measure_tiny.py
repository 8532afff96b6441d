"""The shipped weights in, the measured part of the model card out: what the embedded backbone learned, layer by layer.

    python -m tools.measure_tiny            # writes docs/models/tiny.json and docs/models/tiny.svg

Linear read-outs (ridge, penalty chosen inside the training episodes, five folds by episode) of the true state of
Intercept from every layer of the trained backbone, of its untrained twin, and from the raw pixels of the same clips.
The episodes have seeds that pretraining never used.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerscout.extract.backbones import tiny
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import pixel_features
from tools.videos import clips, play

SEED = 3  # pretraining drew its videos with seed 1, its held-out clips with seed 2
STATE = ("ball column", "ball row", "ball column speed", "ball row speed", "paddle column")
PENALTIES = np.logspace(0, 5, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--training", type=Path, default=Path("docs/models/tiny-training.json"))
    parser.add_argument("--out", type=Path, default=Path("docs/models"))
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    videos = play("layerscout/Intercept-v0", arguments.episodes, SEED)
    frames, places = clips(videos, tuple(range(1 - tiny.PAST, 1)), arguments.rows, np.random.default_rng(0))
    state = np.stack([videos[episode][1][step] for episode, step in places])  # type: ignore[index]
    readouts = {"pixels": read(pixel_features(torch.from_numpy(frames)).numpy(), state, places[:, 0])}
    for build in (tiny.pretrained, tiny.untrained):
        backbone = build(None, {})
        capture = Capture(backbone.load(torch.device("cpu")), backbone.layers, backbone.grid, backbone.default_pooling)
        parts = [capture(torch.from_numpy(frames[low : low + 128])) for low in range(0, len(frames), 128)]
        for layer in backbone.layers:
            features = torch.cat([part[layer.name] for part in parts]).numpy()
            readouts[f"{backbone.name} {layer.name}"] = read(features, state, places[:, 0])
            print(f"{backbone.name} {layer.name}", readouts[f"{backbone.name} {layer.name}"], flush=True)
    training = json.loads(arguments.training.read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    document = {"rows": len(frames), "episodes": arguments.episodes, "state": STATE, "readouts": readouts, "training": training}
    (arguments.out / "tiny.json").write_text(json.dumps(document, indent=1) + "\n")
    draw(document, arguments.out / "tiny.svg")


def read(features: np.ndarray, state: np.ndarray, episodes: np.ndarray) -> list[float]:
    """Out-of-fold R² of a ridge from features to each part of the state; no episode is in two folds."""
    predicted = np.empty_like(state)
    features = features.astype(np.float64)  # 1024 correlated features: single precision is not enough for the small penalties
    for train, test in GroupKFold(n_splits=5).split(features, groups=episodes):
        inner = list(GroupKFold(n_splits=3).split(features[train], groups=episodes[train]))
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, cv=inner))
        predicted[test] = model.fit(features[train], state[train]).predict(features[test])
    rest, total = np.square(state - predicted).sum(axis=0), np.square(state - state.mean(axis=0)).sum(axis=0)
    return [round(float(value), 3) for value in 1.0 - rest / total]


def draw(document: dict, path: Path) -> None:
    """Loss over steps, and read-outs of position and speed by depth."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    loss, position, speed = figure.subplots(1, 3)
    curve = document["training"]["curve"]
    held_out = document["training"]["held_out"]["layerscout/Intercept-v0"]
    loss.plot([point["step"] for point in curve], [point["loss"] for point in curve], label="training mixture", color="#7a7a7a")
    loss.plot(
        [point["step"] for point in curve], [point["held_out_intercept"] for point in curve], label="Intercept, held out", color="#0072b2"
    )
    loss.axhline(held_out["copy_last_frame"], color="#d55e00", linestyle="--", label="copying the last frame")
    loss.set(yscale="log", xlabel="training step", ylabel="squared error", title="Predicting the future frame")
    loss.legend(fontsize=8, frameon=False)
    for axes, part, title in ((position, 0, "Ball column"), (speed, 2, "Ball column speed")):
        for name, label, colour in (("tiny", "trained", "#0072b2"), ("tiny-untrained", "untrained", "#d55e00")):
            values = [document["readouts"][f"{name} blocks.{depth}"][part] for depth in range(tiny.BLOCKS)]
            axes.plot(range(tiny.BLOCKS), values, "o-", label=label, color=colour)
        axes.axhline(document["readouts"]["pixels"][part], color="#7a7a7a", linestyle=":", label="raw pixels")
        axes.set(xlabel="block", ylabel="linear read-out R²", title=title)
        axes.legend(fontsize=8, frameon=False)
    for axes in (loss, position, speed):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
