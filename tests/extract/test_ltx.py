"""LTX-Video checkpoints as diffusers saves them: the numbers of the library's own model, or a refusal that says what is wrong."""

from __future__ import annotations

import shutil

import checkpoints_denoisers as tiny
import denoiser_laws as laws
import golden
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone

SMALL = {"size": [64, 32]}
CASES = {
    "denoise": ("causal", SMALL | {"frames": 17}),
    "condition": ("causal", SMALL | {"regime": "condition", "frames": 9, "future": 2, "frame_rate": 10.0}),
    "plain": ("plain", SMALL | {"frames": 9}),
    "image": ("plain", SMALL | {"regime": "condition"}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("ltx")
    return {"causal": tiny.save_ltx(root / "causal"), "plain": tiny.save_ltx(root / "plain", "LTXPipeline")}


@pytest.fixture
def case(request, folders):
    style, options = CASES[request.param]
    return find_backbone(f"ltx:{folders[style]}", options)


every = pytest.mark.parametrize("case", CASES, indirect=True)


@every
def test_activations_are_those_of_the_diffusers_models(case, request, folders):
    """The recipe again with diffusers alone; packing, normalisation and positions by the pipelines' own functions."""
    from diffusers import AutoencoderKLLTXVideo, LTXConditionPipeline, LTXVideoTransformer3DModel

    style, options = CASES[request.node.callspec.params["case"]]
    folder, pipeline = folders[style], LTXConditionPipeline
    model = laws.by_the_library(LTXVideoTransformer3DModel, folder, "transformer")
    vae = laws.by_the_library(AutoencoderKLLTXVideo, folder, "vae")
    clips, condition = golden.clips(case, 2), options.get("regime") == "condition"
    sigma, slots = 1.0 if condition else 0.2, case.grid.time
    frames = clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    with torch.no_grad():
        latents = pipeline._normalize_latents(vae.encode(frames).latent_dist.mode(), vae.latents_mean, vae.latents_std, 0.8)
    past = latents.shape[2]
    noise = torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal((1, 8, slots, 2, 1), dtype=np.float32))
    if condition:
        latents, times = torch.cat([latents, noise.expand(2, -1, -1, -1, -1)[:, :, past:]], dim=2), torch.ones(slots)
        times[:past] = 0
    else:
        latents, times = (1 - sigma) * latents + sigma * noise, torch.full((slots,), sigma)
    rate = options.get("frame_rate", 25.0)
    where = {"num_frames": slots, "height": 2, "width": 1, "rope_interpolation_scale": (8 / rate, 32, 32)}
    if style == "causal":
        places = pipeline._scale_video_ids(pipeline._prepare_video_ids(2, slots, 2, 1), 32, 8).float()
        places[:, 0] = places[:, 0] * (1.0 / rate)
        where = {"video_coords": places}
    expected = laws.hooked(
        model.transformer_blocks,
        lambda: model(
            hidden_states=pipeline._pack_latents(latents),
            encoder_hidden_states=torch.zeros(2, 128, tiny.TEXT_WIDTH),
            timestep=(times * 1000).repeat_interleave(2)[None].expand(2, -1),
            encoder_attention_mask=torch.ones(2, 128),
            **where,
        ),
    )
    laws.equal_to_blocks(case, clips, expected)


def test_a_conditioned_row_is_the_first_step_of_the_diffusers_pipeline(folders):
    """The image-to-video pipeline itself, one step from our noise, with the row's own frame as the picture."""
    from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXImageToVideoPipeline, LTXVideoTransformer3DModel

    backbone = find_backbone(f"ltx:{folders['plain']}", SMALL | {"regime": "condition"})
    model = laws.by_the_library(LTXVideoTransformer3DModel, folders["plain"], "transformer")
    vae = laws.by_the_library(AutoencoderKLLTXVideo, folders["plain"], "vae")
    pipeline, clips = LTXImageToVideoPipeline(FlowMatchEulerDiscreteScheduler(), vae, None, None, model), golden.clips(backbone)
    pipeline.set_progress_bar_config(disable=True)
    loaded = backbone.load(laws.CPU)
    noise = torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal((1, 8, 4, 2, 1), dtype=np.float32))
    with torch.no_grad():
        noise[:, :, :1] = loaded.encode(clips)
    expected = laws.hooked(
        model.transformer_blocks,
        lambda: pipeline(
            prompt_embeds=torch.zeros(1, 128, tiny.TEXT_WIDTH),
            prompt_attention_mask=torch.ones(1, 128),
            height=64,
            width=32,
            num_frames=25,
            latents=pipeline._pack_latents(noise),
            num_inference_steps=1,
            guidance_scale=1.0,
            output_type="latent",
        ),
    )
    ours = laws.hooked(loaded.module.transformer_blocks, lambda: loaded.denoise(noise[:, :, :1]))
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@every
def test_it_is_what_its_description_says(case):
    laws.described_as_loaded(case)
    laws.rows_are_independent(case)
    laws.ends_after_any_block(case)
    laws.stored_latents_give_the_same(case)
    laws.past_slots_see_no_later_frame(case)


@pytest.mark.parametrize("case", ["denoise", "condition"], indirect=True)
def test_it_runs_in_bfloat16(case):
    laws.runs_in_bfloat16(case)


@pytest.mark.numeric
@every
def test_the_numbers_are_those_on_record(case, request):
    golden.check(f"ltx-{request.node.callspec.params['case']}", case)


def test_the_vae_statistics_come_from_the_weights(folders):
    weights = load_file(folders["causal"] / "vae" / "diffusion_pytorch_model.safetensors")
    vae = find_backbone(f"ltx:{folders['causal']}", SMALL).load(laws.CPU).vae
    assert torch.equal(vae.latents_std, weights["latents_std"])
    assert not torch.equal(vae.latents_std, torch.ones(8))


def test_the_frame_rate_and_the_kind_of_positions_are_in_the_identity(folders):
    said = [
        find_backbone(f"ltx:{folder}", SMALL | options).identity
        for folder, options in [(folders["causal"], {}), (folders["causal"], {"frame_rate": 8}), (folders["plain"], {})]
    ]
    assert all(a != b for i, a in enumerate(said) for b in said[:i])


@pytest.mark.parametrize(
    ("style", "options", "expected"),
    [
        ("causal", {"frames": 13}, r"8k\+1 frames, not 13; the nearest are 9 and 17"),
        ("causal", {"size": [48, 32]}, r"not a multiple of 32 pixels; the nearest is \(64, 32\)"),
        ("plain", {"frames": 9, "regime": "condition"}, r"conditioned on 1 frame\(s\), not 9"),
        ("causal", {"sigma": 0.5, "regime": "condition"}, "sigma 1, not 0.5"),
        ("causal", {"frame_rate": 0}, "frame_rate"),
    ],
)
def test_wrong_options_are_refused(folders, style, options, expected):
    with pytest.raises(UsageError, match=expected):
        find_backbone(f"ltx:{folders[style]}", SMALL | options)


def test_another_pipelines_checkpoint_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["plain"], tmp_path / "it")
    tiny.index(folder, _class_name="LTX2Pipeline")
    with pytest.raises(DataError, match="is made for LTX2Pipeline"):
        find_backbone(f"ltx:{folder}", SMALL)
