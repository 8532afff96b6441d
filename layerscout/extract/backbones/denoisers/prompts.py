"""``zeros``, ``empty`` or a file in; what an identity says of the one text that conditions every row out. No torch.

``zeros`` needs no text encoder. ``empty`` runs the checkpoint's own tokenizer and text encoder once on the empty
prompt. A file holds ``prompt_embeds`` [token, feature] and, if some tokens are padding, ``prompt_attention_mask`` [token].
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

from layerscout.errors import DataError, UsageError
from layerscout.extract.checkpoints.tensors.stored import stored_file
from layerscout.paths import expand

TOKENIZER, ENCODER = "tokenizer", "text_encoder"  # folders of a checkpoint, needed for ``empty`` only
EMBEDDING, MASK = "prompt_embeds", "prompt_attention_mask"


def parts(text: str) -> tuple[str, ...]:
    """Return the folders of a checkpoint that this text needs beside the model's own."""
    return (TOKENIZER, ENCODER) if text == "empty" else ()


def describe_text(text: str, length: int, width: int) -> str:
    """Return what an identity says of the text: ``zeros``, ``empty``, or the digest of the file's bytes.

    Raises
    ------
    UsageError
        ``text`` is neither a known word nor a safetensors file.
    DataError
        The file is damaged, or its embedding has another shape than the model takes.
    """
    if text in ("zeros", "empty"):
        return text
    return f"sha256:{hashlib.sha256(embedding_file(text, length, width).read_bytes()).hexdigest()}"


def embedding_file(text: str, length: int, width: int) -> Path:
    """Return the file of an embedding, whose header says that it has the shape that the model takes."""
    file = expand(text)
    if file.suffix != ".safetensors" or not file.is_file():
        raise UsageError(
            f"text '{text}' is neither zeros nor empty nor a safetensors file", hint="--set extract.backbone_options.text=zeros"
        )
    stored = stored_file(file)
    shapes = {name: stored.range(name).shape for name in stored.values}
    if not shapes.get(EMBEDDING):
        raise DataError(f"{file} holds no readable '{EMBEDDING}'", hint="write it with safetensors.torch.save_file")
    *tokens, features = shapes[EMBEDDING]
    embedding, mask = (math.prod(tokens), features), (math.prod(shapes.get(MASK, tokens)),)
    if embedding != (length, width) or mask != (length,):
        raise DataError(
            f"{file}: '{EMBEDDING}' is {embedding} with mask {mask}, expected ({length}, {width})",
            hint="pad the embedding as the model's own pipeline does",
        )
    return file
