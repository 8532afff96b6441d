"""Laws of the simulators: an episode is a function of its seed, our pictures are theirs, and what is missing is named."""

from __future__ import annotations

import contextlib
import ctypes.util
import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.worlds import collect
from layerscout.worlds.config import CollectConfig
from layerscout.worlds.core import random_actions
from layerscout.worlds.pixels import make_world, side_by_side, world_of
from layerscout.worlds.playing import episode_seed, play
from layerscout.worlds.simulators import opengl

FAMILIES = {  # id: package, extra, dimensions or count of actions, numbers of the state
    "metaworld/reach-v3": ("metaworld", "metaworld", 4, 39),
    "dm_control/walker-walk": ("dm_control", "dm-control", 6, 18),
    "Reacher-v5": ("mujoco", "mujoco", 2, 10),
    "HalfCheetah-v5": ("mujoco", "mujoco", 6, 17),
    "Ant-v5": ("mujoco", "mujoco", 8, 105),
    "ALE/Breakout-v5": ("ale_py", "ale", 4, 128),
}


@pytest.fixture(scope="session")
def opengl_library() -> str:
    if importlib.util.find_spec("mujoco") is None:
        pytest.skip("runs when one of the extras [metaworld], [dm-control], [mujoco] is installed")
    try:
        return opengl.choose_library()
    except MissingExtraError as error:
        pytest.skip(f"runs where an OpenGL library can draw: {error.hint}")


def _need(name: str, request) -> None:
    """Skip where the environment's package or an OpenGL library is not there."""
    family = {"metaworld": ("metaworld", "metaworld"), "dm_control": ("dm_control", "dm-control"), "ALE": ("ale_py", "ale")}
    package, extra = family.get(name.split("/")[0], ("mujoco", "mujoco"))
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"runs when the extra [{extra}] is installed")
    if package != "ale_py":
        request.getfixturevalue("opengl_library")


def _world(name: str, copies: int, request, size: int | None = 24, **options):
    _need(name, request)
    world = make_world(name, copies, size, options)
    request.addfinalizer(world.close)
    return world


def _episode(world, copy: int, seed: int, steps: int, look: bool) -> tuple[np.ndarray, np.ndarray]:
    """Play random actions in one copy; return states with rewards, and the first and last frame."""
    here, rng = np.array([copy]), np.random.default_rng(seed)
    world.reset(here, np.array([seed]))
    numbers, frames = [world.state()[copy]], [world.frames(here)[0]]
    for _ in range(steps):
        actions = random_actions(world, rng)
        actions[copy] = actions[0]  # the same action whichever copy plays
        reward = world.step(actions).reward
        numbers.append(np.append(world.state()[copy], reward[copy]))
        if look:
            world.frames()
    return np.concatenate(numbers), np.stack([*frames, world.frames(here)[0]])


@pytest.mark.parametrize("name", FAMILIES)
def test_an_episode_is_a_function_of_its_seed(name, request):
    """Whatever was played before, in whichever copy, looked at or not."""
    world = _world(name, 2, request)
    _, _, actions, state = FAMILIES[name]
    assert world.frame_shape == (24, 24, 3)
    assert actions in (world.action_dimensions, world.action_count)
    assert world.state().shape == (2, state)
    assert world.state().dtype == np.float32
    first = _episode(world, 0, seed=5, steps=8, look=True)
    other = _episode(world, 0, seed=6, steps=8, look=False)
    again = _episode(world, 0, seed=5, steps=8, look=False)
    beside = _episode(world, 1, seed=5, steps=8, look=False)
    for numbers, frames in (again, beside):
        np.testing.assert_array_equal(numbers, first[0])
        np.testing.assert_array_equal(frames, first[1])
    assert not np.array_equal(other[0], first[0])
    assert first[1].std() > 3, "a picture shows something"
    assert (first[1][0] != first[1][1]).any(), "what is done is seen"


