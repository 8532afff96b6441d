"""One part of a checkpoint in, the diffusers model with its weights out, frozen.

Weights are read from safetensors only, one tensor at a time, straight into the precision asked for: a model never
exists twice in memory, and modules that a family keeps in float32 stay there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from layerscout.errors import DataError, LayerscoutError
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder, as_checkpoint
from layerscout.extract.checkpoints.fitting import matched
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.libraries import kept_in_float32
from layerscout.extract.checkpoints.tensors.values import read_value
from layerscout.extract.checkpoints.weight_set import AGAIN
from layerscout.extract.checkpoints.without_memory import without_memory


def load_model(
    kind: Any,
    folder: CheckpointFolder | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    keep: Sequence[str] = (),
) -> Any:
    """Load one part of a checkpoint, frozen and in evaluation mode.

    Parameters
    ----------
    kind
        The diffusers class of the part.
    folder
        The part, on this machine.
    dtype
        What weights are brought to, whatever they are stored in; modules that the class keeps in float32 stay there.
    keep
        More names of modules or weights that stay float32.

    Raises
    ------
    DataError
        A weight file cannot be read or was changed since it was hashed, or what is stored does not fit the configuration
        (see `fitting`).
    """
    part = as_checkpoint(folder)
    config = read_config(part)
    stored = part.stored(config)
    kept = {*kept_in_float32(kind), *keep}
    try:
        model = without_memory(lambda: kind.from_config(config))
        state = model.state_dict()
        for name, held in matched(model, stored, kind.__name__).items():
            value = read_value(stored, held)
            own = torch.float32 if kept & set(name.split(".")) else dtype
            state[name] = value.to(device, own if value.is_floating_point() else value.dtype)
        model.load_state_dict(state, assign=True)
    except LayerscoutError:
        raise
    except Exception as error:  # what diffusers throws at a configuration that is not its own has no common class
        message = " ".join(str(error).split())
        raise DataError(f"the weights in {part} cannot be loaded: {type(error).__name__}: {message}", hint=AGAIN) from error
    return model.to(device).eval().requires_grad_(False)  # buffers that no file holds move here
