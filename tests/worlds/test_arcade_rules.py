"""The small games: what all of them share, and those on boards of cells, where what one step pays and ends is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from layerscout.errors import UsageError
from layerscout.worlds.arcade.base import SIZE, blank, paint_bar, paint_disc, reflect, towards
from layerscout.worlds.arcade.catch import Catch
from layerscout.worlds.arcade.cells import CELLS, FAR, distances, downhill, moved, scaled
from layerscout.worlds.arcade.hunt import Hunt
from layerscout.worlds.arcade.keys import Keys
from layerscout.worlds.arcade.lob import Lob
from layerscout.worlds.arcade.maze import Maze, draw_walls
from layerscout.worlds.arcade.rally import Rally
from layerscout.worlds.arcade.two_balls import TwoBalls
from layerscout.worlds.grid import Grid

STAY, UP, DOWN, LEFT, RIGHT = range(5)
GAMES = (Catch, Lob, TwoBalls, Rally, Hunt, Maze, Keys)


def begun(kind, copies: int = 1, **options):
    world = kind(copies, **options)
    world.reset(np.arange(copies), np.arange(copies))
    return world


def one(world, action: int):
    """What a step of the first copy gives: reward, terminated, truncated."""
    reward, terminated, truncated = world.step(np.full(world.copies, action))
    return round(float(reward[0]), 6), bool(terminated[0]), bool(truncated[0])


# --- what all share


@pytest.mark.parametrize("kind", GAMES)
def test_a_world_that_was_never_reset_stands_still(kind):
    world = kind(2)
    before = world.state()
    outcome = world.step(np.zeros(2, int))
    assert outcome.reward.tolist() == [0.0, 0.0]
    assert not (outcome.terminated | outcome.truncated).any()
    np.testing.assert_array_equal(world.state(), before)
    assert world.clock.tolist() == [0, 0]


@pytest.mark.parametrize("kind", GAMES)
def test_a_scripted_player_is_called_optimal_only_where_no_policy_earns_more(kind):
    """References of agents' returns rest on this: how to catch every prey is not known."""
    assert kind(1).optimal_expert is (kind is not Hunt)


@pytest.mark.parametrize("kind", GAMES)
def test_starting_one_copy_again_leaves_the_others_where_they_are(kind):
    world, other = begun(kind, 3), begun(kind, 3)
    for _ in range(4):
        world.step(np.zeros(3, int))
        other.step(np.zeros(3, int))
    world.reset(np.array([1]), np.array([77]))
    fresh = begun(kind, 1)
    fresh.reset(np.array([0]), np.array([77]))
    np.testing.assert_array_equal(world.state()[[0, 2]], other.state()[[0, 2]])
    np.testing.assert_array_equal(world.state()[1], fresh.state()[0])
    np.testing.assert_array_equal(world.frames()[1], fresh.frames()[0])
    assert world.clock.tolist() == [4, 0, 4]


@pytest.mark.parametrize("kind", GAMES)
def test_drawing_and_asking_change_nothing(kind):
    looked, blind = begun(kind, 2), begun(kind, 2)
    for action in (0, 2, 1, 1, 0, 2):
        looked.frames()
        looked.pictures(np.array([1]))
        looked.state()
        looked.expert()
        outcomes = [world.step(np.full(2, action)) for world in (looked, blind)]
        np.testing.assert_array_equal(outcomes[0].reward, outcomes[1].reward)
    np.testing.assert_array_equal(looked.state(), blind.state())
    np.testing.assert_array_equal(looked.frames(), blind.frames())


@pytest.mark.parametrize("kind", GAMES)
def test_time_runs_out_at_the_limit_and_is_no_end_of_the_task(kind):
    world = begun(kind)
    world.clock[:] = world.step_limit - 2
    world.advance = lambda actions, live: (np.full(1, -0.5), np.zeros(1, bool))  # a step in which nothing is decided
    assert one(world, 0) == (-0.5, False, False)
    assert one(world, 0) == (-0.5, False, True)
    assert one(world, 0) == (0.0, False, False), "it is over"


@pytest.mark.parametrize("kind", GAMES)
def test_an_end_in_the_last_step_is_an_end_and_not_a_cut(kind):
    world = begun(kind)
    world.clock[:] = world.step_limit - 1
    world.advance = lambda actions, live: (np.ones(1), np.ones(1, bool))
    assert one(world, 0) == (1.0, True, False)


