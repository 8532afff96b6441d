"""``layerscout transfer``: on a state and on a layer, killed and continued, its page written, and what it refuses."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1] / "commands"))
from calling import call, refused

from layerscout.cache import records
from layerscout.cache.records.transfer import TransferRecord
from layerscout.errors import DataError
from layerscout.rl.transfer import plan as planning
from layerscout.rl.transfer import run as transfer
from layerscout.rl.transfer import students
from layerscout.rl.transfer.config import TransferConfig
from layerscout.rl.transfer.teacher_files import load_teacher

GRID, INTERCEPT, TWIN = "layerscout/Grid-v0", "layerscout/Intercept-v0", "layerscout.worlds.reacher:ReacherTwin"
PPO = {"length": 8, "environments": 2, "batch": 8, "epochs": 1, "hidden": [4]}


def settings(out: Path, **changes: Any) -> TransferConfig:
    values: dict[str, Any] = {
        "environment": GRID,
        "out": out,
        "iterations": 3,
        "seeds": 2,
        "evaluation_episodes": 2,
        "instances": 4,
        "threads": 1,
    }
    return TransferConfig.model_validate(values | {"teacher_iterations": 1, "ppo": PPO} | changes)


def made(config: TransferConfig) -> TransferRecord:
    return transfer.run(transfer.plan(config))


def without_times(record: TransferRecord) -> TransferRecord:
    return record.model_copy(update={"arms": tuple(arm.model_copy(update={"cpu_seconds": None}) for arm in record.arms)})


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TransferRecord]:
    """A teacher of another reward is trained in the grid, then students with all arms and one swept value."""
    out = tmp_path_factory.mktemp("grid")
    return out, made(settings(out, teacher_options={"goal_reward": 2.0}, sweep={"zeta": [50.0]}))


def test_all_arms_are_trained_and_counted_and_what_the_source_leaves_open_is_said(grid: tuple[Path, TransferRecord]) -> None:
    out, record = grid
    assert [arm.name for arm in record.arms] == ["baseline", "ks", "it", "repaint", "repaint, zeta 50"]
    assert [arm.steps[-1] for arm in record.arms] == [48, 48, 96, 64, 64]
    assert record.teachers[0].training_steps == 16
    assert record == records.load(TransferRecord, out / "transfer.json")
    assert "denominator = old): unverified in the source." in record.unverified[0]
    assert any("no step of the teacher was kept" in note for note in record.notes), "said, and kickstarting goes on"
    assert np.isfinite(record.arms[-1].matrix("scores")).all()


def test_students_are_teachers_for_others_and_more_arms_are_trained_beside_those_that_are_there(
    grid: tuple[Path, TransferRecord], tmp_path: Path
) -> None:
    out, record = grid
    student = out / "arms" / "repaint" / "student-1.npz"
    assert load_teacher(student).steps == 64
    first = settings(tmp_path, teachers=[student], arms=["ks"], options={"step_reward": -0.05}, target=0.5)
    made(first)
    more = made(first.model_copy(update={"arms": ("baseline", "ks")}))
    assert [arm.teacher for arm in more.arms] == [None, "student-1"]
    assert record.eyes == more.eyes == "the state"


def test_killed_and_continued_is_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: tuple[Path, TransferRecord]) -> None:
    student = grid[0] / "arms" / "ks" / "student-0.npz"
    whole = made(settings(tmp_path / "whole", teachers=[student], arms=["baseline", "repaint"]))
    saves, save = [], students.save_checkpoint

    def die(*arguments: Any) -> None:
        save(*arguments)
        saves.append(1)
        if len(saves) in (2, 5):
            raise KeyboardInterrupt

    broken = settings(tmp_path / "broken", teachers=[student], arms=["baseline", "repaint"])
    with monkeypatch.context() as patch:
        patch.setattr(students, "save_checkpoint", die)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                made(broken)
    assert without_times(made(broken)) == without_times(whole)


def test_a_teacher_that_is_replaced_while_it_is_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grid: tuple[Path, Any]
) -> None:
    file = tmp_path / "teacher.npz"
    shutil.copy(grid[0] / "arms" / "ks" / "student-0.npz", file)

    def replacing(path: Path, *arguments: Any) -> Any:
        found = load_teacher(path, *arguments)
        shutil.copy(grid[0] / "arms" / "it" / "student-1.npz", path)
        return found

    monkeypatch.setattr(planning, "load_teacher", replacing)
    with pytest.raises(DataError, match=f"teacher {file} was changed while it was read"):
        transfer.plan(settings(tmp_path / "out", teachers=[file], arms=["ks"]))


@pytest.mark.parametrize("sees", ["same", "state"])
def test_students_see_a_layer_and_a_teacher_the_same_or_the_state(tmp_path: Path, small: Any, tiny_store: Any, sees: str) -> None:
    where = {"environment": INTERCEPT, "store": tiny_store.id, "layer": "blocks.3", "root": small.root, "teacher_sees": sees}
    less = {"iterations": 3, "seeds": 1, "evaluation_episodes": 1, "arms": ["repaint"], "ppo": PPO | {"length": 4}}
    record = made(settings(tmp_path, **where, **less, teacher_options={"sideways": 1.2}, target=0.5))
    assert record.eyes.startswith("blocks.3 of tiny")
    assert record.width == tiny_store.specs["blocks.3"].width
    its = load_teacher(tmp_path / "trained" / "teacher.npz")
    assert its.layers[0][0].shape[0] == (5 if sees == "state" else record.width)
    assert its.sees == ("the state" if sees == "state" else record.eyes)
    assert load_teacher(tmp_path / "arms" / "repaint" / "student-0.npz").layers[0][0].shape[0] == record.width


def test_the_command_says_what_it_will_do_and_writes_its_page(tmp_path: Path, grid: tuple[Path, TransferRecord]) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        f"""[transfer]
environment = "{GRID}"
teachers = ["{grid[0] / "trained" / "teacher.npz"}"]
iterations = 3
seeds = 1
evaluation_episodes = 1
denominator = "teacher"
ppo = {{ length = 4, environments = 1, batch = 4, epochs = 1, hidden = [4] }}
"""
    )
    words = ("transfer", "--config", file, "--out", tmp_path / "out", "--arm", "baseline", "--arm", "repaint")
    planned = call(*words, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    assert '"denominator": "teacher"' in planned.stdout
    assert not (tmp_path / "out").exists()
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert f"next: layerscout report {tmp_path / 'out'}" in done.stdout
    page = call("report", tmp_path / "out")
    assert page.exit_code == 0, page.output
    assert "denominator = teacher" in (tmp_path / "out" / "transfer.html").read_text()


def test_bad_input_is_told_before_anything_is_trained(
    tmp_path: Path, grid: tuple[Path, TransferRecord], small: Any, synthetic_store: Any
) -> None:
    teacher, out = grid[0] / "trained" / "teacher.npz", ("--out", tmp_path / "none")
    refused(call("transfer", GRID, *out), 2, "the arm ks learns from a teacher, and there is none")
    refused(call("transfer", TWIN, "--teacher", teacher, *out), 2, "teacher teacher: the teacher sees 4 features and the student 10")
    hint = refused(call("transfer", INTERCEPT, "--set", "teacher_environment=layerscout/Grid-v0", *out), 2, "a state here has 4 numbers")
    assert "must see the same" in hint
    hint = refused(call("transfer", GRID, "--teacher", tmp_path / "no.npz", *out), 4, "there is no teacher")
    assert "student-N.npz of layerscout transfer" in hint
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(teacher.read_bytes()[:200])
    refused(call("transfer", GRID, "--teacher", damaged, *out), 4, "is damaged")
    refused(call("transfer", GRID, "--store", synthetic_store.id, *out), 2, "store and layer go together")
    where = ("--store", synthetic_store.id, "--root", small.root, "--teacher", teacher, *out)
    refused(call("transfer", GRID, *where, "--layer", "structured_mdi"), 2, "did you mean 'structured_mid'?")
    refused(call("transfer", INTERCEPT, *where, "--layer", "structured_mid"), 2, "was made from 'layerscout/Grid-v0'")
    refused(call("transfer", GRID, "--teacher", teacher, "--out", grid[0]), 2, "holds results of other settings: ")
    for name in ("a b", "a-b"):
        (tmp_path / f"{name}.npz").write_bytes(teacher.read_bytes())
    both = [word for name in ("a b", "a-b") for word in ("--teacher", tmp_path / f"{name}.npz")]
    refused(call("transfer", GRID, *both, *out), 2, "two arms would lie in one folder, ks-a-b")
    assert not (tmp_path / "none").exists()
