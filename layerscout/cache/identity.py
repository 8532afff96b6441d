"""What a store was computed from in, its name out: two stores with the same identity are the same store.

The identity is a plain dictionary of everything that changes the numbers, and nothing else: no path, host, batch size
or chunk size. It fails closed: a component that could not be resolved is an error, never a shared name.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

from layerscout.errors import DataError, suggest

SCHEMA = "layerscout-identity/1"
KEYS = ("schema", "backbone", "recipe", "preprocessing", "dataset", "layers", "pooling", "logical_dtype")
RESOLVED = ("backbone.weights_digest", "preprocessing.fingerprint", "dataset.digest")
LAYER_KEYS = ("name", "module", "width", "role")
STORE_PREFIX = "ls1-"
STORE_ID = re.compile(rf"{STORE_PREFIX}[0-9a-f]{{32}}")

Identity = dict[str, Any]


def canonical_json(value: Any, where: str = "identity") -> bytes:
    """Return the one JSON spelling of plain data: sorted keys, no spaces, ASCII, finite numbers.

    Parameters
    ----------
    value
        Dictionaries with string keys, lists, tuples, strings, integers, booleans and finite floats.
    where
        What the value is called in errors.

    Raises
    ------
    DataError
        Something in it is None, not finite or not plain data; the message names the field.
    """
    _require_plain(value, where)
    return plain_json(value, where).encode("ascii")


def plain_json(value: Any, what: str) -> str:
    """Return JSON with sorted keys and no spaces; None is allowed, unlike in an identity.

    Raises
    ------
    DataError
        ``what`` is not plain JSON data, or holds NaN or an infinity.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{what} is not plain JSON data: {error}", hint="give text, finite numbers, lists and tables") from None


def identity_digest(identity: Identity) -> str:
    """Return "sha256:..." over the whole identity.

    Raises
    ------
    DataError
        A component is missing, unresolved or unknown.
    """
    check_identity(identity)
    return _sha256(identity)


def store_id(identity: Identity) -> str:
    """Return the store's name: "ls1-" and the first 128 bits of the identity's digest in hexadecimal."""
    return STORE_PREFIX + identity_digest(identity).removeprefix("sha256:")[:32]


def run_key(identity: Identity) -> str:
    """Return the digest of the identity without its layers: equal for stores that differ only in which layers they hold."""
    check_identity(identity)
    return _sha256({key: value for key, value in identity.items() if key != "layers"})


def identity_serves(held: Identity, wanted: Identity) -> bool:
    """Tell whether a store of ``held`` has every layer that ``wanted`` asks for, computed the same way."""
    return run_key(held) == run_key(wanted) and all(layer in held["layers"] for layer in wanted["layers"])


def check_identity(identity: Identity) -> None:
    """Refuse an identity that does not pin down the numbers.

    Raises
    ------
    DataError
        A component is missing, None, empty or unknown, or a layer is listed twice.
    """
    for key in KEYS:
        if key not in identity:
            raise _unresolved(key, "is missing")
    for key in identity:
        if key not in KEYS:
            raise DataError(f"identity has an unknown component '{key}'{suggest(str(key), KEYS)}", hint=f"components: {', '.join(KEYS)}")
    for path in RESOLVED:
        part, _, field = path.partition(".")
        if not isinstance(identity[part], dict) or field not in identity[part]:
            raise _unresolved(path, "is missing")
        if identity[part][field] in (None, ""):
            raise _unresolved(path, f"is {identity[part][field]!r}")
    _require_plain(identity, "identity")
    if identity["schema"] != SCHEMA:
        raise DataError(f"identity.schema is {identity['schema']!r}, expected '{SCHEMA}'", hint="use the layerscout version that wrote it")
    _check_layers(identity["layers"])


def _check_layers(layers: Any) -> None:
    if not isinstance(layers, list | tuple) or not layers:
        raise _unresolved("layers", "lists no layer")
    for position, layer in enumerate(layers):
        if not isinstance(layer, dict) or sorted(layer) != sorted(LAYER_KEYS):
            raise DataError(f"identity.layers[{position}] is {layer!r}", hint=f"a layer has exactly the fields {', '.join(LAYER_KEYS)}")
    names = [layer["name"] for layer in layers]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"identity.layers names '{name}' twice", hint="ask for every layer once")


def _require_plain(value: Any, where: str) -> None:
    if value is None:
        raise _unresolved(where.removeprefix("identity."), "is None")
    if isinstance(value, dict):
        for key, part in value.items():
            if not isinstance(key, str):
                raise DataError(f"{where} has the key {key!r}, expected text", hint="use text keys")
            _require_plain(part, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for position, part in enumerate(value):
            _require_plain(part, f"{where}[{position}]")
    elif type(value) is float:
        if not math.isfinite(value):
            raise DataError(f"{where} is {value}, expected a finite number", hint="leave the field out when it does not apply")
    elif type(value) not in (str, int, bool):
        raise DataError(f"{where} is a {type(value).__name__}, expected plain JSON data", hint="convert it with int(), float() or str()")


def _unresolved(path: str, why: str) -> DataError:
    return DataError(f"identity.{path} {why}, so the store cannot be named", hint="resolve it, or leave out a field that does not apply")


def _sha256(value: Any) -> str:
    return "sha256:" + hashlib.sha256(canonical_json(value)).hexdigest()
