"""Laws of the environments: Gymnasium's contract, vector = single, known returns, and clear refusals."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.worlds.core import World, random_actions
from layerscout.worlds.grid import CELLS, Grid
from layerscout.worlds.intercept import PADDLE_SPEED, Intercept
from layerscout.worlds.pixels import make_world
from layerscout.worlds.registration import register
from layerscout.worlds.resized import resize

GRID, INTERCEPT = "layerscout/Grid-v0", "layerscout/Intercept-v0"
ARCADE = [f"layerscout/{name}-v0" for name in ("Catch", "Lob", "TwoBalls", "Rally", "Hunt", "Maze", "Keys")]
LABOUR = [(f"layerscout/{name}-v0", {"observation": seen}) for name in ("Dishwashing", "Bricklaying") for seen in ("pixels", "state")]
DOT = [("layerscout/Dot-v0", {"ground": ground}) for ground in ("textured", "flat")]
VARIANTS = [
    (GRID, {"observation": "planes"}),
    (GRID, {"observation": "rgb"}),
    (INTERCEPT, {}),
    *((name, {}) for name in ARCADE),
    *LABOUR,
    *DOT,
]


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_single_environment_passes_gymnasiums_checker(name, options, render_mode):
    environment = gymnasium.make(name, render_mode=render_mode, **options).unwrapped
    check_env(environment)  # warnings are errors here
    observation, info = environment.reset(seed=3)
    assert environment.observation_space.contains(observation)
    assert info["state"].dtype == np.float32
    picture = environment.render()
    assert (picture is None) if render_mode is None else picture.shape[2] == 3
    environment.close()


def parts(answer):
    """All arrays of an answer but the last part, its info; an observation with a goal is two."""
    seen, *others = answer[:-1]
    return [*(seen[name] for name in sorted(seen)), *others] if isinstance(seen, dict) else [seen, *others]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_vector_environment_lives_the_lives_of_single_ones(name, options):
    copies, steps = 5, 100 if (name, options) in LABOUR else 150  # long enough for an episode a copy and more; an hour of work has 60
    ours = gymnasium.make_vec(name, num_envs=copies, **options)
    single = SyncVectorEnv([lambda: gymnasium.make(name, **options)] * copies)
    assert ours.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert ours.observation_space == single.observation_space
    assert ours.action_space == single.action_space
    rng = np.random.default_rng(0)
    ended = 0
    for step in range(steps):
        if step == 0:
            answers = [vector.reset(seed=11) for vector in (ours, single)]
        elif step == 70:
            mask = np.array([True, False, True, False, False])
            answers = [vector.reset(seed=[5, 6, None, 8, 9], options={"reset_mask": mask.copy()}) for vector in (ours, single)]
        else:
            box = isinstance(ours.single_action_space, gymnasium.spaces.Box)
            actions = rng.random((copies, 2), np.float32) if box else rng.integers(ours.single_action_space.n, size=copies)
            answers = [vector.step(actions) for vector in (ours, single)]
            ended += int((answers[0][2] | answers[0][3]).sum())
        for mine, theirs in zip(parts(answers[0]), parts(answers[1]), strict=True):
            np.testing.assert_array_equal(mine, theirs)
            assert mine.dtype == theirs.dtype
        assert answers[0][-1].keys() == answers[1][-1].keys()
        for key, value in answers[1][-1].items():
            np.testing.assert_array_equal(answers[0][-1][key], value)
    assert ended >= 4
    ours.close()
    single.close()


def test_a_seed_restarts_the_sequence_of_episodes():
    environment = gymnasium.make(GRID)
    first = [environment.reset(seed=7)[1]["state"], environment.reset()[1]["state"]]
    again = [environment.reset(seed=7)[1]["state"], environment.reset()[1]["state"]]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


def test_registering_twice_changes_nothing_and_stays_light():
    script = (
        "import sys, warnings; warnings.simplefilter('error')\n"
        "import gymnasium\n"
        "from layerscout.worlds.registration import register\n"
        "register(); before = gymnasium.spec('layerscout/Grid-v0'); register()\n"
        "assert gymnasium.spec('layerscout/Grid-v0') is before\n"
        "assert before.max_episode_steps is None\n"
        "heavy = {'torch', 'zarr', 'sklearn', 'layerscout.worlds.grid'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_gymnasium_finds_the_environments_by_module_name():
    script = "import gymnasium; gymnasium.make('layerscout.worlds.registered:layerscout/Intercept-v0').reset(seed=0)"
    subprocess.run([sys.executable, "-c", script], check=True)


def _returns(world: World, choose, episodes_seed: int = 0):
    """Play one episode in every copy; return the returns and whether the last reward was +1."""
    copies = world.copies
    world.reset(np.arange(copies), np.arange(copies) + episodes_seed)
    rng, total, won = np.random.default_rng(1), np.zeros(copies), np.zeros(copies, dtype=bool)
    alive = np.ones(copies, dtype=bool)
    while alive.any():
        reward, terminated, truncated = world.step(choose(world, rng))
        assert not reward[~alive].any(), "a finished copy must stand still"
        total += reward
        won |= reward == 1.0
        alive &= ~(terminated | truncated)
    return total, won


def _random(world, rng):
    return rng.integers(world.action_count, size=world.copies)


def _expert(world, rng):
    return world.expert()


def _follow_the_ball(world, rng):
    gap = world.ball[:, 1] - world.paddle
    return np.where(np.abs(gap) < PADDLE_SPEED, 1, np.where(gap > 0, 2, 0))


def test_known_returns_of_grid():
    # bounds: about four standard errors around the long-run figures -0.187, 31 % and 0.957
    total, won = _returns(Grid(6000, "planes"), _random)
    assert total.mean() == pytest.approx(-0.187, abs=0.04)
    assert won.mean() == pytest.approx(0.31, abs=0.025)
    world = Grid(6000, "planes")
    world.reset(np.arange(6000), np.arange(6000))
    distance = np.abs(world.agent - world.goal).sum(axis=1)
    total, won = _returns(world, _expert)
    assert won.all()
    np.testing.assert_allclose(total, 1.0 - 0.01 * (distance - 1), atol=1e-6)  # the shortest way: nothing can do better
    assert total.mean() == pytest.approx(0.957, abs=0.003)


def test_known_returns_of_intercept():
    assert _returns(Intercept(4000), _random)[0].mean() == pytest.approx(-0.49, abs=0.06)
    assert _returns(Intercept(4000), _follow_the_ball)[0].mean() == pytest.approx(0.14, abs=0.06)
    assert _returns(Intercept(4000), _expert)[0].mean() == 1.0


def test_a_random_walk_in_grid_is_truncated_not_terminated():
    world = Grid(1)
    world.reset(np.array([0]), np.array([0]))
    outcomes = [world.step(np.array([0])) for _ in range(60)]  # standing still
    assert [bool(outcome.truncated[0]) for outcome in outcomes] == [False] * 59 + [True]
    assert not any(outcome.terminated[0] for outcome in outcomes)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_an_episode_does_not_depend_on_its_neighbours(name, options):
    many, one = make_world(name, 7, options=options), make_world(name, 1, options=options)
    seeds, rng = np.arange(100, 107), np.random.default_rng(0)
    many.reset(np.arange(7), seeds)
    one.reset(np.array([0]), seeds[3:4])
    for _ in range(20):
        np.testing.assert_array_equal(many.frames()[3], one.frames()[0])
        np.testing.assert_array_equal(many.frames(np.array([5, 3])), many.frames()[[5, 3]])
        np.testing.assert_array_equal(many.state()[3], one.state()[0])
        actions = random_actions(many, rng)
        many.step(actions)
        one.step(actions[3:4])


def test_planes_and_rgb_show_the_same_game():
    planes, rgb = Grid(20, "planes"), Grid(20, "rgb")
    for world in (planes, rgb):
        world.reset(np.arange(20), np.arange(20))
    assert planes.frames().shape == (20, CELLS, CELLS, 2)
    assert set(np.unique(planes.frames())) == {0, 255}
    np.testing.assert_array_equal(planes.pictures(), rgb.frames())
    rows, columns = np.nonzero(planes.frames()[0, ..., 0])
    np.testing.assert_allclose(planes.state()[0, :2], 2 * np.array([columns[0], rows[0]]) / (CELLS - 1) - 1, atol=1e-6)


class _Pictured(gymnasium.Env):
    """Counts steps; the frame's brightness is the count; actions 3, 4 count by 1, 2."""

    observation_space = gymnasium.spaces.Box(0, 255, (200, 100, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2, start=3)

    def __init__(self, fail: str = "", state: bool = True):
        self.fail, self.tell = fail, state

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.fail == "reset":
            raise RuntimeError("no licence")
        self.count = int(self.np_random.integers(50))
        return self._answer()

    def step(self, action):
        self.count += {3: 1, 4: 2}[action]
        observation, info = self._answer()
        return observation, float("nan") if self.fail == "reward" else 1.0, False, False, info

    def _answer(self):
        frame = np.full((200, 100, 3), self.count, dtype=np.int64 if self.fail == "dtype" else np.uint8)
        return frame, {"state": [self.count, 1.0]} if self.tell else {}


class _Numbers(_Pictured):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)


