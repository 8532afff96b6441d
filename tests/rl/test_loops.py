"""The loops around a learner: when they evaluate, save and say something, and that nothing of it changes what is learned."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from layerscout.progress import SILENT
from layerscout.rl.agents.configs import DQNConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.config import TrainConfig
from layerscout.rl.loops import learning
from layerscout.rl.loops.learning import GroupCheckpoint, LearningHistory, final_mean, learn_offline
from layerscout.rl.memory.replay import ReplayRows
from layerscout.rl.networks.layers import Head

WIDTH, ROWS = 3, 30


def rows() -> ReplayRows:
    draw, step = np.random.default_rng(0), np.tile(np.arange(6), ROWS // 6)
    action = np.where(step == 5, -1, draw.integers(0, 2, ROWS))
    table = draw.standard_normal((ROWS, WIDTH), np.float32)
    episode = np.repeat(np.arange(ROWS // 6), 6)
    return ReplayRows([table], [0, 0], episode, step, action, draw.standard_normal(ROWS).astype(np.float32), np.zeros(ROWS, bool))


def agent() -> DQN:
    return DQN(DQNConfig(batch=8, hidden=(4,)), lambda seeds: Head(WIDTH, 2, seeds, hidden=(4,)), (0, 1))


class Theatre:
    """A stage that notes when it is asked, and gives the number of the update as the return."""

    def __init__(self, learner: DQN) -> None:
        self.learner, self.asked = learner, []

    def evaluate(self, policy: Any, episodes: int) -> np.ndarray:
        self.asked.append((self.learner.updates, episodes))
        return np.full((2, episodes), float(self.learner.updates))


class Diary:
    """A log that keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.lines: list[Any] = []

    def begin(self, made: Any) -> None:
        self.begun = list(made)

    def add(self, at: int, returns: np.ndarray, losses: np.ndarray | None) -> None:
        self.lines.append((at, None if losses is None else losses.copy()))


def config(updates: int, evaluations: int = 2, checkpoint_updates: int = 10**6, evaluate_at: tuple[int, ...] = ()) -> Any:
    budget = {"updates": updates, "evaluations": evaluations, "checkpoint_updates": checkpoint_updates, "evaluate_at": evaluate_at}
    return SimpleNamespace(evaluation_episodes=2, final_episodes=5, **budget)


def learn(folder, settings: Any, learner: DQN | None = None) -> tuple[DQN, LearningHistory, Theatre, Diary]:
    learner = learner or agent()
    theatre, diary = Theatre(learner), Diary()
    with SILENT.task("learn", 1) as task:
        saved = GroupCheckpoint(folder / "checkpoint.npz", "key")
        history = learn_offline(learner, rows(), theatre, settings, saved, diary, task)  # type: ignore[arg-type]
    return learner, history, theatre, diary


