"""Three questions kept apart: what speaks for one says nothing about the others, and few seeds say nothing at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from example_records import LEVELS, example_ranking, example_runs

from layerscout.cache.records import Ranking, RunRecord
from layerscout.report.numbers.statistics import sign_flip_p
from layerscout.report.questions import FROZEN, PRETRAINING, RANKING, three_questions
from layerscout.report.verdict import final_returns, judge_record

BEST = "blocks.5"


def runs_of(levels: dict[str, float] = LEVELS, **keys: Any) -> RunRecord:
    """Eight seeds an arm."""
    return example_runs(levels, **({"seeds": 8} | keys))


def all_trained() -> Ranking:
    """A ranking of just the five layers that have agents."""
    ranking, trained = example_ranking(), {arm.layer for arm in runs_of().arms}
    return ranking.model_copy(update={"layers": tuple(one for one in ranking.layers if one.role != "layer" or one.name in trained)})


def words(levels: dict[str, float] | None = None, **keys) -> dict[str, str]:
    """What becomes of each question when arms earn these levels."""
    record = runs_of(LEVELS | (levels or {}), **keys)
    return {claim.statement: claim.word for claim in three_questions(record, all_trained())}


def test_the_questions_are_answered_one_by_one() -> None:
    all_hold = dict.fromkeys((PRETRAINING, FROZEN, RANKING), "supported")
    assert words() == all_hold
    assert words({"blocks.5 (untrained)": 0.9}) == all_hold | {PRETRAINING: "not supported"}
    assert words({"pixels": 0.9}) == all_hold | {FROZEN: "not supported"}
    assert words({"scratch": 0.72}, noise=0.2) == all_hold | {FROZEN: "not supported"}
    others = dict.fromkeys(("blocks.6", "blocks.4", "blocks.7 (middle)", "blocks.0 (worst)"), 0.9)
    assert words(others) == all_hold | {RANKING: "not supported"}


def test_the_neighbour_may_be_as_good_and_the_ranking_still_helps() -> None:
    levels = {"blocks.6": 0.72, "blocks.7 (middle)": 0.71}
    assert words(levels, noise=0.02)[RANKING] == "supported"
    assert judge_record(runs_of(LEVELS | levels, noise=0.02), example_ranking()).outcome != "supported"


def test_regret_of_a_blind_pick_is_that_of_the_mean_over_the_trained_layers() -> None:
    record = runs_of()
    names = ["blocks.5", "blocks.6", "blocks.4", "blocks.7 (middle)", "blocks.0 (worst)"]
    table = np.array([final_returns(record, name) for name in names])
    claim = three_questions(record, all_trained())[2]
    best = table.mean(1).max()
    as_good = sum(row.mean() >= table[0].mean() for row in table)
    assert f"one of the 5 ranked layers picked blind, of which {as_good} (itself counted) earned at least as much: " in claim.sentence
    assert f"regret {best - table[0].mean():.3f}, of a blind pick {best - table.mean():.3f};" in claim.sentence
    assert f"p = {sign_flip_p(table[0] - table.mean(0)):.3f}, 8 seeds." in claim.sentence


@pytest.mark.parametrize("seeds", [1, 2, 5])
def test_too_few_seeds_test_nothing(seeds: int) -> None:
    assert set(words(seeds=seeds).values()) == {"not tested"}


def without(name: str) -> RunRecord:
    """Eight seeds of every arm but one."""
    record = runs_of()
    arms, runs = (tuple(one for one in kept if name not in (getattr(one, "arm", None) or one.name)) for kept in (record.arms, record.runs))
    return record.model_copy(update={"arms": arms, "runs": runs})


@pytest.mark.parametrize(
    ("left_out", "question", "reason"),
    [
        ("(untrained)", PRETRAINING, "the untrained twin of this layer"),
        ("pixels", FROZEN, "the raw pixels"),
        ("scratch", FROZEN, "a network from scratch"),
        ("blocks.4", RANKING, "4 of the 5 ranked layers have agents"),
    ],
)
def test_what_a_question_needs_and_was_not_trained_makes_it_not_tested(left_out: str, question: str, reason: str) -> None:
    claims = {claim.statement: claim for claim in three_questions(without(left_out), all_trained())}
    assert claims[question].word == "not tested"
    assert claims[question].sentence.startswith("n/a")
    assert reason in claims[question].sentence
    assert [claim.word for name, claim in claims.items() if name != question] == ["supported"] * 2


def test_the_twin_of_another_layer_answers_nothing() -> None:
    record = runs_of()
    arms = tuple(arm.model_copy(update={"layer": "blocks.1"}) if arm.kind == "twin" else arm for arm in record.arms)
    assert three_questions(record.model_copy(update={"arms": arms}), all_trained())[0].sentence.startswith("n/a")


def test_the_best_and_the_worst_alone_are_no_blind_pick() -> None:
    """As `probe` chooses by default: two at the top, the middle, the worst; what any layer earns is not known."""
    claim = three_questions(runs_of(), example_ranking())[2]
    assert (claim.word, claim.sentence[:30]) == ("not tested", "n/a: 5 of the 8 ranked layers ")


def test_layers_of_two_backbones_may_have_one_name() -> None:
    record = runs_of()
    other = {"layer": BEST, "store_id": "sha256-of another"}
    arms = tuple(arm.model_copy(update=other) if arm.name == "blocks.0 (worst)" else arm for arm in record.arms)
    first = [arm for arm in arms if arm.name == "blocks.0 (worst)"]
    mixed = record.model_copy(update={"arms": (*first, *(arm for arm in arms if arm not in first))})
    assert three_questions(mixed)[2].word == "supported"


def test_where_every_run_on_the_best_layer_failed_nothing_is_asked() -> None:
    failed = runs_of(fail=tuple((BEST, seed) for seed in range(8)))
    assert three_questions(failed, example_ranking()) == ()
