"""What a study says of one task, by arithmetic small enough for the back of an envelope: places, regrets, twins, seconds, digests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from example_records import example_ranking

from layerscout.cache.records import Arm, Budget, Cost, Run, RunRecord
from layerscout.pages.ranking import layer_title
from layerscout.report.experiment import Experiment
from layerscout.report.numbers.within import TaskCells
from layerscout.report.study.cells import cell_of, store_of_layer
from layerscout.report.study.contrasts import RANDOM, contrasts_of, regret_of
from layerscout.report.study.measures import CTRL, DEPTH, MIDDLE, S, measure_names
from layerscout.report.study.rows import failed_runs, probing_seconds, settings_digests, training_seconds
from layerscout.report.study.tasks import TrainedTask
from layerscout.report.study.untrained import twin_differences, twin_pairs

RANKING = example_ranking()
LAYERS = {layer_title(RANKING, layer): layer for layer in RANKING.layers}
NAMES = measure_names(())


def budget(cpu_seconds: float) -> Budget:
    return Budget(
        environment_steps=0,
        updates=100,
        trainable_parameters=1,
        flops=1.0,
        backbone_clips=0,
        wall_seconds=1.0,
        cpu_seconds=cpu_seconds,
    )


def trained(
    finals: dict[str, tuple[float | None, ...]],
    seconds: tuple[float, ...] = (),
    costs: tuple[float | None, ...] = (7.0,),
    **settings: object,
) -> TrainedTask:
    """A task whose arms are named like their layers' titles; None is a run that failed. Arms without such a layer are no cells."""
    spent = seconds or (1.0,) * len(finals)
    arms = [
        Arm(name=name, kind="ranked", layer=name.partition(" ")[0], store_id=None, head="linear", score=None, width=4, budget=budget(cpu))
        for name, cpu in zip(finals, spent, strict=True)
    ]
    runs = [
        Run(arm=name, seed=seed, returns=(), evaluations=(), final=final, status="failed" if final is None else "done")
        for name, own in finals.items()
        for seed, final in enumerate(own)
    ]
    record = RunRecord(environment="here", mode="offline", selection=None, random_policy_return=None, arms=tuple(arms), runs=tuple(runs))
    cells = tuple(cell_of(LAYERS[arm.name], RANKING, record, arm) for arm in arms if arm.name in LAYERS)
    known = [None if cost is None else Cost(wall_seconds=1.0, cpu_seconds=cost) for cost in costs]
    written = (("settings.json", dict(settings)),)
    experiments = tuple(Experiment(Path(f"out{k}"), RANKING, None, (("runs.json", record),), written, cost) for k, cost in enumerate(known))
    return TrainedTask("task", experiments, (RANKING,), (record,), "linear", cells)


@pytest.mark.parametrize(
    ("name", "place", "weights"),
    [
        ("blocks.0", 0.0, "pretrained"),
        ("blocks.2", 2 / 7, "pretrained"),
        ("blocks.7 (untrained)", 1.0, "untrained"),
        ("pixels", 0.5, "pretrained"),
    ],
)
def test_a_place_is_a_share_of_depth_among_the_layers_of_one_store_and_role(name, place, weights):
    [cell] = trained({name: (1.0,)}).cells
    assert cell.place == pytest.approx(place)
    assert cell.weights == weights
    assert cell.store_id == (RANKING.twin_store_id if weights == "untrained" else RANKING.store_id)


def test_a_layer_of_a_store_of_its_own_lies_there_whatever_its_role():
    assert store_of_layer(LAYERS["blocks.1 (untrained)"].model_copy(update={"store_id": "own"}), RANKING) == "own"
    assert store_of_layer(LAYERS["blocks.1 (untrained)"], RANKING.model_copy(update={"twin_store_id": None})) == ""


def test_a_block_is_compared_with_the_same_block_untrained_and_seeds_count_where_every_pair_finished():
    task = trained(
        {
            "blocks.1": (3.0, 5.0),
            "blocks.2": (1.0, None),
            "blocks.2 (untrained)": (0.0, 4.0),
            "blocks.1 (untrained)": (1.0, 1.0),
            "blocks.3": (9.0, 9.0),
        }
    )
    found = twin_differences(task, "final")
    assert found.layers == ("blocks.1", "blocks.2")
    np.testing.assert_array_equal(found.table, [[2.0, 4.0], [1.0, np.nan]])
    np.testing.assert_array_equal(found.by_seed, [1.5])
    mean, first, second = twin_pairs([task], "final")
    assert (mean.layer, mean.blocks, mean.seeds, mean.difference.value) == (None, 2, 1, 1.5)
    assert [(one.layer, one.seeds, one.difference.value, one.p, one.p_holm) for one in (first, second)] == [
        ("blocks.1", 2, 3.0, None, None),
        ("blocks.2", 1, 1.0, None, None),
    ]
    assert twin_differences(trained({"blocks.1": (3.0,)}), "final") is None


