"""A folder that transformers wrote, or a hub id, in; its configuration, a block's size and the loaded model out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerscout.errors import DataError, MissingExtraError
from layerscout.extract.backbones.pixels import FILES
from layerscout.extract.checkpoints import folder as checkpoint
from layerscout.extract.checkpoints.folder import AGAIN, weight_files

if TYPE_CHECKING:
    import torch

DESCRIPTION = ("config.json", *FILES)
WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json")
PASSING = ("transformers_version", "torch_dtype", "dtype", "architectures")  # how it was saved, not what it computes


def fetch(source: str, *, weights: bool) -> Path:
    """Return the local folder of a checkpoint; a hub id is downloaded, without its weights if they are not asked for.

    Raises
    ------
    DataError
        There is no such folder, and it is no hub id or the hub does not give it.
    """
    return checkpoint.fetch(source, DESCRIPTION + WEIGHTS if weights else DESCRIPTION, weights=weights)


def configuration(folder: Path, model_type: str) -> dict[str, Any]:
    """Read what the configuration says of the numbers, without how and by which version it was saved.

    Raises
    ------
    DataError
        It is missing, not JSON, or of another family.
    """
    written = checkpoint.read_config(folder)
    if written.get("model_type") != model_type:
        raise DataError(
            f"{folder / 'config.json'} has model_type {written.get('model_type')!r}, expected {model_type!r}",
            hint="choose the backbone of that family",
        )
    return {key: value for key, value in written.items() if key not in PASSING}


def completed(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with the library's default for every field that it leaves out.

    Raises
    ------
    DataError
        A field has a value that the library refuses.
    MissingExtraError
        transformers is not installed.
    """
    transformers = transformers_package()
    from huggingface_hub.errors import StrictDataclassError

    try:
        return transformers.AutoConfig.for_model(**config).to_dict()
    except (TypeError, ValueError, StrictDataclassError) as error:
        told = " ".join(str(error).split())
        raise DataError(f"transformers refuses this {config['model_type']} configuration: {told}", hint=AGAIN) from None


def load(model: str, folder: Path, config: dict[str, Any], construct: dict[str, Any], idle: Sequence[str], dtype: torch.dtype | str) -> Any:
    """Load the model on the processor, frozen, in evaluation mode.

    Weights that start with ``idle`` may be missing; the dtype ``auto`` is the stored one.

    Raises
    ------
    DataError
        The weights are not safetensors, cannot be read, or some are missing (the library alone would draw them at random).
    """
    weight_files(folder)
    transformers = transformers_package()
    import torch

    try:
        with _silent(), torch.random.fork_rng(devices=[]):
            loaded, report = getattr(transformers, model).from_pretrained(
                folder,
                config=transformers.AutoConfig.for_model(**config),
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **construct,
            )
    except Exception as error:  # what transformers and safetensors throw at a damaged file has no common class
        told = " ".join(str(error).split())
        raise DataError(f"the weights in {folder} cannot be loaded: {type(error).__name__}: {told}", hint=AGAIN) from error
    lacking = sorted(key for key in report["missing_keys"] if not key.startswith(tuple(idle)))
    lacking += sorted(str(key) for key in report["mismatched_keys"])
    if lacking:
        raise DataError(f"{folder} lacks {len(lacking)} weights of its configuration, first {lacking[0]}", hint=AGAIN)
    return loaded.eval().requires_grad_(False)


def transformers_package() -> Any:
    """Return the transformers package.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise MissingExtraError(
            "this backbone needs transformers, which is not installed", hint="pip install 'layerscout[transformers]'"
        ) from None
    return transformers


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
