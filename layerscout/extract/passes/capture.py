"""Hooks that pool inside the forward pass: clips in, one pooled matrix a layer out, in one pass for all layers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from layerscout.errors import DataError
from layerscout.extract.backbones.base import LayerInfo, TokenGrid
from layerscout.extract.backbones.loaded import LoadedBackbone
from layerscout.extract.passes.pooling import CLASS_TOKEN, array_name, pool, pool_all, pooled_width

Packed = Float[Tensor, "clip packed"]


class Capture:
    """Runs a loaded backbone and returns what the wanted layers said, pooled in float32 while the pass runs.

    Only the pooled vectors outlive a block, copied into one buffer a pass, so memory does not grow with the number of
    layers and no later operation in place can change them. A pass ends after the deepest wanted layer. The hooks return
    None: anything else would replace the block's output. ``close``, or the end of a ``with`` block, leaves the model as it was.

    Parameters
    ----------
    grid
        Token grid of the layers that state none of their own.
    pooling
        One name, or several: then every layer gives one array a pooling, all from one pass.

    Examples
    --------
    >>> import torch
    >>> from layerscout.extract.backbones.finding import find_backbone
    >>> backbone = find_backbone("tiny")
    >>> loaded = backbone.load(torch.device("cpu"))
    >>> clips = torch.zeros(2, 3, 32, 32, 3, dtype=torch.uint8)
    >>> with Capture(loaded, backbone.layers, backbone.grid, "all/mean") as capture:
    ...     features = capture(clips, only=["blocks.3"])
    >>> {name: tuple(values.shape) for name, values in features.items()}
    {'blocks.3': (2, 64)}
    """

    def __init__(self, loaded: LoadedBackbone, layers: Sequence[LayerInfo], grid: TokenGrid, pooling: str | Sequence[str]) -> None:
        self._loaded, self._grid = loaded, grid
        self._poolings = (pooling,) if isinstance(pooling, str) else tuple(pooling)
        self.layers = tuple(layers)
        self._pass: Any = threading.local()  # each thread's own pass: several batches may be under way at once
        self._reduce: Callable[..., None] = _reduce
        self._compiled: list[nn.Module] = []
        # before hooks that were there: one of them may end the pass here
        self._handles = [
            loaded.module.get_submodule(layer.module).register_forward_hook(self._hook(layer), prepend=True) for layer in self.layers
        ]

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the hooks and give compiled blocks their own code back; nothing can be captured after that."""
        for handle in self._handles:
            handle.remove()
        for block in self._compiled:
            del block.forward  # the class's own is underneath
        self._handles, self._compiled = [], []

    def columns(self, layers: Sequence[LayerInfo] | None = None) -> dict[str, slice]:
        """Where each array lies in the buffer of a pass for these layers (default: all)."""
        found: dict[str, slice] = {}
        start = 0
        for layer in self.layers if layers is None else layers:
            grid = layer.grid or self._grid
            for pooling in self._poolings:
                stop = start + pooled_width(pooling, grid, layer.width, class_token=True)
                found[array_name(layer.name, pooling, len(self._poolings) == 1)] = slice(start, stop)
                start = stop
        return found

    def __call__(
        self, clip: UInt8[Tensor, "clip time height width channel"], only: Sequence[str] | None = None
    ) -> dict[str, Float[Tensor, "clip pooled"]]:
        """Return each array's rows for a batch of clips, on the backbone's device.

        Passes of several threads may overlap if they want the same deepest layer.

        Parameters
        ----------
        only
            Names of the layers wanted from this pass (default: all of ``layers``).

        Raises
        ------
        DataError
            A layer did not fire, fired more than once, or gave other tokens than it states, in this pass.
        """
        wanted = [layer for layer in self.layers if only is None or layer.name in only]
        packed = self.packed(clip, wanted)
        return {name: packed[:, columns] for name, columns in self.columns(wanted).items()}

    @torch.inference_mode()
    def packed(
        self,
        inputs: Shaped[Tensor, "clip ..."],
        wanted: Sequence[LayerInfo] | None = None,
        run: Callable[[Tensor], None] | None = None,
        room: int = 0,
    ) -> Packed:
        """Return one contiguous buffer with all arrays side by side, as ``columns`` says.

        Parameters
        ----------
        inputs
            Clips, or what ``run`` takes (default: the backbone's ``forward``).
        room
            Columns left free at the end, for the caller.

        Raises
        ------
        DataError
            As for a call.
        """
        layers = self.layers if wanted is None else wanted
        columns = self.columns(layers)
        self._loaded.truncate(max(layers, key=lambda layer: layer.depth))
        inputs = inputs.to(self._loaded.device)
        total = max(place.stop for place in columns.values())
        self._pass.out = torch.empty((len(inputs), total + room), device=self._loaded.device)
        self._pass.columns, self._pass.wanted, self._pass.fired = columns, {layer.name for layer in layers}, set()
        try:
            (run or self._loaded.forward)(inputs)
            fired, out = self._pass.fired, self._pass.out
        finally:
            self._pass.wanted, self._pass.out = frozenset(), None
        missing = [layer.name for layer in layers if layer.name not in fired]
        if missing:
            raise DataError(
                f"layer '{missing[0]}' never ran in the forward pass", hint="the backbone's layer list does not match its model"
            )
        return out

    @torch.inference_mode()
    def bare(self, inputs: Shaped[Tensor, "clip ..."], run: Callable[[Tensor], None] | None = None) -> None:
        """Do the same pass for all layers and capture nothing: what a pass costs by itself."""
        self._loaded.truncate(max(self.layers, key=lambda layer: layer.depth))
        (run or self._loaded.forward)(inputs.to(self._loaded.device))

    def compile(self, blocks: Sequence[LayerInfo]) -> None:
        """Compile these blocks and the pooling; from now on one thread may run passes.

        Hooks stay outside of the compiled blocks, so blocks of one class share one compiled program, and a layer
        cannot be lost in it.
        """
        self._pass = _Pass()
        self._reduce = torch.compile(_reduce, dynamic=False)
        deepest = max(layer.depth for layer in self.layers)
        paths = [block.module for block in blocks if block.depth <= deepest]
        for path in dict.fromkeys(paths):
            if not any(other.startswith(f"{path}.") for other in paths):  # a block in a block: the inner one is compiled
                block = self._loaded.module.get_submodule(path)
                block.forward = torch.compile(block.forward, dynamic=False)
                self._compiled.append(block)

    def _hook(self, layer: LayerInfo) -> Callable[[nn.Module, Any, Any], None]:
        name, grid = layer.name, layer.grid or self._grid
        alone = len(self._poolings) == 1

        def hook(module: nn.Module, arguments: Any, output: Any) -> None:
            now = self._pass
            if name not in getattr(now, "wanted", ()):
                return  # nobody asked in this pass
            if name in now.fired:
                raise DataError(f"layer '{name}' ran twice in one forward pass", hint="list the block that runs once")
            now.fired.add(name)
            places = {pooling: now.out[:, now.columns[array_name(name, pooling, alone)]] for pooling in self._poolings}
            if CLASS_TOKEN in places:
                places.pop(CLASS_TOKEN).copy_(self._loaded.class_token(output, layer))
            if places:
                tokens = self._loaded.tokens(output, layer)
                expected = (len(now.out), grid.tokens, layer.width)
                if tokens.shape != expected:
                    raise DataError(
                        f"layer '{name}' gives tokens {tuple(tokens.shape)}, expected {expected}",
                        hint="the clip's frames or size are not those that the backbone describes",
                    )
                self._reduce(tokens, places, grid)

        return hook


class _Pass:
    """The state of a pass where only one thread runs passes."""

    wanted: Any = ()
    fired: Any = ()
    columns: Any = None
    out: Any = None


def _reduce(tokens: Float[Tensor, "clip token feature"], places: dict[str, Tensor], grid: TokenGrid) -> None:
    """Pool tokens into their places."""
    if len(places) == 1:
        ((name, place),) = places.items()
        place.copy_(pool(tokens, name, grid))
        return
    for name, pooled in pool_all(tokens, tuple(places), grid).items():
        places[name].copy_(pooled)
