"""What a group's log holds, for people and for other programs, also after a kill; and the films of its policies."""

from __future__ import annotations

import json
import subprocess
import sys

import av
import numpy as np
import pytest
from by_hand import select, settings
from PIL import Image

from layerscout.cache import records
from layerscout.cache.records import RunRecord
from layerscout.errors import DataError
from layerscout.rl.loops.log import FILE, Log
from layerscout.rl.run import plan, run
from layerscout.rl.seeing import filming
from layerscout.rl.seeing.filming import film_runs, save_film
from layerscout.rl.seeing.rollouts import Stage
from layerscout.worlds.grid import Grid

NAMES = [("blocks.1", 0), ("blocks.1", 1), ("all layers/with slash", 0)]


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def test_a_line_an_evaluation_and_run(tmp_path):
    log = Log(NAMES, tmp_path)
    log.begin([])
    log.add(10, np.array([[1.0, 3.0], [0.0, 0.0], [-1.0, 1.0]]), np.array([0.5, np.nan, 0.25]))
    assert lines(tmp_path) == [
        {"arm": "blocks.1", "seed": 0, "at": 10, "episodes": 2, "return": 2.0, "loss": 0.5},
        {"arm": "blocks.1", "seed": 1, "at": 10, "episodes": 2, "return": 0.0},
        {"arm": "all layers/with slash", "seed": 0, "at": 10, "episodes": 2, "return": 0.0, "loss": 0.25},
    ]


def test_what_was_logged_after_the_last_checkpoint_does_not_stand_twice(tmp_path):
    made = [[10, [[1.0], [2.0], [3.0]]]]
    first = Log(NAMES, tmp_path)
    first.begin([])
    first.add(10, np.array(made[0][1]))
    first.add(20, np.zeros((3, 1)))  # then the process dies; the checkpoint knows of one evaluation
    again = Log(NAMES, tmp_path)
    again.begin(made)
    again.add(20, np.ones((3, 1)))
    assert [(line["at"], line["return"]) for line in lines(tmp_path)] == [(10, 1), (10, 2), (10, 3), (20, 1), (20, 1), (20, 1)]


def test_training_logs_what_the_record_says(tmp_path, small, synthetic_store):
    selection = select(tmp_path / "grid.json", ("ranked", synthetic_store, "structured_mid"))
    record = run(plan(settings(selection, tmp_path / "out", small.root, scratch=False, tensorboard=True, videos=1)))
    expected = {(one.arm, one.seed, at): float(np.mean(returns)) for one in record.runs for at, returns in one.evaluations}
    found = {(line["arm"], line["seed"], line["at"]): line["return"] for line in lines(tmp_path / "out" / "mlp-16")}
    assert found == pytest.approx(expected)
    for seed in (0, 1):
        curve = scalars(tmp_path / "out" / "mlp-16" / "tensorboard" / f"structured_mid {seed}", "return")
        assert dict(curve) == pytest.approx({at: value for (_, own, at), value in expected.items() if own == seed})
    (video,) = (tmp_path / "out" / "videos").iterdir()
    assert video.name == "structured_mid-0.mp4"
    assert records.load(RunRecord, tmp_path / "out" / "runs.json") == record


def scalars(folder, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_weights_and_biases_keeps_its_files_beside_the_results(tmp_path):
    """In a process of its own: its service outlives a run."""
    program = (
        "import sys, pathlib, numpy; from layerscout.rl.loops.log import Log\n"
        "log = Log([('a', 0), ('b', 0)], pathlib.Path(sys.argv[1]), wandb='offline', facts={'mode': 'online'})\n"
        "log.begin([]); log.add(10, numpy.array([[1.0], [2.0]])); log.close()"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, timeout=120)
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 2
    assert len(lines(tmp_path)) == 2


# --- films


class Counting:
    """An observer and agent that step through the grid: what is seen does not matter."""

    seeds = (0, 1)
    failed = np.zeros(2, bool)

    def start(self, which, frames): ...

    def push(self, which, frames): ...

    def observe(self, live):
        return np.zeros((2, 1), np.float32)

    def act(self, z):
        return np.full((2, 1), 4)


def stage(world):
    return Stage(2, world, lambda copies: Counting())


def test_a_film_shows_every_frame_from_the_first_to_the_last():
    pictures = film_runs(Counting(), stage(lambda copies: Grid(copies, "rgb")), [1])
    assert len(pictures) == 1
    assert pictures[0].dtype == np.uint8
    assert pictures[0].shape[-1] == 3
    assert 2 <= len(pictures[0]) <= 61, "an episode of the grid ends after 60 steps"


def test_a_world_of_planes_shows_its_pictures():
    (pictures,) = film_runs(Counting(), stage(lambda copies: Grid(copies, "planes")), [0])
    assert pictures.shape[-1] == 3


def test_frames_that_nobody_can_see_are_refused():
    class Planes:
        def frames(self):
            return np.zeros((2, 4, 4, 2), np.uint8)

    with pytest.raises(DataError, match="2 channels"):
        filming._note([[]], [0], np.ones(2, bool), Planes(), Planes().frames())


@pytest.mark.parametrize("with_av", [True, False])
def test_a_film_is_saved_whole(tmp_path, monkeypatch, with_av):
    pictures = np.random.default_rng(0).integers(0, 256, (7, 8, 10, 3), dtype=np.uint8)
    if not with_av:
        monkeypatch.setitem(sys.modules, "av", None)
    path = save_film(pictures, tmp_path / "videos" / "blocks.3-0")
    if with_av:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    else:
        with Image.open(path) as image:
            frames = [image.seek(number) or np.asarray(image.convert("RGB")) for number in range(image.n_frames)]
    assert path.name == ("blocks.3-0.mp4" if with_av else "blocks.3-0.gif")
    assert len(frames) == 7
    assert min(frames[0].shape[:2]) >= filming.SMALLEST_SIDE
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
