"""What a block was called with, call by call, in; its other arguments, fixed as those of one clip, out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from layerscout.errors import DataError

PLAIN = (bool, int, float, str, type(None))
SAME = {"rtol": 1e-5, "atol": 1e-6}  # the same row at another place in a batch may be rounded otherwise, and is the same all the same

SURPLUS = "*"  # the name under which a block's surplus positional arguments go; what was bound before them is positional too

Node = dict[str, Any]  # one of {"tensor": name}, {"per_clip": name}, {"value": …}, {"tuple": […]}, {"list": […]}, {"dict": {…}}


class NoPassport(DataError):
    """A block is called in a way that a passport cannot repeat."""


@dataclass(frozen=True)
class Context:
    """The fixed arguments of a block: ``layout`` is plain JSON data, one node an argument; ``tensors`` are what it names.

    A ``per_clip`` tensor ``[k, …]`` is what one clip adds to the first axis of an argument (k is 1, or the number of
    frames where a block takes frames one by one); any other tensor is the same for every batch.
    """

    layout: dict[str, Node] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def per_clip(self) -> frozenset[str]:
        """Names of the tensors that are repeated for every clip."""
        return frozenset(node["per_clip"] for node in layout_leaves(self.layout) if "per_clip" in node)

    @property
    def bytes(self) -> int:
        """Bytes that the recorded tensors take in memory, in their own types."""
        return sum(value.numel() * value.element_size() for value in self.tensors.values())


def block_arguments(layout: dict[str, Node], tensors: dict[str, Tensor], clips: int) -> dict[str, Any]:
    """Fill the recorded layout with tensors and repeat what is one a clip for ``clips`` clips; keys are the block's parameters."""
    return {name: _value(node, tensors, clips) for name, node in layout.items()}


def call_block(block: Callable[..., Any], argument: str, tokens: Tensor, named: dict[str, Any]) -> Any:
    """Call a block with its tokens and its other arguments, which stand in the order of its signature."""
    if SURPLUS not in named:
        return block(**{argument: tokens}, **named)
    names = list(named)
    before, after = names[: names.index(SURPLUS)], names[names.index(SURPLUS) + 1 :]
    return block(tokens, *(named[name] for name in before), *named[SURPLUS], **{name: named[name] for name in after})


def layout_leaves(layout: dict[str, Node]) -> Iterator[Node]:
    """Yield every leaf (tensor, number or word) of a nested layout of arguments, depth first."""
    for node in layout.values():
        (kind, content), *_ = node.items()
        if kind in {"tuple", "list"}:
            yield from layout_leaves({str(number): item for number, item in enumerate(content)})
        elif kind == "dict":
            yield from layout_leaves(content)
        else:
            yield node


class ContextNotes:
    """Gathers a block's calls; the first two tell which arguments grow with the batch, the others what they hold."""

    def __init__(self, block: str) -> None:
        self._block = block
        self._layouts: list[dict[str, Node]] = []
        self._shapes: list[dict[str, tuple[int, ...]]] = []
        self._clips = 0
        self._first: dict[str, Tensor] = {}
        self._totals: dict[str, Tensor] = {}
        self._varying: set[str] = set()

    def probe(self, named: dict[str, Any]) -> None:
        """Note a call for one clip, then a call for that clip twice."""
        layout, tensors = self._flatten(named)
        self._layouts.append(layout)
        self._shapes.append({name: tuple(value.shape) for name, value in tensors.items()})
        if len(self._layouts) == 2:
            self._check_probes()

    def add(self, named: dict[str, Any], clips: int) -> None:
        """Compare one more call's arguments with the first one's, and keep what differs from clip to clip."""
        layout, tensors = self._flatten(named)
        if layout != self._layouts[0]:
            raise self._refusal("is called with other arguments for other clips")
        for name, value in tensors.items():
            value = value.detach()
            rows = value.unflatten(0, (clips, len(value) // clips)) if self._grows(name) else value[None]
            first = self._first.setdefault(name, rows[0].clone())
            if rows.is_floating_point():
                self._totals[name] = self._totals.get(name, torch.zeros_like(first, dtype=torch.float64)) + rows.double().sum(0)
            if not torch.allclose(rows.double(), first.double(), **SAME, equal_nan=True):
                self._varying.add(name)
        self._clips += clips

    def context(self) -> Context:
        """Return what is the same for every clip as the first clip had it, and the mean over the clips of what is not."""
        layout = {name: self._marked(node) for name, node in self._layouts[0].items()}
        for name in sorted(self._varying):
            if not self._grows(name) or name not in self._totals:
                raise self._refusal(f"is called with another '{name}' for other clips, of which there is no mean")
        tensors = {
            name: (self._totals[name] / self._clips).to(first.dtype) if name in self._varying else first
            for name, first in self._first.items()
        }
        return Context(layout, tensors)

    def _check_probes(self) -> None:
        if self._layouts[0] != self._layouts[1]:
            raise self._refusal("is called with other arguments for other batches")
        one, two = self._shapes
        for name, shape in one.items():
            if two[name] != shape and two[name] != (2 * shape[0], *shape[1:]):
                raise self._refusal(f"has an argument '{name}' of shape {shape} for one clip and {two[name]} for two")

    def _grows(self, name: str) -> bool:
        return self._shapes[0][name] != self._shapes[1][name]

    def _marked(self, node: Node) -> Node:
        (kind, content), *_ = node.items()
        if kind == "tensor":
            return {"per_clip" if self._grows(content) else "tensor": content}
        if kind in {"tuple", "list"}:
            return {kind: [self._marked(item) for item in content]}
        return {kind: {key: self._marked(item) for key, item in content.items()}} if kind == "dict" else node

    def _flatten(self, named: dict[str, Any]) -> tuple[dict[str, Node], dict[str, Tensor]]:
        tensors: dict[str, Tensor] = {}

        def node(path: str, value: Any) -> Node:
            if isinstance(value, Tensor):
                tensors[path] = value
                return {"tensor": path}
            if isinstance(value, PLAIN):
                return {"value": value}
            if type(value) in {tuple, list}:
                return {type(value).__name__: [node(f"{path}.{number}", item) for number, item in enumerate(value)]}
            if type(value) is dict:
                return {"dict": {key: node(f"{path}.{key}", item) for key, item in value.items()}}
            raise self._refusal(f"has an argument '{path}' of type {type(value).__name__}")

        return {name: node(name, value) for name, value in named.items()}, tensors

    def _refusal(self, why: str) -> NoPassport:
        return NoPassport(f"block {self._block} has no passport: it {why}", hint="use --mode online or offline with this layer")


def _value(node: Node, tensors: dict[str, Tensor], clips: int) -> Any:
    (kind, content), *_ = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "per_clip":
        one = tensors[content]
        return one.expand(clips, *one.shape[1:]) if len(one) == 1 else one[None].expand(clips, *one.shape).flatten(0, 1)
    if kind in {"tuple", "list"}:
        items = [_value(item, tensors, clips) for item in content]
        return tuple(items) if kind == "tuple" else items
    return {key: _value(item, tensors, clips) for key, item in content.items()} if kind == "dict" else content
