"""Laws of collecting: the file is a function of the config, whatever the copies and interruptions; policies do what they say."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import shutil
from collections import namedtuple
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from layerscout.cache.dataset.trajectories import Trajectories, TrajectoryWriter
from layerscout.errors import BudgetError, DataError, LayerscoutError, UsageError
from layerscout.progress import Reporter
from layerscout.worlds import playing
from layerscout.worlds.collect import plan, run
from layerscout.worlds.config import CollectConfig
from layerscout.worlds.exploring import parse_policy
from layerscout.worlds.grid import Grid
from layerscout.worlds.intercept import Intercept
from layerscout.worlds.pixels import world_of
from layerscout.worlds.playing import action_generator, episode_seed, play

GRID, INTERCEPT = "layerscout/Grid-v0", "layerscout/Intercept-v0"
EXPERT = -1  # here: a step on which the expert is asked


def _config(folder, **settings) -> CollectConfig:
    return CollectConfig(**({"environment": INTERCEPT, "steps": 400, "out": folder / "data.h5", "seed": 3} | settings))


def _collect(config: CollectConfig):
    path = run(plan(config))
    with Trajectories(path) as trajectories:
        return trajectories.digest(), [trajectories.episode(i) for i in range(len(trajectories.lengths))]


def _replay(world, episode, number, seed):
    """Play the recorded actions in one copy from the documented seed; everything must come out again."""
    world.reset(np.array([0]), np.array([episode_seed(seed, number)]))
    np.testing.assert_array_equal(world.frames()[0], episode.frames[0])
    np.testing.assert_array_equal(world.state()[0], episode.state[0])
    for t, action in enumerate(episode.actions):
        reward, terminated, truncated = world.step(np.array([action]))
        assert (reward[0], terminated[0], truncated[0]) == (episode.rewards[t], episode.terminated[t], episode.truncated[t])
        np.testing.assert_array_equal(world.frames()[0], episode.frames[t + 1])
        np.testing.assert_array_equal(world.state()[0], episode.state[t + 1])


@pytest.mark.parametrize(("environment", "world"), [(GRID, Grid), (INTERCEPT, Intercept)])
@pytest.mark.parametrize("policy", ["random", "random:3", "epsilon:0.5", "epsilon:0.5:4"])
def test_the_number_of_copies_does_not_change_the_data(tmp_path, environment, world, policy):
    digests = {}
    for copies in (1, 7):
        config = _config(tmp_path, environment=environment, steps=250, policy=policy, copies=copies, out=tmp_path / f"{copies}.h5")
        digests[copies], episodes = _collect(config)
        lengths = [len(episode.actions) for episode in episodes]
        assert sum(lengths) >= config.steps > sum(lengths[:-1])  # it stops with the first episode that is enough
        for episode in episodes:
            ends = episode.terminated | episode.truncated
            assert ends[-1]
            assert not ends[:-1].any()
    assert len(set(digests.values())) == 1
    for number in (0, len(episodes) - 1):
        _replay(world(1), episodes[number], number, config.seed)


def test_other_seeds_give_other_data(tmp_path):
    digests = {_collect(_config(tmp_path, steps=60, copies=2, seed=seed, out=tmp_path / f"{seed}.h5"))[0] for seed in (0, 1, 2)}
    assert len(digests) == 3


class _Killed(Exception):
    pass


@pytest.mark.parametrize(("dies_at", "safe"), [(1, 0), (10, 8)])
def test_killed_and_run_again_equals_unbroken(tmp_path, monkeypatch, small_parts, dies_at, safe):
    settings = {"environment": GRID, "policy": "epsilon:0.1", "steps": 100, "copies": 5}
    unbroken, episodes = _collect(_config(tmp_path, out=tmp_path / "unbroken.h5", **settings))
    assert len(episodes) > 2 * small_parts + 3
    assert safe == dies_at // small_parts * small_parts
    config, played = _config(tmp_path, **settings), []

    def dying(*arguments, **keywords):
        for count, episode in enumerate(play(*arguments, **keywords)):
            if count == dies_at:
                raise _Killed
            yield episode

    def counting(*arguments, **keywords):
        for episode in play(*arguments, **keywords):
            played.append(episode)
            yield episode

    monkeypatch.setattr("layerscout.worlds.collect.play", dying)
    with pytest.raises(_Killed):
        run(plan(config))
    assert not config.out.exists()
    monkeypatch.setattr("layerscout.worlds.collect.play", counting)
    stream = io.StringIO()
    run(plan(config), Reporter(stream=stream, events=tmp_path / "events.jsonl"))
    with Trajectories(config.out) as trajectories:
        assert trajectories.digest() == unbroken
    assert len(played) == len(episodes) - safe  # it went on; only what was not yet safe is played again
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events[-1]["done"] == sum(len(episode.actions) for episode in episodes)
    assert "steps (" in stream.getvalue()


@pytest.mark.parametrize("moment", ["before the writer", "between two parts", "before the end", "while merging"])
def test_a_file_that_somebody_else_finishes_meanwhile_is_there(tmp_path, monkeypatch, small_parts, moment):
    """Several of the same command at once on one file all end well, with the same file."""
    config = _config(tmp_path, environment=GRID, policy="epsilon:0.1", steps=60)
    planned, told, merge = plan(config), io.StringIO(), TrajectoryWriter.commit

    def other():
        with monkeypatch.context() as patch:
            patch.setattr("layerscout.worlds.collect.play", play)
            patch.setattr(TrajectoryWriter, "commit", merge)
            run(plan(config))

    def playing_on(*arguments, **keywords):
        for count, episode in enumerate(play(*arguments, **keywords)):
            if (moment, count) == ("between two parts", small_parts + 1):
                other()
            yield episode
        if moment == "before the end":
            other()

    def merging(writer):
        writer.flush()
        other()
        return merge(writer)

    if moment == "before the writer":
        other()
    monkeypatch.setattr("layerscout.worlds.collect.play", playing_on)
    if moment == "while merging":
        monkeypatch.setattr(TrajectoryWriter, "commit", merging)
    assert run(planned, Reporter(stream=told)) == config.out
    assert (f"{config.out} is complete" in told.getvalue()) == (moment == "before the writer"), "what was played anyway needs no word"
    assert [path.name for path in tmp_path.iterdir()] == ["data.h5"]
    monkeypatch.setattr("layerscout.worlds.collect.play", play)
    monkeypatch.setattr(TrajectoryWriter, "commit", merge)
    unbroken, _ = _collect(config.model_copy(update={"out": tmp_path / "alone.h5"}))
    with Trajectories(config.out) as trajectories:
        assert trajectories.digest() == unbroken


def test_an_error_that_is_not_another_process_stays_an_error(tmp_path, monkeypatch):
    def refused(self):
        raise DataError("no such luck", hint="none")

    monkeypatch.setattr(TrajectoryWriter, "commit", refused)
    with pytest.raises(DataError, match="no such luck"):
        run(plan(_config(tmp_path, steps=20)))


def written(path: Path) -> tuple[int, int, int]:
    """What tells whether a file was written again; the time of reading is left out, for a plan reads it."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns


