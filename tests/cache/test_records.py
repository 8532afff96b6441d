"""A record comes back as it was written or not at all: no single bit of its file can change without an error."""

from __future__ import annotations

import json
import random
import warnings

import pytest
from pydantic import ValidationError

from layerscout.cache import records
from layerscout.cache.records import Choice, Cost, Estimate, LayerScore, RankedStore, Ranking, RunRecord, Selection
from layerscout.cache.records.sealing import seal, unseal
from layerscout.cache.records.study import StudyRecord
from layerscout.errors import DataError, UnsealedFile

LAYER = LayerScore(
    name="blocks.0",
    role="layer",
    depth=0,
    width=8,
    reward_r2=Estimate(value=0.1 + 0.2, low=1e-05, high=0.9),
    transition_r2=None,
    effective_rank=Estimate(value=0.25),
    score=Estimate(value=0.5),
    reward_r2_shuffled=None,
    persistence_r2=-1e-300,
    transition_gain=1 / 3,
    targets={"étage": None},
)
RECORDS = {
    "ranking": Ranking(
        store_id="ls1-0",
        twin_store_id=None,
        stores=(RankedStore(store_id="ls1-0", backbone="tiny", label="a"),),
        dataset_digest="sha256:ab",
        backbone="tiny",
        score_version="S/1",
        weights=(0.45, 0.45, 0.1),
        normalisation="clip",
        rows=10,
        episodes=2,
        folds=2,
        layers=(LAYER,),
    ),
    "selection": Selection(
        ranking="ranking.json",
        store_id="ls1-0",
        dataset_digest="sha256:ab",
        backbone="tiny",
        choices=(Choice(kind="ranked", store_id="ls1-0", layer="blocks.0", rank=1, score=0.5),),
    ),
    "runs": RunRecord(environment="E", mode="offline", selection=None, random_policy_return=0.5, arms=(), runs=()),
    "study": StudyRecord(analyses=()),
    "cost": Cost(wall_seconds=1.5, cpu_seconds=2.0),
}


@pytest.fixture(params=RECORDS)
def record(request):
    return RECORDS[request.param]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "record.json"


def test_a_record_comes_back_and_its_file_is_the_same_json_for_everyone(record, path):
    records.save(record, path)
    assert records.load(type(record), path) == record
    content = json.loads(path.read_bytes())
    assert content.pop("digest").startswith("sha256:")
    assert content == json.loads(record.model_dump_json())


def test_a_file_of_an_older_version_is_read_and_said_to_be_one(record, path):
    path.write_bytes(record.model_dump_json(indent=1).encode() + b"\n")
    with pytest.warns(UnsealedFile, match=f"{path.name} has no digest"):
        assert records.load(type(record), path) == record
    with warnings.catch_warnings(action="error"):
        assert records.load(type(record), path, warn=False) == record


def test_a_record_without_a_digest_is_told_of_where_it_is_read(path):
    path.write_bytes(RECORDS["cost"].model_dump_json().encode())
    with pytest.warns(UnsealedFile) as told:
        records.load(Cost, path)
    assert [one.filename for one in told] == [__file__]


def test_a_record_is_one_member_a_line_for_whoever_compares_two(path):
    records.save(RECORDS["cost"], path)
    assert path.read_text() == json.dumps(json.loads(path.read_bytes()), indent=1) + "\n"
    settings = RECORDS["cost"]
    records.save_settings(settings, path)
    assert path.read_text() == json.dumps(json.loads(path.read_bytes()), indent=1) + "\n"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_no_figure(value):
    for end in ("value", "low", "high"):
        with pytest.raises(ValidationError, match="finite"):
            Estimate.model_validate({"value": 0.5} | {end: value})


def test_no_single_bit_can_change_in_silence(record, path):
    whole = records.encode_record(record)
    every = range(8 * len(whole))  # a seal is of 86 bytes
    for bit in [*random.Random(0).sample(every, 150), *every[-8 * 90 :: 7]]:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(DataError, match=path.name):
            records.load(type(record), path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-1],
        lambda text: text + b"\n",
        lambda text: text[: len(text) // 2],
        lambda text: b"",
        lambda text: text.replace(b"0.45", b"0.450"),  # the same value, in another spelling
        lambda text: text.replace(b'\n "digest"', b'\n  "digest"'),
        lambda text: text.replace(b'"digest": "sha256:', b'"digest": "sha1:'),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), indent=1).encode() + b"\n",
    ],
)
def test_any_other_change_of_the_text_is_refused(path, damage):
    records.save(RECORDS["ranking"], path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=path.name):
        records.load(Ranking, path)


