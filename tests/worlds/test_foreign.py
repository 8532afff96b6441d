"""What strangers' environments give: one line for each mistake, with a command that shows it; and what is taken as it is meant."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.errors import DataError, UsageError
from layerscout.worlds.action_spaces import MOST_FLATTENED, read_action_space
from layerscout.worlds.collect import plan, run
from layerscout.worlds.config import CollectConfig
from layerscout.worlds.pixels import make_world

NAME = "Odd-v0"
PROGRAM = """
import gymnasium, numpy as np
class Odd(gymnasium.Env):
    observation_space, action_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8), gymnasium.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}
    def __init__(self, reward=1.0, info=None, breaks="", space=None, at=3, render_mode=None):
        self.reward, self.info, self.breaks, self.at, self.render_mode = reward, info or {}, breaks, at, render_mode
        self.action_space = space or type(self).action_space
        self.taken = []
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed); self.t = 0
        if self.breaks == "reset": raise RuntimeError("no licence")
        return np.zeros((8, 8, 3), np.uint8), self.info
    def step(self, action):
        assert self.action_space.contains(action), action
        self.taken.append(action); self.t += 1
        if self.breaks == "step" and self.t == self.at: raise RuntimeError("a wheel came off")
        return np.full((8, 8, 3), self.t, np.uint8), self.reward, self.t == 9, False, self.info
gymnasium.register("Odd-v0", entry_point=Odd)
"""


@pytest.fixture(autouse=True)
def _registered(tmp_path, monkeypatch):
    (tmp_path / "odd_games.py").write_text(PROGRAM)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    gymnasium.registry.pop(NAME, None)
    sys.modules.pop("odd_games", None)


def odd(copies: int = 2, **options):
    world = make_world("odd_games:Odd-v0", copies, options=options)
    world.reset(np.arange(copies), np.arange(copies))
    return world


# --- rewards and states


@pytest.mark.parametrize("reward", [np.array([2.5], np.float32), np.float64(2.5), np.array(2.5), [2.5], np.array([[2.5]])], ids=repr)
def test_a_reward_of_one_number_is_that_number_however_it_is_wrapped(reward):
    outcome = odd(reward=reward).step(np.zeros(2, np.int64))
    np.testing.assert_array_equal(outcome.reward, [2.5, 2.5])


@pytest.mark.parametrize("reward", [np.array([1.0, 2.0]), [], "much", None, {"goal": 1.0}, np.array([1 + 2j])], ids=repr)
def test_a_reward_that_is_no_number_is_named(reward):
    with pytest.raises(DataError, match=r"odd_games:Odd-v0 gave the reward .*, expected one number") as caught:
        odd(reward=reward).step(np.zeros(2, np.int64))
    assert "own-environment.md" in caught.value.hint


@pytest.mark.parametrize("state", [{"x": 1}, "here", [1, "two"], [[1], [2, 3]], object(), 1j], ids=lambda state: type(state).__name__)
def test_a_state_that_is_no_vector_is_named_before_anything_is_played(tmp_path, state):
    with pytest.raises(DataError, match=r"odd_games:Odd-v0 gave info\['state'\] = .*, expected a vector of numbers") as caught:
        plan(CollectConfig(environment="odd_games:Odd-v0", steps=5, out=tmp_path / "x.h5", options={"info": {"state": state}}))
    assert "own-environment.md" in caught.value.hint


@pytest.mark.parametrize(("state", "expected"), [([1, 2], [1, 2]), (np.eye(2), [1, 0, 0, 1]), (7, [7]), (True, [1])], ids=repr)
def test_a_state_of_numbers_is_taken(state, expected):
    np.testing.assert_array_equal(odd(info={"state": state}).state(), [expected] * 2)


# --- the command that a hint shows


@pytest.mark.parametrize("breaks", ["reset", "step"])
def test_the_command_in_the_hint_shows_the_failure(tmp_path, breaks):
    def play():
        world = odd(breaks=breaks, at=4, info={"word": "$HOME `'\\\""})
        for _ in range(9):
            world.step(np.zeros(2, np.int64))

    with pytest.raises(DataError, match=f"odd_games:Odd-v0 failed in {breaks}: RuntimeError") as caught:
        play()
    before, _, command = caught.value.hint.partition("try it alone: ")
    assert not before
    words = shlex.split(command)
    assert words[:2] == ["python", "-c"]
    done = subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == {"reset": "RuntimeError: no licence", "step": "RuntimeError: a wheel came off"}[breaks]


# --- actions of several choices at once


@pytest.mark.parametrize(
    "space",
    [
        gymnasium.spaces.MultiDiscrete([3, 2]),
        gymnasium.spaces.MultiDiscrete([2, 3, 2], start=[5, -1, 0]),
        gymnasium.spaces.MultiDiscrete([[2, 2], [1, 3]], dtype=np.int32),
    ],
    ids=str,
)
def test_several_choices_at_once_become_one_of_all_their_combinations(space):
    adapter = read_action_space(NAME, space)
    assert (adapter.count, adapter.dimensions) == (int(np.prod(space.nvec)), 0)
    combinations = [adapter.native(number) for number in range(adapter.count)]
    assert all(space.contains(action) for action in combinations)
    assert len({action.tobytes() for action in combinations}) == adapter.count
    np.testing.assert_array_equal(combinations[0], space.start)
    if adapter.count > 1:
        changed = np.flatnonzero(combinations[1] != combinations[0])
        assert changed.tolist() == [space.nvec.size - 1], "the last choice varies fastest"


def test_too_many_combinations_are_refused_with_their_number():
    assert read_action_space(NAME, gymnasium.spaces.MultiDiscrete([MOST_FLATTENED])).count == 1024
    with pytest.raises(UsageError, match=r"1,050 combinations of several choices.*at most 1,024") as caught:
        read_action_space(NAME, gymnasium.spaces.MultiDiscrete([35, 30]))
    assert "own-environment.md" in caught.value.hint
    with pytest.raises(UsageError, match="combinations"):
        read_action_space(NAME, gymnasium.spaces.MultiDiscrete([2**20] * 4))  # whose product is beyond 64 bits


def test_combinations_are_collected_and_played_again(tmp_path):
    space = gymnasium.spaces.MultiDiscrete([3, 2])
    config = CollectConfig(environment="odd_games:Odd-v0", steps=60, out=tmp_path / "x.h5", copies=3)
    import odd_games

    odd_games.Odd.action_space = space
    with Trajectories(run(plan(config))) as data:
        assert data.attributes["action_count"] == 6
        actions = np.concatenate([data.episode(number).actions for number in range(len(data))])
    assert set(actions.tolist()) == set(range(6))


# --- where the file goes


def test_an_out_that_is_a_folder_is_told_so(tmp_path):
    with pytest.raises(UsageError) as caught:
        plan(CollectConfig(environment="layerscout/Grid-v0", steps=5, out=tmp_path))
    assert str(caught.value) == f"{tmp_path} is a folder"
    assert str(tmp_path / "data.h5") in caught.value.hint
    assert list(Path(tmp_path).glob("*.h5")) == []


# --- frames on top of each other

STACKS = """
import gymnasium, numpy as np
class Stacked(gymnasium.Env):
    action_space, metadata = gymnasium.spaces.Discrete(2), {"render_modes": ["rgb_array"]}
    def __init__(self, places=3, newest_first=False, still=False, renders=False, render_mode=None):
        self.places, self.order, self.still, self.render_mode = places, -1 if newest_first else 1, still, render_mode
        self.observation_space = gymnasium.spaces.Box(0, 255, (8, 8, places), np.uint8)
        self.metadata = {"render_modes": ["rgb_array"] if renders else []}
    def look(self):
        times = np.maximum(self.t - np.arange(self.places)[::-1], 0)[:: self.order]
        return np.broadcast_to((0 if self.still else 1) * times.astype(np.uint8), (8, 8, self.places)).copy()
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed); self.t = 0
        return self.look(), {}
    def step(self, action):
        self.t += 1
        return self.look(), 1.0, self.t == 9, False, {}
    def render(self):
        return np.full((8, 8, 3), 77, np.uint8)
