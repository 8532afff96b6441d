"""HunyuanVideo 1.5 checkpoints, text-to-video and image-to-video, described layer by layer.

The model takes noisy latents, as many channels for an image, and a mask; text-to-video leaves the latter empty. Its second
text (letters to draw) and its image embedding are zeros, which mark both as absent.
"""

from __future__ import annotations

from layerscout.extract.backbones.denoisers.family import Configurations, DenoiserFamily, Details, block_layers, check_channels
from layerscout.extract.backbones.denoisers.hunyuan import NO_EMPTY, dual_block_parameters, image_training, latent_shape
from layerscout.extract.backbones.denoisers.options import DenoiserOptions, Reading, Training

TEXT_LENGTH = 1000  # of a file; zeros need one token


class Hunyuan15Options(DenoiserOptions):
    """``frames`` is 4k+1 (9); ``sigma`` is the share of noise on the straight path, 0 to 1; ``text`` is ``zeros`` or a file."""


def training(found: Configurations, chosen: Hunyuan15Options) -> Training:
    """Tell the kind of checkpoint and its ratios."""
    check_channels(found.source, found.model["in_channels"], [2 * found.vae["latent_channels"] + 1])
    return image_training("HunyuanVideo 1.5", found, takes_image(found), pixels=16)


def details(found: Configurations, chosen: Hunyuan15Options, reading: Reading) -> Details:
    """Tell the layers, the shape of the latents and the shape of the text that a pass of this checkpoint needs."""
    model = found.model
    return Details(
        layers=block_layers({"transformer_blocks": [dual_block_parameters(model)] * model["num_layers"]}, found.width),
        latent_shape=latent_shape(found, reading, takes_image(found), training(found, chosen).pixels),
        text=(TEXT_LENGTH, model["text_embed_dim"]),
    )


def takes_image(found: Configurations) -> bool:
    """Tell whether a checkpoint was trained to go on from an image."""
    return found.model["task_type"] == "i2v"


FAMILY = DenoiserFamily(
    name="hunyuan15",
    title="HunyuanVideo 1.5",
    model="HunyuanVideo15Transformer3DModel",
    vae="AutoencoderKLHunyuanVideo15",
    network="hunyuan15:Hunyuan15",
    options=Hunyuan15Options,
    needed={
        "transformer": (
            "num_attention_heads",
            "attention_head_dim",
            "num_layers",
            "patch_size",
            "in_channels",
            "text_embed_dim",
            "task_type",
        ),
        "vae": ("latent_channels", "scaling_factor"),
    },
    training=training,
    details=details,
    no_empty=NO_EMPTY,
)
build = FAMILY.build
