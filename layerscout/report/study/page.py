"""Experiment folders in; study.html, study.json, study.csv, study.md and the figures of score against return out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import save
from layerscout.cache.records.study import StudyAnalysis, StudyRecord
from layerscout.errors import DataError
from layerscout.report.exhibits import Table, versions_table
from layerscout.report.experiment import gather
from layerscout.report.page import COSTS, picture, table
from layerscout.report.study import figures as study_figures
from layerscout.report.study import tables as study_tables
from layerscout.report.study.study import study
from layerscout.report.study.words import METRIC_WORDS, plural, worth
from layerscout.report.template import fill

CAPTIONS = {
    "score-against-return": "Score against mean return, one panel a task and one point a layer, numbered by depth; bars are 95 % intervals over seeds.",
    "worth": "Left: how each score and component goes with return, pooled over tasks, with 95 % intervals over tasks, layers and seeds. No score can be "
    "expected to pass the noise ceiling. Right: what is given up by training only the layer that the measure puts first.",
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
class Section:
    """One analysis ready to be shown. ``figures`` maps file names without suffix to drawings."""

    analysis: StudyAnalysis
    title: str
    figures: dict[str, str]


def sections(record: StudyRecord, scattered: bool = True) -> tuple[Section, ...]:
    """Draw every analysis; ``scattered``: with a panel of points a task."""
    found = []
    for place, analysis in enumerate(record.analyses):
        suffix = f"-{place}" if place else ""
        drawn = {
            f"score-against-return{suffix}": study_figures.scatters(analysis, f"score-against-return{suffix}") if scattered else None,
            f"worth{suffix}": study_figures.worths(analysis, f"worth{suffix}"),
            f"untrained{suffix}": study_figures.twins(analysis, f"untrained{suffix}"),
        }
        title = f"{analysis.mode} mode, {analysis.head} post-adapter, {METRIC_WORDS[analysis.metric]}"
        found.append(Section(analysis, title, {name: svg for name, svg in drawn.items() if svg is not None}))
    return tuple(found)


def write_study(folders: Sequence[Path], out: Path) -> Path:
    """Write what several experiments say together about score and return; return the path of the page.

    Raises
    ------
    DataError
        A folder has no ranking or a damaged file, or no folder has agents on at least three ranked layers.
    """
    record = study([gather(folder) for folder in folders])
    if not record.analyses:
        raise DataError(
            f"no agents on at least three layers of a ranking in {', '.join(map(str, folders))}",
            hint="layerscout train … --all-layers trains agents on every layer",
        )
    parts = sections(record)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for part in parts:
        for name, svg in part.figures.items():
            write_atomic(out / "figures" / f"{name}.svg", svg.encode())
    save(record, out / "study.json")
    write_atomic(out / "study.csv", study_tables.study_csv(record).encode())
    write_atomic(out / "study.md", f"# Does the ranking predict learning?\n\n{''.join(markdown(part, 2) for part in parts)}".encode())
    page = out / "study.html"
    write_atomic(page, render(parts, folders).encode())
    return page


def render(parts: Sequence[Section], folders: Sequence[Path]) -> str:
    """Return the page: the first analysis open, the others folded."""
    first = parts[0].analysis
    count = sum(task.layers for task in first.tasks)
    under = f"{plural(len(first.tasks), 'task')}, {plural(count, 'layer')}. Shown first: {parts[0].title}."
    others = "".join(
        f"<details><summary>{escape(part.title)}</summary>{section(part, part.title, banner(part))}</details>" for part in parts[1:]
    )
    making = Table(
        ("What", "Which"), tuple((task.name, f"{task.folder}: {task.environment}, {task.backbone}") for task in first.tasks), words=True
    )
    command = f"layerscout report {' '.join(map(str, folders))} --out OUT"
    body = (
        f"<section>{section(parts[0])}</section>"
        + (f"<section><h2>The same in other settings</h2>{others}</section>" if others else "")
        + f"<section><h2>How this was made</h2>{table(making, '')}<pre>{escape(command)}</pre>{table(versions_table(), 'On the machine that wrote this page.')}</section>"
    )
    return fill("report.html", title="Does the ranking predict learning?", under=escape(under), verdicts=banner(parts[0]), body=body)


def one_task(part: Section) -> str:
    """Return the section of a single experiment's page."""
    return f"<section>{section(part, part.title, banner(part))}</section>"


def banner(part: Section) -> str:
    """Return the answer of one analysis."""
    analysis = part.analysis
    kind = "supported" if analysis.outcome == "supported" else "open"
    return f'<div class="verdict {kind}"><b>{escape(analysis.outcome.capitalize())}</b><p>{escape(analysis.sentence).replace(" %", "&nbsp;%")}</p></div>'


def section(part: Section, title: str = "", answer: str = "") -> str:
    """Return one analysis: its answer where the page does not begin with it, what to know first, the figures, the tables."""
    analysis = part.analysis
    said = "".join(f"<li>{escape(sentence)}</li>" for sentence in worth(analysis))
    known = "".join(f"<li>{escape(note)}</li>" for note in analysis.notes)
    drawings = {
        kind: "".join(picture(svg, text) for name, svg in part.figures.items() if name.startswith(kind)) for kind, text in CAPTIONS.items()
    }
    untrained = study_tables.untrained_table(analysis)
    heading = f"Score against return: {escape(title)}" if title else "Score against return"
    return (
        f"<h2>{heading}</h2>{answer}<ul>{said}</ul>"
        + (f'<div class="notes"><h3>Before believing it</h3><ul>{known}</ul></div>' if known else "")
        + drawings["score-against-return"]
        + drawings["worth"]
        + f"<h3>Which figure earns its keep</h3>{table(study_tables.measures_table(analysis), RULE)}"
        + f"<h3>Task by task</h3>{table(study_tables.tasks_table(analysis), OWN)}"
        + f"<h3>What probing saves</h3>{table(study_tables.savings_table(analysis), SAVED)}"
        + (f"<h2>Pretrained against untrained blocks</h2>{drawings['untrained']}{table(untrained, TWINS)}" if untrained.rows else "")
        + f"<details><summary>Every layer</summary>{table(study_tables.layers_table(analysis), COSTS)}</details>"
    )


def markdown(part: Section, level: int) -> str:
    """Return one analysis as Markdown under headings of a level; figures are expected in ``figures/`` beside it."""
    analysis, mark = part.analysis, "#" * level
    untrained = study_tables.untrained_table(analysis)
    pictures = {
        kind: "\n\n".join(f"![{kind.replace('-', ' ')}](figures/{name}.svg)" for name in part.figures if name.startswith(kind))
        for kind in CAPTIONS
    }
    blocks = [
        f"{mark} {part.title[:1].upper()}{part.title[1:]}",
        f"**{analysis.outcome.capitalize()}.** {analysis.sentence}",
        "\n".join(f"- {sentence}" for sentence in (*worth(analysis), *analysis.notes)),
        pictures["score-against-return"],
        pictures["worth"],
        study_tables.measures_table(analysis).markdown() + f"\n{RULE}",
        study_tables.tasks_table(analysis).markdown() + f"\n{OWN}",
        study_tables.savings_table(analysis).markdown() + f"\n{SAVED}",
    ]
    if untrained.rows:
        blocks += [pictures["untrained"], untrained.markdown() + f"\n{TWINS}"]
    return "\n\n".join(block.strip() for block in blocks if block.strip()) + "\n\n"
