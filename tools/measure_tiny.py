"""The shipped weights in, the measured part of the model card out: what an embedded backbone learned, layer by layer.

    python -m tools.measure_tiny            # writes docs/models/tiny.json and docs/models/tiny.svg
    python -m tools.measure_tiny tiny-2     # the same of tiny-2

Linear read-outs (ridge, penalty chosen inside the training episodes, five folds by episode) of the true state of
Intercept from every layer of the trained backbone, of its untrained twin, and from the raw pixels of the same clips.
The episodes have seeds that pretraining never used. Of a backbone from which worlds were kept, the same read-outs of
these worlds, beside those of ``tiny``, and how well each model predicts them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerscout.extract.backbones import tiny
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.passes.capture import Capture
from layerscout.extract.passes.pooling import pixel_features
from layerscout.pages.charts import Level, Plot, Point, Series, as_drawing, draw_plot, tile
from layerscout.pages.palette import Look
from layerscout.pages.svg import file
from tools.pretrain_tiny import INTERCEPT, OFFSETS, copying, squared
from tools.tiny_recipes import RECIPES
from tools.videos import clips, play

SEED = 3  # pretraining drew its videos with seed 1, its held-out clips with seed 2
BALL = ("ball column", "ball row", "ball column speed", "ball row speed")
STATES = {
    INTERCEPT: (*BALL, "paddle column"),
    "layerscout/Catch-v0": ("leaf column", "leaf row", "leaf column speed", "leaf row speed", "wind", "basket column"),
    "layerscout/TwoBalls-v0": (*(f"quick {part}" for part in BALL), *(f"slow {part}" for part in BALL), "paddle column"),
    "layerscout/Hunt-v0": ("hunter column", "hunter row", "prey column", "prey row", "prey column speed", "prey row speed"),
    "layerscout/Maze-v0": ("agent column", "agent row", "goal column", "goal row"),
    "layerscout/Keys-v0": ("agent column", "agent row", "key column", "key row", "door column", "door row", "key held"),
}
PENALTIES = np.logspace(0, 5, 6)


def main() -> None:
    arguments = parse()
    recipe = RECIPES[arguments.model]
    torch.set_num_threads(arguments.threads)
    models = (recipe.model, f"{recipe.model}-untrained")
    document: dict[str, Any] = {"rows": arguments.rows, "episodes": arguments.episodes, "state": STATES[INTERCEPT]}
    document["readouts"] = readouts(INTERCEPT, models, arguments.rows, arguments.episodes)
    if recipe.unseen:
        others = (*models, "tiny")
        document["unseen"] = {name: unseen(name, others, 2 * arguments.rows // 5, arguments.episodes // 2) for name in recipe.unseen}
    document["training"] = json.loads(arguments.training.read_text())
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{recipe.model}.json").write_text(json.dumps(document, indent=1) + "\n")
    draw(document, recipe.model, arguments.out / f"{recipe.model}.svg")


def readouts(name: str, models: Sequence[str], rows: int, episodes: int, blocks: int | None = None) -> dict[str, list[float | None]]:
    """R² of every part of an environment's state, from raw pixels and from every layer of the models, or ``blocks`` of them evenly spaced."""
    videos = play(name, episodes, SEED)
    frames, places = clips(videos, tuple(range(1 - tiny.PAST, 1)), rows, np.random.default_rng(0))
    state = np.stack([videos[episode][1][step] for episode, step in places])
    found = {"pixels": read(pixel_features(torch.from_numpy(frames)).numpy(), state, places[:, 0])}
    for model in models:
        backbone = find_backbone(model)
        spacing = len(backbone.layers) // (blocks or len(backbone.layers))
        layers = backbone.layers[spacing - 1 :: spacing]
        capture = Capture(backbone.load(torch.device("cpu")), layers, backbone.grid, backbone.default_pooling)
        parts = [capture(torch.from_numpy(frames[low : low + 128])) for low in range(0, len(frames), 128)]
        for layer in layers:
            features = torch.cat([part[layer.name] for part in parts]).numpy()
            found[f"{model} {layer.name}"] = read(features, state, places[:, 0])
            print(name, model, layer.name, found[f"{model} {layer.name}"], flush=True)
    return found