def test_whoever_changes_a_record_by_hand_takes_the_digest_out(path):
    records.save(RECORDS["selection"], path)
    text, sealed = unseal(path.read_bytes(), "it", "")
    assert sealed
    path.write_bytes(text.replace(b'"rank": 1', b'"rank": 2'))
    with pytest.warns(UnsealedFile):
        assert records.load(Selection, path).choices[0].rank == 2
    path.write_bytes(seal(text))
    assert records.load(Selection, path) == RECORDS["selection"]


def test_settings_are_sealed_too(path):
    records.save_settings(RECORDS["cost"], path)
    assert records.load_object(path) == {"format": "layerscout-cost/1", "wall_seconds": 1.5, "cpu_seconds": 2.0}
    path.write_bytes(path.read_bytes().replace(b"1.5", b"1.4"))
    with pytest.raises(DataError, match="damaged"):
        records.load_object(path)


@pytest.mark.parametrize("text", [b"[1]", b"{", b'{\n "digest": "sha256:ab"\n}\n', b"\xff"])
def test_an_object_that_is_none_is_refused(path, text):
    path.write_bytes(text)
    with pytest.raises(DataError, match=path.name):
        records.load_object(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"wall_seconds": "long"}, "is not a Cost: 'wall_seconds' is 'long', expected a number"),
        ({"stray": 1}, "is not a Cost: 'stray' is not known"),
        ({"format": "layerscout-cost/2"}, "is not a Cost: 'format' is 'layerscout-cost/2', expected layerscout-cost/1"),
        ({"cpu_seconds": None}, "is not a Cost: 'cpu_seconds' is None, expected a number"),
    ],
    ids=str,
)
def test_a_record_with_other_fields_names_the_first_that_does_not_fit(path, change, told):
    content = json.loads(RECORDS["cost"].model_dump_json()) | change
    path.write_bytes(seal(json.dumps(content, indent=1).encode() + b"\n"))
    with pytest.raises(DataError, match=rf"record\.json {told}") as raised:
        records.load(Cost, path)
    assert raised.value.hint == "run the stage that writes it again"
    with pytest.raises(DataError, match=told):
        records.validate_record(Cost, content, "it")
    assert records.validate_record(Cost, json.loads(RECORDS["cost"].model_dump_json()), "it") == RECORDS["cost"]


def test_a_missing_file_is_told_with_what_to_do(path):
    for read in (lambda: records.load(Cost, path), lambda: records.load_object(path)):
        with pytest.raises(DataError, match="no file") as raised:
            read()
        assert "the earlier stage wrote" in raised.value.hint


def test_a_folder_in_place_of_a_file_is_told_with_the_files_in_it(tmp_path):
    for read in (lambda: records.load(Cost, tmp_path), lambda: records.load_object(tmp_path)):
        with pytest.raises(DataError, match="is a folder, expected a file"):
            read()
    for number in range(8):
        (tmp_path / f"{number}.json").touch()
    with pytest.raises(DataError) as raised:
        records.load(Cost, tmp_path)
    assert raised.value.hint == "give one of the files in it: 0.json, 1.json, 2.json, 3.json, 4.json, 5.json"


def test_a_record_is_never_changed_and_takes_no_other_field(record):
    name = next(iter(type(record).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, name, getattr(record, name))
    with pytest.raises(ValidationError, match="extra"):
        type(record).model_validate(record.model_dump() | {"unheard_of": 1})


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5000], ids=["empty", "torn", "no UTF-8", "deep", "long"])
def test_what_is_no_json_is_named(content):
    with pytest.raises(DataError, match=r"^it is not valid JSON: "):
        records.parse_json(content, "it")
    assert records.parse_json(b'{"a": [1]}', "it") == {"a": [1]}


@pytest.mark.parametrize(
    ("figure", "digits", "text"),
    [
        (None, 3, "n/a"),
        (0.41251, 3, "0.413"),
        (0.41251, 1, "0.4"),
        (-1e-9, 3, "0.000"),
        (Estimate(value=0.5), 3, "0.500"),
        (Estimate(value=0.5, low=0.25), 3, "0.500"),
        (Estimate(value=0.5, high=0.75), 3, "0.500"),
        (Estimate(value=0.5, low=0.25, high=0.75), 3, "0.500 [0.250, 0.750]"),
        (Estimate(value=0.5, low=-0.25, high=0.75), 1, "0.5 [-0.2, 0.8]"),
    ],
    ids=str,
)
def test_a_figure_in_a_table(figure, digits, text):
    assert records.as_table_value(figure, digits) == text
    assert digits != 3 or records.as_table_value(figure) == text


@pytest.mark.parametrize(("value", "kept"), [(0.0, 0.0), (-2.5, -2.5), (float("nan"), None), (float("inf"), None), (-float("inf"), None)])
def test_no_made_up_number_enters_a_record(value, kept):
    assert records.none_if_nan(value) == kept
