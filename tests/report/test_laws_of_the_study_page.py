"""The parts of a study's page and of its Markdown: what stands first, what is folded away, what is promised beside what came out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from plain_studies import plain_analysis, plain_cell, plain_measure, plain_task

from layerscout.cache.records import Estimate
from layerscout.cache.records.study import StudyAnalysis, StudyHypothesis, StudyPair, StudyRecord, StudyRegistration
from layerscout.report.study.page import (
    CAPTIONS,
    RULE,
    AnalysisSection,
    advice_of,
    analysis_markdown,
    analysis_parts,
    analysis_sections,
    one_task,
    outcome_banner,
    promise_section,
    render_study,
    study_banner,
    study_markdown,
)

KNOWN = plain_measure("S", spearman=Estimate(value=0.5), finding="goes with return")
HELD = StudyRegistration(path="r.toml", digest="sha256:" + "ab" * 32, commit="c" * 40, committed="2026-01-02", holds=True)
BROKEN = HELD.model_copy(update={"holds": False, "reasons": ("one <b>", "two", "three")})


def hypothesis(name: str = "H1", **changes: Any) -> StudyHypothesis:
    facts: dict[str, Any] = {"statement": f"{name} as promised", "updates": 5000, "outcome": "supported", "plain": f"{name} plainly."}
    return StudyHypothesis(**facts | {"name": name, "sentence": f"{name} in figures."} | changes)


def study(*analyses: StudyAnalysis, registration: StudyRegistration | None = None) -> StudyRecord:
    return StudyRecord(registration=registration, analyses=analyses or (plain_analysis(),))


def part(**changes: Any) -> AnalysisSection:
    return analysis_sections(study(plain_analysis(**changes)))[0]


def visible_text(html: str) -> str:
    return re.sub(r"<[^>]*>", " ", re.sub(r"<svg.*?</svg>", "", html, flags=re.DOTALL))


# --- which figures


def test_figures_of_the_first_analysis_have_plain_names_and_those_of_others_their_number() -> None:
    twins = tuple(plain_cell("a", 0, (1.0,), 0.5, weights=weights) for weights in ("pretrained", "untrained"))
    whole, bare = plain_analysis(plain_task("a"), measures=(KNOWN,), layers=twins), plain_analysis(plain_task("a"), mode="offline")
    first, second, third = analysis_sections(study(whole, bare, whole))
    assert list(first.figures) == ["score-against-return", "worth", "untrained"]
    assert list(second.figures) == ["score-against-return-1"], "nothing is known of measures, and no twin was trained"
    assert list(third.figures) == ["score-against-return-2", "worth-2", "untrained-2"]
    assert second.title.startswith("offline mode, ")
    assert [list(one.figures) for one in analysis_sections(study(whole, bare), scattered=False)] == [["worth", "untrained"], []]


# --- the answer


def test_a_studys_answer_is_its_registered_hypotheses_or_else_its_first_sentence() -> None:
    judged = plain_analysis(hypotheses=(hypothesis("H1", outcome="refuted"), hypothesis("H2")), sentence="An exploration.")
    later = plain_analysis(hypotheses=(hypothesis("H3"),))
    html = study_banner(study(judged, later, registration=HELD), part())
    assert html.startswith('<div class="answer open"><strong>Refuted</strong><p>H1: refuted. H1 plainly.<br>H2: supported. H2 plainly.<br>')
    assert f"(sha256:{'ab' * 6}) was first kept in commit {'c' * 12} on 2026-01-02" in html
    assert "H3" not in html
    assert "An exploration." not in html
    plain = study_banner(study(), part(sentence="5 % & more."))
    assert plain.startswith('<div class="answer"><strong>Supported</strong><p>5&nbsp;% &amp; more.<br>Exploratory: ')


@pytest.mark.parametrize(
    ("outcome", "open_"), [("supported", ""), ("contradicted", " open"), ("not supported", " open"), ("cannot be tested", " open")]
)
def test_only_what_is_supported_is_a_closed_answer(outcome: str, open_: str) -> None:
    html = outcome_banner(part(outcome=outcome, sentence="So it is."))
    assert html == f'<div class="answer{open_}"><strong>{outcome.capitalize()}</strong><p>So it is.</p></div>'


# --- what was promised


def test_a_study_without_a_registration_promised_nothing() -> None:
    assert promise_section(study(plain_analysis(hypotheses=(hypothesis(),)))) == ""


def test_every_promise_stands_beside_what_came_out_at_every_budget() -> None:
    budgets = [plain_analysis(hypotheses=(hypothesis(updates=at, sentence=f"at {at} < all"),)) for at in (12000, 3000)]
    html = promise_section(study(*budgets, registration=HELD))
    assert re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd><dd class=who>(.*?)</dd>", html) == [
        ("H1 after 12,000 updates: supported", "H1 as promised", "at 12000 &lt; all"),
        ("H1 after 3,000 updates: supported", "H1 as promised", "at 3000 &lt; all"),
    ]
    assert f"<p>Registered: r.toml ({HELD.digest}) was first kept in commit {'c' * 40}" in html, "the whole digest, to be compared"
    assert "<details>" not in html
    assert "caution" not in html


def test_a_promise_about_the_end_names_no_number_of_updates() -> None:
    html = promise_section(study(plain_analysis(hypotheses=(hypothesis(updates=None),)), registration=HELD))
    assert re.findall(r"<dt>(.*?)</dt>", html) == ["H1 at the end: supported"]


def test_a_broken_promise_is_a_caution_with_every_reason_folded_away() -> None:
    html = promise_section(study(registration=BROKEN))
    assert "<p class=caution>Not registered, although " in html
    assert "; and 1 more." in html
    assert "<details><summary>Everything that differs</summary><ul><li>one &lt;b&gt;</li><li>two</li><li>three</li></ul></details>" in html
    assert "<dl>" not in html, "nothing was judged"


# --- one experiment's page


@pytest.mark.parametrize("outcome", ["supported", "contradicted", "not supported"])
def test_a_tested_task_shows_its_answer_and_its_figures(outcome: str) -> None:
    html = one_task(part(outcome=outcome, measures=(KNOWN,), notes=("Beware.",)))
    assert html.startswith("<section><h2>Score against return: online mode, mlp post-adapter, ")
    assert "<strong>" in html
    assert "<svg" in html
    assert "<h3>Before believing it</h3><ul><li>Beware.</li></ul>" in html
    assert "The figures all the same" not in html


@pytest.mark.parametrize("outcome", ["not learned", "cannot be judged"])
def test_figures_of_what_was_not_learned_are_folded_away_behind_the_answer(outcome: str) -> None:
    html = one_task(part(outcome=outcome, measures=(KNOWN,)))
    before, _, behind = html.partition("<details><summary>The figures all the same</summary>")
    assert "<svg" not in before
    assert "<svg" in behind
    assert f"<strong>{outcome.capitalize()}</strong>" in before


def test_what_cannot_be_tested_is_one_sentence() -> None:
    html = one_task(part(outcome="cannot be tested", sentence="Too few.", measures=(KNOWN,), notes=("Beware.",)))
    assert re.sub(r"<h2>.*?</h2>", "", html) == "<section><p>Too few.</p></section>"


# --- the parts of an analysis


def test_parts_that_have_nothing_to_show_are_left_out() -> None:
    text = visible_text("".join(analysis_parts(part())))
    assert "Which figure earns its keep" in text
    assert RULE.partition(".")[0] in text
    for name in ("Before believing it", "Against each other", "Task by task", "What probing saves", "Pretrained against", "Every cell"):
        assert name not in text


def test_a_caption_stands_with_its_figure_alone() -> None:
    pair = StudyPair(task="a", layer=None, seeds=2, blocks=1, difference=Estimate(value=1.0), p=0.5, p_holm=1.0)
    twins = tuple(plain_cell("a", 0, (1.0,), 0.5, weights=weights) for weights in ("pretrained", "untrained"))
    whole = analysis_sections(study(plain_analysis(plain_task("a"), measures=(KNOWN,), layers=twins, untrained=(pair,))), scattered=False)[
        0
    ]
    html = "".join(analysis_parts(whole))
    shown = {name: html.count(f"<figcaption>{caption}</figcaption>".replace("'", "&#x27;")) for name, caption in CAPTIONS.items()}
    assert shown == {"score-against-return": 0, "worth": 1, "untrained": 1}
    assert html.index("<h3>Pretrained against untrained blocks</h3>") < html.index(CAPTIONS["untrained"])
    assert html.rindex("<details><summary>Every cell</summary>") > html.index(CAPTIONS["untrained"])


def test_advice_is_given_for_tasks_that_were_not_learned_and_for_those_that_nobody_can_judge() -> None:
    tasks = (
        plain_task("a", learned_why="it was", advice="Never said."),
        plain_task("b", learned="not learned", learned_why="not learned: 1 of 6", advice="Try dqn."),
        plain_task("c", learned="cannot be judged", learned_why="cannot be judged: no run finished"),
        plain_task("d", learned=None, learned_why="before it was asked"),
    )
    assert advice_of(plain_analysis(*tasks)) == ["b: not learned: 1 of 6. Try dqn.", "c: cannot be judged: no run finished."]


# --- the page


def rendered(*analyses: StudyAnalysis, registration: StudyRegistration | None = None) -> str:
    record = study(*analyses, registration=registration)
    return render_study(record, analysis_sections(record), "layerscout report a b --out OUT")


def test_the_first_analysis_is_open_and_the_others_are_folded_with_their_own_answers() -> None:
    first = plain_analysis(plain_task("a", layers=1), plain_task("b", layers=4), sentence="The first answer.")
    second = plain_analysis(plain_task("a"), mode="offline", outcome="contradicted", sentence="The second answer.")
    html = rendered(first, second)
    assert "2 tasks, 5 cells. Shown first: online mode, mlp post-adapter, " in html
    before, _, behind = html.partition("<details><summary>offline mode, mlp post-adapter, ")
    assert "The second answer." not in before
    assert "<strong>Contradicted</strong><p>The second answer.</p>" in behind
    assert before.count("The first answer.") == 1, "it stands at the top and is not said again"
    assert '<pre tabindex="0">layerscout report a b --out OUT</pre>' in html
    assert "dataset: a, b;" in html
    assert "The same in other settings" not in rendered(first)


def test_a_score_against_return_beside_a_registration_is_exploratory() -> None:
    heads = re.findall(r"<h2[^>]*>(.*?)</h2>", rendered(plain_analysis(hypotheses=(hypothesis(),)), registration=HELD))
    assert heads == ["What was promised, and what came out", "Exploratory: score against return", "How this was made"]
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", rendered()) == ["Score against return", "How this was made"]


# --- Markdown


def test_markdown_says_first_whether_the_study_was_fixed_then_its_hypotheses_then_every_analysis() -> None:
    first = plain_analysis(hypotheses=(hypothesis(sentence="*p* < 0.05 | so"),), outcome="not supported", sentence="First `said`.")
    record = study(first, plain_analysis(mode="offline"), registration=HELD)
    text = study_markdown(record, analysis_sections(record))
    lines = [line for line in text.splitlines() if line]
    assert lines[0] == "# Does the ranking predict learning?"
    assert lines[1].startswith(f"Registered: r.toml ({HELD.digest}) was first kept in commit {'c' * 40}")
    assert lines[2] == "| Hypothesis | In words | Updates | Outcome | Figures |"
    assert lines[4] == r"| H1 | H1 as promised | 5,000 | supported | \*p\* < 0.05 \| so |"
    assert [line[:15] for line in lines if line.startswith("## ")] == ["## Online mode,", "## Offline mode"]
    assert r"**Not supported.** First \`said\`." in lines
    assert "| Hypothesis" not in study_markdown(study(), [part()])
    assert "\n\n\n" not in text


def test_markdown_shows_the_figures_of_its_own_analysis_and_leaves_out_tables_without_rows() -> None:
    record = study(plain_analysis(), plain_analysis(plain_task("a", learned="not learned", learned_why="not learned: x", advice="Try.")))
    text = analysis_markdown(analysis_sections(record)[1], 4)
    assert text.startswith("#### Online mode, ")
    assert re.findall(r"!\[(.*?)\]\((.*?)\)", text) == [("score against return", "figures/score-against-return-1.svg")]
    assert "- a: not learned: x. Try." in text.splitlines()
    assert text.count(RULE) == 1
    assert "| Task | Block |" not in text
    assert "\n\n\n" not in text
