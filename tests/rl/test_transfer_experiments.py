"""The comparisons that are checked in: each is read, teaches in another task than it is learned in, and plays its first few steps."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from layerscout.errors import MissingExtraError
from layerscout.extract.config import ExtractConfig
from layerscout.rl.transfer import run as transfer
from layerscout.rl.transfer.config import TransferConfig
from layerscout.settings import resolve
from layerscout.worlds.simulators import opengl

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
TINY = {"iterations": 3, "teacher_iterations": 1, "seeds": 1, "evaluation_episodes": 1, "instances": 4, "arms": ("baseline", "repaint")}
TASKS = {  # name: numbers of the state, package that is needed
    "repaint_intercept": (5, None),
    "repaint_grid": (4, None),
    "repaint_ant": (105, "mujoco"),
    "repaint_push": (39, "metaworld"),
}


def settings(name: str, out: Path, preset: str | None = "quick") -> TransferConfig:
    return resolve(TransferConfig, "transfer", file=EXPERIMENTS / f"{name}.toml", preset=preset, flags={"out": out})


def need(package: str | None) -> None:
    """Skip where the environment's package or an OpenGL library is not there."""
    if package is not None:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"runs when the extra [{package}] is installed")
        try:
            opengl.choose_library()
        except MissingExtraError as error:
            pytest.skip(f"runs where an OpenGL library can draw: {error.hint}")


@pytest.mark.parametrize("name", TASKS)
def test_a_teacher_is_trained_in_another_task_than_its_students(name: str, tmp_path: Path) -> None:
    whole, quick = settings(name, tmp_path, None), settings(name, tmp_path)
    assert whole.trains_a_teacher
    taught = (whole.teacher_environment or whole.environment, whole.teacher_options or {})
    assert taught != (whole.environment, whole.options)
    assert (quick.environment, quick.options, quick.teacher_options) == (whole.environment, whole.options, whole.teacher_options)
    assert quick.iterations * quick.seeds < whole.iterations * whole.seeds
    assert quick.ppo.lr == whole.ppo.lr, "a first look changes sizes alone"


@pytest.mark.parametrize("preset", [None, "quick"])
def test_eyes_are_a_layer_of_the_store_that_the_same_file_makes_and_the_teacher_one_of_slower_balls(preset: str | None) -> None:
    file = EXPERIMENTS / "repaint_eyes.toml"
    eyes, store, slow = (
        resolve(config, stage, file=path, preset=preset)
        for config, stage, path in (
            (TransferConfig, "transfer", file),
            (ExtractConfig, "extract", file),
            (TransferConfig, "transfer", EXPERIMENTS / "repaint_intercept.toml"),
        )
    )
    assert (eyes.store, eyes.root, eyes.environment) == (store.name, store.root, slow.environment)
    assert eyes.teachers == (slow.out / "trained" / "teacher.npz",)
    assert (eyes.teacher_sees, eyes.options, slow.options) == ("state", {}, {})
    assert set(eyes.arms) == {"baseline", "ks", "it", "repaint"}, "the baseline is the frozen layer alone"


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_it_plays_and_scores_its_teacher_on_the_students_task(name: str, tmp_path: Path) -> None:
    width, package = TASKS[name]
    need(package)
    config = settings(name, tmp_path)
    short = {"max_episode_steps": 10} if package else {}
    ppo = config.ppo.model_copy(update={"length": 6, "environments": 1, "batch": 6, "epochs": 1, "hidden": (4,)})
    config = config.model_copy(
        update=TINY | {"ppo": ppo, "options": config.options | short, "teacher_options": (config.teacher_options or {}) | short}
    )
    record = transfer.run(transfer.plan(config))
    assert record.width == width
    assert [arm.name for arm in record.arms] == ["baseline", "repaint"]
    assert record.teachers[0].training_steps == 6
    assert np.isfinite([arm.scores for arm in record.arms]).all()
    assert np.isfinite(np.array([record.teachers[0].score, record.teachers[0].sampled], np.float64)).all()
    assert str(config.teacher_options) in record.teachers[0].source
