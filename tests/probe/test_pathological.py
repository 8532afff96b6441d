"""Layers with a known fault, and good ones: each flag is raised where it must be and nowhere else."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from synthetic_layers import columns_of, controllable_state, probe, with_reward

from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.ranking.score import layer_flags, score, transition_gain

EPISODES, STEPS, WIDTH = 120, 200, 64
WEIGHTS = (0.45, 0.45, 0.10)
RAISED = {
    "good": set(),
    "massive": set(),
    "tiny": set(),
    "background": {"PERSISTENCE"},  # what moves is a small part of it; bits of action see through
    "episode": {"PERSISTENCE", "NO_ACTION", "REWARD_NULL"},
    "clock": {"PERSISTENCE", "NO_ACTION", "COLLAPSED", "REWARD_NULL"},
    "walk": {"PERSISTENCE", "NO_ACTION", "REWARD_NULL"},
    "dead": {"COLLAPSED", "DEAD_DIMS"},
    "noise": {"PERSISTENCE", "NO_ACTION", "REWARD_NULL"},
    "buried": set(),
}
BLIND = ("episode", "clock", "walk", "noise")  # no action touches them


@cache
def world() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A state of six dimensions that actions push and that gives the reward, seen through ten layers."""
    rng = np.random.default_rng(0)
    columns = columns_of([STEPS] * EPISODES, rng, actions=4)
    state = controllable_state(columns, 6, rng)
    columns = with_reward(columns, state[:, 0] + 0.6 * rng.standard_normal(len(state)))
    episode, shape = columns["episode"], (len(state), WIDTH)
    good = state @ rng.standard_normal((6, WIDTH)) / np.sqrt(6) + 0.05 * rng.standard_normal(shape)
    level = rng.standard_normal((EPISODES, WIDTH))[episode]
    moves = 0.02 * rng.standard_normal((EPISODES, STEPS + 1, WIDTH))
    dead = np.full(shape, 2.0)
    dead[:, 0] = state[:, 0]
    layers = {
        "good": good,
        "massive": good * np.where(np.arange(WIDTH) < 3, 300, 1),
        "tiny": 1e-3 * good,
        "background": good + 5 * good.std() * level,
        "episode": level,
        "clock": columns["step"][:, None] / STEPS * rng.standard_normal(WIDTH),
        "walk": np.cumsum(moves, axis=1).reshape(shape) + level,
        "dead": dead,
        "noise": rng.standard_normal(shape),
        "buried": good + 3 * good.std() * rng.standard_normal(shape),
    }
    return {name: layer.astype(np.float32) for name, layer in layers.items()}, columns


@cache
def evidence(name: str) -> LayerEvidence:
    layers, columns = world()
    return probe(layers[name], columns, precision="float64")


@pytest.mark.parametrize("name", RAISED)
def test_each_flag_is_raised_where_it_must_be_and_nowhere_else(name: str) -> None:
    assert set(layer_flags(evidence(name), episodes=96)) == RAISED[name]


@pytest.mark.parametrize("name", ["episode", "clock", "walk"])
def test_layers_without_control_have_a_transition_r2_near_1_and_nothing_beside_it(name: str) -> None:
    found = evidence(name)
    assert found.transition_r2 > 0.99
    assert transition_gain(found) < 0.001
    assert found.transition_skill < 0.001
    assert score(found, WEIGHTS, "clip").value > 0.45
    assert score(found, WEIGHTS, "clip", "S-skill").value < 0.1
    assert found.reward_r2 < 0.05


def test_s_skill_puts_a_buried_signal_above_every_layer_without_one_and_s_does_not() -> None:
    def values(kind: str) -> dict[str, float]:
        return {name: score(evidence(name), WEIGHTS, "clip", kind).value for name in RAISED}

    skill, plain = values("S-skill"), values("S")
    assert skill["buried"] > max(skill[name] for name in BLIND)
    assert plain["buried"] < min(plain[name] for name in ("episode", "clock", "walk"))


def test_bits_of_action_are_those_of_the_state_whatever_the_scale_and_zero_where_no_action_reaches() -> None:
    good = evidence("good").bits_action
    assert good > 3
    for name in ("massive", "tiny"):
        assert evidence(name).bits_action == pytest.approx(good, abs=0.01)
    assert evidence("background").bits_action > 0.9 * good
    for name in BLIND:
        assert abs(evidence(name).bits_action) < 0.01
    assert 0.1 < evidence("buried").bits_action < 1
    assert abs(evidence("noise").bits_total) < 0.3
    assert evidence("good").bits_total > good


def test_massive_features_bend_the_covariance_ranks_only() -> None:
    good, massive = evidence("good"), evidence("massive")
    assert (good.massive_features, massive.massive_features) == (0, 3)
    assert massive.effective_rank < 0.6 * good.effective_rank
    assert massive.participation_ratio < 0.6 * good.participation_ratio
    assert massive.rankme_centred < 0.4 * good.rankme_centred
    assert massive.correlation_rank == pytest.approx(good.correlation_rank, rel=1e-3)
    assert massive.log_rank == pytest.approx(good.log_rank, rel=1e-3)
    assert massive.transition_r2 == pytest.approx(good.transition_r2, abs=1e-4)
    assert abs(massive.transition_r2_weighted - good.transition_r2_weighted) > 0.01


def test_a_layer_of_one_scale_up_or_down_has_the_same_figures() -> None:
    good, tiny = (evidence(name).model_dump(exclude={"transition_penalties", "reward_penalties"}) for name in ("good", "tiny"))
    for name, value in good.items():
        if isinstance(value, float):
            assert tiny[name] == pytest.approx(value, rel=2e-3, abs=1e-4), name


@pytest.mark.parametrize("name", ["good", "massive", "dead", "noise", "buried", "clock", "walk"])
def test_episodes_held_out_confirm_what_the_others_said(name: str) -> None:
    found = evidence(name)
    assert found.confirmation.reward_r2 == pytest.approx(found.reward_r2, abs=0.04)
    assert found.confirmation.transition_r2 == pytest.approx(found.transition_r2, abs=0.01)
    assert found.confirmation.transition_skill == pytest.approx(found.transition_skill, abs=0.04)


def test_too_few_rows_and_episodes_are_flagged() -> None:
    rng = np.random.default_rng(0)
    columns = columns_of([9] * 6, rng)
    found = probe(rng.standard_normal((60, 8)).astype(np.float32), columns)
    assert {"UNDERSAMPLED", "FEW_EPISODES"} <= set(layer_flags(found, episodes=6))
    assert found.confirmation is None


def test_a_grid_that_ends_too_early_is_flagged() -> None:
    layers, columns = world()
    rows = columns["episode"] < 40
    some = {name: column[rows] for name, column in columns.items()}
    assert "ALPHA_EDGE" in layer_flags(probe(layers["good"][rows], some, penalties=(30.0, 100.0)), 40)
    assert layer_flags(probe(layers["good"][rows], some), 40) == ()
