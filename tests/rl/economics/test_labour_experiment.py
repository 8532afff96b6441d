"""Laws of an experiment with labour: arms and sweeps come from settings, finished arms stay, the record says what closed forms say, a page shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerscout.cache.records import load
from layerscout.cache.records.work import WORK_NAME, WorkRecord
from layerscout.errors import DataError, UsageError
from layerscout.report import plan as report
from layerscout.report.labour.compare import answers
from layerscout.rl.config import TrainConfig
from layerscout.rl.economics import closed_forms
from layerscout.rl.economics.config import SETTLED
from layerscout.rl.economics.ledger import COLUMNS
from layerscout.rl.economics.run import plan, run
from layerscout.rl.economics.working import Workplace
from layerscout.rl.loops.learning import GroupCheckpoint
from layerscout.settings import build, resolve
from layerscout.worlds.labour.dishwashing import Dishwashing

SINK = "layerscout/Dishwashing-v0"
QUICK = {"warm_up": 60, "batch": 8, "hidden": [8], "train_interval": 20}
BASE = {"episodes": 2, "evaluation_hours": 1, "evaluate_every": 1, "damage": 0.0, "step_size": 5.0, "sac": QUICK}


def settings(out, **work) -> TrainConfig:
    return build(TrainConfig, {"environment": SINK, "out": out, "seeds": 2, "work": BASE | work}, "train")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("work")
    config = settings(out, arms={"uniform": {}, "new": {"replay": "novelty", "novelty": "neighbours"}}, sweep={"damage": [0.5]})
    return config, run(plan(config))


def test_arms_differ_in_what_was_said_and_the_rest_is_the_base(done):
    config, record = done
    uniform, new, swept = record.arms
    assert (new.settings, swept.prices["damage"], swept.swept) == ({"replay": "novelty", "novelty": "neighbours"}, 0.5, "damage")
    assert uniform.prices == new.prices == {"price": 0.3, "damage": 0.0, "energy": 0.1, "human_wage": 18.0}
    assert uniform.best.multiplier == pytest.approx(21.4, abs=0.3)
    assert uniform.best.profit == pytest.approx(32.316, abs=0.001)
    assert (record.feasible, record.profitable, record.needed) == (1997, 1621, pytest.approx(80.0))
    assert [judged.episode for judged in uniform.judgements] == [1, 2]
    assert len(uniform.curve("profit").values) == 2
    assert load(WorkRecord, config.out / WORK_NAME) == record


def test_finished_arms_are_not_worked_again_and_other_settings_are_refused(done):
    config, record = done
    written = (config.out / "uniform" / "episodes.csv").stat().st_mtime_ns
    assert run(plan(config)) == record
    assert (config.out / "uniform" / "episodes.csv").stat().st_mtime_ns == written
    assert plan(config).describe()["exists"]
    other = settings(config.out, arms={"uniform": {"reward": "cumulative"}})
    with pytest.raises(
        UsageError, match=r"holds results of other settings: .*work\.arms\.uniform\.reward is .* there and cumulative here"
    ) as raised:
        run(plan(other))
    assert f"--out {config.out}-2" in raised.value.hint


WAYS = {
    "state": {"replay": "novelty", "novelty": "neighbours", "weighting": "importance", "last_entropy": -7.0},
    "mlp": {"encoder": {"kind": "mlp", "hidden": [8], "contrastive": 0.1}, "novelty": "ensemble", "replay": "novelty", "centred": True},
}


@pytest.mark.parametrize("way", WAYS)
def test_an_arm_that_is_killed_goes_on_bit_by_bit(way, tmp_path, monkeypatch):
    def asked(name):
        return settings(tmp_path / name, episodes=5, averaging_after=2, **WAYS[way]).model_copy(update={"checkpoint_updates": 60})

    whole, save, saves = run(plan(asked("whole"))), GroupCheckpoint.save, []

    def die(self, state):
        save(self, state)
        saves.append(len(state["done"]["rows"]))
        if len(saves) in (2, 4):
            raise KeyboardInterrupt

    monkeypatch.setattr(GroupCheckpoint, "affordable", True)
    monkeypatch.setattr(GroupCheckpoint, "save", die)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(plan(asked("broken")))
    with pytest.raises(DataError, match="belongs to other settings"):
        run(plan(settings(tmp_path / "broken", episodes=6, **WAYS[way])))
    done = run(plan(asked("broken")))
    assert saves == [1, 2, 3, 4], "an hour that is saved is not worked again"
    timeless = [arm.model_copy(update={"cpu_seconds": 0.0}) for record in (whole, done) for arm in record.arms]
    assert timeless[0] == timeless[1]
    for name in ("episodes.csv", "episodes.jsonl"):
        assert (tmp_path / "broken" / "work" / name).read_bytes() == (tmp_path / "whole" / "work" / name).read_bytes()
    assert not list(tmp_path.glob("*/work/checkpoint.npz"))


def test_a_stores_name_that_goes_to_another_store_is_another_arm(sink_store, tmp_path):
    store, root = sink_store
    by_name, by_id = (
        plan(settings(tmp_path, encoder={"kind": "store", "store": said, "layer": "blocks.1"}).model_copy(update={"root": root}))
        for said in ("sink", store.id)
    )
    assert by_name.arms[0].config.encoder.store == store.id
    assert by_name.key(by_name.arms[0]) == by_id.key(by_id.arms[0])


@pytest.mark.parametrize(("warm_up", "interval"), [(60, 20), (61, 7), (500, 3)])
def test_a_plan_counts_the_updates_that_are_taken(warm_up, interval, tmp_path):
    config = settings(tmp_path, sac=QUICK | {"warm_up": warm_up, "train_interval": interval})
    planned = plan(config)
    assert planned.describe()["updates"] == run(planned).arms[0].updates


def test_the_page_says_what_the_record_holds(done):
    config, _ = done
    planned = report.plan([config.out])
    assert planned.describe()["kind"] == "labour"
    page = report.run(planned).read_text(encoding="utf-8")
    for words in (
        "1,997",
        "1,621",
        "What an hour of a machine is worth",
        "Elasticity",
        "Who gets the spread",
        "not told apart from uniform",
    ):
        assert words in page
    assert {path.stem for path in (config.out / "figures").glob("*.svg")} >= {
        "judged",
        "training",
        "frontier",
        "elasticity-damage",
        "spread-0",
    }
    assert "<script src" not in page


def test_a_seed_that_stopped_learning_is_told(tmp_path):
    record = run(plan(settings(tmp_path, sac=QUICK | {"lr": 1e20})))
    assert "not finite" in record.arms[0].reasons[1]
    assert answers(record)[:2] == tuple(f"work: seed {seed} stopped learning: {record.arms[0].reasons[seed]}." for seed in (0, 1))
    assert np.isfinite(record.arms[0].last.profit).all()


def test_a_frontier_and_elasticities_are_closed_forms():
    trade = Dishwashing.trade
    points = closed_forms.frontier(trade, trade.prices, 0.06)
    assert len(points) == 625
    best = max(points, key=lambda point: point.profit)
    assert best.profit <= closed_forms.best_hour(trade, trade.prices, None).profit
    by_damage = [point for point in closed_forms.elasticity(trade, trade.prices, None) if point.setting == "damage"]
    profits = [point.hour.profit for point in by_damage]
    assert profits == sorted(profits, reverse=True)
    assert [point.hour.care for point in by_damage] == sorted(point.hour.care for point in by_damage)
    at_half = next(point.hour.profit for point in by_damage if point.dollars == 0.5)
    assert at_half == pytest.approx(closed_forms.best_hour(trade, replace(trade.prices, damage=0.5), None).profit)
    wages = [point.hour for point in closed_forms.elasticity(trade, trade.prices, None) if point.setting == "human_wage"]
    assert np.ptp([hour.profit for hour in wages]) == 0.0  # a person's wage moves the parity, not the work
    assert [hour.parity for hour in wages] == sorted((hour.parity for hour in wages), reverse=True)


def test_a_selection_gives_its_layers_and_controls_as_arms(sink_store, tmp_path):
    store, root = sink_store
    choices = [
        {"kind": "ranked", "store_id": store.id, "layer": "blocks.1", "rank": 1, "score": 0.5},
        {"kind": "pixels", "store_id": store.id, "layer": "pixels", "rank": None, "score": 0.1},
    ]
    from layerscout.cache.records import Selection, save

    fields = {
        "store_id": store.id,
        "backbone": "tiny",
        "dataset_digest": store.identity["dataset"]["digest"],
        "ranking": "ranking.json",
        "choices": choices,
    }
    save(Selection.model_validate(fields), tmp_path / "selection.json")
    config = settings(tmp_path / "out").model_copy(update={"selection": tmp_path / "selection.json", "root": root})
    planned = plan(config)
    assert [arm.name for arm in planned.arms] == ["state", "blocks.1", "pixels", "scratch"]
    assert planned.arms[1].config.encoder.store == store.id
    assert planned.memory_bytes > 0


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"price": 0.0}, "'train.work.price' is 0.0, expected more than 0.0"),
        ({"price": float("nan")}, "'train.work.price' is nan"),
        ({"damage": -1.0}, "'train.work.damage' is -1.0, expected at least 0.0"),
        ({"human_wage": float("inf")}, "'train.work.human_wage' is inf, expected a finite number"),
        ({"sac": {"lr": float("inf")}}, "'train.work.sac.lr' is inf, expected a finite number"),
        ({"sweep": {"price": [0.0]}}, "setting 'train.work.sweep.price' is 0.0, expected more than 0.0"),
        ({"episodes": 0}, "'train.work.episodes' is 0, expected at least 1"),
        ({"last_target": 0.09}, "the error target goes from 0.06 up to 0.09"),
        ({"arms": {"a b": {}, "a-b": {}}}, "two arms would lie in one folder, a-b"),
        ({"arms": {"x": {"pric": 1.0}}}, "unknown setting 'train.work.arms.x.pric'; did you mean 'price'"),
        ({"encoder": {"kind": "mlp", "tune_after": 3}}, "has no video model to tune"),
    ],
)
def test_wrong_settings_are_named_before_any_hour(said, complaint, tmp_path):
    with pytest.raises(UsageError, match=complaint):
        plan(settings(tmp_path, **said))


def test_the_limits_that_are_checked_in_are_the_documents_own(tmp_path):
    file = Path(__file__).parents[3] / "experiments" / "labour_limit.toml"
    config = resolve(TrainConfig, "train", file=file, flags={"out": tmp_path})
    arms = {arm.name: arm for arm in plan(config).arms}
    assert {name: (arm.prices.damage, arm.config.penalty) for name, arm in arms.items()} == {
        "no damage": (0.0, "linear"),
        "damage 0.10 $": (0.1, "linear"),
        "hinge": (0.0, "hinge"),
    }
    assert arms["no damage"].best.multiplier == pytest.approx(21.4, abs=0.3)
    assert arms["damage 0.10 $"].best.multiplier == pytest.approx(10.3, abs=0.3)
    for arm in arms.values():
        assert arm.config.sac == SETTLED.model_copy(
            update={"lr": 5e-4, "target_entropy": -3.0, "capacity": 36_000, "warm_up": 600, "train_interval": 3}
        )
        assert arm.config.entropy_after < arm.config.episodes, "play narrows before the end"
        assert arm.config.sac.capacity >= 60 * arm.config.episodes, "nothing is forgotten"
    assert resolve(TrainConfig, "train", file=file, preset="quick", flags={"out": tmp_path}).work.episodes == 20


def test_a_plan_tells_the_memory_of_its_replay(tmp_path):
    planned = plan(settings(tmp_path))
    ledger = Workplace(planned.arms[0].config, planned.seeds).ledger
    assert planned.memory_bytes == sum(getattr(ledger, name).nbytes for name in COLUMNS)


def test_a_novelty_without_a_denoiser_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="backbone 'synthetic' is no video diffusion model"):
        plan(settings(tmp_path / "out", novelty="denoising", denoiser="synthetic"))
    assert not (tmp_path / "out").exists()


def test_a_world_that_is_no_labour_is_refused(tmp_path):
    with pytest.raises(UsageError, match="layerscout/Grid-v0 is no hour of labour"):
        plan(settings(tmp_path).model_copy(update={"environment": "layerscout/Grid-v0"}))
