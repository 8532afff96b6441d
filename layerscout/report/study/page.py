"""Experiment folders in; study.html, study.json, study.csv, study.md and the figures of score against return out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import save
from layerscout.cache.records.study import StudyAnalysis, StudyRecord
from layerscout.errors import DataError
from layerscout.pages.page import (
    WIDE,
    Draw,
    Page,
    banner,
    bullets,
    commands,
    definitions,
    folded,
    paragraph,
    picture,
    section,
    subsection,
    versions_table,
)
from layerscout.pages.svg import file
from layerscout.pages.tables import Table
from layerscout.report.experiment import gather_experiment
from layerscout.report.page import COSTS
from layerscout.report.study import figures as study_figures
from layerscout.report.study import tables as study_tables
from layerscout.report.study.registered import registered_study
from layerscout.report.study.registration import Registration
from layerscout.report.study.study import study_experiments
from layerscout.report.study.words import analysis_title, findings_in_words, registered_sentence
from layerscout.showing import counted
from layerscout.text import markdown_text

CAPTIONS = {
    "score-against-return": "Score against mean return, one panel a task and one point a cell, numbered by depth; bars are 95 % intervals over seeds. A task that was "
    "not learned is shown and counts in no correlation.",
    "worth": "First: how each score and component goes with return, the mean over learned tasks of the correlation within each, with Student's 95 % intervals over tasks. No "
    "score can be expected to pass the noise ceiling. Then: what is given up by training only the cell that the measure puts first, as a share of the way from the best to the worst.",
    "untrained": "Mean return on each block of the pretrained model and on the same block with random weights, with 95 % intervals over seeds.",
}
RULE = (
    "ρ and τ are of ranks within tasks, averaged over learned tasks; inside groups: ranks inside each backbone with its weights. The unit of every test is the task: p, t is "
    "Student's test over tasks, p, flips all sign flips over tasks, both two-sided; Holm over all measures but the first. A measure goes with return, or misleads, only where "
    "both are below 0.05. Depth, the middle and a random pick choose among pretrained cells. Regret and MMRV are shares of each task's way from its worst cell to its best."
)
OWN = (
    "Regrets and MMRV in the task's units of return. ρ has its interval over seeds. p, series: whole series (a backbone with its weights and pooling) change places, because layers are "
    "smooth in depth; n/a with fewer than four series of one length. A task that was not learned has no figures."
)
GATE = (
    "A task counts as learned when its best cell beats the better of random and constant actions on at least 80 % of its seeds, and earns at least half of what the data's own policy "
    "earns above random actions. Others are left out of every correlation."
)
COMPARED = (
    "Mean over learned tasks of the difference, task by task. Regrets: what is given up by the measure's first choice (or the best of its first three) minus what the blind choice gives "
    "up; below 0 favours the measure. The p of these comparisons are not corrected: but for registered hypotheses, read them as a description."
)
SAVED = (
    "CPU seconds over all seeds. Training all ranked layers: layers that were not trained on count as the mean of those that were. Saved: that, minus training the best-scored ones, minus "
    "probing; n/a where the probe was not timed in one go."
)
TWINS = (
    "Differences paired by seed with Student's interval. The mean is taken over blocks before testing, because blocks of a task share seeds; its p values are "
    "corrected after Holm over tasks. Single blocks are described, not tested."
)


@dataclass(frozen=True)
class AnalysisSection:
    """One analysis ready to be shown. ``figures`` maps file names without suffix to figures of any width."""

    analysis: StudyAnalysis
    title: str
    figures: dict[str, Draw]


def analysis_sections(record: StudyRecord, scattered: bool = True) -> tuple[AnalysisSection, ...]:
    """Draw every analysis; ``scattered``: with a panel of points a task."""
    found = []
    for place, analysis in enumerate(record.analyses):
        suffix = f"-{place}" if place else ""
        worth = any(one.spearman is not None for one in analysis.measures)
        drawn = {
            f"score-against-return{suffix}": study_figures.draw_scores_and_returns(analysis) if scattered else None,
            f"worth{suffix}": study_figures.draw_measures(analysis) if worth else None,
            f"untrained{suffix}": study_figures.draw_untrained(analysis),
        }
        found.append(AnalysisSection(analysis, analysis_title(analysis), {name: draw for name, draw in drawn.items() if draw is not None}))
    return tuple(found)


def write_study(folders: Sequence[Path], out: Path, registration: Path | None = None) -> Path:
    """Write what several experiments say together about score and return; return the path of the page.

    Parameters
    ----------
    folders
        Folders of results.
    out
        Where the pages go.
    registration
        The file in which the study was fixed before it was run.

    Raises
    ------
    DataError
        A folder has no ranking or a damaged file, no folder has agents on at least three ranked layers, cells of one task were measured
        on different rows, or the registration cannot be read.
    """
    experiments = [gather_experiment(folder, every=True) for folder in folders]
    promised = Registration.read(registration) if registration else None
    record = study_experiments(experiments, registration=promised, registered=registered_study(promised, folders) if promised else None)
    if not record.analyses:
        raise DataError(
            f"no agents on at least three layers of a ranking in {', '.join(map(str, folders))}",
            hint="layerscout train … --all-layers trains agents on every layer",
        )
    parts = analysis_sections(record)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for part in parts:
        for name, draw in part.figures.items():
            write_atomic(out / "figures" / f"{name}.svg", file(draw(WIDE)).encode())
    save(record, out / "study.json")
    write_atomic(out / "study.csv", study_tables.study_csv(record).encode())
    write_atomic(out / "study.md", study_markdown(record, parts).encode())
    page = out / "study.html"
    command = shlex.join(
        ("layerscout", "report", *map(str, folders), *(("--registration", registration.as_posix()) if registration else ()), "--out", "OUT")
    )
    write_atomic(page, render_study(record, parts, command).encode())
    return page


def render_study(record: StudyRecord, parts: Sequence[AnalysisSection], command: str) -> str:
    """Return the page: what was promised and what came out, then the first analysis open, the others folded."""
    first = parts[0].analysis
    count = sum(task.layers for task in first.tasks)
    under = f"{counted(len(first.tasks), 'task')}, {counted(count, 'cell')}. Shown first: {parts[0].title}."
    others = [folded(part.title, outcome_banner(part) + "".join(analysis_parts(part))) for part in parts[1:]]
    making = section(
        "How this was made",
        study_tables.data_table(first).html("What was measured on what"),
        subsection("Command", commands([command])),
        subsection("Versions", versions_table().html("Versions", "On the machine that wrote this page.")),
    )
    exploratory = "Exploratory: " if record.registration is not None else ""
    sections = [
        promise_section(record),
        section(f"{exploratory}score against return" if exploratory else "Score against return", *analysis_parts(parts[0])),
        section("The same in other settings", *others) if others else "",
        making,
    ]
    return Page(
        "Does the ranking predict learning?",
        under,
        study_banner(record, parts[0]),
        sections,
        command,
        dataset=", ".join(task.name for task in first.tasks),
    ).render()


def study_banner(record: StudyRecord, part: AnalysisSection) -> str:
    """Return the answer: the registered hypotheses where there are any, else that of the first analysis; and whether it was fixed before."""
    judged = [one for analysis in record.analyses[:1] for one in analysis.hypotheses]
    lines = [f"{one.name}: {one.outcome}. {one.plain}" for one in judged] or [part.analysis.sentence]
    label = judged[0].outcome if judged else part.analysis.outcome
    return banner(label.capitalize(), [*lines, registered_sentence(record.registration, short=True)], label == "supported")


def promise_section(record: StudyRecord) -> str:
    """Return what was promised beside what came out; nothing for a study without a registration."""
    if record.registration is None:
        return ""
    judged = [one for analysis in record.analyses for one in analysis.hypotheses]
    found = [
        (f"{one.name} {f'after {one.updates:,} updates' if one.updates else 'at the end'}: {one.outcome}", (one.statement, one.sentence))
        for one in judged
    ]
    caption = "Judged by rules that were fixed with the registration; everything else on this page is exploratory."
    return section(
        "What was promised, and what came out",
        paragraph(
            registered_sentence(record.registration, short=not record.registration.holds), "" if record.registration.holds else "caution"
        ),
        folded("Everything that differs", bullets(record.registration.reasons)),
        paragraph(caption),
        definitions(found),
    )


def one_task(part: AnalysisSection) -> str:
    """Return the section of a single experiment's page: one sentence where too little is there to be tested; figures are folded away where nothing was learned."""
    heading = f"Score against return: {part.title}"
    if part.analysis.outcome == "cannot be tested":
        return section(heading, paragraph(part.analysis.sentence))
    if part.analysis.outcome in ("not learned", "cannot be judged"):
        return section(heading, outcome_banner(part), folded("The figures all the same", "".join(analysis_parts(part))))
    return section(heading, outcome_banner(part), *analysis_parts(part))


