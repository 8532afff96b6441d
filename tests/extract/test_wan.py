"""Wan checkpoints as diffusers saves them: the numbers of the library's own model, or a refusal that says what is wrong."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import checkpoints_denoisers as tiny
import denoiser_laws as laws
import golden
import numpy as np
import pytest
import torch
from PIL import Image

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.backbones.networks.clip_image import ClipImage

SMALL, LARGE = {"size": [32, 32]}, {"size": [64, 64]}
KEPT = ("rope", "time_embedder", "scale_shift_table", "norm1", "norm2", "norm3")
BOTH_VAE = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12, "scale_factor_spatial": 16}
MASKED = {"in_channels": 12}  # noise, mask, image

# name → (how it is saved, options)
CASES = {
    "text": ({}, SMALL | {"frames": 9}),
    "image": (MASKED, SMALL),
    "image-denoise": (MASKED, SMALL | {"regime": "denoise", "frames": 5}),
    "both": ({"vae": BOTH_VAE, "said": {"expand_timesteps": True}}, LARGE | {"frames": 5, "future": 2}),
    "both-one": ({"vae": BOTH_VAE, "said": {"expand_timesteps": True}}, LARGE),
    "both-denoise": ({"vae": BOTH_VAE, "said": {"expand_timesteps": True}}, LARGE | {"frames": 5, "regime": "denoise"}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, made = tmp_path_factory.mktemp("wan"), {}

    def get(**how):
        key = str(how)
        if key not in made:
            made[key] = tiny.save_wan(root / str(len(made)), **how)
        return made[key]

    return get


@pytest.fixture
def case(request, folders):
    how, options = CASES[request.param]
    return find_backbone(f"wan:{folders(**how)}", options)


every = pytest.mark.parametrize("case", CASES, indirect=True)


def by_hand(folder, clips, regime: str, past: int, future: int, kind: str) -> list[torch.Tensor]:
    """The recipe again with diffusers alone."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel

    vae = laws.by_the_library(AutoencoderKLWan, folder, "vae")
    config = WanTransformer3DModel.load_config(folder, subfolder="transformer")
    model = golden.fill(WanTransformer3DModel.from_config(config)).eval()
    mean, std = (torch.tensor(tiny.WAN_VAE[name]).view(1, -1, 1, 1, 1) for name in ("latents_mean", "latents_std"))
    frames = clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    slots, count = past + future, len(clips)

    def encoded(video):
        return (vae.encode(video).latent_dist.mode() - mean) * (1.0 / std)

    with torch.no_grad():
        clean = encoded(frames)
        shape = (1, 4, slots, *clean.shape[3:])
        noise = torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal(shape, dtype=np.float32)).expand(
            count, -1, -1, -1, -1
        )
        sigma = 0.2 if regime == "denoise" else 1.0
        noised = (1 - sigma) * clean + sigma * noise if regime == "denoise" else noise.clone()
        times = torch.full((count,), 1000 * sigma)
        if kind == "both":
            mask = torch.ones(1, 1, slots, *clean.shape[3:])
            if regime == "condition":
                mask[:, :, :past] = 0
                noised[:, :, :past] = clean
            times = (mask[0][0][:, ::2, ::2] * 1000 * sigma).flatten()[None].expand(count, -1)
        if kind == "image":
            rest = torch.zeros(count, 3, 4 * (slots - 1), *frames.shape[3:])
            first = torch.zeros(count, 4, slots, *clean.shape[3:])
            first[:, :, 0] = 1
            noised = torch.cat([noised, first, encoded(torch.cat([frames[:, :, :1], rest], dim=2))], dim=1)
        text = torch.zeros(count, 512, tiny.TEXT_WIDTH)
        return laws.hooked(model.blocks, lambda: model(hidden_states=noised, timestep=times, encoder_hidden_states=text))


@every
def test_activations_are_those_of_the_diffusers_models(case, request, folders):
    name = request.node.callspec.params["case"]
    clips = golden.clips(case, 2)
    regime, future = case.identity["regime"], case.identity.get("future_slots", 0)
    expected = by_hand(folders(**CASES[name][0]), clips, regime, case.grid.past, future, name.partition("-")[0])
    laws.equal_to_blocks(case, clips, expected)


