"""Laws of visual dynamics representations at work: pretraining that continues, planning, alignment, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pvdr_worlds import SMALL, plan_with_true_dynamics, random_tokens, small_dot, small_films

from layerscout.errors import DataError
from layerscout.extract.backbones.networks.pvdr.pvdr import new_networks
from layerscout.rl.loops.checkpoint import load_checkpoint, save_checkpoint
from layerscout.rl.transfer.pvdr.alignment import ActionAlignment, critic_of, seen
from layerscout.rl.transfer.pvdr.arms import GoalRun, train_goal_run
from layerscout.rl.transfer.pvdr.config import PretrainPvdrConfig, PvdrConfig
from layerscout.rl.transfer.pvdr.experience import Experience
from layerscout.rl.transfer.pvdr.learner import STEPS_TOGETHER, PvdrLearner
from layerscout.rl.transfer.pvdr.planning import DynamicsPlanner, nearest, picture_distance
from layerscout.rl.transfer.pvdr.pretraining import Films, PvdrPretraining
from layerscout.rl.transfer.pvdr.reinforcing import advantages, plan_rewards
from layerscout.rl.transfer.pvdr.rounds import Deed, HeldActions, Round, play_round
from layerscout.rl.transfer.pvdr.tokens import clip_begins, pictures
from layerscout.worlds.dot import Dot

PRETRAIN = PretrainPvdrConfig(data="films.h5", shape=SMALL, tokenizer_updates=6, tokenizer_batch=8, updates=6, batch=4)
QUICK = PvdrConfig(prefill=40, environments=4, samples=3, adapt_updates=2, align_updates=5, align_batch=8, hidden=8, epochs=1)
ARMS = ["pvdr", "scratch", "supervised", "random-plans", "cloning"]


@pytest.fixture(scope="module")
def networks():
    return new_networks(SMALL, 0)


def same(one, other):
    """Whether two nested states hold the same numbers, bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return np.array_equal(one, other, equal_nan=isinstance(one, np.ndarray) and one.dtype.kind == "f")


# --- pretraining


@pytest.mark.parametrize("killed_at", [3, 9])
def test_killed_pretraining_goes_on_bit_for_bit(killed_at, tmp_path):
    films = small_films()
    whole, first, second = (PvdrPretraining(PRETRAIN, films) for _ in range(3))
    while not whole.finished:
        whole.advance(4)
    while sum(first.done) < killed_at:
        first.advance(1)
    save_checkpoint(tmp_path / "c.npz", "key", first.state())
    second.restore(load_checkpoint(tmp_path / "c.npz", "key"))
    while not second.finished:
        second.advance(100)
    assert second.done == [6, 6]
    assert same(whole.state(), second.state())


def test_pretraining_learns_what_it_sees():
    config = PRETRAIN.model_copy(update={"tokenizer_updates": 120, "updates": 120, "tokenizer_batch": 16, "batch": 16})
    learned = PvdrPretraining(config, small_films(400))
    while not learned.finished:
        learned.advance(1000)
    errors, nats = np.array(learned.errors), np.array(learned.nats)
    assert errors[-10:].mean() < 0.5 * errors[:5].mean()
    assert nats[-10:, 0].mean() < 0.5 * nats[:5, 0].mean()


def test_every_clip_of_an_update_stands_still_where_the_share_is_one():
    seen = []
    for share in (0.0, 1.0):
        learned = PvdrPretraining(PRETRAIN.model_copy(update={"still": share}), small_films())
        losses = learned.dynamics.losses
        learned.dynamics.losses = lambda clips, noise, losses=losses: (seen.append(clips), losses(clips, noise))[1]
        while not learned.finished:
            learned.advance(6)
    moving, still = torch.cat(seen[:6]), torch.cat(seen[6:])
    assert (still == still[:, :1]).all()
    assert not (moving == moving[:, :1]).all()


