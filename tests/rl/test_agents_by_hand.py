"""One update on one or two transitions, worked by hand: what each learner aims at, what it loses, and what it draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from layerscout.errors import UsageError
from layerscout.rl.agents.configs import DQNConfig, IQLConfig, PPOConfig, RidgeConfig, SACConfig
from layerscout.rl.agents.dqn import DQN
from layerscout.rl.agents.iql import iql_on_features
from layerscout.rl.agents.ppo import ActorCritic, clipped, drawn, playable, ppo_on_features, standardised
from layerscout.rl.agents.ridge import ClosedForm, LinearPolicy, solve_policy, solving_flops
from layerscout.rl.agents.sac import Temperature, sac_on_features
from layerscout.rl.generators import run_generators
from layerscout.rl.memory.replay import Batch, ReplayRows
from layerscout.rl.memory.rollout import Rollout
from layerscout.rl.networks.layers import Head


def array(*values) -> np.ndarray:
    """One run's row of numbers."""
    return np.array([values], np.float32)


def batch(z, action, reward, next_z, terminated, discount=None, weight=None) -> Batch:
    """One run's transitions with one feature each."""
    states = np.array([[[one] for one in (*z, *next_z)]], np.float32)
    return Batch(states, np.array([action]), array(*reward), np.array([terminated]), discount, weight)


@torch.no_grad()
def put(head: Head, weight, bias) -> None:
    """Give a linear head of one run its numbers: weight [feature][out], bias [out]."""
    head.layers[-1].weight.copy_(torch.tensor([weight], dtype=torch.float32))
    head.layers[-1].bias.copy_(torch.tensor([[bias]], dtype=torch.float32))


# --- Q-learning


def q_learner(**settings) -> DQN:
    """Q(z) = (z, 2 - z) online, and (3 z, 1) of the target."""
    chosen = {"gamma": 0.5, "lr": 1e-3, "batch": 1, "target_interval": 1_000, "gradient_clip": 0.0, "loss": "mse"} | settings
    agent = DQN(DQNConfig(**chosen), lambda seeds: Head(1, 2, seeds, "linear"), [0])
    put(agent.target, [[3.0, 0.0]], [0.0, 1.0])
    put(agent.online, [[1.0, -1.0]], [0.0, 2.0])
    return agent


