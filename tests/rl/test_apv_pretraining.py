"""Action-free pretraining: windows of frames, the model against plain references, a killed run that continues bit by bit, and the folder."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch._inductor.exc import InvalidCxxCompiler

from layerscout.errors import DataError, MissingExtraError, UsageError
from layerscout.probe.solve.read_out import read_out
from layerscout.rl.transfer import clips
from layerscout.rl.transfer.apv import pretraining
from layerscout.rl.transfer.apv.action_free import new_action_free
from layerscout.rl.transfer.apv.config import APVModelConfig, PretrainAPVConfig
from layerscout.rl.transfer.apv.folder import DESCRIPTION, LOSSES, WEIGHTS, open_folder
from layerscout.rl.transfer.apv.keeping import load_action_free
from layerscout.rl.transfer.apv.latents import balanced_divergence, sample_latents
from layerscout.rl.transfer.apv.rssm import RSSM, NormGRU
from layerscout.rl.transfer.folders import CARD, CHECKPOINT

sys.path.insert(0, str(Path(__file__).parents[1] / "commands"))
from calling import call, refused

SMALL = {"size": 16, "stages": 2, "depth": 2, "latents": 3, "classes": 4, "deter": 8, "hidden": 8}
SIZES = APVModelConfig(**SMALL)


def stream(lengths, size: int = 4, state: bool = True) -> clips.FrameStream:
    rng, rows = np.random.default_rng(0), int(np.sum(lengths))
    frames = rng.integers(0, 256, (rows, size, size, 3), dtype=np.uint8)
    return clips.FrameStream(frames, np.array(lengths), rng.standard_normal((rows, 2)).astype(np.float32) if state else None, "digest")


# --- windows of frames


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 9), st.integers(0, 99))
def test_a_window_is_consecutive_frames_and_marks_every_beginning(lengths, length, seed):
    frames = stream(lengths)
    if length > len(frames.frames):
        return
    drawn = frames.draw(5, length, np.random.default_rng(seed))
    assert (np.diff(drawn.rows, axis=1) == 1).all()
    assert (drawn.frames == frames.frames[drawn.rows]).all()
    begins = {int(row) for row in np.cumsum([0, *lengths])}
    assert (drawn.first == [[place == 0 or int(row) in begins for place, row in enumerate(window)] for window in drawn.rows]).all()


def test_short_episodes_are_joined_and_refused_when_all_are_short():
    stream([3, 5, 2]).require_length(5)
    with pytest.raises(DataError, match="windows are 6 frames long, and the longest of 3 episodes has 5") as error:
        stream([3, 5, 2]).require_length(6)
    assert error.value.hint.startswith("--length 5")


def test_episodes_apart_are_whole_and_no_row_is_in_both():
    whole = stream(range(1, 21))
    trained, apart = whole.held_out(0.1)
    assert apart.lengths.tolist() == [10, 20]
    assert sorted([*trained.lengths, *apart.lengths]) == list(range(1, 21))
    assert len(np.unique(np.concatenate([trained.frames, apart.frames]), axis=0)) == len(whole.frames)
    assert stream([7]).held_out(0.1)[1] is None
    assert stream([7, 8]).held_out(0.1)[1].lengths.tolist() == [8]
    assert stream([7, 8]).held_out(0.0)[1] is None


def test_a_dataset_is_read_at_the_size_that_is_asked_for_and_says_so(small, tmp_path):
    from layerscout.cache.dataset.trajectories import Trajectories

    read = clips.read_frames(small.intercept, 16, tmp_path)
    with Trajectories(small.intercept) as data:
        first = data.episode(0).frames.astype(float)
        assert (read.lengths == data.lengths + 1).all()
        assert read.digest == data.digest()
    expected = first.reshape(len(first), 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.abs(read.frames[: len(first)] - expected).max() <= 0.5
    assert read.notes == ("frames of 32 x 32 pixels were brought to 16 x 16",)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_videos_of_two_sizes_and_rates_is_imported_and_said(tmp_path):
    av = pytest.importorskip("av", reason="videos need the extra import")
    for name, size, rate in (("a", 48, 10), ("b", 32, 20)):
        with av.open(str(tmp_path / f"{name}.mp4"), "w") as container:
            video = container.add_stream("libx264", rate=rate)
            video.width, video.height, video.pix_fmt = size, size, "yuv420p"
            for shade in range(20):
                container.mux(video.encode(av.VideoFrame.from_ndarray(np.full((size, size, 3), 12 * shade, np.uint8), format="rgb24")))
            container.mux(video.encode())
    read = clips.read_frames(tmp_path, 16, tmp_path / "out")
    assert read.frames.shape[1:] == (16, 16, 3)
    assert read.lengths.tolist() == [20, 10]  # the faster one at half its rate
    assert "videos of 10, 20 frames a second were taken at 10" in read.notes
    again = clips.read_frames(tmp_path, 16, tmp_path / "out")
    assert (again.frames == read.frames).all()


# --- the model against plain references


def plain_gru(cell: NormGRU, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    weight, bias = cell.gates.weight.detach().numpy(), cell.gates.bias.detach().numpy()
    scale, shift = cell.norm.weight.detach().numpy(), cell.norm.bias.detach().numpy()
    gates = weight @ np.concatenate([h, x]) + bias
    gates = (gates - gates.mean()) / np.sqrt(gates.var() + 1e-3) * scale + shift
    reset, candidate, update = np.split(gates, 3)
    reset, update = 1 / (1 + np.exp(-reset)), 1 / (1 + np.exp(1 - update))
    return update * np.tanh(reset * candidate) + (1 - update) * h


def test_the_recurrent_unit_is_the_formula():
    torch.manual_seed(0)
    cell = NormGRU(5, 4)
    torch.nn.init.normal_(cell.norm.weight)
    torch.nn.init.normal_(cell.norm.bias)
    x, h = torch.randn(3, 5), torch.randn(3, 4)
    expected = np.stack([plain_gru(cell, *(v.numpy() for v in pair)) for pair in zip(x, h, strict=True)])
    np.testing.assert_allclose(cell(x, h).detach().numpy(), expected, atol=1e-6)


def test_latents_are_one_hot_at_the_chance_of_their_probability_and_gradients_are_the_probabilities():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 4, dtype=torch.float64, requires_grad=True)
    chances = torch.rand(20_000, 2)
    drawn = sample_latents(logits.expand(20_000, 2, 4), chances)
    assert set(drawn.detach().unique().tolist()) == {0.0, 1.0}
    assert (drawn.sum(-1) == 1).all()
    np.testing.assert_allclose(drawn.mean(0).detach(), logits[0].softmax(-1).detach(), atol=0.015)
    pull = torch.randn(1, 2, 4)
    (drawn[:1] * pull).sum().backward()
    given, step = logits.detach().clone(), 1e-3
    for place in [(0, 0, 0), (0, 0, 3), (0, 1, 2)]:  # by finite differences of the probabilities
        ahead, behind = given.clone(), given.clone()
        ahead[place] += step
        behind[place] -= step
        slope = ((ahead.softmax(-1) - behind.softmax(-1)) * pull).sum() / (2 * step)
        assert float(logits.grad[place]) == pytest.approx(float(slope), abs=1e-5)


def test_the_divergence_is_averaged_before_the_free_nats_and_balanced_by_its_gradients():
    torch.manual_seed(1)
    seen, foretold = (torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    p, q = foretold.detach().softmax(-1).numpy(), seen.detach().softmax(-1).numpy()
    plain = (q * (np.log(q) - np.log(p))).sum((-1, -2)).mean()
    found = balanced_divergence(seen, foretold, 0.8, 0.0)
    assert float(found.detach()) == pytest.approx(plain, rel=1e-5)
    assert float(balanced_divergence(seen, foretold, 0.8, 10.0).detach()) == 10.0
    found.backward()
    other = [torch.tensor(value.detach().numpy(), requires_grad=True) for value in (seen, foretold)]
    (other[0].softmax(-1) * (other[0].log_softmax(-1) - other[1].log_softmax(-1))).sum((-1, -2)).mean().backward()
    np.testing.assert_allclose(seen.grad, 0.2 * other[0].grad, atol=1e-7)
    np.testing.assert_allclose(foretold.grad, 0.8 * other[1].grad, atol=1e-7)


def test_observing_is_the_plain_loop_over_single_windows():
    torch.manual_seed(0)
    model = RSSM(SIZES, 5, actions=2)
    embedded, actions, chances = torch.randn(2, 6, 5), torch.randn(2, 6, 2), torch.rand(2, 6, 3)
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[:, 0] = first[1, 3] = True
    found = model.observe(embedded, first, chances, actions)
    for window in range(2):
        z, h = torch.zeros(12), torch.zeros(8)
        for t in range(6):
            keep = 0.0 if first[window, t] else 1.0
            x = torch.nn.functional.elu(model.into(torch.cat([z * keep, actions[window, t] * keep])))
            h = model.gru(x, h * keep)
            logits = model.posterior_out(torch.nn.functional.elu(model.posterior_into(torch.cat([h, embedded[window, t]])))).unflatten(
                -1, (3, 4)
            )
            z = sample_latents(logits, chances[window, t]).flatten()
            torch.testing.assert_close(found.features[window, t], torch.cat([z, h]), atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(found.posterior[window, t], logits, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(found.prior[window, t], model.foretold(h), atol=1e-6, rtol=1e-5)


def test_nothing_before_a_beginning_changes_what_comes_after():
    torch.manual_seed(0)
    model = RSSM(SIZES, 5, actions=2)
    embedded, actions, chances = torch.randn(2, 6, 5), torch.randn(2, 6, 2), torch.rand(2, 6, 3)
    first = torch.zeros(2, 6, dtype=torch.bool)
    first[:, 0] = first[:, 3] = True
    before = model.observe(embedded, first, chances, actions)
    order = torch.tensor([2, 0, 1])
    embedded[:, :3], actions[:, :4] = embedded[:, order], torch.randn(2, 4, 2)  # also the action that led to the beginning
    after = model.observe(embedded, first, chances, actions)
    assert torch.equal(before.features[:, 3:], after.features[:, 3:])
    assert not torch.allclose(before.features[:, :3], after.features[:, :3])


@pytest.mark.parametrize("model", [{}, {"size": 64, "depth": 2, "stages": 4, "published": True}, {"size": 64, "stages": 4, "channels": 1}])
def test_what_is_decoded_has_the_shape_of_what_was_encoded(model):
    sizes = APVModelConfig(**{**SMALL, "size": 32, "stages": 3, **model})
    frames = torch.zeros(2, 3, sizes.size, sizes.size, sizes.channels, dtype=torch.uint8)
    made = new_action_free(sizes, 0)
    losses = made(frames, torch.ones(2, 3, dtype=torch.bool), None)
    assert made.decoder(losses.seen.features).shape == (2, 3, sizes.channels, sizes.size, sizes.size)
    assert made.encoder.forward(torch.zeros(1, sizes.channels, sizes.size, sizes.size)).shape == (1, sizes.embedding)
    black = 0.5 * np.square(made.decoder(losses.seen.features).detach().numpy() + 0.5).sum((-1, -2, -3)).mean()
    assert float(losses.picture.detach()) == pytest.approx(black, rel=1e-5)


def test_the_published_sizes_are_those_of_the_paper():
    config = PretrainAPVConfig(data="x", scale="paper", lr=1e-4)
    assert (config.lr, config.updates, config.batch, config.length) == (1e-4, 600_000, 16, 25)
    assert (config.model.embedding, config.model.stochastic, config.model.deter, config.model.maps[-1]) == (1536, 1024, 1024, (384, 2))
    with pytest.raises(ValueError, match="no multiple of 8"):
        APVModelConfig(size=20)
    with pytest.raises(ValueError, match="frames of 64 x 64"):
        APVModelConfig(published=True)


# --- pretraining


def settings(data: Path, out: Path, **changes) -> PretrainAPVConfig:
    return PretrainAPVConfig(
        **{"data": data, "out": out, "batch": 4, "length": 6, "look_every": 3, "model": SMALL, "threads": 1, **changes}
    )


@pytest.fixture(scope="module")
def pretrained(small, tmp_path_factory):
    """A folder after six updates, and what was measured last."""
    out = tmp_path_factory.mktemp("apv") / "model"
    return out, pretraining.run(pretraining.plan(settings(small.intercept, out, updates=6)), read_out=read_out)


class Killed(Exception):
    """As a signal would end the process."""


def test_a_killed_run_continues_bit_by_bit(small, pretrained, tmp_path, monkeypatch):
    config, update = settings(small.intercept, tmp_path, updates=6), pretraining._Pretraining._update

    def dying(self):
        if self.updates == 5:
            raise Killed
        return update(self)

    monkeypatch.setattr(pretraining._Pretraining, "_update", dying)
    with pytest.raises(Killed):
        pretraining.run(pretraining.plan(config))
    assert pretraining.plan(config).describe()["updates_done"] == 3
    monkeypatch.setattr(pretraining._Pretraining, "_update", update)
    pretraining.run(pretraining.plan(config))
    assert (tmp_path / WEIGHTS).read_bytes() == (pretrained[0] / WEIGHTS).read_bytes()


def test_more_updates_may_be_asked_for_later(small, pretrained, tmp_path):
    for updates in (3, 6):
        pretraining.run(pretraining.plan(settings(small.intercept, tmp_path, updates=updates)))
    assert (tmp_path / WEIGHTS).read_bytes() == (pretrained[0] / WEIGHTS).read_bytes()
    assert [one["updates"] for one in json.loads((tmp_path / LOSSES).read_text())] == [3, 6]


def test_the_folder_says_what_is_in_it(pretrained):
    out, measured = pretrained
    model = open_folder(out)
    assert model.sizes == SIZES
    assert model.length == 6
    assert model.facts["updates"] == measured["updates"] == 6
    assert len(measured["read_out"]) == 5
    text = (out / CARD).read_text()
    assert f"{measured['video_loss']:.4g}" in text
    assert f"{measured['mean_picture']:.4g}" in text
    assert load_action_free(model).sizes == SIZES


def test_the_mean_picture_is_that_of_the_frames_that_are_trained_on(small, pretrained):
    read = clips.read_frames(small.intercept, 16, pretrained[0])
    trained, apart = read.held_out(0.1)
    windows = apart.spread(8 * 4, 6).frames / 255
    plain = 0.5 * ((windows - (trained.frames / 255).mean(0)) ** 2).sum((-1, -2, -3)).mean()
    assert pretrained[1]["mean_picture"] == pytest.approx(plain, rel=1e-9)


def test_a_checkpoint_of_other_settings_names_the_one_that_differs(small, pretrained):
    with pytest.raises(DataError, match=r"was made with lr = 0\.001, and 0\.5 is asked for"):
        pretraining.run(pretraining.plan(settings(small.intercept, pretrained[0], updates=7, lr=0.5)))
    with pytest.raises(DataError, match=r"model was made with deter = 8, and 9 is asked for"):
        pretraining.run(pretraining.plan(settings(small.intercept, pretrained[0], updates=7, model={**SMALL, "deter": 9})))
    with pytest.raises(DataError, match="was made with classes = 4, and 5 is asked for"):
        open_folder(pretrained[0]).require(APVModelConfig(**{**SMALL, "classes": 5}))


def test_a_loss_that_is_not_finite_names_step_and_loss_and_keeps_the_checkpoint(small, tmp_path, monkeypatch):
    config, update = settings(small.intercept, tmp_path, updates=6), pretraining._Pretraining._update

    def spoiling(self):
        if self.updates == 4:
            with torch.no_grad():
                self.model.decoder.dense.bias[0] = torch.nan
        return update(self)

    monkeypatch.setattr(pretraining._Pretraining, "_update", spoiling)
    with pytest.raises(DataError, match="update 5: the picture loss is nan; the checkpoint of update 3 is kept"):
        pretraining.run(pretraining.plan(config))
    assert pretraining.plan(config).done == 3


def machine_code(graph, inputs):
    """Machine code for what learns, in one C++ file forwards and one backwards; one a kernel would be 55 of them, and a minute of compiling."""
    from torch._inductor.compile_fx import compile_fx

    return (
        compile_fx(graph, inputs, config_patches={"cpp_wrapper": True, "aot_inductor.debug_compile": True})
        if torch.is_grad_enabled()
        else graph.forward
    )


NEEDS_A_COMPILER = pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="no C++ compiler")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the compiler's own packages
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param(machine_code, marks=[pytest.mark.slow, NEEDS_A_COMPILER])])
def test_a_compiled_model_learns_the_same_up_to_rounding(backend, small, tmp_path, monkeypatch, kept_code):
    """Traced forwards and backwards; in the slow lane to machine code."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch._dynamo.reset()
    found = {}
    for compiled in (False, True):
        config = settings(small.intercept, tmp_path / str(compiled), updates=2, look_every=2, length=2, compile=compiled)
        found[compiled] = pretraining.run(pretraining.plan(config))
    for name in ("video_loss", "kl", "mean_picture"):
        assert found[True][name] == pytest.approx(found[False][name], rel=1e-4)
    with pytest.raises(DataError, match="was made with compile = True, and False is asked for"):
        pretraining.run(pretraining.plan(settings(small.intercept, tmp_path / "True", updates=4, length=2)))


