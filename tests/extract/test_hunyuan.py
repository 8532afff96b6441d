"""HunyuanVideo 1.0 and 1.5 checkpoints as diffusers saves them: the numbers of the library's own model, or a clear refusal."""

from __future__ import annotations

import json
import shutil

import checkpoints_more as tiny
import denoiser_laws as laws
import golden
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone

SMALL = {"size": [32, 48]}
KINDS = {
    "text": ("hunyuan", {}),
    "replace": ("hunyuan", {"image_condition_type": "token_replace"}),
    "concat": ("hunyuan", {"image_condition_type": "latent_concat", "in_channels": 9, "guidance_embeds": False}),
    "text15": ("hunyuan15", {}),
    "image15": ("hunyuan15", {"task_type": "i2v"}),
}
CASES = {
    "text": ("text", {"frames": 5}),
    "replace": ("replace", {"future": 2}),
    "replace-denoise": ("replace", {"regime": "denoise", "frames": 5}),
    "concat": ("concat", {"future": 1}),
    "text15": ("text15", {"frames": 5, "sigma": 0.4}),
    "image15": ("image15", {"future": 2}),
    "image15-denoise": ("image15", {"regime": "denoise", "frames": 5}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("hunyuan")
    return {kind: getattr(tiny, f"save_{family}")(root / kind, **changes) for kind, (family, changes) in KINDS.items()}


@pytest.fixture
def describe(folders):
    return lambda kind, **options: find_backbone(f"{KINDS[kind][0]}:{folders[kind]}", SMALL | options)


@pytest.fixture
def case(request, describe):
    kind, options = CASES[request.param]
    return describe(kind, **options)


every = pytest.mark.parametrize("case", CASES, indirect=True)


def noise_of(backbone):
    """The noise that every row of every batch gets, as numpy draws it."""
    _, _, row, column = backbone.latent_shape
    shape = (1, 4, backbone.grid.time, row, column)
    return torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal(shape, dtype=np.float32))


@every
def test_latents_are_those_of_the_librarys_vae(case, request, folders):
    """Scaled modes of the clip; for image-to-video its first frame's follow, which alone are there in ``condition``."""
    import diffusers

    kind, options = CASES[request.node.callspec.params["case"]]
    suffix, scale = ("15", 1.03682) if kind.endswith("15") else ("", 0.476986)
    vae = getattr(diffusers, f"AutoencoderKLHunyuanVideo{suffix}").from_pretrained(folders[kind], subfolder="vae", low_cpu_mem_usage=False)
    clips = golden.clips(case, 2)
    frames = clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    with torch.no_grad():
        ours = case.load(laws.CPU).encode(clips)
        of_all, of_first = (torch.cat([vae.encode(one).latent_dist.mode() for one in some.split(1)]) for some in (frames, frames[:, :, :1]))
    expected = of_all if kind.startswith("text") or "future" in options else torch.cat([of_all, of_first], dim=2)
    torch.testing.assert_close(ours, expected * scale, atol=1e-5, rtol=1e-5)


@every
def test_tokens_are_bit_for_bit_those_of_the_librarys_model(case, request, folders):
    """The same latents by hand: noise on a straight path, and the image where its kind wants it."""
    import diffusers

    kind, options = CASES[request.node.callspec.params["case"]]
    suffix = "15" if kind.endswith("15") else ""
    name = f"HunyuanVideo{suffix}Transformer3DModel"
    model = (
        getattr(diffusers, name)
        .from_pretrained(folders[kind], subfolder="transformer", low_cpu_mem_usage=False)
        .eval()
        .requires_grad_(False)
    )
    sigma, noise = 1.0 if "future" in options else options.get("sigma", 0.2), noise_of(case)
    loaded = case.load(laws.CPU)
    latents = torch.from_numpy(golden.philox("latents").standard_normal((2, *case.latent_shape), dtype=np.float32))
    ours = laws.hooked([loaded.module.get_submodule(layer.module) for layer in case.layers], lambda: loaded.denoise(latents))

    image = latents[:, :, -1:]
    noisy = noise.expand(2, -1, -1, -1, -1) if "future" in options else (1 - sigma) * latents[:, :, : case.grid.time] + sigma * noise
    beside, mask = torch.zeros_like(noisy), torch.zeros_like(noisy[:, :1])
    if kind in ("concat", "image15"):
        beside[:, :, :1], mask[:, :, :1] = image, 1.0
    if kind == "replace":
        noisy = torch.cat([image, noisy[:, :, 1:]], dim=2)
    given = noisy if kind in ("text", "replace") else torch.cat([noisy, beside, mask], dim=1)
    told = {"encoder_hidden_states": torch.zeros(2, 1, 16), "encoder_attention_mask": torch.ones(2, 1)}
    if suffix:
        told |= {"encoder_hidden_states_2": torch.zeros(2, 1, 8), "encoder_attention_mask_2": torch.zeros(2, 1)}
        told |= {"image_embeds": torch.zeros(2, 1, 12)}
    else:
        told |= {"pooled_projections": torch.zeros(2, 8), "guidance": None if kind == "concat" else torch.full((2,), 6000.0)}
    blocks = [*model.transformer_blocks, *getattr(model, "single_transformer_blocks", [])]
    expected = laws.hooked(blocks, lambda: model(hidden_states=given, timestep=torch.full((2,), 1000 * sigma), **told))
    assert len(ours) == len(expected) == len(case.layers)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


def test_one_text_token_says_as_much_as_256_of_which_one_counts(describe, folders):
    """The short text of zeros is the pipeline's padded one without its padding."""
    from diffusers import HunyuanVideoTransformer3DModel

    backbone = describe("text", frames=5)
    clips = golden.clips(backbone)
    with torch.no_grad():
        latents = backbone.load(laws.CPU).encode(clips)
    model = (
        HunyuanVideoTransformer3DModel.from_pretrained(folders["text"], subfolder="transformer", low_cpu_mem_usage=False)
        .eval()
        .requires_grad_(False)
    )
    noise, mask = noise_of(backbone), torch.zeros(1, 256)

    def tokens():
        return laws.hooked(
            model.single_transformer_blocks,
            lambda: model(
                0.8 * latents + 0.2 * noise,
                torch.full((1,), 200.0),
                torch.zeros(1, 256, 16),
                mask,
                torch.zeros(1, 8),
                torch.full((1,), 6e3),
            ),
        )[-1]

    assert torch.isnan(tokens()).any(), "with no token that counts the model has no answer"
    mask[:, 0] = 1.0
    ours = golden.activations(backbone, clips)[backbone.layers[-1].name]
    torch.testing.assert_close(ours, tokens(), atol=1e-5, rtol=1e-4)


@every
def test_it_is_what_its_description_says(case):
    laws.described_as_loaded(case)
    laws.rows_are_independent(case)
    laws.ends_after_any_block(case)
    laws.stored_latents_give_the_same(case)


@pytest.mark.parametrize("case", ["text", "replace", "image15-denoise"], indirect=True)
def test_it_runs_in_bfloat16(case):
    laws.runs_in_bfloat16(case)


@pytest.mark.parametrize("case", ["text15", "image15-denoise"], indirect=True)
def test_past_slots_see_no_later_frame(case):
    """Only 1.5: the VAE of 1.0 normalises over a whole clip."""
    laws.past_slots_see_no_later_frame(case)


@pytest.mark.numeric
@every
def test_the_numbers_are_those_on_record(case, request):
    golden.check(f"hunyuan-{request.node.callspec.params['case']}", case)


def test_layers_are_listed_in_the_order_they_run_without_weights(folders, tmp_path, describe):
    bare = tmp_path / "bare"
    shutil.copytree(folders["text"], bare, ignore=shutil.ignore_patterns("*.safetensors"))
    layers = find_backbone(f"hunyuan:{bare}", SMALL).layers
    assert layers == describe("text").layers
    assert [layer.name for layer in layers] == [f"{part}transformer_blocks.{i}" for part in ("", "single_") for i in range(2)]
    assert [layer.depth for layer in layers] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="misses diffusion_pytorch_model-00001-of-"):
        find_backbone(f"hunyuan:{bare}", SMALL).weights_digest()


