"""An experiment's evidence in, one self-contained HTML page out: no script, no network, every string escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from layerscout.cache.records import RunRecord
from layerscout.report import exhibits
from layerscout.report.chapters import Chapter
from layerscout.report.exhibits import Table
from layerscout.report.experiment import Evidence
from layerscout.report.figures.drawing import themed
from layerscout.report.numbers.speed import level_of
from layerscout.report.tables import PRIMARY, warning
from layerscout.report.template import fill
from layerscout.report.verdict import Verdict, verdict

METRICS = (
    f"Primary metric: {PRIMARY}. It decides every claim here. The greedy evaluation, without exploration, stands beside it.",
    "Primary metric: mean of the last greedy evaluation (at most 50 episodes), because learning offline has no training episodes. It decides every claim here.",
)
COSTS = "Counts are for one run. Wall time is that of all runs trained side by side; CPU time is the arm's share, all its seeds together."


def render(evidence: Evidence, parts: Sequence[Chapter], curve: str, association: str = "") -> str:
    """Return the page; ``association`` is its section on score against return."""
    ranking = evidence.ranking
    best = ranking.candidates[0].name if ranking.candidates else "none"
    under = f"Ranked first: {best}, of {len(ranking.candidates)} layers, on {ranking.rows:,} clips of {ranking.episodes:,} episodes."
    banners = [banner(part.verdict, part.title if len(parts) > 1 else "") for part in parts] or [banner(verdict(None), "")]
    body = [layers_section(evidence, curve), *(chapter_section(part) for part in parts), association, making_section(evidence)]
    title = f"Which layer of {ranking.backbone} is worth handing to an agent?"
    return fill("report.html", title=escape(title), under=escape(under), verdicts="\n".join(banners), body="\n".join(body))


def banner(judged: Verdict, title: str) -> str:
    """Return the answer, first thing on the page."""
    kind = "supported" if judged.outcome == "supported" else "open"
    label = judged.outcome.capitalize() + (f" · {title}" if title else "")
    return f'<div class="verdict {kind}"><b>{escape(label)}</b><p>{escape(judged.sentence).replace(" %", "&nbsp;%")}</p></div>'


def layers_section(evidence: Evidence, curve: str) -> str:
    """Return what the probes found."""
    ranking = evidence.ranking
    caption = (
        "Score by depth with 95 % intervals (resampled by episode), the same blocks with random weights, and the raw pixels. "
        "Right: the parts of the score; the persistence line is what repeating the last activation would reach."
    )
    flags = "".join(f"<dt>{escape(flag)}</dt><dd>{escape(text)}</dd>" for flag, text in exhibits.flags_seen(ranking).items())
    notes = "".join(f"<li>{escape(note)}</li>" for note in ranking.notes)
    return (
        "<section><h2>The layers</h2>"
        + picture(curve, caption)
        + table(exhibits.ranking_table(ranking), "R² are out of fold and unclipped; n/a means that the data cannot give the figure.")
        + (f"<h3>What the flags mean</h3><dl>{flags}</dl>" if flags else "")
        + (f"<h3>Notes of the probe</h3><ul>{notes}</ul>" if notes else "")
        + "</section>"
    )


def chapter_section(part: Chapter) -> str:
    """Return one comparison: figures, claims and tables."""
    captions = {
        "learning-curves": "Mean return over seeds; the band is a 95 % bootstrap over whole seeds. The dotted line is a random policy.",
        "final-returns": "Each point is one seed's final return: the mean of its last 50 training episodes, or of all if there were fewer.",
        "profiles": "Performance profiles: the share of an arm's runs whose final return lies above τ, with a 95 % band over seeds. A curve that lies "
        "above another everywhere is better at every level; curves that cross are better for different purposes.",
        "score-return": "Score against return, with 95 % intervals. The layers were picked by score, so a correlation flatters the score.",
    }
    order = [name for kind in captions for name in part.figures if name.startswith(kind)]
    drawings = "".join(
        picture(part.figures[name], next(text for kind, text in captions.items() if name.startswith(kind))) for name in order
    )
    rows = tuple((claim.statement, "supported" if claim.supported else "not supported", claim.sentence) for claim in part.claims)
    failed = exhibits.failures(part.record)
    compared = exhibits.comparison_table(part.verdict, part.record)
    rule = (
        "Differences are of final returns, paired by seed; positive ones favour the layer. “Beats every control” is one claim, judged by the largest p; if it "
        "fails, single controls are judged by p after Holm. p: sign-flip permutation test, two-sided. Intervals: Student's t."
    )
    return (
        f"<section><h2>The agents: {escape(part.title)}</h2>"
        + caution(warning(part.record))
        + f"<p>{escape(METRICS[part.record.mode == 'offline'])}</p>"
        + drawings
        + "<h3>What each arm earned</h3>"
        + table(
            exhibits.returns_table(part.record),
            "Undiscounted returns. IQM: mean of the middle half of the seeds, with a bootstrap interval. Evaluation: mean of the last greedy "
            f"evaluation. {COSTS}",
        )
        + "<h3>How fast it learned</h3>"
        + table(exhibits.speed_table(part.record), speed_caption(part.record))
        + (f"<h3>Failed runs</h3>{table(failed, 'They are counted, never averaged in.')}" if failed.rows else "")
        + (f"<h3>Against the controls</h3>{table(compared, rule)}" if compared.rows else "")
        + f"<h3>What may be claimed</h3>{table(Table(('Claim', 'At 5 %', 'Evidence'), rows, words=True), '')}"
        + f"<h3>What it cost</h3>{table(exhibits.budget_table(part.record), COSTS)}"
        + "</section>"
    )


def caution(sentence: str | None) -> str:
    """Return a warning that stands before the figures it limits."""
    return f'<p class="caution">{escape(sentence)}</p>' if sentence else ""


def speed_caption(record: RunRecord) -> str:
    """Say what the learning table's figures are."""
    level, best = level_of(record), record.best_possible
    threshold = (
        "n/a, because the random policy's return is unknown or no arm is above it"
        if level is None
        else f"{level:.3f}, ¾ of the way from the random policy to {'the best possible return' if best is not None else 'the best arm'}"
    )
    gap = "n/a, because the best possible return is not known" if best is None else f"to the best possible return, {best:g}"
    return (
        "AUC: area under the learning curve over its span, interquartile mean over seeds. Work to threshold: median over seeds of updates (offline), "
        f"environment steps, or episodes where nothing was evaluated; n/a when half of the runs or more never arrive. Threshold: {threshold}. "
        f"Optimality gap: {gap}."
    )


