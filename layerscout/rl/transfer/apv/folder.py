"""A folder of a pretrained model in, what it says about itself out: sizes, windows, what it learned from. Reads no weights and no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import load_object
from layerscout.cache.records.sealing import seal
from layerscout.errors import DataError, UsageError, shell
from layerscout.rl.transfer.apv.config import APVModelConfig
from layerscout.rl.transfer.folders import CARD, CHECKPOINT, facts_rows, require_same
from layerscout.settings import build
from layerscout.text import markdown_code

FORMAT = "layerscout apv 1"
DESCRIPTION, WEIGHTS, LOSSES = "apv.json", "model.safetensors", "losses.json"


@dataclass(frozen=True)
class PretrainedModel:
    """What a folder of a pretrained model says about itself.

    Attributes
    ----------
    folder
        Where it lies; its weights are ``model.safetensors`` in it.
    sizes
        Of the model.
    length
        Frames of the windows that it learned from.
    facts
        Where it comes from: the dataset's digest, updates, losses.
    """

    folder: Path
    sizes: APVModelConfig
    length: int
    facts: dict[str, Any]

    @property
    def weights(self) -> Path:
        """The safetensors file in the folder."""
        return self.folder / WEIGHTS

    def require(self, sizes: APVModelConfig) -> None:
        """Refuse sizes that are not the model's.

        Raises
        ------
        DataError
            It names the first setting that differs, and both values.
        """
        require_same(self.sizes.model_dump(), sizes.model_dump(), f"the model in {self.folder}")


def open_folder(folder: Path) -> PretrainedModel:
    """Read what a folder says about its model.

    Raises
    ------
    DataError
        There is no pretrained model, or its description is damaged.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        begun = (folder / CHECKPOINT).is_file()
        message = f"{folder} holds no pretrained model" + (": its pretraining is not finished" if begun else "")
        raise DataError(
            message, hint="run the same pretrain command to continue" if begun else shell("pretrain", "apv", "DATA", "--out", folder)
        )
    try:
        told = load_object(path)
        if told["format"] != FORMAT:
            raise DataError(f"{path} has format {told['format']!r}, expected {FORMAT!r}", hint="pretrain again")
        return PretrainedModel(folder, build(APVModelConfig, told["model"], "pretrain.apv.model"), int(told["length"]), told["facts"])
    except (UsageError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}", hint="pretrain again") from None


def write_description(model: PretrainedModel) -> None:
    """Write what the folder says about its model, and its card; the weights were written before."""
    told = {"format": FORMAT, "model": model.sizes.model_dump(), "length": model.length, "facts": model.facts}
    write_atomic(model.folder / CARD, _card(model).encode())
    write_atomic(model.folder / DESCRIPTION, seal(f"{json.dumps(told, indent=1)}\n".encode()))


def _card(model: PretrainedModel) -> str:
    sizes = model.sizes
    shown = {"frames": f"{sizes.size} x {sizes.size} x {sizes.channels} pixels, windows of {model.length}", **model.facts}
    backbone = markdown_code(f"apv:{model.folder.name}")
    return f"""---
license: "other"
license_name: "that-of-the-videos"
tags: ["layerscout", "video", "world-model", "action-free-pretraining"]
library_name: "layerscout"
---

# An action-free model of videos

A recurrent state-space model with categorical latents, pretrained on videos whose actions nobody recorded (APV, arXiv 2203.13880).
`model.safetensors` holds encoder, recurrent model and decoder, `apv.json` the sizes.

| what | which |
|---|---|
{facts_rows(shown)}

The video loss is ½ Σ (pixel − mean)² in nats a frame, on episodes that were not trained on where there are any; a model that says no more
than the mean picture has the loss of the mean picture. Agents start from it with `layerscout train --algorithm dreamer`; as a backbone it is {backbone}.
"""