@pytest.mark.parametrize(
    ("double", "next_z", "terminated", "goal"),
    [
        (True, 0.5, False, 1.0 + 0.5 * 1.0),  # online prefers action 1 (1.5 over 0.5), which the target says is worth 1
        (False, 0.5, False, 1.0 + 0.5 * 1.5),  # the target's own largest is 3 · 0.5
        (True, 4.0, False, 1.0 + 0.5 * 12.0),
        (True, -4.0, False, 1.0 + 0.5 * 1.0),
        (False, 4.0, True, 1.0),
    ],
)
def test_the_goal_of_q_learning_by_hand(double, next_z, terminated, goal):
    losses = q_learner(double=double).update(batch([1.5], [0], [1.0], [next_z], [terminated]))
    assert losses[0] == pytest.approx((1.5 - goal) ** 2, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(("reward", "loss"), [(0.5, 0.5), (1.0, 0.125), (-3.0, 4.0), (4.5, 2.5)])
def test_a_huber_loss_is_a_square_near_and_a_line_far(reward, loss):
    """Q(1.5, 0) = 1.5, so that the error is 1.5 - r: 1, ½, 4.5 and -3."""
    assert q_learner(loss="huber").update(batch([1.5], [0], [reward], [0.0], [True]))[0] == pytest.approx(loss)


def test_the_conservative_term_is_what_a_softmax_says_against_what_was_done():
    plain, weighed = (q_learner(conservative=weight).update(batch([1.5], [1], [0.5], [0.0], [True]))[0] for weight in (0.0, 2.0))
    assert plain == pytest.approx(0.0)
    assert weighed == pytest.approx(2.0 * (math.log(math.exp(1.5) + math.exp(0.5)) - 0.5), rel=1e-6)


def test_with_several_rewards_what_follows_counts_by_the_samples_own_discount():
    agent = q_learner(n_step=3, double=False)
    loss = agent.update(batch([2.0], [0], [1.0], [1.0], [False], discount=array(0.125)))
    assert loss[0] == pytest.approx((2.0 - (1.0 + 0.125 * 3.0)) ** 2, rel=1e-6)
    with pytest.raises(UsageError, match="n_step is 3") as error:
        agent.update(batch([2.0], [0], [1.0], [1.0], [False]))
    assert error.value.hint == "build it as Replay(..., steps=config.n_step, gamma=config.gamma)"


def test_the_first_step_of_adam_is_the_step_size_against_the_gradient():
    agent = q_learner(lr=0.01)
    agent.update(batch([2.0], [0], [0.0], [0.0], [True]))  # Q(2, 0) = 2 is too large: weight and bias of action 0 fall
    weight, bias = (parameter.detach().numpy().ravel() for parameter in agent.online.parameters())
    np.testing.assert_allclose(weight, [0.99, -1.0], atol=1e-6)
    np.testing.assert_allclose(bias, [-0.01, 2.0], atol=1e-6)


@pytest.mark.parametrize(("tau", "weight"), [(1.0, 0.99), (0.5, (3.0 + 0.99) / 2)])
def test_the_target_moves_its_share_after_the_interval(tau, weight):
    agent, one = q_learner(lr=0.01, tau=tau, target_interval=2), batch([2.0], [0], [-50.0], [0.0], [True])
    agent.update(one)
    assert agent.target.layers[0].weight[0, 0, 0].item() == 3.0
    agent.update(one)
    online = agent.online.layers[0].weight[0, 0, 0].item()
    assert online == pytest.approx(0.98, abs=1e-4)
    assert agent.target.layers[0].weight[0, 0, 0].item() == pytest.approx(weight - tau * 0.01, abs=1e-4)


def test_random_actions_are_all_of_them_and_the_best_one_otherwise():
    agent, z = q_learner(), np.full((1, 4_000, 1), 3.0, np.float32)
    assert (agent.act(z) == 0).all()  # Q = (3, -1)
    third = agent.act(z, 0.5, run_generators([0], 0))
    assert (third == 1).mean() == pytest.approx(0.25, abs=0.03)
    assert (agent.act(z, 1.0, run_generators([0], 0)) == 1).mean() == pytest.approx(0.5, abs=0.04)


# --- implicit Q-learning


def expectile_learner(**settings):
    """V = 1 everywhere, both target critics say (2, 5), the policy does not care."""
    chosen = {"gamma": 0.5, "expectile": 0.9, "inverse_temperature": 2.0, "largest_weight": 100.0, "lr": 1e-8, "tau": 1e-6}
    agent = iql_on_features(IQLConfig(**chosen | settings), 1, [0], actions=2, kind="linear")
    put(agent.value, [[0.0]], [1.0])
    for critic in (agent.critic, agent.target):
        put(critic.first, [[0.0, 0.0]], [2.0, 5.0])
        put(critic.second, [[0.0, 0.0]], [3.0, 4.0])
    put(agent.policy.trunk, [[0.0, 0.0]], [0.0, 0.0])
    return agent


@pytest.mark.parametrize(("terminated", "ahead"), [(False, 0.5 * 1.0), (True, 0.0)])
def test_critics_aim_at_the_value_of_what_was_seen_next_each_for_itself(terminated, ahead):
    goal = 3.0 + ahead
    losses = expectile_learner().update(batch([1.0], [0], [3.0], [1.0], [terminated]))
    assert losses[0] == pytest.approx((2.0 - goal) ** 2 + (3.0 - goal) ** 2, rel=1e-5)


@pytest.mark.parametrize(("action", "known"), [(0, 2.0), (1, 4.0)])
def test_a_value_is_pulled_towards_the_smaller_critic_by_the_expectile(action, known):
    agent = expectile_learner()
    agent.update(batch([1.0], [action], [3.0], [1.0], [True]))
    slopes = [view.item() for view in agent.optimisers["value"].gradient_views]
    assert slopes == pytest.approx([-2.0 * 0.9 * (known - 1.0)] * 2, rel=1e-5)


def test_a_value_that_is_too_high_is_pulled_down_little():
    agent = expectile_learner()
    put(agent.value, [[0.0]], [6.0])
    agent.update(batch([1.0], [1], [3.0], [1.0], [True]))
    assert agent.optimisers["value"].gradient_views[1].item() == pytest.approx(2.0 * 0.1 * 2.0, rel=1e-4)


@pytest.mark.parametrize(("largest", "weight"), [(1e6, math.exp(2.0 * 1.0)), (3.0, 3.0)])
def test_a_policy_copies_what_was_better_than_thought_up_to_a_largest_weight(largest, weight):
    agent = expectile_learner(largest_weight=largest)
    agent.update(batch([1.0], [0], [3.0], [1.0], [True]))
    slope = agent.optimisers["policy"].gradient_views[1].ravel().tolist()
    assert slope == pytest.approx([-0.5 * weight, 0.5 * weight], rel=1e-4)  # softmax is ½, ½


# --- soft actor-critic


def soft_learner(**settings):
    """A standard normal before the tanh; critics that say 1 + 2 a and 4."""
    chosen = {"gamma": 0.5, "lr": 1e-8, "tau": 1e-6, "init_temperature": 0.25}
    agent = sac_on_features(SACConfig(**chosen | settings), 1, [0], dimensions=1, kind="linear")
    put(agent.actor, [[0.0, 0.0]], [0.0, 0.0])
    for critic in (agent.critic, agent.target):
        put(critic.first, [[2.0], [0.0]], [1.0])  # the action stands before the features
        put(critic.second, [[0.0], [0.0]], [4.0])
    return agent


def density(noise: float) -> float:
    """ln π of the action tanh(ε) of a standard normal."""
    return -0.5 * noise**2 - 0.5 * math.log(2 * math.pi) - math.log(1 - math.tanh(noise) ** 2)


def soft_update(agent, next_noise: float, noise: float = 0.3, terminated: bool = False, weight: float | None = None):
    tensors = [torch.tensor([[[0.0], [0.0]]]), torch.tensor([[[0.5]]]), torch.tensor([[1.0]])]
    tensors += [torch.tensor([[0.0 if terminated else 0.5]]), torch.tensor([[[noise], [next_noise]]])]
    tensors += [] if weight is None else [torch.tensor([[weight]])]
    return agent.learn(lambda optimiser, losses: None, *tensors).item()


@pytest.mark.parametrize("next_noise", [-1.0, 0.0, 0.7])
@pytest.mark.parametrize("weight", [None, 3.0])
def test_critics_aim_at_the_smaller_of_two_and_the_entropy(next_noise, weight):
    agent = soft_learner()
    ahead = min(1 + 2 * math.tanh(next_noise), 4.0) - 0.25 * density(next_noise)
    goal = 1.0 + 0.5 * ahead
    expected = 0.5 * ((2.0 - goal) ** 2 + (4.0 - goal) ** 2) * (weight or 1.0)
    assert soft_update(agent, next_noise, weight=weight) == pytest.approx(expected, rel=1e-5)
    assert agent.temporal_error.item() == pytest.approx((abs(2.0 - goal) + abs(4.0 - goal)) / 2, rel=1e-5)


def test_after_an_end_critics_aim_at_the_reward_alone():
    assert soft_update(soft_learner(), 0.7, terminated=True) == pytest.approx(0.5 * (1.0 + 9.0), rel=1e-6)


@pytest.mark.parametrize("goal", [None, 2.0])
def test_a_temperature_falls_while_actions_are_more_random_than_asked(goal):
    agent = soft_learner(target_entropy=goal)
    soft_update(agent, 0.0)
    surplus = density(0.3) + (-1.0 if goal is None else goal)
    assert agent.optimisers["temperature"].gradient_views[0].item() == pytest.approx(-surplus, rel=1e-5)


def test_an_actor_climbs_the_smaller_critic_and_spreads():
    """By u: dL/du = -2 (1 - a²) + 2 α a; by ln σ: that times ε less α."""
    agent, action = soft_learner(), math.tanh(0.3)
    soft_update(agent, 0.0)
    by_mean = -2.0 * (1 - action**2) + 2.0 * 0.25 * action
    slopes = agent.optimisers["actor"].gradient_views[1].ravel().tolist()
    assert slopes == pytest.approx([by_mean, by_mean * 0.3 - 0.25], rel=1e-5)


def test_a_temperature_begins_where_it_is_told_in_every_run():
    temperature = Temperature(3, 0.2)
    np.testing.assert_allclose(temperature.logarithm.exp().detach(), np.full((3, 1), 0.2), rtol=1e-6)
    assert temperature.trainable_parameters().tolist() == [1, 1, 1]


# --- proximal policy optimisation


class Chances:
    """A generator that gives the numbers it was given."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = np.array(numbers)

    def random(self, count: int) -> np.ndarray:
        assert count == len(self.numbers)
        return self.numbers


def test_an_action_is_the_first_whose_share_of_the_probability_exceeds_the_chance():
    logits = torch.tensor([0.2, 0.5, 0.3]).log().expand(1, 6, 3)
    assert drawn(logits, None, [Chances(0.0, 0.19, 0.21, 0.69, 0.71, 0.9999999)]).tolist() == [[0, 0, 1, 1, 2, 2]]


def test_an_action_without_probability_is_never_drawn():
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf]).expand(1, 3, 3)
    assert drawn(logits, None, [Chances(0.0, 0.5, 1.0 - 2**-53)]).tolist() == [[1, 1, 1]]


def test_numbers_are_drawn_around_the_mean_with_the_runs_own_spread():
    mean, spread = torch.tensor([[[1.0]], [[-1.0]]]).expand(2, 5_000, 1), torch.tensor([[[0.0]], [[-1.0]]])
    found = drawn(mean, spread, run_generators([0, 1], 0))
    np.testing.assert_allclose(found.mean((1, 2)), [1.0, -1.0], atol=0.05)
    np.testing.assert_allclose(found.std((1, 2)), [1.0, math.exp(-1.0)], rtol=0.05)


def test_only_numbers_are_cut_to_what_can_be_played():
    assert playable(np.array([[[-3.0, 0.5], [1.5, 1.0]]], np.float32)).tolist() == [[[-1.0, 0.5], [1.0, 1.0]]]
    assert playable(np.array([[0, 5]])).tolist() == [[0, 5]]


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [(1.5, 2.0, 2.4), (0.5, 2.0, 1.0), (1.5, -2.0, -3.0), (0.5, -2.0, -1.6), (1.1, 2.0, 2.2), (1.0, 0.0, 0.0)],
)
def test_the_clipped_objective_is_the_worse_of_two(ratio, advantage, expected):
    assert clipped(torch.tensor([[ratio]]), torch.tensor([[advantage]]), 0.2).item() == pytest.approx(expected)


def test_advantages_are_standardised_within_a_run_and_one_alone_stays():
    found = standardised(torch.tensor([[1.0, 2.0, 3.0], [10.0, 10.0, 40.0]]))
    np.testing.assert_allclose(found, [[-1.0, 0.0, 1.0], [-10 / 300**0.5, -10 / 300**0.5, 20 / 300**0.5]], rtol=1e-5)
    assert standardised(torch.tensor([[7.0]])).item() == 7.0


def actor_critic(**settings):
    """A policy that does not care between two actions, and V(z) = 2 z."""
    agent = ppo_on_features(
        PPOConfig(**{"gamma": 0.5, "gae": 0.5, "entropy": 0.0, "batch": 4} | settings), 1, [0], actions=2, kind="linear"
    )
    put(agent.network.policy, [[0.0, 0.0]], [0.0, 0.0])
    put(agent.network.value, [[2.0]], [0.0])
    return agent


def rollout(rewards, terminated) -> Rollout:
    """One environment whose states are 1, 2, ... and what is seen last 10."""
    steps = len(rewards)
    z = np.arange(1.0, steps + 1, dtype=np.float32).reshape(1, steps, 1, 1)
    nothing = np.zeros((1, steps, 1), np.float32)
    ends = np.array(terminated).reshape(1, steps, 1)
    return Rollout(
        z, np.zeros((1, steps, 1), np.int64), array(*rewards)[..., None], ends, nothing > 0, nothing, np.full((1, 1, 1), 10.0, np.float32)
    )


@pytest.mark.parametrize(
    ("terminated", "scale", "expected"),
    [
        ([False, False], 1.0, [1 + 0.5 * 4 - 2 + 0.25 * (3 + 0.5 * 20 - 4), 3 + 0.5 * 20 - 4]),
        ([True, False], 1.0, [1 - 2, 3 + 0.5 * 20 - 4]),
        ([False, True], 0.1, [0.1 + 0.5 * 4 - 2 + 0.25 * (0.3 - 4), 0.3 - 4]),
    ],
)
def test_steps_of_a_rollout_are_judged_by_hand(terminated, scale, expected):
    agent = actor_critic(reward_scale=scale)
    steps = agent.prepare(rollout([1.0, 3.0], terminated))
    np.testing.assert_allclose(steps.advantage, [expected], rtol=1e-5)
    np.testing.assert_allclose(steps.goal, [[expected[0] + 2.0, expected[1] + 4.0]], rtol=1e-5)
    np.testing.assert_allclose(steps.old, np.log(0.5), rtol=1e-6)
    np.testing.assert_array_equal(agent.advantages_of(rollout([1.0, 3.0], terminated), array(2.0, 4.0)).ravel(), steps.advantage.ravel())


def test_losses_of_value_and_policy_are_their_formulas():
    agent = actor_critic(value_weight=0.5, entropy=0.1, clip=0.2)
    steps = agent.prepare(rollout([1.0, 3.0], [False, False]))
    value, output = torch.tensor([[[0.0], [1.0]]]), torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]])
    goal = steps.goal[0].tolist()
    assert agent.value_loss(steps, value).item() == pytest.approx(0.5 * (goal[0] ** 2 + (goal[1] - 1.0) ** 2) / 2, rel=1e-5)
    up, down = 1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(1.0))
    better = 2**-0.5  # two advantages, standardised: the first is the smaller
    objective = (min(-better * up / 0.5, -better * 1.2) + min(better * down / 0.5, better * 0.8)) / 2
    chaos = -(up * math.log(up) + down * math.log(down))
    assert agent.policy_loss(steps, output).item() == pytest.approx(-objective - 0.1 * chaos, rel=1e-5)


def test_a_spread_is_of_the_run_and_stands_only_beside_numbers():
    networks = [Head(1, 2, [0, 1], "linear"), Head(1, 1, [0, 1], "linear")]
    assert ActorCritic(*networks).logarithm is None
    numbers = ActorCritic(*networks, dimensions=2, log_deviation=-0.5)
    assert numbers.logarithm is not None
    assert numbers.logarithm.tolist() == [[[-0.5, -0.5]]] * 2


# --- closed forms


def test_a_linear_policy_plays_the_largest_column_or_what_it_says():
    weights, intercept = np.array([[1.0, -2.0]]), np.array([0.25, 0.5])
    z = np.array([[0.0], [1.0], [-1.0]], np.float32)
    assert LinearPolicy(weights, intercept).act(z).tolist() == [1, 0, 1]
    assert LinearPolicy(weights, intercept, continuous=True).act(z).tolist() == [[0.25, 0.5], [1.0, -1.0], [-0.75, 1.0]]


def test_a_policy_of_fewer_features_sees_the_first_ones():
    policy = LinearPolicy(np.array([[1.0]]), np.array([0.0]), continuous=True)
    assert policy.act(np.array([[0.5, 99.0]], np.float32)).tolist() == [[0.5]]


def test_every_run_plays_its_arms_policy_and_has_its_arms_costs():
    policies = [LinearPolicy(np.zeros((3, 2)), np.array([1.0, 0.0])), LinearPolicy(np.zeros((1, 2)), np.array([0.0, 1.0]))]
    agent = ClosedForm(policies, [1, 0, 1], [0, 0, 1], [10.0, 20.0])
    assert agent.act(np.zeros((3, 2, 3), np.float32)).tolist() == [[1, 1], [0, 0], [1, 1]]
    assert agent.trainable_parameters().tolist() == [4, 8, 4]
    assert agent.update_flops().tolist() == [20, 10, 20]
    assert (agent.seeds, agent.updates, agent.failed.tolist(), agent.reasons) == ((0, 0, 1), 1, [False] * 3, {})


@pytest.mark.parametrize(("rows", "width"), [(10, 3), (3, 10)])
def test_solving_costs_the_products_of_the_smaller_side_and_its_factorisation(rows, width):
    assert solving_flops(rows, width) == 2 * 10 * 9 + 18


def test_an_action_that_was_done_once_is_not_judged():
    z = np.arange(6.0, dtype=np.float32)[:, None]
    action, reward = np.array([0, 1, 1, 0, 2, -1]), np.array([1.0, 1.0, 1.0, 1.0, 99.0, np.nan])
    rows = ReplayRows([z], [0], np.zeros(6, int), np.arange(6), action, reward, np.zeros(6, bool))
    policy, flops = solve_policy(rows, "improvement", RidgeConfig(), 4)
    assert np.isneginf(policy.intercept).tolist() == [False, False, True, True]
    assert flops == 2 * solving_flops(2, 1)
    assert set(policy.act(np.linspace(-9, 9, 7, dtype=np.float32)[:, None]).tolist()) <= {0, 1}


def test_improving_numbers_is_refused_and_copying_them_is_the_way():
    action = np.array([[0.5], [0.5], [np.nan]], np.float32)
    z = np.array([[0.0], [1.0], [2.0]], np.float32)
    rows = ReplayRows([z], [0], np.zeros(3, int), np.arange(3), action, np.zeros(3), np.zeros(3, bool))
    with pytest.raises(UsageError, match="needs discrete actions") as error:
        solve_policy(rows, "improvement", RidgeConfig(), 0)
    assert error.value.hint == '--set train.ridge.form=cloning, or train.algorithm="iql"'
    copied, flops = solve_policy(rows, "cloning", RidgeConfig(), 0)
    np.testing.assert_allclose(copied.act(z), np.full((3, 1), 0.5), atol=1e-6)
    assert flops == solving_flops(2, 1)
