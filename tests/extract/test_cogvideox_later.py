"""CogVideoX 1.5 and image-to-video checkpoints: patches over time, the image beside the noise, and what fits neither."""

from __future__ import annotations

import checkpoints_denoisers as tiny
import denoiser_laws as laws
import golden
import numpy as np
import pytest
import torch
from PIL import Image

from layerscout.errors import UsageError
from layerscout.extract.backbones.finding import find_backbone

SMALL = {"size": [32, 48]}
LATER = {"patch_size_t": 2, "patch_bias": False}
IMAGE = {"in_channels": 8}
LEARNED = {"use_learned_positional_embeddings": True}

# name → (how it is saved, options)
CASES = {
    "two": ({"use_rotary_positional_embeddings": False}, SMALL),
    "five": ({}, SMALL),
    "later": (LATER, SMALL),
    "later-odd": (LATER, SMALL | {"frames": 9}),
    "image": (IMAGE, SMALL | {"future": 2}),
    "image-denoise": (IMAGE, SMALL | {"regime": "denoise", "frames": 5}),
    "image-learned": (IMAGE | LEARNED, {}),
    "later-image": (IMAGE | LATER | {"ofs_embed_dim": 16, "invert": True}, SMALL | {"future": 3}),
    "later-image-denoise": (IMAGE | LATER | {"ofs_embed_dim": 16, "invert": True}, SMALL | {"regime": "denoise", "frames": 9}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, made = tmp_path_factory.mktemp("cogvideox"), {}

    def get(how):
        key = str(how)
        if key not in made:
            made[key] = tiny.save_cogvideox(root / str(len(made)), **how)
        return made[key]

    return get


@pytest.fixture
def case(request, folders):
    how, options = CASES[request.param]
    return find_backbone(f"cogvideox:{folders(how)}", options)


every = pytest.mark.parametrize("case", CASES, indirect=True)


def parts_of(folder):
    from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel

    return (
        laws.by_the_library(CogVideoXTransformer3DModel, folder, "transformer"),
        laws.by_the_library(AutoencoderKLCogVideoX, folder, "vae"),
        CogVideoXDDIMScheduler.from_pretrained(folder, subfolder="scheduler"),
    )


def noise_of(slots: int) -> torch.Tensor:
    return torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal((1, slots, 4, 4, 6), dtype=np.float32))


@every
def test_it_is_what_its_description_says(case):
    laws.described_as_loaded(case)
    laws.rows_are_independent(case)
    laws.ends_after_any_block(case)
    laws.stored_latents_give_the_same(case)


@pytest.mark.parametrize("case", ["five", "later-image"], indirect=True)
def test_it_runs_in_bfloat16(case):
    laws.runs_in_bfloat16(case)


@pytest.mark.numeric
@pytest.mark.parametrize("case", ["two", "five", "later", "later-image"], indirect=True)
def test_the_numbers_are_those_on_record(case, request):
    golden.check(f"cogvideox-{request.node.callspec.params['case']}", case)


@pytest.mark.parametrize("case", ["later", "later-odd", "later-image-denoise"], indirect=True)
def test_denoised_clips_of_1_5_are_those_of_the_diffusers_models(case, request, folders):
    """Rotary positions by the pipeline's own method; the first latent frame is repeated when their number is odd."""
    from diffusers import CogVideoXPipeline

    folder = folders(CASES[request.node.callspec.params["case"]][0])
    model, vae, scheduler = parts_of(folder)
    pipeline, clips = CogVideoXPipeline(None, None, vae, model, scheduler), golden.clips(case, 2)
    frames = clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    with torch.no_grad():
        latents = (vae.encode(frames).latent_dist.mode() * 0.7).permute(0, 2, 1, 3, 4)
        if latents.shape[1] % 2:
            latents = torch.cat([latents[:, :1], latents], dim=1)
        timestep = int((scheduler.alphas_cumprod.sqrt() - (1 - 0.2**2) ** 0.5).abs().argmin())
        share = scheduler.alphas_cumprod[timestep]
        noised = float(share) ** 0.5 * latents + float(1 - share) ** 0.5 * noise_of(latents.shape[1])
        if model.config.in_channels == 8:
            image = torch.zeros_like(latents)
            image[:, 0] = vae.encode(frames[:, :, :1]).latent_dist.mode()[:, :, 0] * (1 / 0.7)
            noised = torch.cat([noised, image], dim=2)
        positions = pipeline._prepare_rotary_positional_embeddings(32, 48, latents.shape[1], laws.CPU)
        expected = laws.hooked(
            model.transformer_blocks,
            lambda: model(
                noised,
                torch.zeros(2, 4, 8),
                torch.full((2,), timestep),
                ofs=torch.full((1,), 2.0) if model.config.ofs_embed_dim else None,
                image_rotary_emb=positions,
            ),
        )
    laws.equal_to_blocks(case, clips, expected)


@pytest.mark.parametrize("case", ["image", "later-image"], indirect=True)
def test_a_conditioned_row_is_the_first_step_of_the_diffusers_pipeline(case, request, folders):
    """The pipeline itself, one step from our noise, with the row's own frame as the picture."""
    from diffusers import CogVideoXImageToVideoPipeline

    model, vae, scheduler = parts_of(folders(CASES[request.node.callspec.params["case"]][0]))
    scheduler.register_to_config(timestep_spacing="trailing")  # the first step is the last timestep: pure noise
    pipeline = CogVideoXImageToVideoPipeline(None, None, vae, model, scheduler)
    pipeline.set_progress_bar_config(disable=True)
    vae.encode = modes_only(vae.encode)
    clips, slots = golden.clips(case, 1), 1 + case.identity["future_slots"]
    expected = laws.hooked(
        model.transformer_blocks,
        lambda: pipeline(
            image=Image.fromarray(clips[0, 0].numpy()),
            prompt_embeds=torch.zeros(1, 4, 8),
            height=32,
            width=48,
            num_frames=4 * (slots - 1) + 1,
            latents=noise_of(slots),
            num_inference_steps=1,
            guidance_scale=1.0,
            output_type="latent",
            max_sequence_length=4,
        ),
    )
    for layer, output in zip(case.layers, expected, strict=True):
        torch.testing.assert_close(golden.activations(case, clips)[layer.name], output, atol=1e-4, rtol=1e-4)


def modes_only(encode):
    """The pipeline draws a sample of the image's latents; here it finds a distribution without spread."""

    def encoding(frames):
        answer = encode(frames)
        answer.latent_dist.std = torch.zeros_like(answer.latent_dist.std)
        return answer

    return encoding


def test_the_slots_know_their_steps(folders):
    def seen(how, **options):
        return find_backbone(f"cogvideox:{folders(how)}", SMALL | options).seen

    assert seen({}, frames=9) == (-8, -4, 0)
    assert seen(LATER, frames=13) == (-8, 0)
    assert seen(LATER, frames=9) == (-8, 0)
    assert seen(IMAGE) == (0,)


def test_a_learned_table_of_positions_decides_the_defaults(folders):
    image = find_backbone(f"cogvideox:{folders(IMAGE | LEARNED)}")
    assert (image.clip.frame_shape, image.grid.time, image.grid.past) == ((64, 64, 3), 3, 1)
    denoised = find_backbone(f"cogvideox:{folders(IMAGE | LEARNED)}", {"regime": "denoise"})
    assert (len(denoised.clip.offsets), denoised.grid.past) == (9, 3)


@pytest.mark.parametrize(
    ("how", "options", "expected"),
    [
        (LATER, {"frames": 6}, r"CogVideoX 1.5 takes 4k\+1 frames, not 6"),
        (LATER, {"size": [32, 80]}, r"up to \(64, 64\) pixels"),
        (LATER | IMAGE, {"future": 2}, "even number of latent frames"),
        (IMAGE, {"frames": 5}, r"conditioned on 1 frame\(s\), not 5"),
        (IMAGE | LEARNED, {"size": [32, 48]}, r"learned its positions for 3 latent frames of \[64,64\] pixels only"),
        (IMAGE | LEARNED, {"size": [64, 64], "future": 3}, "not 4 of"),
    ],
)
def test_wrong_options_are_refused(folders, how, options, expected):
    with pytest.raises(UsageError, match=expected) as error:
        find_backbone(f"cogvideox:{folders(how)}", SMALL | options)
    assert error.value.hint
