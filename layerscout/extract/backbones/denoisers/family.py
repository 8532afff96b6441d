"""One family of video denoisers, a checkpoint's address and options in, its description out; nothing here imports torch.

What the eight families have in common is here: which configurations are read, how options are checked, what the identity says.
A family's own file holds what is particular to it, and its network (``networks``) is imported when a model is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscout.errors import DataError, UsageError
from layerscout.extract.backbones.base import Backbone, ClipSpec, LayerInfo, TokenGrid, network_part
from layerscout.extract.backbones.denoisers import prompts
from layerscout.extract.backbones.denoisers.options import DenoiserOptions, Reading, Training, checked_reading, newest_steps
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder, open_checkpoint
from layerscout.extract.checkpoints.checkpoint_weights import CheckpointWeights
from layerscout.extract.checkpoints.folder import config_digest, read_config
from layerscout.settings import build as build_settings

if TYPE_CHECKING:
    from layerscout.extract.backbones.loaded import LoadedBackbone

SCHEDULER = "scheduler"
FILES = {SCHEDULER: "scheduler_config.json"}  # configurations that are not called config.json


@dataclass(frozen=True)
class Configurations:
    """What a checkpoint says of itself: the configurations that its family asks for, by the part of the checkpoint."""

    source: str
    folder: CheckpointFolder
    parts: dict[str, dict[str, Any]]
    model: dict[str, Any]

    @property
    def vae(self) -> dict[str, Any]:
        """The VAE's configuration, as its file states it."""
        return self.parts["vae"]

    @property
    def scheduler(self) -> dict[str, Any]:
        """The noise schedule's configuration, as its file states it."""
        return self.parts[SCHEDULER]

    @property
    def index(self) -> dict[str, Any]:
        """``model_index.json``: which class each part of the pipeline is of."""
        return self.parts["model_index.json"]

    @property
    def width(self) -> int:
        """Features of a token of a transformer."""
        return self.model["num_attention_heads"] * self.model["attention_head_dim"]


@dataclass(frozen=True)
class Details:
    """What of a description depends on the reading that was asked for.

    ``text`` is how many tokens and features the prompt's embedding has, None for a family without text. ``network`` are further
    arguments of its network. ``parts`` are more parts of the checkpoint that a pass needs, ``weighed`` those of them whose weights
    decide the numbers, ``configs`` more configurations that do. ``part`` is the folder of the model that is read, and ``model`` its
    configuration, where it is not the family's first. ``time`` and ``past`` are token slots, where they are no latent frames.
    """

    layers: tuple[LayerInfo, ...]
    latent_shape: tuple[int, ...] | None
    text: tuple[int, int] | None
    identity: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    part: str | None = None
    model: dict[str, Any] | None = None
    parts: tuple[str, ...] = ()
    weighed: tuple[str, ...] = ()
    configs: tuple[Path, ...] = ()
    time: int | None = None
    past: int | None = None
    group: int = 1


