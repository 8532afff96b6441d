"""An experiment in, one self-contained HTML page out: nothing is loaded, it reads without a script, every string is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from layerscout.cache.records import RunRecord
from layerscout.pages.page import (
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
from layerscout.pages.ranking import draw_score_and_parts, labelled_name
from layerscout.pages.tables import Table
from layerscout.report import exhibits
from layerscout.report.by_hand import BY_HAND, stage_commands
from layerscout.report.captions import final_words, metric_sentence, once_evaluated, shared_episodes
from layerscout.report.chapters import Chapter
from layerscout.report.claims import Claim
from layerscout.report.experiment import Experiment
from layerscout.report.numbers.gate import Gate
from layerscout.report.numbers.speed import learned_level
from layerscout.report.tables import seed_caution
from layerscout.report.verdict import Verdict, judge_record
from layerscout.report.world_models import world_models_section
from layerscout.showing import counted

COSTS = "Counts are for one run. Wall time is that of all runs trained side by side; CPU time is the arm's share, all its seeds together."
CURVE = (
    "Score by depth with 95 % intervals (resampled by episode; S-ctrl has none), the same blocks with random weights, and the raw pixels. "
    "Then the parts of S; the persistence line is what repeating the last activation would reach."
)
CAPTIONS = {
    "learning-curves": "Mean return over seeds; the band is a 95 % bootstrap over whole seeds. The lines across are policies that learn nothing. Grey: the other arms.",
    "final-returns": "Each point is one seed's final return, {final}. The bar is the interquartile mean with its 95 % interval.",
    "profiles": "Performance profiles: the share of an arm's runs whose final return lies above τ, with a 95 % band over seeds. A curve that lies "
    "above another everywhere is better at every level; curves that cross are better for different purposes.",
    "score-return": "Score against return, with 95 % intervals over seeds. Where only layers with high scores were trained, a correlation flatters the score.",
}
COMPARED = (
    "Differences are of final returns, paired by seed; positive ones favour the layer. “Beats every control” is one claim, judged by the largest p; if it "
    "fails, single controls are judged by p after Holm. p: sign-flip permutation test, two-sided. Intervals: Student's t."
)

ASKED = (
    "Each has a test of its own, paired by seed. Pretraining: the best-ranked layer against the same layer untrained. A frozen layer: against raw pixels and "
    "against a network from scratch, both. The ranking: by regret against a blind pick among the ranked layers; the best-ranked one need not beat its neighbours, and one good pick "
    "on one task does not show that the score picks well on others."
)


def render_report(experiment: Experiment, parts: Sequence[Chapter], studied: Sequence[str] = ()) -> str:
    """Return the page; ``studied`` are its sections on score against return."""
    ranking = experiment.ranking
    best = labelled_name(ranking, ranking.candidates[0]) if ranking.candidates else "none"
    under = f"Ranked first: {best}, of {counted(len(ranking.candidates), 'layer')}, on {counted(ranking.rows, 'clip')} of {counted(ranking.episodes, 'episode')}."
    answers = [verdict_banner(part.verdict, part.title if len(parts) > 1 else "", part.gate) for part in parts] or [
        verdict_banner(judge_record(None), "")
    ]
    modelled = world_models_section(experiment)
    sections = [
        layers_section(experiment),
        *map(chapter_section, parts),
        *([modelled] if modelled else []),
        *studied,
        provenance_section(experiment),
    ]
    title = f"Which layer of {ranking.backbone} is worth handing to an agent?"
    return Page(title, under, "\n".join(answers), sections, stage_commands(experiment)[-1], dataset_name(experiment)).render()


def dataset_name(experiment: Experiment) -> str:
    """Return what the dataset was recorded in, as far as agents played there, and the beginning of its digest."""
    played = ", ".join(dict.fromkeys(record.environment for _, record in experiment.records))
    return f"{played} ({experiment.ranking.dataset_digest[:19]})" if played else experiment.ranking.dataset_digest[:19]


def verdict_banner(judged: Verdict, title: str, gate: Gate | None = None) -> str:
    """Return the answer, first thing on the page, and beside it that the task was not learned, where it was not."""
    label = judged.outcome.capitalize() + (f" · {title}" if title else "")
    return banner(
        label, [judged.sentence, *([gate_sentence(gate)] if gate and gate.learned != "learned" else [])], judged.outcome == "supported"
    )


def layers_section(experiment: Experiment) -> str:
    """Return the section on what the probes found: a figure, the table of the ranking, and its flags and notes."""
    ranking = experiment.ranking
    caption = "R² are out of fold and unclipped; n/a means that the data cannot give the figure."
    return section(
        "The layers",
        picture(partial(draw_score_and_parts, ranking), CURVE),
        exhibits.ranking_table(ranking).html("The ranking", caption),
        subsection("What the flags mean", definitions([(flag, (text,)) for flag, text in exhibits.flags_seen(ranking).items()])),
        subsection("Notes of the probe", bullets(ranking.notes)),
    )


def chapter_section(part: Chapter) -> str:
    """Return one comparison: figures, claims and tables."""
    record = part.record
    drawings = [
        picture(draw, caption.format(final=final_words(record)))
        for kind, caption in CAPTIONS.items()
        for name, draw in part.figures.items()
        if name.startswith(kind)
    ]
    earned = (
        "Undiscounted returns; the last rows are policies that learn nothing. IQM: mean of the middle half of the seeds, with a bootstrap interval. Evaluation: mean of the last greedy "
        f"evaluation. {COSTS}"
    )
    claimed, asked = claims_table(part.claims), claims_table(part.questions)
    return section(
        f"The agents: {part.title}",
        paragraph(seed_caution(record) or "", "caution"),
        paragraph(shared_episodes(record), "caution"),
        paragraph(gate_sentence(part.gate), "caution" if part.gate.learned != "learned" else ""),
        paragraph(metric_sentence(record)),
        paragraph(once_evaluated(record)),
        subsection("Three questions", _unless_empty(asked, "Three questions", ASKED)),
        *drawings,
        subsection("What each arm earned", exhibits.returns_table(record).html("What each arm earned", earned)),
        subsection("How fast it learned", exhibits.speed_table(record).html("How fast each arm learned", speed_caption(record))),
        subsection("Failed runs", _unless_empty(exhibits.failed_runs_table(record), "Failed runs", "They are counted, never averaged in.")),
        subsection(
            "Against the controls", _unless_empty(exhibits.comparison_table(part.verdict, record), "Against the controls", COMPARED)
        ),
        subsection("What may be claimed", claimed.html("What may be claimed")),
        subsection("What it cost", exhibits.budget_table(record).html("What each run cost", COSTS)),
    )


def claims_table(claims: Sequence[Claim]) -> Table:
    """One row a claim: its statement, supported or not at 5 %, and the figures that decided."""
    return Table(("Claim", "At 5 %", "Evidence"), tuple((claim.statement, claim.word, claim.sentence) for claim in claims), words=True)


def gate_sentence(gate: Gate) -> str:
    """Return whether the task was learned, with the figures, and what to try where it was not."""
    return f"{gate.why[:1].upper()}{gate.why[1:]}. {gate.advice}".strip()


def _unless_empty(table: Table, name: str, caption: str) -> str:
    return table.html(name, caption) if table.rows else ""


def speed_caption(record: RunRecord) -> str:
    """Say what the learning table measures: the threshold, and to which return the gap is."""
    level, best = learned_level(record), record.best_possible
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


def provenance_section(experiment: Experiment) -> str:
    """Return how the figures were made: identities, settings, versions, commands."""
    settings = "".join(folded(path, exhibits.settings_table(values).html(f"Settings in {path}")) for path, values in experiment.settings)
    return section(
        "How this was made",
        exhibits.provenance_table(experiment).html("What was measured on what"),
        subsection("The stages by hand", paragraph(BY_HAND), commands(stage_commands(experiment))),
        subsection("Settings", settings or paragraph("No settings were saved beside the outputs.")),
        subsection("Versions", versions_table().html("Versions", "On the machine that wrote this page.")),
    )