@pytest.fixture
def _foreign():
    gymnasium.register("Pictured-v0", entry_point=_Pictured, max_episode_steps=9)
    gymnasium.register("Numbers-v0", entry_point=_Numbers)
    yield
    del gymnasium.registry["Pictured-v0"], gymnasium.registry["Numbers-v0"]


@pytest.mark.usefixtures("_foreign")
def test_picture_observations_are_frames_and_the_time_limit_truncates():
    world = make_world("Pictured-v0", 3)
    assert (world.frame_shape, world.action_count, world.expert()) == ((64, 64, 3), 2, None)  # 200 > 128: shrunk
    assert make_world("Pictured-v0", 1, size=20).frame_shape == (20, 20, 3)
    world.reset(np.arange(3), np.array([5, 6, 5]))
    start = world.state()[:, 0]
    assert start[0] == start[2]
    for step in range(1, 10):
        outcome = world.step(np.array([0, 1, 0]))
        assert (outcome.truncated == (step == 9)).all()
        assert not outcome.terminated.any()
        np.testing.assert_array_equal(world.state()[:, 0] - start, [step, 2 * step, step])
        np.testing.assert_array_equal(world.frames()[:, 7, 7, 1], world.state()[:, 0])
    world.close()


@pytest.mark.usefixtures("_foreign")
def test_a_foreign_environment_that_misbehaves_is_named():
    with pytest.raises(DataError, match=r"Pictured-v0 failed in reset: RuntimeError: no licence"):
        make_world("Pictured-v0", 1, options={"fail": "reset"})
    with pytest.raises(DataError, match=r"int64 \(200, 100, 3\)"):
        make_world("Pictured-v0", 1, options={"fail": "dtype"})
    with pytest.raises(UsageError, match="gives no pixels"):
        make_world("Numbers-v0", 1)
    with pytest.raises(UsageError, match="cannot be made"):
        make_world("Pictured-v0", 1, options={"speed": 3})
    world = make_world("Pictured-v0", 1, options={"fail": "reward"})
    world.reset(np.array([0]), np.array([0]))
    with pytest.raises(DataError, match="reward nan"):
        world.step(np.array([0]))
    assert make_world("Pictured-v0", 1, options={"state": False}).state() is None


