"""Wan 2.1 and 2.2 checkpoints, text-to-video, image-to-video and both in one (TI2V-5B), described layer by layer.

``denoise``: the clip's normalised latents on the straight path to noise. ``condition``: image-to-video models see the row's
own frame in extra channels, with a mask; TI2V-5B sees clean latent frames whose tokens have time 0, before noise at time
1000. Wan 2.2 A14B has two transformers: the one that was trained for the chosen share of noise is read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from layerscout.errors import DataError
from layerscout.extract.backbones.counting import attention, feed_forward, linear
from layerscout.extract.backbones.denoisers.family import Configurations, DenoiserFamily, Details, block_layers
from layerscout.extract.backbones.denoisers.options import DenoiserOptions, Reading, Regime, Training
from layerscout.extract.checkpoints.folder import read_config

IMAGE_ENCODER, IMAGE_PROCESSOR = "image_encoder", "image_processor"  # folders of a checkpoint that attends to an image
TIME_RATIO = 4  # frames a latent frame, after the first
TEXT_LENGTH, TEXT_WIDTH = 512, 4096  # image-to-video blocks find the text by this length
TRANSFORMER_FIELDS = ("num_attention_heads", "attention_head_dim", "num_layers", "patch_size", "in_channels")

Kind = Literal["text", "image", "both"]
TRAINED: dict[Kind, tuple[Regime, ...]] = {"text": ("denoise",), "image": ("condition", "denoise"), "both": ("condition", "denoise")}


class WanOptions(DenoiserOptions):
    """``frames`` is 4k+1: 9 in ``denoise``, 1 in ``condition`` (TI2V-5B takes more, though it was trained with one)."""


def training(found: Configurations, chosen: WanOptions) -> Training:
    """Tell the kind of checkpoint and its ratios."""
    kind = wan_kind(found)
    pixels = 2 ** (len(found.vae["dim_mult"]) - 1) * (found.vae.get("patch_size") or 1)
    return Training(
        title="Wan" if kind == "text" else "Wan image-to-video",
        step=TIME_RATIO,
        pixels=pixels,
        cell=pixels * found.model["patch_size"][1],
        regimes=TRAINED[kind],
        frames={"denoise": 9, "condition": 1},
        longest=None if kind == "both" else 1,
    )


def details(found: Configurations, chosen: WanOptions, reading: Reading) -> Details:
    """Choose the expert of this share of noise, and say what its passes need."""
    kind, boundary = wan_kind(found), found.index.get("boundary_ratio")
    part = "transformer" if boundary is None or reading.sigma >= boundary else "transformer_2"
    model = found.model
    if part != "transformer":
        model = read_config(found.folder / part, kind=FAMILY.model, needed=TRANSFORMER_FIELDS)
    image = kind == "image" and model.get("image_dim") is not None
    width = model["num_attention_heads"] * model["attention_head_dim"]
    return Details(
        layers=block_layers({"blocks": [block_parameters(model)] * model["num_layers"]}, width),
        # CLIP tokens are no latents: such a model cannot start from stored ones
        latent_shape=None if image else latent_shape(kind, reading, found.vae["z_dim"], training(found, chosen).pixels),
        text=(TEXT_LENGTH, model.get("text_dim", TEXT_WIDTH)),
        identity=({"expert": part} if boundary is not None else {}) | ({"time": "per token"} if kind == "both" else {}),
        network={"kind": kind, "part": part, "image_tokens": image},
        part=part,
        model=model,
        parts=(IMAGE_ENCODER, IMAGE_PROCESSOR) if image else (),
        weighed=(IMAGE_ENCODER,) if image else (),
        configs=(Path(IMAGE_ENCODER, "config.json"), Path(IMAGE_PROCESSOR, "preprocessor_config.json")) if image else (),
    )


def block_parameters(model: dict[str, Any]) -> int:
    """Parameters of one block: attention to itself and to the text (and the image), feed-forward, modulation."""
    width, image = model["num_attention_heads"] * model["attention_head_dim"], model.get("added_kv_proj_dim")
    attentions = 2 * (attention(width, width) + 2 * width)  # queries and keys are normalised
    beside = 0 if image is None else 2 * linear(image, width) + width
    norm = 2 * width if model.get("cross_attn_norm", True) else 0
    return attentions + beside + norm + feed_forward(width, model.get("ffn_dim", 13824)) + 6 * width


def latent_shape(kind: Kind, reading: Reading, channels: int, pixels: int) -> tuple[int, ...]:
    """Return the shape of one clip's latents as they may be stored."""
    with_image = kind == "image" and reading.regime == "denoise"  # the clip's latents and the image's
    slots = reading.past if kind == "both" else reading.slots
    return (channels * (2 if with_image else 1), slots, *reading.latent_size(pixels))


def wan_kind(found: Configurations) -> Kind:
    """Tell what a checkpoint is conditioned on, by its input channels; refuses relatives that this file would run wrongly."""
    model, taken, given = found.model, found.model["in_channels"], found.vae["z_dim"]
    hint = "this backbone reads Wan text-to-video, image-to-video and TI2V checkpoints"
    if model.get("pos_embed_seq_len") is not None:
        raise DataError(f"{found.source} is conditioned on a first and a last frame: the last one is the future", hint=hint)
    if model["patch_size"][0] != 1 or model["patch_size"][1] != model["patch_size"][2]:
        raise DataError(f"{found.source} has patches of {model['patch_size']}, expected [1, n, n]", hint=hint)
    if taken == given:
        return "both" if found.index.get("expand_timesteps") else "text"
    if taken == 2 * given + TIME_RATIO:
        return "image"
    raise DataError(f"{found.source} takes {taken} channels and its VAE gives {given}", hint=hint)


FAMILY = DenoiserFamily(
    name="wan",
    title="Wan",
    model="WanTransformer3DModel",
    vae="AutoencoderKLWan",
    network="wan:Wan",
    options=WanOptions,
    needed={"transformer": TRANSFORMER_FIELDS, "vae": ("z_dim", "dim_mult", "latents_mean", "latents_std")},
    training=training,
    details=details,
    parts=("model_index.json", "transformer", "vae"),
    sometimes=("transformer_2",),
)
build = FAMILY.build
