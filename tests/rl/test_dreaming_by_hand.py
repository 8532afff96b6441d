"""Learning while dreaming, with an agent whose every number can be told: what is remembered, when it learns, and how it goes on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from layerscout.errors import DataError
from layerscout.progress import SILENT
from layerscout.rl.loops import learning
from layerscout.rl.loops.dreaming import learn_dreaming
from layerscout.rl.loops.learning import GroupCheckpoint, LearningHistory
from layerscout.rl.memory.sequences import SequenceReplay
from layerscout.worlds.core import StepOutcome


class Counting:
    """Two games that show how many steps they are old, the second ten more; the first is won at its second step, the second cut at its third."""

    copies, action_count, action_dimensions, frame_shape, settings = 2, 3, 0, (1, 1, 1), {}

    def __init__(self) -> None:
        self.age, self.steps = np.zeros(2, np.int64), 0

    def reset(self, which: Any, seeds: Any) -> None:
        self.age[which] = 0

    def step(self, actions: Any) -> StepOutcome:
        self.age += 1
        self.steps += 1
        return StepOutcome(self.age.astype(np.float32), self.age == np.array([2, 99]), self.age == np.array([99, 3]))

    def frames(self, which: Any = None) -> np.ndarray:
        shown = (self.age + np.array([0, 10])).astype(np.uint8).reshape(2, 1, 1, 1)
        return shown if which is None else shown[which]

    def close(self) -> None:
        """Nothing is held."""


class Player:
    """An agent that plays a drawn number plus what it knows, modulo 3, and whose one weight is the sum of its draws."""

    def __init__(self, warm_up: int, train_interval: int) -> None:
        self.seeds, self.config = (4, 9), SimpleNamespace(warm_up=warm_up, train_interval=train_interval)
        sizes = SimpleNamespace(size=1, channels=1, features=1, latents=1)
        one = SimpleNamespace(sizes=sizes, actor=SimpleNamespace(width=3), device=torch.device("cpu"), world=self)
        self.learners = [one, one]
        self.weight, self.learned, self.asked = np.zeros(2), [], []

    def step(self, frames: Any, state: Any, actions: Any, drawn: Any) -> Any:
        """One frame further: below, the draw; on top, all frames so far and the newest action."""
        number = torch.arange(3.0)
        return drawn.mean((0, 2))[:, None], state[1] + frames.flatten(1).float() + (actions * number).sum(1, keepdim=True)

    def explore(self, z: Any, step: int, generators: Any) -> np.ndarray:
        self.asked.append(step)
        return np.array([[(int(seen[0, 0]) + int(one.integers(3))) % 3] for seen, one in zip(z, generators, strict=True)])

    def action_vectors(self, actions: Any) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[actions]

    def learn(self, replay: SequenceReplay, generators: Any) -> np.ndarray:
        self.weight += [one.random() for one in generators]
        self.learned.append((self.asked[-1] + 1, replay.size.tolist()))
        return self.weight.astype(np.float32)

    def act(self, z: Any) -> Any:
        raise AssertionError("the stage is a theatre")

    def state_dict(self) -> dict[str, Any]:
        return {"weight": self.weight.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weight = state["weight"].copy()


class Theatre:
    """A stage whose returns are the agent's weight."""

    def __init__(self, agent: Player) -> None:
        self.agent = agent

    def evaluate(self, policy: Any, episodes: int) -> np.ndarray:
        return np.repeat(self.agent.weight[:, None], episodes, axis=1)