def making_section(evidence: Evidence) -> str:
    """Return how the figures were made: identities, settings, versions, commands."""
    settings = "".join(
        f"<details><summary>{escape(path)}</summary>{table(exhibits.settings_table(values), '')}</details>"
        for path, values in evidence.settings
    )
    commands = "\n".join(exhibits.commands(evidence))
    return (
        "<section><h2>How this was made</h2>"
        + table(exhibits.provenance_table(evidence), "")
        + f"<h3>The stages by hand</h3><pre>{escape(commands)}</pre>"
        + (f"<h3>Settings</h3>{settings}" if settings else "<p>No settings were saved beside the outputs.</p>")
        + f"<h3>Versions</h3>{table(exhibits.versions_table(), 'On the machine that wrote this page.')}</section>"
    )


def picture(svg: str, caption: str) -> str:
    """Return a figure with its caption."""
    return f"<figure>{themed(svg)}<figcaption>{escape(caption)}</figcaption></figure>"


def table(content: Table, caption: str) -> str:
    """Return an HTML table; every cell is escaped."""
    head = "".join(f"<th>{escape(column)}</th>" for column in content.columns)
    rows = "".join("<tr>" + "".join(f"<td>{data(cell)}</td>" for cell in row) + "</tr>" for row in content.rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    kind = ' class="words"' if content.words else ""
    return f'<div class="scroll"><table{kind}>{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def data(cell: str) -> str:
    """Return a cell's HTML: the interval of an estimate small and below it, the lines of a list small and one below the other."""
    value, bracket, interval = cell.partition(" [")
    if bracket and interval.endswith("]"):
        return f"{escape(value)}<br><small>[{escape(interval)}</small>"
    return f"<small>{'<br>'.join(map(escape, cell.splitlines()))}</small>" if "\n" in cell else escape(cell)