@pytest.mark.parametrize(
    ("name", "package"), [("HalfCheetah-v5", "mujoco"), ("Ant-v5", "mujoco"), ("walker-walk", "dm_control"), ("hopper-hop", "dm_control")]
)
def test_full_quality_is_what_the_simulators_themselves_draw(name, package, request):
    ours = _world(name if package == "mujoco" else f"dm_control/{name}", 1, request, size=48, quality="full")
    ours.reset(np.array([0]), np.array([3]))
    if package == "mujoco":
        import gymnasium

        theirs = gymnasium.make(name, render_mode="rgb_array", camera_name="track", width=48, height=48)
        theirs.reset(seed=3)
        picture = theirs.render()
    else:
        from dm_control import suite

        theirs = suite.load(*name.split("-"), task_kwargs={"random": 3})
        theirs.reset()
        picture = theirs.physics.render(48, 48, camera_id=0)
    np.testing.assert_array_equal(ours.frames()[0], picture)
    theirs.close()


def test_meta_world_is_drawn_upright_by_its_own_renderer_turned(request):
    ours = _world("metaworld/drawer-open-v3", 1, request, size=48, quality="full")
    single = ours._singles[0]
    ours.reset(np.array([0]), np.array([3]))
    frame = ours.frames()[0]
    single._environment.mujoco_renderer.width = single._environment.mujoco_renderer.height = 48
    single._environment.mujoco_renderer.camera_id = single._environment.model.camera("corner").id
    theirs = single._environment.mujoco_renderer.render("rgb_array")
    np.testing.assert_array_equal(frame, theirs[::-1, ::-1])


def test_the_fast_picture_is_close(request):
    """How much faster it is, ``benchmarks/drawing.py`` measures."""
    frames = {}
    for quality in ("fast", "full"):
        world = _world("metaworld/reach-v3", 1, request, size=64, quality=quality)
        world.reset(np.array([0]), np.array([1]))
        frames[quality] = world.frames()[0].astype(float)
    assert abs(frames["fast"].mean() - frames["full"].mean()) < 2  # of 255
    assert np.corrcoef(frames["fast"].ravel(), frames["full"].ravel())[0, 1] > 0.95


@pytest.mark.parametrize("task", ["reach-v3", "drawer-open-v3"])
def test_the_goal_is_shown_where_it_is_from_the_first_frame(task, request):
    """Meta-World moves the marker at a reset and draws it only after the next step."""
    world = _world(f"metaworld/{task}", 1, request, size=64)
    single = world._singles[0]
    places = {}
    for seed in (1, 2):
        world.reset(np.array([0]), np.array([seed]))
        world.frames()
        places[seed] = single._environment.data.site("goal").xpos.copy()
        np.testing.assert_array_equal(places[seed], single._environment._target_pos)
        np.testing.assert_allclose(world.state()[0, -3:], places[seed], atol=1e-6)  # and the state tells it
    assert not np.array_equal(places[1], places[2])


def test_the_scripted_expert_reaches_the_goal_with_noise_too(request, tmp_path):
    _need("metaworld/reach-v3", request)
    options = {"reward": "success", "max_episode_steps": 120}
    config = CollectConfig(
        environment="metaworld/reach-v3", policy="noise:0.3", steps=1, size=8, copies=1, options=options, out=tmp_path / "x.h5"
    )
    with Trajectories(collect.run(collect.plan(config))) as data:
        episode = data.episode(0)
    assert episode.terminated[-1]
    assert not episode.truncated.any()
    np.testing.assert_array_equal(episode.rewards, [0] * (episode.steps - 1) + [1])
    assert episode.actions.dtype == np.float32
    assert np.abs(episode.actions).max() <= 1


def test_the_time_running_out_is_no_end_of_the_task(request):
    for name, options in {
        "metaworld/reach-v3": {"max_episode_steps": 3, "action_repeat": 2},
        "dm_control/cartpole-swingup": {"max_episode_steps": 3, "action_repeat": 2},
        "HalfCheetah-v5": {"max_episode_steps": 3},
    }.items():
        world = _world(name, 2, request, size=8, **options)
        world.reset(np.array([0]), np.array([0]))
        outcomes = [world.step(random_actions(world, np.random.default_rng(step))) for step in range(3)]
        assert [bool(outcome.truncated[0]) for outcome in outcomes] == [False, False, True]
        assert not any(outcome.terminated.any() or outcome.truncated[1] for outcome in outcomes)  # copy 1 never began
    world = _world("Hopper-v5", 1, request, size=8)
    world.reset(np.array([0]), np.array([0]))
    for _ in range(500):
        outcome = world.step(np.ones((1, 3), np.float32))
        if outcome.terminated[0] or outcome.truncated[0]:
            break
    assert outcome.terminated[0], "it falls"
    assert not outcome.truncated[0]