def test_clips_lie_in_one_episode_and_too_short_videos_are_refused():
    np.testing.assert_array_equal(clip_begins([3, 1, 4], 3), [0, 4, 5])
    with pytest.raises(DataError, match="m \\+ n = 5 frames long, and the longest of 2 videos has 4"):
        clip_begins([3, 4], 5)
    with pytest.raises(DataError, match="the longest of 2 videos has 2"):
        PvdrPretraining(PRETRAIN, Films(np.zeros((4, 16, 16, 3), np.uint8), np.array([2, 2])))


def test_a_loss_that_is_no_number_is_named():
    learning = PvdrPretraining(PRETRAIN, small_films())
    with torch.no_grad():
        learning.tokenizer.encoder[0].weight.fill_(float("nan"))
    with pytest.raises(DataError, match="the loss of the tokenizer is nan at update 1"):
        learning.advance(1)


# --- planning


@pytest.mark.parametrize(("ground", "kind"), [("textured", "transport"), ("flat", "transport"), ("textured", "both")])
def test_a_planner_that_knows_the_dynamics_reaches_its_goals(ground, kind):
    assert plan_with_true_dynamics(64, 16, kind, ground) >= 0.95


def test_pixels_alone_are_a_poor_distance():
    assert plan_with_true_dynamics(64, 16, "pixels") <= 0.93


def test_blurred_pictures_tell_how_far_away_a_disc_is():
    places = np.stack([np.full(9, 16.0), np.linspace(6, 22, 9)], axis=1)
    discs = pictures(Dot(1).picture_of(places))
    away = {kind: picture_distance(discs, discs[:1], kind) for kind in ("pixels", "blurred", "both")}
    assert float(away["both"][0]) == 0.0
    assert (away["blurred"].diff() > 0).all()
    assert float((away["pixels"][4:].diff().abs() / away["pixels"][4:-1]).max()) < 0.1, "they are flat where discs do not overlap"
    torch.testing.assert_close(away["both"], away["pixels"] + away["blurred"])


def test_moving_light_costs_as_far_as_it_goes_and_losing_it_costs_most():
    places = np.stack([np.full(9, 16.0), np.linspace(6, 22, 9)], axis=1)
    empty = Dot(1, ground="flat").picture_of(np.array([[-20.0, -20.0]]))
    seen = pictures(np.concatenate([Dot(1, ground="flat").picture_of(places), empty]))
    way = picture_distance(seen, seen[:1], "transport")[:-1]
    np.testing.assert_allclose(way[1:] / way[1], np.arange(1, 9), rtol=0.02)
    for kind, missing_is_nearer in (("both", True), ("transport", False)):
        away = picture_distance(seen, seen[8:9], kind)
        assert bool(away[-1] < away[0]) == missing_is_nearer, kind


def test_the_order_of_samples_decides_nothing(networks):
    planner = DynamicsPlanner(*networks)
    past, goals = random_tokens(SMALL, 5)[:, :1], torch.rand(5, 3, 16, 16) - 0.5
    noise = torch.randn(5, 7, SMALL.z)
    one, other = (planner.choose(past, goals, noise[:, order]) for order in (torch.arange(7), torch.arange(6, -1, -1)))
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs)
    tied = torch.tensor([[1.0, 1.0, 2.0]])
    assert int(nearest(tied, torch.tensor([[[3.0], [1.0], [0.0]]]))) == 1


@pytest.mark.parametrize(("compared", "first"), [("all", 0), ("last", -1)])
def test_a_plan_is_the_nearest_of_those_that_were_sampled(compared, first, networks):
    planner = DynamicsPlanner(*networks, compared=compared)
    past, goals, noise = random_tokens(SMALL, 3)[:, :1], torch.rand(3, 3, 16, 16) - 0.5, torch.randn(3, 6, SMALL.z)
    chosen = planner.choose(past, goals, noise)
    z, plans = planner.sample(past, noise)
    for copy in range(3):
        with torch.no_grad():
            away = [float(picture_distance(networks[0].decode(plan[first:]), goals[copy]).mean()) for plan in plans[copy]]
        assert float(chosen.distance[copy]) == pytest.approx(min(away), rel=1e-5)
        assert any(torch.equal(chosen.z[copy], one) for one in z[copy])


