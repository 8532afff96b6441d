"""Plans of work by hand: which arms there are, where they lie, what they weigh, what decides their numbers, and what is told of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from layerscout.cache.records import Choice, Selection, save, save_settings
from layerscout.errors import BudgetError, DataError, UsageError
from layerscout.rl.config import KEY_NAME, TrainConfig
from layerscout.rl.economics import plan as planning
from layerscout.rl.economics.plan import ARM_NAME, LabourArm, WorkPlan, plan
from layerscout.rl.economics.run import run
from layerscout.settings import build

SINK, WALL = "layerscout/Dishwashing-v0", "layerscout/Bricklaying-v0"


def config(out: Path, environment: str = SINK, seeds: int = 2, selection: Path | None = None, **work: Any) -> TrainConfig:
    said: dict[str, Any] = {"environment": environment, "out": out, "seeds": seeds, "work": {"episodes": 2} | work}
    return build(TrainConfig, said if selection is None else said | {"selection": selection}, "train")


# --- arms


def arm(planned: WorkPlan, name: str) -> LabourArm:
    return next(one for one in planned.arms if one.name == name)


def test_without_arms_there_is_one_and_every_swept_price_is_one_more(tmp_path: Path) -> None:
    planned = plan(config(tmp_path, damage=0.25, sweep={"price": [0.5, 1], "human_wage": [20.0]}))
    assert [(one.name, one.swept, one.settings) for one in planned.arms] == [
        ("work", None, {}),
        ("price 0.5 $", "price", {"price": 0.5}),
        ("price 1 $", "price", {"price": 1.0}),
        ("human_wage 20 $", "human_wage", {"human_wage": 20.0}),
    ]
    assert [one.prices.price for one in planned.arms] == [0.3, 0.5, 1.0, 0.3]
    assert [one.prices.human_wage for one in planned.arms] == [18.0, 18.0, 18.0, 20.0]
    assert {one.prices.damage for one in planned.arms} == {0.25}, "a sweep changes one price and keeps the base's others"
    assert planned.seeds == (0, 1)


def test_an_arm_is_the_base_with_what_is_said_of_it_and_tables_are_merged(tmp_path: Path) -> None:
    said = {"cheap": {"price": 0.1, "sac": {"batch": 7}}, "plain": {}}
    planned = plan(config(tmp_path, energy=0.0, sac={"batch": 5, "lr": 0.5}, arms=said))
    cheap, plain = arm(planned, "cheap").config, arm(planned, "plain").config
    assert (cheap.sac.batch, cheap.sac.lr, plain.sac.batch) == (7, 0.5, 5)
    assert (arm(planned, "cheap").prices.price, arm(planned, "plain").prices.price) == (0.1, 0.3)
    assert arm(planned, "cheap").prices.energy == 0.0, "0 is a price that was said"
    assert cheap.environment == plain.environment == SINK


@pytest.mark.parametrize(("step_size", "limit", "multiplier"), [(0.0, None, None), (5.0, 0.06, 21.4)])
def test_a_limit_is_held_where_its_price_moves(tmp_path: Path, step_size: float, limit: float | None, multiplier: float | None) -> None:
    """The shadow price of 6 % of errors without damage is the document's own."""
    [only] = plan(config(tmp_path, step_size=step_size, damage=0.0)).arms
    assert only.limit == limit
    assert only.best.multiplier == (None if multiplier is None else pytest.approx(multiplier, abs=0.3))
    assert only.best.error <= (1.0 if limit is None else limit) + 1e-9


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("plain", "plain"),
        ("damage 0.5 $", "damage-0.5--"),
        ("../up", "-up"),
        ("...", "-"),
        ("", "-"),
        ("blocks.5 (untrained)", "blocks.5--untrained-"),
        ("größe_1", "größe_1"),
    ],
)
def test_an_arms_folder_lies_in_the_folder_of_results(name: str, folder: str) -> None:
    one = LabourArm(name, None, {}, None, None, None)  # type: ignore[arg-type]
    assert one.folder == folder
    assert (Path("out") / one.folder).parent == Path("out")


# --- arms of a selection


def selection(path: Path, *choices: tuple[str, str, str, int | None]) -> Path:
    chosen = tuple(Choice(kind=kind, store_id=store, layer=layer, rank=rank, score=None) for kind, store, layer, rank in choices)  # type: ignore[arg-type]
    save(Selection(ranking="ranking.json", store_id="ls1-a", dataset_digest="sha256:0", backbone="any", choices=chosen), path)
    return path


