"""A look into a layer by its parts: which rows are read, what a map may say, and what a page is told of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic_layers import MemoryStore, columns_of

from layerscout.errors import BudgetError, DataError
from layerscout.service.data import look
from layerscout.service.data.look import (
    FEWEST_ROWS,
    MOST_BYTES,
    MOST_ROWS,
    decompose,
    look_inside,
    main_directions,
    none_where_undefined,
    numbers_of,
    predict,
    r2_of,
    sampled_rows,
)
from layerscout.service.problems import HttpProblem
from layerscout.service.web.looking import found_look, look_view, projector_file
from layerscout.service.web.tables import Address


class Columns(MemoryStore):
    """A store in memory that gives rows by their numbers."""

    def layer(self, name: str) -> Any:
        array = self.arrays[name]
        return SimpleNamespace(shape=array.shape, rows=lambda rows: array[rows])


def store_of(lengths: list[int], width: int = 3, **columns: Any) -> Columns:
    rng = np.random.default_rng(0)
    known = columns_of(lengths, rng) | columns
    features = rng.standard_normal((len(known["episode"]), width)).astype(np.float32)
    return Columns("m", known, {"blocks.0": features})


# --- rows


def test_a_whole_episode_is_read_and_others_evenly_as_many_as_may_be() -> None:
    number = np.repeat(np.arange(100), 50)
    rows = sampled_rows(number, 7, 4)
    assert len(rows) <= MOST_ROWS
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert (number[rows] == 7).sum() == 50
    others = np.unique(number[rows][number[rows] != 7])
    assert others.min() < 5
    assert others.max() > 90  # over the whole store
    assert np.diff(others).max() <= 4
    assert len(rows) > 0.95 * MOST_ROWS


def test_a_small_store_is_read_whole() -> None:
    number = np.repeat(np.arange(4), 10)
    assert sampled_rows(number, 2, 4).tolist() == list(range(40))


def test_an_episode_longer_than_may_be_read_is_cut_and_leaves_no_row_to_learn_from() -> None:
    number = np.repeat([0, 1], [MOST_ROWS + 10, 5])
    assert sampled_rows(number, 0, 4).tolist() == list(range(MOST_ROWS))


def test_a_layer_that_is_too_wide_and_a_store_of_one_episode_are_refused() -> None:
    number = np.repeat([0, 1], 50)
    widest = MOST_BYTES // (8 * FEWEST_ROWS)
    assert len(sampled_rows(number, 0, widest)) == FEWEST_ROWS
    with pytest.raises(BudgetError, match=f"width {widest + 1:,} is too wide"):
        sampled_rows(number, 0, widest + 1)
    with pytest.raises(DataError, match="one episode"):
        sampled_rows(np.zeros(50, dtype=int), 0, 4)


def test_every_column_of_numbers_is_told_the_reward_first_and_of_wide_ones_eight() -> None:
    store = store_of([4, 4], padding=np.zeros(10), wide=np.arange(90).reshape(10, 9))
    found = numbers_of(store)  # type: ignore[arg-type]
    assert list(found) == ["reward", "action", "episode", "step", *(f"wide.{place}" for place in range(8))]
    assert found["wide.7"].tolist() == [9 * row + 7 for row in range(10)]
    assert all(values.dtype == np.float64 and values.shape == (10,) for values in found.values())


# --- what a map may say


def test_too_few_rows_to_learn_from_foretell_nothing() -> None:
    rng = np.random.default_rng(0)
    features, wanted = rng.standard_normal((40, 2)), rng.standard_normal(40)
    few, enough = np.arange(40) >= FEWEST_ROWS // 2 - 1, np.arange(40) >= FEWEST_ROWS // 2
    assert np.isnan(predict(features, wanted, few)).all()
    assert np.isfinite(predict(features, wanted, enough)).all()
    wanted[0] = np.nan  # a row without a target is none
    assert np.isnan(predict(features, wanted, enough)).all()


def test_features_that_never_vary_foretell_the_mean_without_a_word_of_warning() -> None:
    wanted = np.arange(60.0)
    here = np.arange(60) >= 50
    for features in (np.zeros((60, 3)), np.full((60, 3), 7.0)):
        assert predict(features, wanted, here) == pytest.approx(np.full(10, wanted[:50].mean()))


def test_the_map_does_not_see_the_episode_that_it_foretells() -> None:
    rng = np.random.default_rng(1)
    features, here = rng.standard_normal((80, 3)), np.arange(80) < 10
    wanted = features @ [1.0, -2.0, 0.5]
    found = predict(features, wanted, here)
    assert found == pytest.approx(wanted[here], abs=1e-3)
    assert predict(features, np.where(here, 1e6, wanted), here) == pytest.approx(found)


@pytest.mark.parametrize("shape", [(30, 4), (4, 30), (5, 5)])
def test_both_ways_to_decompose_are_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    rows, wanted = rng.standard_normal(shape), rng.standard_normal(shape[0])
    values, vectors, projected = decompose(rows, wanted)
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    assert np.sort(values)[::-1] == pytest.approx(singular**2)
    assert np.abs(projected)[::-1] == pytest.approx(np.abs(left.T @ wanted))
    assert np.abs(np.sum(vectors[:, ::-1] * right.T, axis=0)) == pytest.approx(1.0)


def test_directions_of_no_extent_are_left_out() -> None:
    rows = np.outer(np.arange(1.0, 7.0), [1.0, 2.0, 0.0])
    values, vectors, _ = decompose(rows, np.ones(6))
    assert (values.shape, vectors.shape) == ((1,), (3, 1))
    assert values[0] == pytest.approx(91 * 5)  # (1 + 4 + … + 36) · (1 + 4)
    assert decompose(np.zeros((6, 3)), np.ones(6))[0].shape == (0,)


def test_points_on_a_line_have_one_direction_whose_largest_is_positive() -> None:
    line = np.outer([-3.0, 1.0, 2.0], [3.0, 4.0])
    points, shares = main_directions(line)
    assert shares == pytest.approx((1.0, 0.0))
    assert points[:, 0] == pytest.approx([15.0, -5.0, -10.0])
    assert points[:, 1] == pytest.approx(np.zeros(3), abs=1e-9)
    narrow, shares = main_directions(np.array([[1.0], [-1.0]]))
    assert (narrow[:, 1].tolist(), shares) == ([0.0, 0.0], (pytest.approx(1.0), 0.0))
    still, shares = main_directions(np.zeros((4, 3)))
    assert (still.tolist(), shares) == ([[0.0, 0.0]] * 4, (0.0, 0.0))


def test_r2_is_of_the_rows_that_both_know() -> None:
    true, said = np.array([0.0, 2.0, np.nan, 4.0]), np.array([1.0, 2.0, 9.0, np.nan])
    assert r2_of(true, said) == pytest.approx(1 - 1 / 2)
    assert r2_of(true, true) == 1.0
    assert r2_of(np.array([1.0, 3.0]), np.array([3.0, 1.0])) == pytest.approx(1 - 8 / 2)  # worse than the mean
    for undefined in (np.full(3, 7.0), np.full(3, np.nan), np.zeros(0)):
        assert r2_of(undefined, np.zeros(len(undefined))) is None
    assert none_where_undefined(np.array([1.5, np.nan, np.inf, -np.inf])) == [1.5, None, None, None]


# --- a whole look


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A state whose only store lies in memory: eight episodes of nine frames, one of which begins at step 10."""
    store = store_of([8] * 8)
    store.columns["step"] = store.columns["step"] + 10 * (store.columns["episode"] == 3)
    broken = store.arrays["blocks.0"]
    broken[0], broken[1] = np.nan, np.inf
    monkeypatch.setattr(look.Store, "open", lambda folder: store)
    look._looked.cache_clear()
    entry = SimpleNamespace(damage=None, dataset=None, backbone=None)
    one = SimpleNamespace(entry=entry, folder=lambda: Path("/x"), digest="d", layers=("blocks.0",), id="ls1-x")
    yield SimpleNamespace(catalogue=SimpleNamespace(find=lambda name: one), datasets=SimpleNamespace(path=lambda digest: None), one=one)
    look._looked.cache_clear()


