"""Whether a task was learned: the rule, at its edges, and what is said where it cannot be judged."""

from __future__ import annotations

import re

import numpy as np
import pytest
from example_records import LEVELS, example_ranking, example_runs
from test_report import experiment, read_csv

from layerscout.cache.records import Estimate, ReferenceReturn, RunRecord
from layerscout.pages.ranking import best_twin
from layerscout.probe.page.wording import reasons
from layerscout.report.chapters import gate_of
from layerscout.report.numbers.gate import judge_learning, references_of
from layerscout.report.report import write_report
from layerscout.report.verdict import final_returns

LEVELS_OF = {"random": -0.5, "constant": -0.4, "data": 0.5}


def references(**changes: float) -> tuple[ReferenceReturn, ...]:
    return tuple(ReferenceReturn(name=name, mean=mean) for name, mean in (LEVELS_OF | changes).items())


def judged(returns: list[float], **changes: float):
    worse = np.array(returns) - 1
    return judge_learning(["worse", "best"], [worse, np.array(returns)], references(**changes), "dqn")


def test_the_best_cell_must_beat_trivial_policies_on_four_seeds_of_five_and_come_half_way_to_the_data() -> None:
    assert judged([0.1] * 5).learned == "learned"
    four = judged([0.5, 0.5, 0.5, 0.5, -0.5])
    assert (four.learned, four.best, four.share) == ("learned", "best", 0.8)
    assert judged([0.9, 0.9, 0.9, -0.45, -0.45]).learned == "not learned"  # 60 % of seeds
    assert judged([0.0] * 5).learned == "learned"  # just half way from -0.5 to 0.5
    assert judged([-0.01] * 5).learned == "not learned"
    assert judged([0.1] * 5, constant=0.1).learned == "not learned"  # no better than doing always the same


def test_data_no_better_than_chance_ask_only_to_beat_chance() -> None:
    assert judged([-0.3] * 5, data=-0.5).learned == "learned"
    poor = judged([-0.6] * 5, data=-0.5)
    assert poor.learned == "not learned"
    assert "n_step 8" in poor.advice
    assert "data that earn more" in poor.advice
    assert "iql" in judged([-0.6] * 5).advice  # the data know better than chance


@pytest.mark.parametrize("missing", ["random", "constant", "data"])
def test_what_is_not_known_is_not_claimed(missing: str) -> None:
    known = tuple(one for one in references() if one.name != missing)
    found = judge_learning(["a"], [np.ones(5)], known)
    assert found.learned == "cannot be judged"
    assert found.why.startswith("cannot be judged: the return of ")
    assert judge_learning(["a"], [np.zeros(0)], references()).learned == "cannot be judged"


def test_where_no_arm_is_on_a_layer_any_arm_can_have_learned() -> None:
    record = example_runs().model_copy(update={"references": references(), "mode": "online"})
    arms = tuple(arm.model_copy(update={"kind": "dreamer none", "layer": ""}) for arm in record.arms)
    found = gate_of(record.model_copy(update={"arms": arms}))
    means = {arm.name: np.mean(final_returns(record, arm.name)) for arm in arms}
    assert found.best == max(means, key=lambda name: means[name])
    poor = tuple(run.model_copy(update={"final": -0.6}) for run in record.runs)
    worse = gate_of(record.model_copy(update={"arms": arms, "runs": poor}))
    assert (worse.learned, "environment steps" in worse.advice, "iql" in worse.advice) == ("not learned", True, False)


def test_older_records_tell_of_random_play_and_of_the_best_possible() -> None:
    record = example_runs().model_copy(update={"best_possible": 0.8})
    assert [(one.name, one.mean) for one in references_of(record)] == [("random", -0.42), ("optimal", 0.8)]
    told = record.model_copy(update={"references": (*references(random=-0.5), ReferenceReturn(name="optimal", mean=0.9))})
    assert [(one.name, one.mean) for one in references_of(told)] == [("random", -0.5), ("constant", -0.4), ("data", 0.5), ("optimal", 0.9)]


def reported(tmp_path, record: RunRecord) -> tuple[str, str]:
    page = write_report(experiment(tmp_path, example_ranking(), record)).read_text()
    return page, (tmp_path / "paper.md").read_text()


def test_every_table_of_returns_has_the_policies_that_learn_nothing(tmp_path) -> None:
    record = example_runs().model_copy(update={"references": references()})
    page, paper = reported(tmp_path, record)
    summary = read_csv(tmp_path / "train" / "experiment_summary.csv")
    assert [(row["arm"], float(row["mean_return_last_50"])) for row in summary if row["kind"] == "reference"] == [
        ("random actions", -0.5),
        ("best constant action", -0.4),
        ("the data's own policy", 0.5),
    ]
    table = (tmp_path / "train" / "experiment_summary_table.md").read_text()
    for text in (page, paper, table):
        assert all(words in text.replace("&#x27;", "'") for words in ("random actions", "best constant action", "the data's own policy"))
    assert "Learned: the best cell blocks.5" in page


def test_a_task_that_was_not_learned_is_said_first_on_the_page(tmp_path) -> None:
    record = example_runs().model_copy(update={"references": references(random=0.9, data=2.0)})
    page, paper = reported(tmp_path, record)
    answer = page.partition('<div class="answer')[2].partition("</div>")[0]
    assert "Not learned: the best cell" in answer
    assert "Try " in answer
    assert "Not learned: the best cell" in paper


def test_offline_tables_speak_of_evaluations_and_never_of_training_episodes(tmp_path) -> None:
    page, paper = reported(tmp_path, example_runs(mode="offline"))
    table = (tmp_path / "train" / "experiment_summary_table.md").read_text()
    for text in (page, paper, table):
        assert "Mean return (last evaluation)" in text
        assert "last 50" not in text.partition("## References")[0]
    assert "last greedy evaluation (5 episodes a seed)" in page
    assert "upper bounds" in page  # all seeds played the same episodes
    assert "Mean return (last 50)" in reported(tmp_path / "on", example_runs(dict.fromkeys(LEVELS, 0.3)))[0]


def test_the_page_holds_the_winner_against_the_best_untrained_block(tmp_path) -> None:
    ranking = example_ranking()
    twins = [
        layer.model_copy(update={"behind_best": Estimate(value=0.1, low=-0.02, high=0.2)})
        for layer in ranking.layers
        if layer.role == "twin"
    ]
    ranking = ranking.model_copy(update={"layers": (*(layer for layer in ranking.layers if layer.role != "twin"), *twins)})
    assert best_twin(ranking).name == "blocks.7"  # not the winner's own, blocks.5
    assert "best untrained blocks.7" in reasons(ranking)
    assert "behind by 0.100 [-0.020, 0.200] (not told apart)" in reasons(ranking)
    write_report(experiment(tmp_path, ranking))
    assert "The best untrained block is blocks.7" in (tmp_path / "paper.md").read_text()


def test_no_pair_of_arms_has_two_p_values_on_one_page(tmp_path) -> None:
    page, _ = reported(tmp_path, example_runs(mode="offline"))
    twins = page.partition("Pretrained against untrained blocks</h3>")[2].partition("</table>")[0]
    cells = [re.sub(r"<[^>]*>", " ", row).split() for row in twins.split("<tr")[2:]]
    assert cells
    assert all(row[-2:] == ["–", "–"] for row in cells)  # one pair: tested among the controls, described here
    assert "all layers" not in page.lower()
