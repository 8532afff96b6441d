"""A dataset in, the per-row index columns of a store out: who, when, what was done, what came of it."""

from __future__ import annotations

import numpy as np

from layerscout.cache.trajectories import Trajectories
from layerscout.extract.clips import RowTable, padding_of


class RowIndex:
    """The index columns of a dataset's rows, made span by span."""

    def __init__(self, data: Trajectories) -> None:
        self.table = RowTable(data.lengths)
        self._data = data

    def columns(self, start: int, stop: int, offsets: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Columns of rows [start, stop); the last row of an episode has no action (-1) and no reward (NaN)."""
        count = stop - start
        columns = {
            "episode": np.empty(count, np.int32),
            "step": np.empty(count, np.int32),
            "action": np.full(count, -1, np.int32),
            "reward": np.full(count, np.nan, np.float32),
            "terminated": np.zeros(count, bool),
            "truncated": np.zeros(count, bool),
        }
        at = 0
        for number, first, after in self.table.spans(start, stop):
            episode = self._data.episode(number)
            steps = np.arange(first, after)
            acted = slice(at, at + min(after, len(episode.actions)) - first)
            source = slice(first, min(after, len(episode.actions)))
            columns["episode"][at : at + len(steps)] = number
            columns["step"][at : at + len(steps)] = steps
            columns["action"][acted] = episode.actions[source]
            if episode.rewards is not None:
                columns["reward"][acted] = episode.rewards[source]
            columns["terminated"][acted] = episode.terminated[source]
            columns["truncated"][acted] = episode.truncated[source]
            at += len(steps)
        return columns | {"padding": padding_of(columns["step"], offsets)}