@pytest.mark.parametrize("at_once", [1, 7, 50])
@pytest.mark.parametrize(("updates", "evaluations", "checkpoint_updates"), [(40, 2, 15), (11, 3, 4), (3, 5, 1), (60, 1, 60)])
def test_how_many_updates_are_taken_at_once_changes_nothing(tmp_path, monkeypatch, at_once, updates, evaluations, checkpoint_updates):
    one_by_one = agent()
    table, draws = rows(), learning.run_generators((0, 1), learning.SAMPLING)
    losses = [one_by_one.update(table.sample(8, draws)) for _ in range(updates)]
    monkeypatch.setattr(learning, "MOST_AT_ONCE", at_once)
    monkeypatch.setattr(learning, "SPARING", 0)
    learner, history, theatre, diary = learn(tmp_path, config(updates, evaluations, checkpoint_updates))
    np.testing.assert_array_equal(learner.optimiser.values, one_by_one.optimiser.values)
    due = sorted({updates * (number + 1) // evaluations for number in range(evaluations)} - {0})
    assert theatre.asked == [(at, 5 if at == updates else 2) for at in due]
    assert [at for at, _ in history.evaluations] == due
    for (at, mean), before in zip(diary.lines, [0, *due], strict=False):
        np.testing.assert_allclose(mean, np.mean(losses[before:at], axis=0), rtol=1e-6)
    assert history.returns == [[float(updates)] * 5] * 2
    assert history.environment_steps == len(table.transitions)


@pytest.mark.parametrize(("at", "expected"), [((10,), [10, 24]), ((24, 7), [7, 24]), ((), [12, 24])])
def test_returns_at_several_budgets_are_means_over_as_many_episodes(tmp_path, at, expected):
    _, history, theatre, _ = learn(tmp_path, config(24, evaluate_at=at))
    assert [when for when, _ in history.evaluations] == expected
    assert theatre.asked == [(when, 5 if at or when == 24 else 2) for when in expected]


def test_a_budget_beyond_the_end_of_a_run_is_refused():
    with pytest.raises(ValidationError, match="evaluate_at 30 lies beyond the end of a run, 20"):
        TrainConfig(environment="any", selection=Path("selection.json"), updates=20, evaluate_at=(10, 30))


@pytest.mark.parametrize("stops_at", [4, 9, 30])
def test_a_loop_that_was_stopped_continues_where_it_saved(tmp_path, monkeypatch, stops_at):
    settings = config(40, evaluations=4, checkpoint_updates=4)
    monkeypatch.setattr(learning, "SPARING", 0)
    whole, expected, _, _ = learn(tmp_path / "whole", settings)

    class Stopped(BaseException):
        pass

    broken = agent()
    update = broken.update

    def dying(batch):
        if broken.updates == stops_at:
            raise Stopped
        return update(batch)

    broken.update = dying  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        learn(tmp_path / "broken", settings, broken)
    learner, history, theatre, diary = learn(tmp_path / "broken", settings)
    np.testing.assert_array_equal(learner.optimiser.values, whole.optimiser.values)
    assert history.evaluations == expected.evaluations
    assert theatre.asked[0][0] > stops_at // 4 * 4 - 1, "what was saved is not done again"
    assert [at for at, _ in diary.begun] + [at for at, _ in diary.lines] == [10, 20, 30, 40]


def test_a_checkpoint_waits_until_it_costs_a_twentieth(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(learning, "time", SimpleNamespace(monotonic=lambda: now[0], process_time=lambda: 0.0))
    saved = GroupCheckpoint(tmp_path / "c.npz", "key", learning.Clock(saved_at=100.0, _wall_start=100.0, _cpu_start=0.0))
    rhythm = config(1000, checkpoint_updates=10)
    assert saved.due(10, rhythm, 1000), "nothing is known of its cost yet"
    assert not saved.due(11, rhythm, 1000)
    assert not saved.due(1000, rhythm, 1000), "the end is written as a result"
    saved.clock.save_seconds = 2.0
    now[0] = 139.9
    assert not saved.due(20, rhythm, 1000)
    now[0] = 140.0
    assert saved.due(20, rhythm, 1000)


def test_the_seconds_of_earlier_processes_are_added(tmp_path):
    first = GroupCheckpoint(tmp_path / "c.npz", "key")
    first.save({"step": 1})
    wall, cpu = first.clock.read()
    second = GroupCheckpoint(tmp_path / "c.npz", "key", learning.Clock())
    state = second.load()
    assert state is not None
    assert 0 <= state["seconds"][0] <= wall
    assert second.clock.wall_before == state["seconds"][0]
    assert second.clock.cpu_before == state["seconds"][1] <= cpu
    assert second.clock.read()[0] >= state["seconds"][0]


@pytest.mark.parametrize(
    ("returns", "expected"), [([], None), ([2.0], 2.0), ([9.0] * 10 + [1.0] * 50, 1.0), (list(range(60)), np.mean(range(10, 60)))]
)
def test_the_final_figure_is_the_mean_of_the_last_fifty_or_nothing(returns, expected):
    assert final_mean(returns) == expected