def test_without_a_compiler_the_next_step_is_told(small, tmp_path, monkeypatch):
    def broken(graph, inputs):
        raise InvalidCxxCompiler

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    torch._dynamo.reset()
    with pytest.raises(MissingExtraError, match=r"torch\.compile does not work here: .*compiler") as failed:
        pretraining.run(pretraining.plan(settings(small.intercept, tmp_path, updates=2, length=3, compile=True)))
    assert failed.value.hint.startswith("leave --compile out")


def test_other_colours_and_short_episodes_are_refused(small, tmp_path):
    with pytest.raises(UsageError, match="frames have 3 channels and the model takes 1") as error:
        pretraining.run(pretraining.plan(settings(small.intercept, tmp_path, model={**SMALL, "channels": 1})))
    assert error.value.hint == "--set model.channels=3"
    with pytest.raises(DataError, match="windows are 99 frames long"):
        pretraining.run(pretraining.plan(settings(small.intercept, tmp_path, length=99)))


def test_a_folder_without_a_model_is_told(tmp_path, pretrained):
    with pytest.raises(DataError, match="holds no pretrained model") as error:
        open_folder(tmp_path)
    assert error.value.hint.startswith("layerscout pretrain apv DATA")
    (tmp_path / CHECKPOINT).write_bytes(b"")
    with pytest.raises(DataError, match="its pretraining is not finished"):
        open_folder(tmp_path)
    (tmp_path / DESCRIPTION).write_text((pretrained[0] / DESCRIPTION).read_text())
    with pytest.raises(DataError, match=r"there is no file .*model\.safetensors"):
        load_action_free(open_folder(tmp_path))
    (tmp_path / WEIGHTS).write_bytes((pretrained[0] / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(DataError, match="states bytes"):
        load_action_free(open_folder(tmp_path))


# --- the command


def test_the_command_pretrains_prints_both_losses_and_names_what_comes_next(small, tmp_path):
    words = ["pretrain", "apv", small.intercept, "--out", tmp_path, "--updates", 2, "--batch", 2, "--length", 5, "--threads", 1]
    words += [word for name, value in SMALL.items() for word in ("--set", f"model.{name}={value}")]
    dry = json.loads(call(*words, "--dry-run", "--json").stdout)
    assert (dry["updates_done"], dry["exists"], dry["frame_shape"]) == (0, False, [16, 16, 3])
    assert not list(tmp_path.iterdir())
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert "2 updates: video loss" in done.stderr
    assert "mean picture" in done.stderr
    assert f"next: layerscout extract apv:{tmp_path}" in done.stdout
    again = call(*words)
    assert again.stdout == done.stdout


def test_settings_of_pretraining_stand_in_a_table_of_their_own(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("[pretrain.apv]\nbatch = 3\n[pretrain.apv.model]\ndepth = 5\n[presets.more.pretrain.apv]\nlength = 7\n")
    from layerscout.settings import resolve

    config = resolve(PretrainAPVConfig, "pretrain.apv", file=file, preset="more", assignments=["pretrain.apv.lr=0.5"], flags={"data": "x"})
    assert (config.batch, config.length, config.lr, config.model.depth) == (3, 7, 0.5, 5)
    file.write_text("[pretrain.apw]\nbatch = 3\n")
    refused(call("pretrain", "apv", "x", "--config", file), 2, "unknown table 'apw'; did you mean 'apv'?")
    refused(call("pretrain", "apv", tmp_path / "none.h5"), 4, "no dataset")


# --- the probe's read-out


def test_the_read_out_is_the_share_that_ridges_read_from_other_episodes():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    x, episodes = rng.standard_normal((400, 6)), np.arange(400) // 10
    y = np.stack([x @ rng.standard_normal(6) + rng.standard_normal(400), rng.standard_normal(400), np.ones(400)], axis=1)
    found = read_out(x, y, episodes, penalties=[0.1])
    fold, error = episodes % 4, 0.0
    for tested in range(4):
        train, test = fold != tested, fold == tested
        mean, scale = x[train].mean(0), x[train].std(0)
        fitted = Ridge(alpha=0.1 * train.sum()).fit((x[train] - mean) / scale, y[train, 0])
        error += ((fitted.predict((x[test] - mean) / scale) - y[test, 0]) ** 2).sum()
    assert found[0] == pytest.approx(1 - error / ((y[:, 0] - y[:, 0].mean()) ** 2).sum(), abs=1e-9)
    assert found[1] < 0.05
    assert found[2] is None
    assert read_out(x, y, np.zeros(400, dtype=np.int64)) == [None] * 3


def test_a_feature_that_only_a_fold_left_out_moves_reads_nothing_of_the_others():
    """Features that are 0 but for single rows: beside them the read-out is what it is without them."""
    rng, rows = np.random.default_rng(1), 40_000
    x, episodes = rng.standard_normal((rows, 3)), np.arange(rows) // 100
    y = x @ rng.standard_normal((3, 1)) + rng.standard_normal((rows, 1))
    spikes = np.zeros((rows, 64))
    spikes[np.arange(64) * 625, np.arange(64)] = rng.standard_normal(64)
    found = [read_out(features, y, episodes, penalties=[0.1])[0] for features in (x, np.hstack([x, spikes]))]
    assert found[1] == pytest.approx(found[0], abs=1e-4)
