"""Stable Video Diffusion checkpoints, described part by part of their U-Net.

Half of the model's channels are noisy latents of every frame, half the latents of one image, repeated. ``condition``: the
image is the row's own frame and all frames are pure noise. ``denoise``: frames are the clip's own at a low noise level, and
its first frame is the image. The embedding of the image by CLIP is left at zero, which the model was trained to do without.
"""

from __future__ import annotations

from typing import Any

from layerscout.errors import UsageError
from layerscout.extract.backbones.base import LayerInfo, TokenGrid
from layerscout.extract.backbones.counting import attention, convolution, feed_forward, linear
from layerscout.extract.backbones.denoisers.family import SCHEDULER, Configurations, DenoiserFamily, Details, check_channels
from layerscout.extract.backbones.denoisers.options import DenoiserOptions, Reading, Training

FRAMES_A_SECOND, MOTION, AUGMENTATION = 7, 127, 0.02  # what the published pipeline says of a clip
DOWN = ("CrossAttnDownBlockSpatioTemporal",) * 3 + ("DownBlockSpatioTemporal",)  # where a configuration does not say
UP = ("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * 3


class SvdOptions(DenoiserOptions):
    """``frames`` any number (the trained one), ``future`` noisy frames after the image (trained - 1); no ``text`` is taken.

    ``sigma`` is the share of noise in standard deviation, s / sqrt(s^2 + 1) for the schedule's own s.
    """


def training(found: Configurations, chosen: SvdOptions) -> Training:
    """Tell the ratios and the trained length; refuses a text, and no noise at all."""
    if chosen.text != "zeros":
        raise UsageError(f"Stable Video Diffusion takes no text, not '{chosen.text}'", hint="leave text out")
    if chosen.sigma == 0.0:
        raise UsageError("Stable Video Diffusion has no noise level 0: its time is the noise's logarithm", hint="sigma 0.01 or more")
    frames = found.model["num_frames"]
    check_channels(found.source, found.model["in_channels"], [2 * found.vae["latent_channels"]])
    pixels = 2 ** (len(found.vae["block_out_channels"]) - 1)
    return Training(
        title="Stable Video Diffusion",
        step=1,
        pixels=pixels,
        cell=pixels * 2 ** (len(found.model["block_out_channels"]) - 1),  # a token of the coarsest part
        regimes=("condition", "denoise"),
        frames={"condition": 1, "denoise": frames},
        future=max(1, frames - 1),
    )


def details(found: Configurations, chosen: SvdOptions, reading: Reading) -> Details:
    """Say what a pass needs: what the published pipeline says of a clip, and the loudest noise of the schedule."""
    latent = reading.latent_size(training(found, chosen).pixels)
    return Details(
        layers=part_layers(found.model, reading, latent),
        latent_shape=(1 if reading.future else reading.slots + 1, found.vae["latent_channels"], *latent),
        text=None,
        identity={"image": "CLIP zeros", "frames_a_second": FRAMES_A_SECOND, "motion": MOTION, "augmentation": AUGMENTATION},
        network={"loudest": found.scheduler["sigma_max"]},
    )


def part_layers(unet: dict[str, Any], reading: Reading, latent: tuple[int, int]) -> tuple[LayerInfo, ...]:
    """Describe the parts of the U-Net in the order they run; each has its own width and its own grid.

    A part that halves or doubles the grid is read after it did.
    """
    widths, counts = tuple(unet["block_out_channels"]), part_parameters(unet)
    last = len(widths) - 1
    downward = [(f"down_blocks.{i}", widths[i], min(i + 1, last)) for i in range(len(widths))]
    upward = [(f"up_blocks.{i}", widths[last - i], max(last - i - 1, 0)) for i in range(len(widths))]
    return tuple(
        LayerInfo(
            name,
            name,
            depth,
            width,
            counts[name],
            TokenGrid(reading.slots, latent[0] // 2**halvings, latent[1] // 2**halvings, reading.past),
        )
        for depth, (name, width, halvings) in enumerate([*downward, ("mid_block", widths[-1], last), *upward])
    )


def part_parameters(unet: dict[str, Any]) -> dict[str, int]:
    """Return the parameters of every part of the U-Net, by its name."""
    widths = list(unet["block_out_channels"])
    steps, last = len(widths), len(widths) - 1
    depths, sources = _each(unet.get("layers_per_block", 2), steps), _each(unet.get("cross_attention_dim", 1024), steps)
    heads, transformers = (
        _each(unet.get("num_attention_heads", (5, 10, 20, 20)), steps),
        _each(unet.get("transformer_layers_per_block", 1), steps),
    )
    time = 4 * widths[0]

    def attentions(step: int, count: int) -> int:
        layers = _each(transformers[step], count)
        return sum(_transformer(widths[step], heads[step], layers[i], sources[step]) for i in range(count))

    found = {}
    for i, kind in enumerate(unet.get("down_block_types", DOWN)):
        inputs = [widths[max(i - 1, 0)]] + [widths[i]] * (depths[i] - 1)
        found[f"down_blocks.{i}"] = (
            sum(_residual(width, widths[i], time) for width in inputs)
            + (attentions(i, depths[i]) if kind.startswith("CrossAttn") else 0)
            + (convolution(widths[i], widths[i], 9) if i < last else 0)
        )
    found["mid_block"] = 2 * _residual(widths[last], widths[last], time) + attentions(last, 1)
    for i, kind in enumerate(unet.get("up_block_types", UP)):
        step, count = last - i, depths[last - i] + 1
        beside = [widths[step]] * (count - 1) + [widths[max(step - 1, 0)]]  # from the way down
        before = [widths[min(step + 1, last)]] + [widths[step]] * (count - 1)
        found[f"up_blocks.{i}"] = (
            sum(_residual(one + other, widths[step], time) for one, other in zip(before, beside, strict=True))
            + (attentions(step, count) if kind.startswith("CrossAttn") else 0)
            + (convolution(widths[step], widths[step], 9) if i < last else 0)
        )
    return found


def _each(value: Any, count: int) -> list[Any]:
    """A setting that may be one for all."""
    return list(value) if isinstance(value, list | tuple) else [value] * count


def _residual(inputs: int, outputs: int, time: int) -> int:
    """Parameters of a residual block in space, one in time, and the number that mixes them."""
    embeddings = 2 * linear(time, outputs)
    space = 2 * inputs + convolution(inputs, outputs, 9) + 2 * outputs + convolution(outputs, outputs, 9)
    shortcut = convolution(inputs, outputs, 1) if inputs != outputs else 0
    return embeddings + space + shortcut + 2 * (2 * outputs + convolution(outputs, outputs, 3)) + 1


def _transformer(width: int, heads: int, layers: int, source: int) -> int:
    """Parameters of attention in space and in time, the embedding of time, and the number that mixes them."""
    inner = width // heads * heads
    gated = feed_forward(inner, 4 * inner, "geglu")
    block = attention(inner, inner, bias=False) + attention(inner, inner, source, bias=False) + gated + 6 * inner
    in_time = block + gated + 2 * inner
    around = 2 * width + linear(width, inner) + linear(inner, width) + linear(width, 4 * width) + linear(4 * width, width) + 1
    return around + layers * (block + in_time)


FAMILY = DenoiserFamily(
    name="svd",
    title="Stable Video Diffusion",
    model="UNetSpatioTemporalConditionModel",
    vae="AutoencoderKLTemporalDecoder",
    network="svd:Svd",
    options=SvdOptions,
    needed={
        "unet": ("block_out_channels", "in_channels", "num_frames"),
        "vae": ("block_out_channels", "latent_channels", "scaling_factor"),
        SCHEDULER: ("sigma_max",),
    },
    training=training,
    details=details,
    part="unet",
    parts=("unet", "vae", SCHEDULER),
)
build = FAMILY.build
