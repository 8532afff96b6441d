"""One part of a checkpoint that transformers wrote in, the library's model with its weights out, frozen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from layerscout.errors import DataError, LayerscoutError
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder, as_checkpoint
from layerscout.extract.checkpoints.fitting import SHOWN, matched
from layerscout.extract.checkpoints.tensors.stored import StoredTensors
from layerscout.extract.checkpoints.tensors.values import DTYPES, read_value
from layerscout.extract.checkpoints.transformers_folder import library_config, transformers_package
from layerscout.extract.checkpoints.weight_set import AGAIN
from layerscout.extract.checkpoints.without_memory import without_memory


def load_transformers(
    kind: str,
    folder: CheckpointFolder | Path,
    config: dict[str, Any],
    construct: dict[str, Any],
    idle: Sequence[str],
    dtype: torch.dtype | str,
) -> Any:
    """Load the model on the processor, frozen, in evaluation mode.

    The library names, joins and ties the weights; where they lie and what their numbers mean is told here (see `fitting`).

    Parameters
    ----------
    kind
        The class of transformers.
    config
        The part's configuration, as the model is to be built.
    construct
        Further arguments of its constructor.
    idle
        Beginnings of names of weights that may be missing.
    dtype
        What the model computes in; ``auto`` is what the configuration says, else the stored type.

    Raises
    ------
    DataError
        The weights are not safetensors, cannot be read, or do not fit (the library alone would draw missing ones at random).
    """
    part, transformers = as_checkpoint(folder), transformers_package()
    stored = part.stored(config)
    model_class = getattr(transformers, kind)
    try:
        built = library_config(config)
        names = matched(without_memory(lambda: model_class(built, **construct)), stored, kind, whole=False)
        joined = [name for name in stored.values if name not in names.values()]
        lazily = {name: _Stored(stored, name) for name in (*names.values(), *joined)}
        with _silent(), torch.random.fork_rng(devices=[]):
            loaded, report = model_class.from_pretrained(
                None,
                config=library_config(config),
                state_dict=lazily,
                dtype=_dtype(built, stored) if dtype == "auto" else dtype,
                output_loading_info=True,
                **construct,
            )
    except LayerscoutError:
        raise
    except Exception as error:  # what transformers throws at a model that it cannot build has no common class
        message = " ".join(str(error).split())
        raise DataError(f"the weights in {part} cannot be loaded: {type(error).__name__}: {message}", hint=AGAIN) from error
    lacking = sorted(key for key in report["missing_keys"] if not key.startswith(tuple(idle)))
    lacking += sorted(str(key) for key in report["mismatched_keys"])
    if lacking:
        more = ", …" if len(lacking) > SHOWN else ""
        raise DataError(f"{part} lacks {len(lacking)} weights of its configuration, first {', '.join(lacking[:SHOWN])}{more}", hint=AGAIN)
    return loaded.eval().requires_grad_(False)


class _Stored:
    """A stored tensor that the library reads when it needs it, as it does a slice of a safetensors file."""

    def __init__(self, stored: StoredTensors, name: str) -> None:
        self._stored, self._name = stored, name

    def __getitem__(self, every: Any) -> torch.Tensor:
        return read_value(self._stored, self._name)[every]


def _dtype(config: Any, stored: StoredTensors) -> torch.dtype:
    """Return what the model was saved to compute in: as its configuration says, else as its first weight is stored."""
    if isinstance(stated := getattr(config, "dtype", None), torch.dtype) and stated.itemsize > 1:  # nothing is computed in 8 bits
        return stated
    kept = (DTYPES[stored.range(name).dtype] for name in stored.values)
    return next((dtype for dtype in kept if dtype.is_floating_point and dtype.itemsize > 1), torch.float32)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers from drawing its own bar and from telling of weights that nobody wants here (heads, decoders)."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