def test_a_distilled_checkpoint_is_told_to_aim_at_the_clean_end(tmp_path):
    backbone = find_backbone(f"hunyuan15:{tiny.save_hunyuan15(tmp_path / 'distilled', use_meanflow=True)}", SMALL | {"frames": 5})
    loaded, told = backbone.load(laws.CPU), []
    loaded.module.time_embed.register_forward_pre_hook(lambda m, a, named: told.append(named["timestep_r"]), with_kwargs=True)
    with torch.no_grad():
        loaded.forward(golden.clips(backbone))
    assert torch.equal(told[0], torch.zeros(1))


def test_a_text_from_a_file_changes_numbers_and_identity(describe, tmp_path):
    embedding = torch.from_numpy(golden.philox("text").standard_normal((256, 16), dtype=np.float32))
    mask = torch.zeros(256)
    mask[:3] = 1
    save_file({"prompt_embeds": embedding, "prompt_attention_mask": mask}, tmp_path / "robot.safetensors")
    zeros, told = describe("text", frames=5), describe("text", frames=5, text=str(tmp_path / "robot.safetensors"))
    assert zeros.identity != told.identity
    clips, last = golden.clips(zeros), zeros.layers[-1].name
    assert not torch.allclose(golden.activations(zeros, clips)[last], golden.activations(told, clips)[last], atol=1e-2)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("text", {"frames": 6}, r"4k\+1 frames, not 6; the nearest are 5 and 9"),
        ("text15", {"frames": 8}, r"4k\+1 frames, not 8; the nearest are 5 and 9"),
        ("text", {"size": [32, 40]}, r"not a multiple of 16 pixels; the nearest is \(32, 32\)"),
        ("text", {"regime": "condition"}, "was not trained for regime 'condition', only for denoise"),
        ("text15", {"regime": "condition"}, "was not trained for regime 'condition', only for denoise"),
        ("replace", {"frames": 5}, r"conditioned on 1 frame\(s\), not 5"),
        ("text", {"text": "empty"}, "not 'empty'"),
        ("text15", {"text": "empty"}, "not 'empty'"),
        ("text", {"text": "robot"}, "neither zeros nor empty nor a safetensors file"),
    ],
)
def test_wrong_options_are_refused(describe, kind, options, expected):
    with pytest.raises(UsageError, match=expected) as error:
        describe(kind, **options)
    assert error.value.hint


def test_a_relative_with_other_channels_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["text"], tmp_path / "other")
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 7}))
    with pytest.raises(DataError, match="takes 7 channels, expected 4"):
        find_backbone(f"hunyuan:{folder}", SMALL)


def test_the_generations_are_not_mixed_up(folders):
    with pytest.raises(DataError, match="describes 'HunyuanVideo15Transformer3DModel'"):
        find_backbone(f"hunyuan:{folders['text15']}", SMALL)
    with pytest.raises(DataError, match="describes 'HunyuanVideoTransformer3DModel'"):
        find_backbone(f"hunyuan15:{folders['text']}", SMALL)
