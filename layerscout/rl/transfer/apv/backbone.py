"""A folder of a pretrained action-free model in, a backbone out: its encoder stages, recurrent unit and latents are layers like any other's.

A clip is a window of frames, as long as those that the model learned from unless asked otherwise. The recurrent state begins with zeros at its
first frame, and the latents are the likeliest ones, so that a row is a function of its clip alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from layerscout.errors import UsageError, shell
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid, ToldDigest
from layerscout.paths import expand
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.apv.folder import PretrainedModel, open_folder
from layerscout.settings import Config
from layerscout.settings import build as build_settings

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone

RECURRENT, LATENTS, FEATURES = "gru", "latents", "features"


class APVBackboneOptions(Config):
    """A clip is ``frames`` frames, ``stride`` steps apart; left out: as many as the model learned from, at most 16."""

    frames: int | None = Field(default=None, ge=2)
    stride: int = Field(default=1, ge=1)


def build(source: str | None, options: dict[str, Any]) -> Backbone:
    """Describe ``apv:FOLDER``; reads no weights.

    Raises
    ------
    UsageError
        No folder was named.
    DataError
        The folder holds no pretrained model.
    """
    if not source:
        raise UsageError("backbone 'apv' needs the folder of a pretrained model", hint=shell("extract", "apv:outputs/apv", "DATA"))
    model = open_folder(expand(Path(source)))
    chosen = build_settings(APVBackboneOptions, options, "extract.backbone_options")
    frames = chosen.frames or min(model.length, 16)
    layers = layers_of(model.sizes, frames)

    @ToldDigest
    def digest() -> str:
        from layerscout.rl.transfer.apv.keeping import weights_digest

        return weights_digest(model)

    def load(device: Any, dtype: Any = None) -> LoadedBackbone:
        from layerscout.rl.transfer.apv.looking import load_backbone

        return load_backbone(model, layers, frames, device, dtype, digest.told)

    return Backbone(
        name="apv",
        clip=ClipSpec(tuple(chosen.stride * (place + 1 - frames) for place in range(frames)), _frame_shape(model)),
        grid=TokenGrid(frames, 1, 1, past=frames),
        layers=layers,
        default_pooling="last/tokens",
        identity={"class": "ActionFree", "sizes": model.sizes.model_dump(), "latents": "likeliest", "first state": "zeros"},
        weights_digest=digest,
        load=load,
    )


def layers_of(sizes: APVModelConfig, frames: int) -> tuple[LayerInfo, ...]:
    """Return encoder stages, recurrent state, probabilities of the latents, and what decoder and heads read."""
    before, found = sizes.channels, []
    for depth, (channels, side) in enumerate(sizes.maps):
        parameters = 16 * before * channels + channels
        found.append(
            LayerInfo(f"encoder.{depth}", f"encoder.stages.{depth}", depth, channels, parameters, TokenGrid(frames, side, side, frames))
        )
        before = channels
    grid, depth = TokenGrid(frames, 1, 1, frames), len(found)
    found.append(LayerInfo(RECURRENT, RECURRENT, depth, sizes.deter, _recurrent_parameters(sizes), grid))
    return (
        *found,
        LayerInfo(LATENTS, LATENTS, depth + 1, sizes.stochastic, 0, grid),  # both are computed in the recurrence
        LayerInfo(FEATURES, FEATURES, depth + 2, sizes.features, 0, grid),
    )


def _recurrent_parameters(sizes: APVModelConfig) -> int:
    """Weights and biases of the recurrent model: into it, the unit and its norm, what is foretold, what is seen."""
    deter, hidden, latent = sizes.deter, sizes.hidden, sizes.stochastic
    unit = (deter + hidden + 1) * 3 * deter + 6 * deter
    foretold, seen = (deter + 1) * hidden + (hidden + 1) * latent, (deter + sizes.embedding + 1) * hidden + (hidden + 1) * latent
    return (latent + 1) * hidden + unit + foretold + seen


def _frame_shape(model: PretrainedModel) -> tuple[int, int, int]:
    return (model.sizes.size, model.sizes.size, model.sizes.channels)
