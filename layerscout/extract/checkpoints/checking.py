"""The weights of a described model in, whether they would load out: names, shapes and kinds are compared, no value is read."""

from __future__ import annotations

from typing import Any

from layerscout.errors import DataError, LayerscoutError
from layerscout.extract.checkpoints.checkpoint_weights import CheckpointWeights
from layerscout.extract.checkpoints.fitting import matched
from layerscout.extract.checkpoints.folder import read_config
from layerscout.extract.checkpoints.weight_set import AGAIN
from layerscout.extract.checkpoints.without_memory import without_memory

IMAGE_ENCODER = "image_encoder"  # saved with a projection that nobody reads here


def check_weights(weights: CheckpointWeights) -> None:
    """Hold every part's stored tensors against the model that its configuration describes.

    Raises
    ------
    DataError
        A set is incomplete, its numbers are in a format that is not read, or it does not fit (see `fitting`).
    """
    for name in weights.weighed:
        part = weights.part(name)
        config = read_config(part)
        stored = part.stored(config)
        diffusers_part = "_class_name" in config
        try:
            kind, model = _built(name, config, weights.kinds.get(name))
        except LayerscoutError:
            raise
        except Exception as error:  # what the two libraries throw has no common class
            message = " ".join(str(error).split())[:200]
            raise DataError(f"{part} is of no model that can be built: {type(error).__name__}: {message}", hint=AGAIN) from error
        matched(model, stored, kind, whole=diffusers_part)


def _built(name: str, config: dict[str, Any], kind: str | None) -> tuple[str, Any]:
    """Build the model of a part without memory; its class is said by its configuration."""
    if "_class_name" in config:
        import diffusers

        kind = str(config["_class_name"])
        model = getattr(diffusers, kind)
        return kind, without_memory(lambda: model.from_config(config))
    from layerscout.extract.checkpoints.transformers_folder import library_config, transformers_package

    transformers = transformers_package()
    kind = kind or ("CLIPVisionModel" if name == IMAGE_ENCODER else str((config.get("architectures") or ["AutoModel"])[0]))
    model = getattr(transformers, kind)
    return kind, without_memory(lambda: model(library_config(config)))