def address(**parameters: str) -> Address:
    return Address("/stores/ls1-x/look", tuple(parameters.items()))


def test_a_look_tells_an_episode_step_by_step_and_counts_broken_figures_as_none(found: Any) -> None:
    seen = found_look(found, address(episode="3"), "ls1-x")
    assert (seen.layer, seen.episode, seen.episodes, seen.target, seen.rows) == ("blocks.0", 3, 8, "reward", 72)
    assert seen.steps == tuple(range(10, 19))
    assert seen.true[-1] is None
    assert None not in seen.predicted
    assert np.isfinite(seen.features).all()
    assert (seen.features[:2] == 0.0).all()


@pytest.mark.parametrize(
    ("wanted", "step"),
    [
        ("12", 12),
        ("10", 10),
        ("18", 18),
        ("0", 10),
        ("99", 10),
        ("", 10),
        ("x", 10),
        ("²", 10),
        ("-1", 10),
        ("0000000012", 12),
        ("1" * 400, 10),
    ],
)
def test_a_step_that_the_episode_lacks_is_its_first(found: Any, wanted: str, step: int) -> None:
    page = look_view(found, address(episode="3", step=wanted), "ls1-x")
    assert page.values["step"] == step
    assert (page.values["before"], page.values["after"]) == (step - 1 if step > 10 else None, step + 1 if step < 18 else None)