def test_of_plans_that_end_alike_the_one_that_goes_at_once_is_nearest(networks):
    """Where the last frame alone counts they are equally near."""
    early, late = torch.zeros(2, SMALL.future, SMALL.grid, SMALL.grid, dtype=torch.int64)
    goal = torch.full_like(early[0], 3)
    early[:], late[-1] = goal, goal
    pictures_of = networks[0].decode
    for compared, near in (("all", 0), ("last", None)):
        planner = DynamicsPlanner(*networks, compared=compared)
        planner.sample = lambda past, noise: (noise, torch.stack([early, late])[None])
        found = [
            planner.choose(goal[None, None], pictures_of(goal[None]), torch.tensor(noise)[None])
            for noise in ([[1.0] * SMALL.z, [0.0] * SMALL.z], [[0.0] * SMALL.z, [1.0] * SMALL.z])
        ]
        chosen = [bool(torch.equal(one.tokens[0], early)) for one in found]
        assert chosen == ([True, True] if near == 0 else [False, True]), "of equals the smaller z is taken"


# --- rounds and what is kept of them


def test_a_round_is_one_episode_of_every_copy():
    held = HeldActions(2, 6.0, np.random.default_rng(0))
    played = play_round(small_dot(5), held, np.arange(5), history=1)
    assert played.steps == played.lengths.sum()
    assert (played.lengths[~played.reached] == 16).all()
    kept = Experience(new_networks(SMALL, 0)[0], 1, 2)
    kept.add(played)
    kept.add(play_round(small_dot(5), held, np.arange(5, 10), history=1))
    assert kept.lengths[:5] == (played.lengths + 1).tolist()
    assert len(kept.tokens) == len(kept.actions) == sum(kept.lengths)
    rows = kept.whole()
    assert len(rows) == sum(max(0, length - 2) for length in kept.lengths)
    assert torch.isfinite(kept.clips(rows).actions).all()
    np.testing.assert_array_equal(kept.clips(rows[:1]).actions[0], np.clip(played.actions[0, 0], -1, 1))
    acted = kept.acted()
    later = kept.ahead(acted, np.random.default_rng(0).random(len(acted)), 16)
    ends = np.cumsum(kept.lengths)
    assert (later > acted).all()
    assert (np.searchsorted(ends, later, side="right") == np.searchsorted(ends, acted, side="right")).all()


def a_round(rewarded: bool = True) -> Round:
    """Two copies; the second reaches its goal after one step."""
    places = np.array([[[8.0, 8.0], [8.0, 8.0]], [[8.0, 10.0], [8.0, 22.0]], [[8.0, 12.0], [8.0, 22.0]]])
    frames = np.stack([Dot(1).picture_of(now) for now in places])
    goals = Dot(1).picture_of(np.array([[8.0, 20.0], [8.0, 22.0]]))
    deeds = tuple(Deed(np.zeros((2, 2), np.float32), torch.zeros(2, 2), pictures(frames[at + 1])) for at in range(2))
    return Round(frames, goals, deeds, np.array([[True, True], [True, False]]), np.array([False, True]))


