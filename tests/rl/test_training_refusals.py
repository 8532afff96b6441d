"""Trainings that are refused before any work, and plans that write nothing."""

from __future__ import annotations

import json

import pytest
from by_hand import GRID, INTERCEPT, settings
from training_by_hand import MODES, small_settings, train

from layerscout.cache import records
from layerscout.cache.durable import write_atomic
from layerscout.cache.records.sealing import seal
from layerscout.cache.store import Store
from layerscout.errors import BudgetError, DataError, UsageError
from layerscout.extract.passports.passport import Passport
from layerscout.progress import Reporter
from layerscout.rl.comparison import in_loop
from layerscout.rl.run import plan


@pytest.fixture(autouse=True)
def _few_calibration_clips(monkeypatch):
    monkeypatch.setattr(in_loop, "CALIBRATION_CLIPS", 8)


def test_another_environment_than_the_ranked_one_is_refused(chosen, tmp_path):
    with pytest.raises(UsageError, match=f"made from '{GRID}', not from '{INTERCEPT}'") as error:
        plan(small_settings(chosen, tmp_path, environment=INTERCEPT))
    assert f": layerscout train {GRID} --selection " in error.value.hint


def test_a_selection_that_is_not_there_yet_is_told_with_the_command_that_writes_it(chosen, tmp_path):
    with pytest.raises(DataError, match=r"no selection .*none\.json: it says which layers") as error:
        plan(settings(tmp_path / "none.json", tmp_path / "out", chosen.root))
    assert error.value.hint.startswith("layerscout probe STORE writes it")


def edited(chosen, tmp_path, **changes):
    """The grid's selection with other fields, as settings."""
    document = records.load_object(chosen.grid) | changes
    write_atomic(tmp_path / "edited.json", seal(json.dumps(document, indent=1).encode() + b"\n"))
    return settings(tmp_path / "edited.json", tmp_path / "out", chosen.root)


def test_selections_that_do_not_fit_are_refused(chosen, tmp_path, tiny_store):
    choice = records.load_object(chosen.grid)["choices"][0]
    cases = [
        ({"choices": []}, DataError, "has no layer"),
        ({"choices": [choice, choice]}, DataError, "'structured_mid' twice"),
        ({"choices": [choice | {"layer": "structured"}]}, DataError, "has no layer 'structured'"),
        ({"choices": [choice | {"store_id": tiny_store.id, "layer": "blocks.1"}]}, DataError, "another dataset"),
        ({"choices": [choice | {"store_id": "ls1-" + "0" * 32}]}, DataError, "no store"),
        ({"choices": [choice | {"kind": "best"}]}, DataError, "is not a Selection"),
        ({"dataset_digest": "sha256:00"}, DataError, "another dataset"),
    ]
    for changes, kind, expected in cases:
        with pytest.raises(kind, match=expected):
            plan(edited(chosen, tmp_path, **changes))
    with pytest.raises(DataError, match="no selection"):
        plan(settings(tmp_path / "none.json", tmp_path / "out", chosen.root))
    assert not (tmp_path / "out").exists()


def test_in_the_loop_needs_a_ranked_layer(chosen, tmp_path):
    choice = records.load_object(chosen.grid)["choices"][1]
    config = edited(chosen, tmp_path, choices=[choice]).model_copy(update={"mode": "in-loop"})
    with pytest.raises(UsageError, match="needs a ranked layer"):
        plan(config)


def test_in_the_loop_needs_a_block_that_takes_tokens(chosen, tmp_path):
    config = settings(chosen.grid, tmp_path, chosen.root, mode="in-loop")
    with pytest.raises(DataError, match="structured_mid of synthetic has no passport"):
        train(config)


def test_a_block_with_position_tables_gets_as_many_tokens_as_it_was_made_for(chosen, tmp_path, monkeypatch):
    """tiny has 64 tokens, one slot of which held noise; a clip has three frames."""
    plain = train(small_settings(chosen, tmp_path / "plain", "in-loop", seeds=1, steps=8))
    monkeypatch.setattr(Passport, "fixed_tokens", property(lambda self: 64))
    record = train(small_settings(chosen, tmp_path / "fixed", "in-loop", seeds=1, steps=8))
    assert {run.status for run in record.runs} == {"done"}
    more = record.arms[0].budget.trainable_parameters - plain.arms[0].budget.trainable_parameters
    assert more == 16 * 64 + 2 * 2 * 64 * 8, "the positions of a slot more, and its cells in the head"


def test_in_the_loop_without_passports_says_when_the_dataset_is_gone(chosen, tmp_path, small, monkeypatch):
    monkeypatch.setattr(Store, "passports", ())
    moved = small.intercept.with_suffix(".moved")
    small.intercept.rename(moved)
    try:
        with pytest.raises(DataError, match="is gone, and its clips are needed"):
            train(small_settings(chosen, tmp_path, "in-loop"))
    finally:
        moved.rename(small.intercept)


def test_what_does_not_fit_in_memory_is_refused(chosen, tmp_path, monkeypatch):
    needed = plan(small_settings(chosen, tmp_path)).memory_bytes
    monkeypatch.setattr("layerscout.rl.plan.available_memory", lambda: needed - 1)
    with pytest.raises(BudgetError, match="of memory"):
        plan(small_settings(chosen, tmp_path))
    monkeypatch.setattr("layerscout.rl.plan.available_memory", lambda: None)
    plan(small_settings(chosen, tmp_path))


@pytest.mark.parametrize("mode", MODES)
def test_a_plan_writes_nothing(chosen, tmp_path, mode):
    described = plan(small_settings(chosen, tmp_path / "out", mode)).describe()
    assert not (tmp_path / "out").exists()
    assert described["exists"] is False
    assert described["runs"] == (10 if mode == "in-loop" else 8)
    assert described["memory_bytes"] > 0
    json.dumps(described)


def test_progress_is_told_in_updates_of_all_runs(chosen, tmp_path):
    events = tmp_path / "events.jsonl"
    train(small_settings(chosen, tmp_path / "out"), Reporter(quiet=True, events=events))
    told = [json.loads(line) for line in events.read_text().splitlines()]
    begun = {event["task"]: event["total"] for event in told if event["event"] == "begin"}
    done = {event["task"]: event["done"] for event in told if event["event"] == "end"}
    assert begun == done
    assert sorted(begun.values()) == [2 * 40, 6 * 40]
