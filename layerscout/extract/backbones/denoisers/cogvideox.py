"""CogVideoX checkpoints, 1.0 and 1.5, text-to-video and image-to-video, described layer by layer.

``denoise``: a clip of 4k+1 frames is encoded by the checkpoint's VAE, brought to a low noise level with noise that is the
same for every row, and passed once. ``condition`` (image-to-video): the row's own frame is the image, all slots are noise.
In 1.5 two latent frames share a token slot; an odd one out is repeated before the first, as in its training.
"""

from __future__ import annotations

from typing import Any

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.counting import attention, feed_forward, linear
from layerscout.extract.backbones.denoisers.family import SCHEDULER, Configurations, DenoiserFamily, Details, block_layers
from layerscout.extract.backbones.denoisers.options import WHERE, DenoiserOptions, Reading, Training

TIME_RATIO = 4  # frames a latent frame, after the first
TEXT_LENGTH, TEXT_WIDTH = 226, 4096  # where a configuration does not say


class CogVideoXOptions(DenoiserOptions):
    """``frames`` is 4k+1 (9; 13 for 1.5); ``sigma`` is the noise share sqrt(1 - alpha_bar)."""


def training(found: Configurations, chosen: CogVideoXOptions) -> Training:
    """Tell the generation, the kind of checkpoint, its ratios and the size that it was trained with."""
    model, image, group, learned = found.model, takes_image(found), group_of(found), learned_slots(found)
    pixels = 2 ** (len(found.vae["block_out_channels"]) - 1)
    size = trained_size(found, pixels)
    return Training(
        title=f"CogVideoX 1.{5 if group > 1 else 0}{' image-to-video' if image else ''}",
        step=TIME_RATIO,
        pixels=pixels,
        cell=pixels * model["patch_size"],
        regimes=("condition", "denoise") if image else ("denoise",),
        frames={"denoise": (learned - 1) * TIME_RATIO + 1 if learned else 13 if group > 1 else 9, "condition": 1},
        size=size if learned else (min(256, size[0]), min(256, size[1])) if group > 1 else (256, 256),
        future=learned - 1 if learned else 3,
    )


def details(found: Configurations, chosen: CogVideoXOptions, reading: Reading) -> Details:
    """Say what a pass needs; refuses clips for which the model has no position of its own."""
    model, image, group = found.model, takes_image(found), group_of(found)
    pixels = training(found, chosen).pixels
    _check_positions(reading, group, trained_size(found, pixels), learned_slots(found))
    denoising, groups = reading.regime == "denoise", -(-reading.slots // group)
    channels = found.vae["latent_channels"] * (2 if image and denoising else 1)
    return Details(
        layers=block_layers({"transformer_blocks": [block_parameters(model)] * model["num_layers"]}, found.width),
        latent_shape=(groups * group if denoising else 1, channels, *reading.latent_size(pixels)),
        text=(model.get("max_text_seq_length", TEXT_LENGTH), model.get("text_embed_dim", TEXT_WIDTH)),
        identity={"padding": "first latent frame"} if denoising and reading.slots % group else {},
        network={"image": image},
        time=groups,
        past=groups if denoising else 1,
        group=group if denoising else 1,
    )


def block_parameters(model: dict[str, Any]) -> int:
    """Parameters of one block: video and text in one attention, and modulation by time of both."""
    width, head = model["num_attention_heads"] * model["attention_head_dim"], model["attention_head_dim"]
    affine = 2 * width if model.get("norm_elementwise_affine", True) else 0
    modulation = 2 * (linear(model.get("time_embed_dim", 512), 6 * width) + affine)
    joint = attention(width, width, bias=model.get("attention_bias", True)) + 4 * head
    return modulation + joint + feed_forward(width, 4 * width, model.get("activation_fn", "gelu-approximate"))


def takes_image(found: Configurations) -> bool:
    """Tell whether the model takes image latents beside the noisy ones; refuses what is neither that nor text-to-video."""
    taken, given = found.model["in_channels"], found.vae["latent_channels"]
    if taken / given not in (1, 2):
        raise DataError(
            f"{found.source} takes {taken} channels and its VAE gives {given}",
            hint="this backbone reads text-to-video and image-to-video checkpoints (once and twice the VAE's channels)",
        )
    return taken == 2 * given


def group_of(found: Configurations) -> int:
    """Return how many latent frames share a token slot: 2 in 1.5."""
    return found.model.get("patch_size_t") or 1


def trained_size(found: Configurations, pixels: int) -> tuple[int, int]:
    """Return height and width in pixels that the model was trained with."""
    return found.model.get("sample_height", 60) * pixels, found.model.get("sample_width", 90) * pixels


def learned_slots(found: Configurations) -> int | None:
    """Return the one number of latent frames that a learned table of positions is for, None where positions are computed."""
    learned = bool(found.model.get("use_learned_positional_embeddings"))
    return (found.model.get("sample_frames", 49) - 1) // TIME_RATIO + 1 if learned else None


def _check_positions(reading: Reading, group: int, trained: tuple[int, int], learned: int | None) -> None:
    """Refuse clips for which the model has no position of its own (it would take others without a word).

    ``trained`` is the frame size that it was trained with; ``learned`` the one number of latent frames of a learned table.
    """
    size = f"[{trained[0]},{trained[1]}]"
    if reading.future and reading.slots % group:
        raise UsageError(f"CogVideoX 1.5 takes an even number of latent frames, not 1 + {reading.future}", hint=f"{WHERE}.future=3")
    if group > 1 and (reading.size[0] > trained[0] or reading.size[1] > trained[1]):
        raise UsageError(f"CogVideoX 1.5 takes frames up to {trained} pixels, not {reading.size}", hint=f"{WHERE}.size={size}")
    if learned and (reading.size, reading.slots) != (trained, learned):
        length = f"future={learned - 1}" if reading.future else f"frames={(learned - 1) * TIME_RATIO + 1}"
        raise UsageError(
            f"this checkpoint learned its positions for {learned} latent frames of {size} pixels only, not {reading.slots} of {reading.size}",
            hint=f"{WHERE}.size={size} {WHERE}.{length}",
        )


FAMILY = DenoiserFamily(
    name="cogvideox",
    title="CogVideoX",
    model="CogVideoXTransformer3DModel",
    vae="AutoencoderKLCogVideoX",
    network="cogvideox:CogVideoX",
    options=CogVideoXOptions,
    needed={
        "transformer": ("num_attention_heads", "attention_head_dim", "num_layers", "patch_size", "in_channels"),
        "vae": ("block_out_channels", "latent_channels"),
    },
    training=training,
    details=details,
    parts=("transformer", "vae", SCHEDULER),
)
build = FAMILY.build
