"""HunyuanVideo 1.0 checkpoints, text-to-video and image-to-video, described layer by layer.

Twenty blocks with two streams are followed by forty with one; they are layers in that order. Image-to-video comes in two
kinds: the image's latent frame replaces the first noisy one (``token_replace``), or lies beside it with a mask
(``latent_concat``). The image is not shown to a language model here: the text stays what ``text`` says. The VAE of 1.0
normalises over a whole clip, so a latent frame bears a trace of the clip's later frames (never of frames after the row's).
"""

from __future__ import annotations

from typing import Any

from layerscout.extract.backbones.counting import attention, feed_forward, linear
from layerscout.extract.backbones.denoisers.family import Configurations, DenoiserFamily, Details, block_layers, check_channels
from layerscout.extract.backbones.denoisers.options import DenoiserOptions, Reading, Training

TEXT_LENGTH = 256  # of a file; zeros need one token: with none that counts the model gives NaN
GUIDANCE = {None: 6.0, "token_replace": 6.0, "latent_concat": 1.0}  # the distilled scale that each kind is run with
NO_EMPTY = "its prompts go through a language model with a template of its own"


class HunyuanOptions(DenoiserOptions):
    """``frames`` is 4k+1 (9); ``sigma`` is the share of noise on the straight path, 0 to 1; ``text`` is ``zeros`` or a file."""


def training(found: Configurations, chosen: HunyuanOptions) -> Training:
    """Tell the kind of checkpoint and its ratios."""
    image, channels = found.model.get("image_condition_type"), found.vae["latent_channels"]
    check_channels(found.source, found.model["in_channels"], [2 * channels + 1 if image == "latent_concat" else channels])
    return image_training("HunyuanVideo 1.0", found, bool(image), pixels=8)


def image_training(title: str, found: Configurations, image: bool, pixels: int) -> Training:
    """Tell what text-to-video and image-to-video checkpoints of both generations were trained for."""
    pixels = found.vae.get("spatial_compression_ratio", pixels)
    return Training(
        title=f"{title}{' image-to-video' if image else ''}",
        step=found.vae.get("temporal_compression_ratio", 4),
        pixels=pixels,
        cell=pixels * found.model["patch_size"],
        regimes=("condition", "denoise") if image else ("denoise",),
        frames={"denoise": 9, "condition": 1},
    )


def details(found: Configurations, chosen: HunyuanOptions, reading: Reading) -> Details:
    """Say what a pass needs: the kind of image and the guidance that was distilled into the model."""
    model, image = found.model, found.model.get("image_condition_type")
    two, one = dual_block_parameters(model), single_block_parameters(model)
    return Details(
        layers=block_layers(
            {"transformer_blocks": [two] * model["num_layers"], "single_transformer_blocks": [one] * model["num_single_layers"]},
            found.width,
        ),
        latent_shape=latent_shape(found, reading, bool(image), training(found, chosen).pixels),
        text=(TEXT_LENGTH, model["text_embed_dim"]),
        identity={"guidance": GUIDANCE[image]} if model.get("guidance_embeds") else {},
    )


def dual_block_parameters(model: dict[str, Any]) -> int:
    """Parameters of a block with two streams, of video and of text, in one attention."""
    width, head = model["num_attention_heads"] * model["attention_head_dim"], model["attention_head_dim"]
    inner = int(width * model.get("mlp_ratio", 4.0))
    return 2 * (linear(width, 6 * width) + attention(width, width) + _norms(model, head) + feed_forward(width, inner))


def single_block_parameters(model: dict[str, Any]) -> int:
    """Parameters of a block with one stream, whose feed-forward runs beside its attention."""
    width, head = model["num_attention_heads"] * model["attention_head_dim"], model["attention_head_dim"]
    inner = int(width * model.get("mlp_ratio", 4.0))
    return 3 * linear(width, width) + _norms(model, head) + linear(width, 3 * width) + linear(width, inner) + linear(width + inner, width)


def _norms(model: dict[str, Any], head: int) -> int:
    """Of one stream's queries and keys."""
    return 2 * head * {"rms_norm": 1, "layer_norm": 2}.get(model.get("qk_norm", "rms_norm"), 0)


def latent_slots(reading: Reading, image: bool) -> int:
    """Latent frames of one clip as they may be stored: the clip's, and after them the image's; only the image's in ``condition``."""
    return 1 if reading.future else reading.past + image


def latent_shape(found: Configurations, reading: Reading, image: bool, pixels: int) -> tuple[int, ...]:
    """Return the shape of one clip's latents as they may be stored."""
    return (found.vae["latent_channels"], latent_slots(reading, image), *reading.latent_size(pixels))


FAMILY = DenoiserFamily(
    name="hunyuan",
    title="HunyuanVideo",
    model="HunyuanVideoTransformer3DModel",
    vae="AutoencoderKLHunyuanVideo",
    network="hunyuan:Hunyuan",
    options=HunyuanOptions,
    needed={
        "transformer": (
            "num_attention_heads",
            "attention_head_dim",
            "num_layers",
            "num_single_layers",
            "patch_size",
            "in_channels",
            "text_embed_dim",
        ),
        "vae": ("latent_channels", "scaling_factor"),
    },
    training=training,
    details=details,
    no_empty=NO_EMPTY,
)
build = FAMILY.build