class Stores:
    """What a plan asks stores: their ids, and what an encoder makes of one of their layers, so many numbers as its name has letters."""

    def __init__(self, patch: pytest.MonkeyPatch, recorded: int = 0, features: int = 0) -> None:
        patch.setattr(planning, "open_store", lambda root, word: SimpleNamespace(id=f"id-of-{word}"))
        patch.setattr(planning, "encoding_of", self.encoding)
        self.recorded, self.features, self.asked = recorded, features, []

    def encoding(self, encoder: Any, *given: Any) -> Any:
        self.asked.append((encoder.store, encoder.layer))
        return SimpleNamespace(shape=(len(encoder.layer),), dtype=np.float32, features=self.features, recorded_steps=self.recorded)


def test_a_selection_gives_its_best_layer_the_twin_and_the_pixels_beside_the_state_and_a_network_from_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores(monkeypatch)
    chosen = selection(
        tmp_path / "s.json",
        ("ranked", "ls1-a", "b.3", 1),
        ("ranked", "ls1-a", "b.2", 2),
        ("middle", "ls1-a", "b.1", None),
        ("worst", "ls1-a", "b.0", None),
        ("layer", "ls1-a", "b.4", None),
        ("twin", "ls1-t", "b.3", None),
        ("pixels", "ls1-a", "pixels", None),
    )
    planned = plan(config(tmp_path / "out", selection=chosen))
    assert [one.name for one in planned.arms] == ["state", "b.3", "b.3 (untrained)", "pixels", "scratch"]
    found = [(one.config.encoder.kind, one.config.encoder.store, one.config.encoder.layer) for one in planned.arms]
    assert found == [
        ("mlp", None, None),
        ("store", "id-of-ls1-a", "b.3"),
        ("store", "id-of-ls1-t", "b.3"),
        ("store", "id-of-ls1-a", "pixels"),
        ("store", "id-of-ls1-a", "pixels"),
    ]
    assert [one.config.encoder.hidden for one in planned.arms] == [None, None, None, None, (256, 64)]
    assert set(stores.asked) == {(store, layer) for _, store, layer in found[1:]}, "every store is looked at"


def test_a_layer_that_is_chosen_twice_works_once_and_one_without_a_rank_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Stores(monkeypatch)
    twice = (("ranked", "ls1-a", "b.3", 1), ("ranked", "ls1-a", "b.3", None), ("ranked", "ls1-b", "c.1", None))
    planned = plan(config(tmp_path / "out", selection=selection(tmp_path / "s.json", *twice)))
    assert [(one.name, one.config.encoder.store) for one in planned.arms] == [
        ("state", None),
        ("b.3", "id-of-ls1-a"),
        ("c.1", "id-of-ls1-b"),
        ("scratch", "id-of-ls1-a"),
    ]


def test_layers_of_two_stores_by_one_name_both_work_and_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Stores(monkeypatch)
    both = (("ranked", "ls1-a", "b.3", 1), ("ranked", "ls1-b", "b.3", None), ("twin", "ls1-t", "b.3", None), ("twin", "ls1-u", "b.3", None))
    planned = plan(config(tmp_path / "out", selection=selection(tmp_path / "s.json", *both)))
    assert [(one.name, one.config.encoder.store) for one in planned.arms] == [
        ("state", None),
        ("b.3", "id-of-ls1-a"),
        ("b.3 of ls1-b", "id-of-ls1-b"),
        ("b.3 (untrained)", "id-of-ls1-t"),
        ("b.3 (untrained) of ls1-u", "id-of-ls1-u"),
        ("scratch", "id-of-ls1-a"),
    ]


def test_arms_that_are_said_go_before_those_of_a_selection_and_without_either_there_is_one(tmp_path: Path) -> None:
    chosen = tmp_path / "there is no such file"
    assert [one.name for one in plan(config(tmp_path, selection=chosen, arms={"own": {}})).arms] == ["own"]
    assert [one.name for one in plan(config(tmp_path)).arms] == ["work"]
    with pytest.raises(DataError, match="no file"):
        plan(config(tmp_path, selection=chosen))


# --- memory


@pytest.mark.parametrize(
    ("episodes", "capacity", "seeds", "steps"), [(2, 100_000, 2, 240), (10, 100, 3, 300), (1, 60, 1, 60), (1, 59, 1, 59)]
)
def test_a_replay_of_states_holds_every_minute_or_its_capacity(
    tmp_path: Path, episodes: int, capacity: int, seeds: int, steps: int
) -> None:
    """Two states of 4 numbers, an action of 2 and 6 figures, of 4 bytes each, and a byte."""
    planned = plan(config(tmp_path, seeds=seeds, episodes=episodes, sac={"capacity": capacity}))
    assert planned.memory_bytes == steps * ((2 * 4 + 2 + 6) * 4 + 1)