def test_a_repeated_action_adds_up_its_rewards(request):
    once, twice = (_world("dm_control/cartpole-swingup", 1, request, size=8, action_repeat=repeat) for repeat in (1, 2))
    rewards = []
    for world, steps in ((once, 10), (twice, 5)):
        world.reset(np.array([0]), np.array([4]))
        action = np.full((1, 1), 0.7, np.float32)
        rewards.append(sum(float(world.step(action).reward[0]) for _ in range(steps)))
    assert rewards[0] == pytest.approx(rewards[1], rel=1e-5)
    np.testing.assert_array_equal(once.state(), twice.state())


def _fresh_environment() -> dict[str, str]:
    """The variables of this process without those by which simulators choose a library."""
    return {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}


class _Killed(Exception):
    pass


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_a_simulator_killed_and_run_again_equals_unbroken(tmp_path, monkeypatch, request, small_parts):
    _need("InvertedPendulum-v5", request)

    def config(name: str, copies: int) -> CollectConfig:
        return CollectConfig(environment="InvertedPendulum-v5", policy="random:2", steps=50, size=8, copies=copies, out=tmp_path / name)

    def dying(*arguments, **keywords):
        for count, episode in enumerate(play(*arguments, **keywords)):
            if count == small_parts + 2:
                raise _Killed
            yield episode

    with monkeypatch.context() as patch:
        patch.setattr(collect, "play", dying)
        with pytest.raises(_Killed):
            collect.run(collect.plan(config("killed.h5", 3)))
    digests = set()
    for name, copies in (("killed.h5", 3), ("whole.h5", 1)):
        with Trajectories(collect.run(collect.plan(config(name, copies)))) as data:
            digests.add(data.digest())
            assert len(data) > small_parts + 2
            last, episode, attributes = len(data) - 1, data.episode(len(data) - 1), data.attributes
    assert len(digests) == 1
    assert attributes["options"] == {"quality": "fast", "camera": "free"}  # also what nobody stated
    assert attributes["size"] == 8
    with contextlib.closing(world_of(attributes, 1)) as world:
        world.reset(np.array([0]), np.array([episode_seed(0, last)]))
        for step, action in enumerate(episode.actions):
            reward, terminated, truncated = world.step(action[None])
            assert (reward[0], terminated[0], truncated[0]) == (episode.rewards[step], episode.terminated[step], episode.truncated[step])
            np.testing.assert_array_equal(world.frames()[0], episode.frames[step + 1])
            np.testing.assert_array_equal(world.state()[0], episode.state[step + 1])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("metaworld/drawer-opn-v3", {}, "unknown Meta-World task 'drawer-opn-v3'; did you mean 'drawer-open-v3'"),
        ("metaworld/reach-v3", {"camera": "cornr"}, "metaworld/reach-v3: unknown camera 'cornr'; did you mean 'corner'"),
        ("metaworld/reach-v3", {"quality": "fst"}, "unknown quality 'fst'; did you mean 'fast'"),
        ("metaworld/reach-v3", {"reward": "sparse"}, "unknown reward 'sparse'"),
        ("metaworld/reach-v3", {"action_repeat": 0}, "action_repeat 0"),
        ("metaworld/reach-v3", {"cameras": "corner"}, "unknown option 'cameras' of metaworld/reach-v3; did you mean 'camera'"),
        ("dm_control/walker-wlk", {}, "unknown dm_control task 'walker-wlk'; did you mean 'walker-walk'"),
        ("dm_control/walker-walk", {"max_episode_steps": 0}, "max_episode_steps 0"),
        ("HalfCheetah-v5", {"camera": "side"}, "unknown camera 'side'"),
        ("HalfCheetah-v5", {"speed": 3}, "cannot be made with"),
    ],
)
def test_wrong_words_get_the_nearest_right_ones(name, options, message, request):
    _need(name, request)
    with pytest.raises(UsageError, match=message) as caught:
        make_world(name, 1, 8, options)
    assert caught.value.hint