@pytest.mark.parametrize("episode", ["x", "²", "-1", "1.0", "9" * 10, " 1"])
def test_an_episode_that_is_no_number_is_a_mistake_and_no_bug(found: Any, episode: str) -> None:
    with pytest.raises(HttpProblem, match="an episode is a number") as refused:
        found_look(found, address(episode=episode), "ls1-x")
    assert refused.value.status == 422


def test_a_look_at_what_is_not_there_says_what_is(found: Any) -> None:
    with pytest.raises(DataError, match="there is no episode 8") as refused:
        found_look(found, address(episode="8"), "ls1-x")
    assert refused.value.hint == "episodes 0 to 7"
    with pytest.raises(DataError, match="no target 'actoin'; did you mean 'action'") as refused:
        found_look(found, address(target="actoin"), "ls1-x")
    assert refused.value.hint == "targets: reward, action, episode, step"
    found.one.entry.damage = "identity.json is gone"
    with pytest.raises(DataError, match=r"is damaged: identity\.json is gone"):
        found_look(found, address(), "ls1-x")


def test_a_colour_that_is_no_column_is_the_step(found: Any) -> None:
    assert look_view(found, address(colour="zzz"), "ls1-x").values["column"] == "reward"
    assert look_view(found, address(colour="action"), "ls1-x").values["column"] == "action"
    assert look_view(found, address(), "ls1-x").values["column"] == "step"


def test_a_projector_gets_a_line_a_row_and_a_heading_only_over_what_is_known(found: Any) -> None:
    vectors = [line.split("\t") for line in projector_file(found, address(), "ls1-x", "vectors.tsv").splitlines()]
    told = [line.split("\t") for line in projector_file(found, address(), "ls1-x", "metadata.tsv").splitlines()]
    assert (len(vectors), {len(line) for line in vectors}) == (72, {3})
    assert told[0] == ["reward", "action", "episode", "step"]
    assert [line[2] for line in told[1:]] == [str(row // 9) for row in range(72)]
    with pytest.raises(HttpProblem, match=r"there is no 'x\.tsv'"):
        projector_file(found, address(), "ls1-x", "x.tsv")


def test_a_look_of_a_store_is_not_worked_out_twice(found: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first = found_look(found, address(), "ls1-x")
    monkeypatch.setattr(look, "look_inside", lambda *given: pytest.fail("again"))
    assert found_look(found, address(layer="blocks.0"), "ls1-x") is first
    assert look_inside is not look.look_inside
