"""Cosmos checkpoints of three generations as diffusers saves them: the numbers of the library's own models and schedules."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import checkpoints_more as tiny
import denoiser_laws as laws
import golden
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone

SIZE = {"size": [32, 48]}
KINDS = {
    "text1": (tiny.save_cosmos, {}),
    "video1": (tiny.save_cosmos, {"in_channels": 5}),
    "video2": (tiny.save_cosmos2, {}),
    "video25": (
        tiny.save_cosmos2,
        {"use_crossattn_projection": True, "crossattn_proj_in_channels": 20, "encoder_hidden_states_channels": 16},
    ),
}
CASES = {
    "text1": ("text1", {"sigma": 0.4}),
    "video1": ("video1", {"future": 2}),
    "video2": ("video2", {"frames": 5, "future": 2}),
    "video25": ("video25", {"frames": 1, "future": 1}),
    "video25-denoise": ("video25", {"regime": "denoise", "sigma": 0.3}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("cosmos")
    return {kind: save(root / kind, **changes) for kind, (save, changes) in KINDS.items()}


@pytest.fixture
def describe(folders):
    return lambda kind, **options: find_backbone(f"cosmos:{folders[kind]}", SIZE | options)


@pytest.fixture
def case(request, describe):
    kind, options = CASES[request.param]
    return describe(kind, **options)


every = pytest.mark.parametrize("case", CASES, indirect=True)


@pytest.fixture
def resizing(monkeypatch):
    """What the library's model asks of torchvision, by torch alone: it is not installed here."""
    from diffusers.models.transformers import transformer_cosmos

    functional = SimpleNamespace(resize=lambda mask, size, interpolation: torch.nn.functional.interpolate(mask, size, mode=interpolation))
    stand_in = SimpleNamespace(functional=functional, InterpolationMode=SimpleNamespace(NEAREST="nearest"))
    monkeypatch.setattr(transformer_cosmos, "transforms", stand_in, raising=False)


def whole(folder):
    """The library's model; its own reader of sharded weights needs one more package for this family."""
    from diffusers import CosmosTransformer3DModel

    model = CosmosTransformer3DModel.from_config(CosmosTransformer3DModel.load_config(folder / "transformer"))
    shards = sorted((folder / "transformer").glob("*.safetensors"))
    assert len(shards) > 1
    model.load_state_dict({name: tensor for shard in shards for name, tensor in load_file(shard).items()})
    return model.eval().requires_grad_(False)


def of_the_first_generation(latents, noise, past, folder, sigma):
    """Through the EDM schedule of the checkpoint, as the Text2World and Video2World pipelines do."""
    from diffusers import EDMEulerScheduler

    scheduler = EDMEulerScheduler.from_pretrained(folder, subfolder="scheduler")
    data = scheduler.config.sigma_data
    if sigma is not None:
        level = torch.tensor(data * sigma / (1 - sigma**2) ** 0.5)
        given = scheduler.precondition_inputs(latents * data + noise * level, level)
    else:
        level, augment = torch.tensor(80.0), torch.tensor(0.001)
        shown = latents * data + noise[:, :, :past] * augment
        shown = shown * scheduler._get_conditioning_c_in(augment) / scheduler._get_conditioning_c_in(level)
        given = scheduler.precondition_inputs(torch.cat([shown, (noise * level)[:, :, past:].expand(2, -1, -1, -1, -1)], dim=2), level)
    return {"hidden_states": given, "timestep": scheduler.precondition_noise(level).expand(2), "fps": 30}


def of_the_second(latents, noise, past, slots):
    """As the Predict 2 Video2World pipeline does, at its schedule's first level."""
    level, almost_clean = 80.0, 0.0001
    now = level / (level + 1)
    given = torch.cat([latents, (noise * level * (1 - now))[:, :, past:].expand(2, -1, -1, -1, -1)], dim=2)
    time = torch.full((2, 1, slots, 1, 1), now)
    time[:, :, :past] = almost_clean / (almost_clean + 1)
    return {"hidden_states": given, "timestep": time, "fps": 16}


def of_the_third(latents, noise, past, slots, sigma):
    """As the Predict 2.5 pipeline does: nothing shown in ``denoise``."""
    if sigma is not None:
        return {"hidden_states": (1 - sigma) * latents + sigma * noise, "timestep": torch.full((2, 1, slots, 1, 1), sigma)}
    time = torch.ones(2, 1, slots, 1, 1)
    time[:, :, :past] = 0.0001
    return {"hidden_states": torch.cat([latents, noise[:, :, past:].expand(2, -1, -1, -1, -1)], dim=2), "timestep": time}


