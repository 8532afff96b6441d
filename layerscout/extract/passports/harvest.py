"""A model and calibration clips in, the passports of its blocks out, all blocks in one pass."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from layerscout.extract.backbones.base import Backbone, LayerInfo
from layerscout.extract.backbones.loaded import LoadedBackbone, digest_tensors
from layerscout.extract.checkpoints.skeleton import configuration
from layerscout.extract.device import torch_threads
from layerscout.extract.passports.context import SURPLUS, Context, ContextNotes, NoPassport
from layerscout.extract.passports.passport_record import Passport
from layerscout.extract.passports.ports import PORTS, Shape, hidden_states, memory_axes, port_name

BATCH = 32  # clips a forward pass
SMALL = 10_000_000  # parameters of a model that one thread runs faster than several, which would wait for each other

Clips = UInt8[np.ndarray, "clip time height width channel"]


def harvest(backbone: Backbone, layer: str, clips: Clips, device: str = "cpu") -> Passport:
    """Run the model on calibration clips and lift out one block with its context and its weights.

    Parameters
    ----------
    clips
        Clips as the backbone takes them; 64 or more give steady statistics.

    Raises
    ------
    NoPassport
        The block is called in a way that a passport cannot repeat.
    """
    info, loaded = backbone.layer(layer), backbone.load(torch.device(device))
    loaded.truncate(info)
    batches = [clips[low : low + BATCH] for low in range(0, len(clips), BATCH)]
    found = harvest_layers(backbone, loaded, [info], batches)[layer]
    if isinstance(found, NoPassport):
        raise found
    return found.with_block(loaded.module.get_submodule(info.module))


@torch.no_grad()  # and not inference mode, whose tensors cannot be saved for a backward pass
def harvest_layers(
    backbone: Backbone, loaded: LoadedBackbone, layers: Sequence[LayerInfo], batches: Iterable[Clips]
) -> dict[str, Passport | NoPassport]:
    """Return each layer's passport, without its block, or why it has none.

    The model runs on one clip, on that clip twice (which tells what grows with the batch), and on every batch, as deep as it
    was last truncated to. Hooks do not fire in a model that was compiled before.

    Parameters
    ----------
    batches
        Calibration clips, at least one.
    """
    notes = {layer.name: _BlockNotes(backbone, loaded, layer) for layer in layers}
    rest = iter(batches)
    first = next(rest)
    small = sum(parameter.numel() for parameter in loaded.module.parameters()) < SMALL
    with torch_threads(1) if small else nullcontext():
        for number, batch in enumerate(itertools.chain((first[:1], first[[0, 0]], first), rest)):
            for note in notes.values():
                note.begin(len(batch), probe=number < 2)
            with _hooked(loaded, notes.values()):
                loaded.forward(torch.from_numpy(batch).to(loaded.device))
            for note in notes.values():
                note.end()
    return {name: note.passport() for name, note in notes.items()}


@contextmanager
def _hooked(loaded: LoadedBackbone, notes: Iterable[_BlockNotes]) -> Iterator[None]:
    handles = []
    for note in notes:
        handles.append(note.block.register_forward_pre_hook(note.before, with_kwargs=True))
        # before other hooks, one of which may end the pass here
        handles.append(note.block.register_forward_hook(note.after, prepend=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _BlockNotes:
    """What one block was called with, pass by pass, until a call comes that a passport cannot repeat."""

    def __init__(self, backbone: Backbone, loaded: LoadedBackbone, layer: LayerInfo) -> None:
        self.block: nn.Module = loaded.module.get_submodule(layer.module)
        self._backbone, self._loaded, self._layer = backbone, loaded, layer
        self._title = f"{layer.module} of {backbone.name}"
        self._context = ContextNotes(self._title)
        self._moments, self._class_moments = _Moments(), _Moments()
        self._refusal: NoPassport | None = None
        self._port = self._argument = ""
        self._shape: Shape = (0, 0, 0)
        self._dtype = torch.float32
        self._axes: tuple[int, ...] = ()
        self._clips, self._probe, self._calls, self._outputs = 0, True, 0, 0

    def begin(self, clips: int, probe: bool) -> None:
        self._clips, self._probe, self._calls, self._outputs = clips, probe, 0, 0

    def end(self) -> None:
        if (self._calls, self._outputs) != (1, 1):
            self._refuse(f"it ran {self._calls} times in one forward pass and put out tokens {self._outputs} times")

    def before(self, module: nn.Module, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._calls += 1
        if self._refusal is not None:
            return
        try:
            self._note(positional, named)
        except NoPassport as refusal:
            self._refusal = refusal

    def after(self, module: nn.Module, positional: tuple[Any, ...], output: Any) -> None:
        self._outputs += 1
        if self._refusal is not None or not self._probe:
            return
        raw, expected = hidden_states(output), self._loaded.tokens(output, self._layer)
        grid = self._backbone.grid_of(self._layer)
        leave = PORTS[self._port].leave
        if not isinstance(raw, Tensor) or raw.ndim not in (3, 4, 5) or expected.shape[1] != grid.tokens:
            self._refuse("its output is not of tokens in its grid")
        elif (mine := leave(raw, self._shape[0])).shape != expected.shape or not torch.equal(mine, expected):
            self._refuse("its tokens leave in an order that passports do not know")

    def passport(self) -> Passport | NoPassport:
        if self._refusal is not None:
            return self._refusal
        try:
            context = self._context.context()
        except NoPassport as refusal:
            return refusal
        return self._filled(context)

    def _filled(self, context: Context) -> Passport:
        mean, rms = self._moments.mean_and_rms()
        return Passport(
            layer=self._layer,
            grid=self._backbone.grid_of(self._layer),
            input_shape=self._shape,
            port=self._port,
            argument=self._argument,
            dtype=self._dtype,
            context=context,
            input_mean=mean,
            input_rms=rms,
            class_token=self._class_moments.mean_and_rms()[0] if PORTS[self._port].class_token else None,
            clips=self._moments.clips,
            block_class=type(self.block).__name__,
            block_digest=digest_tensors(self.block.state_dict()),
            model_config=configuration(self._loaded.module),
            memory_axes=self._axes,
        )

    def _note(self, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        bound = inspect.signature(self.block.forward).bind(*positional, **named)
        first, *rest = bound.signature.parameters.values()
        others = {name: value for name, value in bound.arguments.items() if name != first.name}
        for parameter in rest:
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                others |= others.pop(parameter.name, {})
            if parameter.kind is inspect.Parameter.VAR_POSITIONAL and parameter.name in others:
                others = {SURPLUS if name == parameter.name else name: value for name, value in others.items()}
        raw = bound.arguments.get(first.name)
        if not isinstance(raw, Tensor):
            raise self._refusal_for(f"its first argument is no tensor but {type(raw).__name__}")
        port = port_name(self.block, raw, self._backbone.class_token)
        if port is None:
            raise self._refusal_for(f"its first argument has {raw.ndim} axes")
        self._port, self._argument, self._dtype = port, first.name, raw.dtype
        if self._clips > 1:  # of a single clip the order of the first axis cannot be told
            self._axes = memory_axes(raw)
        self._shape = PORTS[port].shape(raw, self._clips) or self._grid_shape()
        tokens = PORTS[port].leave(raw, self._shape[0])
        if tokens.shape[:2] != (self._clips, self._shape[0] * self._shape[1] * self._shape[2]):
            raise self._refusal_for(f"it takes {tuple(raw.shape)}, which is not of tokens in its grid")
        if self._probe:
            self._context.probe(others)
            return
        self._context.add(others, self._clips)
        self._moments.add(tokens)
        if PORTS[port].class_token:
            self._class_moments.add(raw[:, :1])

    def _grid_shape(self) -> Shape:
        grid = self._backbone.grid_of(self._layer)
        return grid.time, grid.height, grid.width

    def _refusal_for(self, why: str) -> NoPassport:
        return NoPassport(f"block {self._title} has no passport: {why}", hint="use --mode online or offline with this layer")

    def _refuse(self, why: str) -> None:
        self._refusal = self._refusal or self._refusal_for(why)


class _Moments:
    """Sums over tokens, in float64."""

    def __init__(self) -> None:
        self.clips, self._count = 0, 0
        self._sum = self._squares = torch.zeros((), dtype=torch.float64)

    def add(self, tokens: Float[Tensor, "clip token feature"]) -> None:
        flat = tokens.flatten(0, 1).double()
        self.clips, self._count = self.clips + len(tokens), self._count + len(flat)
        self._sum, self._squares = self._sum.to(flat) + flat.sum(dim=0), self._squares.to(flat) + flat.square().sum(dim=0)

    def mean_and_rms(self) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
        return (self._sum / self._count).float(), (self._squares / self._count).sqrt().float()
