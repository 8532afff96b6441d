"""A model's configuration in, the model without memory for its weights out."""

from __future__ import annotations

import json
from typing import Any

from torch import nn

from layerscout.errors import DataError
from layerscout.extract.checkpoints.weight_set import AGAIN
from layerscout.extract.checkpoints.without_memory import without_memory


def configuration(model: Any) -> dict[str, Any] | None:
    """Return what `skeleton` builds a model from, as plain JSON data; None when the model is of neither library."""
    teller: Any = model if hasattr(model, "to_json_string") else getattr(model, "config", None)  # diffusers, transformers
    if not hasattr(teller, "to_json_string"):
        return None
    fields: dict[str, Any] = json.loads(teller.to_json_string())
    return {key: value for key, value in fields.items() if key == "_class_name" or not key.startswith("_")}


def skeleton(config: dict[str, Any], where: str) -> nn.Module:
    """Build the model of a configuration without memory for its weights; its buffers are real.

    Raises
    ------
    DataError
        The configuration is of no model that diffusers or transformers knows.
    """
    try:
        if "_class_name" in config:
            import diffusers

            kind = getattr(diffusers, config["_class_name"])
            built: nn.Module = without_memory(lambda: kind.from_config(config))
        else:
            from transformers import AutoConfig, AutoModel

            built = without_memory(lambda: AutoModel.from_config(AutoConfig.for_model(**config)))
    except Exception as error:  # what the two libraries throw has no common class
        message = " ".join(str(error).split())[:200]
        raise DataError(f"{where} is of no model that can be built: {type(error).__name__}: {message}", hint=AGAIN) from error
    return built