def test_unknown_words_get_the_nearest_known_ones():
    with pytest.raises(UsageError, match="did you mean 'layerscout/Intercept-v0'"):
        make_world("layerscout/Intercpt-v0", 1)
    with pytest.raises(UsageError, match="did you mean 'CartPole-v1'"):
        make_world("CartPol-v1", 1)
    with pytest.raises(UsageError, match="module 'nowhere'"):
        make_world("nowhere:Game-v0", 1)
    with pytest.raises(UsageError, match="did you mean 'observation'"):
        make_world(GRID, 1, options={"observations": "rgb"})
    with pytest.raises(UsageError, match="did you mean 'planes'"):
        make_world(GRID, 1, options={"observation": "plane"})
    with pytest.raises(UsageError, match="unknown environment") as caught:
        make_world("nothing-like-it", 1)
    assert "metaworld/TASK" in caught.value.hint


def test_minigrid_works_and_its_absence_is_named(monkeypatch):
    pytest.importorskip("minigrid", reason="runs when the extra [minigrid] is installed")
    world = make_world("MiniGrid-Empty-8x8-v0", 2, options={"tile_size": 8, "size": 7})
    assert world.frame_shape == (56, 56, 3)  # 7 cells: the environment's own option `size`, not ours
    assert world.action_count == 7
    assert world.state() is None
    world.reset(np.arange(2), np.array([1, 2]))
    before = world.frames()
    world.step(np.array([0, 2]))  # turn left, go forward
    assert (world.frames() != before).any(axis=(1, 2, 3)).all()
    world.close()
    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(MissingExtraError) as caught:
        make_world("MiniGrid-Empty-5x5-v0", 1)
    assert "pip install '.[minigrid]'" in caught.value.hint


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_resize_takes_the_mean_of_the_area(channels):
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 32, channels)).astype(np.uint8)
    areas = frames.reshape(3, 16, 4, 16, 2, channels).mean(axis=(2, 4))
    assert np.abs(resize(frames, 16).astype(float) - areas).max() <= 1.0  # one level: rounding in two passes


def test_resizing_wraps_our_worlds_too():
    world = make_world(GRID, 2, size=16)
    world.reset(np.arange(2), np.arange(2))
    assert world.frames().shape == (2, 16, 16, 3)
    assert world.frame_shape == (16, 16, 3)
    np.testing.assert_array_equal(world.frames()[:, ::2, ::2], Grid.frames(world._world)[:, ::4, ::4])