@pytest.mark.parametrize("kind", GAMES)
def test_nobody_is_drawn_for_nobody_and_copies_in_any_order(kind):
    world = begun(kind, 3)
    assert world.frames(np.array([], np.intp)).shape == (0, SIZE, SIZE, 3)
    np.testing.assert_array_equal(world.frames(np.array([2, 0, 2])), world.frames()[[2, 0, 2]])
    assert world.frames().dtype == np.uint8


@pytest.mark.parametrize(("gap", "action"), [(-3.0, 0), (-0.25, 0), (-0.24, 1), (0.0, 1), (0.24, 1), (0.25, 2), (3.0, 2)])
def test_a_gap_is_closed_unless_half_a_step_would_not_matter(gap, action):
    assert towards(np.array([gap]), 0.5).tolist() == [action]


@pytest.mark.parametrize(
    ("straight", "folded"), [(5.0, 5.0), (2.0, 2.0), (12.0, 12.0), (13.5, 10.5), (1.0, 3.0), (-9.0, 11.0), (22.0, 2.0), (25.0, 5.0)]
)
def test_a_path_is_folded_between_two_walls(straight, folded):
    assert reflect(np.array([straight]), 2.0, 12.0).tolist() == [folded]


def test_a_disc_covers_its_middle_wholly_and_its_rim_in_part():
    pictures = blank(2, (10.0, 20.0, 30.0))
    paint_disc(pictures, np.array([8.0, 8.0]), np.array([5.0, 5.0]), 2.0, (110.0, 120.0, 130.0), np.array([True, False]))
    assert pictures[0, 8, 5].tolist() == [110.0, 120.0, 130.0]
    assert pictures[0, 8, 7, 0] == 60.0, "two pixels away, half of the rim's pixel is covered"
    assert pictures[0, 8, 8, 0] == 10.0
    assert (pictures[1] == (10.0, 20.0, 30.0)).all()


def test_a_bar_fills_its_rows_around_its_column():
    pictures = blank(1, (0.0, 0.0, 0.0))
    paint_bar(pictures, slice(4, 6), np.array([10.0]), 3.0, (100.0, 100.0, 100.0))
    line = pictures[0, 4, :, 0]
    assert line[7:14].tolist() == [50.0, 100.0, 100.0, 100.0, 100.0, 100.0, 50.0]
    assert line[:7].sum() + line[14:].sum() == 0.0
    assert pictures[0, [3, 6]].sum() == 0.0
    np.testing.assert_array_equal(pictures[0, 4], pictures[0, 5])


# --- boards of cells


def test_distances_go_around_walls_and_are_far_where_no_way_leads():
    walls = np.zeros((CELLS, CELLS), bool)
    walls[:, 3] = True
    walls[7, 3] = False  # the only gap
    steps = distances(walls, (0, 2))
    assert steps[0, 2] == 0
    assert steps[0, 4] == 7 + 2 + 7
    assert steps[0, 3] == FAR
    walls[7, 3] = True
    assert distances(walls, (0, 2))[0, 4] == FAR
    np.testing.assert_array_equal(distances(np.zeros_like(walls), (0, 0)), np.add.outer(np.arange(8), np.arange(8)))


@pytest.mark.parametrize(("action", "cell"), [(STAY, (0, 0)), (UP, (0, 0)), (DOWN, (1, 0)), (LEFT, (0, 0)), (RIGHT, (0, 0))])
def test_a_wall_and_the_edge_stop_a_move(action, cell):
    walls = np.zeros((1, CELLS, CELLS), bool)
    walls[0, 0, 1] = True
    assert tuple(moved(np.array([[0, 0]]), np.array([action]), walls)[0]) == cell


def test_downhill_is_the_first_of_the_moves_that_come_nearest():
    steps = np.stack([distances(np.zeros((CELLS, CELLS), bool), (3, 3))] * 5)
    cells = np.array([[3, 3], [5, 3], [1, 3], [3, 6], [3, 0]])
    assert downhill(steps, cells).tolist() == [STAY, UP, DOWN, LEFT, RIGHT]
    assert downhill(steps[:1], np.array([[7, 7]])).tolist() == [UP], "up and left are as near; the first of them"


def test_cells_are_told_as_column_and_row_from_minus_one_to_one():
    np.testing.assert_allclose(scaled(np.array([[0, 7]]), np.array([[7, 0]])), [[1.0, -1.0, -1.0, 1.0]])