def test_the_means_over_blocks_are_tested_by_seeds_and_corrected_over_tasks():
    better = {
        "blocks.1": (3.0, 5.0, 4.0),
        "blocks.2": (2.0, 2.0, 2.0),
        "blocks.1 (untrained)": (1.0, 1.0, 1.0),
        "blocks.2 (untrained)": (0.0, 1.0, 0.0),
    }
    rows = [row for row in twin_pairs([trained(better), trained(better)], "final") if row.layer is None]
    assert [(row.p, row.p_holm) for row in rows] == [(0.25, 0.5), (0.25, 0.5)]  # 2 / 2³ signs, times two tasks


def test_training_on_every_layer_is_estimated_from_those_that_were_trained_on():
    task = trained({"blocks.1": (1.0,), "blocks.2": (1.0,), "blocks.1 (untrained)": (1.0,)}, seconds=(2.0, 4.0, 100.0))
    assert training_seconds(task) == 3.0 * len(RANKING.candidates)


def test_probing_costs_what_all_rankings_cost_or_is_not_known():
    cells = {"blocks.1": (1.0,)}
    assert probing_seconds(trained(cells, costs=(7.0, 2.0))) == 9.0
    assert probing_seconds(trained(cells, costs=(7.0, None))) is None


def test_failed_runs_are_those_on_cells():
    assert failed_runs(trained({"blocks.1": (1.0, None), "blocks.2": (None, None), "scratch": (None, 1.0)})) == 3


def test_settings_are_told_apart_by_their_values_and_not_by_their_order():
    digests = [settings_digests(trained({"blocks.1": (1.0,)}, **own)) for own in ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3})]
    assert digests[0] == digests[1] != digests[2]
    assert set(digests[0]) == {"out0/settings.json"}


def cells(returns: list[float], scores: dict[str, list[float]], pretrained: list[bool] | None = None) -> TaskCells:
    """A task of one seed; measures that are not given are not known."""
    table = np.full((len(NAMES), len(returns)), np.nan)
    for name, values in scores.items():
        table[NAMES.index(name)] = values
    more = {} if pretrained is None else {"pretrained": np.array(pretrained)}
    return TaskCells("task", table, np.array(returns)[:, None], **more)


def test_a_regret_is_a_share_of_best_minus_worst_and_who_has_no_measure_chooses_among_pretrained_cells():
    task = cells([0.0, 1.0, 2.0, 3.0], {S: [0.1, 0.2, 0.3, 0.4], CTRL: [1.0] * 4, DEPTH: [0.0, 0.4, 0.6, 1.0]}, [True, True, False, False])
    assert regret_of(task, NAMES, S, 1) == pytest.approx(0.0)
    assert regret_of(task, NAMES, DEPTH, 1) == pytest.approx(2 / 3)  # the deepest pretrained cell returns 1 of 3
    assert regret_of(task, NAMES, RANDOM, 1) == pytest.approx(5 / 6)  # 0 or 1 of 3, each as likely
    assert np.isnan(regret_of(task, NAMES, CTRL, 1)), "a measure that never differs chooses nothing"
    assert np.isnan(regret_of(task, NAMES, MIDDLE, 1)), "it is not known here"


def test_contrasts_are_the_first_minus_the_second_over_the_tasks_that_know_both():
    returns = [0.0, 1.0, 2.0, 3.0]
    right, wrong = {CTRL: returns, S: returns[::-1], DEPTH: returns[::-1]}, {S: returns}
    found = {(one.kind, one.first, one.second): one for one in contrasts_of([cells(returns, right)] * 3 + [cells(returns, wrong)], NAMES)}
    correlation = found["correlation", CTRL, S]
    assert (correlation.tasks, correlation.difference.value, correlation.p_flip) == (3, 2.0, 0.25)
    regret = found["regret@1", CTRL, DEPTH]
    assert (regret.tasks, regret.difference.value) == (3, -1.0)  # 0, less the whole way from best to worst
    assert found["regret@1", S, DEPTH].difference.value == 0.0
    assert not any(one in (DEPTH, MIDDLE) for _, one, _ in found), "choices without a measure are what others are held against"