def outcome_banner(part: AnalysisSection) -> str:
    """Return the box that answers the question of one analysis in a sentence."""
    analysis = part.analysis
    return banner(analysis.outcome.capitalize(), [analysis.sentence], analysis.outcome == "supported")


def analysis_parts(part: AnalysisSection) -> list[str]:
    """Return one analysis without its answer: what to know first, the figures, the tables."""
    analysis = part.analysis
    drawings = {
        kind: "".join(picture(draw, caption) for name, draw in part.figures.items() if name.startswith(kind))
        for kind, caption in CAPTIONS.items()
    }
    tables = _tables(analysis)
    shown = {name: table.html(name, caption) for name, (table, caption) in tables.items() if table.rows}
    return [
        bullets(findings_in_words(analysis)),
        subsection("Before believing it", bullets(analysis.notes)),
        subsection("Were the tasks learned?", shown.get("Were the tasks learned?", ""), bullets(advice_of(analysis))),
        drawings["score-against-return"],
        drawings["worth"],
        *(
            subsection(name, shown.get(name, ""))
            for name in ("Which figure earns its keep", "Against each other", "Task by task", "What probing saves")
        ),
        subsection("Pretrained against untrained blocks", drawings["untrained"], shown.get("Pretrained against untrained blocks", "")),
        folded("Every cell", shown.get("Every cell", "")),
    ]