def test_the_key_pays_half_and_the_door_the_other_half():
    world = begun(Keys)
    world.agent[0], world.key[0], world.door[0] = (4, 4), (4, 5), (4, 3)
    assert one(world, LEFT) == (-0.01, False, False), "a door without its key is floor"
    assert one(world, RIGHT) == (-0.01, False, False)
    assert world.expert().tolist() == [RIGHT]
    assert one(world, RIGHT) == (0.5, False, False)
    assert world.state()[0, -1] == 1.0
    assert world.expert().tolist() == [LEFT]
    assert one(world, STAY) == (-0.01, False, False), "a key is fetched once"
    assert one(world, LEFT) == (-0.01, False, False)
    assert one(world, LEFT) == (0.5, True, False)
    assert one(world, LEFT) == (0.0, False, False)


def test_the_key_leaves_the_picture_with_the_agent_who_holds_it():
    world = begun(Keys)
    world.agent[0], world.key[0], world.door[0] = (0, 0), (0, 1), (7, 7)
    cells = world.frames()[0, ::4, ::4]
    assert cells[0, 1].tolist() == [240, 220, 80]
    assert cells[7, 7].tolist() == [170, 80, 60]
    world.step(np.array([RIGHT]))
    after = world.frames()[0, ::4, ::4]
    assert after[0, 1].tolist() == [140, 240, 140], "who holds it is of another colour"
    assert after[0, 0].tolist() == [30, 30, 40]
    assert not (after == (240, 220, 80)).all(-1).any()


def test_a_step_into_a_wall_costs_as_much_as_any_and_the_goal_pays_one():
    world = begun(Maze)
    world.walls[0] = False
    world.walls[0, 2, 3] = True
    world.agent[0], world.goal[0] = (2, 2), (4, 2)
    world.steps[0] = distances(world.walls[0], (4, 2))
    assert one(world, RIGHT) == (-0.01, False, False)
    assert world.agent.tolist() == [[2, 2]]
    assert world.expert().tolist() == [DOWN]
    assert one(world, DOWN) == (-0.01, False, False)
    assert one(world, DOWN) == (1.0, True, False)
    picture = world.frames()[0, ::4, ::4]
    assert picture[4, 2].tolist() == [60, 140, 240], "the agent stands over the goal"
    assert picture[2, 3].tolist() == [120, 120, 120]


def test_walls_leave_free_cells_that_hang_together():
    for seed in range(5):
        walls = draw_walls(np.random.default_rng(seed))
        free = np.argwhere(~walls)
        assert len(free) == 48
        assert (distances(walls, tuple(free[0]))[~walls] < FAR).all()


def test_every_drawn_maze_has_sixteen_walls_and_a_way():
    world = begun(Maze, 60)
    assert (world.walls.sum(axis=(1, 2)) == 16).all()
    places = np.arange(60)
    for cell in (world.agent, world.goal):
        assert not world.walls[places, cell[:, 0], cell[:, 1]].any()
    way = world.steps[places, world.agent[:, 0], world.agent[:, 1]]
    assert way.min() >= 1
    assert way.max() < FAR


def test_other_walls_are_named():
    with pytest.raises(UsageError, match="unknown walls 'drawnn'; did you mean 'drawn'") as caught:
        Maze(1, walls="drawnn")
    assert caught.value.hint == "walls is one of: drawn, fixed"


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ((3, 3), UP, (2, 3)),
        ((3, 3), DOWN, (4, 3)),
        ((3, 3), LEFT, (3, 2)),
        ((3, 3), RIGHT, (3, 4)),
        ((0, 0), UP, (0, 0)),
        ((7, 7), RIGHT, (7, 7)),
    ],
)
def test_the_grids_agent_goes_where_it_is_sent_and_no_further_than_the_edge(start, action, end):
    world = begun(Grid)
    world.agent[0], world.goal[0] = start, (5, 0)
    assert one(world, action) == (-0.01, False, False)
    assert tuple(world.agent[0]) == end


@pytest.mark.parametrize(
    "rewards", [{"goal_reward": 0.0}, {"goal_reward": float("inf")}, {"step_reward": 0.1}, {"step_reward": float("nan")}]
)
def test_rewards_under_which_the_nearest_way_is_not_best_are_refused(rewards):
    with pytest.raises(UsageError, match=r"layerscout/Grid-v0: goal_reward="):
        Grid(1, **rewards)


def test_the_grids_rewards_are_those_that_were_said():
    world = begun(Grid, goal_reward=3.0, step_reward=0.0)
    world.agent[0], world.goal[0] = (2, 2), (2, 4)
    assert one(world, RIGHT) == (0.0, False, False)
    assert one(world, RIGHT) == (3.0, True, False)
