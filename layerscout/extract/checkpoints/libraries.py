"""What diffusers and transformers know of their own weights and tell nobody: every private name of theirs that is used here.

How they rename weights that older versions wrote, which they pass over, and what a family keeps in float32. A version that does not
have these names any more is refused by its number.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from layerscout.errors import MissingExtraError

RENAME = "_fix_state_dict_keys_on_load"  # of a diffusers model: brings the names in a state to its own
KEPT = ("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict")
PASSED_OVER = "_keys_to_ignore_on_load_unexpected"


def renamed(model: Any, listed: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield (name in the model, name in the files): both libraries read weights under names of their older versions too."""
    if _of_diffusers(model):  # diffusers
        found = {name: name for name in listed}
        names = set(found)
        _private(model, RENAME)(found)
        yield from found.items()
        for name in sorted(names - set(found.values())):  # two names of one weight: the library takes one of them in silence
            alone = {name: name}
            _private(model, RENAME)(alone)
            yield from alone.items()
        return
    state = model.state_dict()
    for name, (new, joined) in _conversions(model, listed).items():
        if not joined or new not in state:  # else several stored tensors make one: it is not found, and told as lacking
            yield new, name


def _conversions(model: Any, listed: Iterable[str]) -> dict[str, tuple[str, bool]]:
    """Return stored name → (name in the model, whether others are joined with it), as transformers does."""
    conversions = _private("transformers.conversion_mapping", "get_model_conversion_mapping")(model)
    renaming = _private("transformers.core_model_loading", "WeightRenaming")
    rename_source_key = _private("transformers.core_model_loading", "rename_source_key")
    renamings = [item for item in conversions if isinstance(item, renaming)]
    others = [item for item in conversions if not isinstance(item, renaming)]
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
    patterns = [*(getattr(model, PASSED_OVER, None) or ())]
    if any(buffer.endswith("position_ids") for buffer, _ in model.named_buffers()):
        patterns.append(r"(^|\.)position_ids$")
    return any(re.search(pattern, name) for pattern in patterns)


def kept_in_float32(model: Any) -> frozenset[str]:
    """Return the names of modules whose weights a family keeps in float32, whatever it computes in."""
    return frozenset(name for field in KEPT for name in getattr(model, field, None) or ())


def _of_diffusers(model: Any) -> bool:
    return type(model).__module__.startswith("diffusers.")


def _private(owner: Any, name: str) -> Any:
    """Return a private name of a module of a library, or of one of its models."""
    package = owner.partition(".")[0] if isinstance(owner, str) else type(owner).__module__.partition(".")[0]
    try:
        return getattr(importlib.import_module(owner) if isinstance(owner, str) else owner, name)
    except (ImportError, AttributeError):
        version = importlib.import_module(package).__version__
        raise MissingExtraError(
            f"{package} {version} loads weights in another way than this version of layerscout knows: it has no {name}",
            hint=f"install an older {package}, as constraints.txt of layerscout names it, or a newer layerscout",
        ) from None