def test_the_same_command_again_does_nothing(tmp_path):
    config = _config(tmp_path, steps=50)
    run(plan(config))
    before = written(config.out)
    again = plan(config)
    assert again.complete
    assert again.describe()["bytes"] == 0
    run(again)
    assert written(config.out) == before


@pytest.mark.parametrize("change", [{"seed": 4}, {"steps": 51}, {"policy": "random:2"}, {"size": 16}, {"environment": GRID}])
def test_a_file_with_other_data_is_refused_and_kept(tmp_path, change):
    config = _config(tmp_path, steps=50)
    digest, _ = _collect(config)
    with pytest.raises(DataError, match="another dataset"):
        plan(config.model_copy(update=change))
    with Trajectories(config.out) as trajectories:
        assert trajectories.digest() == digest


def test_copies_and_place_are_no_part_of_the_content(tmp_path):
    config = _config(tmp_path, steps=50)
    run(plan(config))
    moved = shutil.copy(config.out, tmp_path / "moved.h5")
    assert plan(config.model_copy(update={"copies": 3, "out": moved})).complete


def test_a_dataset_tells_the_environment_it_came_from(tmp_path):
    config = _config(tmp_path, environment=GRID, steps=50, size=16, options={"observation": "planes"})
    _collect(config)
    with Trajectories(config.out) as trajectories, contextlib.closing(world_of(trajectories.attributes, 1)) as world:
        _replay(world, trajectories.episode(0), 0, config.seed)
    with pytest.raises(DataError, match="no environment"):
        world_of({}, 1)


def test_the_plan_writes_nothing_and_estimates_the_file(tmp_path):
    config = _config(tmp_path, steps=2000, out=tmp_path / "new" / "data.h5")
    planned = plan(config)
    assert not list(tmp_path.iterdir())
    json.dumps(planned.describe())
    size = run(planned).stat().st_size
    assert size / 2 < planned.bytes < size * 2


def test_too_little_disk_is_refused_before_writing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1, 1, 1000))
    with pytest.raises(BudgetError, match="are needed"):
        run(plan(_config(tmp_path)))
    assert not list(tmp_path.iterdir())


