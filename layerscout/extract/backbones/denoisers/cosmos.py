"""Cosmos checkpoints (1.0, Predict 2, Predict 2.5), described layer by layer.

Text2World is read in ``denoise``. Video2World is read in ``condition``: clean latent frames of the past, marked by a mask,
and pure noise for the future. Three generations differ in how noise and time are told:

- 1.0: s above the data, input divided by sqrt(s^2 + sd^2), time ln(s) / 4, one for the whole clip;
- Predict 2: the straight path (1 - t) z + t e from s = 80 on, t = s / (s + 1), one time a latent frame;
- Predict 2.5: the straight path from t = 1 on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.counting import attention, feed_forward, linear
from layerscout.extract.backbones.denoisers.family import (
    SCHEDULER,
    Configurations,
    DenoiserFamily,
    Details,
    block_layers,
    check_channels,
)
from layerscout.extract.backbones.denoisers.options import DenoiserOptions, Reading, Regime, Training

TEXT_LENGTH = 512
LOUDEST = 80.0  # s of pure noise in 1.0 and Predict 2
ALMOST_CLEAN = {"1.0": 0.001, "2": 0.0001, "2.5": 0.0001}  # s (2.5: t) at which the past is shown
FRAMES_A_SECOND = {"1.0": 30, "2": 16, "2.5": None}  # as each generation's pipeline tells its positions
TRAINED: dict[tuple[str, int], tuple[Regime, ...]] = {  # by generation and extra channels
    ("1.0", 0): ("denoise",),
    ("1.0", 1): ("condition",),
    ("2", 1): ("condition",),
    ("2.5", 1): ("condition", "denoise"),
}


class CosmosOptions(DenoiserOptions):
    """``frames`` is 8k+1 (17; 9 in ``condition``) for 1.0 and 4k+1 (9; 5) after it; ``text`` is ``zeros``, ``empty`` or a file.

    ``sigma`` is the share of noise in standard deviation for 1.0, and on the straight path after it.
    """


@dataclass(frozen=True)
class Mixture:
    """How a clip's slots are mixed: ``keep`` z + ``past`` e where it is shown, ``future`` e elsewhere; and the times told of both."""

    keep: float
    past: float
    future: float
    past_time: float
    future_time: float


def training(found: Configurations, chosen: CosmosOptions) -> Training:
    """Tell the generation, the kind of checkpoint and its ratios."""
    generation, channels = generation_of(found), latent_channels(found)
    check_channels(found.source, found.model["in_channels"], [channels + more for of, more in TRAINED if of == generation])
    step = found.vae.get("temporal_compression_ratio", 8) if generation == "1.0" else 4
    pixels = found.vae.get("spatial_compression_ratio", 8) if generation == "1.0" else 8
    return Training(
        title=f"Cosmos {generation}",
        step=step,
        pixels=pixels,
        cell=pixels * found.model["patch_size"][1],
        regimes=TRAINED[generation, found.model["in_channels"] - channels],
        frames={"denoise": 2 * step + 1, "condition": step + 1},
        longest=None,
    )


def details(found: Configurations, chosen: CosmosOptions, reading: Reading) -> Details:
    """Say what a pass needs; refuses latents that are larger than the model's positions."""
    model, generation, channels = found.model, generation_of(found), latent_channels(found)
    if generation == "1.0" and reading.sigma == 0.0:
        raise UsageError("Cosmos 1.0 has no noise level 0: its time is the noise's logarithm", hint="sigma 0.01 or more")
    latent = reading.latent_size(training(found, chosen).pixels)
    recorded = len(found.vae.get("latents_mean") or ()) // channels if generation == "1.0" else 0  # latent frames that have statistics
    slots, *sides = model["max_size"]
    most, asked = (min(slots, recorded or slots), *sides), (reading.slots, *latent)
    if any(length > limit for length, limit in zip(asked, most, strict=True)):
        raise UsageError(f"{found.source} takes latents up to {most}, not {asked}", hint="choose a smaller size, or fewer frames")
    spread = found.scheduler.get("sigma_data") or 1.0  # of the data in the schedule of 1.0; later ones have none
    return Details(
        layers=block_layers({"transformer_blocks": [block_parameters(model)] * model["num_layers"]}, found.width),
        latent_shape=(channels, reading.past, *latent),
        text=(TEXT_LENGTH, text_width(model)),
        identity={"frames_a_second": FRAMES_A_SECOND[generation], "almost_clean": ALMOST_CLEAN[generation]},
        network={"generation": generation, "spread": spread, "latent": latent},
    )


