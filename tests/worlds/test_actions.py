"""Laws of the two kinds of actions: scaling, refusals, policies for vectors, and evaluation with them."""

from __future__ import annotations

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from sliding import Slide

from layerscout import registry
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.errors import DataError, UsageError
from layerscout.rl.seeing.rollouts import EVALUATION_STREAM, Stage, blind_returns
from layerscout.worlds import collect
from layerscout.worlds.action_spaces import bounded_adapter, read_action_space
from layerscout.worlds.config import CollectConfig
from layerscout.worlds.core import random_actions
from layerscout.worlds.exploring import parse_policy
from layerscout.worlds.gymnasium_api import WorldEnv, WorldVectorEnv
from layerscout.worlds.pixels import make_world
from layerscout.worlds.playing import episode_seed, play
from layerscout.worlds.registration import register

SLIDE = "tests/Slide-v0"
LOW, HIGH = np.array([[-2.0, 0.0, -1.0], [5.0, -1e-3, -1.0]]), np.array([[4.0, 10.0, 1.0], [5.5, 1e3, 1.0]])


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(registry.REGISTRY["world"], SLIDE, "sliding:Slide")


class Echo(gymnasium.Env):
    """Tells in its state which action it was given."""

    observation_space = gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8)

    def __init__(self, space: gymnasium.Space):
        self.action_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((4, 4, 3), np.uint8), {"state": np.zeros(6)}

    def step(self, action):
        assert self.action_space.contains(action), action
        return np.zeros((4, 4, 3), np.uint8), 0.0, False, False, {"state": action.ravel()}


@pytest.fixture
def _echo():
    gymnasium.register("Echo-v0", entry_point=Echo)
    yield
    del gymnasium.registry["Echo-v0"]


@pytest.mark.usefixtures("_echo")
def test_a_world_scales_vectors_linearly_to_the_environments_bounds():
    space = gymnasium.spaces.Box(LOW.astype(np.float32), HIGH.astype(np.float32))
    world = make_world("Echo-v0", 3, options={"space": space})
    assert (world.action_count, world.action_dimensions) == (0, 6)
    world.reset(np.arange(3), np.arange(3))
    world.step(np.array([[-1] * 6, [0] * 6, [1] * 6], np.float32))
    low, middle, high = world.state()
    np.testing.assert_array_equal(low, space.low.ravel())
    np.testing.assert_array_equal(high, space.high.ravel())
    np.testing.assert_allclose(middle, (space.low.ravel() + space.high.ravel()) / 2, rtol=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(50):  # rounding never leaves the space: Echo asserts it
        world.step(rng.uniform(-1, 1, (3, 6)).astype(np.float32))
    world.close()


def test_bounds_of_one_pass_actions_through_unchanged():
    actions = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)
    np.testing.assert_array_equal(bounded_adapter("any", -np.ones(1000), np.ones(1000)).native(actions), actions)


@pytest.mark.usefixtures("_echo")
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1.01])
def test_an_action_outside_is_refused_with_copy_and_value(wrong):
    world = make_world("Echo-v0", 2, options={"space": gymnasium.spaces.Box(-1, 1, (6,))})
    world.reset(np.array([1]), np.array([0]))
    actions = np.zeros((2, 6), np.float32)
    actions[0, 4] = wrong
    world.step(actions)  # copy 0 has not begun: what it is told to do does not matter
    actions[1, 3] = wrong
    with pytest.raises(DataError, match=f"Echo-v0: the action of copy 1 has {np.float32(wrong)} in dimension 3"):
        world.step(actions)
    with pytest.raises(DataError, match=r"takes actions \[2, 6\], it was given \[2\]"):
        world.step(np.zeros(2, np.int64))
    world.close()


