"""A model's configuration in, the model without memory for its weights out; how its files and its family name and keep weights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
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
        told = " ".join(str(error).split())[:200]
        raise DataError(f"{where} is of no model that can be built: {type(error).__name__}: {told}", hint=AGAIN) from error
    return built


def renamed(model: Any, listed: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (name in the model, name in the files): both libraries read weights under names of their older versions too."""
    if hasattr(model, "_fix_state_dict_keys_on_load"):  # diffusers
        found = {name: name for name in listed}
        names = set(found)
        model._fix_state_dict_keys_on_load(found)
        yield from found.items()
        for name in sorted(names - set(found.values())):  # two names of one weight: the library takes one of them in silence
            alone = {name: name}
            model._fix_state_dict_keys_on_load(alone)
            yield from alone.items()
        return
    state = model.state_dict()
    for name, (new, joined) in _conversions(model, listed).items():
        if not joined or new not in state:  # else several stored tensors make one: it is not found, and told as lacking
            yield new, name


def _conversions(model: Any, listed: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Return stored name → (name in the model, whether others are joined with it), as transformers does."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    conversions = get_model_conversion_mapping(model)
    renamings = [item for item in conversions if isinstance(item, WeightRenaming)]
    others: Any = [item for item in conversions if not isinstance(item, WeightRenaming)]
    state = model.state_dict()
    found = {}
    for name in listed:
        new, pattern = rename_source_key(name, renamings, others, model.base_model_prefix, state)
        if new not in state and name in state:  # it had its new name already
            new, pattern = name, None
        found[name] = new, pattern is not None
    return found


def ignored(model: Any, name: str) -> bool:
    """Tell whether the library itself passes over a stored tensor that the model has no use for any more."""
    patterns = [*(getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ())]
    if any(buffer.endswith("position_ids") for buffer, _ in model.named_buffers()):
        patterns.append(r"(^|\.)position_ids$")
    return any(re.search(pattern, name) for pattern in patterns)


def kept_in_float32(model: Any) -> frozenset[str]:
    """Return the names of modules whose weights a family keeps in float32, whatever it computes in."""
    strict = getattr(model, "_keep_in_fp32_modules_strict", None) or ()
    return frozenset(getattr(model, "_keep_in_fp32_modules", None) or ()) | frozenset(strict)