def test_rewards_are_for_coming_nearer_for_keeping_to_the_plan_and_for_arriving():
    played = a_round()
    config = PvdrConfig(distance="both")
    rewards = plan_rewards(played, config)
    without = plan_rewards(played, config.model_copy(update={"arrival": 0.0}))
    torch.testing.assert_close(rewards - without, torch.tensor([[0.0, 1.0], [0.0, 0.0]]))  # where the goal was reached, once
    assert (rewards[:, 0] > 0).all()
    assert float(rewards[0, 1]) > 1.0, "it came the whole way and arrived"
    assert float(rewards[1, 1]) == 0.0, "it had ended"
    away = picture_distance(pictures(played.frames), pictures(played.goals)[None], "both")
    scale = away[0].mean()
    assert float(rewards[0, 0]) == pytest.approx(float((away[0, 0] - away[1, 0]) / scale), rel=1e-5)
    elsewhere = played.deeds[0]._replace(planned=pictures(played.goals))
    strayed = plan_rewards(Round(played.frames, played.goals, (elsewhere, played.deeds[1]), played.live, played.reached), config)
    assert float(strayed[0, 0]) < float(rewards[0, 0])


def test_advantages_are_sums_of_discounted_errors():
    generator = np.random.default_rng(0)
    rewards, values = (torch.from_numpy(generator.normal(size=(4, 3))).float() for _ in range(2))
    live = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 0, 0]], bool)
    rewards = rewards * torch.from_numpy(live)
    found = advantages(rewards, values, live, 0.9, 0.8)
    for copy in range(3):
        length = int(live[:, copy].sum())
        ahead = np.append(values[:length, copy].numpy(), 0.0)
        errors = [float(rewards[t, copy]) + 0.9 * ahead[t + 1] - ahead[t] for t in range(length)]
        for t in range(length):
            expected = sum((0.9 * 0.8) ** (later - t) * errors[later] for later in range(t, length))
            assert float(found[t, copy]) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("ground", ["flat", "textured"])
def test_what_is_seen_changes_in_proportion_to_the_way_that_a_thing_moves(ground):
    world, start = Dot(1, ground), np.array([14.0, 15.0])
    ways = np.array([[0.3, 0.0], [0.0, 0.3], [2.0, -1.5], [-9.0, 6.0]])
    features = seen(pictures(world.picture_of(np.concatenate([start[None], start + ways]))))
    rows, columns = (features[1:] - features[0]).unflatten(1, (2, -1)).sum(-1).T.numpy()
    disc = np.pi * 2.8**2 * (242 - 64) / (np.pi * 2.8**2 * (242 - 64) + 32**2 * 64)  # its share of the light
    np.testing.assert_allclose(np.stack([rows, columns], 1), -32 * disc * ways, rtol=0.2, atol=0.2)


def test_the_critic_is_the_alignment_with_another_last_layer():
    alignment = ActionAlignment(2, 5, 3, 8)
    critic = critic_of(alignment)
    same_body = [torch.equal(*pair) for pair in zip(alignment.body.parameters(), critic.body.parameters(), strict=True)]
    assert all(same_body)
    assert critic(torch.zeros(4, 2), torch.zeros(4, 5)).shape == (4, 1)
    deviation = alignment.deviation()
    expected = torch.distributions.Normal(alignment(torch.zeros(1, 2), torch.ones(1, 5)), deviation).log_prob(torch.ones(1, 3)).sum()
    torch.testing.assert_close(alignment.log_probability(torch.zeros(1, 2), torch.ones(1, 5), torch.ones(1, 3))[0], expected)


# --- arms


def test_of_the_encoder_only_the_last_layer_moves(networks):
    learner = PvdrLearner("pvdr", QUICK, *networks, dimensions=2, seed=0)
    before = {name: value.clone() for name, value in learner.dynamics.state_dict().items()}
    learner.learn(play_round(small_dot(8), HeldActions(2, 6.0, np.random.default_rng(0)), np.arange(8), 1))
    moved = {name for name, value in learner.dynamics.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in moved if name.startswith("encoder")} == {"encoder.last.weight", "encoder.last.bias"}
    assert any(name.startswith("decoder") for name in moved)
    assert any(name.startswith("prior") for name in moved)
    untouched = [torch.equal(*pair) for pair in zip(learner.tokenizer.parameters(), networks[0].parameters(), strict=True)]
    assert all(untouched)


