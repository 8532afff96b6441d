"""Laws of what stands before an agent: four encoders, one agent, one replay, one economics; the critics' slope reaches the encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.provenance import dataset_path
from layerscout.errors import UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.clips import ClipTable, clips_of
from layerscout.extract.passes.noise_gap import NoiseGap
from layerscout.rl.agents.latent_learner import LatentLearner
from layerscout.rl.economics.config import SETTLED, EncoderConfig, WorkConfig
from layerscout.rl.economics.encoding import Encoding, StateSight
from layerscout.rl.economics.working import Workplace, work
from layerscout.rl.networks.latents import LATENT, LatentNetwork, OwnLosses
from layerscout.settings import build

QUICK = SETTLED.model_copy(update={"warm_up": 50, "batch": 8, "hidden": (8,), "train_interval": 15})


def config(episodes: int = 2, **encoder) -> WorkConfig:
    return WorkConfig(episodes=episodes, evaluation_hours=1, sac=QUICK, encoder=EncoderConfig(**encoder))


@pytest.fixture(scope="module")
def kinds(sink_store):
    store, root = sink_store
    where = {"store": store.id, "layer": "blocks.1"}
    return {
        "mlp": {"kind": "mlp", "hidden": (16,)},
        "store": {"kind": "store", **where, "recorded": True},
        "pixels": {"kind": "store", "store": store.id, "layer": "pixels", "consistency": 0.1, "contrastive": 0.1},
        "video": {"kind": "video", **where, "tune_after": 1, "tune_lr": 1e-4},
    }, root


def test_the_agent_does_not_know_what_it_sees_through(kinds):
    """Agent, replay and economics are the same classes with the same settings and sizes; what differs stands before them."""
    encoders, root = kinds
    places = {name: Workplace(config(**said), [0, 1], root=root) for name, said in encoders.items()}
    shapes = {name: [tuple(p.shape) for p in place.agent.critic.parameters()] for name, place in places.items()}
    assert len({str(shape) for shape in shapes.values()}) == 1
    columns = set()
    for place in places.values():
        rows = [place.hour(0)[0], place.hour(1)[0]]
        columns |= {tuple(row) for row in rows}
        assert (type(place.agent), type(place.ledger)) == (type(places["mlp"].agent), type(places["mlp"].ledger))
        assert place.agent.critic.first.layers[0].weight.shape[1] == 2 + LATENT
        assert np.isfinite(rows[1]["critic_loss"])
    assert len(columns) == 1


@pytest.mark.parametrize("way", ["mlp", "video"])
def test_a_run_is_the_same_whoever_stands_beside_it(kinds, way):
    encoders, root = kinds
    many, one = (work(config(**encoders[way]), seeds, root=root) for seeds in ([4, 9], [9]))
    np.testing.assert_array_equal(many.column("attempts")[:, 1], one.column("attempts")[:, 0])
    np.testing.assert_allclose(many.judgements[-1].profit[1], one.judgements[-1].profit[0], rtol=1e-4)


def test_a_video_model_is_frozen_and_then_moves_with_its_own_step(kinds):
    encoders, root = kinds
    place = Workplace(config(**encoders["video"]), [0, 1], root=root)
    backbone = place.latents.backbone
    before = [stack.detach().clone() for stack in backbone.stacks]
    place.hour(0)
    assert all(torch.equal(old, new) for old, new in zip(before, backbone.stacks, strict=True))
    kept = place.ledger.features[0, :60, 0]
    clips = place.ledger.states[:1, :60, 0]
    np.testing.assert_allclose(kept, place.latents.frozen_features(clips)[0], atol=2e-4)
    trained = place.latents.trainable_parameters()
    place.hour(1)
    assert not all(torch.equal(old, new) for old, new in zip(before, backbone.stacks, strict=True))
    assert (place.latents.trainable_parameters() > trained).all()
    assert not torch.equal(backbone.stacks[0][0], backbone.stacks[0][1])  # every run tunes a copy of its own


@pytest.mark.parametrize("hours", [1, 2])
def test_a_video_model_goes_on_where_it_was_frozen_or_tuned(kinds, hours):
    encoders, root = kinds
    place, again = (Workplace(config(**encoders["video"]), [0, 1], root=root) for _ in range(2))
    for hour in range(hours):
        place.hour(hour)
    again.load_state_dict(place.state_dict())
    assert again.latents.tuned == (hours == 2)
    for one in (place, again):
        one.hour(hours)
    for old, new in zip(place._averaged, again._averaged, strict=True):
        torch.testing.assert_close(new, old, rtol=0.0, atol=0.0)
    np.testing.assert_array_equal(again.judge(3).profit, place.judge(3).profit)


def test_the_frozen_model_gives_what_its_store_holds(kinds, sink_store):
    store, root = sink_store
    place = Workplace(config(**kinds[0]["video"]), [0], root=root)
    from layerscout.rl.seeing.recorded import recorded_clips

    clips, seen = recorded_clips(store, 20), place.encoding.seen
    np.testing.assert_allclose(place.latents.frozen_features(clips[None])[0], seen(store.layer("blocks.1").read(0, 20)), atol=0.03)


def test_recorded_hours_stand_in_the_replay_as_they_were_worked(kinds):
    encoders, root = kinds
    place = Workplace(config(**encoders["store"]), [0, 1], root=root)
    store, ledger = place.encoding.arm.store, place.ledger
    assert ledger.size == 120
    np.testing.assert_allclose(
        ledger.profit[0, :120].sum() / 60, store.index("reward")[np.isfinite(store.index("reward"))].sum(), rtol=1e-4
    )
    np.testing.assert_array_equal(ledger.states[0, :59, 1], ledger.states[0, 1:60, 0])
    assert ledger.errors[0, :120].sum() < ledger.attempts[0, :120].sum()
    assert not ledger.terminated.any()
    cut = Workplace(config(**encoders["store"]).model_copy(update={"end": "terminated"}), [0], root=root).ledger
    assert np.flatnonzero(cut.terminated[0, :120]).tolist() == [59, 119]
    error = store.index("denoising_error")
    np.testing.assert_allclose(ledger.novelty[0, :60], (error / error.mean())[:60], rtol=1e-5)


def test_the_column_of_a_store_is_the_denoising_error_of_its_clips(sink_store):
    store, _ = sink_store
    gap = NoiseGap(find_backbone("tiny"))
    with Trajectories(dataset_path(store)) as data:
        clips = clips_of(data, ClipTable(data.lengths), 58, 64, gap.clip)  # across the end of an hour
    np.testing.assert_allclose(store.index("denoising_error")[58:64], gap(clips), rtol=1e-4)


def test_the_slope_of_the_critics_reaches_the_encoder():
    """The step follows autograd through encoder and critics together."""
    place = Workplace(config(kind="mlp", hidden=(8,)), [0, 1])
    place.hour(0)
    agent, latents, rng = place.agent, place.latents, np.random.default_rng(0)
    observed, action = rng.random((2, 6, 4)).astype(np.float32), rng.uniform(-1, 1, (2, 3, 2)).astype(np.float32)
    goal = torch.from_numpy(rng.random((2, 3)).astype(np.float32))
    z = latents.encoder(torch.from_numpy(observed[:, :3]))
    values = torch.cat(
        [_through(head, torch.cat([torch.from_numpy(action), z], -1)) for head in (agent.critic.first, agent.critic.second)], -1
    )
    loss = 0.5 * (values - goal[..., None]).square().sum(-1).mean(1)
    expected = torch.autograd.grad(loss.sum(), list(latents.encoder.parameters()))
    recorded = torch.from_numpy(latents.record(observed))
    with torch.no_grad():
        agent._improve_critics(recorded[:, :3], torch.from_numpy(action), goal, None)
    latents.learn(agent.latent_slope)
    for own, right in zip(latents.optimisers["latents"].gradient_views, expected, strict=False):
        torch.testing.assert_close(own, right, atol=1e-5, rtol=1e-3)


def _through(head, x):
    *inner, last = head.layers
    for layer in inner:
        x = torch.relu(layer(x))
    return last(x)


def test_own_losses_are_finite_and_fall():
    torch.manual_seed(0)
    z = torch.randn(2, 16, LATENT)
    own = OwnLosses([0, 1], 0.1, 0.1)
    assert torch.isfinite(own(z, z + 0.1)).all()
    assert torch.isfinite(own(z[:, :1], z[:, :1])).all()
    assert (own(z, z) < own(z, z.roll(1, 1))).all()  # its own successor against another's
    learner = LatentLearner(LatentNetwork(4, [0, 1], (16,)), OwnLosses([0, 1], 1.0, 1.0), 1e-2, np.zeros(2, dtype=bool))
    walk = np.cumsum(np.random.default_rng(0).normal(size=(2, 33, 4)).astype(np.float32), axis=1)
    losses = []
    for _ in range(40):
        learner.record(np.concatenate([walk[:, :-1], walk[:, 1:]], axis=1))
        losses.append(learner.learn(torch.zeros(2, 32, LATENT)))
    assert (losses[-1] < 0.7 * losses[0]).all()


def test_an_encoder_of_another_width_is_refused():
    def narrow(seeds, failed):
        network = LatentNetwork(4, seeds, ())
        network.norm, network.layers = torch.nn.Identity(), torch.nn.Sequential(network.layers[0], torch.nn.Identity())
        return LatentLearner(network, OwnLosses(seeds, 0.0, 0.0), 1e-3, failed)

    place = Workplace(config(), [0], Encoding(lambda copies: StateSight(), (4,), np.float32, narrow))
    place.latents.encoder.forward = lambda x: x[..., :3]
    with pytest.raises(UsageError, match="the encoder gives 3 numbers, and the agent takes 128"):
        place.hour(0)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"kind": "store", "store": "sink", "layer": "blocks.1", "tune_after": 3}, "has no video model to tune"),
        ({"kind": "store"}, "needs a store and a layer"),
        ({"kind": "video", "store": "sink", "layer": "blocks.1"}, "needs tune_after"),
        ({"kind": "mlp", "store": "sink"}, "looks at no store"),
        ({"kind": "state", "consistency": 0.1}, "nothing to train"),
        ({"kind": "mlp", "recorded": True}, "come from a store"),
    ],
)
def test_settings_that_do_not_fit_are_named(said, complaint):
    with pytest.raises(UsageError, match=complaint):
        build(EncoderConfig, said, "train.work.encoder")


def test_a_store_of_another_world_or_without_the_layer_is_refused(sink_store):
    store, root = sink_store
    with pytest.raises(UsageError, match=r"has no layer 'blocks.2'; did you mean 'blocks.1'"):
        Workplace(config(kind="store", store=store.id, layer="blocks.2"), [0], root=root)
    elsewhere = config(kind="store", store=store.id, layer="blocks.1").model_copy(update={"environment": "layerscout/Bricklaying-v0"})
    with pytest.raises(UsageError, match=r"was made from layerscout/Dishwashing-v0, and the work is layerscout/Bricklaying-v0"):
        Workplace(elsewhere, [0], root=root)
    tuned = config(kind="video", store=store.id, layer="pixels", tune_after=1)
    with pytest.raises(UsageError, match="the raw pixels have no video model"):
        Workplace(tuned, [0], root=root)
