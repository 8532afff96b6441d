"""Every field of an identity changes the store's name, and nothing unresolved gets a name."""

from __future__ import annotations

import copy
import enum
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerscout.cache.identity import canonical_json, identity_digest, identity_serves, run_key, store_id
from layerscout.errors import DataError

Path = tuple[Any, ...]


def leaves(value: Any, path: Path = ()) -> list[Path]:
    if isinstance(value, dict):
        return [leaf for key, part in value.items() for leaf in leaves(part, (*path, key))]
    if isinstance(value, list):
        return [leaf for place, part in enumerate(value) for leaf in leaves(part, (*path, place))]
    return [path]


def replaced(identity: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(identity)
    target: Any = changed
    for part in path[:-1]:
        target = target[part]
    target[path[-1]] = value
    return changed


def removed(identity: dict[str, Any], path: Path) -> dict[str, Any]:
    changed = copy.deepcopy(identity)
    target: Any = changed
    for part in path[:-1]:
        target = target[part]
    del target[path[-1]]
    return changed


def test_every_field_changes_the_name(example):
    names = {store_id(example.identity)}
    paths = [path for path in leaves(example.identity) if path != ("schema",)]
    for path in paths:
        names.add(store_id(replaced(example.identity, path, "something else")))
    assert len(names) == len(paths) + 1


def test_order_of_layers_matters_and_order_of_keys_does_not(example):
    swapped = example.identity | {"layers": example.identity["layers"][::-1]}
    assert store_id(swapped) != store_id(example.identity)
    backwards = dict(reversed(example.identity.items()))
    assert store_id(backwards) == store_id(example.identity)


def test_name_is_a_prefix_of_the_digest_and_survives_json(example):
    assert store_id(example.identity) == "ls1-" + identity_digest(example.identity)[7:39]
    assert identity_digest(json.loads(json.dumps(example.identity))) == identity_digest(example.identity)


def test_run_key_ignores_the_layers_alone(example):
    for path in leaves(example.identity):
        if path != ("schema",):
            same = run_key(replaced(example.identity, path, "x")) == run_key(example.identity)
            assert same == (path[0] == "layers")


def test_more_layers_serve_fewer(example):
    fewer = example.fewer("transformer_blocks.7").identity
    assert identity_serves(example.identity, fewer)
    assert not identity_serves(fewer, example.identity)
    assert not identity_serves(example.identity, replaced(fewer, ("layers", 0, "module"), "another.block"))
    assert not identity_serves(example.identity, replaced(fewer, ("dataset", "digest"), "sha256:dd"))


@pytest.mark.parametrize("path", [("backbone", "weights_digest"), ("preprocessing", "fingerprint"), ("dataset", "digest")])
@pytest.mark.parametrize("value", [None, ""])
def test_unresolved_component_gets_no_name(example, path, value):
    with pytest.raises(DataError, match=".".join(path)):
        store_id(replaced(example.identity, path, value))
    with pytest.raises(DataError, match=".".join(path)):
        store_id(removed(example.identity, path))


def test_none_anywhere_gets_no_name(example):
    for path in leaves(example.identity):
        with pytest.raises(DataError):
            store_id(replaced(example.identity, path, None))


@pytest.mark.parametrize("key", ["schema", "backbone", "recipe", "preprocessing", "dataset", "layers", "pooling", "logical_dtype"])
def test_every_part_is_required(example, key):
    with pytest.raises(DataError, match=key):
        store_id(removed(example.identity, (key,)))


def test_unknown_part_is_refused_with_the_nearest(example):
    with pytest.raises(DataError, match="did you mean 'pooling'"):
        store_id(example.identity | {"poolings": "mean"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {1, 2}, b"bytes", object()])
def test_only_plain_finite_data_has_a_canonical_form(value):
    with pytest.raises(DataError, match="identity"):
        canonical_json({"field": value})


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    MEAN = "mean"


@pytest.mark.parametrize("value", [Level.LOW, Word.MEAN, np.str_("mean"), np.float64(1.5), np.bool_(True), np.int64(3)], ids=repr)
def test_what_only_behaves_like_plain_data_is_refused(value):
    """How a subclass is spelled is its own: the same name may stand for other numbers tomorrow."""
    with pytest.raises(DataError, match=rf"identity\.field is a {type(value).__name__}, expected plain JSON data") as raised:
        canonical_json({"field": value})
    assert "convert it" in raised.value.hint


plain = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=5), parts, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_canonical_form_reads_back_and_is_its_own_canonical_form(value):
    spelled = canonical_json(value)
    assert json.loads(spelled) == value
    assert canonical_json(json.loads(spelled)) == spelled