class Diary:
    """A log that keeps when it was told what loss."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, Any]] = []

    def begin(self, made: Any) -> None:
        self.lines = [(int(at), "before") for at, _ in made]

    def add(self, at: int, returns: Any, losses: Any) -> None:
        self.lines.append((at, losses))


def dream(
    saved: GroupCheckpoint, steps: int = 9, warm_up: int = 1, train_interval: int = 1, every: int = 10**6
) -> tuple[LearningHistory, SequenceReplay, Player, Diary, int]:
    """Learn for so many steps; also what the task counted in the end."""
    agent, replay, diary = Player(warm_up, train_interval), SequenceReplay(2, 2 * steps + 2, (1, 1, 1), 3), Diary()
    budget = {"evaluations": 2, "evaluate_at": (), "evaluation_episodes": 1, "final_episodes": 2}
    config: Any = SimpleNamespace(steps=steps, checkpoint_updates=every, **budget)
    with SILENT.task("dream", 1) as task:
        history = learn_dreaming(agent, Counting(), replay, Theatre(agent), config, saved, diary, task)  # type: ignore[arg-type]
        done = task.done
    return history, replay, agent, diary, done


def remembered(replay: SequenceReplay, run: int) -> dict[str, list[Any]]:
    state = replay.state_dict()
    return {name: column[run, : state["added"][run]].reshape(state["added"][run], -1).tolist() for name, column in state["columns"].items()}


def test_an_arrival_is_remembered_before_the_first_frame_of_the_next_episode(tmp_path: Path) -> None:
    history, replay, *_ = dream(GroupCheckpoint(tmp_path / "c.npz", "key"), steps=5)
    won, cut = remembered(replay, 0), remembered(replay, 1)
    assert np.ravel(won["frames"]).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert np.ravel(won["first"]).tolist() == [True, False, False, True, False, False, True, False]
    assert np.ravel(won["terminated"]).tolist() == [False, False, True, False, False, True, False, False]
    assert np.ravel(won["rewards"]).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert np.ravel(cut["frames"]).tolist() == [10, 11, 12, 13, 10, 11, 12]
    assert np.ravel(cut["first"]).tolist() == [True, False, False, False, True, False, False]
    assert not np.any(cut["terminated"])  # what was cut goes on in truth
    assert history.returns == [[3.0, 3.0], [6.0]]
    assert (history.environment_steps, history.backbone_clips) == (5, 0)


def test_a_frame_stands_with_the_action_that_led_to_it_and_a_first_one_with_none(tmp_path: Path) -> None:
    _, replay, *_ = dream(GroupCheckpoint(tmp_path / "c.npz", "key"), steps=8)
    generators = learning.run_generators((4, 9), learning.EXPLORING)
    for run, length in enumerate((2, 3)):
        memory, known, expected = remembered(replay, run), 0, []
        for step in range(8):
            if step % length == 0:
                known, action = 10 * run, None  # an episode begins: nothing is known but its first frame
                expected.append([0.0, 0.0, 0.0])
            action = (known + int(generators[run].integers(3))) % 3
            expected.append([float(action == one) for one in range(3)])
            known += 10 * run + step % length + 1 + action
        if 8 % length == 0:
            expected.append([0.0, 0.0, 0.0])
        assert memory["actions"] == expected


@pytest.mark.parametrize(
    ("warm_up", "train_interval", "steps"), [(1, 1, [1, 2, 3, 4, 5, 6, 7]), (3, 2, [4, 6]), (4, 4, [4]), (5, 3, [6]), (8, 1, [])]
)
def test_updates_begin_with_the_warm_up_and_come_in_the_rhythm_of_the_steps(
    tmp_path: Path, warm_up: int, train_interval: int, steps: list[int]
) -> None:
    *_, agent, diary, done = dream(GroupCheckpoint(tmp_path / "c.npz", "key"), 7, warm_up, train_interval)
    assert [at for at, _ in agent.learned] == steps
    sizes = {at: [at + 1 + at // 2, at + 1 + at // 3] for at in range(8)}  # a frame a step, and one more for every episode that began
    assert [held for _, held in agent.learned] == [sizes[at] for at in steps]
    assert agent.asked == list(range(7))
    assert done == 2 * 7
    assert [at for at, _ in diary.lines] == [3, 7]
    assert [losses is None for _, losses in diary.lines] == [not any(at <= 3 for at in steps), not any(at > 3 for at in steps)]


def same(one: Any, other: Any) -> None:
    history, replay, agent, _, done = one
    its, copy, twin, _, counted = other
    assert (history.evaluations, history.returns, done) == (its.evaluations, its.returns, counted)
    assert [remembered(replay, run) for run in (0, 1)] == [remembered(copy, run) for run in (0, 1)]
    assert agent.weight.tolist() == twin.weight.tolist()


@pytest.mark.parametrize("at", [1, 2, 3, 4, 6, 8])
def test_a_dreamer_that_is_killed_after_a_checkpoint_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr(learning, "SPARING", 0)
    whole, save, saves = dream(GroupCheckpoint(tmp_path / "whole.npz", "key"), warm_up=2, train_interval=2), GroupCheckpoint.save, []

    def die(self: GroupCheckpoint, state: dict[str, Any]) -> None:
        save(self, state)
        saves.append(state["step"])
        if state["step"] == at:
            raise KeyboardInterrupt

    broken = GroupCheckpoint(tmp_path / "broken.npz", "key")
    with monkeypatch.context() as patch:
        patch.setattr(GroupCheckpoint, "save", die)
        with pytest.raises(KeyboardInterrupt):
            dream(broken, warm_up=2, train_interval=2, every=1)
    assert saves == list(range(1, at + 1))
    again = dream(broken, warm_up=2, train_interval=2)
    assert again[2].asked[0] == at, "what was played is not played anew"
    same(whole, again)


def test_what_is_known_at_the_end_goes_on_to_more_steps_in_a_memory_that_holds_them(tmp_path: Path) -> None:
    def kept(name: str) -> GroupCheckpoint:
        about = {"course": "c"}
        return GroupCheckpoint(tmp_path / f"{name}.npz", "key", learner=tmp_path / f"{name}-learner.npz", about=about, most=10**9)

    short = kept("grown")
    dream(short, steps=4)
    short.finish()
    grown, once = dream(kept("grown"), steps=8), dream(kept("once"), steps=8)
    assert grown[2].asked == [4, 5, 6, 7]
    same(grown, once)


# --- memories of windows that are put back


def played(frames: int, capacity: int, runs: int = 2, shape: tuple[int, ...] = (1, 2, 1), actions: int = 3) -> SequenceReplay:
    """A memory of so many frames, whose rewards are their numbers."""
    memory = SequenceReplay(runs, capacity, shape, actions)
    for number in range(frames):
        blank = np.zeros((runs, *shape), np.uint8), np.zeros((runs, actions), np.float32)
        memory.add(*blank, np.full(runs, number, np.float32), np.zeros(runs, bool))
    return memory


def newest(memory: SequenceReplay, count: int) -> list[float]:
    return memory.sample(0, 1, count, np.random.default_rng(0)).rewards[0].tolist()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (played(3, 5, runs=3), r"'frames' \(3, 3, 1, 2, 1\), expected \(2, 5, 1, 2, 1\)"),
        (played(3, 5, shape=(2, 2, 1)), r"'frames' \(2, 3, 2, 2, 1\), expected \(2, 5, 1, 2, 1\)"),
        (played(3, 5, actions=1), r"'actions' \(2, 3, 1\), expected \(2, 5, 3\)"),
        (played(6, 9), r"'frames' \(2, 6, 1, 2, 1\), expected \(2, 5, 1, 2, 1\)"),
        (played(9, 6), r"'frames' \(2, 6, 1, 2, 1\)"),
        (played(5, 4), r"'frames' \(2, 4, 1, 2, 1\), expected \(2, 5, 1, 2, 1\)"),
    ],
)
def test_a_saved_memory_that_does_not_fit_is_refused_by_the_column_and_changes_nothing(other: SequenceReplay, named: str) -> None:
    memory = played(2, 5)
    with pytest.raises(DataError, match=named) as error:
        memory.load_state_dict(other.state_dict())
    assert error.value.hint == "continue with the same arms, seeds and replay capacity"
    assert memory.size.tolist() == [2, 2]
    assert newest(memory, 2) == [0.0, 1.0]


@pytest.mark.parametrize(("frames", "before", "after"), [(0, 4, 2), (3, 4, 3), (4, 4, 9), (4, 9, 4), (7, 4, 4)])
def test_a_memory_in_which_nothing_has_made_room_fits_into_any_that_holds_it(frames: int, before: int, after: int) -> None:
    memory, other = played(frames, before), SequenceReplay(2, after, (1, 2, 1), 3)
    other.load_state_dict(memory.state_dict())
    held = min(frames, before)
    assert other.size.tolist() == [held] * 2
    blank = np.zeros((2, 1, 2, 1), np.uint8), np.zeros((2, 3), np.float32), np.full(2, frames, np.float32), np.zeros(2, bool)
    other.add(*blank)
    count = min(held + 1, after)
    assert newest(other, count) == [float(number) for number in range(frames + 1 - count, frames + 1)]
