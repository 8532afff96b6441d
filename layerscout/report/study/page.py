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
from layerscout.pages.page import WIDE, Draw, Page, banner, bullets, commands, folded, picture, section, subsection, versions_table
from layerscout.pages.svg import file
from layerscout.pages.tables import Table
from layerscout.report.experiment import gather_experiment
from layerscout.report.page import COSTS
from layerscout.report.study import figures as study_figures
from layerscout.report.study import tables as study_tables
from layerscout.report.study.study import study_experiments
from layerscout.report.study.words import METRIC_WORDS, findings_in_words, plural
from layerscout.text import markdown_text

CAPTIONS = {
    "score-against-return": "Score against mean return, one panel a task and one point a layer, numbered by depth; bars are 95 % intervals over seeds.",
    "worth": "First: how each score and component goes with return, pooled over tasks, with 95 % intervals over tasks, layers and seeds. No score can be "
    "expected to pass the noise ceiling. Then: what is given up by training only the layer that the measure puts first, as a share of the way from the best layer to the worst.",
    "untrained": "Mean return on each block of the pretrained model and on the same block with random weights, with 95 % intervals over seeds.",
}
RULE = (
    "ρ and τ are of ranks within tasks, pooled. p: permutation of layers within tasks, two-sided; Holm over all measures but the first. A measure goes with "
    "return, or misleads, only where p is below 0.05 and the interval leaves 0 out. Regret and MMRV are shares of each task's way from its worst layer to its best."
)
OWN = "Regrets and MMRV in the task's units of return. “None suffices”: with so few layers no correlation can be significant."
SAVED = "CPU seconds over all seeds. Saved: training all layers, minus training the best-scored ones, minus probing; n/a where the probe was not timed in one go."
TWINS = (
    "Differences paired by seed with Student's interval. “All layers” averages over blocks before testing, because blocks of a task share seeds; its p values are "
    "corrected after Holm over tasks. The p of single blocks are not corrected: read them as a description."
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
        drawn = {
            f"score-against-return{suffix}": study_figures.draw_scores_and_returns(analysis) if scattered else None,
            f"worth{suffix}": study_figures.draw_measures(analysis),
            f"untrained{suffix}": study_figures.draw_untrained(analysis),
        }
        title = f"{analysis.mode} mode, {analysis.head} post-adapter, {METRIC_WORDS[analysis.metric]}"
        found.append(AnalysisSection(analysis, title, {name: draw for name, draw in drawn.items() if draw is not None}))
    return tuple(found)


def write_study(folders: Sequence[Path], out: Path) -> Path:
    """Write what several experiments say together about score and return; return the path of the page.

    Raises
    ------
    DataError
        A folder has no ranking or a damaged file, or no folder has agents on at least three ranked layers.
    """
    record = study_experiments([gather_experiment(folder) for folder in folders])
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
    text = "".join(analysis_markdown(part, 2) for part in parts)
    write_atomic(out / "study.md", f"# Does the ranking predict learning?\n\n{text}".encode())
    page = out / "study.html"
    write_atomic(page, render_study(parts, folders).encode())
    return page


def render_study(parts: Sequence[AnalysisSection], folders: Sequence[Path]) -> str:
    """Return the page: the first analysis open, the others folded."""
    first = parts[0].analysis
    count = sum(task.layers for task in first.tasks)
    under = f"{plural(len(first.tasks), 'task')}, {plural(count, 'layer')}. Shown first: {parts[0].title}."
    others = [folded(part.title, outcome_banner(part) + "".join(analysis_parts(part))) for part in parts[1:]]
    rows = tuple((task.name, f"{task.folder}: {task.environment}, {task.backbone}") for task in first.tasks)
    command = shlex.join(("layerscout", "report", *map(str, folders), "--out", "OUT"))
    making = section(
        "How this was made",
        Table(("What", "Which"), rows, words=True).html("What was measured on what"),
        subsection("Command", commands([command])),
        subsection("Versions", versions_table().html("Versions", "On the machine that wrote this page.")),
    )
    sections = [
        section("Score against return", *analysis_parts(parts[0])),
        section("The same in other settings", *others) if others else "",
        making,
    ]
    return Page("Does the ranking predict learning?", under, outcome_banner(parts[0]), sections, command).render()


def one_task(part: AnalysisSection) -> str:
    """Return the section of a single experiment's page; where there is nothing to say, the figures are folded away."""
    heading = f"Score against return: {part.title}"
    if part.analysis.outcome == "cannot be tested":
        return section(heading, outcome_banner(part), folded("The figures all the same", "".join(analysis_parts(part))))
    return section(heading, outcome_banner(part), *analysis_parts(part))


def outcome_banner(part: AnalysisSection) -> str:
    """Return the answer of one analysis."""
    analysis = part.analysis
    return banner(analysis.outcome.capitalize(), [analysis.sentence], analysis.outcome == "supported")


def analysis_parts(part: AnalysisSection) -> list[str]:
    """Return one analysis without its answer: what to know first, the figures, the tables."""
    analysis = part.analysis
    drawings = {
        kind: "".join(picture(draw, caption) for name, draw in part.figures.items() if name.startswith(kind))
        for kind, caption in CAPTIONS.items()
    }
    untrained = study_tables.untrained_table(analysis)
    twins = untrained.html("Pretrained against untrained blocks", TWINS) if untrained.rows else ""
    return [
        bullets(findings_in_words(analysis)),
        subsection("Before believing it", bullets(analysis.notes)),
        drawings["score-against-return"],
        drawings["worth"],
        subsection("Which figure earns its keep", study_tables.measures_table(analysis).html("Every measure and return", RULE)),
        subsection("Task by task", study_tables.tasks_table(analysis).html("Task by task", OWN)),
        subsection("What probing saves", study_tables.savings_table(analysis).html("What probing saves", SAVED)),
        subsection("Pretrained against untrained blocks", drawings["untrained"], twins),
        folded("Every layer", study_tables.layers_table(analysis).html("Every layer", COSTS)),
    ]


def analysis_markdown(part: AnalysisSection, level: int) -> str:
    """Return one analysis as Markdown under headings of a level; figures are expected in ``figures/`` beside it."""
    analysis, mark = part.analysis, "#" * level
    untrained = study_tables.untrained_table(analysis)
    pictures = {
        kind: "\n\n".join(f"![{kind.replace('-', ' ')}](figures/{name}.svg)" for name in part.figures if name.startswith(kind))
        for kind in CAPTIONS
    }
    blocks = [
        f"{mark} {markdown_text(part.title[:1].upper() + part.title[1:])}",
        f"**{analysis.outcome.capitalize()}.** {markdown_text(analysis.sentence)}",
        "\n".join(f"- {markdown_text(sentence)}" for sentence in (*findings_in_words(analysis), *analysis.notes)),
        pictures["score-against-return"],
        pictures["worth"],
        study_tables.measures_table(analysis).markdown() + f"\n{RULE}",
        study_tables.tasks_table(analysis).markdown() + f"\n{OWN}",
        study_tables.savings_table(analysis).markdown() + f"\n{SAVED}",
    ]
    if untrained.rows:
        blocks += [pictures["untrained"], untrained.markdown() + f"\n{TWINS}"]
    return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n\n"