def unseen(name: str, models: Sequence[str], rows: int, episodes: int) -> dict[str, Any]:
    """An environment that no model here was trained on: the error of each model's predicted frame, and the read-outs of four blocks of each."""
    frames = clips(play(name, episodes, SEED), OFFSETS, 400, np.random.default_rng(0))[0]
    errors = {model: squared(find_backbone(model).load(torch.device("cpu")).module, frames) for model in models}
    return {
        "errors": errors | {"copy_last_frame": copying(frames)},
        "state": STATES[name],
        "readouts": readouts(name, models, rows, episodes, blocks=4),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=RECIPES, default="tiny")
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--training", type=Path, help="default: docs/models/MODEL-training.json")
    parser.add_argument("--out", type=Path, default=Path("docs/models"))
    arguments = parser.parse_args()
    arguments.training = arguments.training or Path(f"docs/models/{arguments.model}-training.json")
    return arguments


def read(features: np.ndarray, state: np.ndarray, episodes: np.ndarray) -> list[float | None]:
    """Out-of-fold R² of a ridge from features to each part of the state, None of one that does not vary; no episode is in two folds."""
    predicted = np.empty_like(state)
    features = features.astype(np.float64)  # 1024 correlated features: single precision is not enough for the small penalties
    for train, test in GroupKFold(n_splits=5).split(features, groups=episodes):
        inner = list(GroupKFold(n_splits=3).split(features[train], groups=episodes[train]))
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES, cv=inner))
        predicted[test] = model.fit(features[train], state[train]).predict(features[test])
    rest, total = np.square(state - predicted).sum(axis=0), np.square(state - state.mean(axis=0)).sum(axis=0)
    return [round(float(1.0 - left / whole), 3) if whole > 0 else None for left, whole in zip(rest, total, strict=True)]


def draw(document: dict, model: str, path: Path) -> None:
    """Write the figure: loss over steps, and read-outs of position and speed by depth."""
    panels = [draw_plot(plot, 340, 220, title) for title, plot in plots(document, model).items()]
    best = max(document["readouts"][f"{model} blocks.{depth}"][2] for depth in range(tiny.BLOCKS[model]))
    label = f"Loss over steps, and linear read-outs by block: of the ball's speed up to R² {best}, from raw pixels {document['readouts']['pixels'][2]}"
    path.write_text(file(as_drawing(tile(panels, 3), label)))


def plots(document: dict, model: str) -> dict[str, Plot]:
    """Return the three plots under their titles."""
    curve = document["training"]["curve"]
    copied = document["training"]["held_out"]["layerscout/Intercept-v0"]["copy_last_frame"]
    mixture = tuple(Point(point["step"], point["loss"]) for point in curve)
    held_out = tuple(Point(point["step"], point["held_out_intercept"]) for point in curve)
    strange = tuple(Point(point["step"], point["unseen"]) for point in curve if "unseen" in point)
    values = [value for point in (*mixture, *held_out, *strange) if (value := point.value) is not None]
    found = {
        "Predicting the future frame": Plot(
            (
                Series("training mixture", Look("grey", "thick", ""), mixture),
                Series("Intercept, held out", Look("blue", "thick", ""), held_out),
                *([Series("worlds never trained on", Look("green", "thick", ""), strange)] if strange else []),
            ),
            (Level("copying, Intercept" if strange else "copying the last frame", Look("red", "dashed", ""), copied),),
            "training step",
            "squared error",
            y_range=(min(*values, copied) * 0.9, max(*values, copied) * 1.1),
            y_log=True,
        )
    }
    for title, part in (("Ball column", 0), ("Ball column speed", 2)):
        trained, untrained = (
            tuple(Point(depth, document["readouts"][f"{name} blocks.{depth}"][part]) for depth in range(tiny.BLOCKS[model]))
            for name in (model, f"{model}-untrained")
        )
        found[title] = Plot(
            (Series("trained", Look("blue"), trained), Series("untrained", Look("red", "dashed", "square"), untrained)),
            (Level("raw pixels", Look("grey", "dotted", ""), document["readouts"]["pixels"][part]),),
            "block",
            "linear read-out R²",
            names={float(depth): str(depth) for depth in range(tiny.BLOCKS[model])},
        )
    return found


if __name__ == "__main__":
    main()
