"""Numbers of episodes and layers in; a committed store of made-up layers out. What the probe's benchmarks share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.arrays import LayerSpec
from layerscout.cache.identity import SCHEMA
from layerscout.cache.store import Store
from layerscout.cache.writing.writer import StoreWriter

STEPS, ACTIONS, STATE = 200, 4, 16  # of an episode; of the world
MASSIVE, OFFSET = 3, 800.0  # features of thirty times the others' spread, and their mean, as transformers have


def index_and_state(episodes: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Index columns, and a state that the action pushes, [row, 16]; the reward is one of its features plus noise."""
    random = np.random.default_rng(0)
    push = random.standard_normal((ACTIONS, STATE))
    push -= push.mean(axis=0)
    actions = random.integers(0, ACTIONS, (episodes, STEPS))
    state = np.empty((episodes, STEPS + 1, STATE), np.float32)
    state[:, 0] = 0.3 * random.standard_normal((episodes, STATE))
    for step in range(STEPS):
        state[:, step + 1] = 0.9 * state[:, step] + 0.5 * push[actions[:, step]] + 0.3 * random.standard_normal((episodes, STATE))
    rows = episodes * (STEPS + 1)
    step = np.tile(np.arange(STEPS + 1), episodes)
    last = step == STEPS
    reward = state[:, :, 0].reshape(-1) + random.standard_normal(rows)
    index: dict[str, np.ndarray] = {
        "episode": np.repeat(np.arange(episodes), STEPS + 1).astype(np.int32),
        "step": step.astype(np.int32),
        "action": np.where(last, -1, np.pad(actions, ((0, 0), (0, 1))).reshape(-1)).astype(np.int32),
        "reward": np.where(last, np.nan, reward).astype(np.float32),
        "terminated": np.zeros(rows, bool),
        "truncated": last,
        "padding": np.zeros(rows, np.int16),
    }
    return index, state.reshape(rows, STATE)


def rows_of(state: np.ndarray, layer: int, width: int, unit: int) -> np.ndarray:
    """Some rows of a layer, float16: the state seen through a random non-linear map, under noise; a few features are massive."""
    mix = np.random.default_rng([1, layer]).standard_normal((STATE, width), dtype=np.float32)
    noise = np.random.default_rng([2, layer, unit]).standard_normal((len(state), width), dtype=np.float32)
    values = np.tanh(state @ mix / 2) + np.float32(0.3) * noise
    values[:, :MASSIVE] = 30 * values[:, :MASSIVE] + OFFSET
    return values.astype(np.float16)


def write_store(root: Path, episodes: int, layers: int, width: int) -> Store:
    """Write the layers as a store."""
    index, state = index_and_state(episodes)
    specs = [LayerSpec(f"blocks.{layer}", width, "float16", "layer", layer, f"blocks.{layer}") for layer in range(layers)]
    identity: dict[str, Any] = {
        "schema": SCHEMA,
        "backbone": {"name": "made up", "weights_digest": "benchmark"},
        "recipe": {"episodes": episodes, "width": width},
        "preprocessing": {"fingerprint": "benchmark"},
        "dataset": {"digest": f"benchmark-{episodes}"},
        "layers": [{"name": spec.name, "module": spec.module, "width": width, "role": spec.role} for spec in specs],
        "pooling": {"kind": "none"},
        "logical_dtype": "float16",
    }
    writer = StoreWriter.open(root, identity, specs, len(state))
    for unit in writer.pending():
        part = slice(*writer.span(unit))
        arrays = {spec.name: rows_of(state[part], layer, width, unit) for layer, spec in enumerate(specs)}
        writer.write_unit(unit, arrays, {name: values[part] for name, values in index.items()})
    return writer.commit({"command": "benchmarks"})