def test_an_environment_without_expert_names_the_policies_that_work(tmp_path):
    with pytest.raises(UsageError) as caught:
        plan(_config(tmp_path, environment="CartPole-v1", policy="epsilon:0.2"))
    assert "random:K" in caught.value.hint
    assert plan(_config(tmp_path, environment="CartPole-v1", policy="epsilon:1:2", copies=1)).policy.hold == 2  # never asks the expert


def test_minigrid_is_collected_and_does_not_depend_on_copies(tmp_path):
    pytest.importorskip("minigrid", reason="runs when the extra [minigrid] is installed")
    common = {
        "environment": "MiniGrid-Empty-5x5-v0",
        "steps": 150,
        "options": {"tile_size": 8, "max_episode_steps": 40},
        "policy": "random:2",
    }
    one, episodes = _collect(_config(tmp_path, copies=1, out=tmp_path / "1.h5", **common))
    three, _ = _collect(_config(tmp_path, copies=3, out=tmp_path / "3.h5", **common))
    assert one == three
    assert episodes[0].frames.shape[1:] == (40, 40, 3)
    assert episodes[0].state is None
    assert max(len(episode.actions) for episode in episodes) <= 40


class _Endless(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (2, 2, 1), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((2, 2, 1), np.uint8), {}

    def step(self, action):
        return np.zeros((2, 2, 1), np.uint8), 0.0, False, False, {}


def test_an_episode_without_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(playing, "LONGEST", 300)
    gymnasium.register("Endless-v0", entry_point=_Endless)
    try:
        with pytest.raises(DataError, match="episode 0 has not ended after 300 steps") as caught:
            run(plan(_config(tmp_path, environment="Endless-v0", steps=100)))
        assert "max_episode_steps" in caught.value.hint
        limited = _config(tmp_path, environment="Endless-v0", steps=100, options={"max_episode_steps": 30})
        assert [len(episode.actions) for episode in _collect(limited)[1]] == [30] * 4
    finally:
        del gymnasium.registry["Endless-v0"]


@pytest.mark.parametrize(
    ("text", "randomness", "hold"), [("random", 1, 1), ("random:4", 1, 4), ("epsilon:0.3", 0.3, 1), ("epsilon:0.3:5", 0.3, 5)]
)
def test_policies_keep_their_share_of_random_steps_and_their_hold(text, randomness, hold):
    steps = 40_000
    drawing = itertools.islice(parse_policy(text).draw_steps(1000, np.random.default_rng(0)), steps)
    choices = np.array([EXPERT if choice.asks_expert else choice.value for choice in drawing])
    assert (choices != EXPERT).mean() == pytest.approx(randomness, abs=0.025)
    changed = np.flatnonzero(np.diff(choices, prepend=-2))
    spells = np.diff(changed, append=steps)[choices[changed] != EXPERT]
    assert spells.mean() == pytest.approx(hold, rel=0.05)
    drawn = choices[choices != EXPERT]
    assert set(range(1000)) >= set(drawn)
    assert abs(drawn.mean() - 499.5) < 30


@pytest.mark.parametrize(
    "text",
    ["", "rnd", "random:", "random:0.5", "random:2:3", "epsilon", "epsilon:1.5", "epsilon:-1", "epsilon:.1:0", "epsilon:nan", "random:inf"],
)
def test_malformed_policies_are_refused_with_the_forms(text):
    with pytest.raises(UsageError, match=r"random \| random:K"):
        parse_policy(text)


def test_the_expert_alone_solves_both_games(tmp_path):
    for environment in (GRID, INTERCEPT):
        _, episodes = _collect(
            _config(tmp_path, environment=environment, policy="epsilon:0", steps=200, out=tmp_path / environment.split("/")[1])
        )
        assert all(episode.rewards[-1] == 1.0 for episode in episodes)


def test_seeds_are_spread_and_actions_do_not_follow_the_world():
    seeds = [episode_seed(seed, episode) for seed in range(20) for episode in range(50)]
    assert len(set(seeds)) == len(seeds)
    assert 0 <= min(seeds) <= max(seeds) < 2**31
    assert not np.array_equal(action_generator(0, 0).random(4), np.random.default_rng(episode_seed(0, 0)).random(4))


@pytest.mark.parametrize("settings", [{"environment": "layerscout/Grd-v0"}, {"policy": "greedy"}, {"options": {"speed": 2}}])
def test_mistakes_are_errors_with_a_next_step(tmp_path, settings):
    with pytest.raises(LayerscoutError) as caught:
        plan(_config(tmp_path, **settings))
    assert caught.value.hint