def advice_of(analysis: StudyAnalysis) -> list[str]:
    """Return for every task that was not learned, or cannot be judged, why, and what to try."""
    return [f"{task.name}: {task.learned_why}. {task.advice}".strip() for task in analysis.tasks if task.learned not in (None, "learned")]


def _tables(analysis: StudyAnalysis) -> dict[str, tuple[Table, str]]:
    """Return the tables of an analysis by their names, each with what to know before reading it."""
    return {
        "Were the tasks learned?": (study_tables.gate_table(analysis), GATE),
        "Which figure earns its keep": (study_tables.measures_table(analysis), RULE),
        "Against each other": (study_tables.contrasts_table(analysis), COMPARED),
        "Task by task": (study_tables.tasks_table(analysis), OWN),
        "What probing saves": (study_tables.savings_table(analysis), SAVED),
        "Pretrained against untrained blocks": (study_tables.untrained_table(analysis), TWINS),
        "Every cell": (study_tables.layers_table(analysis), COSTS),
    }


def study_markdown(record: StudyRecord, parts: Sequence[AnalysisSection]) -> str:
    """Return the study as Markdown: whether it was fixed before, its hypotheses, then every analysis."""
    promised = study_tables.hypotheses_table(record)
    head = f"# Does the ranking predict learning?\n\n{markdown_text(registered_sentence(record.registration))}\n\n"
    return head + (promised.markdown() + "\n" if promised.rows else "") + "".join(analysis_markdown(part, 2) for part in parts)


def analysis_markdown(part: AnalysisSection, level: int) -> str:
    """Return one analysis as Markdown under headings of a level; figures are expected in ``figures/`` beside it."""
    analysis, mark = part.analysis, "#" * level
    pictures = {
        kind: "\n\n".join(f"![{kind.replace('-', ' ')}](figures/{name}.svg)" for name in part.figures if name.startswith(kind))
        for kind in CAPTIONS
    }
    sentences = (*findings_in_words(analysis), *analysis.notes, *advice_of(analysis))
    blocks = [
        f"{mark} {markdown_text(part.title[:1].upper() + part.title[1:])}",
        f"**{analysis.outcome.capitalize()}.** {markdown_text(analysis.sentence)}",
        "\n".join(f"- {markdown_text(sentence)}" for sentence in sentences),
        pictures["score-against-return"],
        pictures["worth"],
        pictures["untrained"],
        *(f"{table.markdown()}\n{caption}" for name, (table, caption) in _tables(analysis).items() if table.rows and name != "Every cell"),
    ]
    return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n\n"
