"""A safetensors file, or a state that somebody read himself, in; tensors that fill a module out: the gate for modules of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from layerscout.errors import DataError
from layerscout.extract.checkpoints.fitting import check_fit, listed
from layerscout.extract.checkpoints.tensors.formats import SCALED, read_layout
from layerscout.extract.checkpoints.tensors.stored import stored_file
from layerscout.extract.checkpoints.tensors.values import DTYPES, read_value, scaled

NAMES = {dtype: name for name, dtype in DTYPES.items()}  # of types, as safetensors calls them
LOOSE = "make the module that they are of; strict=False leaves what is missing as the module makes it, and drops the rest"


def read_state(file: Path | str) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file, for ``weights`` of `from_module`; numbers with a scale beside them are multiplied by it.

    Raises
    ------
    DataError
        There is no such file, it is damaged, or its numbers are in a format that is not read.
    """
    stored = stored_file(Path(file))
    return {name: read_value(stored, name) for name in stored.values}


def fitted(module: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str, strict: bool = True) -> dict[str, Tensor]:
    """Return the given tensors as a module takes them.

    Parameters
    ----------
    module
        The module's own state.
    given
        Name → tensor. Numbers with a scale beside them are multiplied by it.
    where
        What errors call the tensors.
    strict
        Whether every weight must be given, and nothing else. Shapes must fit in any case.

    Raises
    ------
    DataError
        They do not fit, or are in a format that is not read, or an adapter lies beside them.
    """
    described = {name: _Described(NAMES.get(value.dtype, str(value.dtype)), tuple(value.shape)) for name, value in given.items()}
    extra = set(given) - set(module)
    eight_bits = {name for name in given if described[name].dtype in SCALED and name in module and module[name].is_floating_point()}
    layout = read_layout(extra | eight_bits, {name: described[name] for name in extra | eight_bits}, where)
    found = {name: described[name] for name in given if name in module}
    expected = module if strict else {name: value for name, value in module.items() if name in found}
    left = sorted(extra - set(layout.scales.values()) - layout.passing)
    if strict and left:
        raise DataError(f"{where} do not fit the module: {len(left)} belong to nothing in it: {listed(left)}", hint=LOOSE)
    try:
        check_fit(expected, found, f"{where} do not fit the module: the state", scaled=list(layout.scales))
    except DataError as error:
        raise DataError(str(error), hint=LOOSE) from None
    return {name: scaled(given[name], given[layout.scales[name]]) if name in layout.scales else given[name] for name in found}


@dataclass(frozen=True)
class _Described:
    """A tensor's type, as safetensors calls it, and its shape."""

    dtype: str
    shape: tuple[int, ...]
