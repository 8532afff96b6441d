"""Small parts of worlds by hand: actions in an environment's own words, a shell's words, frames of another size, a point mass and its goal."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from layerscout.errors import UsageError
from layerscout.worlds.action_spaces import CombinationAdapter, bounded_adapter
from layerscout.worlds.resized import resize
from layerscout.worlds.simulators.foreign import python_command
from layerscout.worlds.simulators.point_goal import check_goal, draw_goal, is_reached, picture_at


def test_combinations_are_counted_with_the_last_choice_fastest_from_its_own_first():
    adapter = CombinationAdapter(np.array([2, 3]), np.array([10, 20]), np.int32)
    assert (adapter.count, adapter.dimensions) == (6, 0)
    natives = [adapter.native(choice) for choice in range(6)]
    assert [native.tolist() for native in natives] == [[10, 20], [10, 21], [10, 22], [11, 20], [11, 21], [11, 22]]
    assert natives[0].dtype == np.int32


def test_a_vector_of_any_shape_is_laid_out_row_by_row_and_never_leaves_its_bounds():
    low, high = np.array([[0.1, -3.0], [-1.0, 5.0]]), np.array([[0.7, 3.0], [1.0, 5.0]])
    adapter = bounded_adapter("any", low, high)
    assert (adapter.count, adapter.dimensions) == (0, 4)
    np.testing.assert_allclose(adapter.native(np.array([0.0, 1.0, -1.0, 0.3])), [[0.4, 3.0], [-1.0, 5.0]], rtol=1e-6)
    for corner in (-np.ones(4), np.ones(4)):
        native = adapter.native(corner)
        assert (native >= low.astype(np.float32)).all()
        assert (native <= high.astype(np.float32)).all()
        assert native.dtype == np.float32


@pytest.mark.parametrize(
    ("low", "high", "which"),
    [
        ([-np.inf, 0.0], [1.0, 1.0], "dimension 0 goes from -inf to 1.0"),
        ([0.0, 0.0], [1.0, np.inf], "dimension 1 goes from 0.0 to inf"),
        ([0.0, np.nan], [1.0, 1.0], "dimension 1 goes from nan to 1.0"),
        ([], [], "no dimension"),
    ],
)
def test_bounds_that_are_none_are_told_by_dimension(low, high, which):
    with pytest.raises(UsageError, match="any has unbounded actions") as caught:
        bounded_adapter("any", low, high)
    assert which in str(caught.value)


def test_a_command_survives_the_shell():
    assert python_command(["a = '$HOME'", 'b = "`x`\\n"']) == 'python -c "a = \'\\$HOME\'; b = \\"\\`x\\`\\\\n\\""'


def test_resizing_never_changes_what_fills_its_area():
    frames = np.repeat(np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1), 4, axis=1).repeat(4, axis=2) * 40
    assert resize(frames[:, :8, :8], 2)[0, ..., 0].tolist() == [[0, 40], [120, 160]]
    assert resize(frames[:0], 2).shape == (0, 2, 2, 1)


class Physics:
    """A point mass that remembers where it was put and whether its state was restored."""

    def __init__(self, place=(0.0, 0.0)) -> None:
        self.data = SimpleNamespace(qpos=np.array([*place, 9.0]))
        self.inside = 0

    def get_state(self):
        return self.data.qpos

    def set_state(self, state):
        self.data.qpos[:] = state

    def reset_context(self):
        physics = self

        class Context:
            def __enter__(self):
                physics.inside += 1

            def __exit__(self, *failure):
                return None

        return Context()


@pytest.mark.parametrize("start", [(0.0, 0.0), (0.2, -0.2), (-0.24, 0.24)])
def test_goals_lie_at_a_distance_within_the_walls_and_belong_to_their_seed(start):
    physics = Physics(start)
    goals = np.array([draw_goal(physics, seed) for seed in range(200)])
    apart = np.linalg.norm(goals - start, axis=1)
    assert 0.10 <= apart.min() < 0.12
    assert apart.max() <= 0.22
    assert np.abs(goals).max() < 0.25
    np.testing.assert_array_equal(draw_goal(physics, 5), goals[5])
    assert len(np.unique(goals, axis=0)) == 200


def test_a_goals_picture_is_drawn_with_the_mass_there_and_leaves_no_trace():
    physics = Physics((0.1, 0.2))
    shown = picture_at(physics, np.array([-0.1, 0.05]), lambda: physics.data.qpos.copy())
    assert shown.tolist() == [-0.1, 0.05, 9.0]
    assert physics.data.qpos.tolist() == [0.1, 0.2, 9.0]
    assert physics.inside == 2, "both moves are made known to the simulator"


@pytest.mark.parametrize(("place", "reached"), [((0.0, 0.0), True), ((0.029, 0.0), True), ((0.031, 0.0), False), ((0.022, 0.022), False)])
def test_a_goal_is_reached_within_three_centimetres(place, reached):
    assert is_reached(Physics(place), np.zeros(2)) is reached


@pytest.mark.parametrize(
    ("domain", "goal", "message"),
    [("point_mass", "image", "dm_control/x: unknown goal 'image'"), ("walker", "picture", "dm_control/x shows no goals")],
)
def test_goals_that_a_task_cannot_show_are_refused(domain, goal, message):
    with pytest.raises(UsageError, match=message):
        check_goal("dm_control/x", domain, goal)
    check_goal("dm_control/x", "walker", "none")
    check_goal("dm_control/x", "point_mass", "picture")
