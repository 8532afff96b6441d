"""Agents in closed form: the ridge is scikit-learn's, an improvement improves, a clone copies, and both stand in a comparison like any agent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from by_hand import select, settings, without_times
from sklearn.linear_model import Ridge

from layerscout.cache import records
from layerscout.cache.records import RunRecord
from layerscout.errors import UsageError
from layerscout.rl.agents.configs import RidgeConfig
from layerscout.rl.agents.ridge import ridge, rows_of_returns, solve_policy
from layerscout.rl.plan import plan
from layerscout.rl.run import run


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (9, 9)])
def test_the_ridge_is_scikit_learns_with_more_rows_and_with_more_features(shape):
    rng = np.random.default_rng(0)
    z, y = rng.normal(2.0, 1.0, shape), rng.normal(size=(shape[0], 3))
    weights, intercept = ridge(z, y, 0.3)
    oracle = Ridge(alpha=0.3 * shape[0]).fit(z, y)
    np.testing.assert_allclose(weights, oracle.coef_.T, atol=1e-9)
    np.testing.assert_allclose(intercept, oracle.intercept_, atol=1e-9)


def walks(choose: Any, episodes: int = 300) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Walks on nine cells, +1 at the right end, cut off after 20 steps: one-hot cells, and the columns of a store."""
    rng, rows = np.random.default_rng(0), []
    for number in range(episodes):
        place, step, ended = int(rng.integers(0, 8)), 0, False
        while step < 20 and not ended:
            move = choose(rng, place)
            after = min(max(place + (1, -1, 0)[move], 0), 8)
            ended = after == 8
            rows.append((number, step, move, float(ended), ended, place))
            place, step = after, step + 1
        rows.append((number, step, -1, np.nan, False, place))
    episode, step, action, reward, terminated, cell = (np.array(column) for column in zip(*rows, strict=True))
    columns = {
        "episode": episode,
        "step": step,
        "action": action,
        "reward": reward.astype(np.float32),
        "terminated": terminated.astype(bool),
    }
    return np.eye(9, dtype=np.float32)[cell], columns


CELLS = np.eye(9, dtype=np.float32)[:8]


def test_from_aimless_walks_one_step_of_improvement_goes_straight_to_the_reward():
    table, columns = walks(lambda rng, place: int(rng.integers(0, 3)))
    config = RidgeConfig(penalty=1e-3, gamma=0.9)
    policy, flops = solve_policy(rows_of_returns(table, columns, config), "improvement", config, 3)
    assert (policy.act(CELLS) == 0).all()
    assert flops > 0
    assert (solve_policy(rows_of_returns(table, columns, config), "cloning", config, 3)[0].act(CELLS) != 0).any(), (
        "there is nothing to copy"
    )


def test_what_was_never_done_is_never_played():
    table, columns = walks(lambda rng, place: 1 + int(rng.integers(0, 2)))
    config = RidgeConfig()
    assert 0 not in solve_policy(rows_of_returns(table, columns, config), "improvement", config, 3)[0].act(CELLS)


def test_a_clone_does_what_was_done_most():
    table, columns = walks(lambda rng, place: int(rng.integers(0, 3)) if rng.random() < 0.5 else place % 2)
    config = RidgeConfig(penalty=1e-3)
    policy, _ = solve_policy(rows_of_returns(table, columns, config), "cloning", config, 3)
    np.testing.assert_array_equal(policy.act(CELLS), np.arange(8) % 2)


def test_vectors_are_copied_and_kept_within_their_bounds():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(400, 5)).astype(np.float32)
    action = np.clip(table[:, :2] * 0.8, -1, 1).astype(np.float32)
    columns = {
        "episode": np.zeros(400, int),
        "step": np.arange(400),
        "reward": np.zeros(400, np.float32),
        "terminated": np.zeros(400, bool),
    }
    rows = rows_of_returns(table, columns | {"action": action}, RidgeConfig(steps=3))
    policy, _ = solve_policy(rows, "cloning", RidgeConfig(penalty=1e-4), 0)
    played = policy.act(table)
    assert np.abs(played).max() <= 1.0
    assert np.abs(played - action).mean() < 0.15
    with pytest.raises(UsageError, match="needs discrete actions"):
        solve_policy(rows, "improvement", RidgeConfig(), 0)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_returns_are_sums_to_the_end_of_the_episode_or_over_so_many_steps(steps):
    table, columns = walks(lambda rng, place: int(rng.integers(0, 3)), episodes=20)
    rows = rows_of_returns(table, columns, RidgeConfig(steps=steps, gamma=0.9))
    for place in rows.transitions:
        rest = columns["reward"][place : np.flatnonzero((columns["action"] == -1) & (np.arange(len(table)) > place))[0]]
        rest = rest[: steps or None]
        assert rows.reward[place] == pytest.approx(float((0.9 ** np.arange(len(rest)) * rest).sum()), abs=1e-6)


# --- in a comparison


@pytest.fixture
def selection(tmp_path, synthetic_store):
    return select(tmp_path / "s.json", ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))


def test_every_representation_gets_one_beside_its_agent(selection, small, tmp_path):
    config = settings(selection, tmp_path / "out", small.root, closed_form=True, updates=4, heads=("linear", "mlp"))
    record = run(plan(config))
    arms = {arm.name: arm for arm in record.arms}
    solved = [name for name in arms if name.startswith("closed form, ")]
    assert solved == ["closed form, structured_mid", "closed form, pixels"]
    first = arms[solved[0]]
    assert (first.kind, first.head, first.layer, first.budget.updates) == ("ranked", "ridge-cloning", "structured_mid", 1)
    assert first.budget.trainable_parameters == (8 + 1) * 5
    mine = [one for one in record.runs if one.arm == solved[0]]
    assert [one.seed for one in mine] == [0, 1]
    assert all(len(one.returns) == config.final_episodes and one.evaluations == ((4, one.returns),) for one in mine)
    assert records.load(RunRecord, config.out / "runs.json") == record
    assert without_times(run(plan(config))) == without_times(record)


def test_alone_it_is_a_ground_truth_of_its_own(selection, small, tmp_path):
    config = settings(selection, tmp_path / "out", small.root, algorithm="ridge", random_layers=1, cnn=True, ridge={"form": "improvement"})
    planned = plan(config)
    assert [arm.name for arm in planned.arms] == ["structured_mid", "pixels", "random layer 0"]
    assert planned.describe(measure=True)["seconds_of_updates"] == 0.0
    record = run(planned)
    assert {arm.head for arm in record.arms} == {"ridge-improvement"}
    assert [arm.kind for arm in record.arms] == ["ranked", "pixels", "random"]
    assert record.algorithm == "ridge"


def test_where_nothing_is_solved_it_is_refused(selection, small, tmp_path):
    for changes in ({"algorithm": "ridge"}, {"closed_form": True}):
        with pytest.raises(UsageError, match="fixed dataset, and mode online plays"):
            plan(settings(selection, tmp_path / "out", small.root, mode="online", **changes))
