"""``zeros``, ``empty`` or a file in; the one text embedding that conditions every row out (see ``denoisers.prompts``)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.backbones.denoisers.prompts import EMBEDDING, ENCODER, MASK, TOKENIZER, embedding_file
from layerscout.extract.checkpoints.checkpoint import CheckpointFolder
from layerscout.extract.checkpoints.folder import AGAIN, read_config
from layerscout.extract.checkpoints.states import read_state
from layerscout.extract.checkpoints.transformers_folder import transformers_package
from layerscout.extract.checkpoints.transformers_loading import load_transformers

ENCODERS = ("T5EncoderModel", "UMT5EncoderModel")


@dataclass(frozen=True)
class Text:
    """One embedding for all rows; ``mask`` is 1 for tokens that count."""

    embedding: Float[Tensor, "1 token feature"]
    mask: Float[Tensor, "1 token"]


def load_text(text: str, folder: CheckpointFolder | Path, length: int, width: int, *, zero_padding: bool = False) -> Text:
    """Return the embedding that ``text`` asks for.

    Parameters
    ----------
    folder
        The checkpoint, for its tokenizer and text encoder.
    length, width
        Tokens and features of the embedding as the model takes it.
    zero_padding
        Whether padding is hidden from the text encoder and zeroed in its output (Wan), or passed through as it is (T5 of the
        other families).
    """
    if text == "zeros":
        return Text(torch.zeros(1, length, width), torch.ones(1, length))
    if text != "empty":
        return _from_file(text, length, width)
    ids, mask = _tokens(folder / TOKENIZER, length)
    embedding = _encode(folder / ENCODER, ids, mask if zero_padding else None)
    if embedding.shape[-1] != width:
        raise DataError(f"{folder / 'text_encoder'} gives {embedding.shape[-1]} features a token, the model takes {width}", hint=AGAIN)
    return Text(embedding * mask[..., None] if zero_padding else embedding, mask)


def _tokens(folder: CheckpointFolder | Path, length: int) -> tuple[Tensor, Float[Tensor, "1 token"]]:
    library = transformers_package()
    try:
        tokens = library.AutoTokenizer.from_pretrained(os.fspath(folder), local_files_only=True)(
            [""], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
    except Exception as error:  # what tokenizers throw at a damaged or missing folder has no common class
        raise DataError(f"the tokenizer in {folder} cannot be used: {' '.join(str(error).split())}", hint=AGAIN) from error
    return tokens.input_ids, tokens.attention_mask.to(torch.float32)


@torch.no_grad()
def _encode(folder: CheckpointFolder | Path, ids: Tensor, mask: Float[Tensor, "1 token"] | None) -> Float[Tensor, "1 token feature"]:
    config = read_config(folder)
    kind = next(iter(config.get("architectures") or ["nothing"]))
    if kind not in ENCODERS:
        raise DataError(f"{folder} holds {kind}, expected {' or '.join(ENCODERS)}", hint="--set extract.backbone_options.text=zeros")
    model = load_transformers(kind, folder, config, {}, (), "auto")
    return model(ids, attention_mask=mask).last_hidden_state.to(torch.float32)


def _from_file(text: str, length: int, width: int) -> Text:
    tensors = read_state(embedding_file(text, length, width))
    embedding = tensors[EMBEDDING].to(torch.float32).reshape(length, width)
    mask = tensors.get(MASK, torch.ones(length)).to(torch.float32).flatten()
    return Text(embedding[None], mask[None])