@dataclass(frozen=True)
class DenoiserFamily:
    """One family of video denoisers as diffusers saves them.

    ``model`` and ``vae`` are the classes of its two networks (None: any class), ``part`` the folder of the first; ``parts`` are all
    that a description reads, ``needed`` the fields that each of them must have, ``sometimes`` parts that only some checkpoints have. ``training`` tells what a checkpoint was trained for,
    ``details`` what follows from the reading. ``network`` names the class that runs it. ``no_empty`` says why there is no empty
    prompt, where there is none.
    """

    name: str
    title: str
    model: str
    vae: str | None
    network: str
    options: type[DenoiserOptions]
    needed: dict[str, tuple[str, ...]]
    training: Callable[[Configurations, Any], Training]
    details: Callable[[Configurations, Any, Reading], Details]
    part: str = "transformer"
    parts: tuple[str, ...] = ("transformer", "vae")
    sometimes: tuple[str, ...] = ()
    no_empty: str | None = None

    def build(self, source: str | None, options: dict[str, Any]) -> Backbone:
        """Describe the checkpoint at ``source``, a folder or a hub id; reads its configurations, no weights.

        Raises
        ------
        UsageError
            No source, a regime that it was not trained for, a frame count or a size that it does not take.
        DataError
            The folder is no checkpoint of this family, or its weights are not safetensors.
        """
        if source is None:
            raise UsageError(f"backbone '{self.name}' needs a checkpoint", hint=f"write {self.name}:FOLDER or {self.name}:HUB-ID")
        chosen = build_settings(self.options, options, "extract.backbone_options")
        if chosen.text == "empty" and self.no_empty is not None:
            raise UsageError(
                f"{self.title} takes text 'zeros' or a safetensors file, not 'empty': {self.no_empty}",
                hint="--set extract.backbone_options.text=zeros",
            )
        found = self._configurations(source, (*self.parts, *self.sometimes, *prompts.parts(chosen.text)))
        training = self.training(found, chosen)
        reading = checked_reading(training, chosen)
        return self._described(found, chosen, training, reading, self.details(found, chosen, reading))

    def _configurations(self, source: str, parts: Sequence[str]) -> Configurations:
        folder = open_checkpoint(source, parts)
        classes = {self.part: self.model, "vae": self.vae}
        read = {
            part: read_config(folder, name=part)
            if "." in part
            else read_config(folder / part, name=FILES.get(part, "config.json"), kind=classes.get(part), needed=self.needed.get(part, ()))
            for part in self.parts
        }
        return Configurations(source, folder, read, read[self.part])

    def _described(
        self, found: Configurations, chosen: DenoiserOptions, training: Training, reading: Reading, details: Details
    ) -> Backbone:
        prompt = prompts.parts(chosen.text)
        part = details.part or self.part
        schedule = [name for name in self.parts if name == SCHEDULER]
        weighed = (part, "vae", *(name for name in prompt if name == prompts.ENCODER), *details.weighed)
        others = tuple(name for name in (*schedule, *prompt, *details.parts) if name not in weighed)
        weights = CheckpointWeights(found.folder, weighed, others).inspect()
        text = {} if details.text is None else {"text": prompts.describe_text(chosen.text, *details.text)}
        time, past = details.time or reading.slots, details.past or reading.past
        configs = [details.model or found.model, found.vae, *(found.parts[name] for name in schedule)]
        configs += [read_config(found.folder / str(file.parent), name=file.name) for file in details.configs]
        configs += [read_config(found.folder / prompts.ENCODER)] if prompt else []

        def load(device: Any, dtype: Any = None) -> LoadedBackbone:
            import torch

            if details.text is not None and prompts.describe_text(chosen.text, *details.text) != text["text"]:
                raise DataError(f"{chosen.text} was changed since the model was described", hint="run the same command again")
            network = network_part(self.network)
            return network(weights.fetch(), reading, chosen.text, device, dtype or torch.float32, **details.network)

        return Backbone(
            name=self.name,
            clip=ClipSpec(offsets=tuple(range(1 - reading.frames, 1)), frame_shape=(*reading.size, 3)),
            grid=TokenGrid(time=time, height=reading.size[0] // training.cell, width=reading.size[1] // training.cell, past=past),
            layers=details.layers,
            default_pooling="future/mean" if reading.future else "all/mean",
            identity={"class": configs[0]["_class_name"], "config_digest": config_digest(*configs)}
            | reading.identity
            | {"vae": "mode"}
            | text
            | details.identity,
            weights_digest=weights.known_digest,
            load=load,
            weights=weights,
            latent_shape=details.latent_shape,
            seen=newest_steps(reading.frames, training.step, details.group),
        )


def block_layers(lists: dict[str, Sequence[int]], width: int) -> tuple[LayerInfo, ...]:
    """Describe every block of a model's lists, in the order they run: each list's parameters, block by block."""
    named = [(f"{name}.{i}", parameters) for name, counts in lists.items() for i, parameters in enumerate(counts)]
    return tuple(LayerInfo(name, name, depth, width, parameters) for depth, (name, parameters) in enumerate(named))


def check_channels(source: str, taken: int, allowed: Sequence[int]) -> None:
    """Refuse a model that takes other channels than its VAE gives and this family adds."""
    if taken not in allowed:
        numbers = " or ".join(str(number) for number in dict.fromkeys(allowed))
        raise DataError(
            f"{source} takes {taken} channels, expected {numbers}", hint="this backbone does not know that relative of the family"
        )