@every
def test_activations_are_those_of_the_published_pipelines_recipe(case, request, folders, resizing):
    """The library's whole model, with the mask of padding that it resizes itself."""
    kind, options = CASES[request.node.callspec.params["case"]]
    model = whole(folders[kind])
    assert model.config.concat_padding_mask
    loaded, slots = case.load(laws.CPU), case.grid.time
    latents = torch.from_numpy(golden.philox("latents").standard_normal((2, *case.latent_shape), dtype=np.float32))
    noise = torch.from_numpy(np.random.Generator(np.random.Philox(5)).standard_normal((1, 4, slots, 4, 6), dtype=np.float32))
    past, sigma = latents.shape[2], options.get("sigma")
    told = {
        "text1": lambda: of_the_first_generation(latents, noise, past, folders[kind], sigma),
        "video1": lambda: of_the_first_generation(latents, noise, past, folders[kind], None),
        "video2": lambda: of_the_second(latents, noise, past, slots),
        "video25": lambda: of_the_third(latents, noise, past, slots, sigma),
    }[kind]()
    if kind != "text1":
        told["condition_mask"] = torch.zeros(2, 1, slots, 4, 6)
        told["condition_mask"][:, :, : past if "future" in options else 0] = 1.0
    text = torch.zeros(2, 512, 20 if kind == "video25" else 16)
    expected = laws.hooked(
        model.transformer_blocks,
        lambda: model(encoder_hidden_states=text, padding_mask=torch.zeros(1, 1, 32, 48), **told),
    )
    ours = laws.hooked(loaded.module.transformer_blocks, lambda: loaded.denoise(latents))
    assert len(ours) == len(expected) == len(case.layers)
    exact = kind == "video25"  # the others reach the same numbers by another order of products
    for output, wanted in zip(ours, expected, strict=True):
        torch.testing.assert_close(output, wanted, atol=0.0 if exact else 1e-4, rtol=0.0 if exact else 1e-4)


@pytest.mark.parametrize("case", ["video1", "video2"], indirect=True)
def test_a_padding_mask_of_zeros_need_not_be_resized(case, request, folders, resizing):
    """Given at its final size, it changes no bit of any block: torchvision is not needed."""
    kind, _ = CASES[request.node.callspec.params["case"]]
    model = whole(folders[kind])
    loaded, told, clips = case.load(laws.CPU), {}, golden.clips(case)
    loaded.module.register_forward_pre_hook(lambda module, arguments, named: told.update(named), with_kwargs=True)
    ours = laws.hooked(loaded.module.transformer_blocks, lambda: loaded.forward(clips))
    assert not loaded.module.config.concat_padding_mask
    told["condition_mask"] = told["condition_mask"][:, :1]
    expected = laws.hooked(model.transformer_blocks, lambda: model(padding_mask=torch.zeros(1, 1, 32, 48), **told))
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))


@every
def test_latents_are_normalised_as_the_checkpoint_says(case, request, folders):
    """1.0 has a mean and a spread for every channel and latent frame, later generations one a channel."""
    import diffusers

    kind, _ = CASES[request.node.callspec.params["case"]]
    name = "AutoencoderKLCosmos" if kind.endswith("1") else "AutoencoderKLWan"
    vae = getattr(diffusers, name).from_pretrained(folders[kind], subfolder="vae", low_cpu_mem_usage=False)
    mean, spread = (torch.tensor(vae.config[which]).view(1, 4, -1, 1, 1) for which in ("latents_mean", "latents_std"))
    clips = golden.clips(case, 2)
    with torch.no_grad():
        ours = case.load(laws.CPU).encode(clips)
        latents = vae.encode(clips.permute(0, 4, 1, 2, 3).float() / 127.5 - 1).latent_dist.mode()
    slots = latents.shape[2]
    torch.testing.assert_close(ours, (latents - mean[:, :, :slots]) / spread[:, :, :slots], atol=1e-5, rtol=1e-5)


@every
def test_it_is_what_its_description_says(case):
    laws.described_as_loaded(case)
    laws.rows_are_independent(case)
    laws.ends_after_any_block(case)
    laws.stored_latents_give_the_same(case)
    laws.past_slots_see_no_later_frame(case)


@pytest.mark.parametrize("case", ["text1", "video2"], indirect=True)
def test_it_runs_in_bfloat16(case, request):
    laws.runs_in_bfloat16(case, kept=("learnable_pos_embed",))


@pytest.mark.numeric
@every
def test_the_numbers_are_those_on_record(case, request):
    golden.check(f"cosmos-{request.node.callspec.params['case']}", case)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("text1", {"frames": 13}, r"8k\+1 frames, not 13; the nearest are 9 and 17"),
        ("video2", {"frames": 7}, r"4k\+1 frames, not 7; the nearest are 5 and 9"),
        ("text1", {"size": [32, 40]}, r"not a multiple of 16 pixels; the nearest is \(32, 32\)"),
        ("text1", {"regime": "condition"}, "was not trained for regime 'condition', only for denoise"),
        ("video1", {"regime": "denoise"}, "was not trained for regime 'denoise', only for condition"),
        ("video2", {"regime": "denoise"}, "was not trained for regime 'denoise', only for condition"),
        ("text1", {"sigma": 0.0}, "no noise level 0"),
        ("text1", {"size": [144, 48]}, r"latents up to \(8, 16, 16\), not \(3, 18, 6\)"),
        ("text1", {"frames": 65}, r"latents up to \(8, 16, 16\), not \(9, 4, 6\)"),
    ],
)
def test_wrong_options_are_refused(describe, kind, options, expected):
    with pytest.raises(UsageError, match=expected):
        describe(kind, **options)


@pytest.mark.parametrize(
    ("part", "changes", "expected"),
    [
        ("transformer", {"img_context_dim_in": 8}, "takes an image embedding or controls"),
        ("transformer", {"in_channels": 4}, "takes 4 channels, expected 5"),
        ("vae", {"_class_name": "AutoencoderKLMochi"}, "has a VAE of class AutoencoderKLMochi"),
    ],
)
def test_relatives_are_refused(folders, tmp_path, part, changes, expected):
    """The image model of Predict 2 has Wan's VAE and no channel for a mask."""
    spoilt = shutil.copytree(folders["video2"], tmp_path / "spoilt", ignore=shutil.ignore_patterns("*.safetensors"))
    file = spoilt / part / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(DataError, match=expected):
        find_backbone(f"cosmos:{spoilt}", SIZE)
