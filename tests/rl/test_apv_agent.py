"""DreamerV2 with and without APV: each piece against a plain form of it, then training as a command sees it, killed and continued."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from by_hand import INTERCEPT, select, settings, without_times
from PIL import Image

from layerscout.cache import records
from layerscout.cache.records.world_models import WorldModelRecord
from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.report.figures.looks import LOOKS
from layerscout.report.world_models import losses_table, pretrained_sentences
from layerscout.rl.agents.dreamer import Dreamer, on_device
from layerscout.rl.comparison.dreamers import NAMES
from layerscout.rl.config import TrainConfig, comparison_key
from layerscout.rl.loops import learning
from layerscout.rl.memory.sequences import SequenceReplay, StepWindows
from layerscout.rl.plan import plan
from layerscout.rl.run import run
from layerscout.rl.seeing.recurrent import RecurrentObserver
from layerscout.rl.transfer.apv.action_free import new_action_free
from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.rl.transfer.apv.bonus import VideoBonus
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.folder import DESCRIPTION, PretrainedModel, open_folder, write_description
from layerscout.rl.transfer.apv.heads import ActionDistribution, Actor
from layerscout.rl.transfer.apv.imagination import behaviour_losses, imagine, returns_of
from layerscout.rl.transfer.apv.keeping import save_weights
from layerscout.rl.transfer.apv.learner import DreamerLearner, Spoiled
from layerscout.rl.transfer.apv.stacked import PlayedWindows, WorldModel
from layerscout.rl.transfer.states import module_state

SMALL = {"size": 16, "stages": 2, "depth": 2, "latents": 3, "classes": 4, "deter": 8, "hidden": 8}
SIZES = APVModelConfig(**SMALL)
FEW = {"batch": 2, "length": 6, "layers": 1, "width": 6, "horizon": 4, "neighbours": 2, "queue": 8, "projection": 3, "bonus_window": 3}
FEW |= {"warm_up": 10, "train_interval": 5, "frozen_updates": 2, "slow_interval": 3}
CONFIG = DreamerConfig(**FEW)


def windows(actions: int = 3, seed: int = 0, config: DreamerConfig = CONFIG) -> PlayedWindows:
    rng, shape = np.random.default_rng(seed), (config.batch, config.length)
    first = np.zeros(shape, bool)
    first[:, 0] = first[0, 3] = True
    drawn = np.eye(actions, dtype=np.float32)[rng.integers(0, actions, shape)]
    frames = rng.integers(0, 256, (*shape, 16, 16, 3), dtype=np.uint8)
    return on_device(
        StepWindows(frames, drawn, rng.standard_normal(shape, np.float32), rng.random(shape) < 0.2, first), torch.device("cpu")
    )


def learner(way: str = "apv", dimensions: int = 0, **changes) -> DreamerLearner:
    pretrained = new_action_free(SIZES, 9)
    return DreamerLearner(DreamerConfig(**{**FEW, **changes}), SIZES, 0 if dimensions else 3, dimensions, way, 0, pretrained)


# --- memory


def test_every_way_to_begin_is_drawn_in_its_own_way():
    looks = [LOOKS[f"dreamer {way}"] for way in NAMES]
    assert len(set(looks)) == len({(look.stroke, look.shape) for look in looks}) == len(NAMES)


def test_windows_are_what_was_played_in_order_and_the_oldest_is_forgotten():
    rng, replay, played = np.random.default_rng(0), SequenceReplay(2, 20, (2, 2, 1), 3), [[], []]
    for step in range(33):
        for one in range(2):
            if step % (5 + one) == 0:
                frame = rng.integers(0, 256, (1, 2, 2, 1), dtype=np.uint8)
                replay.begin(np.array([one]), frame)
                played[one].append((frame[0], np.zeros(3), 0.0, False, True))
        frames, rewards = rng.integers(0, 256, (2, 2, 2, 1), dtype=np.uint8), rng.standard_normal(2).astype(np.float32)
        actions, ended = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 2)], rng.random(2) < 0.3
        replay.add(frames, actions, rewards, ended)
        for one in range(2):
            played[one].append((frames[one], actions[one], rewards[one], bool(ended[one]), False))
    assert replay.size.tolist() == [20, 20]
    copy = SequenceReplay(2, 20, (2, 2, 1), 3)
    copy.load_state_dict(replay.state_dict())
    for one in range(2):
        newest = played[one][-20:]
        found = replay.sample(one, 256, 4, np.random.default_rng(one))
        again = copy.sample(one, 256, 4, np.random.default_rng(one))
        begins = {tuple(frame.ravel()): place for place, (frame, *_) in enumerate(newest)}
        seen = set()
        for window in range(256):
            place = begins[tuple(found.frames[window, 0].ravel())]
            seen.add(place)
            for t in range(4):
                frame, action, reward, ended, first = newest[place + t]
                assert (found.frames[window, t] == frame).all()
                assert (found.actions[window, t] == action).all()
                assert found.rewards[window, t] == reward
                assert found.terminated[window, t] == ended
                assert found.first[window, t] == (first or t == 0)
        assert seen == set(range(17)), "every place is drawn"
        assert all((its == other).all() for its, other in zip(found, again, strict=True))


# --- heads and returns


def test_the_distribution_of_numbers_is_the_truncated_normal_with_the_authors_deviation():
    actor = Actor(4, 0, 2, 1, 5)
    features = torch.randn(7, 4)
    raw = actor.network(features).detach().numpy()
    distribution = actor(features)
    np.testing.assert_allclose(distribution.mean.detach(), np.tanh(raw[:, :2]), atol=1e-6)
    np.testing.assert_allclose(distribution.deviation.detach(), 2 / (1 + np.exp(-raw[:, 2:] / 2)) + 0.1, atol=1e-6)
    mean, deviation = (value.detach().double().numpy() for value in (distribution.mean, distribution.deviation))
    plain = scipy.stats.truncnorm((-1 - mean) / deviation, (1 - mean) / deviation, mean, deviation)
    chances = torch.rand(7, 2)
    drawn = distribution.draw(chances).detach()
    np.testing.assert_allclose(drawn, plain.ppf(chances.numpy()), atol=1e-5)
    np.testing.assert_allclose(distribution.log_probability(drawn).detach(), plain.logpdf(drawn.numpy()).sum(-1), atol=1e-5)
    np.testing.assert_allclose(distribution.entropy.detach(), plain.entropy().sum(-1), atol=1e-5)
    assert torch.equal(distribution.likeliest, distribution.mean)


def test_discrete_actions_are_drawn_at_their_probabilities():
    distribution = ActionDistribution(torch.tensor([0.1, 0.6, 0.3]).log().expand(9_000, 3))
    drawn = distribution.draw(torch.rand(9_000, 1, generator=torch.Generator().manual_seed(0)))
    np.testing.assert_allclose(drawn.mean(0), [0.1, 0.6, 0.3], atol=0.02)
    np.testing.assert_allclose(distribution.log_probability(distribution.likeliest)[0], np.log(0.6), rtol=1e-5)
    np.testing.assert_allclose(distribution.entropy[0], -(0.1 * np.log(0.1) + 0.6 * np.log(0.6) + 0.3 * np.log(0.3)), rtol=1e-5)


def test_returns_are_the_weighted_mean_of_all_n_step_returns():
    rng, weight, steps = np.random.default_rng(0), 0.9, 5
    rewards, values, discounts = (torch.from_numpy(rng.random((steps, 2))) for _ in range(3))
    last = torch.from_numpy(rng.random(2))
    found = returns_of(rewards, values, discounts, last, weight).numpy()
    after = np.concatenate([values.numpy()[1:], last.numpy()[None]])
    for t in range(steps):

        def ahead(n: int, t: int = t) -> np.ndarray:
            total, factor = 0.0, 1.0
            for step in range(t, t + n):
                total, factor = total + factor * rewards[step].numpy(), factor * discounts[step].numpy()
            return total + factor * after[t + n - 1]

        most = steps - t
        plain = sum((1 - weight) * weight ** (n - 1) * ahead(n) for n in range(1, most)) + weight ** (most - 1) * ahead(most)
        np.testing.assert_allclose(found[t], plain, rtol=1e-9)


def behaviour(one: DreamerLearner, start: torch.Tensor, chances, config=CONFIG):
    return behaviour_losses(one.world, one.actor, one.critic, one.slow, start, torch.ones(len(start)), chances, config)


def imagined_chances(one: DreamerLearner, count: int, width: int):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(4, count, 3, generator=generator), torch.rand(4, count, width, generator=generator)


def test_discrete_actors_learn_by_reinforce_and_the_critic_without_moving_the_model():
    one, start = learner(), torch.randn(5, SIZES.features)
    chances = imagined_chances(one, 5, 1)
    found = behaviour(one, start, chances)
    with torch.no_grad():
        future = imagine(one.world, one.actor, start, chances)
        rewards, values = one.world.reward(future.features)[..., 0], one.slow(future.features)[..., 0]
    targets = returns_of(rewards[:-1], values[:-1], torch.full((4, 5), 0.99), values[-1], 0.95)
    weights = 0.99 ** torch.arange(5)[:, None]
    distribution = one.actor(future.features[:3])
    gain = distribution.log_probability(future.actions[:3]) * (targets[1:] - values[:3]) + 1e-3 * distribution.entropy
    plain = -(weights[:3] * gain).mean()
    torch.testing.assert_close(found.actor, plain)
    critic = (0.5 * weights[:4] * (one.critic(future.features[:4])[..., 0] - targets).square()).mean()
    torch.testing.assert_close(found.critic, critic)
    (found.actor + found.critic).backward()
    assert all(parameter.grad is None for parameter in one.world.parameters())
    assert all(parameter.grad is not None for part in (one.actor, one.critic) for parameter in part.parameters())


def test_continuous_actors_learn_through_the_model():
    one, start = learner(dimensions=2), torch.randn(5, SIZES.features)
    chances = imagined_chances(one, 5, 2)
    weight = one.actor.network[-1].bias

    def value_of(change: float) -> float:
        with torch.no_grad():
            weight[0] += change
            try:
                future = imagine(one.world, one.actor, start, chances)
                rewards, values = one.world.reward(future.features)[..., 0], one.slow(future.features)[..., 0]
                targets = returns_of(rewards[:-1], values[:-1], torch.full((4, 5), 0.99), values[-1], 0.95)
                weights = 0.99 ** torch.arange(3)[:, None]
                # latents are drawn, so only what the recurrent state passes on is differentiable by differences
                return float(-(weights * (targets[1:] + 1e-3 * one.actor(future.features[:3]).entropy)).mean())
            finally:
                weight[0] -= change

    # with one class nothing is drawn: the straight-through part of the gradient is 0, as it is by differences
    for part in (one.world.top.prior[-1], one.world.top.posterior_out):
        with torch.no_grad():
            part.weight.zero_()
            part.bias.copy_(torch.tensor([50.0, 0.0, 0.0, 0.0]).repeat(3))
    found = behaviour(one, start, chances)
    found.actor.backward(inputs=[weight])
    with torch.no_grad():
        states = imagine(one.world, one.actor, start, chances).features
    step = 1e-2
    slope = (value_of(step) - value_of(-step)) / (2 * step)
    detached = float(weight.grad[0])
    # the entropy's states are detached in the loss and not in the differences; its weight is too small to matter here
    assert states.shape == (5, 5, SIZES.features)
    assert detached == pytest.approx(slope, rel=0.05, abs=2e-4)


# --- bonus


def test_the_bonus_is_the_plain_mean_distance_to_the_nearest_with_itself_among_them():
    config = DreamerConfig(**{**FEW, "queue": 9})
    bonus = VideoBonus(5, config, 0, torch.device("cpu"))
    rng, queue, magnitude = np.random.default_rng(0), [], 1.0
    for _ in range(3):
        features = rng.standard_normal((2, 6, 5)).astype(np.float32)
        averages = [features[window, t : t + 3].mean(0) @ bonus.projection.numpy() for window in range(2) for t in range(4)]
        queue = (queue + averages)[-9:]
        plain = np.array([np.mean(sorted(np.linalg.norm(one - other) for other in queue)[:2]) for one in averages])
        magnitude = 0.99 * magnitude + 0.01 * plain.mean()
        found = bonus(torch.from_numpy(features))
        np.testing.assert_allclose(found.numpy().ravel(), plain / magnitude, rtol=1e-4)
        nearest = min(np.linalg.norm(averages[0] - other) for other in queue)
        assert nearest == 0, "itself"
    assert np.std(bonus.projection.numpy()) == pytest.approx(1 / 3, rel=0.4)
    copy = VideoBonus(5, config, 0, torch.device("cpu"))
    copy.load_state_dict(bonus.state_dict())
    assert torch.equal(copy(torch.from_numpy(features)), bonus(torch.from_numpy(features)))


def test_the_bonus_is_added_to_what_the_reward_head_learns_where_there_is_one():
    one = learner(bonus=2.0)
    given, chances = windows(), torch.rand(2, 2, 6, 3)
    extra = torch.rand(2, 4)
    losses = one.world(given, chances, lambda features: extra)
    foretold = one.world.reward(losses.top.features[:, :4])[..., 0]
    plain = 0.5 * (foretold - given.rewards[:, :4] - 2.0 * extra).square().mean()
    torch.testing.assert_close(losses.parts["reward"], plain)


# --- the stacked model


@pytest.mark.parametrize("way", ["apv", "none"])
@pytest.mark.parametrize("concatenate", [False, True])
def test_frame_by_frame_is_what_whole_windows_are(way, concatenate):
    one, given = learner(way, concatenate=concatenate), windows()
    chances = torch.rand(2, 2, 6, 3)
    with torch.no_grad():
        video, top = one.world.observe(given, chances)
        below, above = torch.zeros(2, SIZES.features), torch.zeros(2, SIZES.features)
        for t in range(6):
            keep = (~given.first[:, t]).float()[:, None]
            below, above = one.world.step(given.frames[:, t], (below * keep, above * keep), given.actions[:, t] * keep, chances[:, :, t])
            torch.testing.assert_close(above, top.features[:, t], atol=1e-5, rtol=1e-4)
            if video is not None:
                torch.testing.assert_close(below, video.features[:, t], atol=1e-5, rtol=1e-4)


def test_what_is_pretrained_moves_only_after_the_first_updates():
    one, start = learner(), new_action_free(SIZES, 9).state_dict()
    for update in range(3):
        one.update(windows(seed=update))
        same = all(torch.equal(value, start[f"rssm.{name}"]) for name, value in one.world.video.state_dict().items())
        assert same == (update < 2)
    assert not torch.equal(one.world.decoder.dense.weight, start["decoder.dense.weight"])


def test_naive_fine_tuning_starts_from_the_same_weights_without_stacking():
    one, start = learner("naive"), new_action_free(SIZES, 9)
    assert one.world.video is None
    assert one.frozen_updates == 0
    assert torch.equal(one.world.top.gru.gates.weight, start.rssm.gru.gates.weight)
    assert torch.equal(one.world.top.into.weight[:, :12], start.rssm.into.weight)
    assert one.world.top.into.weight.shape == (8, 15)
    fresh = learner("none")
    assert not torch.equal(fresh.world.top.gru.gates.weight, start.rssm.gru.gates.weight)


def test_losses_of_the_action_free_part_and_of_ends_are_weighed():
    given, chances = windows(), torch.rand(2, 2, 6, 3)
    torch.manual_seed(0)
    config = DreamerConfig(**FEW, discount_head=True, video_kl_weight=0.5, kl_weight=0.3)
    losses = WorldModel(SIZES, 3, config, stacked=True)(given, chances)
    parts = {name: float(value.detach()) for name, value in losses.parts.items()}
    total = parts["picture"] + parts["reward"] + 0.3 * parts["divergence"] + parts["discount"] + 0.5 * parts["video divergence"]
    assert float(losses.total.detach()) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("dimensions", [0, 2])
def test_products_in_bfloat16_change_losses_by_rounding_only(dimensions):
    given, first = windows(dimensions or 3), []
    for precision in ("float32", "bfloat16"):
        one = learner(dimensions=dimensions, precision=precision, frozen_updates=0)
        first.append(one.update(given))
        one.update(given)
    assert first[1]["picture"] != first[0]["picture"]
    assert all(first[1][name] == pytest.approx(first[0][name], rel=0.05) for name in ("picture", "reward"))


def test_a_loss_that_is_not_finite_stops_its_run_alone_and_says_where():
    agent = Dreamer(CONFIG, [learner("none"), learner("none")], [0, 1])
    replay = SequenceReplay(2, 20, (16, 16, 3), 3)
    for _ in range(9):
        replay.add(np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 3), np.float32), np.zeros(2, np.float32), np.zeros(2, bool))
    generators = [np.random.default_rng(run) for run in range(2)]
    agent.learn(replay, generators)
    with torch.no_grad():
        agent.learners[1].world.reward[-1].bias.fill_(torch.nan)
    kept = module_state(agent.learners[1].actor)
    losses = agent.learn(replay, generators)
    assert np.isfinite(losses).tolist() == [True, False]
    assert agent.failed.tolist() == [False, True]
    assert agent.reasons[1] == "update 2: the reward loss is nan; it keeps its last weights"
    assert all((value == kept[name]).all() for name, value in module_state(agent.learners[1].actor).items())
    with pytest.raises(Spoiled):
        agent.learners[1].update(windows())


def test_what_an_agent_knows_while_it_plays_is_what_its_model_sees_of_the_whole_episode():
    agent = Dreamer(CONFIG, [learner("apv")], [0])
    observer = RecurrentObserver(agent, np.zeros(2, np.int64))
    frames = np.random.default_rng(0).integers(0, 256, (4, 2, 16, 16, 3), dtype=np.uint8)
    observer.start(np.arange(2), frames[0])
    actions = [np.zeros((2, 3), np.float32)]
    for t in range(1, 4):
        actions.append(agent.action_vectors(agent.act(observer.observe(np.ones(2, bool))[None])[0]))
        observer.push(np.arange(2), frames[t])
    first = torch.zeros(2, 4, dtype=torch.bool)
    first[:, 0] = True
    zeros = torch.zeros(2, 4)
    given = PlayedWindows(torch.from_numpy(frames).transpose(0, 1), torch.from_numpy(np.stack(actions, 1)), zeros, first, first)
    world = agent.learners[0].world
    with torch.no_grad():
        embedded = world.encoder(given.frames.movedim(-1, -3).float() / 255 - 0.5)
        video = world.video.observe(embedded, first, None)
        top = world.top.observe(video.features, first, None, given.actions)
    np.testing.assert_allclose(observer.observe(np.ones(2, bool)), top.features[:, -1], atol=1e-5)


# --- training


@pytest.fixture(scope="module")
def chosen(tmp_path_factory, small, tiny_store):
    folder = tmp_path_factory.mktemp("dreamer")
    facts = {"updates": 3, "video_loss": 1.5, "mean_picture": 2.0, "read_out_of_the_state": [0.25, None]}
    model = PretrainedModel(folder / "model", SIZES, 6, facts)
    save_weights(model, new_action_free(SIZES, 9))
    write_description(model)
    return SimpleNamespace(selection=select(folder / "i.json", ("ranked", tiny_store, "blocks.5")), root=small.root, model=model.folder)


def asked(chosen, out, **changes) -> TrainConfig:
    dreamer = {**FEW, "transfer": ["apv", "none"], "pretrained": chosen.model, **changes.pop("dreamer", {})}
    more = {"environment": INTERCEPT, "mode": "online", "algorithm": "dreamer", "steps": 40, "dreamer": dreamer, "final_episodes": 2}
    return settings(chosen.selection, out, chosen.root, **(more | {"checkpoint_updates": 7} | changes))


def test_a_description_that_lost_a_bit_is_refused(chosen, tmp_path):
    copied = shutil.copytree(chosen.model, tmp_path / "model")
    file = copied / DESCRIPTION
    file.write_bytes(file.read_bytes().replace(b'"length": 6', b'"length": 7'))
    with pytest.raises(DataError, match="does not have the digest it states"):
        open_folder(copied)


def test_a_backbone_of_other_weights_than_told_is_not_loaded(chosen, tmp_path):
    copied = shutil.copytree(chosen.model, tmp_path / "model")
    backbone = find_backbone(f"apv:{copied}")
    backbone.weights_digest()
    backbone.load(torch.device("cpu"))
    save_weights(open_folder(copied), new_action_free(SIZES, 10))
    with pytest.raises(DataError, match=f"the weights of {copied} changed since their digest was taken"):
        backbone.load(torch.device("cpu"))


def test_a_model_that_is_replaced_after_the_plan_trains_nobody(chosen, tmp_path):
    copied = shutil.copytree(chosen.model, tmp_path / "model")
    planned = plan(asked(chosen, tmp_path / "out", dreamer={"pretrained": copied}))
    save_weights(open_folder(copied), new_action_free(SIZES, 10))
    with pytest.raises(DataError, match=f"the pretrained model in {copied} was changed since it was planned with"):
        run(planned)
    assert not list((tmp_path / "out").glob("*/result.json"))


def test_training_is_killed_and_continued_bit_by_bit_with_its_replay_and_counts_its_budget(chosen, tmp_path, monkeypatch):
    monkeypatch.setattr(learning, "SPARING", 0)
    whole = run(plan(asked(chosen, tmp_path / "whole")))
    assert [arm.name for arm in whole.arms] == [NAMES["apv"], NAMES["none"]]
    assert {arm.budget.environment_steps for arm in whole.arms} == {40}
    assert {arm.budget.updates for arm in whole.arms} == {7}, "at steps 10, 15, …, 40"
    assert all(arm.budget.flops > 1e6 for arm in whole.arms)
    assert whole.arms[0].budget.trainable_parameters > whole.arms[1].budget.trainable_parameters
    assert {one.status for one in whole.runs} == {"done"}
    learned = records.load(WorldModelRecord, tmp_path / "whole" / "APV" / "world_model.json")
    assert [(one.seed, one.updates) for one in learned.losses] == [(0, 5), (1, 5)]
    assert {"picture", "reward", "divergence", "bonus", "bonus spread"} <= set(learned.losses[0].losses)
    assert learned.sheet
    assert learned.pretrained == {"updates": 3, "video_loss": 1.5, "mean_picture": 2.0, "read_out_of_the_state": [0.25, None]}
    assert (
        "APV: 3 updates; video loss 1.50 nats a frame on episodes apart, the mean picture&#x27;s 2.00; R² of the state"
        in pretrained_sentences([learned])
    )
    with Image.open(tmp_path / "whole" / "APV" / "imagined.png") as sheet:
        assert sheet.size == (20 * 16 + 2, 3 * 3 * 16)
        seen = np.asarray(sheet)[:16, : 5 * 16].reshape(16, 5, 16, 3)
    with Image.open(tmp_path / "whole" / "APV" / "imagined.gif") as film:
        assert (film.n_frames, film.size) == (20, (3 * 3 * 16, 3 * 3 * 16))
        first = np.asarray(film.convert("RGB"))[: 3 * 16 : 3, : 3 * 16 : 3]
    assert np.abs(first.astype(int) - seen[:, 0]).mean() < 16, "the first real frame, but for a palette of 256 colours"
    table = losses_table([learned, records.load(WorldModelRecord, tmp_path / "whole" / "DreamerV2-from-scratch" / "world_model.json")])
    first = next(row for row in table.rows if row[:2] == ("APV", "picture"))
    plain = np.mean([one.losses["picture"] for one in learned.losses])
    assert first[2:] == ("n/a", "n/a", f"{plain:.4g}"), "nothing is told of updates before the first mark"
    saves, save = [], learning.checkpoint.save_checkpoint

    def die(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) in (3, 7):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(learning.checkpoint, "save_checkpoint", die)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run(plan(asked(chosen, tmp_path / "broken")))
    assert without_times(run(plan(asked(chosen, tmp_path / "broken")))) == without_times(whole)
    for name in ("world_model.json", "imagined.png", "imagined.gif"):
        assert (tmp_path / "broken" / "APV" / name).read_bytes() == (tmp_path / "whole" / "APV" / name).read_bytes()


def test_more_steps_go_on_as_if_all_had_been_asked_for_at_once(chosen, tmp_path):
    """With the memory of frames, the recurrent states of running games and the curves of losses."""
    less = {"seeds": 1, "dreamer": {"transfer": ["apv"]}, "final_episodes": 1}
    run(plan(asked(chosen, tmp_path / "grown", steps=20, **less)))
    grown, once = (run(plan(asked(chosen, tmp_path / name, steps=40, **less))) for name in ("grown", "once"))
    assert without_times(grown) == without_times(once)
    for name in ("world_model.json", "imagined.png"):
        assert (tmp_path / "grown" / "APV" / name).read_bytes() == (tmp_path / "once" / "APV" / name).read_bytes()


def test_arms_without_a_model_modes_that_do_not_play_and_other_sizes_are_refused(chosen, tmp_path):
    with pytest.raises(UsageError, match="the arm 'apv' starts from a pretrained model, and none was named"):
        plan(asked(chosen, tmp_path, dreamer={"pretrained": None}))
    with pytest.raises(UsageError, match="not in mode offline"):
        plan(asked(chosen, tmp_path, mode="offline"))
    with pytest.raises(DataError, match="was made with deter = 8, and 9 is asked for"):
        plan(asked(chosen, tmp_path, dreamer={"model": {**SMALL, "deter": 9}}))
    with pytest.raises(DataError, match="holds no pretrained model"):
        plan(asked(chosen, tmp_path, dreamer={"pretrained": tmp_path}))
    for change, message in (
        ({"queue": 1}, "smaller than the 2 neighbours"),
        ({"queue": 7}, "pushes 8 averages"),
        ({"warm_up": 3}, "shorter"),
    ):
        with pytest.raises(ValueError, match=message):
            DreamerConfig(**{**FEW, **change})


def test_results_belong_to_the_weights_that_were_started_from_wherever_they_lie(chosen, tmp_path):
    import shutil

    from layerscout.cache.records import Selection

    selection = records.load(Selection, chosen.selection)
    shutil.copytree(chosen.model, tmp_path / "copy")
    keys = [
        comparison_key(asked(chosen, tmp_path, dreamer={"pretrained": place}), selection) for place in (chosen.model, tmp_path / "copy")
    ]
    assert keys[0] == keys[1]
    (tmp_path / "copy" / "model.safetensors").write_bytes(b"other")
    assert comparison_key(asked(chosen, tmp_path, dreamer={"pretrained": tmp_path / "copy"}), selection) != keys[0]
    plain = TrainConfig(environment=INTERCEPT, selection=chosen.selection)
    other = plain.model_copy(update={"dreamer": CONFIG})
    assert comparison_key(plain, selection) == comparison_key(other, selection), "other learners' results keep their keys"
