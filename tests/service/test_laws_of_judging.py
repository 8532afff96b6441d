"""What decides for a dataset: the words of every answer, which ranking is believed, whose runs count, and what is said where figures are missing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from example_records import example_ranking, example_runs, example_selection, layer_score

from layerscout.cache.records import Estimate, Ranking, save
from layerscout.service.data.experiments import Experiments
from layerscout.service.data.judging import (
    BestLayer,
    Judge,
    JudgedRuns,
    TaskDecision,
    _against,
    _ahead,
    _better_proof,
    lies_beside,
    ranking_beside,
)
from layerscout.service.data.results import FoundResult, Results

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")
ABOVE, BELOW, OPEN = (Estimate(value=one, low=one - 0.02, high=one + 0.02) for one in (0.05, -0.05, 0.01))
BARE = Estimate(value=0.2)


def found_result(name: str = "1", when: float = 1.0, **changes: Any) -> FoundResult:
    return FoundResult(name * 32, Path(f"/served/{name}"), Path("/served"), when, False, **changes)


def best_layer(**changes: Any) -> BestLayer:
    facts: dict[str, Any] = dict.fromkeys(BestLayer.__dataclass_fields__)
    facts |= {"found": found_result(), "title": "blocks.5", "best_untrained": "", "next": "blocks.6", "over_next": ABOVE}
    return BestLayer(**facts | {"tied": (), "flags": (), "environment": ""} | changes)


def decided(best: BestLayer | None, *runs: JudgedRuns) -> TaskDecision:
    return TaskDecision("sha256:d", best.environment if best else "", (), (), best, runs)


def judged(outcome: str, learned: str = "learned") -> JudgedRuns:
    return JudgedRuns(None, outcome, f"It is {outcome}.", "blocks.5", None, learned)  # type: ignore[arg-type]


def bare(estimate: Estimate | None) -> float:
    """The figure of an estimate without an interval."""
    assert estimate is not None
    assert estimate.low is estimate.high is None
    return estimate.value


# --- words


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "It was not measured against raw pixels."),
        (BARE, "Its score is +0.200 against raw pixels; without evidence files there is no interval."),
        (ABOVE, "Yes: +0.050 [+0.030, +0.070] against raw pixels."),
        (BELOW, "No: -0.050 [-0.070, -0.030] against raw pixels."),
        (OPEN, "That cannot be told: +0.010 [-0.010, +0.030] against raw pixels, and the interval holds 0."),
        (
            Estimate(value=0.1, low=0.0, high=0.2),
            "That cannot be told: +0.100 [+0.000, +0.200] against raw pixels, and the interval holds 0.",
        ),
        (
            Estimate(value=-0.1, low=-0.2, high=0.0),
            "That cannot be told: -0.100 [-0.200, +0.000] against raw pixels, and the interval holds 0.",
        ),
    ],
)
def test_an_answer_says_yes_or_no_only_where_the_interval_does(found: Estimate | None, said: str) -> None:
    assert _against(found, "raw pixels") == said


@pytest.mark.parametrize(
    ("changes", "said", "surely"),
    [
        ({}, "Yes: blocks.6 lies behind by 0.050 [0.030, 0.070].", True),
        ({"over_next": None, "next": ""}, "There is no other layer.", True),
        ({"over_next": None}, "How far blocks.6 lies behind was not measured.", None),
        (
            {"over_next": OPEN, "tied": ("blocks.6",)},
            "That cannot be told: blocks.6 lies behind by 0.010 [-0.010, 0.030], and the interval holds 0. Train on both.",
            False,
        ),
        (
            {"over_next": BARE, "tied": ("blocks.6", "blocks.4", "blocks.7")},
            "That cannot be told: blocks.6 and 2 more lies behind by 0.200, and there is no interval. Train on both.",
            False,
        ),
    ],
)
def test_a_layer_is_called_ahead_only_where_that_was_measured(changes: dict[str, Any], said: str, surely: bool | None) -> None:
    best = best_layer(**changes)
    assert (_ahead(best), best.surely_first) == (said, surely)
    (shown,) = (shown for question, _, shown in decided(best).reasons if "ahead" in question)
    assert shown == (said.startswith("Yes"))


def test_every_question_is_answered_and_only_what_is_sure_speaks_for_a_layer() -> None:
    whole = best_layer(over_untrained=ABOVE, over_best_untrained=ABOVE, over_pixels=ABOVE, best_untrained="blocks.2 (untrained)")
    assert [shown for *_, shown in decided(whole, judged("supported")).reasons] == [True] * 5
    poor = best_layer(over_untrained=BARE, over_best_untrained=OPEN, over_pixels=BELOW, tied=("blocks.6",))
    assert [shown for *_, shown in decided(poor, judged("partly supported")).reasons] == [False] * 5
    answers = [answer for _, answer, _ in decided(whole).reasons]
    assert answers[1].endswith("against blocks.2 (untrained).")
    assert answers[-1] == "No agent was trained on this dataset yet."
    assert decided(None).reasons == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Of 5 questions below, 1 speaks for it."),
        ({"over_pixels": BELOW}, "Of 5 questions below, 1 speaks for it, 1 speaks against it."),
        ({"over_pixels": BELOW, "over_untrained": BELOW, "tied": ("a",)}, "Of 5 questions below, 0 speak for it, 2 speak against it."),
    ],
)
def test_how_sure_a_choice_is_counts_the_answers(changes: dict[str, Any], said: str) -> None:
    assert decided(best_layer(**changes)).how_sure == f"How sure is that? {said}"


@pytest.mark.parametrize(
    ("own", "rival", "sure"),
    [
        (ABOVE, None, True),
        (ABOVE, ABOVE, True),
        (ABOVE, OPEN, True),
        (ABOVE, BARE, True),
        (ABOVE, BELOW, False),
        (OPEN, ABOVE, False),
        (BARE, ABOVE, False),
        (None, ABOVE, False),
    ],
)
def test_a_choice_is_sure_above_its_own_untrained_block_and_not_below_another(own: Any, rival: Any, sure: bool) -> None:
    assert decided(best_layer(over_untrained=own, over_best_untrained=rival)).sure is sure


def test_the_command_of_a_decision_can_be_pasted() -> None:
    assert decided(None).command == ""
    assert decided(best_layer()).command == "layerscout train ENVIRONMENT --selection selection.json"
    assert decided(best_layer(environment="it's; rm -rf /")).command == "layerscout train 'it'\"'\"'s; rm -rf /' --selection selection.json"


@pytest.mark.parametrize(
    ("outcome", "learned", "chip"),
    [
        ("supported", "learned", "supported"),
        ("supported", "cannot be judged", "supported"),
        ("supported", "not learned", "not learned"),
        ("too few seeds", "learned", "cannot be tested"),
        ("not run", "cannot be judged", "not trained"),
        ("not supported", "learned", "not supported"),
    ],
)
def test_a_verdict_in_two_words_says_first_that_nobody_learned(outcome: str, learned: str, chip: str) -> None:
    assert judged(outcome, learned).chip == chip


# --- which ranking is believed


def test_a_ranking_with_an_untrained_twin_is_believed_before_a_newer_one_without() -> None:
    old, new = found_result(when=1.0, twin="t"), found_result(when=2.0)
    assert _better_proof(new, None)
    assert _better_proof(old, new)
    assert not _better_proof(new, old)
    assert _better_proof(found_result(when=3.0, twin="t"), old)
    assert not _better_proof(old, old)


def test_nobody_is_told_to_train_on_an_untrained_model_while_there_is_a_trained_one() -> None:
    trained, untrained = found_result(backbone="tiny"), found_result(when=9.0, twin="t", backbone="tiny-untrained")
    assert not _better_proof(untrained, trained)
    assert _better_proof(trained, untrained)
    assert _better_proof(untrained, None)


def with_twins(rewards: dict[str, float], twins: dict[str, float], pixels: float = 0.0, **changes: Any) -> Ranking:
    """A ranking in the order of its rewards, each layer's twin of its own name."""
    ordered = sorted(rewards, key=lambda name: -rewards[name])
    layers = [layer_score(name, "layer", int(name[-1]), rewards[name], 0.5) for name in ordered]
    layers += [layer_score(name, "twin", int(name[-1]), reward, 0.5) for name, reward in twins.items()]
    layers.append(layer_score("pixels", "control", 0, pixels, 0.5))
    return example_ranking().model_copy(update={"layers": tuple(layers)} | changes)


