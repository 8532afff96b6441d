"""Laws of an experiment with labour: arms and sweeps come from settings, finished arms stay, the record says what closed forms say, a page shows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from layerscout.cache.records import load
from layerscout.cache.records.work import WORK_NAME, WorkRecord
from layerscout.errors import UsageError
from layerscout.report import plan as report
from layerscout.rl.config import TrainConfig
from layerscout.rl.economics import closed_forms
from layerscout.rl.economics.experiment import plan, run
from layerscout.settings import build
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
        ({"human_wage": float("inf")}, "human_wage is inf dollars"),
        ({"episodes": 0}, "'train.work.episodes' is 0, expected at least 1"),
        ({"last_target": 0.09}, "the error target goes from 0.06 up to 0.09"),
        ({"arms": {"a b": {}, "a-b": {}}}, "two arms would lie in one folder, a-b"),
        ({"arms": {"x": {"pric": 1.0}}}, "unknown setting 'train.work.arms.x.pric'; did you mean 'price'"),
        ({"encoder": {"kind": "mlp", "tune_after": 3}}, "has no video model to tune"),
    ],
)
def test_wrong_settings_are_named_before_any_hour(said, complaint, tmp_path):
    with pytest.raises(UsageError, match=complaint):
        run(plan(settings(tmp_path, **said)))
    assert not list(tmp_path.glob("*/episodes.csv"))


def test_a_world_that_is_no_labour_is_refused(tmp_path):
    with pytest.raises(UsageError, match="layerscout/Grid-v0 is no hour of labour"):
        plan(settings(tmp_path).model_copy(update={"environment": "layerscout/Grid-v0"}))
