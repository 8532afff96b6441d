"""Folders of agents that plan towards a picture in; report.html, which needs nothing else, goals.md and the figures out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import as_table_value
from layerscout.cache.records.goals import FILM_NAME, GOALS_NAME, SHEET_NAME
from layerscout.cache.records.making import load_command
from layerscout.errors import shell
from layerscout.pages.embedded import embedded
from layerscout.pages.page import (
    WIDE,
    Draw,
    Page,
    banner,
    commands,
    folded,
    paragraph,
    picture,
    section,
    subsection,
    versions_table,
)
from layerscout.pages.svg import file
from layerscout.pages.tables import Table, flatten_settings
from layerscout.report import tables as common
from layerscout.report.exhibits import returns_table
from layerscout.report.figures.arms import draw_learning_curves
from layerscout.report.goals import tables
from layerscout.report.goals.results import GoalResults, differing, load_results, success
from layerscout.report.numbers.curves import is_curve, learning_curves
from layerscout.showing import ShownPlan, counted
from layerscout.text import markdown_text

PAGE, MARKDOWN, CURVES = "report.html", "goals.md", "success"
SUCCESS = (
    "Success in the last evaluation, in which nothing is explored; every seed has evaluation episodes of its own, the same for all arms."
)
EXPERIMENTS = "Positive differences favour PVDR. An arm that was not run is added with --set pvdr.arms=[…] in the same folder."
FITS = (
    "z is the encoder's, of the clip that the action began; steps are of held random actions in episodes that nobody learned from. The linear map asks whether z "
    "holds actions before anything is aligned; the rest of the alignment's R² comes from the frame and from being nonlinear."
)
MODEL = (
    "On episodes that were kept apart. Marginal: the entropy of each place's tokens, nothing else known. Copied: every token stays as in the last frame with one "
    "probability, the best for these clips, else any other code is as likely."
)
CURVE = "Success over environment steps, mean over seeds with 95 % bootstraps; the lines across are policies that learn nothing."
SHEET = "In pairs of lines, step by step: above what was seen, below where the plan chosen then would end; at the right the goal."
FILM = "Four episodes: what is seen, where the plan of this moment ends, and the goal."
SIDE = "Columns between the folder and its figures are all in which models or settings differ; where it is more than one thing, no difference of success has one cause."
MORE = "The third experiment (m and n) and the effect of the amount of video need several models. Train agents on each, then: "


@dataclass(frozen=True)
class GoalReport(ShownPlan):
    """Which page is written from which folders; ``results`` are those of the first one and of others that stand beside it."""

    results: tuple[GoalResults, ...]
    out: Path

    @property
    def page(self) -> Path:
        """The HTML page, which is written last."""
        return self.out / PAGE

    @property
    def table(self) -> Path:
        """The tables as Markdown."""
        return self.out / MARKDOWN

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Return what a dry run shows."""
        return {
            "stage": "report",
            "kind": "goals",
            "folders": [str(one.folder) for one in self.results],
            "records": [str(one.folder / name) for one in self.results for name in ("runs.json", GOALS_NAME)],
            "arms": [arm.name for arm in self.results[0].record.arms],
            "runs": sum(len(one.record.runs) for one in self.results),
            "files": [str(self.page), str(self.table)],
            "figures": str(self.out / "figures"),
            "exists": self.page.is_file(),
        }


def plan_goals(folders: Sequence[Path], out: Path) -> GoalReport:
    """Read the records of folders; the page goes to ``out``.

    Raises
    ------
    DataError
        A record is missing or damaged.
    """
    return GoalReport(tuple(load_results(folder) for folder in folders), out)


def write_goals(planned: GoalReport) -> Path:
    """Write ``report.html``, ``goals.md`` and ``figures/*.svg``; return the page."""
    first, drawn = planned.results[0], _curves(planned.results[0])
    planned.out.mkdir(parents=True, exist_ok=True)
    if drawn is not None:
        (planned.out / "figures").mkdir(exist_ok=True)
        write_atomic(planned.out / "figures" / f"{CURVES}.svg", file(drawn(WIDE)).encode())
    title = f"Planning towards a picture: {first.record.environment}"
    write_atomic(planned.table, _markdown(planned.results, title).encode())
    write_atomic(planned.page, _page(planned, title, drawn).render().encode())
    return planned.page


