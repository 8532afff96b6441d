"""Laws of the small games: what trivial policies and the expert earn, what the optimum is, and that a finished copy stands still."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.errors import UsageError
from layerscout.worlds.arcade.base import reflect, towards
from layerscout.worlds.arcade.cells import CELLS, FAR, MOVES, distances
from layerscout.worlds.pixels import make_world

GAMES = ("Catch", "Lob", "TwoBalls", "Rally", "Hunt", "Maze", "Keys")
# long-run figures of 400 episodes: random play, standing still
TRIVIAL = {
    "Catch": (-0.85, -0.87),
    "Lob": (-0.53, -0.57),
    "TwoBalls": (-0.51, -0.52),
    "Rally": (-0.94, -0.94),
    "Hunt": (-0.01, 0.03),
    "Maze": (-0.29, -0.80),
    "Keys": (-0.55, -0.80),
}


def game(name: str, copies: int):
    return make_world(f"layerscout/{name}-v0", copies)


def play(world, choose):
    """Play one episode in every copy; return the returns, and how many steps each took."""
    copies = np.arange(world.copies)
    world.reset(copies, copies)
    total, steps, alive = np.zeros(world.copies), np.zeros(world.copies, dtype=int), np.ones(world.copies, dtype=bool)
    while alive.any():
        outcome = world.step(choose(world))
        assert not outcome.reward[~alive].any(), "a finished copy must stand still"
        assert not (outcome.terminated & outcome.truncated).any()
        total += outcome.reward
        steps += alive
        alive &= ~(outcome.terminated | outcome.truncated)
    return total, steps


def expert(world):
    return world.expert()


def stand_still(world):
    return np.full(world.copies, 1 if world.action_count == 3 else 0)


@pytest.mark.parametrize("name", GAMES)
def test_trivial_policies_earn_what_the_page_says(name):
    generator = np.random.default_rng(0)
    played = play(game(name, 400), lambda world: generator.integers(world.action_count, size=world.copies))[0]
    for returns, figure in zip((played, play(game(name, 400), stand_still)[0]), TRIVIAL[name], strict=True):
        assert returns.mean() == pytest.approx(figure, abs=4 * max(returns.std(), 0.05) / np.sqrt(len(returns)))


@pytest.mark.parametrize("name", ["Catch", "Lob", "TwoBalls", "Rally"])
def test_the_expert_catches_everything_that_falls(name):
    assert play(game(name, 400), expert)[0] == pytest.approx(1.0, abs=1e-6)


def test_the_expert_of_the_maze_walks_the_shortest_way():
    world = game("Maze", 200)
    world.reset(np.arange(200), np.arange(200))
    way = world.steps[np.arange(200), world.agent[:, 0], world.agent[:, 1]]
    total, steps = play(world, expert)
    np.testing.assert_array_equal(steps, way)
    np.testing.assert_allclose(total, 1.0 - 0.01 * (way - 1), atol=1e-6)


def test_the_expert_of_keys_fetches_the_key_first():
    world = game("Keys", 200)
    world.reset(np.arange(200), np.arange(200))
    way = np.abs(world.agent - world.key).sum(axis=1) + np.abs(world.key - world.door).sum(axis=1)
    total, steps = play(world, expert)
    np.testing.assert_array_equal(steps, way)
    np.testing.assert_allclose(total, 1.0 - 0.01 * (way - 2), atol=1e-6)


def test_the_hunter_that_aims_ahead_earns_more_than_the_one_that_runs_after_its_prey():
    def run_after(world):
        rows, columns = (world.prey - world.hunter).T
        vertical = np.abs(rows) >= np.abs(columns)
        return np.where(vertical, np.where(rows < 0, 1, 2), np.where(columns < 0, 3, 4))

    ahead, behind = play(game("Hunt", 400), expert), play(game("Hunt", 400), run_after)
    difference = ahead[0] - behind[0]
    assert difference.mean() > 2 * difference.std() / np.sqrt(len(difference))
    assert ahead[0].mean() == pytest.approx(0.836, abs=0.03)


def test_following_the_leaf_comes_too_late_in_the_wind():
    returns = play(game("Catch", 400), lambda world: towards(world.leaf[:, 1] - world.basket, 0.55))[0]
    assert returns.mean() < 0.7


def test_distances_are_those_of_a_search_by_relaxation():
    generator = np.random.default_rng(5)
    for _ in range(20):
        walls = generator.random((CELLS, CELLS)) < 0.3
        goal = tuple(generator.integers(CELLS, size=2))
        walls[goal] = False
        expected = np.full((CELLS, CELLS), FAR)
        expected[goal] = 0
        for _ in range(FAR):
            padded = np.pad(expected, 1, constant_values=FAR)
            near = np.minimum.reduce([padded[1 + r : 1 + r + CELLS, 1 + c : 1 + c + CELLS] for r, c in MOVES[1:]])
            expected = np.where(walls, FAR, np.minimum(expected, near + 1))
        np.testing.assert_array_equal(distances(walls, goal), np.minimum(expected, FAR))


def test_a_folded_path_is_the_path_of_a_ball_that_bounces():
    column, speed, walked = 9.0, 1.3, []
    for _ in range(60):
        column += speed
        if not 2.0 <= column <= 29.0:
            column, speed = (4.0 - column if column < 2.0 else 58.0 - column), -speed
        walked.append(column)
    np.testing.assert_allclose(reflect(9.0 + 1.3 * np.arange(1, 61), 2.0, 29.0), walked, atol=1e-9)


def test_a_state_tells_what_the_pictures_show():
    for name in GAMES:
        world = game(name, 3)
        world.reset(np.arange(3), np.array([4, 4, 9]))
        state, frames = world.state(), world.frames()
        assert state.dtype == np.float32
        np.testing.assert_array_equal(state[0], state[1])
        np.testing.assert_array_equal(frames[0], frames[1])
        assert (state[0] != state[2]).any()
        assert (frames[0] != frames[2]).any()
        np.testing.assert_array_equal(world.frames(np.array([2]))[0], frames[2])


def test_a_fixed_maze_is_the_same_in_all_episodes_and_its_free_cells_hang_together():
    world = make_world("layerscout/Maze-v0", 20, options={"walls": "fixed"})
    returns, _ = play(world, expert)
    assert (world.walls == world.walls[0]).all()
    assert world.walls[0].sum() == 16
    goal = tuple(np.argwhere(~world.walls[0])[0])
    assert (distances(world.walls[0], goal)[~world.walls[0]] < FAR).all()
    assert len({tuple(cell) for cell in world.goal}) > 5
    assert returns.min() > 0.5
    with pytest.raises(UsageError, match="unknown walls 'fix'"):
        make_world("layerscout/Maze-v0", 1, options={"walls": "fix"})


@pytest.mark.parametrize("options", [{"sideways": 0.9}, {"gravity": 0.03}, {"sideways": 2.5, "gravity": 0.01}])
def test_other_speeds_of_intercept_keep_its_expert(options):
    world = make_world("layerscout/Intercept-v0", 200, options=options)
    returns, steps = play(world, expert)
    assert returns.mean() > 0.95
    assert play(make_world("layerscout/Intercept-v0", 200, options=options), stand_still)[0].mean() < -0.2
    if "gravity" in options:
        assert steps.mean() < play(make_world("layerscout/Intercept-v0", 200), stand_still)[1].mean()


@pytest.mark.parametrize("options", [{"sideways": 0.3}, {"sideways": 5.0}, {"gravity": -0.1}, {"gravity": float("nan")}])
def test_speeds_out_of_range_are_refused(options):
    with pytest.raises(UsageError, match="Intercept"):
        make_world("layerscout/Intercept-v0", 1, options=options)
