"""The score is the formula, the order is by score, the choices hold every control once, and the tables say n/a."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from synthetic_layers import columns_of, probe

from layerscout.cache.records import Estimate, LayerScore
from layerscout.errors import UsageError
from layerscout.probe.config import ProbeConfig
from layerscout.probe.report import COLUMNS, layer_csv
from layerscout.probe.score import choose, composite, normalise, order, score
from layerscout.settings import build

WEIGHTS = (0.45, 0.45, 0.10)


def layer(name: str, depth: int, value: float, role: str = "layer") -> LayerScore:
    figure = Estimate(value=0.5)
    return LayerScore(
        name=name,
        role=role,
        depth=depth,
        width=4,
        reward_r2=None,
        transition_r2=figure,
        effective_rank=figure,
        score=Estimate(value=value),
        reward_r2_shuffled=None,
        persistence_r2=0.1,
        transition_gain=0.4,
    )


def test_score_is_the_formula() -> None:
    assert composite(0.6, 0.8, 0.3, WEIGHTS, "clip") == pytest.approx(0.45 * 0.6 + 0.45 * 0.8 + 0.1 * 0.3)
    assert composite(-0.5, 1.2, 0.3, WEIGHTS, "clip") == pytest.approx(0.45 + 0.03)
    assert composite(-0.5, 0.8, 0.3, WEIGHTS, "affine") == pytest.approx(0.45 * 0.25 + 0.45 * 0.9 + 0.03)
    assert composite(None, 0.8, 0.3, WEIGHTS, "affine") == pytest.approx(0.45 * 0.9 + 0.03)
    assert [normalise(value, "affine") for value in (-3.0, -1.0, 0.0, 1.0)] == [0.0, 0.0, 0.5, 1.0]


def test_score_of_evidence_has_the_interval_of_the_whole_statistic() -> None:
    rng = np.random.default_rng(0)
    columns = columns_of([30] * 20, rng)
    evidence = probe(rng.standard_normal((620, 6)).astype(np.float32), columns, shifts=3)
    found = score(evidence, WEIGHTS, "affine")
    assert found.value == pytest.approx(composite(evidence.reward_r2, evidence.transition_r2, evidence.effective_rank, WEIGHTS, "affine"))
    assert found.low < found.value < found.high
    # with all the weight on the rank, the score is the rank and so is its interval
    alone = score(evidence, (0.0, 0.0, 1.0), "clip")
    spread = np.sqrt(19 * np.var(evidence.effective_rank_left))
    assert alone.value - alone.low == pytest.approx(2.093 * spread, rel=1e-3)


def test_order_is_by_score_then_depth_and_never_ranks_controls() -> None:
    layers = [layer("a", 0, 0.2), layer("b", 1, 0.7), layer("c", 2, 0.7), layer("pixels", -1, 0.99, "control"), layer("b", 1, 0.98, "twin")]
    assert [(item.role, item.name) for item in order(layers)] == [
        ("layer", "b"),
        ("layer", "c"),
        ("layer", "a"),
        ("control", "pixels"),
        ("twin", "b"),
    ]


def test_choices_hold_the_best_the_middle_the_worst_and_the_controls() -> None:
    scores = [0.1, 0.5, 0.3, 0.9, 0.8, 0.2]
    layers = [layer(f"b{depth}", depth, value) for depth, value in enumerate(scores)]
    layers += [layer(f"b{depth}", depth, 0.1, "twin") for depth in range(6)] + [layer("pixels", -1, 0.4, "control")]
    choices, notes = choose(order(layers), 2, "store", "twin")
    assert [(choice.kind, choice.store_id, choice.layer, choice.rank) for choice in choices] == [
        ("ranked", "store", "b3", 1),
        ("ranked", "store", "b4", 2),
        ("worst", "store", "b0", 6),
        ("twin", "twin", "b3", None),
        ("pixels", "store", "pixels", None),
    ]
    assert notes == ("the middle layer b3 is already chosen as ranked",)


def test_one_layer_is_chosen_once() -> None:
    choices, notes = choose([layer("only", 0, 0.3)], 2, "store", None)
    assert [choice.kind for choice in choices] == ["ranked"]
    assert len(notes) == 2


def test_undefined_figures_are_not_numbers_in_the_table() -> None:
    row = dict.fromkeys(COLUMNS) | {"layer": "b0", "transition_r2": 0.25}
    [read] = csv.DictReader(io.StringIO(layer_csv([row])))
    assert list(read)[:5] == ["layer", "reward_r2", "transition_r2", "effective_rank", "composite_score"]
    assert read["reward_r2"] == "n/a"
    assert read["transition_r2"] == "0.25"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weights": (0.5, 0.5, 0.5)}, "sum to 1"),
        ({"groups": 3}, "at least as many"),
        ({"folds": 2}, "greater than or equal to 3"),
        ({"penalties": (1.0, 0.1)}, "must rise"),
        ({"fold": 5}, "did you mean 'folds'"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(ProbeConfig, {"store": "x"} | settings, "probe")
