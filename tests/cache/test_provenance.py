"""What a stranger's store says of its making is believed only when it makes sense, and missed only when it is needed."""

from __future__ import annotations

import pytest

from layerscout.cache.provenance import backbone_source, dataset_path, played_attributes, provenance_of
from layerscout.cache.testing import made_up
from layerscout.errors import DataError

SMALL = made_up(0)
SOUND = {
    "backbone": "tiny",
    "backbone_options": {"sigma": 0.5},
    "data": "/data/x.h5",
    "dataset_attributes": {
        "environment": "layerscout/Grid-v0",
        "options": {"observation": "planes"},
        "size": 48,
        "frame_shape": [48, 48, 3],
        "action_count": 5,
        "seed": 0,
    },
    "rows_per_second": 12.5,
}


def store(tmp_path, provenance):
    writer = SMALL.open(tmp_path)
    for unit in writer.pending():
        writer.write_unit(unit, *SMALL.of_span(*writer.span(unit)))
    return writer.commit(provenance)


def test_what_makes_sense_is_given_out(tmp_path):
    found = store(tmp_path, SOUND)
    assert backbone_source(found) == ("tiny", {"sigma": 0.5})
    assert str(dataset_path(found)) == "/data/x.h5"
    played = played_attributes(found)
    assert played == {name: value for name, value in SOUND["dataset_attributes"].items() if name != "seed"} | {"frame_shape": (48, 48, 3)}


def test_a_store_that_says_nothing_is_missed_only_where_it_is_needed(tmp_path):
    silent = store(tmp_path, {})
    assert provenance_of(silent).backbone is None
    assert played_attributes(silent) == {"options": {}}
    for read, word in ((backbone_source, "backbone"), (dataset_path, "data")):
        with pytest.raises(DataError, match=f"does not say its {word}"):
            read(silent)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("backbone", 3),
        ("backbone", ""),
        ("backbone_options", ["a"]),
        ("data", {"a": 1}),
        ("dataset_attributes", None),
        ("dataset_attributes", "x"),
        ("dataset_attributes.size", "x"),
        ("dataset_attributes.size", 0),
        ("dataset_attributes.size", 10**9),
        ("dataset_attributes.size", True),
        ("dataset_attributes.options", ["a"]),
        ("dataset_attributes.environment", 1.5),
        ("dataset_attributes.frame_shape", [48, 48]),
        ("dataset_attributes.frame_shape", [48, -1, 3]),
        ("dataset_attributes.action_count", -1),
        ("dataset_attributes.action_dimensions", 2.5),
    ],
)
def test_nonsense_is_refused_by_name(tmp_path, where, value):
    outer, _, inner = where.partition(".")
    told = SOUND | {outer: SOUND["dataset_attributes"] | {inner: value} if inner else value}
    with pytest.raises(DataError, match=f"makes no sense: '{where}") as raised:
        provenance_of(store(tmp_path, told))
    assert "\n" not in str(raised.value)
