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
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerscout.extract.backbones import tiny
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import pixel_features
from layerscout.pages.charts import Level, Plot, Point, Series, as_drawing, draw_plot, tile
from layerscout.pages.palette import Look
from layerscout.pages.svg import file
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
    """Write the figure: loss over steps, and read-outs of position and speed by depth."""
    panels = [draw_plot(plot, 340, 220, title) for title, plot in plots(document).items()]
    best = max(document["readouts"][f"tiny blocks.{depth}"][2] for depth in range(tiny.BLOCKS))
    label = f"Loss over steps, and linear read-outs by block: of the ball's speed up to R² {best}, from raw pixels {document['readouts']['pixels'][2]}"
    path.write_text(file(as_drawing(tile(panels, 3), label)))


def plots(document: dict) -> dict[str, Plot]:
    """Return the three plots under their titles."""
    curve = document["training"]["curve"]
    copied = document["training"]["held_out"]["layerscout/Intercept-v0"]["copy_last_frame"]
    mixture = tuple(Point(point["step"], point["loss"]) for point in curve)
    held_out = tuple(Point(point["step"], point["held_out_intercept"]) for point in curve)
    values = [value for point in (*mixture, *held_out) if (value := point.value) is not None]
    found = {
        "Predicting the future frame": Plot(
            (
                Series("training mixture", Look("grey", "thick", ""), mixture),
                Series("Intercept, held out", Look("blue", "thick", ""), held_out),
            ),
            (Level("copying the last frame", Look("red", "dashed", ""), copied),),
            "training step",
            "squared error",
            y_range=(min(*values, copied) * 0.9, max(*values, copied) * 1.1),
            y_log=True,
        )
    }
    for title, part in (("Ball column", 0), ("Ball column speed", 2)):
        trained, untrained = (
            tuple(Point(depth, document["readouts"][f"{name} blocks.{depth}"][part]) for depth in range(tiny.BLOCKS))
            for name in ("tiny", "tiny-untrained")
        )
        found[title] = Plot(
            (Series("trained", Look("blue"), trained), Series("untrained", Look("red", "dashed", "square"), untrained)),
            (Level("raw pixels", Look("grey", "dotted", ""), document["readouts"]["pixels"][part]),),
            "block",
            "linear read-out R²",
            names={float(depth): str(depth) for depth in range(tiny.BLOCKS)},
        )
    return found


if __name__ == "__main__":
    main()
