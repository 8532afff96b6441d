"""The rows that are read once more are spread over the layer, and what is multiplied with them lands at the transition that it is of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic_layers import MemoryReader, MemoryStore, columns_of, prepare

from layerscout.probe.config import RANKING_ONLY, RUN_ONLY, ProbeConfig
from layerscout.probe.evidence import sampled
from layerscout.probe.evidence.action_residuals import bits_held, bits_left, residual_matrices
from layerscout.probe.evidence.bits import ActionResidual, Bits, bits_of_rows_apart, bits_without_groups
from layerscout.probe.evidence.sampled import SampledRows, bits_of_pairs, blocks_to_read, pairs_apart, sample_rows, share_of_rows
from layerscout.probe.keys import evidence_key, ranking_key
from layerscout.probe.questions.sources import Job
from layerscout.probe.questions.splits import CONFIRMATION
from layerscout.probe.solve.ridge import LinearMap

LENGTHS = [9, 4, 1, 7, 12, 3, 6, 8, 5, 10]
WIDTH, BAD = 3, 17


def covered(rows: int) -> np.ndarray:
    """How often each row is read."""
    times = np.zeros(rows, dtype=int)
    for start, stop in blocks_to_read(rows):
        assert 0 <= start < stop <= rows
        times[start:stop] += 1
    return times


@pytest.mark.parametrize("rows", [1, 2, 39, 40, 41, 79, 80])
def test_of_a_short_layer_every_row_is_read_once(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(sampled, "ROWS", 80)
    monkeypatch.setattr(sampled, "BLOCK", 40)
    assert (covered(rows) == 1).all()


@pytest.mark.parametrize("rows", [81, 100, 123, 1000, 12345])
def test_of_a_long_layer_as_many_rows_are_read_however_long_it_is_both_ends_among_them(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(sampled, "ROWS", 80)
    monkeypatch.setattr(sampled, "BLOCK", 20)
    times = covered(rows)
    assert times.sum() == 80
    assert times.max() == 1
    assert times[0] == times[-1] == 1
    starts = [start for start, _ in blocks_to_read(rows)]
    assert max(np.diff(starts)) - min(np.diff(starts)) <= 1


@pytest.fixture(scope="module")
def world() -> SimpleNamespace:
    """Ten ragged episodes, three of them kept apart, with one row that is no number."""
    rng = np.random.default_rng(0)
    columns = columns_of(LENGTHS, rng)
    layer = rng.standard_normal((len(columns["step"]), WIDTH))
    layer[BAD, 1] = np.nan
    transitions, split = prepare(columns, ProbeConfig(store="memory", shifts=0, folds=3, groups=4, confirmation=0.3))
    maps = [LinearMap(rng.standard_normal((WIDTH + 2, 2)), rng.standard_normal(2)) for _ in range(3)]
    return SimpleNamespace(
        layer=layer,
        transitions=transitions,
        split=split,
        maps=maps,
        shift=rng.standard_normal(WIDTH),
        leading=rng.standard_normal((WIDTH, 2)),
        extra=(rng.standard_normal((WIDTH, 2)), rng.standard_normal((WIDTH, 1))),
    )


def read(world: SimpleNamespace, **changes: object) -> SampledRows:
    given = {"maps": world.maps, "extra": world.extra} | changes
    return sample_rows(MemoryReader(world.layer), world.shift, world.leading, given["maps"], world.transitions, world.split, given["extra"])  # type: ignore[arg-type]


def parts(world: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the transitions that rank and of those kept apart, with both rows finite."""
    transitions, split = world.transitions, world.split
    fold = split.fold_of_group[split.group_of_episode[transitions.episode]]
    fine = (transitions.row != BAD) & (transitions.row + 1 != BAD)
    return np.flatnonzero(fine & (fold != CONFIRMATION)), np.flatnonzero(fine & (fold == CONFIRMATION))


def test_every_transition_whose_rows_are_finite_is_sampled_with_its_own_numbers(world: SimpleNamespace) -> None:
    found, (chosen, held) = read(world), parts(world)
    np.testing.assert_array_equal(found.chosen, chosen)
    np.testing.assert_array_equal(found.held, held)
    assert len(held) > 0
    z = world.layer - world.shift
    row = world.transitions.row
    np.testing.assert_allclose(found.coordinates, z[row[chosen]] @ world.leading)
    np.testing.assert_allclose(found.following, z[row[chosen] + 1] @ world.leading)
    for given, expected in zip(found.extra, (z[row[chosen]] @ world.extra[0], z[row[chosen] + 1] @ world.extra[1]), strict=True):
        np.testing.assert_allclose(given, expected)
    for given, expected in zip(found.extra_held, (z[row[held]] @ world.extra[0], z[row[held] + 1] @ world.extra[1]), strict=True):
        np.testing.assert_allclose(given, expected)
    group = world.split.group_of_episode[world.transitions.episode[chosen]]
    np.testing.assert_array_equal(found.group, group)
    np.testing.assert_array_equal(found.fold, world.split.fold_of_group[group])


