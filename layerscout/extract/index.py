"""A dataset in, the per-row index columns of a store out: who, when, what was done, what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Shaped

from layerscout.cache.arrays import ColumnSpec
from layerscout.cache.dataset.episodes import Episode
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.layout import STANDARD_COLUMNS
from layerscout.extract.clips import ClipTable, padding_of

# what a row has where the dataset says nothing
NONE = {"int32": -1, "int64": np.iinfo(np.int64).min, "float32": np.nan, "float64": np.nan, "bool": False, "int16": 0}


class RowIndex:
    """The index columns of a dataset's rows, made span by span."""

    def __init__(self, data: Trajectories) -> None:
        self.table = ClipTable(data.lengths)
        self._data = data

    def specs(self) -> tuple[ColumnSpec, ...]:
        """Return the columns: the standard seven, then ``state`` and every extra field that the dataset has."""
        data = self._data
        action = ColumnSpec("action", "float32", data.action_dimensions) if data.action_dimensions else ColumnSpec("action", "int32")
        state = (ColumnSpec("state", data.types["state"], data.state_width),) if data.has_state else ()
        extra = (ColumnSpec(name, data.types[name], width) for name, (width, _) in data.extra.items())
        return (*(action if column.name == "action" else column for column in STANDARD_COLUMNS), *state, *extra)

    def columns(self, start: int, stop: int, offsets: tuple[int, ...]) -> dict[str, Shaped[np.ndarray, "row ..."]]:
        """Columns of rows [start, stop).

        The last row of an episode has no action (-1, or NaN when actions are continuous), no reward (NaN) and no other
        value that belongs to a step (NaN). What the dataset lacks is lacking in every row.
        """
        count = stop - start
        columns = {spec.name: np.full((count, *_inner(spec)), NONE[spec.dtype], spec.dtype) for spec in self.specs()}
        at = 0
        for number, first, after in self.table.spans(start, stop):
            episode = self._data.episode(number)
            rows = slice(at, at + after - first)
            columns["episode"][rows] = number
            columns["step"][rows] = np.arange(first, after)
            for name, values in _values(episode).items():
                end = min(after, len(values))  # the last row has no value of a step
                columns[name][at : at + end - first] = values[first:end]
            at = rows.stop
        return columns | {"padding": padding_of(columns["step"], offsets)}


def unusual(columns: Iterable[ColumnSpec]) -> dict[str, list[list[Any]]]:
    """Return what a store's identity says of its columns: nothing when they are the standard ones, so that those stores keep their ids."""
    odd = [[column.name, column.dtype, column.width] for column in columns if column not in STANDARD_COLUMNS]
    return {"columns": odd} if odd else {}


def _inner(spec: ColumnSpec) -> tuple[int, ...]:
    return () if spec.width is None else (spec.width,)


def _values(episode: Episode) -> dict[str, Shaped[np.ndarray, "row ..."]]:
    """What an episode tells of its rows, by the column's name; one value a frame, or one a step."""
    named = {
        "action": episode.actions,
        "reward": episode.rewards,
        "terminated": episode.terminated,
        "truncated": episode.truncated,
        "state": episode.state,
    }
    return {name: values for name, values in (named | dict(episode.extra)).items() if values is not None}
