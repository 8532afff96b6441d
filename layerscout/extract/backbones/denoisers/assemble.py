"""Configurations and checked options in, a described denoiser out: what is said in the same way of every family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.denoiser import Reading, newest_steps
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder, open_checkpoint
from layerscout.extract.checkpoints.checkpoint_weights import CheckpointWeights
from layerscout.extract.checkpoints.folder import config_digest, read_config

Open = Callable[[Any, torch.device, torch.dtype], LoadedBackbone]


@dataclass(frozen=True)
class CheckpointSource:
    """A checkpoint as it was asked for; ``parts`` are its folders, ``weighed`` those whose weights decide the numbers."""

    folder: CheckpointFolder
    parts: tuple[str, ...]
    weighed: tuple[str, ...]

    def described(self) -> CheckpointFolder:
        """Return what a description reads: documents, no weights."""
        return self.folder

    @property
    def weights(self) -> CheckpointWeights:
        """The weights that decide the numbers, and what else loading needs."""
        return CheckpointWeights(self.folder, self.weighed, tuple(part for part in self.parts if part not in self.weighed))


def source_of(
    name: str, text: str, *, scheduler: bool = False, model: str = "transformer", folder: CheckpointFolder | None = None
) -> CheckpointSource:
    """Return the parts of a checkpoint that this model and this text need; ``folder`` is the checkpoint where it was opened before."""
    extra = prompts.parts(text)
    parts = (model, "vae", *(["scheduler"] if scheduler else []), *extra)
    weighed = (model, "vae", *(part for part in extra if part == "text_encoder"))
    return CheckpointSource(folder or open_checkpoint(name, parts), parts, weighed)


def assemble(
    family: str,
    source: CheckpointSource,
    reading: Reading,
    *,
    step: int,
    cell: int,
    layers: tuple[LayerInfo, ...],
    configs: Sequence[dict[str, Any]],
    identity: dict[str, Any],
    latent_shape: tuple[int, ...] | None,
    open_with: Open,
) -> Backbone:
    """Describe a denoiser.

    Parameters
    ----------
    step
        Frames a latent frame after the first.
    cell
        Pixels a token, both ways.
    configs
        The configurations that decide the numbers; the first is the model's, and names its class.
    identity
        What else decides them: text, guidance, image.
    open_with
        Loads the model from its folder, on a device, in a precision.
    """
    encoder = [read_config(source.described() / "text_encoder")] if "text_encoder" in source.weighed else []
    weights = source.weights.inspect()
    return Backbone(
        name=family,
        clip=ClipSpec(offsets=tuple(range(1 - reading.frames, 1)), frame_shape=(*reading.size, 3)),
        grid=TokenGrid(time=reading.slots, height=reading.size[0] // cell, width=reading.size[1] // cell, past=reading.past),
        layers=layers,
        default_pooling="future/mean" if reading.future else "all/mean",
        identity={"class": configs[0]["_class_name"], "config_digest": config_digest(*configs, *encoder)}
        | reading.identity
        | {"vae": "mode"}
        | identity,
        weights_digest=weights.known_digest,
        load=lambda device, dtype=torch.float32: open_with(weights.fetch(), device, dtype),
        weights=weights,
        latent_shape=latent_shape,
        seen=newest_steps(reading.frames, step),
    )


def refuse_empty(family: str, text: str, why: str) -> None:
    """Refuse the empty prompt where this program does not encode it."""
    if text == "empty":
        raise UsageError(
            f"{family} takes text 'zeros' or a safetensors file, not 'empty': {why}", hint="--set extract.backbone_options.text=zeros"
        )


def check_channels(source: str, taken: int, allowed: Sequence[int]) -> None:
    """Refuse a model that takes other channels than its VAE gives and this family adds."""
    if taken not in allowed:
        told = " or ".join(str(number) for number in dict.fromkeys(allowed))
        raise DataError(f"{source} takes {taken} channels, expected {told}", hint="this backbone does not know that relative of the family")
