"""Parts of pretraining and transfer by hand: layers as they are described, episodes that are kept apart, clips, and units of an advantage."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from pydantic import ValidationError

from layerscout.cache.dataset.recording import FORMAT
from layerscout.errors import DataError, UsageError
from layerscout.rl.loops.checkpoint import save_checkpoint
from layerscout.rl.memory.sequences import SequenceReplay
from layerscout.rl.transfer.apv.action_free import new_action_free
from layerscout.rl.transfer.apv.agent_config import DreamerConfig
from layerscout.rl.transfer.apv.backbone import APVBackboneOptions, build, layers_of
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.pictures import picture_loss, scaled
from layerscout.rl.transfer.clips import FrameStream, is_ours
from layerscout.rl.transfer.config import RepaintConfig, TransferConfig, faded
from layerscout.rl.transfer.folders import CHECKPOINT
from layerscout.rl.transfer.pvdr.experience import Experience
from layerscout.rl.transfer.pvdr.rounds import HeldActions, Round
from layerscout.rl.transfer.pvdr.tokens import TokenStream, pictures
from layerscout.rl.transfer.repaint import in_unit
from layerscout.rl.transfer.videos import begun, count_parameters, parted

SIZES = [
    {"size": 16, "stages": 2, "depth": 2, "latents": 3, "classes": 4, "deter": 8, "hidden": 6},
    {"size": 32, "stages": 3, "depth": 3, "channels": 1, "latents": 2, "classes": 5, "deter": 7, "hidden": 4},
    {"size": 64, "stages": 4, "depth": 2, "published": True, "latents": 2, "classes": 3, "deter": 5, "hidden": 9},
]


@pytest.mark.parametrize("said", SIZES)
def test_layers_are_described_with_the_numbers_that_the_network_has(said):
    sizes = APVModelConfig(**said)
    made = new_action_free(sizes, 0)
    layers = {layer.name: layer for layer in layers_of(sizes, 3)}
    maps = torch.zeros(1, sizes.channels, sizes.size, sizes.size)
    for depth, stage in enumerate(made.encoder.stages):
        told = layers[f"encoder.{depth}"]
        maps = stage(maps)
        assert made.get_submodule(told.module) is stage
        assert told.parameters == sum(parameter.numel() for parameter in stage.parameters())
        assert (told.width, told.grid.height, told.grid.width) == tuple(maps.shape[1:])
    assert maps.numel() == sizes.embedding
    assert layers["gru"].parameters == sum(parameter.numel() for parameter in made.rssm.parameters())
    features = made.rssm.observe(torch.zeros(1, 2, sizes.embedding), torch.ones(1, 2, dtype=torch.bool), None).features
    assert layers["features"].width == features.shape[-1]
    assert layers["gru"].width + layers["latents"].width == layers["features"].width
    assert [layer.depth for layer in layers.values()] == list(range(len(layers)))
    assert count_parameters(lambda: made.encoder.__class__(sizes)) == sum(parameter.numel() for parameter in made.encoder.parameters())


def test_a_clip_of_the_backbone_needs_two_frames_and_a_folder():
    with pytest.raises(ValidationError):
        APVBackboneOptions(frames=1)
    with pytest.raises(ValidationError):
        APVBackboneOptions(stride=0)
    with pytest.raises(UsageError, match="needs the folder of a pretrained model"):
        build(None, {})


def test_bytes_become_halves_and_a_picture_costs_half_its_squared_error():
    frames = torch.tensor([[[[0, 255, 51]]]], dtype=torch.uint8)  # one picture of one pixel with three colours
    found = scaled(frames)
    assert found.shape == (1, 3, 1, 1)
    torch.testing.assert_close(found.flatten(), torch.tensor([-0.5, 0.5, -0.3]))
    torch.testing.assert_close(pictures(frames.numpy()), found)
    two = torch.cat([found, found])
    shift = torch.tensor([1.0, 3.0])[:, None, None, None]
    assert float(picture_loss(two + shift, two)) == pytest.approx(0.5 * (3 * 1.0 + 3 * 9.0) / 2)


# --- episodes in a row


def stream(*lengths: int) -> FrameStream:
    rows = sum(lengths)
    frames = np.arange(rows, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    return FrameStream(frames, np.array(lengths), np.arange(rows, dtype=np.float32)[:, None], "digest")


def test_chosen_episodes_come_in_the_order_in_which_they_are_chosen():
    chosen = stream(2, 3, 1).episodes(np.array([2, 0]))
    assert chosen.frames[:, 0, 0, 0].tolist() == [5, 0, 1]
    assert chosen.state[:, 0].tolist() == [5.0, 0.0, 1.0]
    assert (chosen.lengths.tolist(), chosen.starts.tolist(), chosen.first.tolist()) == ([1, 2], [0, 1], [True, True, False])


def test_a_row_knows_its_episode():
    whole = stream(2, 3, 1)
    assert whole.episode_of(np.arange(6)).tolist() == [0, 0, 1, 1, 1, 2]
    assert whole.mean_picture.tolist() == [[[2.5]] * 2] * 2
    assert whole.spread(3, 2).rows.tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("count", "share", "apart"),
    [
        (10, 0.1, [9]),
        (10, 0.2, [4, 9]),
        (10, 0.5, [1, 3, 5, 7, 9]),
        (4, 0.1, [3]),  # too few for a tenth: the last one
        (1, 0.5, None),
        (10, 0.0, None),
    ],
)
def test_every_so_manieth_episode_is_kept_apart(count, share, apart):
    trained, judged = stream(*[1] * count).held_out(share)
    found = None if judged is None else judged.frames[:, 0, 0, 0].tolist()
    assert found == apart
    assert len(trained.frames) == count - len(apart or [])


@pytest.mark.parametrize(("share", "serves", "told"), [(0.5, True, 0), (0.5, False, 1), (0.0, True, 1)])
def test_where_no_episode_can_be_spared_figures_are_of_what_was_trained_on_and_that_is_said(share, serves, told):
    said: list[str] = []
    whole = stream(2, 2, 2, 2)
    reporter = SimpleNamespace(say=said.append)
    trained, judged = parted(whole, SimpleNamespace(held_out=share), lambda apart: serves, reporter)
    assert len(said) == told
    if told:
        assert trained is judged is whole
    else:
        assert (trained.lengths.tolist(), judged.lengths.tolist()) == ([2, 2], [2, 2])


def test_what_is_begun_is_found_in_its_folder_and_a_dataset_that_is_gone_is_told_first(tmp_path):
    config = SimpleNamespace(data=tmp_path / "data.h5", out=tmp_path / "out")
    with pytest.raises(DataError, match="no dataset"):
        begun(config, "key")
    config.data.write_bytes(b"x")
    assert begun(config, "key") is None
    config.out.mkdir()
    save_checkpoint(config.out / CHECKPOINT, "key", {"updates": 7})
    assert begun(config, "key") == {"updates": 7}
    with pytest.raises(DataError, match="belongs to other settings"):
        begun(config, "another")


def test_a_file_of_ours_is_told_by_what_it_says_and_one_that_is_not_there_by_its_name(tmp_path):
    assert is_ours(tmp_path / "missing.h5")
    assert is_ours(tmp_path / "missing.hdf5")
    assert not is_ours(tmp_path / "missing.mp4")
    assert not is_ours(tmp_path)
    for name, said in (("ours.h5", True), ("theirs.h5", False)):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["format"] = FORMAT if said else "robomimic"
        assert is_ours(tmp_path / name) is said
    (tmp_path / "plain.h5").write_bytes(b"not hdf5")
    assert not is_ours(tmp_path / "plain.h5")


def test_clips_lie_in_one_episode_and_are_spread_the_same_at_every_call():
    tokens = np.arange(9, dtype=np.uint8)[:, None, None]
    clips = TokenStream(tokens, np.array([4, 2, 3]), 3)
    assert clips.begins.tolist() == [0, 1, 6]
    assert clips.clips(np.array([2, 0]))[..., 0, 0].tolist() == [[6, 7, 8], [0, 1, 2]]
    assert clips.spread(2)[:, 0, 0, 0].tolist() == [0, 6]
    assert clips.spread(99)[:, 0, 0, 0].tolist() == [0, 1, 6]
    drawn = clips.draw(300, np.random.default_rng(0))[:, 0, 0, 0]
    assert set(drawn.tolist()) == {0, 1, 6}


class Coding:
    """A tokenizer whose one token is the red of the first pixel."""

    def encode(self, frames):
        return ((frames[:, :1, :1, 0] + 0.5) * 255).round().long()


def played(*lengths: int) -> Round:
    """Copies that play so many steps each; a frame tells its copy and its time, an action is (copy, 2 · time), unbounded."""
    copies, longest = len(lengths), max(lengths)
    frames = np.zeros((longest + 1, copies, 2, 2, 3), np.uint8)
    for time in range(longest + 1):
        frames[time] = (10 * np.arange(copies) + time)[:, None, None, None]
    actions = np.stack([np.stack([np.arange(copies), np.full(copies, 2.0 * time)], axis=1) for time in range(longest)]).astype(np.float32)
    live = np.arange(longest)[:, None] < np.array(lengths)
    deeds = tuple(SimpleNamespace(action=action) for action in actions)
    return Round(frames, frames[0], deeds, live, np.zeros(copies, bool))


def test_experience_is_episodes_in_a_row_with_nothing_done_after_their_last_frame():
    kept = Experience(Coding(), history=2, future=1)
    kept.add(played(2, 1))
    kept.add(played(3))
    assert kept.lengths == [3, 2, 4]
    assert kept.tokens[:, 0, 0].tolist() == [0, 1, 2, 10, 11, 0, 1, 2, 3]
    assert kept.acted().tolist() == [0, 1, 3, 5, 6, 7]
    np.testing.assert_array_equal(kept.actions[kept.acted()][:, 1], [0, 1, 0, 0, 1, 1])  # cut to [-1, 1]
    assert kept.whole().tolist() == [1, 6, 7], "one frame before and one after it lie in the episode"
    clips = kept.clips(np.array([7, 1]))
    assert clips.tokens[..., 0, 0].tolist() == [[1, 2, 3], [0, 1, 2]]
    np.testing.assert_array_equal(clips.actions[:, 1], [1, 1])


@pytest.mark.parametrize(("share", "later"), [(0.0, [1, 4, 6]), (0.5, [2, 4, 7]), (0.999999, [2, 4, 7])])
def test_a_later_frame_lies_in_the_episode_and_no_further_than_is_asked(share, later):
    kept = Experience(Coding(), 1, 1)
    kept.add(played(2, 1))
    kept.add(played(3))
    rows = np.array([0, 3, 5])
    assert kept.ahead(rows, np.full(3, share), 2).tolist() == later
    assert kept.ahead(rows, np.full(3, share), 1).tolist() == [1, 4, 6]


def test_experience_goes_on_from_what_was_saved():
    kept, again = Experience(Coding(), 1, 1), Experience(Coding(), 1, 1)
    kept.add(played(2, 1))
    again.load_state_dict(kept.state_dict())
    for one in (kept, again):
        one.add(played(4))
    for name in ("tokens", "seen", "actions"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(again, name))
    assert kept.lengths == again.lengths == [3, 2, 5]


@pytest.mark.parametrize("hold", [1.0, 4.0])
def test_held_actions_change_as_often_as_they_are_held(hold):
    policy, past = HeldActions(2, hold, np.random.default_rng(0)), np.zeros((500, 1, 1, 1, 1), np.uint8)
    live = np.ones(500, bool)
    actions = np.stack([policy.act(past, past[:, 0], live).action for _ in range(20)])
    changed = (actions[1:] != actions[:-1]).any(axis=2)
    assert changed.mean() == pytest.approx(1 / hold, abs=0.02)
    assert np.abs(actions).max() <= 1.0
    assert actions.dtype == np.float32
    fewer = policy.act(past[:3], past[:3, 0], live[:3]).action
    assert fewer.shape == (3, 2), "other copies begin with actions of their own"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"queue": 15, "neighbours": 16}, "queue 15 is smaller than the 16 neighbours"),
        ({"batch": 2, "length": 20, "warm_up": 30, "queue": 16}, "queue 16: one update pushes 32 averages of 5 of 20 steps"),
        ({"length": 4}, "one update pushes 0 averages"),
        ({"warm_up": 24}, "warm_up 24 is shorter than a window, 25"),
        ({"capacity": 24}, "capacity 24 holds no window of 25 steps"),
        ({"transfer": ["apv", "apv"]}, "names an arm twice"),
    ],
)
def test_settings_under_which_a_dreamer_could_not_learn_are_refused(said, message):
    with pytest.raises(ValidationError, match=message):
        DreamerConfig.model_validate(said)
    assert DreamerConfig(capacity=25, warm_up=25).capacity == 25


def test_a_memory_that_just_holds_a_window_gives_that_window():
    replay = SequenceReplay(1, 5, (1, 1, 1), 2)
    replay.begin(np.array([0]), np.zeros((1, 1, 1, 1), np.uint8))
    for step in range(1, 9):
        replay.add(np.full((1, 1, 1, 1), step, np.uint8), np.zeros((1, 2), np.float32), np.zeros(1, np.float32), np.zeros(1, bool))
    windows = replay.sample(0, 3, 5, np.random.default_rng(0))
    assert windows.frames[..., 0, 0, 0].tolist() == [[4, 5, 6, 7, 8]] * 3
    assert windows.first.tolist() == [[True, False, False, False, False]] * 3


# --- learning from a teacher


@pytest.mark.parametrize("unit", ["upward", "deviation", "reward"])
def test_one_step_alone_has_an_advantage_in_every_unit(unit):
    found = in_unit(torch.tensor([[3.0], [-2.0]]), unit)
    expected = [[3.0], [-2.0]] if unit == "reward" else [[0.0], [0.0]]
    assert found.tolist() == expected


@pytest.mark.parametrize("unit", ["upward", "deviation", "reward"])
def test_advantages_that_are_all_alike_are_finite_in_every_unit(unit):
    assert torch.isfinite(in_unit(torch.full((2, 5), 4.0), unit)).all()


def test_units_by_hand():
    advantage = torch.tensor([[0.0, 1.0, 2.0, 3.0, 14.0]])
    spread = float(np.std([0, 1, 2, 3, 14], ddof=1))
    torch.testing.assert_close(in_unit(advantage, "deviation"), (advantage - 4.0) / spread)
    torch.testing.assert_close(in_unit(advantage, "reward"), advantage / spread)
    torch.testing.assert_close(in_unit(advantage, "upward"), (advantage - 2.0) / np.sqrt((1 + 144) / 2))


@pytest.mark.parametrize(("iteration", "weight"), [(0, 1.0), (5, 0.5), (9, 0.1), (10, 0.0), (99, 0.0)])
def test_a_weight_fades_on_a_line_and_stays_at_nothing(iteration, weight):
    assert faded(iteration, 10.0) == pytest.approx(weight)


@pytest.mark.parametrize(
    ("arm", "kicks", "instructs"), [("baseline", False, False), ("ks", True, False), ("it", False, True), ("repaint", True, True)]
)
def test_an_arm_learns_by_what_its_name_says(arm, kicks, instructs):
    config = RepaintConfig(arm=arm, iterations=20, beta=2.0, alpha2=3.0)
    assert (config.beta_at(0), config.alpha2_at(0)) == (2.0 * kicks, 3.0 * instructs)
    assert config.beta_at(8) == 0.0, "two fifths of the iterations are over"
    assert config.alpha2_at(5) == (3.0 if arm == "it" else 0.0), "repaint's teacher plays for a quarter of them"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"store": "s"}, "store and layer go together"),
        ({"layer": "l"}, "store and layer go together"),
        ({"teacher_sees": "state"}, "these see the state already"),
        ({"iterations": 2}, "iterations must be at least 3"),
        ({"arms": ["ks", "ks"]}, "an arm is named twice"),
    ],
)
def test_settings_that_do_not_fit_together_are_told(said, message):
    with pytest.raises(ValidationError, match=message):
        TransferConfig.model_validate({"environment": "any"} | said)
    assert TransferConfig(environment="any", iterations=2, target=1.0).target == 1.0


def test_every_further_value_of_a_sweep_is_one_more_arm():
    config = TransferConfig.model_validate({"environment": "any", "sweep": {"zeta": [0.5, 2.0], "beta": [3.0]}, "out": "x"})
    assert config.swept == (("beta", 3.0), ("zeta", 0.5), ("zeta", 2.0))
    arm = config.arm("ks", zeta=0.5)
    assert (arm.arm, arm.zeta, arm.beta) == ("ks", 0.5, config.beta)
    assert Path("x") == config.out