@pytest.mark.parametrize("name", FAMILIES)
def test_a_package_that_is_missing_is_named_with_its_extra(name, monkeypatch):
    package, extra, *_ = FAMILIES[name]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"{name} needs the package {package}") as caught:
        make_world(name, 1)
    assert caught.value.hint == f"in a checkout of layerscout: pip install '.[{extra}]'"


def test_a_simulator_that_breaks_is_named(request):
    world = _world("dm_control/cartpole-swingup", 1, request, size=8)
    world.reset(np.array([0]), np.array([0]))
    world._singles[0]._environment.physics.data.qpos[:] = np.nan
    with pytest.raises(DataError, match="dm_control/cartpole-swingup failed in step: PhysicsError") as caught:
        world.step(np.zeros((1, 1), np.float32))
    assert "suite.load('cartpole', 'swingup', task_kwargs={'random': 0})" in caught.value.hint


def test_the_first_opengl_library_that_works_is_taken(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "")  # not delenv: what is chosen below must be taken back afterwards
    failures = {"egl": "no device", "osmesa": "", "glfw": "no display"}
    monkeypatch.setattr(opengl, "_try", failures.__getitem__)
    assert opengl.choose_library() == os.environ["MUJOCO_GL"] == "osmesa"
    failures["egl"] = ""
    assert opengl.choose_library() == "osmesa", "what was chosen stays"
    monkeypatch.setenv("MUJOCO_GL", "")
    assert opengl.choose_library() == "egl"
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    with pytest.raises(MissingExtraError, match="MUJOCO_GL=glfw: no display"):
        opengl.choose_library()  # what is stated is not replaced


def test_no_opengl_library_names_the_packages_that_bring_one(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr(opengl, "_try", lambda library: f"{library} is not here")
    with pytest.raises(MissingExtraError, match="egl: egl is not here; osmesa: osmesa is not here") as caught:
        opengl.choose_library()
    assert {"libegl1", "libegl-mesa0", "libosmesa6"} <= set(caught.value.hint.split())
    assert not os.environ["MUJOCO_GL"]
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(UsageError, match="MUJOCO_GL is 'vulkan'"):
        opengl.choose_library()


def test_a_stated_library_that_is_missing_is_named_and_nothing_else_is_tried(tmp_path, request):
    _need("Reacher-v5", request)
    missing = "osmesa" if ctypes.util.find_library("OSMesa") is None else "glfw" if "DISPLAY" not in os.environ else None
    if missing is None:
        pytest.skip("runs where libosmesa6 is not installed or there is no display")
    script = "import sys; from layerscout.cli import main; sys.argv[0] = 'layerscout'; main()"
    command = [sys.executable, "-c", script, "collect", "Reacher-v5", "--steps", "5", "--out", str(tmp_path / "x.h5")]
    environment = _fresh_environment() | {"MUJOCO_GL": missing}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == MissingExtraError.exit_code, done.stderr
    assert f"MUJOCO_GL={missing}" in done.stderr.replace("\n", " ")
    assert "apt-get install" in done.stderr


def test_importing_us_chooses_nothing_and_imports_no_simulator():
    script = (
        "import os, sys\n"
        "import layerscout.worlds.pixels, layerscout.worlds.simulators.opengl, layerscout.worlds.simulators.painter\n"
        "import layerscout.worlds.simulators.meta_world, layerscout.worlds.simulators.control_suite, layerscout.worlds.simulators.gym_mujoco\n"
        "assert 'MUJOCO_GL' not in os.environ\n"
        "assert not {'mujoco', 'metaworld', 'dm_control', 'ale_py', 'OpenGL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=_fresh_environment())


def test_heavy_worlds_are_held_in_smaller_numbers():
    assert side_by_side("metaworld/reach-v3") < side_by_side("layerscout/Grid-v0")
