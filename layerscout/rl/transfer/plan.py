"""TransferConfig in, a TransferPlan out: arms, teachers, steps, and whether they may begin; trains nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.file_state import FileState
from layerscout.cache.opening import open_store
from layerscout.errors import DataError, UsageError
from layerscout.extract.device import check_device
from layerscout.paths import expand
from layerscout.rl.differences import differing, elsewhere, kept_settings, told_differences
from layerscout.rl.kinds import require_same_kind
from layerscout.rl.transfer.config import BESIDE, ArmName, RepaintConfig, TransferConfig, transfer_key
from layerscout.rl.transfer.tasks import Eyes, TransferTask, layer_eyes, state_eyes, task_in
from layerscout.rl.transfer.teacher import Teacher
from layerscout.rl.transfer.teacher_files import load_teacher
from layerscout.showing import ShownPlan

TRAINED = "trained"  # name of the teacher that is trained first
KEY_NAME = "settings.key"  # in the folder of results: the key that they belong to


@dataclass(frozen=True)
class PlannedArm:
    """One arm: its settings, the name of its teacher, and the setting that differs, where one does."""

    name: str
    config: RepaintConfig
    teacher: str | None
    swept: str | None = None

    @property
    def folder(self) -> str:
        """The arm's name as a file system takes it."""
        return self.name.replace(", ", "-").replace(" ", "-")

    @property
    def steps(self) -> tuple[int, int]:
        """Environment steps of one student, and of its teacher's play."""
        own = self.config.ppo.length * self.config.ppo.environments
        return own * self.config.iterations, own * sum(self.config.alpha2_at(at) > 0 for at in range(self.config.iterations))


@dataclass(frozen=True)
class TransferPlan(ShownPlan):
    """What a comparison will do.

    Attributes
    ----------
    task, teacher_task
        Where students play; where a teacher is trained first, if one is.
    teachers
        Those that are there already, by name, as functions of the environment's own numbers.
    key
        Names everything that decides an arm's numbers.
    """

    config: TransferConfig
    task: TransferTask
    teacher_task: TransferTask | None
    teachers: dict[str, Teacher]
    arms: tuple[PlannedArm, ...]
    key: str

    @property
    def teacher_config(self) -> RepaintConfig:
        """Settings with which a teacher is trained: the students' own, one run."""
        return self.config.arm("baseline", iterations=self.config.teacher_iterations, seeds=1)

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Return arms, runs, steps, what students see, and what exists, for ``--dry-run``."""
        config = self.config
        training = config.ppo.length * config.ppo.environments * config.teacher_iterations if self.teacher_task else 0
        return {
            "stage": "transfer",
            "method": config.method,
            "students_see": self.task.sees,
            "teachers_see": self.task.teacher_sees,
            "features": self.task.width,
            "teachers": [*self.teachers, *([TRAINED] if self.teacher_task else [])],
            "arms": [arm.name for arm in self.arms],
            "seeds": config.seeds,
            "runs": len(self.arms) * config.seeds,
            "iterations": config.iterations,
            "student_steps": sum(arm.steps[0] for arm in self.arms) * config.seeds,
            "teacher_steps": sum(arm.steps[1] for arm in self.arms) * config.seeds,
            "teacher_training_steps": training,
            "denominator": config.denominator,
            "out": str(config.out),
            "exists": (config.out / "transfer.json").exists(),
        }


def plan(config: TransferConfig) -> TransferPlan:
    """Work out arms, teachers and steps; trains nothing.

    Raises
    ------
    UsageError
        An arm needs a teacher and there is none; a teacher is of another observation or other actions; ``out`` holds results of other
        settings or another kind of training; or the environment or an option is unknown.
    DataError
        A teacher's file is missing, damaged or pickled, or the store does not fit.
    """
    check_device(config.device)
    require_same_kind(config)
    eyes, teacher_eyes, store = _eyes(config)
    task = task_in(config.environment, config.options, eyes, teacher_eyes)
    read = [_read_teacher(expand(path), config) for path in config.teachers]
    teachers = dict(zip(_names(config.teachers), (teacher for teacher, _ in read), strict=True))
    for name, teacher in teachers.items():
        try:
            task.fitted(teacher)
        except UsageError as error:
            raise UsageError(f"teacher {name}: {error}", hint=error.hint) from None
    trained = _teacher_task(config, task, eyes if teacher_eyes is None else teacher_eyes)
    arms = _arms(config, [*teachers, *([TRAINED] if trained else [])])
    key = transfer_key(config, (*(digest for _, digest in read), *store))
    _require_same(config, key)
    return TransferPlan(config, task, trained, teachers, arms, key)


def _read_teacher(path: Path, config: TransferConfig) -> tuple[Teacher, str]:
    """Return a teacher and the digest of the very file that it was read from."""
    state = FileState.of(path) if path.exists() else None
    found, digest = load_teacher(path, config.teacher_activation), hashlib.sha256(path.read_bytes()).hexdigest()
    if FileState.of(path) != state:
        raise DataError(f"teacher {path} was changed while it was read", hint="run the same command again when nobody writes it")
    return found, digest


def _eyes(config: TransferConfig) -> tuple[Eyes, Eyes | None, tuple[str, ...]]:
    """Return what students see, what teachers see where that is something else, and the store's id."""
    if config.store is None or config.layer is None:
        return state_eyes(config.environment, config.options), None, ()
    store = open_store(config.root, config.store)
    where = {"device": config.device, "trust": config.trust, "threads": config.threads}
    eyes = layer_eyes(config.environment, config.options, store, config.layer, **where)  # type: ignore[arg-type]
    return eyes, state_eyes(config.environment, config.options) if config.teacher_sees == "state" else None, (store.id,)


