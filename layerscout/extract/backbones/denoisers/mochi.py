"""Mochi 1 checkpoints, described layer by layer.

A clip of 6k+1 frames is encoded by the checkpoint's VAE and brought to a low noise level. Time runs backwards in this
family: timestep 1000 is data, 0 is noise. An empty prompt is zeros that no token attends to, as in its training.
"""

from __future__ import annotations

from typing import Any

from layerscout.extract.backbones.counting import attention, feed_forward, linear
from layerscout.extract.backbones.denoisers.family import Configurations, DenoiserFamily, Details, block_layers, check_channels
from layerscout.extract.backbones.denoisers.options import DenoiserOptions, Reading, Training

TIME_RATIO, PIXELS = 6, 8  # frames and pixels a latent cell


class MochiOptions(DenoiserOptions):
    """``frames`` is 6k+1 (13); ``sigma`` is the share of noise on the straight path, 0 to 1; ``text`` is ``zeros`` or a file."""


def training(found: Configurations, chosen: MochiOptions) -> Training:
    """The ratios of pixels to latents, which its VAE does not state, and 13 frames a clip as it comes."""
    check_channels(found.source, found.model["in_channels"], [found.vae["latent_channels"]])
    cell = PIXELS * found.model["patch_size"]
    return Training(title="Mochi", step=TIME_RATIO, pixels=PIXELS, cell=cell, regimes=("denoise",), frames={"denoise": 13})


def details(found: Configurations, chosen: MochiOptions, reading: Reading) -> Details:
    """Say what a pass needs; the last block is smaller, because nothing reads its text."""
    model, depth = found.model, found.model["num_layers"]
    return Details(
        layers=block_layers({"transformer_blocks": [block_parameters(model, last=i == depth - 1) for i in range(depth)]}, found.width),
        latent_shape=(found.vae["latent_channels"], reading.slots, *reading.latent_size(PIXELS)),
        text=(model["max_sequence_length"], model["text_embed_dim"]),
    )


def block_parameters(model: dict[str, Any], last: bool) -> int:
    """Parameters of one block: two streams, of video and of text, in one attention."""
    heads, head = model["num_attention_heads"], model["attention_head_dim"]
    width, text = heads * head, model.get("pooled_projection_dim", 1536)
    activation = model.get("activation_fn", "swiglu")
    modulation = linear(width, 4 * width) + linear(width, text if last else 4 * text)
    joint = attention(width, width, bias=False) + 3 * linear(text, width, bias=False) + 4 * head
    of_text = 0 if last else linear(width, text) + feed_forward(text, 4 * text * 2 // 3, activation, bias=False)
    return modulation + joint + of_text + feed_forward(width, 4 * width * 2 // 3, activation, bias=False)


FAMILY = DenoiserFamily(
    name="mochi",
    title="Mochi",
    model="MochiTransformer3DModel",
    vae="AutoencoderKLMochi",
    network="mochi:Mochi",
    options=MochiOptions,
    needed={
        "transformer": (
            "num_attention_heads",
            "attention_head_dim",
            "num_layers",
            "patch_size",
            "in_channels",
            "text_embed_dim",
            "max_sequence_length",
        ),
        "vae": ("latent_channels", "scaling_factor", "latents_mean", "latents_std"),
    },
    training=training,
    details=details,
    no_empty="its own empty prompt is zeros",
)
build = FAMILY.build