def judge_of(*places: Path) -> Judge:
    catalogue = SimpleNamespace(all=lambda: (), version=0)
    results, experiments = Results(None, places), Experiments(places)
    state = SimpleNamespace(
        results=results, experiments=experiments, catalogue=catalogue, digests=dict, environment=lambda store: "Game-v0"
    )
    return Judge(state)  # type: ignore[arg-type]


def kept(folder: Path, ranking: Ranking, key: str, when: float = 1.0) -> None:
    save(ranking, folder / "ranking.json")
    (folder / "probe.json").write_text(json.dumps({"key": key * 64}), encoding="utf-8")
    os.utime(folder / "ranking.json", (when, when))


def test_a_layer_is_held_against_its_own_twin_the_best_twin_and_the_pixels(tmp_path: Path) -> None:
    """By the scores: 0.45 · reward + 0.45 · transition + 0.1 · rank, with ranks of 0.12 and 0.13 at depths 0 and 1."""
    kept(tmp_path, with_twins({"b.0": 0.2, "b.1": 0.6}, {"b.0": 0.4, "b.1": 0.1}, pixels=0.3), "a")
    judge = judge_of(tmp_path)
    (found,) = judge.state.results.all().values()
    best = judge.best_of(found)
    assert best
    assert (best.title, best.next, best.best_untrained, best.environment) == ("b.1", "b.0", "b.0 (untrained)", "Game-v0")
    for estimate, value in ((best.over_untrained, 0.225), (best.over_best_untrained, 0.09 + 0.001), (best.over_pixels, 0.135 + 0.001)):
        assert bare(estimate) == pytest.approx(value)
    assert (best.over_next, best.tied, best.surely_first) == (None, (), None)
    assert judge.best_of(found) is best  # worked out once


