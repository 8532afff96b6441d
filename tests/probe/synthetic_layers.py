"""Small worlds with known answers, and a store that lives in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np

from layerscout.cache.layout import LayerSpec
from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence, measure
from layerscout.probe.moments.moments import accumulate
from layerscout.probe.questions.splits import Split, split_episodes
from layerscout.probe.questions.targets import Transitions, find_transitions


@dataclass(frozen=True, eq=False)
class MemoryReader:
    array: np.ndarray
    chunk_rows: int = 100

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.array[start:stop]

    def chunks(self) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, len(self.array), self.chunk_rows):
            yield start, self.array[start : start + self.chunk_rows]


@dataclass(frozen=True, eq=False)
class MemoryStore:
    """Duck type of ``cache.store.Store``; ``reads`` counts which layers were opened."""

    id: str
    columns: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]
    controls: tuple[str, ...] = ()
    dataset: str = "sha256:" + "d" * 64
    reads: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.columns["episode"])

    @property
    def manifest(self) -> SimpleNamespace:
        """Its digest tells apart what was put in at first; in a test, arrays may change afterwards."""
        return SimpleNamespace(digest=f"of {self.id}", provenance={})

    @property
    def identity(self) -> dict:
        return {"backbone": {"name": "synthetic", "weights_digest": "sha256:0"}, "dataset": {"digest": self.dataset}}

    @property
    def specs(self) -> dict[str, LayerSpec]:
        names = [name for name in self.arrays if name not in self.controls]
        found = {}
        for name, array in self.arrays.items():
            role, depth = ("control", -1) if name in self.controls else ("layer", names.index(name))
            found[name] = LayerSpec(name, array.shape[1], str(array.dtype), role, depth, name)
        return found

    def index(self, column: str) -> np.ndarray:
        return self.columns[column]

    def layer(self, name: str) -> MemoryReader:
        self.reads.append(name)
        return MemoryReader(self.arrays[name])


def columns_of(lengths: list[int], rng: np.random.Generator, actions: int = 3) -> dict[str, np.ndarray]:
    """Index columns of episodes of ``lengths`` steps: a row for every frame, with random actions and rewards."""
    episode = np.repeat(np.arange(len(lengths)), np.array(lengths) + 1).astype(np.int32)
    step = np.concatenate([np.arange(length + 1) for length in lengths]).astype(np.int32)
    last = step == np.array(lengths)[episode]
    action = np.where(last, -1, rng.integers(0, actions, len(episode))).astype(np.int32)
    reward = np.where(last, np.nan, rng.standard_normal(len(episode))).astype(np.float32)
    return {"episode": episode, "step": step, "action": action, "reward": reward}


def controllable_state(columns: dict[str, np.ndarray], width: int, rng: np.random.Generator, memory: float = 0.9) -> np.ndarray:
    """A linear state that the action pushes: the layer one would like to find."""
    push = rng.standard_normal((int(columns["action"].max()) + 1, width))
    push -= push.mean(axis=0)  # random actions push nowhere on average, so that time alone tells nothing
    state = np.zeros((len(columns["episode"]), width))
    for row, step in enumerate(columns["step"]):
        noise = 0.3 * rng.standard_normal(width)
        state[row] = noise if step == 0 else memory * state[row - 1] + 0.5 * push[columns["action"][row - 1]] + noise
    return state


def with_reward(columns: dict[str, np.ndarray], reward: np.ndarray) -> dict[str, np.ndarray]:
    """Replace the rewards; the last row of an episode keeps none."""
    return columns | {"reward": np.where(columns["action"] < 0, np.nan, reward).astype(np.float32)}


def prepare(columns: dict[str, np.ndarray], config: ProbeConfig) -> tuple[Transitions, Split]:
    transitions = find_transitions(columns, config)
    return transitions, split_episodes(transitions.lengths, config.groups, config.folds, config.confirmation)


def probe(layer: np.ndarray, columns: dict[str, np.ndarray], chunk_rows: int = 100, **settings: object) -> LayerEvidence:
    """Measure one layer held in memory."""
    config = ProbeConfig(store="memory", **settings)
    transitions, split = prepare(columns, config)
    reader = MemoryReader(layer, chunk_rows)
    moments = accumulate("z", reader, transitions, split, config.precision)
    return measure("z", "layer", 0, moments, transitions, split, config, reader=reader)


def rows_of(layer: np.ndarray, columns: dict[str, np.ndarray], config: ProbeConfig) -> SimpleNamespace:
    """The problem of the episodes that rank as plain matrices, for oracles: [z, a], z', scalars, group and fold of each row."""
    transitions, split = prepare(columns, config)
    z = layer.astype(np.float64)
    group = split.group_of_episode[transitions.episode]
    ranks = split.fold_of_group[group] >= 0
    group, row, inputs = group[ranks], transitions.row[ranks], transitions.inputs[ranks]
    now, after = z[row], z[row + 1]
    return SimpleNamespace(
        now=now,
        inputs=np.hstack([now, inputs]),
        after=after,
        scalars=transitions.scalars[ranks],
        group=group,
        fold=split.fold_of_group[group],
    )
