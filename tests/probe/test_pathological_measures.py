"""Layers with a known fault, and every measure beside the score: a number where there is one, n/a elsewhere, in one golden table."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from synthetic_layers import MemoryReader, columns_of, prepare, with_reward

from layerscout.probe.config import ProbeConfig
from layerscout.probe.evidence import measures
from layerscout.probe.evidence.evidence import LayerEvidence, measure
from layerscout.probe.evidence.measures import INVERSE_R2
from layerscout.probe.evidence.sampled import SampledRows, bits_of_pairs
from layerscout.probe.moments.moments import accumulate
from layerscout.probe.ranking.score import layer_score

EPISODES, STEPS, SIZE = 60, 30, 6
SHOWN = (
    "inverse dynamics accuracy",
    "bits of action, 4 steps",
    "reward R² at λ = 1",
    "reward R², 4 steps",
    "advantage, 8 steps",
    "advantage lift",
    "expert action accuracy",
)
# two decimals; S-ctrl first, then SHOWN. The most frequent action and the most frequent expert's action are about 0.34.
GOLDEN: dict[str, tuple[float | None, ...]] = {
    "exact state": (0.5, 0.42, 0.0, -0.01, -0.01, 0.21, 0.57, 1.0),
    "noisy state": (0.32, 0.4, 0.0, 0.0, -0.01, 0.16, 0.41, 0.87),
    "duplicated": (0.32, 0.4, 0.0, -0.01, -0.01, 0.16, 0.4, 0.88),
    "one live feature": (0.05, 0.47, 0.0, 0.0, -0.02, -0.02, 0.16, 0.29),
    "pixels": (0.25, 0.45, -0.01, -0.01, -0.01, 0.0, 0.12, 0.31),
    "constant": (None, 0.35, None, 0.0, -0.01, None, 0.17, 0.34),
    "clock": (0.0, 0.35, 0.0, 0.0, 0.01, 0.02, 0.07, 0.37),
    "noise": (0.0, 0.32, 0.0, 0.0, -0.01, -0.04, 0.09, 0.35),
    "episode": (0.0, 0.32, 0.0, 0.0, 0.0, 0.02, 0.05, 0.36),
}
KNOWS_NOTHING = ("constant", "clock", "noise", "episode")


@cache
def world() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """An agent on a ring of six places: action 2 moves it on, 0 back; the action that brings it nearer to a mark is rewarded."""
    rng = np.random.default_rng(0)
    columns = columns_of([STEPS] * EPISODES, rng, actions=3)
    rows = len(columns["step"])
    place, mark = np.zeros(rows, int), np.repeat(rng.integers(0, SIZE, EPISODES), STEPS + 1)
    for row, step in enumerate(columns["step"]):
        place[row] = rng.integers(0, SIZE) if step == 0 else (place[row - 1] + columns["action"][row - 1] - 1) % SIZE
    ahead = (mark - place) % SIZE
    wanted = np.where(ahead == 0, 1, np.where(ahead <= SIZE // 2, 2, 0))
    reward = (columns["action"] == wanted) + 0.2 * rng.standard_normal(rows)
    state = np.hstack([np.eye(SIZE)[place], np.eye(SIZE)[ahead]]).astype(np.float32)
    columns = with_reward(columns, reward) | {"state": state, "expert_action": wanted.astype(np.int32)}
    noisy = state + 0.3 * rng.standard_normal(state.shape)
    one = np.full((rows, 8), 3.0)
    one[:, 0] = place
    screen = np.zeros((rows, SIZE, 4))
    screen[np.arange(rows), place, 0] = screen[np.arange(rows), mark, 1] = 1
    layers = {
        "exact state": state,
        "noisy state": noisy,
        "duplicated": np.hstack([noisy, noisy, noisy]),
        "one live feature": one,
        "pixels": screen.reshape(rows, -1),
        "constant": np.full((rows, 8), 2.0),
        "clock": columns["step"][:, None] * np.linspace(0.5, 1.5, 8),
        "noise": rng.standard_normal((rows, 8)),
        "episode": rng.standard_normal((EPISODES, 8))[columns["episode"]],
    }
    return {name: layer.astype(np.float32) for name, layer in layers.items()}, columns


@cache
def evidence(name: str, changed: str = "") -> LayerEvidence:
    layers, columns = world()
    hidden = {"action": {"action": np.full_like(columns["action"], -1)}, "reward": {"reward": np.full_like(columns["reward"], np.nan)}}
    columns = columns | hidden.get(changed, {})
    config = ProbeConfig(store="memory", precision="float64", shifts=4)
    transitions, split = prepare(columns, config)
    reader = MemoryReader(layers[name])
    moments = accumulate("z", reader, transitions, split, "float64")
    return measure("z", "layer", 0, moments, transitions, split, config, reader=reader)


def figures(name: str) -> tuple[float | None, ...]:
    kept = layer_score(evidence(name), (0.45, 0.45, 0.1), "clip", 48)
    return tuple(one and round(one.value, 2) for one in (kept.control_score, *(kept.measures[name] for name in SHOWN)))


@pytest.mark.parametrize("name", list(world()[0]))
def test_each_measure_says_what_the_layer_holds(name: str) -> None:
    found = figures(name)
    assert [value is None for value in found] == [value is None for value in GOLDEN[name]]
    for value, golden in zip(found, GOLDEN[name], strict=True):
        assert golden is None or value == pytest.approx(golden, abs=0.02)


@pytest.mark.parametrize("name", KNOWS_NOTHING)
def test_a_layer_that_knows_nothing_has_no_control_no_advantage_and_the_accuracy_of_a_guess(name: str) -> None:
    found = evidence(name)
    kept = layer_score(found, (0.45, 0.45, 0.1), "clip", 48)
    assert kept.control_score is None or kept.control_score.value < 0.01
    null, advantage = found.measures["advantage, by chance"], found.measures["advantage, 8 steps"]
    assert advantage is None or abs(advantage.value) < 0.06
    assert null is None or abs(null.value) < 0.06
    accuracy = found.measures["inverse dynamics accuracy"]
    assert accuracy is None or accuracy.value < 0.38
    lift = found.measures["advantage lift"]
    assert lift is None or lift.value <= found.measures["advantage lift, best constant action"].value + 0.3


def test_predictions_that_do_not_vary_go_with_nothing_by_chance_either() -> None:
    found = evidence("constant").measures
    assert [found[name] for name in ("advantage", "advantage, 8 steps", "advantage, by chance")] == [None] * 3
    assert evidence("clock").measures["advantage, by chance"] is not None


def test_copies_of_features_and_a_linear_map_change_no_bit_of_action() -> None:
    noisy, copies = evidence("noisy state"), evidence("duplicated")
    assert copies.bits_action == pytest.approx(noisy.bits_action, abs=0.02)
    assert copies.measures["bits of action, 4 steps"].value == pytest.approx(noisy.measures["bits of action, 4 steps"].value, abs=0.02)


@pytest.mark.parametrize("name", ["noisy state", "constant"])
@pytest.mark.parametrize("changed", ["action", "reward"])
def test_what_cannot_be_had_is_not_there_and_nothing_fails(name: str, changed: str) -> None:
    measures = evidence(name, changed).measures
    gone = ("inverse dynamics R²", "bits of action, 4 steps") if changed == "action" else ("reward R² at λ = 1", "reward R², 4 steps")
    assert [measures[one] for one in (*gone, "advantage", "advantage lift", "advantage, by chance")] == [None] * 5
    kept = layer_score(evidence(name, changed), (0.45, 0.45, 0.1), "clip", 48)
    assert (kept.control_score is None) == (changed == "action" or name == "constant")


@pytest.mark.parametrize("away", [0.0, 30.0, 300.0, 3000.0])
def test_bits_of_pairs_do_not_depend_on_how_far_off_the_rows_lie(away: float) -> None:
    """In standard deviations; the pilot mean of a layer that drifts is that far off its later rows."""
    rng, rows, width = np.random.default_rng(0), 2000, 48
    action = np.eye(3)[rng.integers(0, 3, rows)]
    z = rng.standard_normal((rows, width))
    following = 0.5 * z + 0.6 * action @ rng.standard_normal((3, width)) + 0.5 * rng.standard_normal((rows, width))
    near = bits_of_pairs(np.hstack([z, action]), following, True)
    far = bits_of_pairs(np.hstack([z + away, action]).astype(np.float32), (following + away).astype(np.float32), True)
    assert near is not None
    assert far is not None
    assert far.action == pytest.approx(near.action, abs=1e-3)  # of float32; about no mean, 300 away were off by 0.2
    assert far.total == pytest.approx(near.total, abs=5e-3)


@pytest.mark.parametrize("away", [30.0, 3000.0])
def test_inverse_dynamics_do_not_depend_on_how_far_off_the_rows_lie(away: float) -> None:
    rng, rows, width, groups = np.random.default_rng(1), 1200, 24, 6
    actions = rng.standard_normal((rows, 2))
    z = rng.standard_normal((rows, width))
    following = 0.9 * z + 0.3 * actions @ rng.standard_normal((2, width)) + 0.3 * rng.standard_normal((rows, width))
    group = np.arange(rows) * groups // rows
    nothing = np.zeros((rows, 0)), np.zeros((rows, 0))
    given = {"predicted": nothing[0], "extra": nothing, "held": np.zeros(0, int), "extra_held": nothing, "group": group, "fold": group % 3}

    def found(off: float) -> float:
        now, after = ((part + off).astype(np.float32) for part in (z, following))
        sample = SampledRows(np.arange(rows), now, after, **given, places=np.arange(rows), rows=now, width=width)
        return measures._inverse(sample, actions, False, groups)[INVERSE_R2].value

    assert found(0.0) > 0.5
    assert found(away) == pytest.approx(found(0.0), abs=1e-5 + 1e-6 * away)