def block_parameters(model: dict[str, Any]) -> int:
    """Parameters of one block: attention to itself and to the text, feed-forward, and modulation of all three through a narrow matrix."""
    width, head = model["num_attention_heads"] * model["attention_head_dim"], model["attention_head_dim"]
    narrow, source = model.get("adaln_lora_dim", 256), model.get("text_embed_dim", 1024)
    modulation = 3 * (linear(width, narrow, bias=False) + linear(narrow, 3 * width, bias=False))
    plain = {"bias": False, "out_bias": False}
    attentions = attention(width, width, **plain) + attention(width, width, source, **plain) + 4 * head
    return modulation + attentions + feed_forward(width, int(width * model.get("mlp_ratio", 4.0)), bias=False)


def generation_of(found: Configurations) -> str:
    """Tell the generation from the VAE and the text that the model takes; refuses relatives with more inputs."""
    if found.model.get("img_context_dim_in") or found.model.get("controlnet_block_every_n"):
        raise DataError(f"{found.source} takes an image embedding or controls", hint="this backbone reads Text2World and Video2World")
    kind = found.vae.get("_class_name")
    generation = {"AutoencoderKLCosmos": "1.0", "AutoencoderKLWan": "2"}.get(kind or "")
    if generation is None:
        raise DataError(f"{found.source} has a VAE of class {kind}, which no Cosmos has", hint="choose its own backbone")
    return "2.5" if generation == "2" and found.model.get("use_crossattn_projection") else generation


def latent_channels(found: Configurations) -> int:
    """Channels of a latent as the VAE's configuration states them, which generations name differently; 16 where it does not."""
    return found.vae.get("latent_channels" if generation_of(found) == "1.0" else "z_dim", 16)


def text_width(model: dict[str, Any]) -> int:
    """Return the features of a text token before the model's own projection."""
    return model["crossattn_proj_in_channels" if model.get("use_crossattn_projection") else "text_embed_dim"]


def mixture(generation: str, reading: Reading, spread: float) -> Mixture:
    """Return how noise is mixed in and told to the model.

    Parameters
    ----------
    spread
        Standard deviation of the data in the schedule of 1.0.

    References
    ----------
    Karras et al., Elucidating the Design Space of Diffusion-Based Generative Models, table 1, for 1.0.
    """
    known, clean, sigma = bool(reading.future), ALMOST_CLEAN[generation], reading.sigma
    if generation == "1.0":
        level = spread * sigma / (1.0 - sigma**2) ** 0.5 if not known else LOUDEST
        shown = clean if known else level
        share = shown / math.hypot(shown, spread)
        time = 0.25 * math.log(level)
        return Mixture((1.0 - share**2) ** 0.5, share, level / math.hypot(level, spread), time, time)
    if not known:
        return Mixture(1.0 - sigma, sigma, 0.0, sigma, sigma)
    if generation == "2":
        loudest = LOUDEST / (LOUDEST + 1.0)
        return Mixture(1.0, 0.0, loudest, clean / (clean + 1.0), loudest)
    return Mixture(1.0, 0.0, 1.0, clean, 1.0)


FAMILY = DenoiserFamily(
    name="cosmos",
    title="Cosmos",
    model="CosmosTransformer3DModel",
    vae=None,
    network="cosmos:Cosmos",
    options=CosmosOptions,
    needed={
        "transformer": (
            "num_attention_heads",
            "attention_head_dim",
            "num_layers",
            "patch_size",
            "in_channels",
            "max_size",
            "text_embed_dim",
        )
    },
    training=training,
    details=details,
    parts=("transformer", "vae", SCHEDULER),
)
build = FAMILY.build