def test_a_round_of_one_step_is_learned_from_without_a_spread(networks):
    learner = PvdrLearner("pvdr", QUICK, *networks, dimensions=2, seed=0)
    world = small_dot(1)
    played = play_round(world, learner, np.arange(1), 1)
    live = np.zeros_like(played.live)
    live[0] = True  # as if the first step had ended it
    learner.reinforce(Round(played.frames, played.goals, played.deeds, live, played.reached))
    assert all(torch.isfinite(parameter).all() for parameter in [*learner.alignment.parameters(), *learner.critic.parameters()])


def test_reinforcement_comes_on_top_of_what_the_alignment_learns_without_it(networks):
    updates = {}
    for arm in ("supervised", "pvdr"):
        learner = PvdrLearner(arm, QUICK, *networks, dimensions=2, seed=0)
        learner.learn(play_round(small_dot(4), HeldActions(2, 6.0, np.random.default_rng(0)), np.arange(4), 1))
        assert learner.updates == QUICK.adapt_updates + QUICK.align_updates, "random play has no plan to be rewarded for"
        learner.learn(played := play_round(small_dot(4), learner, np.arange(4), 1))
        updates[arm] = learner.updates
    assert updates["pvdr"] - updates["supervised"] == -(-played.steps // STEPS_TOGETHER) * QUICK.epochs


def test_play_in_which_no_episode_is_as_long_as_a_clip_is_named(networks):
    learner = PvdrLearner("pvdr", QUICK, *networks, dimensions=2, seed=0)
    played = play_round(small_dot(4), HeldActions(2, 6.0, np.random.default_rng(0)), np.arange(4), 1)
    live = np.zeros_like(played.live)
    live[0] = True  # as if the first step had ended every episode
    with pytest.raises(DataError, match=r"z is of m \+ n = 3 frames, and the longest of 4 episodes that were played has 2"):
        learner.learn(Round(played.frames, played.goals, played.deeds, live, played.reached))


@pytest.mark.parametrize("arm", ARMS)
def test_a_killed_run_goes_on_bit_for_bit(arm, networks, tmp_path):
    run = GoalRun(arm, 1, small_dot, (60, 150), episodes=3, final_episodes=4)
    learner, curve = train_goal_run(run, QUICK, networks)
    assert [steps >= due for (steps, _), due in zip(curve.evaluations, (60, 150), strict=True)] == [True, True]
    assert len(curve.evaluations[-1][1]) == 4

    class KilledError(Exception):
        pass

    def kill(steps: int) -> None:
        if steps > 100:  # in the second round; what was played and judged before is saved
            raise KilledError

    with pytest.raises(KilledError):
        train_goal_run(run, QUICK, networks, tmp_path / "run.npz", "key", kill)
    before = load_checkpoint(tmp_path / "run.npz", "key")["curve"]["wall_seconds"]
    again, its = train_goal_run(run, QUICK, networks, tmp_path / "run.npz", "key")
    spent = {"cpu_seconds", "wall_seconds"}
    assert {name: value for name, value in vars(its).items() if name not in spent} == {
        name: value for name, value in vars(curve).items() if name not in spent
    }
    kept = load_checkpoint(tmp_path / "run.npz", "key")["curve"]
    assert (its.cpu_seconds, its.wall_seconds) == (kept["cpu_seconds"], kept["wall_seconds"]), "what was spent before the kill counts too"
    assert its.wall_seconds >= before > 0
    assert same(again.state_dict(), learner.state_dict())


def test_evaluating_changes_nothing_that_is_learned(networks):
    often, once = (GoalRun("pvdr", 0, small_dot, at, episodes=3, final_episodes=3) for at in ((50, 60, 150), (150,)))
    states = [train_goal_run(run, QUICK, networks)[0].state_dict() for run in (often, once)]
    assert same(*states)
