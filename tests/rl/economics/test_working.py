"""Laws of agents at work: runs do not touch each other, the multiplier follows the log, rewards have the form that was asked for, and they learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerscout.rl.agents.critic import Critic
from layerscout.rl.economics.config import SETTLED, WorkConfig
from layerscout.rl.economics.episode_log import read_episodes
from layerscout.rl.economics.working import COUNTED, Workplace, work

QUICK = SETTLED.model_copy(update={"warm_up": 60, "batch": 16, "hidden": (8,)})


@pytest.mark.parametrize("options", [{}, {"replay": "novelty", "novelty": "neighbours", "weighting": "novelty"}])
def test_a_run_works_the_same_whoever_stands_beside_it(options):
    config = WorkConfig(episodes=3, damage=0.0, step_size=5.0, evaluation_hours=1, sac=QUICK, **options)
    many, one = work(config, [4, 7, 9]), work(config, [9])
    for name in ("attempts", "errors", "multiplier", "novelty"):
        np.testing.assert_array_equal(many.column(name)[:, 2], one.column(name)[:, 0])
    np.testing.assert_allclose(many.judgements[-1].profit[2], one.judgements[-1].profit[0], rtol=1e-5)


def test_the_multiplier_moves_once_an_hour_by_the_hours_error(tmp_path):
    config = WorkConfig(episodes=4, damage=0.0, step_size=5.0, first_target=0.08, last_target=0.06, target_episodes=2, sac=QUICK)
    done = work(config, [0, 1], tmp_path)
    target, error, before, after = (done.column(name) for name in ("error_target", "error_rate", "multiplier", "next_multiplier"))
    np.testing.assert_allclose(target[:, 0], [0.08, 0.07, 0.06, 0.06])
    np.testing.assert_array_equal(before[1:], after[:-1])
    np.testing.assert_array_equal(after[0], 0.0)  # not before the agent acts by its own policy
    np.testing.assert_allclose(after[1:], np.maximum(0.0, before[1:] + 5.0 * (error[1:] - target[1:])))
    assert [row["seed"] for row in read_episodes(tmp_path / "episodes.csv")] == [0, 1] * 4


def test_play_is_broad_until_its_entropy_falls_on_a_line_to_the_last_hour():
    sac = QUICK.model_copy(update={"target_entropy": -1.0, "lr": 0.05})
    temperature = {}
    for last, expected in ((None, [-1.0] * 7), (-9.0, [-1.0, -1.0, -1.0, -3.0, -5.0, -7.0, -9.0])):
        place = Workplace(WorkConfig(episodes=7, last_entropy=last, entropy_after=2, sac=sac), [0, 1])
        aims = []
        for episode in range(7):
            place.hour(episode)
            aims.append(place.agent.target_entropy)
        assert aims == pytest.approx(expected)
        temperature[last] = place.agent.temperature.logarithm.detach().exp().max()
    assert temperature[-9.0] < 0.8 * temperature[None], "an aim that fell is followed"
    short = Workplace(WorkConfig(episodes=2, last_entropy=-9.0, entropy_after=5, sac=sac), [0])
    short.hour(0)
    assert short.agent.target_entropy == -1.0, "a run that ends before the aim moves never sees it move"


@pytest.mark.parametrize("form", ["step", "cumulative"])
def test_a_reward_is_what_a_minute_earned_or_the_profit_until_it(form):
    place = Workplace(WorkConfig(reward=form, sac=QUICK), [0, 1])
    rows = place.hour(0)
    hourly = np.array([row["profit"] for row in rows])
    profit = place.ledger.profit[:, :60]
    np.testing.assert_allclose(profit.mean(1) if form == "step" else profit[:, -1], hourly, rtol=1e-4)
    assert not place.ledger.terminated.any()
    cut = Workplace(WorkConfig(end="terminated", sac=QUICK), [0])
    cut.hour(0)
    assert cut.ledger.terminated[0, :60].tolist() == [False] * 59 + [True]


def test_three_runs_find_a_good_hour_within_thirty():
    done = work(WorkConfig(episodes=30), [0, 1, 2])
    assert done.judgements[-1].profit.mean() > 27.0  # uniform play: 23.3; the optimum: 28.4
    assert done.judgements[-1].speed.min() > 0.8


def test_critics_that_count_actions_from_elsewhere_are_the_same_functions_of_the_action():
    z, generator = torch.zeros(1, 5, 4), torch.Generator().manual_seed(0)
    action = 2.0 * torch.rand(1, 5, 2, generator=generator) - 1.0
    middle, zero, one = (Critic(4, [3], dimensions=2, hidden=(8,), counted=COUNTED[origin]) for origin in ("middle", "zero", "one"))
    torch.testing.assert_close(zero(z, action), middle(z, 0.5 * (action + 1.0)))
    torch.testing.assert_close(one(z, action), zero(z, -action))
    for critic in (middle, zero, one):
        inputs = action.clone().requires_grad_(True)
        critic(z, inputs).sum().backward()
        _, tape = critic.record_pair(z, action)
        torch.testing.assert_close(critic.action_slope(tape, torch.ones(1, 5, 2)), inputs.grad)


def test_what_an_agent_finds_first_is_where_its_critics_count_from():
    speeds = {}
    for origin in ("zero", "one"):
        sac = SETTLED.model_copy(update={"lr": 5e-4, "init_temperature": 0.03, "warm_up": 600, "train_interval": 6})
        done = work(WorkConfig(episodes=20, actions=origin, evaluation_hours=1, averaging_after=20, sac=sac), [0, 1, 2])
        speeds[origin] = done.judgements[-1].speed
    assert speeds["zero"].min() > 0.6
    assert speeds["one"].max() < 0.4