@pytest.mark.parametrize(
    ("space", "why"),
    [
        (gymnasium.spaces.Box(-np.inf, np.inf, (2,)), "Odd-v0 has unbounded actions .dimension 0 goes from -inf to inf"),
        (gymnasium.spaces.Box(np.float32([0, 0]), np.float32([1, np.inf])), "dimension 1 goes from 0.0 to inf"),
        (gymnasium.spaces.Box(0, 3, (2,), np.int64), "neither one choice of n nor a vector"),
        (gymnasium.spaces.MultiBinary(3), "neither one choice of n nor a vector"),
        (gymnasium.spaces.Tuple([gymnasium.spaces.Discrete(2)]), "neither one choice of n nor a vector"),
    ],
)
def test_odd_action_spaces_are_refused_by_name(space, why):
    with pytest.raises(UsageError, match=why) as caught:
        read_action_space("Odd-v0", space)
    assert "own-environment.md" in caught.value.hint


def test_a_vector_world_passes_gymnasiums_checker_and_its_vector_form_lives_the_same_lives():
    register()
    try:
        environment = gymnasium.make(SLIDE).unwrapped
        check_env(environment)
    finally:
        del gymnasium.registry[SLIDE]
    assert environment.action_space == gymnasium.spaces.Box(-1, 1, (2,))
    ours, single = WorldVectorEnv(SLIDE, num_envs=4), SyncVectorEnv([lambda: WorldEnv(SLIDE)] * 4)
    assert ours.action_space == single.action_space
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(ours.reset(seed=1)[0], single.reset(seed=1)[0])
    for _ in range(40):
        actions = rng.uniform(-1, 1, (4, 2)).astype(np.float32)
        for mine, theirs in zip(ours.step(actions)[:-1], single.step(actions)[:-1], strict=True):
            np.testing.assert_array_equal(mine, theirs)
    single.close()


@pytest.mark.parametrize(("text", "hold"), [("random", 1), ("random:5", 5)])
def test_random_vectors_are_uniform_and_held(text, hold):
    steps = 20_000
    choices = list(itertools.islice(parse_policy(text).draw_steps(0, np.random.default_rng(0), 3), steps))
    assert not any(choice.asks_expert for choice in choices)
    actions = np.stack([choice.action(None) for choice in choices])
    assert (actions.dtype, actions.shape) == (np.float32, (steps, 3))
    changed = np.flatnonzero(np.any(np.diff(actions, axis=0), axis=1)) + 1
    assert steps / (len(changed) + 1) == pytest.approx(hold, rel=0.05)
    drawn = actions[changed]
    assert np.abs(drawn).max() <= 1
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(drawn.std(axis=0), 1 / np.sqrt(3), atol=0.02)


def test_noise_is_gaussian_around_the_expert_and_clipped():
    advice = np.array([0.0, 0.95], np.float32)
    choices = itertools.islice(parse_policy("noise:0.2").draw_steps(0, np.random.default_rng(0), 2), 5000)
    actions = np.stack([choice.action(advice) for choice in choices])
    assert actions[:, 0].mean() == pytest.approx(0, abs=0.012)
    assert actions[:, 0].std() == pytest.approx(0.2, rel=0.04)
    assert (actions[:, 1] == 1).mean() == pytest.approx(0.4013, abs=0.03)  # P(0.2 N > 0.05)
    assert actions.max() == 1


@pytest.mark.parametrize("text", ["noise", "noise:0", "noise:-1", "noise:nan", "noise:inf", "noise:0.1:2", "noise:x"])
def test_malformed_noise_is_refused(text):
    with pytest.raises(UsageError, match="noise:S"):
        parse_policy(text)


def test_noise_needs_vectors_and_an_expert(tmp_path):
    with pytest.raises(UsageError, match="discrete actions"):
        collect.plan(CollectConfig(environment="layerscout/Grid-v0", policy="noise:0.1", steps=5, out=tmp_path / "x.h5"))
    with pytest.raises(UsageError, match="scripted expert"):
        collect.plan(CollectConfig(environment="MountainCarContinuous-v0", policy="noise:0.1", steps=5, out=tmp_path / "x.h5"))


