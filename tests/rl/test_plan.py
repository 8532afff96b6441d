"""What a plan says before anything is trained: every setting decides the key or is exempt, memory is what will be held."""

from __future__ import annotations

import json
from typing import Any, get_args, get_origin

import numpy as np
import pytest
from by_hand import GRID, select, settings
from pydantic import BaseModel

from layerscout.cache.records import Selection
from layerscout.rl.agents.configs import DQNConfig, IQLConfig, SACConfig
from layerscout.rl.config import RUN_ONLY, TrainConfig, comparison_key
from layerscout.rl.economics.config import LabourConfig
from layerscout.rl.plan import plan

SELECTION = Selection(ranking="r.json", store_id="ls1-" + "0" * 32, dataset_digest="sha256:0", backbone="b", choices=())
BASE = TrainConfig(environment=GRID, selection="s.json")


def another(field: Any, value: Any) -> Any:
    """Some other value that the field may have."""
    if isinstance(value, BaseModel):
        return value.model_copy(update={"gamma": 0.123})
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return (value / 2 or 0.25) if isinstance(value, float) else value + 1
    if isinstance(value, tuple):
        return ("linear",) if value == ("mlp",) else (*value, 5)
    if get_origin(field.annotation) is not None and all(isinstance(word, str) for word in get_args(field.annotation)):
        return next(word for word in get_args(field.annotation) if word != value)
    if field.annotation == LabourConfig | None:
        return LabourConfig()
    return 3 if value is None else f"{value}x"


@pytest.mark.parametrize("name", TrainConfig.model_fields)
def test_every_setting_decides_the_key_or_is_exempt(name: str) -> None:
    own = name in ("ppo", "dreamer")  # only where they learn, so that older results keep theirs
    base = BASE.model_copy(update={"algorithm": name}) if own else BASE
    changed = base.model_copy(update={name: another(TrainConfig.model_fields[name], getattr(base, name))})
    assert getattr(changed, name) != getattr(base, name)
    same = comparison_key(changed, SELECTION) == comparison_key(base, SELECTION)
    assert same == (name in RUN_ONLY or name == "pvdr"), (
        "a new setting belongs into the key, or among the exempt with a reason"
    )  # pvdr's key is its own


@pytest.mark.parametrize(("part", "model"), [("dqn", DQNConfig), ("sac", SACConfig), ("iql", IQLConfig)])
def test_every_setting_of_a_learner_decides_the_key(part: str, model: type[BaseModel]) -> None:
    inner = getattr(BASE, part)
    keys = {comparison_key(BASE, SELECTION)}
    for name, field in model.model_fields.items():
        value = 0.5 if name == "target_entropy" else another(field, getattr(inner, name))
        keys.add(comparison_key(BASE.model_copy(update={part: inner.model_copy(update={name: value})}), SELECTION))
    assert len(keys) == 1 + len(model.model_fields)


def test_what_was_selected_decides_the_key_and_where_it_lies_does_not() -> None:
    other = SELECTION.model_copy(update={"dataset_digest": "sha256:1"})
    assert comparison_key(BASE, other) != comparison_key(BASE, SELECTION)
    assert comparison_key(BASE.model_copy(update={"selection": "elsewhere/s.json"}), SELECTION) == comparison_key(BASE, SELECTION)


@pytest.fixture
def selection(tmp_path, synthetic_store):
    return select(tmp_path / "s.json", ("ranked", synthetic_store, "structured_mid"), ("pixels", synthetic_store, "pixels"))


def test_memory_offline_is_that_of_the_feature_tables(selection, small, tmp_path, synthetic_store) -> None:
    planned = plan(settings(selection, tmp_path / "out", small.root))
    tables = sum(4 * synthetic_store.rows * arm.width for arm in planned.arms)
    assert tables < planned.memory_bytes < tables + 10**6
    twice = plan(settings(selection, tmp_path / "out", small.root, cnn=True))
    clips = synthetic_store.rows * int(np.prod([len(synthetic_store.identity["recipe"]["offsets"]), 8, 8, 2]))
    assert twice.memory_bytes - planned.memory_bytes == clips, "frames of the convolutional control are bytes"


def test_memory_online_grows_with_the_replay_up_to_its_capacity(selection, small, tmp_path) -> None:
    def needed(**changes) -> int:
        return plan(settings(selection, tmp_path / "out", small.root, mode="online", scratch=False, **changes)).memory_bytes

    short, long, capped = needed(steps=100), needed(steps=200), needed(steps=200, dqn={"capacity": 100, "hidden": [16]})
    assert short == capped < long
    replay = 2 * 2 * 100 * 256 * 2 * 4  # runs of two arms and seeds, transitions, the wider arm's features, z and next z, float32
    assert replay < short < 1.2 * replay, "and the weights"


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_description_is_plain_data_and_measures_only_when_asked(selection, small, tmp_path, mode, monkeypatch) -> None:
    planned = plan(settings(selection, tmp_path / "out", small.root, mode=mode))
    monkeypatch.setattr("layerscout.rl.plan.head_learner", lambda *a: pytest.fail("nothing may be tried out unasked"))
    described = planned.describe()
    assert json.loads(json.dumps(described)) == described
    assert "seconds_of_updates" not in described
    assert (described["runs"], described["exists"]) == (2 * len(described["arms"]), False)
    assert described.get("updates" if mode == "offline" else "environment_steps") == (40 if mode == "offline" else 150)
    monkeypatch.undo()
    assert planned.describe(measure=True)["seconds_of_updates"] >= 0
    assert not (tmp_path / "out").exists()
