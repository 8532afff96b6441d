"""Lines to read returns against: random play, the best constant action, the data's own episodes and an optimal policy, each by another way too."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from by_hand import select, settings

from layerscout.rl.references import EPISODES, constant_actions, data_return, reference_returns, whole_episode_returns
from layerscout.rl.run import plan, run
from layerscout.rl.seeing.rollouts import blind_returns, evaluation_seeds
from layerscout.worlds.arcade.hunt import Hunt
from layerscout.worlds.grid import Grid
from layerscout.worlds.intercept import Intercept
from layerscout.worlds.pixels import make_world


def store_of(episodes: list[list[float]], policy: str | None = "random:4", cut: bool = False) -> Any:
    """A stand-in for a store whose dataset has these episodes; ``cut`` leaves out the end of the last one."""
    rows = [
        (number, step, reward, step == len(rewards) - 1, False)
        for number, rewards in enumerate(episodes)
        for step, reward in enumerate([*rewards, np.nan])
    ]
    for number, rewards in enumerate(episodes):
        last = next(place for place, row in enumerate(rows) if row[:2] == (number, len(rewards)))
        rows[last] = (number, len(rewards), np.nan, False, False)
    columns = dict(zip(("episode", "step", "reward", "terminated", "truncated"), map(np.array, zip(*rows, strict=True)), strict=True))
    columns = {name: column[:-2] if cut else column for name, column in columns.items()}
    attributes = {} if policy is None else {"policy": policy}
    return SimpleNamespace(index=columns.__getitem__, manifest=SimpleNamespace(provenance={"dataset_attributes": attributes}))


DATA = store_of([[0.0, 1.0], [-1.0], [0.5, 0.5, 0.5]])


def lines(kind: Any, **changes: Any) -> dict[str, Any]:
    options = {"seeds": 4, "episodes": 50, "side_by_side": 64, "light": True}
    return {one.name: one for one in reference_returns(kind, DATA, **(options | changes))}


@pytest.mark.parametrize(("kind", "optimum"), [(Grid, 0.957), (Intercept, 1.0)])
def test_they_lie_where_they_are_known_to_lie(kind, optimum):
    found = lines(kind)
    assert list(found) == ["random", "constant", "data", "optimal"]
    assert found["optimal"].mean == pytest.approx(optimum, abs=0.01)
    assert found["random"].low < found["random"].mean < found["random"].high
    assert found["random"].episodes == found["constant"].episodes == found["optimal"].episodes == 200
    assert (found["data"].mean, found["data"].episodes, found["data"].note) == (pytest.approx(1.5 / 3), 3, "policy random:4")
    assert found["random"].high < found["optimal"].mean


def test_the_best_constant_action_is_the_best_and_is_measured_on_the_agents_own_episodes():
    found = lines(Grid, seeds=3, episodes=70)["constant"]
    seeds = np.concatenate([evaluation_seeds(block, np.arange(70)) for block in range(3)])
    means = [blind_returns(Grid, lambda world, _, a=action: np.full(world.copies, a), seeds).mean() for action in range(5)]
    chosen = int(found.note.removeprefix("action ")[0])
    assert found.mean == pytest.approx(means[chosen])
    assert means[chosen] >= max(means) - 0.03, "it was found on other episodes"
    assert means[chosen] > means[0], "walking somewhere is better than standing still"


def test_few_seeds_play_more_episodes_each():
    assert lines(Grid, seeds=1, episodes=2)["random"].episodes == EPISODES


def test_what_is_not_known_is_left_out():
    assert "optimal" not in lines(Hunt)
    assert lines(Hunt, best_possible=0.9)["optimal"].mean == 0.9
    assert lines(Grid, best_possible=0.9)["optimal"].note == "train.best_possible", "the user's word first"
    assert data_return(store_of([[np.nan, 1.0]])) is None
    assert "optimal" in {
        one.name for one in reference_returns(lambda copies: make_world("layerscout/Grid-v0", copies, 8), DATA, 2, 5, side_by_side=64)
    }


def test_only_whole_episodes_count():
    rng = np.random.default_rng(0)
    episodes = [list(rng.normal(size=rng.integers(1, 9))) for _ in range(30)]
    episodes[7][0] = np.nan
    columns = ("episode", "step", "reward", "terminated", "truncated")
    whole = [sum(rewards) for number, rewards in enumerate(episodes) if number != 7]
    np.testing.assert_allclose(whole_episode_returns(*map(store_of(episodes).index, columns)), whole)
    np.testing.assert_allclose(whole_episode_returns(*map(store_of(episodes, cut=True).index, columns)), whole[:-1])
    later = {name: store_of(episodes).index(name)[1:] for name in columns}  # the first episode lacks its beginning
    np.testing.assert_allclose(whole_episode_returns(*later.values()), whole[1:])


def test_what_a_policy_that_never_changes_can_do():
    assert [action for _, action in constant_actions(3, 0)] == [0, 1, 2]
    flat = {tuple(vector) for _, vector in constant_actions(0, 2)}
    assert flat == {(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)}
    assert len(constant_actions(0, 1)) == 3
    assert len(constant_actions(0, 6)) == 1 + 12
    assert "the best of 13 vectors" in constant_actions(0, 6)[0][0]


def test_a_comparison_carries_them(tmp_path, small, synthetic_store):
    selection = select(tmp_path / "s.json", ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))
    record = run(plan(settings(selection, tmp_path / "out", small.root, updates=4, scratch=False)))
    found = {one.name: one for one in record.references}
    assert list(found) == ["random", "constant", "data", "optimal"]
    assert record.random_policy_return == found["random"].mean
    assert record.episodes_apart
    assert record.dataset_digest == synthetic_store.identity["dataset"]["digest"]
    first, second = (one.returns for one in record.runs if one.arm == "pixels")
    assert len(first) == len(second) == 8
