"""One part of a checkpoint in a folder in, the diffusers model with its weights out, frozen.

Weights are read from safetensors only, one tensor at a time, straight into the precision asked for: a model never
exists twice in memory, and modules that a family keeps in float32 stay there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.checkpoints.folder import AGAIN, read_config, weight_files
from layerscout.extract.checkpoints.without_memory import without_memory


def load_model(
    kind: Any, folder: Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu", keep: Sequence[str] = ()
) -> Any:
    """Load one part of a checkpoint, frozen and in evaluation mode.

    Parameters
    ----------
    kind
        The diffusers class of the part.
    dtype
        What weights are brought to, whatever they are stored in; modules in the class's ``_keep_in_fp32_modules`` stay float32.
    keep
        More names of modules or weights that stay float32.

    Raises
    ------
    DataError
        A weight file cannot be read, or weights are missing or of another shape than the configuration says.
    """
    files, config = weight_files(folder), read_config(folder)
    kept = (*(kind._keep_in_fp32_modules or ()), *keep)
    try:
        model = without_memory(lambda: kind.from_config(config))
        weights = _read(files, lambda name: torch.float32 if set(kept) & set(name.split(".")) else dtype, device)
        model._fix_state_dict_keys_on_load(weights)  # names of layers as older versions of the library wrote them
        expected = {name: value.shape for name, value in model.state_dict().items()}
        wrong = [name for name in expected if name not in weights or weights[name].shape != expected[name]]
        if not wrong:
            model.load_state_dict({name: weights[name] for name in expected}, assign=True)
    except Exception as error:  # what diffusers and safetensors throw at a damaged file has no common class
        told = " ".join(str(error).split())
        raise DataError(f"the weights in {folder} cannot be loaded: {type(error).__name__}: {told}", hint=AGAIN) from error
    if wrong:
        first = wrong[0]
        other = f" (it has shape {tuple(weights[first].shape)}, expected {tuple(expected[first])})" if first in weights else ""
        raise DataError(f"{folder} lacks {len(wrong)} weights of its configuration, first {first}{other}", hint=AGAIN)
    return model.to(device).eval().requires_grad_(False)  # buffers that no file holds move here


def _read(files: Sequence[Path], precision: Any, device: torch.device | str) -> dict[str, Tensor]:
    """Read every tensor once; a copy each, because a mapped file may be replaced while the model lives, and because mapped
    tensors lie at any address, where processors round sums otherwise in the last bit."""
    from safetensors import safe_open

    weights = {}
    for file in files:
        with safe_open(file, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118 - it is not a mapping
                tensor = stream.get_tensor(name)
                weights[name] = tensor.to(device, precision(name) if tensor.is_floating_point() else tensor.dtype, copy=True)
    return weights
