"""The report: what it says follows from the records, and the page needs nothing but itself."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from example_records import LEVELS, example_ranking, example_runs, example_selection

from layerscout.cache.records import Ranking, RunRecord, save
from layerscout.errors import DataError
from layerscout.report.numbers.curves import learning_curves, running_mean
from layerscout.report.numbers.statistics import interquartile_mean
from layerscout.report.report import judge_record, write_report
from layerscout.report.tables import RETURNS_COLUMNS, SUMMARY_COLUMNS, write_experiment_tables


def experiment(out: Path, ranking: Ranking, *records: RunRecord) -> Path:
    """Lay out a folder as the stages do."""
    save(ranking, out / "probe" / "ranking.json")
    save(example_selection(), out / "probe" / "selection.json")
    (out / "probe" / "settings.json").write_text('{"folds": 5, "nested": {"penalty": null}}')
    for place, record in enumerate(records):
        save(record, out / "train" / f"runs{place or ''}.json")
    return out


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


class Links(HTMLParser):
    """Collects what a page would load or run, and checks that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.scripts = 0
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = experiment(tmp_path_factory.mktemp("out"), example_ranking(), example_runs(fail=(("scratch", 3),)))
    write_report(out)
    return out


def test_page_is_self_contained(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    links = Links()
    links.feed(text)
    assert links.scripts == 1  # its own, which sorts tables
    assert all(address.startswith("#") for address in links.addresses)
    assert {address[1:] for address in links.addresses} <= set(links.ids)  # markers inside the drawings resolve
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert links.open == []
    assert len(text.encode()) < 1_000_000


def test_every_arm_layer_and_flag_appears(finished: Path) -> None:
    for text in ((finished / "report.html").read_text(), (finished / "paper.md").read_text()):
        for name in (*LEVELS, *(layer.name for layer in example_ranking().candidates)):
            assert name in text
    page = (finished / "report.html").read_text()
    assert all(f"<dt>{flag}</dt>" in page for flag in ("PERSISTENCE", "REWARD_NULL", "UNDERSAMPLED"))
    assert all(layer.name in page for layer in example_ranking().layers)


def test_failed_run_is_shown_and_not_averaged(finished: Path) -> None:
    page, paper = (finished / "report.html").read_text(), (finished / "paper.md").read_text()
    assert "1 failed" in page
    assert "loss became NaN" in page
    assert "loss became NaN" in paper
    row = next(row for row in read_csv(finished / "train" / "experiment_summary.csv") if row["arm"] == "scratch")
    assert (row["seeds"], row["failed"]) == ("6", "1")


def test_figures_are_valid_svg_that_the_paper_shows(finished: Path) -> None:
    shown = re.findall(r"\]\((figures/[^)]+)\)", (finished / "paper.md").read_text())
    assert sorted(shown) == sorted(path.relative_to(finished).as_posix() for path in (finished / "figures").iterdir())
    for path in shown:
        assert ElementTree.parse(finished / path).getroot().tag.endswith("svg")


def test_writing_twice_gives_the_same_bytes(finished: Path) -> None:
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    write_report(finished)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_paper_keeps_the_outline_and_leaves_no_place_open(finished: Path) -> None:
    paper = (finished / "paper.md").read_text()
    headings = [line.lstrip("# ").split(" ")[0] for line in paper.splitlines() if re.match(r"##+ (\d|A|R)", line)]
    numbered = [heading for heading in headings if heading[0].isdigit()]
    assert numbered == ["1.", "2.", "3.", "3.1", "3.2", "3.3", "4.", "4.1", "4.2", "5.", "5.1", "5.2", "5.3", "5.4", "6.", "7."]
    assert "@{" not in paper
    assert "[fill]" not in paper
    assert judge_record(example_runs(fail=(("scratch", 3),)), example_ranking()).sentence in paper


def test_not_run_yet_and_undefined_scores(tmp_path: Path) -> None:
    page = write_report(experiment(tmp_path, example_ranking(rewards=False))).read_text()
    assert "Not run yet" in page
    assert '<td class="none">n/a</td>' in page
    assert "nan" not in re.sub(r"<(svg|script).*?</\1>", "", page, flags=re.S).lower().replace("provenance", "")
    assert "Not run yet" in (tmp_path / "paper.md").read_text()


def test_records_of_several_modes_each_get_a_chapter(tmp_path: Path) -> None:
    page = write_report(experiment(tmp_path, example_ranking(), example_runs(), example_runs(mode="offline"))).read_text()
    assert page.count('<h2 id="the-agents') == 2
    assert (tmp_path / "train" / "runs" / "experiment_summary.csv").exists()
    assert (tmp_path / "train" / "runs1" / "experiment_summary.csv").exists()
    links = Links()
    links.feed(page)
    assert len(links.ids) == len(set(links.ids))


def test_heads_are_compared_within_and_scratch_with_each(tmp_path: Path) -> None:
    record = example_runs()
    linear = {arm.name: f"{arm.name} + linear" for arm in record.arms if arm.kind != "scratch"}
    arms = [arm.model_copy(update={"name": linear[arm.name], "head": "linear"}) for arm in record.arms if arm.name in linear]
    runs = [run.model_copy(update={"arm": linear[run.arm], "final": -run.final}) for run in record.runs if run.arm in linear]
    both = record.model_copy(update={"arms": (*record.arms, *arms), "runs": (*record.runs, *runs)})
    page = write_report(experiment(tmp_path, example_ranking(), both)).read_text()
    assert page.count('<h2 id="the-agents') == 2
    for head in ("mlp-64", "linear"):
        judged = judge_record(both, example_ranking(), head)
        assert {one.kind for one in judged.comparisons} == {"middle", "worst", "twin", "pixels", "scratch"}
        assert all(one.control.endswith("linear") == (head == "linear") for one in judged.comparisons if one.kind != "scratch")
    assert judge_record(both, example_ranking(), "linear").outcome == "not supported"


def test_strings_are_escaped(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script> $\\frac{1}'
    ranking = example_ranking().model_copy(update={"backbone": evil, "notes": (evil,)})
    page = write_report(experiment(tmp_path, ranking, example_runs({evil: 0.5, **{f"a{place}": 0.1 for place in range(4)}}))).read_text()
    links = Links()
    links.feed(page)
    assert links.scripts == 1
    assert "<script>alert" not in page


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no ranking\.json"):
        write_report(tmp_path)
    experiment(tmp_path, example_ranking())
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "runs.json").write_text("{")
    with pytest.raises(DataError, match=r"runs\.json is not valid JSON"):
        write_report(tmp_path)


def test_verdict_supported() -> None:
    judged = judge_record(example_runs(), example_ranking())
    assert judged.outcome == "supported"
    assert judged.best == "blocks.5"
    assert judged.sentence.startswith("The ranked-best layer blocks.5 returned 0.698 [")
    assert "beat every one of its 5 controls" in judged.sentence
    assert (judged.p, judged.smallest_p) == (0.03125, 0.03125)
    assert [one.p_holm for one in judged.comparisons] == [5 * 0.03125] * 5


def test_verdict_on_a_tie_is_not_supported() -> None:
    judged = judge_record(example_runs(dict.fromkeys(LEVELS, 0.3), noise=0.1), example_ranking())
    assert judged.outcome == "not supported"
    assert "did not beat every one of its 5 controls" in judged.sentence
    assert judged.p > 0.05


def test_a_difference_in_the_last_bits_puts_nobody_ahead() -> None:
    """0.1 + 0.2 is not 0.3 to a computer; the layer and its controls earned the same."""
    record = example_runs(dict.fromkeys(LEVELS, 0.3), seeds=2)
    best = {run.seed for run in record.runs}
    values = dict.fromkeys(best, (0.1 + 0.2, 0.3))
    runs = tuple(run.model_copy(update={"final": values[run.seed][run.arm != "blocks.5"]}) for run in record.runs if run.status == "done")
    judged = judge_record(record.model_copy(update={"runs": runs}), example_ranking())
    assert {one.mean_difference for one in judged.comparisons} == {0.0}
    assert "was ahead of 0 of 5 controls" in judged.sentence


def test_verdict_on_a_loss_names_the_winner() -> None:
    judged = judge_record(example_runs({**LEVELS, "blocks.5": -0.2, "blocks.5 (untrained)": 0.9}, seeds=10), example_ranking())
    assert judged.outcome == "not supported"
    assert "blocks.5 (untrained)" in judged.sentence
    assert "did better at 5 % after Holm" in judged.sentence


def test_a_headline_that_fails_still_names_the_controls_that_lie_clearly_below() -> None:
    judged = judge_record(example_runs({**LEVELS, "scratch": 0.71}), example_ranking())
    assert judged.outcome == "not supported"
    below = judged.sentence.partition("not corrected for their number, put it above ")[2]
    assert "blocks.5 (untrained)" in below
    assert "scratch" not in below


def test_verdict_in_part() -> None:
    judged = judge_record(example_runs({**LEVELS, "scratch": 0.75}, seeds=10), example_ranking())
    assert judged.outcome == "partly supported"
    assert "but not scratch" in judged.sentence


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_verdict_with_too_few_seeds_never_claims(seeds: int) -> None:
    judged = judge_record(example_runs(seeds=seeds), example_ranking())
    assert judged.outcome == "too few seeds"
    assert "needs at least 6 pairs" in judged.sentence
    assert judged.smallest_p == 2 / 2**seeds


def test_verdict_when_a_failed_run_leaves_too_few_pairs() -> None:
    judged = judge_record(example_runs(fail=(("pixels", 2),)), example_ranking())
    assert judged.outcome == "too few seeds"
    assert "5 finished pairs with pixels" in judged.sentence
    lost = judge_record(example_runs({**LEVELS, "scratch": 0.75}, fail=(("pixels", 2),)), example_ranking())
    assert lost.outcome == "not supported"  # another control settles it


def test_verdict_without_anything_to_compare() -> None:
    assert judge_record(None).outcome == "not run"
    assert judge_record(example_runs({"blocks.5": 0.7}), example_ranking()).outcome == "not run"
    every_run = tuple(("blocks.5", seed) for seed in range(6))
    assert "failed" in judge_record(example_runs(fail=every_run), example_ranking()).sentence


def test_verdict_does_not_depend_on_the_order_of_runs() -> None:
    record = example_runs()
    assert judge_record(record.model_copy(update={"runs": record.runs[::-1]})) == judge_record(record)


def test_tables_have_their_columns_and_figures_that_can_be_recomputed(tmp_path: Path) -> None:
    record = example_runs(fail=(("pixels", 1),))
    returns_path, summary_path, table_path = write_experiment_tables(record, tmp_path)
    returns, summary = read_csv(returns_path), read_csv(summary_path)
    assert tuple(returns[0]) == RETURNS_COLUMNS == ("arm", "layer", "seed", "episode", "return", "phase", "at")
    assert tuple(summary[0]) == SUMMARY_COLUMNS
    assert SUMMARY_COLUMNS[2:5] == ("mean_return_last_50", "std_across_seeds", "mean_return_all_episodes")
    reference = summary.pop()
    assert (reference["arm"], reference["kind"], float(reference["mean_return_last_50"])) == ("random actions", "reference", -0.42)
    assert {reference[name] for name in ("seeds", "failed", "environment_steps", "std_across_seeds")} == {"n/a"}
    for row in summary:
        own = [line for line in returns if line["arm"] == row["arm"] and line["phase"] == "train"]
        by_seed = [[float(line["return"]) for line in own if line["seed"] == seed] for seed in sorted({line["seed"] for line in own})]
        final = np.array([np.mean(values[-50:]) for values in by_seed])
        assert float(row["mean_return_last_50"]) == pytest.approx(final.mean())
        assert float(row["std_across_seeds"]) == pytest.approx(final.std(ddof=1))
        assert float(row["mean_return_all_episodes"]) == pytest.approx(np.mean([np.mean(values) for values in by_seed]))
        assert float(row["iqm"]) == pytest.approx(float(interquartile_mean(final)))
        assert row["environment_steps"] == "20000"
    assert summary[5]["score"] == "n/a"
    assert len(table_path.read_text().splitlines()) == len(LEVELS) + 3


def test_rollouts_stand_once_in_the_returns(tmp_path: Path) -> None:
    record = example_runs(seeds=1, mode="offline")
    repeated = tuple(run.model_copy(update={"returns": run.evaluations[-1][1]}) for run in record.runs)
    returns_path, summary_path, _ = write_experiment_tables(record.model_copy(update={"runs": repeated}), tmp_path)
    rows = read_csv(returns_path)
    assert {row["phase"] for row in rows} == {"eval"}
    assert len(rows) == len(LEVELS) * 30
    overall = float(read_csv(summary_path)[0]["mean_return_all_episodes"])
    assert overall == pytest.approx(np.mean([float(row["return"]) for row in rows if row["arm"] == "blocks.5"]))


def test_arms_without_a_finished_run_are_na(tmp_path: Path) -> None:
    record = example_runs(fail=tuple(("pixels", seed) for seed in range(6)))
    row = next(row for row in read_csv(write_experiment_tables(record, tmp_path)[1]) if row["arm"] == "pixels")
    assert {row[name] for name in SUMMARY_COLUMNS[2:8]} == {"n/a"}
    assert "n/a" in write_report(experiment(tmp_path, example_ranking(), record)).read_text()


def test_learning_curve_is_the_mean_over_seeds_inside_its_band() -> None:
    record = example_runs(mode="offline")
    curve = learning_curves(record)[0]
    runs = [run for run in record.runs if run.arm == "blocks.5"]
    np.testing.assert_allclose(curve.mean, np.mean([[np.mean(values) for _, values in run.evaluations] for run in runs], axis=0))
    assert np.all((curve.low <= curve.mean) & (curve.mean <= curve.high))
    np.testing.assert_array_equal(curve.x, [0, 1000, 2000, 3000, 4000, 5000])


def test_running_mean_never_looks_ahead() -> None:
    values = np.random.default_rng(0).standard_normal(120)
    np.testing.assert_allclose(running_mean(values), [values[max(0, end - 50) : end].mean() for end in range(1, 121)])


def test_the_primary_metric_and_the_budget_are_named_and_few_seeds_are_warned_of(tmp_path: Path) -> None:
    record = example_runs(seeds=3).model_copy(update={"best_possible": 0.8})
    page = write_report(experiment(tmp_path, example_ranking(), record)).read_text()
    table = (tmp_path / "train" / "experiment_summary_table.md").read_text()
    for text in (page, (tmp_path / "paper.md").read_text(), table):
        assert "With 3 seeds no comparison can reach p < 0.05" in text.replace("&lt;", "<")
        assert "CPU s" in text
    assert "Primary metric: mean return of the last 50 training episodes" in page
    row = read_csv(tmp_path / "train" / "experiment_summary.csv")[0]
    finals = [run.final for run in record.runs if run.arm == row["arm"]]
    greedy = [np.mean(run.evaluations[-1][1]) for run in record.runs if run.arm == row["arm"]]
    assert float(row["optimality_gap"]) == pytest.approx(0.8 - np.mean(np.minimum(finals, 0.8)))
    assert float(row["evaluation"]) == pytest.approx(np.mean(greedy))
    assert (row["reached_threshold"], row["cpu_seconds"]) == ("3", "44.25")
    assert "no comparison can reach" not in write_report(experiment(tmp_path / "six", example_ranking(), example_runs())).read_text()


def test_every_layers_twin_is_trained_but_only_the_best_layers_own_is_a_control() -> None:
    record = example_runs()
    twin = next(arm for arm in record.arms if arm.kind == "twin")
    arms = [arm for arm in record.arms if arm.kind != "twin"]
    arms += [twin.model_copy(update={"name": f"{layer} (untrained)", "layer": layer}) for layer in ("blocks.5", "blocks.6")]
    arms += [record.arms[1].model_copy(update={"name": "blocks.3", "layer": "blocks.3", "kind": "layer", "score": None})]
    runs = [run for run in record.runs if run.arm != twin.name]
    for name in ("blocks.5 (untrained)", "blocks.6 (untrained)", "blocks.3"):
        runs += [run.model_copy(update={"arm": name}) for run in record.runs if run.arm == twin.name]
    judged = judge_record(record.model_copy(update={"arms": tuple(arms), "runs": tuple(runs)}), example_ranking())
    assert {one.control for one in judged.comparisons} == {
        "blocks.7 (middle)",
        "blocks.0 (worst)",
        "blocks.5 (untrained)",
        "pixels",
        "scratch",
    }
