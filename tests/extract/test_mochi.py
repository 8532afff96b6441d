"""Mochi checkpoints as diffusers saves them: the numbers of the library's own model, or a refusal that says what is wrong."""

from __future__ import annotations

import shutil
import warnings

import checkpoints_more as tiny
import denoiser_laws as laws
import golden
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone

OPTIONS = {"size": [32, 48], "frames": 7}
MEAN, SPREAD, SCALE = (0.1, -0.2, 0.3, 0.0), (0.9, 0.8, 1.1, 1.2), 0.7  # of tiny.save_mochi

# the library's own rotary table warns of a CPU each time; ours must not, so this is no mark of the whole file
quiet = pytest.mark.filterwarnings("ignore:In CPU autocast")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_mochi(tmp_path_factory.mktemp("mochi") / "it")


@pytest.fixture
def describe(folder):
    return lambda **options: find_backbone(f"mochi:{folder}", OPTIONS | options)


@pytest.fixture
def model(folder):
    from diffusers import MochiTransformer3DModel

    whole = MochiTransformer3DModel.from_pretrained(folder, subfolder="transformer", low_cpu_mem_usage=False)
    return whole.eval().requires_grad_(False)


@quiet
@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.9])
def test_tokens_are_bit_for_bit_those_of_the_librarys_model(describe, model, sigma):
    """Noise on a straight path with time running backwards, and zeros of text that nobody attends to."""
    backbone = describe(sigma=sigma)
    loaded = backbone.load(laws.CPU)
    latents = torch.from_numpy(golden.philox("latents").standard_normal((2, *backbone.latent_shape), dtype=np.float32))
    ours = laws.hooked([loaded.module.get_submodule(layer.module) for layer in backbone.layers], lambda: loaded.denoise(latents))
    noise = torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal((1, *backbone.latent_shape), dtype=np.float32))
    expected = laws.hooked(
        model.transformer_blocks,
        lambda: model(
            hidden_states=(1 - sigma) * latents + sigma * noise,
            encoder_hidden_states=torch.zeros(2, 8, 16),
            timestep=torch.full((2,), 1000 * (1 - sigma)),
            encoder_attention_mask=torch.zeros(2, 8).bool(),
        ),
    )
    assert len(ours) == len(expected) == len(backbone.layers) == 3
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_time_runs_as_in_the_schedule_of_the_checkpoint(describe, folder):
    """The schedule's own timestep for a noise share is the one that the model gets."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(sigmas=np.array([1.0, 0.6, 0.2]))  # as the pipeline gives them: shares of noise
    for share, timestep in zip((1.0, 0.6, 0.2), scheduler.timesteps, strict=True):
        if share == 1.0:
            assert float(timestep) == 0.0
            continue
        backbone = describe(sigma=share)
        loaded, told = backbone.load(laws.CPU), []
        loaded.module.time_embed.register_forward_pre_hook(lambda m, arguments, told=told: told.append(arguments[0]))
        with torch.no_grad():
            loaded.forward(golden.clips(backbone))
        assert float(told[0][0]) == pytest.approx(float(timestep), rel=1e-5)


def test_latents_are_those_of_the_librarys_vae(describe, folder):
    from diffusers import AutoencoderKLMochi

    vae = AutoencoderKLMochi.from_pretrained(folder, subfolder="vae", low_cpu_mem_usage=False)
    backbone = describe()
    clips = golden.clips(backbone, 2)
    with torch.no_grad():
        ours = backbone.load(laws.CPU).encode(clips)
        latents = vae.encode(clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).latent_dist.mode()
    mean, spread = (torch.tensor(values).view(1, 4, 1, 1, 1) for values in (MEAN, SPREAD))
    torch.testing.assert_close(ours, (latents - mean) * SCALE / spread, atol=1e-5, rtol=1e-5)


@quiet
def test_a_short_model_is_a_prefix_of_the_whole_one(describe, model):
    """The last block drops its text stream; cut elsewhere, a block must stay what it was."""
    backbone = describe()
    loaded, clips = backbone.load(laws.CPU), golden.clips(backbone)
    whole = golden.activations(backbone, clips)
    for layer in backbone.layers:
        loaded.truncate(layer)
        assert [block.context_pre_only for block in loaded.module.transformer_blocks] == [i == 2 for i in range(layer.depth + 1)]
        part = laws.hooked(loaded.module.transformer_blocks, lambda: loaded.forward(clips))
        assert torch.equal(part[-1], whole[layer.name])


def test_it_is_what_its_description_says(describe):
    backbone = describe()
    laws.described_as_loaded(backbone)
    laws.rows_are_independent(backbone)
    laws.ends_after_any_block(backbone)
    laws.stored_latents_give_the_same(backbone)
    laws.past_slots_see_no_later_frame(backbone)


def test_it_runs_in_bfloat16(describe):
    laws.runs_in_bfloat16(describe(), kept=("pos_frequencies",))


@pytest.mark.numeric
def test_the_numbers_are_those_on_record(describe):
    golden.check("mochi", describe())


def test_no_warning_reaches_the_user(describe):
    backbone = describe()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        golden.activations(backbone, golden.clips(backbone))
    assert not [str(one.message) for one in seen if "autocast" in str(one.message)]


def test_the_text_stream_of_zeros_is_not_seen_and_one_from_a_file_is(describe, tmp_path):
    file = tmp_path / "robot.safetensors"
    save_file({"prompt_embeds": torch.from_numpy(golden.philox("text").standard_normal((8, 16), dtype=np.float32))}, file)
    zeros, told = describe(), describe(text=str(file))
    assert zeros.identity != told.identity
    clips, last = golden.clips(zeros), zeros.layers[-1].name
    assert not torch.allclose(golden.activations(zeros, clips)[last], golden.activations(told, clips)[last], atol=1e-2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"frames": 9}, r"6k\+1 frames, not 9; the nearest are 7 and 13"),
        ({"size": [40, 48]}, r"not a multiple of 16 pixels; the nearest is \(32, 48\)"),
        ({"regime": "condition"}, "was not trained for regime 'condition', only for denoise"),
        ({"sigma": 1.0}, "nothing of the clip is left"),
        ({"text": "empty"}, "not 'empty': its own empty prompt is zeros"),
    ],
)
def test_wrong_options_are_refused(describe, options, expected):
    with pytest.raises(UsageError, match=expected):
        describe(**options)


def test_a_missing_shard_is_named(folder, tmp_path):
    spoilt = shutil.copytree(folder, tmp_path / "spoilt")
    shard = sorted((spoilt / "transformer").glob("*-of-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(DataError, match=f"misses {shard.name}"):
        find_backbone(f"mochi:{spoilt}", OPTIONS).load(laws.CPU)