@pytest.mark.parametrize("case", ["image", "both-one"], indirect=True)
def test_a_conditioned_row_is_the_first_step_of_the_diffusers_pipeline(case, request, folders):
    """The pipeline itself, one step from our noise, with the row's own frame as the picture."""
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanImageToVideoPipeline, WanTransformer3DModel

    how, options = CASES[request.node.callspec.params["case"]]
    vae = laws.by_the_library(AutoencoderKLWan, folders(**how), "vae")
    model = golden.fill(WanTransformer3DModel(**(tiny.WAN | {"in_channels": how.get("in_channels", 4)}))).eval()
    said = {"expand_timesteps": True} if "said" in how else {}
    pipeline = WanImageToVideoPipeline(None, None, vae, FlowMatchEulerDiscreteScheduler(), transformer=model, **said)
    pipeline.set_progress_bar_config(disable=True)
    clips, (height, width), slots = golden.clips(case, 1), options["size"], case.grid.time
    shape = (1, 4, slots, *(side // pipeline.vae_scale_factor_spatial for side in (height, width)))
    expected = laws.hooked(
        model.blocks,
        lambda: pipeline(
            image=Image.fromarray(clips[0, 0].numpy()),
            prompt_embeds=torch.zeros(1, 512, tiny.TEXT_WIDTH),
            height=height,
            width=width,
            num_frames=4 * (slots - 1) + 1,
            latents=torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal(shape, dtype=np.float32)),
            num_inference_steps=1,
            guidance_scale=1.0,
            output_type="latent",
        ),
    )
    ours = golden.activations(case, clips)
    for layer, output in zip(case.layers, expected, strict=True):
        torch.testing.assert_close(ours[layer.name], output, atol=1e-4, rtol=1e-4)


@every
def test_it_is_what_its_description_says(case):
    laws.described_as_loaded(case)
    laws.rows_are_independent(case)
    laws.ends_after_any_block(case)
    laws.stored_latents_give_the_same(case)
    laws.past_slots_see_no_later_frame(case)


@pytest.mark.parametrize("case", ["text", "both"], indirect=True)
def test_in_bfloat16_some_modules_stay_in_float32(case):
    laws.runs_in_bfloat16(case, KEPT)


@pytest.mark.numeric
@pytest.mark.parametrize("case", ["text", "both"], indirect=True)
def test_the_numbers_are_those_on_record(case, request):
    golden.check(f"wan-{request.node.callspec.params['case']}", case)


def test_several_threads_encode_at_once(folders):
    """The VAE keeps the state of a pass on itself; batches that run side by side must not see each other's."""
    backbone = find_backbone(f"wan:{folders()}", SMALL | {"frames": 9})
    loaded, clips = backbone.load(laws.CPU), golden.clips(backbone, 4)

    def encoded(row: int) -> torch.Tensor:
        with torch.no_grad():
            return loaded.encode(clips[row : row + 1])

    expected = [encoded(row) for row in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoded, [0, 1, 2, 3] * 4))
    assert all(torch.equal(one, expected[i % 4]) for i, one in enumerate(found))


def test_two_transformers_share_the_noise_levels(folders):
    """Wan 2.2 A14B: the expert for high noise above the boundary, the other below; each alone is loaded."""
    folder = folders(said={"boundary_ratio": 0.875})
    low, high = (find_backbone(f"wan:{folder}", SMALL | {"frames": 5, "sigma": sigma}) for sigma in (0.874, 0.875))
    assert [one.identity["expert"] for one in (low, high)] == ["transformer_2", "transformer"]
    assert low.weights_digest() != high.weights_digest()
    signs = [one.load(laws.CPU).module.patch_embedding.weight for one in (low, high)]
    assert torch.equal(signs[0], -signs[1])


def test_the_slots_know_their_steps(folders):
    assert find_backbone(f"wan:{folders()}", SMALL | {"frames": 9}).seen == (-8, -4, 0)
    assert find_backbone(f"wan:{folders(**MASKED)}", SMALL).seen == (0,)


# --- CLIP tokens of Wan 2.1 image-to-video


