"""What agents see while they play: the stored rows of the same frames, and games that continue exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from by_hand import INTERCEPT, settings

from layerscout.cache import records
from layerscout.cache.dataset.trajectories import Trajectories
from layerscout.cache.records import Selection
from layerscout.extract.clips import ClipTable
from layerscout.extract.encoder import Encoder, backbone_of
from layerscout.rl.arms import ArmSpec, arms_of
from layerscout.rl.seeing.features import REMEMBERED, ClipObserver, FeatureObserver, encoders_of
from layerscout.rl.seeing.games import Games
from layerscout.rl.seeing.representation import Representation, Scaler
from layerscout.worlds.grid import Grid
from layerscout.worlds.intercept import Intercept

# --- what agents see


@pytest.mark.parametrize("batch", [3, 128])
def test_agents_see_the_stored_rows_of_the_same_frames(chosen, small, tmp_path, monkeypatch, batch):
    """Two episodes of the dataset shown frame by frame to an observer with an arm of each store and the pixels."""
    monkeypatch.setattr("layerscout.rl.seeing.features.BATCH", batch)
    config = settings(chosen.intercept, tmp_path, chosen.root, environment=INTERCEPT, scratch=False)
    arms = arms_of(records.load(Selection, chosen.intercept), config)
    assert [arm.name for arm in arms] == ["blocks.5", "blocks.5 (untrained)", "pixels"]
    representations = [Representation.measure(arm, standardise=True) for arm in arms]
    arm_of_copy = np.repeat(np.arange(3), 2)
    observer = FeatureObserver(arms, representations, arm_of_copy, encoders_of(arms, "cpu"))
    with Trajectories(small.intercept) as data:
        table, episodes = ClipTable(data.lengths), [data.episode(i).frames for i in (0, 1)]
    tables = [representation.all_rows(arm.store.layer(arm.layer)) for arm, representation in zip(arms, representations, strict=True)]
    everyone = np.arange(6)
    observer.start(everyone, np.stack([episodes[copy % 2][0] for copy in everyone]))
    for step in range(len(episodes[0])):
        live = np.array([step < len(episodes[copy % 2]) for copy in everyone])
        seen = observer.observe(live)
        for copy in everyone:
            number = arm_of_copy[copy]
            arm, row = arms[number], int(table.first[copy % 2]) + step
            if not live[copy]:
                assert not seen[copy].any()
                continue
            # a batch of another size may be rounded to the next float16; what is rounded is the activation, before it is scaled
            one_step = (
                np.spacing(np.abs(arm.store.layer(arm.layer).read(row, row + 1)[0])).astype(np.float32)
                * representations[number].scaler.inverse
            )
            difference = np.abs(seen[copy, : arm.width] - tables[number][row])
            assert (difference <= 1.01 * one_step + 1e-5).all()
            assert (difference < 1e-5).mean() > 0.9
            assert not seen[copy, arm.width :].any()
        going = np.array([copy for copy in everyone if step + 1 < len(episodes[copy % 2])])
        if len(going):
            observer.push(going, np.stack([episodes[copy % 2][step + 1] for copy in going]))
        if step == 12:
            break


def test_a_clip_that_several_games_show_is_encoded_once_and_no_deeper_than_it_is_looked_at(tiny_store, monkeypatch):
    """Four games of two arms: two show the same to both arms, two show something else to one of them each."""
    arms = [ArmSpec(f"blocks.{block}", "layer", f"blocks.{block}", tiny_store, "mlp", (8,), None) for block in (2, 5)]
    representations = [Representation.measure(arm, standardise=True) for arm in arms]
    encoders = encoders_of(arms, "cpu")
    observer = FeatureObserver(arms, representations, np.array([0, 1, 0, 1]), encoders, workers=1)
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    frames[1] = frames[0]
    observer.start(np.arange(4), frames)
    passes, several = [], Encoder.several
    monkeypatch.setattr(Encoder, "several", lambda self, clip, layers: passes.append((len(clip), *layers)) or several(self, clip, layers))
    seen = observer.observe(np.ones(4, dtype=bool))
    assert sorted(passes) == [(1, "blocks.2"), (2, "blocks.2", "blocks.5")], "the shared clip and the other one of block 5 run to block 5"
    for copy, arm in enumerate((0, 1, 0, 1)):
        clip = torch.from_numpy(frames[copy][None, None].repeat(len(encoders[tiny_store.id].clip.offsets), axis=1))
        alone = representations[arm](encoders[tiny_store.id](clip, arms[arm].layer).numpy())[0]
        difference = np.abs(seen[copy] - alone)
        assert (difference < 1e-5).mean() > 0.9
        assert difference.max() < 0.02  # a step of float16, scaled
    passes.clear()
    observer.start(np.arange(3, 4), frames[:1])
    again = observer.observe(np.array([True, False, True, True]))
    assert passes == [], "all of it was seen a step ago"
    np.testing.assert_array_equal(again[[0, 2, 3]], seen[[0, 2, 1]])
    for number in range(20):
        observer.start(np.arange(4), np.full((4, 32, 32, 3), number, dtype=np.uint8))
        observer.observe(np.ones(4, dtype=bool))
    assert len(observer._known) <= REMEMBERED * 4


def test_features_are_scaled_to_mean_zero_and_deviation_one(synthetic_store):
    for layer in ("random_wide", "structured_mid", "pixels"):
        reader = synthetic_store.layer(layer)
        rows = reader.all().astype(np.float64)
        scaled = Scaler.measure(chunk for _, chunk in reader.chunks())(reader.all())
        varying = rows.std(axis=0) > 1e-6
        np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(scaled.std(axis=0), varying, atol=1e-3)
        expected = (rows[:, varying] - rows[:, varying].mean(0)) / rows[:, varying].std(0)
        np.testing.assert_allclose(scaled[:, varying], expected, atol=1e-3)


# --- games


@pytest.mark.parametrize("kind", [Grid, Intercept])
def test_games_continue_exactly_from_their_actions(kind, tiny_store):
    """GroupCheckpoint at any step and loaded into fresh games, everything that follows is the same."""
    spec = backbone_of(tiny_store).clip
    rng = np.random.default_rng(0)
    actions = rng.integers(0, kind.action_count, (150, 3))

    def fresh():
        return Games(kind(3), ClipObserver(3, spec), seeds=[0, 1, 7])

    games, states, seen = fresh(), {}, []
    for step in range(150):
        if step in {0, 1, 31, 62, 119}:
            checkpointed = json.loads(json.dumps(games.state_dict(), default=lambda array: array.tolist()))
            states[step] = checkpointed | {"seen": games.seen.copy()}
        outcome, after = games.step(actions[step])
        seen.append((outcome.reward.copy(), after.copy(), games.seen.copy()))
    assert all(games.returns)
    for begin, state in states.items():
        again = fresh()
        again.load_state_dict(state)
        for step in range(begin, min(150, begin + 40)):
            outcome, after = again.step(actions[step])
            for got, expected in zip((outcome.reward, after, again.seen), seen[step], strict=True):
                np.testing.assert_array_equal(got, expected)
    assert again.returns == [own[: len(other)] for own, other in zip(games.returns, again.returns, strict=True)]


def test_games_count_every_frame_that_was_looked_at(tiny_store):
    games = Games(Grid(2), ClipObserver(2, backbone_of(tiny_store).clip), seeds=[0, 1])
    for _ in range(70):
        games.step(np.zeros(2, dtype=np.int64))
    ended = sum(map(len, games.returns))
    assert ended == 2
    assert games.frames_seen == 2 * 71 + ended


def test_what_follows_an_end_is_seen_apart_from_the_end(tiny_store):
    """The last frame of an episode is the next state of its last action; the next action is chosen on the new episode."""
    spec = backbone_of(tiny_store).clip
    games = Games(Grid(1), ClipObserver(1, spec), seeds=[0])
    for step in range(1, 61):
        _, after = games.step(np.zeros(1, dtype=np.int64))
        assert np.array_equal(after, games.seen) == (step < 60)
    assert (games.seen[0] == games.seen[0, 0]).all(), "a new clip repeats the first frame"
