"""A folder that transformers wrote in, its configuration out: as it was written, and as the library completes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerscout.errors import DataError, MissingExtraError, install
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.folder import AGAIN, read_config

PASSING = ("transformers_version", "torch_dtype", "dtype", "architectures")  # how it was saved, not what it computes


def configuration(folder: CheckpointFolder | Path, model_type: str) -> dict[str, Any]:
    """Read what the configuration says of the numbers, without how and by which version it was saved.

    Raises
    ------
    DataError
        It is missing, not JSON, or of another family.
    """
    written = read_config(folder)
    if written.get("model_type") != model_type:
        raise DataError(
            f"{folder}/config.json has model_type {written.get('model_type')!r}, expected {model_type!r}",
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
        message = " ".join(str(error).split())
        raise DataError(f"transformers refuses this {config['model_type']} configuration: {message}", hint=AGAIN) from None


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
        raise MissingExtraError("this backbone needs transformers, which is not installed", hint=install("transformers")) from None
    return transformers


def library_config(config: dict[str, Any]) -> Any:
    """Return the library's own configuration, without the note of how weights are quantised: they are not when they arrive there."""
    plain = {key: value for key, value in config.items() if key != "quantization_config"}
    return transformers_package().AutoConfig.for_model(**plain)
