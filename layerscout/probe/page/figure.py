"""A ranking in; the figure of scores by depth with their parts out, in files: SVG for papers, PNG for slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import Ranking
from layerscout.pages.ranking import draw_file
from layerscout.pages.raster import png
from layerscout.pages.svg import file
from layerscout.probe.page.wording import formula

WIDTH = 1000.0  # pixels


def write_ranking_figures(ranking: Ranking, paths: Sequence[Path]) -> None:
    """Draw the figure once and write it in the format of each path's suffix, ``.svg`` or ``.png``."""
    drawing = draw_file(ranking, WIDTH, formula(ranking))
    for path in paths:
        write_atomic(path, png(drawing) if path.suffix == ".png" else file(drawing).encode())
