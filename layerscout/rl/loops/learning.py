"""A group of runs in, their learning histories out: the offline loop and the loop with games, each killable at any step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from layerscout.progress import Task
from layerscout.rl.agents.base import Agent
from layerscout.rl.config import TrainConfig
from layerscout.rl.generators import generator_states, restore_generators, run_generators
from layerscout.rl.loops import checkpoint
from layerscout.rl.loops.log import Log
from layerscout.rl.memory.replay import Replay, ReplayRows
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.rollouts import Stage

SAMPLING, EXPLORING = 1, 2  # purposes of a run's random streams
MOST_AT_ONCE = 50  # updates between two signs of progress
LEARNER = "learner"  # begins the name of the file of what learners know at the end
SPARING = 20  # a checkpoint waits until this many times its own cost has passed


@dataclass
class LearningHistory:
    """What a group has been through: evaluations as (updates, returns [run][episode]), training returns [run][episode]."""

    evaluations: list[list[Any]]
    returns: list[list[float]]
    environment_steps: int
    backbone_clips: int


@dataclass
class Clock:
    """Seconds spent on a group by all processes that worked on it, as far as they saved what they did."""

    wall_before: float = 0.0
    cpu_before: float = 0.0
    _wall_start: float = field(default_factory=time.monotonic)
    _cpu_start: float = field(default_factory=time.process_time)
    saved_at: float = field(default_factory=time.monotonic)
    save_seconds: float = 0.0  # what the last checkpoint took

    def read(self) -> tuple[float, float]:
        """Return wall-clock and CPU seconds up to now."""
        return self.wall_before + time.monotonic() - self._wall_start, self.cpu_before + time.process_time() - self._cpu_start


@dataclass(frozen=True)
class GroupCheckpoint:
    """Where a group's state lies between two processes, under which settings, and the time it took."""

    path: Path
    key: str
    clock: Clock = field(default_factory=Clock)
    learner: Path | None = None  # where what is known at the end is kept
    about: dict[str, Any] = field(default_factory=dict)  # whose it is, and of which course
    most: int = 0  # bytes of it that are kept
    say: Callable[[str], None] = lambda message: None

    def begun(self, length: int) -> dict[str, Any] | None:
        """Return the state in which a killed call left the runs, or what they knew at the end of fewer updates or steps, or None."""
        return self.load() or self._kept(length)

    def _kept(self, length: int) -> dict[str, Any] | None:
        if self.learner is None or not self.learner.exists():
            return None
        state = checkpoint.load_checkpoint(self.learner, str(self.about["course"]))
        same = state is not None and all(state.get(name) == value for name, value in self.about.items())
        return state if state is not None and same and state["at"] <= length else None

    def keep(self, state: dict[str, Any], at: int) -> None:
        """Keep what is known at the end beside the old state; `finish` puts it in its place, when the results are there too."""
        if self.learner is None:
            return
        self._fresh.unlink(missing_ok=True)
        if (size := _bytes_of(state)) > self.most:
            megabytes = -(-size // 10**6)
            self.say(
                f"what {self.path.parent.name} knows at the end takes {megabytes:,} MB and is not kept, so that a longer run would begin anew; "
                f"--set train.most_kept={megabytes} keeps it"
            )
            return
        checkpoint.save_checkpoint(self._fresh, str(self.about["course"]), state | self.about | {"at": at})

    def finish(self) -> None:
        """The results are written: what is known takes its place, or what was known earlier goes where it is not kept; and the checkpoint goes."""
        if self.learner is not None and self._fresh.exists():
            self._fresh.replace(self.learner)
        elif self.learner is not None:
            self.learner.unlink(missing_ok=True)
        self.path.unlink(missing_ok=True)

    @property
    def _fresh(self) -> Path:
        assert self.learner is not None, "only what has a place is kept"
        return self.learner.with_suffix(".fresh")

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None, and count the seconds that led to it."""
        state = checkpoint.load_checkpoint(self.path, self.key)
        if state is not None:
            self.clock.wall_before, self.clock.cpu_before = state["seconds"]
        return state

    def due(self, at: int, config: TrainConfig, total: int) -> bool:
        """Say whether to save now: in the rhythm of the settings, but not so often that a large replay costs more than 5 % of the time."""
        return at % config.checkpoint_updates == 0 and at < total and self.affordable

    @property
    def affordable(self) -> bool:
        """Whether the last checkpoint took at most 5 % of the time since."""
        return time.monotonic() - self.clock.saved_at >= SPARING * self.clock.save_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write the state with the clock's seconds, replacing the last one at once; remember how long that took."""
        began = time.monotonic()
        checkpoint.save_checkpoint(self.path, self.key, state | {"seconds": list(self.clock.read())})
        self.clock.saved_at = time.monotonic()
        self.clock.save_seconds = self.clock.saved_at - began


def _bytes_of(state: Any) -> int:
    if isinstance(state, dict):
        return sum(map(_bytes_of, state.values()))
    return sum(map(_bytes_of, state)) if isinstance(state, list) else state.nbytes if isinstance(state, np.ndarray) else 0


def evaluation_points(config: TrainConfig, total: int) -> dict[int, int]:
    """Return how many episodes an evaluation has, by the updates (or steps) after which it takes place; the last one is at the end."""
    points = set(config.evaluate_at) or {total * (number + 1) // config.evaluations for number in range(config.evaluations)}
    return {
        at: config.final_episodes if at == total or config.evaluate_at else config.evaluation_episodes
        for at in sorted({*points, total})
        if at > 0
    }


class Evaluations:
    """Greedy rollouts now and then: as many as asked for, the last one at the end and longer; each is logged with the mean loss.

    With ``evaluate_at`` they take place there and at the end, all of them as long as the last one.
    """

    def __init__(self, agent: Agent, stage: Stage, config: TrainConfig, total: int, log: Log, task: Task) -> None:
        self._agent, self._stage, self._log, self._task = agent, stage, log, task
        self._due = evaluation_points(config, total)
        self.made: list[list[Any]] = []
        self._losses: list[Float32[np.ndarray, " run"]] = []

    def begin(self, made: list[list[Any]], at: int) -> None:
        """Go on from update or step ``at`` after the evaluations that an earlier process made, as far as they belong to this run.

        What was the end of a shorter run, with the last evaluation's episodes, may be on the way of this one: then it is evaluated as such.
        """
        self.made = [one for one in made if self._due.get(int(one[0])) == len(one[1][0])]
        self._log.begin(self.made)
        self.look(at)

    def count(self, losses: Float32[np.ndarray, " run"]) -> None:
        """Keep the losses of one update, [run]; the next evaluation logs their mean."""
        self._losses.append(losses)

    def next_due(self, at: int) -> int:
        """Return when the next evaluation after ``at`` is due; the last one is due at the end."""
        return min(due for due in self._due if due > at)

    def look(self, at: int) -> None:
        """Evaluate the agents if an evaluation is due at this update or step and was not made yet, and log the returns."""
        if at not in self._due or any(made == at for made, _ in self.made):
            return
        returns = self._stage.evaluate(self._agent.act, self._due[at])
        self.made.append([at, returns.tolist()])
        self._log.add(at, returns, np.mean(self._losses, axis=0) if self._losses else None)
        self._losses = []
        best = [float(np.mean(run)) for run in returns]
        self._task.advance(0, returns=f"{np.mean(best):+.2f} (best {max(best):+.2f})")


def learn_offline(
    agent: Agent, table: ReplayRows, stage: Stage, config: TrainConfig, saved: GroupCheckpoint, log: Log, task: Task
) -> LearningHistory:
    """Learn from the dataset alone: draw, update, look in by greedy rollouts now and then."""
    generators = run_generators(agent.seeds, SAMPLING)
    evaluations = Evaluations(agent, stage, config, config.updates, log, task)
    state = saved.begun(config.updates)
    if state:
        agent.load_state_dict(state["agent"])
        restore_generators(generators, state["generators"])
    task.resume(agent.updates * len(agent.seeds))
    evaluations.begin(state["evaluations"] if state else [], agent.updates)
    while (done := agent.updates) < config.updates:
        rest_of_checkpoint = config.checkpoint_updates - done % config.checkpoint_updates
        count = min(MOST_AT_ONCE, rest_of_checkpoint, evaluations.next_due(done) - done)
        for losses in agent.update_from(lambda runs: table.sample(agent.config.batch, generators, runs), count):
            evaluations.count(losses)
        evaluations.look(agent.updates)
        if saved.due(agent.updates, config, config.updates):
            saved.save({"agent": agent.state_dict(), "generators": generator_states(generators), "evaluations": evaluations.made})
        task.advance(count * len(agent.seeds))
    known = {"agent": agent.state_dict(), "generators": generator_states(generators), "evaluations": evaluations.made}
    saved.keep(known, config.updates)
    return LearningHistory(evaluations.made, [list(returns) for returns in evaluations.made[-1][1]], len(table.transitions), 0)


def learn_from_games(
    agent: Agent, games: Games, replay: Replay, stage: Stage, config: TrainConfig, saved: GroupCheckpoint, log: Log, task: Task
) -> LearningHistory:
    """Learn while playing: act, store, update; one game a run, all in lock step."""
    sampling, exploring = run_generators(agent.seeds, SAMPLING), run_generators(agent.seeds, EXPLORING)
    evaluations = Evaluations(agent, stage, config, config.steps, log, task)
    step = 0
    state = saved.begun(config.steps)
    if state:
        agent.load_state_dict(state["agent"])
        replay.load_state_dict(state["replay"])
        games.load_state_dict(state["games"])
        restore_generators(sampling, state["sampling"])
        restore_generators(exploring, state["exploring"])
        step = state["step"]
    task.resume(step * len(agent.seeds))
    evaluations.begin(state["evaluations"] if state else [], step)

    def known() -> dict[str, Any]:
        return {
            "agent": agent.state_dict(),
            "replay": replay.state_dict(),
            "games": games.state_dict(),
            "sampling": generator_states(sampling),
            "exploring": generator_states(exploring),
            "evaluations": evaluations.made,
            "step": step,
        }

    while step < config.steps:
        before = games.seen
        actions = agent.explore(before[:, None], step, exploring)[:, 0]
        outcome, after = games.step(actions)
        replay.add(before, actions, outcome.reward, after, outcome.terminated, truncated=outcome.truncated)
        step += 1
        if step >= agent.config.warm_up and step % agent.config.train_interval == 0:
            evaluations.count(agent.update(replay.sample(agent.config.batch, sampling)))
        evaluations.look(step)
        if saved.due(step, config, config.steps):
            saved.save(known())
        task.advance(len(agent.seeds))
    saved.keep(known(), step)
    return LearningHistory(evaluations.made, games.returns, config.steps, games.frames_seen // len(agent.seeds))


def final_mean(returns: Sequence[float]) -> float | None:
    """Mean of the last 50 returns, or of all if there are fewer; None when there is none."""
    return float(np.mean(returns[-50:])) if len(returns) else None
