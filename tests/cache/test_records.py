"""A record comes back as it was written or not at all: no single bit of its file can change without an error."""

from __future__ import annotations

import json
import random
import warnings

import pytest

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