@pytest.mark.parametrize("policy", ["random", "random:3", "epsilon:0.5:2", "noise:0.4"])
def test_recorded_vectors_do_not_depend_on_copies_and_give_the_episodes_again(tmp_path, policy):
    digests = set()
    for copies in (1, 6):
        config = CollectConfig(environment=SLIDE, policy=policy, steps=200, seed=5, copies=copies, out=tmp_path / f"{copies}.h5")
        with Trajectories(collect.run(collect.plan(config))) as data:
            digests.add(data.digest())
            assert data.action_dimensions == data.attributes["action_dimensions"] == 2
            assert data.attributes["action_count"] == 0
            last = len(data) - 1
            episode = data.episode(last)
    assert len(digests) == 1
    assert episode.actions.dtype == np.float32
    world = Slide(1)
    world.reset(np.array([0]), np.array([episode_seed(5, last)]))
    for step, action in enumerate(episode.actions):
        reward, terminated, truncated = world.step(action[None])
        assert (reward[0], terminated[0], truncated[0]) == (episode.rewards[step], episode.terminated[step], episode.truncated[step])
        np.testing.assert_array_equal(world.state()[0], episode.state[step + 1])


class _Killed(Exception):
    pass


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_killed_and_run_again_equals_unbroken_with_vectors(tmp_path, monkeypatch, small_parts):
    def config(name: str) -> CollectConfig:
        return CollectConfig(environment=SLIDE, policy="epsilon:0.3", steps=80, copies=5, out=tmp_path / name)

    def dying(*arguments, **keywords):
        for count, episode in enumerate(play(*arguments, **keywords)):
            if count == small_parts + 2:
                raise _Killed
            yield episode

    with monkeypatch.context() as patch:
        patch.setattr(collect, "play", dying)
        with pytest.raises(_Killed):
            collect.run(collect.plan(config("killed.h5")))
    with (
        Trajectories(collect.run(collect.plan(config("killed.h5")))) as data,
        Trajectories(collect.run(collect.plan(config("whole.h5")))) as whole,
    ):
        assert len(whole) > small_parts + 2
        assert data.digest() == whole.digest()


class Seeing:
    """An observer that sees the world's state."""

    def __init__(self, theatre) -> None:
        self._theatre, self.shape = theatre, (2,)

    def start(self, which, frames): ...

    def push(self, which, frames): ...

    def observe(self, live):
        return self._theatre["world"].state()


def test_rollouts_take_vectors_and_each_run_acts_by_its_own():
    theatre = {}

    def make(copies: int):
        theatre["world"] = Slide(copies)
        return theatre["world"]

    def act(seen):
        return np.stack([np.clip(-4 * seen[0], -1, 1), np.zeros_like(seen[1])])  # the first run goes home, the second stays

    stage = Stage(2, make, lambda runs: Seeing(theatre))
    returns = stage.evaluate(act, 7)
    for number in range(7):
        world = Slide(1)
        world.reset(np.array([0]), np.array([episode_seed(EVALUATION_STREAM, number)]))
        start, total, ended = np.linalg.norm(world.place[0]), 0.0, False
        while not ended:
            reward, terminated, truncated = world.step(world.expert())
            total, ended = total + float(reward[0]), bool(terminated[0] or truncated[0])
        assert returns[0, number] == pytest.approx(total, abs=1e-5)
        assert returns[1, number] == pytest.approx(-start * (1 if start < 0.2 else 12), rel=1e-5)
    few = Stage(2, make, lambda runs: Seeing(theatre), side_by_side=4)
    np.testing.assert_array_equal(few.evaluate(act, 7), returns)
    assert theatre["world"].copies == 2  # 7 episodes in waves of 2, 2, 2, 1


def test_random_vectors_earn_the_same_every_time():
    def play():
        generator = np.random.default_rng(0)
        return blind_returns(Slide, lambda world, _: random_actions(world, generator), range(20))

    np.testing.assert_array_equal(play(), play())
    assert play().mean() < -3
    assert random_actions(Slide(50), np.random.default_rng(0)).shape == (50, 2)
