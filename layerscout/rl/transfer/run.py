"""A TransferPlan in, a TransferRecord and the students' policies out: a teacher first where one is to be trained, then arm by arm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.cache.records.making import save_command
from layerscout.cache.records.transfer import TRANSFER_NAME, TransferArm, TransferRecord, TransferTeacher
from layerscout.errors import DataError
from layerscout.extract.device import cores, torch_threads
from layerscout.progress import SILENT, Reporter
from layerscout.report.numbers.savings import SHARES, share_range
from layerscout.rl.agents.ppo import PPO
from layerscout.rl.generators import run_generators
from layerscout.rl.transfer.config import TransferConfig
from layerscout.rl.transfer.plan import KEY_NAME, TRAINED, PlannedArm, TransferPlan, plan
from layerscout.rl.transfer.students import TEACHING, ArmCurves, train_arm
from layerscout.rl.transfer.tasks import TransferTask
from layerscout.rl.transfer.teacher import Teacher, read_own_file
from layerscout.showing import counted

__all__ = ["TransferPlan", "plan", "run"]

ARM_NAME, CHECKPOINT_NAME, TEACHER_NAME = "result.json", "checkpoint.npz", "teacher.npz"
SAYS_NOT = "The text at hand of the paper (Tao et al. 2021) names eq. 4.2 and does not print it"


def run(plan: TransferPlan, reporter: Reporter = SILENT) -> TransferRecord:
    """Train every arm that is not finished, then write transfer.json; the same call continues after a kill."""
    config = plan.config
    config.out.mkdir(parents=True, exist_ok=True)
    write_atomic(config.out / KEY_NAME, plan.key.encode())
    records.save_settings(config, config.out / "settings.json")
    save_command("transfer", config, config.out)
    with torch_threads(cores(config.threads)):
        teachers = dict(plan.teachers)
        if plan.teacher_task is not None:
            teachers[TRAINED] = _trained_teacher(plan, plan.teacher_task, reporter)
        arms = [_complete(arm, plan, teachers, reporter) for arm in plan.arms]
        teacher_records = tuple(_teacher_record(name, teacher, plan) for name, teacher in teachers.items())
    record = TransferRecord(
        environment=config.environment,
        options=config.options,
        eyes=plan.task.sees,
        width=plan.task.width,
        seeds=config.seeds,
        iterations=config.iterations,
        target=config.target,
        stricter=config.stricter,
        unverified=unverified(config),
        notes=tuple(note for arm in arms for note in notes_of(arm)),
        teachers=teacher_records,
        arms=tuple(arms),
    )
    records.save(record, config.out / TRANSFER_NAME)
    for note in (*record.notes, *record.unverified):
        reporter.say(note)
    return record


def unverified(config: TransferConfig) -> tuple[str, ...]:
    """Say what the sources of the method leave open, and how it was chosen."""
    below = "the student's own density before the update" if config.denominator == "old" else "the teacher's density"
    return (
        f"{SAYS_NOT}; the ratio of L_ins was divided by {below} (denominator = {config.denominator}): unverified in the source.",
        "The paper's values of beta, zeta and of their schedules are not in the text at hand; those of this run are in settings.json: unverified in the source.",
    )


def notes_of(arm: TransferArm) -> tuple[str, ...]:
    """Say what a reader should know of an arm's filter and of its failed runs."""
    found = [f"{arm.name}: seed {seed} stopped learning: {reason}" for seed, reason in sorted(arm.reasons.items())]
    if (shares := share_range(arm, "kept")) is not None:
        nothing = sum(row is not None and max(row) == 0.0 for row in arm.kept)
        if nothing:
            found.append(
                f"{arm.name}: in {counted(nothing, 'iteration')} no step of the teacher was kept, and nothing was learned from its steps"
            )
        elif not SHARES[0] <= shares[0] <= shares[1] <= SHARES[1]:
            wide = f"{100 * shares[0]:.0f} % to {100 * shares[1]:.0f} %"
            found.append(f"{arm.name}: between {wide} of the teacher's steps were kept in an iteration; 5 % to 50 % is a filter")
    return tuple(found)


def _trained_teacher(plan: TransferPlan, task: TransferTask, reporter: Reporter) -> Teacher:
    """Train a teacher in its own task, or read the one that was."""
    folder, config = plan.config.out / TRAINED, plan.teacher_config
    path = folder / TEACHER_NAME
    if path.is_file():
        return read_own_file(path)
    folder.mkdir(exist_ok=True)
    with reporter.task(f"train a teacher ({config.iterations} iterations)", config.iterations, "iterations") as task_shown:
        agent, curves = train_arm(config, task, None, folder / CHECKPOINT_NAME, task_shown)
    if curves.reasons:
        raise DataError(f"the teacher stopped learning: {curves.reasons[0]}", hint="a smaller --set ppo.lr, or other teacher_options")
    teacher = task.freed(Teacher.of(agent, 0, sum(curves.student_steps)))
    teacher.save(path)
    (folder / CHECKPOINT_NAME).unlink(missing_ok=True)
    return teacher


def _complete(arm: PlannedArm, plan: TransferPlan, teachers: dict[str, Teacher], reporter: Reporter) -> TransferArm:
    """Return an arm's result, trained now or earlier."""
    folder = plan.config.out / "arms" / arm.folder
    path = folder / ARM_NAME
    if path.is_file():
        return records.load(TransferArm, path)
    folder.mkdir(parents=True, exist_ok=True)
    with reporter.task(f"train {arm.name} ({arm.config.seeds} seeds)", arm.config.iterations, "iterations") as shown:
        agent, curves = train_arm(arm.config, plan.task, teachers.get(arm.teacher or ""), folder / CHECKPOINT_NAME, shown)
    _save_policies(agent, curves, plan.task, folder)
    found = curves.record(arm.config, arm.name, arm.teacher, arm.swept)
    records.save(found, path)
    (folder / CHECKPOINT_NAME).unlink(missing_ok=True)
    return found


def _save_policies(agent: PPO, curves: ArmCurves, task: TransferTask, folder: Path) -> None:
    """Keep every student as a teacher for others; the steps of its own teacher's play count as its own."""
    steps = sum(curves.student_steps) + sum(curves.teacher_steps)
    for run, seed in enumerate(agent.seeds):
        if run not in curves.reasons:
            task.freed(Teacher.of(agent, run, steps)).save(folder / f"student-{seed}.npz")


def _teacher_record(name: str, teacher: Teacher, plan: TransferPlan) -> TransferTeacher:
    """Score a teacher on the students' task, by its likeliest actions and as it plays."""
    episodes, fitted, stage = plan.config.evaluation_episodes, plan.task.fitted(teacher), plan.task.stage(1)
    generators = run_generators([0], TEACHING)

    def playing(z: np.ndarray) -> np.ndarray:
        action = fitted.draw(z, generators)
        return action.clip(-1.0, 1.0) if fitted.continuous else action

    return TransferTeacher(
        name=name,
        source=_source(name, plan),
        score=float(stage.evaluate(fitted.act, episodes).mean()),
        sampled=float(stage.evaluate(playing, episodes).mean()),
        training_steps=teacher.steps,
    )


def _source(name: str, plan: TransferPlan) -> str:
    config = plan.config
    if name != TRAINED:
        return str(config.teachers[list(plan.teachers).index(name)])
    return f"trained in {config.teacher_environment or config.environment} with {config.teacher_options or {}}"
