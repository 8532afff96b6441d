"""An arm, a task and a teacher in, the arm's curves and budget out: students of all seeds side by side, killable after any iteration."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.records.transfer import TransferArm
from layerscout.errors import UsageError
from layerscout.progress import Task
from layerscout.rl.agents.ppo import PPO, ActorCritic, heads, playable
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.loops.learning import EXPLORING
from layerscout.rl.loops.on_policy import ENVIRONMENT, game_seeds, play_step, value_ahead
from layerscout.rl.memory.rollout import Rollout, RolloutBuffer
from layerscout.rl.networks.parts import FirstFeatures
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.rollouts import Stage
from layerscout.rl.transfer.config import RepaintConfig
from layerscout.rl.transfer.repaint import Lesson, Repaint
from layerscout.rl.transfer.tasks import TransferTask
from layerscout.rl.transfer.teacher import Teacher
from layerscout.worlds.core import World

CURVES = ("untrained", "scores", "sampled", "kept", "effective", "student_steps", "teacher_steps", "reasons")
TEACHING = 6  # purpose of the random stream from which the teacher's actions are drawn


@dataclass
class ArmCurves:
    """What an arm's students did, iteration by iteration; one figure a seed.

    Attributes
    ----------
    untrained
        Mean return of the evaluation episodes before the first iteration.
    scores, sampled
        Mean return of the evaluation episodes, played greedily; and of the training episodes that ended, None where none did.
    kept, effective
        Share of the teacher's steps that were kept, and the effective share of their ratios; None where the teacher did not play.
    student_steps, teacher_steps
        Environment steps of one run in that iteration.
    teacher_training_steps
        Environment steps that made the teacher, which all its students share; None: unknown.
    reasons
        Why runs stopped learning, by run.
    seconds
        Processor seconds, of all processes that worked on the arm.
    """

    untrained: list[float] = field(default_factory=list)
    scores: list[list[float]] = field(default_factory=list)
    sampled: list[list[float | None]] = field(default_factory=list)
    kept: list[list[float] | None] = field(default_factory=list)
    effective: list[list[float] | None] = field(default_factory=list)
    student_steps: list[int] = field(default_factory=list)
    teacher_steps: list[int] = field(default_factory=list)
    teacher_training_steps: int | None = None
    reasons: dict[int, str] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)

    def record(self, arm: RepaintConfig, name: str, teacher: str | None = None, swept: str | None = None) -> TransferArm:
        """The arm's record: settings without those of the whole comparison, curves, and CPU seconds to two decimals."""
        settings = arm.model_dump(mode="json", exclude={"arm", "seeds", "iterations"})
        return TransferArm.model_validate(
            {"name": name, "kind": arm.arm, "teacher": teacher, "swept": swept, "settings": settings, "cpu_seconds": round(self.seconds, 2)}
            | {name: getattr(self, name) for name in CURVES}
        )