def test_layers_are_tied_with_the_first_where_their_interval_holds_nothing_or_there_is_none(tmp_path: Path) -> None:
    behind = {"b.1": ABOVE, "b.2": OPEN, "b.3": Estimate(value=0.1, low=0.0, high=0.2), "b.4": BARE, "b.5": None}
    ranking = with_twins({name: 0.9 - 0.1 * int(name[-1]) for name in ("b.0", *behind)}, {})
    layers = tuple(one.model_copy(update={"behind_best": behind.get(one.name)}) for one in ranking.layers)
    kept(tmp_path, ranking.model_copy(update={"layers": layers}), "a")
    judge = judge_of(tmp_path)
    best = judge.best_of(next(iter(judge.state.results.all().values())))
    assert best
    assert (best.tied, best.next, best.over_next, best.surely_first) == (("b.2", "b.3", "b.4"), "b.2", OPEN, False)


def test_a_layer_is_held_against_the_pixels_of_its_own_store_where_they_are_known(tmp_path: Path) -> None:
    ranking = with_twins({"b.0": 0.6}, {}, pixels=0.2)
    (layer, pixels) = ranking.layers
    other = layer_score("pixels", "control", 0, 0.4, 0.5).model_copy(update={"store_id": "other"})
    layer, mine = layer.model_copy(update={"store_id": "s"}), pixels.model_copy(update={"store_id": "s"})
    for place, (controls, over) in enumerate((((other, mine), 0.4), ((mine, other), 0.4), ((other,), 0.2), ((other, pixels), 0.4))):
        kept(tmp_path / str(place), ranking.model_copy(update={"layers": (layer, *controls)}), "abcd"[place], float(place))
        judge = judge_of(tmp_path / str(place))
        best = judge.best_of(next(iter(judge.state.results.all().values())))
        assert best
        assert bare(best.over_pixels) == pytest.approx(0.45 * over)