def test_a_prediction_is_that_of_its_own_folds_map_on_the_latents_alone(world: SimpleNamespace) -> None:
    found, z = read(world), world.layer - world.shift
    for place, number in enumerate(found.chosen):
        one = world.maps[found.fold[place]]
        expected = z[world.transitions.row[number]] @ one.weights[:WIDTH] + one.intercept
        np.testing.assert_allclose(found.predicted[place], expected)
    assert read(world, maps=[]).predicted.shape == (len(found.chosen), 0)
    assert read(world, extra=()).extra[0].shape == (len(found.chosen), 0)


def test_places_lead_from_a_row_of_the_layer_to_its_coordinates(world: SimpleNamespace) -> None:
    found = read(world)
    assert np.flatnonzero(found.places < 0).tolist() == [BAD]
    for row in range(len(world.layer)):
        if row != BAD:
            np.testing.assert_allclose(found.rows[found.places[row]], (world.layer[row] - world.shift) @ world.leading)


@pytest.mark.parametrize("steps", [1, 2, 4, 8, 40])
def test_pairs_lie_so_many_steps_apart_in_one_episode(world: SimpleNamespace, steps: int) -> None:
    found, transitions = read(world), world.transitions
    episode_of_row = np.full(len(world.layer), -1)
    episode_of_row[transitions.row], episode_of_row[transitions.row + 1] = transitions.episode, transitions.episode
    expected = {}
    for place, number in enumerate(found.chosen):
        end = transitions.row[number] + steps
        if end < len(world.layer) and episode_of_row[end] == transitions.episode[number] and end != BAD:
            expected[place] = found.places[end]
    pair, ends = pairs_apart(found, transitions, steps)
    assert dict(zip(pair.tolist(), ends.tolist(), strict=True)) == expected


def test_the_share_of_rows_is_of_those_that_rank(world: SimpleNamespace) -> None:
    found = read(world)
    fold = world.split.fold_of_group[world.split.group_of_episode[world.transitions.episode]]
    assert share_of_rows(found, world.transitions, world.split) == pytest.approx(len(found.chosen) / np.sum(fold != CONFIRMATION))


def test_bits_of_pairs_do_not_depend_on_where_the_rows_lie() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 5)), rng.standard_normal((200, 3))
    y += x[:, :3]
    first, moved = bits_of_pairs(x, y, False), bits_of_pairs(x + 100.0, y - 50.0, False)
    assert first is not None
    assert moved is not None
    assert moved.total == pytest.approx(first.total, abs=1e-6)
    assert moved.action == pytest.approx(first.action, abs=1e-6)


# what is left of the action


def residual(rng: np.random.Generator, width: int, inputs: int) -> ActionResidual:
    """What is left of one column of the action."""
    return ActionResidual(rng.standard_normal((width + inputs, 1)), rng.standard_normal((width, 1)), np.full((1, 1), 20.0))


def test_matrices_for_the_action_are_those_of_both_fits_filled_up_to_the_width() -> None:
    rng = np.random.default_rng(1)
    # the last feature was not alive
    alone, both = (replace(residual(rng, WIDTH, 2), right=rng.standard_normal((WIDTH - 1, 1))) for _ in range(2))
    found = Bits(action=0.5, columns=1, residuals=(alone, both))
    now, after = residual_matrices(found, WIDTH)
    np.testing.assert_array_equal(now, np.hstack([alone.left, both.left])[:WIDTH])
    np.testing.assert_array_equal(after[: WIDTH - 1], both.right)
    assert not after[WIDTH - 1 :].any()
    assert residual_matrices(Bits(total=1.0), WIDTH) == ()
    assert residual_matrices(Bits(action=None, residuals=found.residuals), WIDTH) == ()


