"""Pictures of the service: an episode and its directions, places in several rankings, and frames of a dataset."""

from __future__ import annotations

import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerscout.errors import DataError
from layerscout.pages.svg import file
from layerscout.service.data import datasets
from layerscout.service.data.comparing import SideBySide
from layerscout.service.data.look import (
    LayerLook,
)
from layerscout.service.problems import HttpProblem
from layerscout.service.web.figures import COLOURS, MOST_DOTS, MOST_LINES, draw_components, draw_episode, draw_slopes

# --- figures


def look_of(**changes: Any) -> LayerLook:
    facts: dict[str, Any] = {
        "layer": "blocks.<0>",
        "episode": 3,
        "episodes": 8,
        "target": "reward",
        "targets": ("reward",),
        "steps": (0, 1, 2),
    }
    facts |= {"true": (0.0, 1.0, None), "predicted": (0.5, None, 0.25), "r2": 0.5, "rows": 4, "shares": (0.75, 0.125)}
    facts |= {"components": np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 1.0]]), "features": np.zeros((4, 1))}
    return LayerLook(**facts | {"columns": {"step": np.array([0.0, 1.0, 2.0, 3.0])}} | changes)


def hints(svg: str) -> list[str]:
    return re.findall(r"<title>([^<]*)</title>", svg)


def test_an_episode_is_drawn_where_it_is_known_and_says_its_figures() -> None:
    for width in (300.0, 1060.0):
        drawn = draw_episode(look_of(), 2, width)
        assert drawn.label == "reward over episode 3, true and read from blocks.<0>: R² 0.500 on this episode, at step 2"
        svg = file(drawn)
        assert "&lt;0&gt;" in svg
        told = [hint for hint in hints(svg) if hint.startswith("step ")]
        assert {"step 0: 0.500", "step 2: 0.250", "step 2"} <= set(told)
        assert "step 1: " not in " ".join(told) or "step 1: 1.000" in told
    empty = look_of(true=(None,) * 3, predicted=(None,) * 3, r2=None)
    assert "R² n/a" in draw_episode(empty, 0, 600.0).label
    file(draw_episode(empty, 0, 600.0))


@pytest.mark.parametrize(
    ("values", "fifths"),
    [
        (np.arange(100.0), 5),
        (np.repeat([0.0, 1.0], 50), 1),
        (np.full(100, 7.0), 1),
        (np.full(100, np.nan), 1),
        (np.concatenate([np.arange(50.0), np.full(50, np.nan)]), 5),
    ],
)
def test_rows_are_coloured_by_fifths_of_what_is_known(values: np.ndarray, fifths: int) -> None:
    points = np.random.default_rng(0).standard_normal((100, 2))
    drawn = draw_components(look_of(components=points, columns={"c": values}), "c", 600.0)
    svg = file(drawn)
    assert "nan" not in svg
    assert len({hint for hint in hints(svg) if hint.startswith("c ")}) == fifths <= len(COLOURS)
    assert "75%" in drawn.label


def test_a_dot_stands_for_every_row_up_to_so_many() -> None:
    for rows in (10, MOST_DOTS, 3 * MOST_DOTS):
        points = np.random.default_rng(0).standard_normal((rows, 2))
        drawn = draw_components(look_of(components=points, columns={"c": np.arange(float(rows))}), "c", 600.0)
        assert drawn.label.startswith(f"{min(rows, MOST_DOTS):,} rows of")


def beside(title: str, *names: str) -> Any:
    return SimpleNamespace(title=title, places={name: place for place, name in enumerate(names, 1)}, layers=dict.fromkeys(names))


def test_places_are_joined_and_those_that_change_are_thick() -> None:
    compared = SideBySide((beside("first", "a", "b", "c"), beside("<second>", "b", "a", "c", "d")), ())
    drawn = draw_slopes(compared, 800.0)
    assert drawn.label == "Places of 4 layers in 2 rankings. first: a first; <second>: b first"
    told = hints(file(drawn))
    assert list(dict.fromkeys(told))[1:] == ["a: place 1, 2", "b: place 2, 1", "c: place 3, 3", "d: place 4"]


@pytest.mark.parametrize(
    "rankings", [(beside("alone", "a"),), (beside("none"), beside("either")), (beside("one", *map(str, range(99))),) * 3]
)
def test_slopes_are_drawn_of_few_and_many(rankings: tuple[Any, ...]) -> None:
    compared = SideBySide(rankings, ())
    for width in (280.0, 1060.0):
        drawn = draw_slopes(compared, width)
        assert (drawn.width, f"Places of {min(len(compared.names), MOST_LINES)} layer" in drawn.label) == (width, True)
        assert drawn.height < 44 + 19 * 100 + 40
        file(drawn)


# --- frames as pictures


class Frames:
    """Trajectories of one frame, whatever is asked for."""

    frame = np.zeros((64, 64, 3), dtype=np.uint8)

    def __init__(self, path: str) -> None:
        self.lengths = [4, 0]

    def __enter__(self) -> Frames:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def frames(self, episode: int, start: int, stop: int) -> Any:
        if episode > 1:
            raise DataError("no such episode", "episodes 0 to 1")
        return self.frame[None]


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setattr("layerscout.cache.dataset.trajectories.Trajectories", Frames)
    known = datasets.Datasets(())
    (tmp_path / "d.h5").write_bytes(b"x")
    monkeypatch.setattr(known, "path", lambda digest: tmp_path / "d.h5" if digest == "here" else None)
    yield known
    datasets._picture.cache_clear()
    datasets._frames_of.cache_clear()


@pytest.mark.parametrize(
    ("shape", "size", "mode"),
    [
        ((64, 64, 3), (192, 192), "RGB"),
        ((84, 84, 1), (168, 168), "L"),
        ((10, 20, 3), (180, 90), "RGB"),
        ((96, 96, 3), (96, 96), "RGB"),
        ((512, 256, 3), (256, 512), "RGB"),
        ((300, 1024, 3), (512, 150), "RGB"),
    ],
)
def test_a_frame_is_a_picture_of_its_own_shape_small_ones_larger_and_large_ones_smaller(frames, monkeypatch, shape, size, mode) -> None:
    from PIL import Image

    shown = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    monkeypatch.setattr(Frames, "frame", shown)
    picture = Image.open(io.BytesIO(frames.picture("here", 0, 0)))
    assert (picture.size, picture.mode) == (size, mode)
    if max(shape[:2]) < 97:
        times = size[0] // shape[1]
        assert np.array_equal(np.asarray(picture).reshape(size[1], size[0], -1)[::times, ::times], shown)


def test_what_is_no_picture_or_not_there_is_told(frames, monkeypatch) -> None:
    assert frames.episodes("here") == [5, 1]
    assert frames.episodes("elsewhere") == []
    for digest, episode, words in (("elsewhere", 0, "not at hand"), ("here", 2, "no frame 7 of episode 2")):
        with pytest.raises(HttpProblem, match=words) as refused:
            frames.picture(digest, episode, 7)
        assert (refused.value.status, bool(refused.value.hint)) == (404, True)
    monkeypatch.setattr(Frames, "frame", np.zeros((8, 8, 4), dtype=np.uint8))
    with pytest.raises(HttpProblem, match="frames of 4 channels are no pictures"):
        frames.picture("here", 0, 0)