class Classroom:
    """The games of an arm's students, and those that its teacher plays for them."""

    def __init__(self, arm: RepaintConfig, task: TransferTask, agent: Repaint, worlds: Sequence[World]) -> None:
        count, runs = agent.config.environments, len(agent.seeds)
        self.agent, self.arm = agent, arm
        copies = np.repeat(np.arange(runs), count)
        elsewhere = [seed + (count << ENVIRONMENT) for seed in game_seeds(agent.seeds, count)]  # not the student's own episodes
        self.games = Games(worlds[0], task.make_observer(copies), game_seeds(agent.seeds, count))
        self.taught = Games(worlds[1], task.make_observer(copies), elsewhere) if len(worlds) > 1 else None
        shape = (task.width + task.extra,)
        self._buffer, self._taught_buffer = (
            RolloutBuffer(runs, count, agent.config.length, shape, action_dimensions=task.dimensions) for _ in range(2)
        )
        self.exploring, self.teaching = run_generators(agent.seeds, EXPLORING), run_generators(agent.seeds, TEACHING)

    def play(self) -> Rollout:
        """Let the students play until their buffer is full, and return what they played."""
        while not self._buffer.full:
            play_step(self.agent, self.games, self._buffer, self.exploring)
        return self._buffer.take(self._seen(self.games))

    def demonstrate(self) -> Rollout:
        """Let the teacher play as many steps, with the rewards of the students' task."""
        games, teacher, runs = self.taught, self.agent.teacher, len(self.agent.seeds)
        assert games is not None and teacher is not None, "this arm has a teacher that plays"  # noqa: PT018
        while not self._taught_buffer.full:
            before = self._seen(games)
            actions = teacher.draw(before, self.teaching)
            outcome, after = games.step(playable(actions).reshape(-1, *actions.shape[2:]))
            reward, terminated, truncated = (column.reshape(runs, -1) for column in outcome)
            ahead = value_ahead(self.agent, after, truncated)
            self._taught_buffer.add(before, actions, reward, terminated, truncated, ahead)
        return self._taught_buffer.take(self._seen(games))

    def state_dict(self) -> dict[str, Any]:
        """Return what continues the games of students and teacher between two iterations."""
        state = {"games": self.games.state_dict(), "taught": None if self.taught is None else self.taught.state_dict()}
        return state | {"exploring": generator_states(self.exploring), "teaching": generator_states(self.teaching)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back the state that ``state_dict`` gave: the games, and the generators of what is drawn."""
        self.games.load_state_dict(state["games"])
        if self.taught is not None:
            self.taught.load_state_dict(state["taught"])
        restore_generators(self.exploring, state["exploring"])
        restore_generators(self.teaching, state["teaching"])

    def _seen(self, games: Games) -> np.ndarray:
        return games.seen.reshape(len(self.agent.seeds), -1, *games.seen.shape[1:])


def train_arm(
    arm: RepaintConfig, task: TransferTask, teacher: Teacher | None = None, saved: Path | None = None, progress: Task | None = None
) -> tuple[PPO, ArmCurves]:
    """Train the students of one arm; with ``saved`` the same call continues after a kill.

    Raises
    ------
    UsageError
        The arm needs a teacher and there is none, or the teacher is of another observation or other actions.
    DataError
        ``saved`` is damaged or of other settings.
    """
    agent = _agent(arm, task, teacher)
    curves, stage = ArmCurves(teacher_training_steps=None if teacher is None else teacher.steps), task.stage(arm.seeds)
    copies, key = arm.seeds * arm.ppo.environments, arm.model_dump_json()
    with ExitStack() as open_worlds:
        worlds = [open_worlds.enter_context(closing(task.make_world(copies))) for _ in range(2 if arm.instructs else 1)]
        room = Classroom(arm, task, agent, worlds)
        if saved is not None and (state := load_checkpoint(saved, key)) is not None:
            agent.load_state_dict(state["agent"])
            room.load_state_dict(state["room"])
            curves = ArmCurves(**{**state["curves"], "reasons": agent.reasons})
        if not curves.untrained:
            curves.untrained = stage.evaluate(agent.act, arm.evaluation_episodes).mean(axis=1).tolist()
        for iteration in range(len(curves.scores), arm.iterations):
            began = time.process_time()
            _iterate(iteration, room, stage, curves)
            curves.seconds += time.process_time() - began
            if saved is not None:
                save_checkpoint(
                    saved, key, {"agent": agent.state_dict(), "room": room.state_dict(), "curves": vars(curves) | {"reasons": {}}}
                )
            if progress is not None:
                progress.advance(1, score=f"{np.mean(curves.scores[-1]):+.2f}")
    return agent, curves


def _agent(arm: RepaintConfig, task: TransferTask, teacher: Teacher | None) -> Repaint:
    needs = arm.kicks or arm.instructs
    if needs and teacher is None:
        raise UsageError(f"the arm {arm.arm} learns from a teacher, and there is none", hint="give a teacher, or take the arm baseline")
    fitted = task.fitted(teacher) if needs and teacher is not None else None
    return Repaint(arm, partial(_network, arm, task), range(arm.seeds), fitted)


def _network(arm: RepaintConfig, task: TransferTask, seeds: Sequence[int]) -> ActorCritic:
    """Return policies and values of what students see, whatever teachers see beside it."""
    found = heads(arm.ppo, task.width, task.dimensions, task.actions, "mlp", None, None, seeds)
    if task.extra:
        found.policy, found.value = FirstFeatures(found.policy, task.width), FirstFeatures(found.value, task.width)
    return found


def _iterate(iteration: int, room: Classroom, stage: Stage, curves: ArmCurves) -> None:
    """One iteration of algorithm 1, then an evaluation."""
    arm, agent = room.arm, room.agent
    ended = [len(returns) for returns in room.games.returns]
    rollout, alpha2 = room.play(), arm.alpha2_at(iteration)
    demonstration = room.demonstrate() if alpha2 else None
    taught = None if demonstration is None else agent.judge(demonstration)
    agent.study(rollout, Lesson(arm.beta_at(iteration), alpha2, taught))
    curves.scores.append(stage.evaluate(agent.act, arm.evaluation_episodes).mean(axis=1).tolist())
    curves.sampled.append(_newest(room.games.returns, ended, len(agent.seeds)))
    curves.kept.append(None if taught is None else taught.kept_share.tolist())
    curves.effective.append(None if taught is None else taught.effective.tolist())
    curves.student_steps.append(rollout.steps)
    curves.teacher_steps.append(0 if demonstration is None else demonstration.steps)
    curves.reasons = agent.reasons


def _newest(returns: Sequence[Sequence[float]], before: Sequence[int], runs: int) -> list[float | None]:
    """Mean return of the episodes that ended since, a run."""
    count = len(returns) // runs
    parts = [[value for copy in range(run * count, (run + 1) * count) for value in returns[copy][before[copy] :]] for run in range(runs)]
    return [float(np.mean(part)) if part else None for part in parts]