def test_the_largest_arm_decides_and_a_stores_own_hours_and_features_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Stores(monkeypatch, recorded=30, features=7)
    said = {"state": {}, "seen": {"encoder": {"kind": "store", "store": "s", "layer": "seven.7"}}}
    assert plan(config(tmp_path, arms=said)).memory_bytes == (2 * 60 + 30) * 2 * 2 * (7 * 4 + 7 * 4)
    said["short"] = {"encoder": {"kind": "store", "store": "s", "layer": "b"}}
    assert plan(config(tmp_path, arms=said)).memory_bytes == (2 * 60 + 30) * 2 * 2 * (7 * 4 + 7 * 4)


def test_a_replay_that_does_not_fit_is_refused_with_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = config(tmp_path, episodes=1000, seeds=1000, sac={"capacity": 10**6})  # 60 million steps of 65 bytes
    monkeypatch.setattr(planning, "available_memory", lambda: 3_900_000_000)
    plan(asked)
    monkeypatch.setattr(planning, "available_memory", lambda: 3_899_999_999)
    with pytest.raises(BudgetError, match=r"the replay needs about 3\.9 GB of memory and 3\.9 GB are free") as error:
        plan(asked)
    assert error.value.hint == "a smaller --set train.work.sac.capacity, or fewer seeds"
    monkeypatch.setattr(planning, "available_memory", lambda: None)
    plan(asked)


# --- what is told, and what decides numbers


def test_a_dry_run_tells_hours_updates_and_the_best_hour_in_words(tmp_path: Path) -> None:
    sac = {"warm_up": 60, "train_interval": 20}
    told = plan(config(tmp_path, damage=0.0, step_size=5.0, sac=sac, sweep={"damage": [0.5]})).describe()
    assert (told["kind"], told["arms"], told["seeds"], told["hours"]) == ("labour", ["work", "damage 0.5 $"], 2, 2)
    assert told["updates"] == 3, "after 80, 100 and 120 minutes"
    first, second = told["best_hours"]
    assert first.startswith("work: 32.32 $/h at speed ")
    assert "good units/h, error 6.00 %, " in first
    assert first.endswith(" $/h")
    assert second.startswith("damage 0.5 $: ")
    assert told["exists"] is False
    assert "seconds_of_updates" not in told


def test_without_a_limit_no_price_of_errors_is_told(tmp_path: Path) -> None:
    [best] = plan(config(tmp_path, environment=WALL)).describe()["best_hours"]
    assert best.endswith(" of a person's wage")
    assert plan(config(tmp_path, sac={"warm_up": 10_000})).describe()["updates"] == 0


def test_names_and_places_decide_no_numbers_and_settings_and_seeds_do(tmp_path: Path) -> None:
    def key(**said: Any) -> str:
        planned = plan(config(tmp_path, **said))
        return planned.key(planned.arms[0])

    plain = key()
    assert key(arms={"another name": {}}) == key(sweep={"price": [1.0]}) == plain
    assert plan(config(tmp_path / "elsewhere")).key(plan(config(tmp_path)).arms[0]) == plain
    others = [
        key(seeds=3),
        key(price=0.4),
        key(episodes=3),
        key(environment=WALL),
        key(sac={"lr": 0.5}),
        key(arms={"a": {"centred": True}}),
    ]
    assert len({plain, *others}) == 7
    assert key(arms={"a": {"price": 0.4}}) == others[1], "it is the same whether the base says it or the arm"


def test_an_arm_is_finished_under_its_own_key_with_its_whole_result(tmp_path: Path) -> None:
    quick = {"warm_up": 60, "batch": 4, "hidden": [4], "train_interval": 60}
    said: dict[str, Any] = {"episodes": 1, "evaluation_hours": 1, "sac": quick}
    asked = config(tmp_path, seeds=1, **said)
    planned = plan(asked)
    only, folder = planned.arms[0], tmp_path / "work"
    assert planned.finished(only) is None
    record = run(planned)
    assert planned.finished(only) == record.arms[0]
    (folder / KEY_NAME).rename(folder / "kept")
    assert planned.finished(only) is None, "without its key nobody knows whose result it is"
    (folder / KEY_NAME).write_text("0" * 64)
    with pytest.raises(UsageError, match=f"{folder} holds results of other settings: another version of layerscout"):
        planned.finished(only)
    save_settings(config(tmp_path, seeds=2, **said), tmp_path / "settings.json")
    with pytest.raises(UsageError, match="other settings: seeds is 2 there and 1 here") as error:
        planned.finished(only)
    assert f"--out {tmp_path}-2" in str(error.value.hint)
    (folder / KEY_NAME).write_text((folder / "kept").read_text())
    (folder / ARM_NAME).write_bytes((folder / ARM_NAME).read_bytes()[:-9])
    with pytest.raises(DataError) as damaged:
        planned.finished(only)
    assert damaged.value.hint == f"delete {folder}: the same command works its hours anew"
