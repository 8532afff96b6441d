"""A module of somebody's own in, a digest of its code out: an edited ``forward`` must not find the store of the one before.

Weights and the printed structure say nothing of what ``forward`` does with them. So the identity of such a backbone names the source
text of its classes, and the plain values that they and their instances hold.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

PUBLISHED = {"torch", "torchvision", "diffusers", "transformers", "builtins"}  # libraries whose classes are known by their names
PLAIN = (bool, int, float, complex, str, bytes, type(None))


def code_of(modules: Iterable[Any]) -> str:
    """Return "sha256:…" over the code of a network's modules, in the order of ``named_modules()``.

    Each class outside of published libraries counts with its source text, its bases' too, and with its plain values; each instance with
    its public plain values. A text with a slash is taken for a place, and places do not count.
    """
    described: list[Any] = []
    for module in modules:
        kinds = [kind for kind in type(module).__mro__ if kind.__module__.partition(".")[0] not in PUBLISHED]
        described.append([[_class(kind) for kind in kinds], _values(vars(module)) if kinds else {}])
    return _digest(described)


def text_around(function: Callable[..., Any]) -> str:
    """Return "sha256:…" over the text of the file that a function is written in."""
    module = inspect.getmodule(function)
    return _digest(_text(module if module is not None and module.__name__ != "__main__" else function))


def _class(kind: type) -> list[Any]:
    return [kind.__qualname__, _text(kind), _values(vars(kind))]


def _values(held: Any) -> dict[str, str]:
    """Public plain values by name, without places; ``training`` says nothing of a frozen model."""
    named = {name: value for name, value in held.items() if not name.startswith("_") and name != "training"}
    return {name: repr(value) for name, value in sorted(named.items()) if _plain(value)}


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_plain, value))
    if isinstance(value, dict):
        return all(map(_plain, (*value.keys(), *value.values())))
    return type(value) in PLAIN and not (isinstance(value, str) and "/" in value)


def _text(thing: Any) -> Any:
    """The source text; of what was typed into a prompt, the instructions that Python made of it."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        functions = vars(thing).values() if isinstance(thing, type) else [thing]
        return [_instructions(function.__code__) for function in functions if hasattr(function, "__code__")]


def _instructions(code: CodeType) -> list[Any]:
    constants = [_instructions(value) if isinstance(value, CodeType) else repr(value) for value in code.co_consts]
    return [code.co_name, code.co_code.hex(), list(code.co_names), list(code.co_varnames), constants]


def _digest(described: Any) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()}"
