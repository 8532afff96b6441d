"""A passport in, its JSON text and its safetensors bytes out, and back; the block's weights stay in the checkpoint."""

from __future__ import annotations

from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors

from layerscout.cache import records
from layerscout.cache.records import Record
from layerscout.errors import DataError
from layerscout.extract.backbones.base import LayerInfo, TokenGrid
from layerscout.extract.passports.context import Context, layout_leaves
from layerscout.extract.passports.passport_record import Passport
from layerscout.extract.passports.ports import AXES, PORTS, laid_out, memory_axes

AGAIN = "extract again; the store is of another version of layerscout or was changed"
CONTEXT = "context."
ARGUMENT = "argument"  # the block's first argument, among the names of tensors
PLAIN_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


class GridText(Record):
    """A token grid as it is written in a passport's file; the fields are those of `TokenGrid`."""

    time: int
    height: int
    width: int
    past: int


class PassportText(Record):
    """What a passport says, apart from its tensors. ``overall_rms`` is for people: the tensors tell it exactly."""

    format: Literal["layerscout-passport/1"] = "layerscout-passport/1"
    layer: str
    module: str
    depth: int
    width: int
    parameters: int
    grid: GridText
    input_shape: tuple[int, int, int]
    input_width: int
    port: str
    argument: str
    dtype: Literal["float32", "bfloat16", "float16", "float64"]
    context: dict[str, dict[str, Any]]
    clips: int
    overall_rms: float
    block_class: str
    block_digest: str
    model: dict[str, Any] | None
    memory: dict[str, tuple[int, ...]] | None = None  # axes from the slowest to the fastest, of what does not lie in C order


def to_bytes(passport: Passport) -> tuple[bytes, bytes]:
    """Return a passport's JSON text and its tensors as safetensors bytes."""
    layer, grid = passport.layer, passport.grid
    tensors = {"input_mean": passport.input_mean, "input_rms": passport.input_rms}
    if passport.class_token is not None:
        tensors["class_token"] = passport.class_token
    tensors |= {f"{CONTEXT}{name}": value for name, value in passport.context.tensors.items()}
    orders = {ARGUMENT: passport.memory_axes} | {name: memory_axes(value) for name, value in tensors.items()}
    text = PassportText(
        layer=layer.name,
        module=layer.module,
        depth=layer.depth,
        width=layer.width,
        parameters=layer.parameters,
        grid=GridText(**vars(grid)),
        input_shape=passport.input_shape,
        input_width=len(passport.input_mean),
        port=passport.port,
        argument=passport.argument,
        dtype=str(passport.dtype).removeprefix("torch."),  # type: ignore[arg-type]
        context=passport.context.layout,
        clips=passport.clips,
        overall_rms=passport.overall_rms,
        block_class=passport.block_class,
        block_digest=passport.block_digest,
        model=passport.model_config,
        memory={name: axes for name, axes in orders.items() if axes} or None,
    )
    content = {name: value.detach().to("cpu").contiguous().clone() for name, value in tensors.items()}  # no two share memory
    # left out where all lies in C order: such passports are the same bytes as before there was this field
    written = text.model_dump_json(indent=1, exclude=None if text.memory else {"memory"})
    return written.encode() + b"\n", safetensors.save(content)


def from_bytes(description: bytes, tensors: bytes, where: str, device: str | torch.device = "cpu") -> Passport:
    """Read a passport, without its block.

    Parameters
    ----------
    where
        What errors call it.

    Raises
    ------
    DataError
        It is damaged, or of a kind that this version does not know.
    """
    text = records.validate_record(PassportText, records.parse_json(description, where), where)
    try:
        held = {name: value.to(device) for name, value in safetensors.load(tensors).items()}
    except SafetensorError as error:
        raise DataError(f"{where}: its tensors are damaged: {error}", hint=AGAIN) from None
    orders = _orders(text, held, where)
    held = {name: laid_out(value, orders.get(name, ())) for name, value in held.items()}
    context = Context(text.context, {name.removeprefix(CONTEXT): value for name, value in held.items() if name.startswith(CONTEXT)})
    _check(text, context, held, where)
    grid = TokenGrid(**text.grid.model_dump())
    return Passport(
        layer=LayerInfo(text.layer, text.module, text.depth, text.width, text.parameters, grid),
        grid=grid,
        input_shape=text.input_shape,
        port=text.port,
        argument=text.argument,
        dtype=PLAIN_DTYPES[text.dtype],
        context=context,
        input_mean=held["input_mean"],
        input_rms=held["input_rms"],
        class_token=held.get("class_token"),
        clips=text.clips,
        block_class=text.block_class,
        block_digest=text.block_digest,
        model_config=text.model,
        memory_axes=orders.get(ARGUMENT, ()),
    )


def _orders(text: PassportText, held: dict[str, torch.Tensor], where: str) -> dict[str, tuple[int, ...]]:
    """The order in memory of what does not lie in C order."""
    orders = dict(text.memory or {})
    known = {name: value.ndim for name, value in held.items()} | {ARGUMENT: AXES.get(text.port, 0)}
    for name, order in orders.items():
        if sorted(order) != list(range(known.get(name, 0))):
            raise DataError(f"{where}: the order in memory of '{name}' is {order}, which is none of its axes", hint=AGAIN)
    return orders


def _check(text: PassportText, context: Context, held: dict[str, torch.Tensor], where: str) -> None:
    if text.port not in PORTS:
        raise DataError(f"{where}: its tokens enter by '{text.port}', which this version does not know", hint=AGAIN)
    try:
        named = {name for node in layout_leaves(text.context) for kind, name in node.items() if kind in {"tensor", "per_clip"}}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: its context is damaged: {error!r}", hint=AGAIN) from None
    needed = {"input_mean", "input_rms"} | ({"class_token"} if PORTS[text.port].class_token else set())
    if lacking := (needed - set(held)) | (named - set(context.tensors)):
        raise DataError(f"{where}: it lacks the tensor {min(lacking)}", hint=AGAIN)
    if held["input_mean"].shape != (text.input_width,) or held["input_rms"].shape != (text.input_width,):
        raise DataError(f"{where}: its statistics are not of {text.input_width} features", hint=AGAIN)