def by_hand(world: SimpleNamespace, found: Bits, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[z_t, a_t] left + z_{t+1} right of both fits, row by row."""
    z, transitions = world.layer - world.shift, world.transitions
    given = [np.append(z[transitions.row[number]], np.asarray(transitions.inputs[np.array([number])])[0]) for number in numbers]
    after = z[transitions.row[numbers] + 1]
    first, second = found.residuals
    return np.array(given) @ first.left, np.array(given) @ second.left + after @ second.right


def sampled_for(world: SimpleNamespace, found: Bits) -> SampledRows:
    return read(world, extra=residual_matrices(found, WIDTH))


def bits_of_world(world: SimpleNamespace) -> Bits:
    rng, actions = np.random.default_rng(2), world.transitions.inputs.shape[1]
    return Bits(action=0.5, columns=1, residuals=(residual(rng, WIDTH, actions), residual(rng, WIDTH, actions)))


def test_bits_without_groups_are_those_of_the_residuals_of_each_row(world: SimpleNamespace) -> None:
    found = bits_of_world(world)
    sample = sampled_for(world, found)
    groups = len(world.split.ranking)
    expected = bits_without_groups(
        found, by_hand(world, found, sample.chosen), sample.group, groups, share_of_rows(sample, world.transitions, world.split)
    )
    np.testing.assert_allclose(bits_left(found, sample, world.transitions, world.split), expected)


def test_bits_of_rows_kept_apart_are_those_of_their_residuals(world: SimpleNamespace) -> None:
    found = bits_of_world(world)
    sample, split = sampled_for(world, found), world.split
    group = split.group_of_episode[world.transitions.episode[sample.held]] - len(split.ranking)
    expected = bits_of_rows_apart(found, by_hand(world, found, sample.held), group, len(split.confirmation))
    measured = bits_held(found, sample, world.transitions, split)
    assert (measured.value, measured.left) == (pytest.approx(expected[0]), pytest.approx(tuple(expected[1:])))
    few = replace(sample, held=sample.held[:9], extra_held=(sample.extra_held[0][:9], sample.extra_held[1][:9]))
    assert bits_held(found, few, world.transitions, split) is None, "nine rows are too few for a column"


def test_without_bits_of_action_or_rows_nothing_is_left_of_it(world: SimpleNamespace) -> None:
    found, split, transitions = bits_of_world(world), world.split, world.transitions
    sample = sampled_for(world, found)
    none = np.zeros(0, dtype=int)
    for without in (Bits(total=1.0), Bits(action=0.5)):
        assert bits_left(without, sample, transitions, split) is None
        assert bits_held(without, sample, transitions, split) is None
    empty = replace(sample, chosen=none, held=none)
    assert bits_left(found, empty, transitions, split) is None
    assert bits_held(found, empty, transitions, split) is None


# names of questions

CHANGES = {
    "store": "other",
    "others": ("more",),
    "twin": "untrained",
    "out": Path("elsewhere"),
    "root": Path("elsewhere"),
    "folds": 4,
    "groups": 21,
    "penalties": (0.1, 1.0),
    "targets": ("state",),
    "discount": 0.5,
    "confirmation": 0.1,
    "shifts": 3,
    "seed": 7,
    "top_k": 1,
    "score": "S",
    "measures": False,
    "weights": (0.2, 0.7, 0.1),
    "normalisation": "affine",
    "inner": "pair",
    "layers": ("z",),
    "threads": 1,
    "precision": "float64",
    "max_nonfinite": 0.1,
    "partials": "always",
    "scheduler": None,
    "shard": "0/2",
}


def test_every_setting_is_changed_here() -> None:
    assert set(CHANGES) == set(ProbeConfig.model_fields)


@pytest.mark.parametrize("name", [name for name, value in CHANGES.items() if value is not None])
def test_a_setting_that_changes_numbers_changes_the_name_of_what_it_changes_and_no_other_does(name: str) -> None:
    columns = columns_of(LENGTHS, np.random.default_rng(0))
    store = MemoryStore("ls1-a", columns, {"z": np.zeros((len(columns["step"]), 2), np.float32)})
    job = Job(store, store.specs["z"], "layer", "")  # type: ignore[arg-type]
    one = ProbeConfig(store="ls1-a")
    other = one.model_copy(update={name: CHANGES[name]})
    keys = [ranking_key(config, [store], None) for config in (one, other)]  # type: ignore[list-item]
    assert (keys[0] != keys[1]) == (name not in RUN_ONLY)
    files = [evidence_key(config, job, store).file_name for config in (one, other)]  # type: ignore[arg-type]
    assert (files[0] != files[1]) == (name not in RUN_ONLY | RANKING_ONLY)


def test_a_question_has_another_name_for_another_store_order_or_twin() -> None:
    columns = columns_of(LENGTHS, np.random.default_rng(0))
    one, two = (MemoryStore(name, columns, {"z": np.zeros((len(columns["step"]), 2), np.float32)}) for name in ("ls1-a", "ls1-b"))
    names = {
        ranking_key(ProbeConfig(store="ls1-a", others=("more",) * (len(stores) - 1)), stores, twin)  # type: ignore[arg-type]
        for stores in ([one], [two], [one, two], [two, one])
        for twin in (None, one, two)
    }
    assert len(names) == 12
