"""A model without weights and the tensors of a checkpoint in, which tensor fills which weight out; what does not fit is refused.

The one gate of every loader: whole models of diffusers and transformers, single blocks, text encoders, and modules of one's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from layerscout.errors import DataError
from layerscout.extract.checkpoints.libraries import ignored, renamed
from layerscout.extract.checkpoints.tensors.formats import Described
from layerscout.extract.checkpoints.tensors.stored import StoredTensors
from layerscout.extract.checkpoints.weight_set import AGAIN

CONVERT = "they are in another program's layout: convert them with the library's own script, and save_pretrained"
SHOWN = 3  # names that a message gives; the rest are counted
# behind the blocks, or of a twin with another head: what a published checkpoint holds beside the model that is read from it
HEADS = {
    "VideoMAEModel": ("decoder.", "encoder_to_decoder.", "mask_token", "classifier.", "fc_norm."),
    "TimesformerModel": ("classifier.",),
    "VivitModel": ("classifier.", "pooler."),
    "VJEPA2Model": ("classifier.", "pooler."),
    "CLIPVisionModel": ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "embeddings.position_ids"),
    "T5EncoderModel": ("decoder.", "lm_head."),
    "UMT5EncoderModel": ("decoder.", "lm_head."),
}
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def matched(model: Any, stored: StoredTensors, kind: str, *, whole: bool = True) -> dict[str, str]:
    """Return name in the model → name in the files, for every weight of a model that fits.

    Parameters
    ----------
    model
        Built without memory, of diffusers or transformers.
    kind
        Its class's name, by which its known heads are told.
    whole
        Whether every weight must be there; transformers itself says so where it joins or ties weights.

    Raises
    ------
    DataError
        As `placed`; or what is there does not fit (see `check_fit`).
    """
    expected, found = model.state_dict(), placed(model, stored, kind)
    check_fit(
        {name: value for name, value in expected.items() if whole or name in found},
        {name: stored.range(held) for name, held in found.items()},
        stored.where,
        scaled=[name for name, held in found.items() if held in stored.layout.scales],
    )
    return found


def placed(model: Any, stored: StoredTensors, kind: str) -> dict[str, str]:
    """Return name in the model → name in the files, by names alone; see `matched`.

    Raises
    ------
    DataError
        Tensors belong to nothing in the model, or two belong to one weight.
    """
    expected, names = model.state_dict(), dict[str, str]()
    for name, held in renamed(model, stored.values):
        if name in names and name in expected:
            raise DataError(f"{stored.where} holds {names[name]} and {held}, which are the same weight", hint=AGAIN)
        names[name] = held
    if names and not set(names) & set(expected):
        first = listed(sorted(names.values()))
        raise DataError(f"{stored.where} holds no weight of {kind}: its tensors are called {first}", hint=CONVERT)
    left = {held for name, held in names.items() if name not in expected and not ignored(model, name) and not is_head(kind, name)}
    check_left(left, stored.where, kind)
    return {name: held for name, held in names.items() if name in expected}


def is_head(kind: str, name: str) -> bool:
    """Tell whether a model of this class may have such a tensor beside it: a head, a decoder, a table that is worked out anew."""
    known = HEADS.get(kind, ())
    return any(name.startswith(head) or f".{head}" in f".{name}" for head in known) or name.endswith("embeddings.position_ids")


def check_left(names: Iterable[str], where: str, kind: str) -> None:
    """Refuse tensors that belong to nothing in the model.

    Raises
    ------
    DataError
        There are any.
    """
    left = sorted(names)
    if left:
        raise DataError(
            f"{where}: {_counted(left, 'tensor')} to nothing in {kind}",
            hint=f"they would have no effect; if they are of an adapter, merge it and save the model, else {AGAIN}",
        )


def check_fit(
    expected: Mapping[str, torch.Tensor],
    found: Mapping[str, Described],
    where: str,
    *,
    scaled: Sequence[str] = (),
    idle: Sequence[str] = (),
) -> None:
    """Hold what a model has against what is stored under the same names.

    Parameters
    ----------
    expected
        The model's state, with or without memory.
    found
        Name in the model → the stored tensor.
    scaled
        Names of those whose numbers are multiplied by a scale.
    idle
        Beginnings of names that may be missing.

    Raises
    ------
    DataError
        Weights are missing, of another shape, or integers where the model has floats.
    """
    lacking = [name for name in expected if name not in found and not name.startswith(tuple(idle))]
    other = [name for name in expected if name in found and tuple(found[name].shape) != tuple(expected[name].shape)]
    packed = [
        name
        for name in expected
        if name in found and expected[name].is_floating_point() and found[name].dtype not in FLOATS and name not in scaled
    ]
    if packed:
        raise DataError(
            f"{where} holds {found[packed[0]].dtype} numbers for {packed[0]}, where the model has floats ({len(packed)} such)",
            hint="the weights are quantised in a format that is not read; save the model in bfloat16",
        )
    if other:
        first = other[0]
        raise DataError(
            f"{where}: {len(other)} weights have another shape than the configuration says: {listed(other)}; "
            f"{first} is {tuple(found[first].shape)}, expected {tuple(expected[first].shape)}",
            hint=AGAIN,
        )
    if lacking:
        raise DataError(f"{where} lacks {len(lacking)} weights of its configuration, first {listed(lacking)}", hint=AGAIN)


def _counted(names: Sequence[str], what: str) -> str:
    many = len(names) > 1
    return f"{len(names)} {what}{'s' * many} belong{'s' * (not many)} ({listed(names)})"


def listed(names: Sequence[str]) -> str:
    """Return the first names of a list for an error message, with an ellipsis where there are more."""
    return f"{', '.join(names[:SHOWN])}{', …' * (len(names) > SHOWN)}"
