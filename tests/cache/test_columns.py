"""Numbers of strangers keep their values in the types that episodes have, or are refused at the row where they cannot; every name stays its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from layerscout.cache.importers.assemble import ForeignFields, assemble_episode, ending_of
from layerscout.cache.importers.base import reward_column
from layerscout.cache.importers.columns import (
    as_actions,
    as_columns,
    as_flags,
    as_rewards,
    column_name,
    column_names,
    exact_type,
    is_numeric,
    magnitude,
)
from layerscout.cache.importers.config import ImportConfig
from layerscout.errors import DataError

CONFIG = ImportConfig(source=Path("it"))
WHOLE = 2**24  # the largest whole number up to which float32 has all


# actions


@pytest.mark.parametrize("values", [np.array([0, 2, 1]), np.array([[0], [2], [1]], np.uint8), np.array([0, 2, 1], np.int8)])
def test_one_whole_number_a_step_is_a_discrete_action(values: np.ndarray) -> None:
    found = as_actions([("a", values)], "here", CONFIG)
    assert (found.dtype, found.tolist()) == (np.int64, [0, 2, 1])


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([np.array([0.0, 2.0])], [[0], [2]]),
        ([np.array([[0, 2], [1, 3]])], [[0, 2], [1, 3]]),  # two whole numbers are no choice of one
        ([np.array([0, 2]), np.array([1, 3])], [[0, 1], [2, 3]]),
        ([np.array([True, False]), np.array([[0.5, 1], [2, 3]])], [[1, 0.5, 1], [0, 2, 3]]),
        ([np.zeros((2, 2, 2))], [[0] * 4] * 2),
    ],
)
def test_all_other_actions_are_real_numbers_joined_in_order(parts: list[np.ndarray], expected: list) -> None:
    found = as_actions([(f"a{place}", values) for place, values in enumerate(parts)], "here", CONFIG)
    assert (found.dtype, found.tolist()) == (np.float32, expected)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([np.array([0, -3, 1])], "'a0' has -3 at row 1; a whole number a step is a discrete action, counted from 0"),
        ([np.array([0, 2**63], np.uint64)], "'a0' reaches 9223372036854775808"),
        ([np.zeros(2), np.zeros(3)], "different lengths: 'a0' 2, 'a1' 3"),
        ([np.array([0.0, np.nan])], "'a0' is nan at row 1"),
        ([np.array(["up", "down"])], "'a0' is <U4"),
        ([np.array([[0, WHOLE + 1], [1, 1]])], "float32 holds whole numbers exactly up to 16,777,216"),
    ],
)
def test_actions_that_would_become_others_are_refused_with_the_way_to_go_without(values: list[np.ndarray], told: str) -> None:
    with pytest.raises(DataError, match=told.replace("'", ".")) as caught:
        as_actions([(f"a{place}", part) for place, part in enumerate(values)], "here", CONFIG)
    assert caught.value.hint == "layerscout import it --leave-out actions"


def test_an_episode_without_steps_has_actions_of_its_kind() -> None:
    assert as_actions([("a", np.zeros(0, np.int32))], "here", CONFIG).dtype == np.int64
    assert as_actions([("a", np.zeros((0, 3)))], "here", CONFIG).shape == (0, 3)


# rewards and flags


@pytest.mark.parametrize(
    ("asked", "values", "expected"),
    [
        (None, np.array([1.0, 2.0]), [1, 2]),
        (None, np.array([[1], [2]]), [1, 2]),
        ("r", np.array([1.0, 2.0]), [1, 2]),
        ("r:0", np.array([[1.0, 5.0], [2.0, 6.0]]), [1, 2]),
        ("r:1", np.array([[1.0, 5.0], [2.0, 6.0]]), [5, 6]),
    ],
)
def test_a_step_has_one_reward(asked: str | None, values: np.ndarray, expected: list[float]) -> None:
    found = as_rewards(values, "r", "here", CONFIG.model_copy(update={"reward": asked}))
    assert (found.dtype, found.tolist(), found.flags.c_contiguous) == (np.float32, expected, True)


@pytest.mark.parametrize("asked", [None, "r", "r:2"])
def test_which_of_several_rewards_is_meant_is_asked(asked: str | None) -> None:
    with pytest.raises(DataError, match="the rewards 'r' have 2 columns") as caught:
        as_rewards(np.zeros((3, 2)), "r", "here", CONFIG.model_copy(update={"reward": asked}))
    assert "--reward r:0" in caught.value.hint


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("r", ("r", None)),
        ("r:0", ("r", 0)),
        ("a:b:12", ("a:b", 12)),
        ("a:b", ("a:b", None)),
        ("r:-1", ("r:-1", None)),
        ("r:" + "9" * 5000, ("r:" + "9" * 5000, None)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_column_is_named_behind_a_colon(asked: str, expected: tuple[str, int | None]) -> None:
    assert reward_column(asked) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 1, 2]), [False, True, True]),
        (np.array([0.0, -0.5, np.inf]), [False, True, True]),
        (np.array([[0, 0], [0, 3], [1, 1]]), [False, True, True]),
        (np.array([[[0], [0]], [[0], [1]], [[1], [0]]]), [False, True, True]),
        (np.zeros((0, 2)), []),
    ],
)
def test_a_flag_is_what_is_not_0_in_any_of_its_columns(values: np.ndarray, expected: list[bool]) -> None:
    assert as_flags(values).tolist() == expected


@pytest.mark.parametrize("values", [np.array(["yes"]), np.array(1), np.array([0.0, np.nan])])
def test_what_does_not_say_whether_it_ends_is_no_flag(values: np.ndarray) -> None:
    with pytest.raises(DataError, match="flags that end an episode") as caught:
        as_flags(values)
    assert "--leave-out ends" in caught.value.hint


# numbers


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([0, WHOLE]), "float32"),
        (np.array([0, -WHOLE]), "float32"),
        (np.array([0, WHOLE + 1]), "int64"),
        (np.array([0, -WHOLE - 1]), "int64"),
        (np.array([WHOLE + 1], np.uint64), "int64"),
        (np.array([WHOLE + 2.0]), "float64"),
        (np.array([float(WHOLE)]), "float32"),
        (np.array([1e30], np.float32), "float32"),  # it has no more digits than that
        (np.array([6e4], np.float16), "float32"),
        (np.array([2**15], np.uint16), "float32"),
        (np.array([True]), "float32"),
        (np.array([np.nan, 1.0]), "float32"),
        (np.array([np.inf, 1e9]), "float64"),
        (np.array([], np.int64), "float32"),
        (np.array(["a"]), "float32"),
    ],
)
def test_a_field_gets_a_wider_type_only_where_float32_would_change_it(values: np.ndarray, kind: str) -> None:
    assert exact_type(values) == kind


def test_the_reach_of_the_whole_dataset_decides_for_an_episode_that_is_small() -> None:
    assert exact_type(np.array([1, 2]), reach=float(WHOLE + 1)) == "int64"
    assert exact_type(np.array([1.0]), reach=float(WHOLE + 1)) == "float64"
    assert exact_type(np.array([1.0], np.float32), reach=1e30) == "float32"


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint64, np.float32])
def test_a_magnitude_is_that_of_the_largest_on_either_side_and_does_not_overflow(kind: type) -> None:
    assert magnitude(np.array([], kind)) == 0
    limits = np.iinfo(kind) if np.dtype(kind).kind in "iu" else np.finfo(kind)
    assert magnitude(np.array([0, limits.max], kind)) == limits.max
    assert magnitude(np.array([1, limits.min], kind)) == max(1, abs(int(limits.min) if np.dtype(kind).kind in "iu" else float(limits.min)))


@pytest.mark.parametrize(
    ("kind", "largest"), [("float32", 2**24), ("float64", 2**53), ("int64", 2**63 - 1)], ids=["float32", "float64", "int64"]
)
def test_whole_numbers_stay_themselves_up_to_what_the_type_holds(kind: str, largest: int) -> None:
    found = as_columns(np.array([largest, -largest], np.int64), "x", "here", "out", kind)
    assert [int(value) for value in found[:, 0]] == [largest, -largest]
    with pytest.raises(DataError, match=f"{kind} holds whole numbers exactly up to {largest:,}"):
        as_columns(np.array([largest + 1], np.uint64), "x", "here", "out", kind)


def test_real_numbers_beyond_the_type_are_refused_and_those_inside_rounded() -> None:
    assert as_columns(np.array([0.1, 3e38]), "x", "here", "out").tolist() == [[np.float32(0.1)], [np.float32(3e38)]]
    with pytest.raises(DataError, match=r"'x' reaches 4e\+38, more than float32 holds"):
        as_columns(np.array([0.1, -4e38]), "x", "here", "out")
    assert as_columns(np.array([-4e38]), "x", "here", "out", "float64").dtype == np.float64


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_named_with_its_row(value: float) -> None:
    values = np.zeros((4, 2, 2))
    values[2, 1, 0] = value
    with pytest.raises(DataError, match=f"'x' is {value} at row 2") as caught:
        as_columns(values, "x", "here", "out")
    assert caught.value.hint == "out"


def test_all_axes_but_the_first_are_one() -> None:
    values = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(as_columns(values, "x", "here", "out"), values.reshape(2, 12))
    assert as_columns(values[:0], "x", "here", "out").shape == (0, 12)
    assert as_columns(np.array([1.0, 2.0]), "x", "here", "out").shape == (2, 1)
    with pytest.raises(DataError, match=r"'x' is float64 \(\), expected numbers"):
        as_columns(np.array(1.0), "x", "here", "out")


@pytest.mark.parametrize(
    ("dtype", "shape", "numeric"),
    [
        (np.float16, (4,), True),
        (bool, (4, 2), True),
        (np.uint8, (4, 2, 2), False),
        (np.int64, (), False),
        (np.int64, (4, 0), False),
        ("U3", (4,), False),
        (complex, (4,), False),
    ],
)
def test_a_number_or_a_row_of_numbers_a_step_is_numeric(dtype: object, shape: tuple[int, ...], numeric: bool) -> None:
    assert is_numeric(np.dtype(dtype), shape) == numeric  # type: ignore[call-overload]


# names


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("speed", "speed"),
        ("obs/robot0 pos", "obs.robot0.pos"),
        ("/leading", "leading"),
        ("._-x", "x"),
        ("température", "temp.rature"),
        ("state", "observation.state"),
        ("reward", "observation.reward"),
        ("a-b_c.d", "a-b_c.d"),
    ],
)
def test_a_field_has_a_column_that_a_store_can_name(name: str, column: str) -> None:
    assert column_name(name) == column


@pytest.mark.parametrize("name", ["", "...", "速度", "/", "zarr/json" * 40])
def test_a_name_of_which_nothing_is_left_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="cannot be named in a store") as caught:
        column_name(name)
    assert caught.value.hint.startswith("--leave-out ")


def test_two_fields_never_share_a_column() -> None:
    assert column_names(["a/b", "c"], CONFIG, "here") == {"a/b": "a.b", "c": "c"}
    with pytest.raises(DataError, match="the fields 'a/b' and 'a b' would both become the column 'a.b'".replace(".", r"\.")) as caught:
        column_names(["a/b", "c", "a b"], CONFIG, "here")
    assert caught.value.hint == "layerscout import it --leave-out 'a b'"


# whole episodes


@pytest.mark.parametrize(
    ("frames", "steps", "terminated", "expected"),
    [(5, 4, False, (4, "whole")), (5, 4, True, (4, "whole")), (4, 4, False, (3, "dropped")), (4, 4, True, (4, "repeated"))],
)
def test_the_last_step_is_kept_where_its_frame_is_there_or_the_task_ended(
    frames: int, steps: int, terminated: bool, expected: tuple[int, str]
) -> None:
    assert ending_of(frames, steps, terminated) == expected


def episode(frames: int, steps: int, **fields: object):
    pictures = np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    return assemble_episode(pictures, ForeignFields(steps, **fields), "here", CONFIG)  # type: ignore[arg-type]


def rows(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float64)


@pytest.mark.parametrize("numbers", [3, 4, 5])
def test_numbers_may_have_a_row_a_step_a_frame_or_one_more(numbers: int) -> None:
    found = episode(4, 3, numbers={"x": rows(numbers)})
    assert found.extra["x"][:, 0].tolist() == list(range(min(numbers, 4)))
    assert (found.steps, found.truncated.tolist(), found.terminated.any()) == (3, [False, False, True], False)


@pytest.mark.parametrize("numbers", [0, 2, 6])
def test_numbers_of_another_length_are_refused(numbers: int) -> None:
    with pytest.raises(DataError, match=f"'x' has {numbers} rows, expected 3 or 4") as caught:
        episode(4, 3, numbers={"x": rows(numbers)})
    assert caught.value.hint == "layerscout import it --leave-out x"


def test_a_step_that_led_nowhere_is_dropped_with_all_that_is_its_own() -> None:
    found = episode(4, 4, actions=[("a", rows(4))], rewards=("r", rows(4)), numbers={"x": rows(4)}, terminated=np.zeros(4))
    assert (found.steps, len(found.frames)) == (3, 4)
    assert found.actions[:, 0].tolist() == found.rewards.tolist() == [0, 1, 2]
    assert found.extra["x"][:, 0].tolist() == [0, 1, 2, 3], "a row a frame"
    assert found.truncated.tolist() == [False, False, True]


def test_a_step_that_ended_the_task_is_kept_with_the_last_frame_twice() -> None:
    found = episode(4, 4, rewards=("r", rows(4)), numbers={"x": rows(4)}, state=("s", rows(4)), terminated=np.array([0, 0, 0, 1]))
    assert (found.steps, found.frames[:, 0, 0, 0].tolist()) == (4, [0, 1, 2, 3, 3])
    assert found.rewards.tolist() == [0, 1, 2, 3]
    assert found.extra["x"][:, 0].tolist() == found.state[:, 0].tolist() == [0, 1, 2, 3, 3]
    assert (found.terminated.tolist(), found.truncated.any()) == ([False, False, False, True], False)


def test_a_state_of_every_frame_is_the_state_and_one_of_every_step_another_field() -> None:
    whole = episode(4, 3, state=("s", rows(4)))
    assert (whole.state.shape, dict(whole.extra)) == ((4, 1), {})
    steps = episode(4, 3, state=("s", rows(3)))
    assert (steps.state, {name: values.shape for name, values in steps.extra.items()}) == (None, {"observation.state": (3, 1)})


def test_types_that_the_first_episode_found_are_those_of_the_next() -> None:
    exact: dict[str, str] = {}
    pictures = np.zeros((4, 2, 2, 3), np.uint8)

    def made(values: np.ndarray) -> np.dtype:
        return assemble_episode(pictures, ForeignFields(3, numbers={"x": values}), "here", CONFIG, exact).extra["x"].dtype

    assert made(np.array([0, 1, WHOLE + 1])) == np.int64
    assert made(np.array([0, 1, 2])) == np.int64
    assert made(rows(3)) == np.float64, "real numbers that were said to be whole ones keep their values"
    assert exact == {"x": "int64"}


@pytest.mark.parametrize(("steps", "said"), [(1, "1 step"), (5, "5 steps")])
def test_frames_and_steps_that_do_not_go_together_are_refused(steps: int, said: str) -> None:
    with pytest.raises(DataError, match=f"here has 3 frames and {said}, expected {steps} or {steps + 1} frames"):
        episode(3, steps)


def values_of(role: str) -> Callable[[int], dict[str, object]]:
    return {
        "actions": lambda count: {"actions": [("it", rows(count))]},
        "rewards": lambda count: {"rewards": ("it", rows(count))},
        "ends": lambda count: {"truncated": rows(count)},
    }[role]


@pytest.mark.parametrize("role", ["actions", "rewards", "ends"])
@pytest.mark.parametrize("count", [2, 4])
def test_a_role_has_a_row_a_step_and_nothing_is_guessed(role: str, count: int) -> None:
    with pytest.raises(DataError, match=f"has {count} rows, expected 3") as caught:
        episode(4, 3, **values_of(role)(count))
    assert caught.value.hint == f"layerscout import it --leave-out {role}"