@pytest.fixture(scope="module")
def with_clip(tmp_path_factory):
    folder = tiny.save_wan(tmp_path_factory.mktemp("wan-clip") / "it", **MASKED, image_dim=6, added_kv_proj_dim=24)
    return tiny.save_image_encoder(folder, width=6)


def test_image_tokens_come_from_the_checkpoints_own_encoder(with_clip):
    from transformers import CLIPVisionModel

    backbone = find_backbone(f"wan:{with_clip}", SMALL)
    assert backbone.latent_shape is None, "latents alone are not enough"
    clips, loaded, given = golden.clips(backbone, 2), backbone.load(laws.CPU), []
    loaded.module.condition_embedder.register_forward_pre_hook(lambda m, a: given.append(a[2]))
    with torch.no_grad():
        loaded.forward(clips)
        prepared = ClipImage(with_clip, laws.CPU, torch.float32).prepare(clips[:, -1])
        expected = CLIPVisionModel.from_pretrained(with_clip / "image_encoder")(prepared, output_hidden_states=True).hidden_states[-2]
    assert given[0].shape == (2, 5, 6)
    assert torch.equal(given[0], expected)
    laws.described_as_loaded(backbone)
    laws.rows_are_independent(backbone)


@pytest.mark.parametrize("shape", [(32, 32), (48, 32), (24, 64)])
def test_frames_are_prepared_as_clip_expects(with_clip, shape):
    from transformers import CLIPImageProcessorPil

    frames = golden.philox("frames").integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    said = json.loads((with_clip / "image_processor" / "preprocessor_config.json").read_text())
    expected = CLIPImageProcessorPil(**said)([Image.fromarray(frame) for frame in frames], return_tensors="pt").pixel_values
    prepared = ClipImage(with_clip, laws.CPU, torch.float32).prepare(torch.from_numpy(frames))
    one_level = 1.01 / 255 / min(said["image_std"])  # a pixel may be rounded the other way
    torch.testing.assert_close(prepared, expected, atol=one_level, rtol=0)


def test_weights_of_the_image_encoder_are_part_of_the_digest(with_clip):
    backbone = find_backbone(f"wan:{with_clip}", SMALL)
    before = backbone.weights_digest()
    file = with_clip / "image_encoder" / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert find_backbone(f"wan:{with_clip}", SMALL).weights_digest() != before
    file.write_bytes(whole)


# --- what is refused


@pytest.mark.parametrize(
    ("how", "options", "expected"),
    [
        ({}, {"frames": 6}, r"4k\+1 frames, not 6; the nearest are 5 and 9"),
        ({}, {"size": [32, 40]}, r"not a multiple of 16 pixels; the nearest is \(32, 32\)"),
        ({}, {"size": [0, 32]}, r"not a multiple of 16 pixels"),
        ({}, {"regime": "condition"}, "was not trained for regime 'condition', only for denoise"),
        ({}, {"sigma": 1.0}, "nothing of the clip is left"),
        (MASKED, {"frames": 5}, r"conditioned on 1 frame\(s\), not 5"),
        (MASKED, {"sigma": 0.2}, "sigma 1, not 0.2"),
        ({}, {"text": "nothing"}, "neither zeros nor empty"),
        ({}, {"futures": 1}, "did you mean 'future'"),
    ],
)
def test_wrong_options_are_refused(folders, how, options, expected):
    with pytest.raises(UsageError, match=expected) as error:
        find_backbone(f"wan:{folders(**how)}", SMALL | options)
    assert error.value.hint


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"in_channels": 5}, "takes 5 channels and its VAE gives 4"),
        ({"in_channels": 12, "image_dim": 6, "added_kv_proj_dim": 24, "pos_embed_seq_len": 10}, "a first and a last frame"),
        ({"patch_size": (2, 2, 2)}, "has patches of"),
    ],
)
def test_relatives_are_refused(tmp_path, changes, expected):
    with pytest.raises(DataError, match=expected):
        find_backbone(f"wan:{tiny.save_wan(tmp_path / 'it', **changes)}", SMALL)


def test_a_folder_without_an_index_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders(), tmp_path / "it")
    (folder / "model_index.json").unlink()
    with pytest.raises(DataError, match=r"has no .*model_index\.json"):
        find_backbone(f"wan:{folder}", SMALL)