def _teacher_task(config: TransferConfig, task: TransferTask, eyes: Eyes) -> TransferTask | None:
    if not config.trains_a_teacher:
        return None
    where = config.teacher_environment or config.environment
    found = task_in(where, config.teacher_options or {}, eyes)
    if (found.dimensions, found.actions) != (task.dimensions, task.actions):
        raise UsageError(
            f"{where} takes {_actions(found)} and {config.environment} {_actions(task)}", hint="teach in a task with the same actions"
        )
    return found


def _actions(task: TransferTask) -> str:
    return f"{task.dimensions} numbers" if task.dimensions else f"one of {task.actions} actions"


def _arms(config: TransferConfig, teachers: Sequence[str]) -> tuple[PlannedArm, ...]:
    """Return the baseline once, then every other arm with every teacher, then the swept ones."""
    learning: list[ArmName] = [arm for arm in config.arms if arm != "baseline"]
    if learning and not teachers:
        raise UsageError(
            f"the arm {learning[0]} learns from a teacher, and there is none",
            hint="--teacher FILE, or train one first: --set teacher_options={} with other options than the students'",
        )
    found = [PlannedArm("baseline", config.arm("baseline"), None)] if "baseline" in config.arms else []
    for teacher in teachers:
        after = f", {teacher}" if len(teachers) > 1 else ""
        found += [PlannedArm(f"{kind}{after}", config.arm(kind), teacher) for kind in learning]
        for name, value in config.swept if learning else ():
            kind = learning[-1]
            found.append(PlannedArm(f"{kind}{after}, {name} {value:g}", config.arm(kind, **{name: value}), teacher, name))
    names = [arm.name for arm in found]
    if len(set(names)) < len(names):
        raise UsageError("a value is swept twice", hint="name it once")
    folders = [arm.folder for arm in found]
    if len(set(folders)) < len(folders):
        twice = next(folder for folder in folders if folders.count(folder) > 1)
        raise UsageError(f"two arms would lie in one folder, {twice}", hint="a teacher is called as its file; rename one")
    return tuple(found)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the files' own names, with their folders where two are the same."""
    short = [path.stem for path in paths]
    if TRAINED not in short and len(set(short)) == len(short):
        return short
    long = [f"{path.parent.name}-{path.stem}" for path in paths]
    if len(set(long)) < len(long):
        raise UsageError("two teachers have the same name", hint="a teacher is called as its file; rename one")
    return long


def _require_same(config: TransferConfig, key: str) -> None:
    path = config.out / KEY_NAME
    if path.is_file() and path.read_text(encoding="utf-8").strip() != key:
        before = kept_settings(config.out, TransferConfig)
        names = [] if before is None else differing(before, config, BESIDE)
        told = (
            told_differences(before, config, names) if before is not None and names else "other teachers, or another version of layerscout"
        )
        hint = f"keep them, and train elsewhere: {elsewhere('transfer', config)}"
        raise UsageError(f"{config.out} holds results of other settings: {told}", hint=hint)
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is no file", hint="give another --out")