class Coloured(Stacked):
    def look(self):
        return np.stack([np.full((8, 8), self.t * k, np.uint8) for k in (1, 5, 3)], axis=-1)
gymnasium.register("Stacked-v0", entry_point=Stacked)
gymnasium.register("Coloured-v0", entry_point=Coloured)
"""


@pytest.fixture
def stacks(tmp_path):
    (tmp_path / "stacked_games.py").write_text(STACKS)
    yield "stacked_games"
    for name in ("Stacked-v0", "Coloured-v0"):
        gymnasium.registry.pop(name, None)
    sys.modules.pop("stacked_games", None)


def collect(tmp_path, environment: str, **options):
    run(plan(CollectConfig(environment=environment, steps=40, out=tmp_path / "x.h5", options=options)))
    with Trajectories(tmp_path / "x.h5") as data:
        return data.episode(0).frames


@pytest.mark.parametrize("places", [2, 4])
def test_two_or_four_channels_are_no_picture(tmp_path, stacks, places):
    with pytest.raises(UsageError, match="gives no pixels") as caught:
        make_world(f"{stacks}:Stacked-v0", 1, options={"places": places})
    assert "must not be stacked" in caught.value.hint
    rendered = collect(tmp_path, f"{stacks}:Stacked-v0", places=places, renders=True)
    assert rendered.shape[1:] == (8, 8, 3)
    assert (rendered == 77).all()


@pytest.mark.parametrize("newest_first", [False, True])
def test_three_frames_in_the_place_of_colours_are_refused(tmp_path, stacks, newest_first):
    with pytest.raises(DataError, match="are three frames in the place of three colours"):
        collect(tmp_path, f"{stacks}:Stacked-v0", newest_first=newest_first)


@pytest.mark.parametrize(("name", "options"), [("Coloured-v0", {}), ("Stacked-v0", {"still": True}), ("Stacked-v0", {"places": 1})])
def test_colours_still_pictures_and_grey_ones_are_taken(tmp_path, stacks, name, options):
    assert len(collect(tmp_path, f"{stacks}:{name}", **options)) == 10
