"""What the paper and the page say in words: every sentence from the records, no claim that they do not carry, names that mark nothing up."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from example_records import example_ranking, example_runs, example_selection, layer_score
from plain_records import BUDGET, plain_arm, plain_record, plain_run

from layerscout.cache.records import Estimate, Ranking, RunRecord, save
from layerscout.cache.records.world_models import LossesAt, WorldModelRecord
from layerscout.report import by_hand
from layerscout.report.experiment import Experiment, gather_experiment
from layerscout.report.numbers.gate import Gate
from layerscout.report.page import claims_table, dataset_name, gate_sentence, speed_caption, verdict_banner
from layerscout.report.paper import (
    conclusion,
    describe_record,
    describe_score,
    describe_setup,
    interpretation,
    limitations,
    ranking_sentences,
)
from layerscout.report.verdict import judge_record, no_verdict
from layerscout.report.world_models import losses_table, pretrained_sentences, world_models_section

pytestmark = pytest.mark.usefixtures("_no_waiting_for_the_disk")


def experiment_of(*records: RunRecord, **changes: Any) -> Experiment:
    named = tuple((f"train/runs{place}.json", record) for place, record in enumerate(records))
    return Experiment(Path("/out"), example_ranking().model_copy(update=changes), None, named, (), None)


def part(outcome: str = "supported", environment: str = "Game-v0", **changes: Any) -> Any:
    facts = {"verdict": SimpleNamespace(outcome=outcome), "record": SimpleNamespace(environment=environment)}
    return SimpleNamespace(**facts | {"title": f"{environment}, online", "claims": (), "questions": ()} | changes)


# --- the score


@pytest.mark.parametrize(
    ("kind", "holds", "lacks"),
    [
        (
            "S/1",
            ("\\text{S}(\\ell) = 0.45\\,\\tilde R^2_{\\text{reward}} + 0.45\\,\\tilde R^2_{\\text{transition}} + 0.10\\,\\text{rank}",),
            "orders nothing",
        ),
        ("S-skill/1", ("\\text{S-skill}(\\ell)", "\\text{transition skill}", "\\text{log rank}"), "orders nothing"),
        ("S-across/1", ("\\text{S-across}(\\ell)", "\\text{log rank}"), "transition skill"),
        ("S-ctrl/1", ("ordered by control", "\\text{S}(\\ell)", "\\text{rank}", "orders nothing here"), "the dataset's state"),
    ],
)
def test_the_formula_is_that_of_the_score_that_orders(kind: str, holds: tuple[str, ...], lacks: str) -> None:
    text = describe_score(example_ranking().model_copy(update={"score_kind": kind}))
    assert all(words in text for words in holds)
    assert lacks not in text
    assert text.count("$$") % 2 == 0


def test_a_state_that_was_asked_for_is_half_of_what_orders() -> None:
    first, *others = example_ranking().layers
    layers = (first.model_copy(update={"targets": {"state": Estimate(value=0.5)}}), *others)
    text = describe_score(example_ranking().model_copy(update={"score_kind": "S-ctrl/1", "layers": layers}))
    assert "and its rank by the $R^2$ of the dataset's state, half and half." in text


def test_the_twin_that_is_told_is_the_same_block_in_the_same_pooling() -> None:
    ranking = example_ranking()
    best, twin = ranking.candidates[0], next(one for one in ranking.layers if one.role == "twin" and one.name == "blocks.5")
    other = twin.model_copy(update={"name": "blocks.5@future-mean", "score": Estimate(value=0.111)})
    for layers in ((best, twin, other), (best, other, twin)):
        assert "The same block with random weights scores 0.418 [" in ranking_sentences(ranking.model_copy(update={"layers": layers}))
    assert "The same block" not in ranking_sentences(ranking.model_copy(update={"layers": (best, other)}))


def test_the_order_is_told_with_its_controls_and_its_doubts() -> None:
    told = ranking_sentences(example_ranking())
    assert told.startswith("`blocks.5` is ranked first with a score of 0.602 [")
    assert "The same block with random weights scores 0.418 [" in told  # 0.45 · 0.09 + 0.45 · 0.8 + 0.1 · 0.17
    assert "The best untrained block is blocks.7 with 0.429 [" in told
    assert "The control pixels scores 0.426 [" in told
    assert "undefined" not in told
    assert "flags" not in told  # its first layer carries none
    assert ranking_sentences(example_ranking().model_copy(update={"layers": ()})) == "No candidate layer was ranked."


def test_an_order_without_rewards_says_on_what_it_rests() -> None:
    told = ranking_sentences(example_ranking(rewards=False))
    assert "Reward R² is undefined on these data, so the order rests on less than the method asks for." in told
    assert "The probe flags this layer: PERSISTENCE, the next activation is hardly foretold better" in told
    behind = layer_score("b.1", "twin", 5, 0.9, 0.9).model_copy(update={"behind_best": Estimate(value=-0.25, low=-0.5, high=0.0)})
    one = example_ranking().model_copy(update={"layers": (*example_ranking().layers, behind)})
    assert ", -0.250 [-0.500, 0.000] behind, paired by group of episodes." in ranking_sentences(one)


def test_of_two_stores_only_the_same_ones_block_is_the_same_block() -> None:
    layers = [
        layer_score("b.0", role, 0, reward, 0.5).model_copy(update={"label": label})
        for role, reward, label in (("layer", 0.6, "mean"), ("twin", 0.1, "grid"))
    ]
    stores = [{"store_id": name, "backbone": "tiny", "label": name} for name in ("mean", "grid")]
    joint = Ranking.model_validate(example_ranking().model_dump() | {"stores": stores, "layers": [one.model_dump() for one in layers]})
    told = ranking_sentences(joint)
    assert told.startswith("`mean: b.0` is ranked first")
    assert "same block" not in told
    assert "The best untrained block is grid: b.0 with" in told


# --- what was done


def test_a_comparison_is_told_by_its_ranges() -> None:
    arms = [plain_arm("a"), plain_arm("b", budget=BUDGET.model_copy(update={"environment_steps": 2000, "wall_seconds": 1234.5}))]
    assert describe_record(plain_record(arms, {"a": [1.0, None], "b": [1.0]})) == (
        "Game-v0, online, 2 arms × 2 seeds, 1,000 to 2,000 environment steps and 500 updates a run, 1,234 s of wall time for the longest group of runs"
    )
    assert (
        describe_record(plain_record([], {}))
        == "Game-v0, online, 0 arms × 0 seeds, no arms, 0 s of wall time for the longest group of runs"
    )


def test_the_set_up_lists_layers_by_depth_and_environments_or_that_there_are_none() -> None:
    lines = describe_setup(experiment_of()).splitlines()
    assert lines[1] == "- Candidate layers: " + ", ".join(f"`blocks.{depth}`" for depth in range(8))
    assert lines[2] == "- Probing data: 20,480 clips of 640 episodes, 5 folds by episode"
    assert lines[3] == "- Environment: not run yet"
    assert len(describe_setup(experiment_of(example_runs(seeds=2), example_runs(seeds=2))).splitlines()) == 5


def test_a_dataset_is_called_by_what_was_played_once() -> None:
    assert dataset_name(experiment_of(dataset_digest="sha256:" + "ab" * 32)) == "sha256:" + "ab" * 6
    twice = experiment_of(example_runs(seeds=2), example_runs(seeds=2), plain_record([], {}))
    assert dataset_name(twice) == "layerscout/Intercept-v0, Game-v0 (sha256:0011aabb)"


# --- what may be said


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ((), "The probes put `blocks.5` first. Whether that serves an agent has not been tested."),
        (("supported",), "served the agent better than every control."),
        (("supported", "supported"), "served the agent better than every control."),
        (("supported", "not supported"), "against some controls or in some settings and not in others"),
        (("partly supported",), "against some controls or in some settings and not in others"),
        (("too few seeds", "not run"), "this experiment cannot tell."),
        (("too few seeds", "not supported"), "The data do not support that `blocks.5` serves an agent better"),
        (("not supported",), "Until they do, the ranking is a suggestion."),
    ],
)
def test_a_conclusion_says_no_more_than_the_tests(outcomes: tuple[str, ...], said: str) -> None:
    assert said in conclusion(example_ranking(), [part(outcome) for outcome in outcomes])


def test_what_the_data_cannot_show_is_listed() -> None:
    bare = limitations(experiment_of(twin_store_id="t"), []).splitlines()
    assert bare == ["- Linear probes show what can be read out, not what an agent will use or why."]
    broken = plain_record([plain_arm("a")], {"a": [1.0, None, None]})
    told = limitations(
        experiment_of(broken, broken, twin_store_id=None, notes=("a note of *stars*.", "")),
        [part("too few seeds", "B_-v0"), part(environment="A-v0")],
    )
    for words in (
        "- Only A-v0, B\\_-v0: nothing here says",
        "- Arms were chosen by score,",
        "- There are too few seeds for the main test",
        "- Failed runs: 4. They are missing",
        "- No store of the untrained twin was probed",
        "- A note of \\*stars\\*.",
    ):
        assert words in told, words
    assert "too few seeds" not in limitations(experiment_of(), [part("supported")])


def test_claims_stand_under_their_own_comparison_where_there_are_several() -> None:
    claim = SimpleNamespace(statement="It *helps*.", word="not supported", sentence="p < 0.05 is not <b>.")
    line = "- **It \\*helps\\*.** Not supported. p < 0.05 is not &lt;b>."
    assert interpretation([part(claims=(claim,))]) == line
    assert interpretation([part(questions=(claim,)), part(environment="B-v0")]) == f"*Game-v0, online*\n\n{line}\n\n*B-v0, online*"
    assert interpretation([]) == "Not run yet: none of the claims about agents has been tested."


def test_a_page_says_first_whether_the_task_was_learned() -> None:
    gate = Gate("not learned", "not learned: nobody beat chance", "Try more updates.")
    assert gate_sentence(gate) == "Not learned: nobody beat chance. Try more updates."
    assert gate_sentence(Gate("cannot be judged", "", "")) == "."
    verdict = no_verdict("Nothing to judge.")
    html = verdict_banner(verdict, "Game-v0", gate)
    assert "Not run · Game-v0" in html
    assert "nobody beat chance" in html
    assert "nobody beat chance" not in verdict_banner(verdict, "", Gate("learned", "learned: all did"))


def test_a_table_of_claims_has_the_word_for_each() -> None:
    claim = SimpleNamespace(statement="S", word="not tested", sentence="why")
    assert claims_table([claim]).rows == (("S", "not tested", "why"),)  # type: ignore[list-item]
    assert claims_table([]).rows == ()


@pytest.mark.parametrize(
    ("changes", "threshold", "gap"),
    [
        ({}, "Threshold: n/a, because the random policy", "Optimality gap: n/a, because"),
        ({"random_policy_return": 0.0}, "Threshold: 0.750, ¾ of the way from the random policy to the best arm.", "Optimality gap: n/a"),
        (
            {"random_policy_return": 0.0, "best_possible": 2.0},
            "Threshold: 1.500, ¾ of the way from the random policy to the best possible return.",
            "Optimality gap: to the best possible return, 2.",
        ),
        ({"random_policy_return": 1.0}, "or no arm is above it", "n/a"),
    ],
)
def test_the_table_of_speed_says_what_counts_as_learned(changes: dict[str, Any], threshold: str, gap: str) -> None:
    told = speed_caption(plain_record([plain_arm("a")], {"a": [1.0]}, **changes))
    assert threshold in told
    assert gap in told


# --- the commands that made it


def test_an_experiment_that_kept_no_commands_is_told_by_its_records(tmp_path: Path) -> None:
    save(example_ranking(), tmp_path / "probe" / "ranking.json")
    save(example_selection(), tmp_path / "probe" / "selection.json")
    save(example_runs(seeds=2).model_copy(update={"environment": "it's a game"}), tmp_path / "train" / "runs.json")
    (tmp_path / "probe" / "probe.json").write_text(json.dumps({"settings": {"root": str(tmp_path / "none")}}), encoding="utf-8")
    probe, train, report = by_hand.stage_commands(gather_experiment(tmp_path))
    assert probe == "layerscout probe sha256-1f2e3d4c --twin sha256-9a8b7c6d"
    assert train == f"layerscout train 'it'\"'\"'s a game' --mode online --selection probe/selection.json --out {tmp_path / 'train'}"
    assert report == f"layerscout report {tmp_path}"


@pytest.mark.parametrize("settings", ["[]", '"x"', "7", "null", '{"root": 7}'])
def test_settings_of_nonsense_tell_no_command_and_break_none(tmp_path: Path, settings: str) -> None:
    save(example_ranking(), tmp_path / "ranking.json")
    (tmp_path / "probe.json").write_text(f'{{"settings": {settings}}}', encoding="utf-8")
    assert by_hand.stage_commands(gather_experiment(tmp_path))[-1] == f"layerscout report {tmp_path}"


def test_a_command_of_collecting_says_what_was_said_and_no_more() -> None:
    def told(command: str = "layerscout extract tiny 'a b.h5' --root r", **played: Any) -> str | None:
        attributes = {"environment": None, "steps": None, "policy": None, "seed": None, "size": None, "options": {}} | played
        return by_hand._collection(SimpleNamespace(dataset_attributes=SimpleNamespace(**attributes), command=command))  # type: ignore[arg-type]

    known = {"environment": "Game-v0", "steps": 300}
    assert told(**known) == "layerscout collect Game-v0 --steps 300 --out 'a b.h5'"
    whole = told(**known, policy="epsilon:0.5", seed=3, size=64)
    assert whole == "layerscout collect Game-v0 --steps 300 --out 'a b.h5' --policy epsilon:0.5 --seed 3 --size 64"
    assert told(**known, size=64, options={"a": [1, "x"]}) == (
        "layerscout collect Game-v0 --steps 300 --out 'a b.h5' --set 'options.a=[1, \"x\"]'"
    )
    assert told(environment="Game-v0") is told(steps=3) is None  # imported, not collected
    for strange in (
        "layerscout extract",
        "layerscout extract tiny",
        "rm -rf /",
        "layerscout extract 'tiny",
        "layerscout extract tiny \x1b",
    ):
        assert told(strange, **known) is None, strange


# --- world models


def modelled(arm: str, *losses: tuple[int, int, dict[str, float]], **changes: Any) -> WorldModelRecord:
    told = tuple(LossesAt(seed=seed, updates=updates, losses=values) for seed, updates, values in losses)
    return WorldModelRecord.model_construct(arm=arm, losses=told, pretrained=None, sheet=None, **changes)


def test_losses_stand_at_marks_that_all_arms_reached() -> None:
    slow = modelled("slow", (0, 10, {"reward": 1.0}), (0, 20, {"reward": 0.5}), (1, 20, {"reward": 1.5}))
    long = modelled("long", (0, 5, {"picture": 100.0}), (0, 15, {"picture": 50.0}), (0, 400, {"picture": 1.0}))
    table = losses_table([slow, long])
    assert table.columns == ("Arm", "Loss", "to 2 updates", "to 5 updates", "to 10 updates", "to 20 updates")
    assert table.rows == (("slow", "reward", "n/a", "n/a", "1", "1"), ("long", "picture", "n/a", "100", "100", "50"))
    assert losses_table([modelled("none")]).rows == ()


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "an unknown number of updates"),
        ({"updates": 1500}, "1,500 updates"),
        ({"updates": "many", "video_loss": 12.345}, "an unknown number of updates"),
        (
            {"updates": 1, "video_loss": 12.345, "mean_picture": 20},
            "1 update; video loss 12.35 nats a frame on episodes apart, the mean picture's 20.00",
        ),
        ({"updates": 2, "read_out_of_the_state": [0.5, None]}, "2 updates; R² of the state from its features: 0.50, n/a"),
    ],
)
def test_what_a_pretrained_model_had_learned_is_told_as_far_as_it_is_known(facts: dict[str, Any], said: str) -> None:
    records = [modelled(name).model_copy(update={"pretrained": facts}) for name in ("APV", "other")]
    assert f"APV, other: {said}" in pretrained_sentences(records).replace("&#x27;", "'")
    assert pretrained_sentences([modelled("none")]) == ""


def test_without_world_models_there_is_no_section(tmp_path: Path) -> None:
    save(example_ranking(), tmp_path / "ranking.json")
    save(example_runs(seeds=2), tmp_path / "train" / "runs.json")
    assert world_models_section(gather_experiment(tmp_path)) == ""


def test_a_record_judged_again_says_the_same() -> None:
    values = np.random.default_rng(0).standard_normal((2, 7))
    arms = [plain_arm("a", score=1.0), plain_arm("p", "pixels")]
    record = plain_record(arms, {"a": values[0].tolist(), "p": values[1].tolist()})
    again = record.model_copy(update={"runs": tuple(plain_run(run.arm, run.seed + 100, run.final) for run in reversed(record.runs))})
    assert judge_record(again).sentence == judge_record(record).sentence  # seeds are names, no figures