def _page(planned: GoalReport, title: str, drawn: Draw | None) -> Page:
    first = planned.results[0]
    record, steps = first.record, max((arm.budget.environment_steps for arm in first.record.arms), default=0)
    under = f"{counted(len(record.arms), 'arm')}, {counted(len({run.seed for run in record.runs}), 'seed')}, about {steps:,} environment steps each."
    sections = [
        section(
            "Success",
            paragraph(common.seed_caution(record) or "", "caution"),
            tables.success_table(first).html("Success of every arm", SUCCESS),
            picture(drawn, CURVE),
            folded(
                "Returns and budgets",
                returns_table(record).html("What each arm earned", "A return is 1 where the goal was reached, else 0."),
            ),
        ),
        section("First experiments", tables.experiments_table(first).html("PVDR beside every other arm", EXPERIMENTS), _beside(planned)),
        section("Does z hold actions?", _fits(first)),
        section("What the model foretells", tables.model_table(first.goals.model).html("Figures of the pretrained model", MODEL)),
        section("Plans beside what happened", *_shown(first)),
        _made(first),
    ]
    command = shell("report", *(one.folder for one in planned.results), *(("--out", planned.out) if len(planned.results) > 1 else ()))
    return Page(title, under, _answer(first), sections, command, str(first.goals.model.get("dataset", "")))


def _answer(results: GoalResults) -> str:
    record, chance = results.record, results.record.random_policy_return
    found = success(record, tables.PVDR)
    lines = [
        "PVDR was not run." if found is None else f"PVDR reaches {_rate(found.value)} of the goals.",
        f"Random play reaches {'n/a' if chance is None else _rate(chance)}.",
    ]
    good = found is not None and chance is not None and (found.value if found.low is None else found.low) > chance
    label = "Better than random play" if good else "Not shown to be better than random play"
    return banner(label, lines, good)


def _rate(value: float) -> str:
    return f"{100 * value:.0f} %"


def _curves(results: GoalResults) -> Draw | None:
    curves = learning_curves(results.record)
    return draw_learning_curves(curves, results.record, None, CURVES) if is_curve(curves) else None


def _beside(planned: GoalReport) -> str:
    several = planned.results
    if len(several) == 1:
        return paragraph(f"{MORE}{shell('report', several[0].folder, 'FOLDER', 'FOLDER', '--out', 'outputs/horizons')}")
    if not differing(several):
        return subsection("Folders side by side", paragraph("Models and settings of all folders are the same."))
    heading = tables.what_differs(several)
    return subsection(heading, tables.side_by_side(several).html(heading, SIDE))


def _fits(results: GoalResults) -> str:
    found = tables.alignment_table(results)
    return found.html("R² of actions", FITS) if found.rows else paragraph("No arm plans, so nothing was aligned.")


def _shown(results: GoalResults) -> list[str]:
    arm = results.goals.shown
    sheet, film = results.folder / SHEET_NAME, results.folder / FILM_NAME
    if arm is None or not sheet.is_file():
        return [paragraph("No plans were kept.")]
    words = f"{arm}, first seed: frames of a few episodes, with the ends of the chosen plans below them and the goal at the right"
    found = [embedded(sheet, words, f"{arm}, first seed. {SHEET}")]
    if film.is_file():
        found.append(folded("As a film", embedded(film, f"{arm}, first seed, as a film", FILM)))
    return found


def _made(results: GoalResults) -> str:
    model = Table(("Fact", "Value"), tuple((name, str(value)) for name, value in flatten_settings(results.goals.model)), words=True)
    settings = Table(("Setting", "Value"), tuple((name, str(value)) for name, value in flatten_settings(results.settings)), words=True)
    made = load_command("train", results.folder)
    return section(
        "How this was made",
        folded("What the pretrained model says about itself", model.html("The pretrained model")),
        folded("settings.json", settings.html("Settings")),
        subsection("Command", commands([made]) if made else ""),
        subsection("Versions", versions_table().html("Versions", "On the machine that wrote this page.")),
    )


def _markdown(several: tuple[GoalResults, ...], title: str) -> str:
    first = several[0]
    parts = [
        tables.success_table(first),
        tables.experiments_table(first),
        tables.alignment_table(first),
        tables.model_table(first.goals.model),
    ]
    if len(several) > 1 and differing(several):
        parts.append(tables.side_by_side(several))
    found = as_table_value(success(first.record, tables.PVDR), 2)
    return f"# {markdown_text(title)}\n\nSuccess of PVDR: {found}\n\n" + "\n".join(part.markdown() for part in parts if part.rows)