def test_a_store_belongs_to_whoever_owns_its_files() -> None:
    judge = judge_of()
    shelf = [SimpleNamespace(id=name, by=by) for name, by in (("ls1-x", "eve"), ("ls1-y", "ada"))]
    judge.state.catalogue.all = lambda: shelf  # type: ignore[method-assign]
    assert judge.owner_of(best_layer(found=found_result(stores=("ls1-z", "ls1-y")))) == "ada"
    assert judge.owner_of(best_layer(found=found_result(stores=("ls1-z",)))) == ""


def test_a_ranking_without_layers_decides_nothing_and_breaks_no_page(tmp_path: Path) -> None:
    kept(tmp_path / "empty", example_ranking().model_copy(update={"layers": ()}), "a", 2.0)
    judge = judge_of(tmp_path)
    assert judge.board() == []
    (task,) = judge.tasks()
    assert (task.best, len(task.rankings), task.command, task.how_sure) == (None, 1, "", "")


def test_the_board_has_each_model_once_a_dataset_and_no_untrained_one(tmp_path: Path) -> None:
    plain, proven = ({"twin_store_id": twin} for twin in (None, "t"))
    kept(tmp_path / "1", with_twins({"b.0": 0.2}, {"b.0": 0.1}, **proven), "1", 1.0)
    kept(tmp_path / "2", with_twins({"b.0": 0.9}, {}, **plain), "2", 9.0)
    kept(tmp_path / "3", with_twins({"b.0": 0.3}, {"b.0": 0.0}, dataset_digest="sha256:other"), "3")
    kept(tmp_path / "4", with_twins({"b.0": 0.9}, {"b.0": 0.0}, backbone="tiny-untrained"), "4", 9.0)
    kept(tmp_path / "5", with_twins({"b.0": 0.9}, {}, backbone="alone", twin_store_id=None), "5")
    judge = judge_of(tmp_path)
    assert [(best.found.id[0], runs) for best, runs in judge.board()] == [("3", None), ("1", None), ("5", None)]
    assert sorted(judge.datasets()) == ["sha256:0011aabb", "sha256:other"]
    assert judge.task("sha256:0011aabb").best.found.id[0] == "1"  # type: ignore[union-attr]
    assert judge.task("sha256:nothing").rankings == ()


def test_runs_count_for_the_dataset_of_the_ranking_beside_them(tmp_path: Path) -> None:
    kept(tmp_path / "game" / "probe", example_ranking(), "1")
    save(example_selection(), tmp_path / "game" / "probe" / "selection.json")
    save(example_runs(seeds=6), tmp_path / "game" / "train" / "runs.json")
    save(example_runs(seeds=2), tmp_path / "alone" / "runs.json")
    judge = judge_of(tmp_path)
    task = judge.task("sha256:0011aabb")
    assert [one.outcome for one in task.runs] == ["supported"]
    assert task.environment == "layerscout/Intercept-v0"
    ((best, runs),) = judge.board()
    assert runs is task.runs[0]
    assert runs.layer == best.title == "blocks.5"
    every = {one.experiment is not None: one for one in judge.state.experiments.all().values()}
    assert judge.runs_of(every[False]) is None
    beside = ranking_beside(judge.state.results, every[True])
    assert beside
    assert lies_beside(every[True], beside)
    assert ranking_beside(judge.state.results, every[False]) is None
