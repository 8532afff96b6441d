"""A dataset in, the command that looks at it with a model that comes with the package and can out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.errors import LayerscoutError, shell


def looking_command(data: Path, frame_shape: Sequence[int] | None = None) -> str:
    """Return ``layerscout extract MODEL DATA``: ``tiny`` sees pictures of three colours, ``synthetic`` anything.

    Parameters
    ----------
    frame_shape
        Height, width and channels; None reads them from the file, and takes one that cannot be read for pictures.
    """
    if frame_shape is None:
        with suppress(LayerscoutError), Trajectories(data) as opened:
            frame_shape = opened.frame_shape
    return shell("extract", "tiny" if frame_shape is None or frame_shape[-1] == 3 else "synthetic", data)
