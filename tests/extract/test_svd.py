"""Stable Video Diffusion checkpoints as diffusers saves them: the numbers of the library's own U-Net and schedule, or a refusal."""

from __future__ import annotations

import json
import shutil

import checkpoints_more as tiny
import denoiser_laws as laws
import golden
import numpy as np
import pytest
import torch

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.finding import find_backbone
from layerscout.extract.passes.capture import Capture

SIZE = {"size": [64, 128]}
CASES = {"condition": {}, "denoise": {"regime": "denoise"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.save_svd(tmp_path_factory.mktemp("svd") / "it")


@pytest.fixture
def describe(folder):
    return lambda **options: find_backbone(f"svd:{folder}", SIZE | options)


@pytest.fixture
def case(request, describe):
    return describe(**CASES[request.param])


every = pytest.mark.parametrize("case", CASES, indirect=True)


def draw(seed, shape):
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).standard_normal(shape, dtype=np.float32))


def parts(model):
    return [*model.down_blocks, model.mid_block, *model.up_blocks]


def as_tokens(frames, slots):
    """[clip · time, feature, row, column] to [clip, token, feature], element by element."""
    clips, (_, width, rows, columns) = len(frames) // slots, frames.shape
    tokens = torch.empty(clips, slots * rows * columns, width)
    for row in range(rows):
        for column in range(columns):
            for slot in range(slots):
                tokens[:, (slot * rows + row) * columns + column] = frames[slot::slots, :, row, column]
    return tokens


@pytest.mark.parametrize("step", [0, 15, 23])
def test_activations_are_those_of_the_published_pipelines_recipe(step, describe, folder):
    """A step of its 25: step 0 is pure noise, later ones are noised clips.

    Image, noise, scaling and time by the library's own schedule; the image's latents unscaled, its pixels a little noised.
    """
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel

    exact = {"low_cpu_mem_usage": False}
    unet = UNetSpatioTemporalConditionModel.from_pretrained(folder, subfolder="unet", **exact).eval().requires_grad_(False)
    vae = AutoencoderKLTemporalDecoder.from_pretrained(folder, subfolder="vae", **exact).eval()
    scheduler = EulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
    scheduler.set_timesteps(25)
    level, timestep = float(scheduler.sigmas[step]), scheduler.timesteps[step]
    case = describe(regime="denoise", sigma=level / (level**2 + 1) ** 0.5) if step else describe()
    clips, slots = golden.clips(case, 2), case.grid.time
    pixels = clips.permute(0, 1, 4, 2, 3).float() / 127.5 - 1
    noise = draw(5, (1, slots, 4, 8, 16)).expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        image = vae.encode(pixels[:, 0] + 0.02 * draw(6, (1, 3, 64, 128))).latent_dist.mode()
        frames = torch.stack([vae.encode(frame).latent_dist.mode() for frame in pixels.unbind(1)], dim=1) * 0.18215
    noisy = frames + noise * level if step else noise * scheduler.init_noise_sigma
    expected = laws.hooked(
        parts(unet),
        lambda: unet(
            torch.cat([scheduler.scale_model_input(noisy, timestep), image[:, None].expand(-1, slots, -1, -1, -1)], dim=2),
            timestep,
            encoder_hidden_states=torch.zeros(2, 1, 8),
            added_time_ids=torch.tensor([[6.0, 127.0, 0.02]] * 2),
        ),
    )
    ours = golden.activations(case, clips)
    for layer, output in zip(case.layers, expected, strict=True):
        torch.testing.assert_close(ours[layer.name], as_tokens(output, slots), atol=2e-4, rtol=2e-4)


def test_tokens_are_bit_for_bit_those_of_the_librarys_model(describe, folder):
    from diffusers import UNetSpatioTemporalConditionModel

    backbone = describe()
    loaded = backbone.load(laws.CPU)
    unet = UNetSpatioTemporalConditionModel.from_pretrained(folder, subfolder="unet", low_cpu_mem_usage=False)
    unet.eval().requires_grad_(False)
    image = draw(1, (2, *backbone.latent_shape))
    ours = laws.hooked(parts(loaded.module), lambda: loaded.denoise(image))
    noisy = draw(5, (1, 3, 4, 8, 16)).expand(2, -1, -1, -1, -1)
    expected = laws.hooked(
        parts(unet),
        lambda: unet(
            torch.cat([noisy, image.expand(-1, 3, -1, -1, -1)], dim=2),
            torch.tensor(0.25 * np.log(700.0), dtype=torch.float32),
            torch.zeros(2, 1, 8),
            torch.tensor([[6.0, 127.0, 0.02]] * 2),
        ),
    )
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
    for layer, output in zip(backbone.layers, expected, strict=True):
        assert torch.equal(loaded.tokens(output, layer), as_tokens(output, 3))


