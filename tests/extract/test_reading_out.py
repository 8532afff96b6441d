"""How a clip is read out: what a checkpoint allows, what its slots hold, and where tokens lie in an output, all by simulation on small cases."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.counting import attention, convolution, feed_forward, linear
from layerscout.extract.backbones.denoisers.options import (
    LOW_NOISE,
    DenoiserOptions,
    Training,
    check_frames,
    check_size,
    checked_reading,
    newest_steps,
)
from layerscout.extract.backbones.networks.latent_backbone import flow_noise, vp_level
from layerscout.extract.backbones.pixels import PixelScaling, read_scaling
from layerscout.extract.backbones.views import first_tensor, read_view

BOTH = Training("it", 4, 8, 16, ("denoise", "condition"), {"denoise": 13, "condition": 9}, longest=9, size=(64, 96), future=2)


# options


@pytest.mark.parametrize("step", [1, 2, 4, 8])
def test_a_clip_has_a_step_and_one_frame_or_is_told_the_two_nearest_lengths(step: int) -> None:
    for count in range(1, 40):
        fits = [length for length in range(1, 60) if length % step == 1 % step]
        if count in fits:
            check_frames("it", count, step)
            continue
        below, above = max(length for length in fits if length < count), min(length for length in fits if length > count)
        with pytest.raises(UsageError, match=f"it takes {step}k\\+1 frames, not {count}; the nearest are {below} and {above}") as caught:
            check_frames("it", count, step)
        assert caught.value.hint == f"--set extract.backbone_options.frames={above}"


@pytest.mark.parametrize("size", [(16, 16), (64, 96), (480, 720)])
def test_a_frame_of_whole_tokens_is_taken(size: tuple[int, int]) -> None:
    check_size(size, 16)


@pytest.mark.parametrize(
    ("size", "nearest"), [((17, 32), (16, 32)), ((25, 16), (32, 16)), ((1, 1), (16, 16)), ((0, 64), (16, 64)), ((-16, 64), (16, 64))]
)
def test_another_frame_is_told_a_size_near_it_that_is_taken(size: tuple[int, int], nearest: tuple[int, int]) -> None:
    with pytest.raises(UsageError) as caught:
        check_size(size, 16)
    assert f"the nearest is {nearest}" in str(caught.value)
    assert caught.value.hint == f"--set extract.backbone_options.size=[{nearest[0]},{nearest[1]}]"
    check_size(nearest, 16)


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize("latents", range(1, 7))
def test_a_slot_holds_the_newest_frame_of_its_latents(step: int, group: int, latents: int) -> None:
    """Latent 0 holds frame 0, and latent i the frames up to step * i; groups are filled up in front with what is before the clip."""
    frames = step * (latents - 1) + 1
    newest = [step * latent for latent in range(latents)]
    before = -latents % group
    padded = [None] * before + newest
    groups = [padded[start : start + group] for start in range(0, len(padded), group)]
    assert newest_steps(frames, step, group) == tuple(one[-1] - (frames - 1) for one in groups)
    assert newest_steps(frames, step, group)[-1] == 0, "the last slot ends with the clip"


def test_what_is_left_out_is_the_checkpoints_default() -> None:
    found = checked_reading(BOTH, DenoiserOptions())
    assert (found.regime, found.frames, found.size, found.sigma, found.future, found.past) == ("denoise", 13, (64, 96), LOW_NOISE, 0, 4)
    held = checked_reading(BOTH, DenoiserOptions(regime="condition"))
    assert (held.frames, held.sigma, held.future, held.past, held.slots) == (9, 1.0, 2, 3, 5)
    assert held.latent_size(8) == (8, 12)
    assert checked_reading(BOTH, DenoiserOptions(future=5)).future == 0, "slots of noise are those of condition"


def test_noise_of_no_share_is_a_share_and_pure_noise_belongs_to_condition() -> None:
    assert checked_reading(BOTH, DenoiserOptions(sigma=0.0)).sigma == 0.0
    assert checked_reading(BOTH, DenoiserOptions(regime="condition", sigma=1.0)).sigma == 1.0
    with pytest.raises(UsageError, match="pure noise: nothing of the clip is left"):
        checked_reading(BOTH, DenoiserOptions(sigma=1.0))
    with pytest.raises(UsageError, match=r"sigma 1, not 0\.5"):
        checked_reading(BOTH, DenoiserOptions(regime="condition", sigma=0.5))


def test_a_regime_or_a_length_that_it_was_not_trained_for_is_refused_with_one_that_it_was() -> None:
    alone = Training("it", 4, 8, 16, ("condition",), {"condition": 1})
    with pytest.raises(UsageError, match="it was not trained for regime 'denoise', only for condition") as caught:
        checked_reading(alone, DenoiserOptions(regime="denoise"))
    assert caught.value.hint.endswith("regime=condition")
    with pytest.raises(UsageError, match=r"it is conditioned on 9 frame\(s\), not 13") as caught:
        checked_reading(BOTH, DenoiserOptions(regime="condition", frames=13))
    assert caught.value.hint.endswith("frames=9")
    assert checked_reading(BOTH, DenoiserOptions(frames=97)).frames == 97, "the limit is that of condition"


def test_an_identity_tells_the_slots_of_noise_only_where_there_are_some() -> None:
    plain, held = (checked_reading(BOTH, DenoiserOptions(regime=regime)).identity for regime in ("denoise", "condition"))
    assert plain == {"regime": "denoise", "sigma": LOW_NOISE, "noise": plain["noise"]}
    assert held == {"regime": "condition", "sigma": 1.0, "noise": plain["noise"], "future_slots": 2}


# noise


def test_flow_noise_goes_straight_from_the_latents_to_the_noise() -> None:
    latents, noise = torch.tensor([1.0, 2.0, -3.0]), torch.tensor([0.0, 10.0, 1.0])
    assert torch.equal(flow_noise(latents, noise, 0.0), latents)
    assert torch.equal(flow_noise(latents, noise, 1.0), noise)
    torch.testing.assert_close(flow_noise(latents, noise, 0.25), torch.tensor([0.75, 4.0, -2.0]))


@pytest.mark.parametrize("sigma", [0.0, 0.2, 0.5, 0.97, 1.0])
def test_the_step_of_a_schedule_is_the_one_whose_signal_is_nearest(sigma: float) -> None:
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    timestep, signal, noise = vp_level(alphas, sigma)
    wanted = np.sqrt(1 - sigma**2)
    apart = [abs(float(alpha) ** 0.5 - wanted) for alpha in alphas]
    assert apart[timestep] == min(apart)
    assert signal**2 + noise**2 == pytest.approx(1.0)
    assert signal == pytest.approx(float(alphas[timestep]) ** 0.5)


# pixels


def scaling(folder, **stated: object) -> PixelScaling:
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))
    return read_scaling(folder, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7))


@pytest.mark.parametrize(
    ("stated", "white"),
    [
        ({}, [(1 - 0.1) / 0.5, (1 - 0.2) / 0.6, (1 - 0.3) / 0.7]),  # the family's own
        ({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}, [2.0] * 3),
        ({"do_normalize": False}, [1.0] * 3),
        ({"do_normalize": False, "do_rescale": False}, [255.0] * 3),
        ({"do_normalize": False, "rescale_factor": 1 / 127.5, "offset": True}, [1.0] * 3),
        ({"do_normalize": False, "rescale_factor": 1 / 51}, [5.0] * 3),
    ],
)
def test_pixels_are_scaled_as_the_preprocessor_says(tmp_path, stated: dict, white: list[float]) -> None:
    found = scaling(tmp_path, **stated)
    clip = torch.full((1, 2, 4, 4, 3), 255, dtype=torch.uint8)
    torch.testing.assert_close(found(clip), torch.tensor(white).expand(1, 2, 4, 4, 3))
    assert json.loads(json.dumps(found.described())) == found.described()


@pytest.mark.parametrize("stated", [{"image_mean": [0.5]}, {"image_std": [1.0, 1.0]}, {"image_std": [1.0, 0.0, 1.0]}])
def test_a_mean_or_a_spread_that_is_none_of_three_channels_is_refused(tmp_path, stated: dict) -> None:
    with pytest.raises(DataError, match="expected 3 numbers each"):
        scaling(tmp_path, **stated)


def test_the_newer_name_of_a_preprocessor_comes_first_and_none_is_the_familys(tmp_path) -> None:
    assert read_scaling(tmp_path, (0.1,) * 3, (0.2,) * 3) == PixelScaling(mean=(0.1,) * 3, std=(0.2,) * 3)
    scaling(tmp_path, image_mean=[0.5] * 3)
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps({"image_mean": [0.75] * 3}))
    assert read_scaling(tmp_path, (0.1,) * 3, (0.2,) * 3).mean == (0.75,) * 3


# outputs

TIME, HEIGHT, WIDTH, FEATURES, CLIPS = 3, 2, 4, 5, 2
VIDEO = torch.arange(CLIPS * TIME * HEIGHT * WIDTH * FEATURES).reshape(CLIPS, TIME, HEIGHT, WIDTH, FEATURES)
FRAMES = VIDEO.flatten(0, 1)


def laid_out(order: str) -> torch.Tensor:
    return VIDEO.permute(["ctyxf".index(axis) for axis in order])


@pytest.mark.parametrize(
    ("output", "grid", "expected"),
    [
        (lambda: laid_out("cftyx"), None, VIDEO.flatten(1, 3)),  # a volume
        (lambda: FRAMES.permute(0, 3, 1, 2), None, VIDEO.flatten(1, 3)),  # frames one by one
        (lambda: VIDEO[:, 0].permute(0, 3, 1, 2), None, VIDEO[:, 0].flatten(1, 2)),  # a picture a clip
        (lambda: VIDEO.flatten(1, 3), (TIME, HEIGHT, WIDTH), VIDEO.flatten(1, 3)),  # tokens
        (lambda: FRAMES.flatten(1, 2), (1, HEIGHT, WIDTH), VIDEO.flatten(1, 3)),  # tokens of frames one by one
        (lambda: VIDEO[:, 0, 0, 0], None, VIDEO[:, 0, 0, :1]),  # a vector a clip
        (lambda: FRAMES[:, 0, 0], None, VIDEO[:, :, 0, 0]),  # a vector a frame
    ],
)
def test_tokens_come_in_the_order_time_height_width_from_any_layout(
    output: Callable[[], torch.Tensor], grid: tuple[int, int, int] | None, expected: torch.Tensor
) -> None:
    value = output()
    view = read_view("it", tuple(value.shape), CLIPS, TIME, grid)
    assert torch.equal(view.tokens(value), expected)
    assert view.width == FEATURES
    assert view.grid.tokens == expected.shape[1]
    assert view.grid.past == view.grid.time


@pytest.mark.parametrize("apart", [False, True])
def test_class_tokens_stand_in_front_and_are_left_out(apart: bool) -> None:
    tokens = FRAMES.flatten(1, 2) if apart else VIDEO.flatten(1, 3)
    value = torch.cat([-torch.ones(len(tokens), 2, FEATURES, dtype=tokens.dtype), tokens], dim=1)
    grid = (1, HEIGHT, WIDTH) if apart else (TIME, HEIGHT, WIDTH)
    view = read_view("it", tuple(value.shape), CLIPS, TIME, grid, class_tokens=2)
    assert torch.equal(view.tokens(value), VIDEO.flatten(1, 3))
    assert view.class_tokens == 2


@pytest.mark.parametrize(
    ("shape", "grid", "told"),
    [
        ((CLIPS,), None, "puts out"),
        ((CLIPS, 1, 1, 1, 1, 1), None, "puts out"),
        ((CLIPS * TIME + 1, FEATURES), None, "puts out"),
        ((CLIPS, 24, FEATURES), None, "puts out 24 tokens, 0 of them class tokens, and the grid is None"),
        ((CLIPS, 24, FEATURES), (TIME, HEIGHT, WIDTH + 1), "puts out 24 tokens"),
        ((CLIPS * TIME, 24, FEATURES), (TIME, HEIGHT, WIDTH), "sees every frame by itself"),
        ((CLIPS * TIME, FEATURES, 2, 2, 2), None, "both clips x frames and time"),
    ],
)
def test_a_shape_that_can_be_read_in_no_way_is_refused_by_the_modules_name(
    shape: tuple[int, ...], grid: tuple[int, int, int] | None, told: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        read_view("it", shape, CLIPS, TIME, grid)
    assert "'it'" in str(caught.value)


def test_the_first_tensor_of_nested_outputs_is_taken_and_nothing_else_is_one() -> None:
    tensor = torch.zeros(2)
    for output in (tensor, (tensor, 1), [[(tensor,)], None]):
        assert first_tensor(output) is tensor
    for output in ({"a": tensor}, None, (), ([],), (None, tensor)):
        with pytest.raises(UsageError, match="expected a tensor or a tuple of them"):
            first_tensor(output)


# parameters


def parameters(*modules: nn.Module) -> int:
    return sum(value.numel() for module in modules for value in module.parameters())


@pytest.mark.parametrize("bias", [True, False])
def test_parameters_are_those_of_torchs_layers(bias: bool) -> None:
    assert linear(3, 5, bias) == parameters(nn.Linear(3, 5, bias))
    assert feed_forward(3, 5, "gelu", bias) == parameters(nn.Linear(3, 5, bias), nn.Linear(5, 3, bias))
    assert feed_forward(3, 5, "geglu", bias) == parameters(nn.Linear(3, 10, bias), nn.Linear(5, 3, bias))
    assert convolution(3, 5, 27) == parameters(nn.Conv3d(3, 5, 3))
    query, key, value, out = nn.Linear(3, 8, bias), nn.Linear(7, 8, bias), nn.Linear(7, 8, bias), nn.Linear(8, 3)
    assert attention(3, 8, 7, bias) == parameters(query, key, value, out)
    assert attention(8, 8) == parameters(nn.MultiheadAttention(8, 2))
    assert attention(8, 8, bias=bias, out_bias=bias) == parameters(nn.MultiheadAttention(8, 2, bias=bias))
