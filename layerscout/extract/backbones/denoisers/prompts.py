"""``zeros``, ``empty`` or a file in; the one text embedding that conditions every row out.

``zeros`` needs no text encoder. ``empty`` runs the checkpoint's own tokenizer and text encoder once on the empty
prompt. A file holds ``prompt_embeds`` [token, feature] and, if some tokens are padding, ``prompt_attention_mask`` [token].
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from layerscout.errors import DataError, UsageError
from layerscout.extract.checkpoints import transformers_folder as transformers_checkpoint
from layerscout.extract.checkpoints.folder import AGAIN, read_config

PARTS = ("tokenizer", "text_encoder")  # of a checkpoint, needed for ``empty`` only
ENCODERS = ("T5EncoderModel", "UMT5EncoderModel")
EMBEDDING, MASK = "prompt_embeds", "prompt_attention_mask"


@dataclass(frozen=True)
class Text:
    """One embedding for all rows; ``mask`` is 1 for tokens that count."""

    embedding: Float[Tensor, "1 token feature"]
    mask: Float[Tensor, "1 token"]


def parts(text: str) -> tuple[str, ...]:
    """Return the folders of a checkpoint that this text needs beside the model's own."""
    return PARTS if text == "empty" else ()


def describe(text: str, length: int, width: int) -> str:
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
    _from_file(text, length, width)
    return f"sha256:{hashlib.sha256(Path(text).expanduser().read_bytes()).hexdigest()}"


def load(text: str, folder: Path, length: int, width: int, *, zero_padding: bool = False) -> Text:
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
    ids, mask = _tokens(folder / "tokenizer", length)
    embedding = _encode(folder / "text_encoder", ids, mask if zero_padding else None)
    if embedding.shape[-1] != width:
        raise DataError(f"{folder / 'text_encoder'} gives {embedding.shape[-1]} features a token, the model takes {width}", hint=AGAIN)
    return Text(embedding * mask[..., None] if zero_padding else embedding, mask)


def _tokens(folder: Path, length: int) -> tuple[Tensor, Float[Tensor, "1 token"]]:
    library = transformers_checkpoint.transformers_package()
    try:
        tokens = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)(
            [""], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
    except Exception as error:  # what tokenizers throw at a damaged or missing folder has no common class
        raise DataError(f"the tokenizer in {folder} cannot be used: {' '.join(str(error).split())}", hint=AGAIN) from error
    return tokens.input_ids, tokens.attention_mask.to(torch.float32)


@torch.no_grad()
def _encode(folder: Path, ids: Tensor, mask: Float[Tensor, "1 token"] | None) -> Float[Tensor, "1 token feature"]:
    config = read_config(folder)
    kind = next(iter(config.get("architectures") or ["nothing"]))
    if kind not in ENCODERS:
        raise DataError(f"{folder} holds {kind}, expected {' or '.join(ENCODERS)}", hint="--set extract.backbone_options.text=zeros")
    model = transformers_checkpoint.load(kind, folder, config, {}, (), "auto")
    return model(ids, attention_mask=mask).last_hidden_state.to(torch.float32)


def _from_file(text: str, length: int, width: int) -> Text:
    file = Path(text).expanduser()
    if file.suffix != ".safetensors" or not file.is_file():
        raise UsageError(
            f"text '{text}' is neither zeros nor empty nor a safetensors file", hint="--set extract.backbone_options.text=zeros"
        )
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
        embedding = tensors[EMBEDDING].to(torch.float32).reshape(-1, tensors[EMBEDDING].shape[-1])
    except Exception as error:  # safetensors' own errors have no common class
        raise DataError(f"{file} holds no readable '{EMBEDDING}': {error}", hint="write it with safetensors.torch.save_file") from error
    mask = tensors.get(MASK, torch.ones(len(embedding))).to(torch.float32).flatten()
    if embedding.shape != (length, width) or mask.shape != (length,):
        raise DataError(
            f"{file}: '{EMBEDDING}' is {tuple(embedding.shape)} with mask {tuple(mask.shape)}, expected ({length}, {width})",
            hint="pad the embedding as the model's own pipeline does",
        )
    return Text(embedding[None], mask[None])