@every
def test_it_is_what_its_description_says(case):
    laws.described_as_loaded(case)
    laws.rows_are_independent(case, atol=5e-4)  # its norms are over few numbers here: sums in another order show
    laws.stored_latents_give_the_same(case)


def test_every_part_has_its_own_width_and_grid(describe):
    layers = describe().layers
    assert [layer.name for layer in layers] == [
        *(f"down_blocks.{i}" for i in range(4)),
        "mid_block",
        *(f"up_blocks.{i}" for i in range(4)),
    ]
    assert [layer.width for layer in layers] == [32, 32, 64, 64, 64, 64, 64, 32, 32]
    assert [(layer.grid.height, layer.grid.width) for layer in layers] == [
        *((4, 8), (2, 4), (1, 2), (1, 2), (1, 2)),
        *((2, 4), (4, 8), (8, 16), (8, 16)),
    ]
    assert {(layer.grid.time, layer.grid.past) for layer in layers} == {(3, 1)}


def test_a_pass_ends_after_any_part_and_a_deeper_one_undoes_it(describe):
    """Down, middle and up; ended early, no later part runs and the numbers stay the same."""
    backbone = describe(future=1)
    loaded, clips = backbone.load(laws.CPU), golden.clips(backbone)
    blocks = parts(loaded.module)
    whole = laws.hooked(blocks, lambda: loaded.forward(clips))
    for layer in (*backbone.layers[::-1], backbone.layers[4], backbone.layers[2], backbone.layers[8]):
        loaded.truncate(layer)
        part = laws.hooked(blocks, lambda: loaded.forward(clips))
        assert len(part) == layer.depth + 1
        assert torch.equal(part[-1], whole[layer.depth])


def test_capture_pools_each_part_over_its_own_grid(describe):
    """A grid of the coarsest part's size fits all, and holds cell means of every part's own tokens."""
    backbone = describe(size=[64, 64])
    clips = golden.clips(backbone, 2)
    pooled = Capture(backbone.load(laws.CPU), backbone.layers, backbone.grid, "all/grid1")(clips)
    tokens = golden.activations(backbone, clips)
    for layer in backbone.layers:
        expected = tokens[layer.name].unflatten(1, (3, -1)).mean(dim=2).flatten(1)
        torch.testing.assert_close(pooled[layer.name], expected, atol=1e-5, rtol=1e-4)


def test_the_vae_stays_in_float32_where_the_model_does_not(describe):
    backbone = describe()
    laws.runs_in_bfloat16(backbone)
    loaded = backbone.load(laws.CPU, torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.vae.parameters()} == {torch.float32}
    clips = golden.clips(backbone)
    with torch.no_grad():
        assert torch.equal(loaded.encode(clips), backbone.load(laws.CPU).encode(clips))


@pytest.mark.numeric
@every
def test_the_numbers_are_those_on_record(case, request):
    golden.check(f"svd-{request.node.callspec.params['case']}", case)


def test_frames_and_future_follow_the_trained_number(describe):
    assert (describe().clip.offsets, describe().grid.time) == ((0,), 3)
    assert describe(regime="denoise").clip.offsets == (-2, -1, 0)
    assert describe(future=7).grid.time == 8


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"size": [64, 96]}, r"not a multiple of 64 pixels; the nearest is \(64, 128\)"),
        ({"frames": 2}, r"conditioned on 1 frame\(s\), not 2"),
        ({"text": "empty"}, "takes no text"),
        ({"regime": "denoise", "sigma": 0.0}, "no noise level 0"),
        ({"sigma": 0.3}, "sigma 1, not 0.3"),
    ],
)
def test_wrong_options_are_refused(describe, options, expected):
    with pytest.raises(UsageError, match=expected):
        describe(**options)


@pytest.mark.parametrize(
    ("part", "name", "changes", "expected"),
    [
        ("unet", "config.json", {"_class_name": "UNet3DConditionModel"}, "describes 'UNet3DConditionModel'"),
        ("unet", "config.json", {"in_channels": 4}, "takes 4 channels, expected 8"),
        ("scheduler", "scheduler_config.json", {"sigma_max": "gone"}, "misses 'sigma_max'"),
    ],
)
def test_relatives_are_refused(folder, tmp_path, part, name, changes, expected):
    spoilt = shutil.copytree(folder, tmp_path / "spoilt", ignore=shutil.ignore_patterns("*.safetensors"))
    file = spoilt / part / name
    file.write_text(json.dumps({key: value for key, value in (json.loads(file.read_text()) | changes).items() if value != "gone"}))
    with pytest.raises(DataError, match=expected):
        find_backbone(f"svd:{spoilt}", SIZE)
