"""The folder of an experiment with labour in; its page, figures and tables out: what an hour of a machine is worth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import load
from layerscout.cache.records.making import load_command
from layerscout.cache.records.work import WORK_NAME, WorkRecord
from layerscout.errors import shell
from layerscout.pages.page import WIDE, Draw, Page, banner, bullets, commands, paragraph, picture, section, subsection, versions_table
from layerscout.pages.svg import file
from layerscout.pages.tables import Table
from layerscout.report.labour import figures
from layerscout.report.labour.compare import ablated, answers, standings, words
from layerscout.report.numbers.statistics import seed_warning
from layerscout.showing import ShownPlan, counted
from layerscout.text import markdown_text

PAGE, MARKDOWN = "report.html", "work.md"
JUDGED = (
    "Profit and error are expected values of the deterministic policy in the end, in closed form on the states of its own hours; means over seeds with Student's 95 % "
    "interval. The difference is to the first arm, paired by seed; p is of a sign-flip test, then after Holm."
)
CURVES = "Means over seeds and over blocks of hours, with 95 % intervals: what was counted while working, exploration included. Dotted: the best possible."
FRONTIER = (
    "Every action of a grid by its expected error and product. Feasible: within the limit on errors, and at least four thirds of what a person makes. "
    "The rings are the policies."
)
ELASTICITY = "The best possible hour where one price is another, and policies that were trained anew at some of its values. A person's wage changes the parity, never the best action."
SPREAD = (
    "What the hour is worth above a person's wage, split by what the customer's data were foretold to bring: clip(foretold gain / gain, 0, 1) to the customer. "
    "Hours up to parity count as none."
)
GAINS = "Correlations over a run's hours with the gain in marginal product from the hour before: of what recursive least squares foretold from novelty, and of novelty itself."


@dataclass(frozen=True)
class LabourReport(ShownPlan):
    """Plan of the page on one ``work.json``: where it is read, and what is written beside it."""

    folder: Path
    record: WorkRecord

    @property
    def page(self) -> Path:
        """The HTML page, which is written last."""
        return self.folder / PAGE

    @property
    def table(self) -> Path:
        """The tables as Markdown."""
        return self.folder / MARKDOWN

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Kind, arms, and files that are read and written, for ``--dry-run``."""
        return {
            "stage": "report",
            "kind": "labour",
            "folders": [str(self.folder)],
            "records": [str(self.folder / WORK_NAME)],
            "arms": [arm.name for arm in self.record.arms],
            "files": [str(self.page), str(self.table)],
            "figures": str(self.folder / "figures"),
            "exists": self.page.is_file(),
        }


def plan_labour(folder: Path) -> LabourReport:
    """Read the record of a folder.

    Raises
    ------
    DataError
        It is damaged.
    """
    return LabourReport(folder, load(WorkRecord, folder / WORK_NAME))


def write_labour(planned: LabourReport) -> Path:
    """Write ``report.html``, ``work.md`` and ``figures/*.svg``; return the page."""
    record, folder = planned.record, planned.folder
    drawn = figures_of(record)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, draw in drawn.items():
        write_atomic(folder / "figures" / f"{name}.svg", file(draw(WIDE)).encode())
    title = f"What an hour of a machine is worth: {record.environment}"
    tables = (ablation_table(record), arms_table(record))
    text = f"# {markdown_text(title)}\n\n{tables[0].markdown()}\n{tables[1].markdown()}\n"
    text += "".join(f"- {markdown_text(one)}\n" for one in answers(record))
    write_atomic(planned.table, text.encode())
    write_atomic(planned.page, render(record, drawn, title, folder).encode())
    return planned.page


def figures_of(record: WorkRecord) -> dict[str, Draw]:
    """File name without ending → what draws it; figures for which the record has no numbers are left out."""
    arms = ablated(record)
    drawn: dict[str, Draw] = {
        "judged": figures.draw_judged(arms),
        "training": figures.draw_training(arms),
        "frontier": figures.draw_frontier(record),
    }
    drawn |= {f"elasticity-{name}": figures.draw_elasticity(record, name) for name in ("price", "damage", "human_wage")}
    return drawn | {f"spread-{place}": figures.draw_spread(arm) for place, arm in enumerate(arms[:2])}


def render(record: WorkRecord, drawn: dict[str, Draw], title: str, folder: Path) -> str:
    """The whole page as HTML: what the first arm earns against the best possible and a person's wage, pictures, tables."""
    first = record.arms[0]
    best, profit = first.best, float(np.mean(first.last.profit))
    under = f"{counted(len(record.arms), 'arm')}, {counted(len(record.seeds), 'seed')}, {counted(first.hours, 'hour')} a run; a person earns {first.prices['human_wage']:g} $/h."
    reached = profit / best.profit
    lines = [
        f"{first.name} is expected to earn {profit:.2f} $/h, {100 * reached:.1f} % of the best possible {best.profit:.2f} $/h.",
        f"That is {(profit + first.prices['energy']) / first.prices['human_wage']:.2f} of a person's wage, at an error of {100 * float(np.mean(first.last.error)):.2f} %.",
    ]
    spreads = [
        picture(draw, f"{record.arms[0].name if name.endswith('0') else 'The second arm'}. {SPREAD}")
        for name, draw in drawn.items()
        if name.startswith("spread")
    ]
    made = load_command("train", folder)
    sections = [
        section(
            "What the arms earned",
            paragraph(seed_warning(len(record.seeds)) or "", "caution"),
            picture(drawn["judged"], "Expected profit of the policy, in closed form."),
            ablation_table(record).html("What each arm earned", JUDGED),
            subsection("What may be said", bullets(answers(record))),
        ),
        section("Training", picture(drawn["training"], CURVES)),
        section("The frontier", picture(drawn["frontier"], FRONTIER), paragraph(_counted(record))),
        section("Elasticity", *[picture(draw, ELASTICITY) for name, draw in drawn.items() if name.startswith("elasticity")]),
        section("Who gets the spread", *spreads),
        section("Does novelty foretell the gain?", gains_table(record).html("Novelty and the gain in marginal product", GAINS)),
        section(
            "How this was made",
            arms_table(record).html("The arms", "Prices in dollars; the best hour and the shadow price λ* of the limit in closed form."),
            commands([made] if made else []),
            subsection("Versions", versions_table().html("Versions", "On the machine that wrote this page.")),
        ),
    ]
    return Page(title, under, banner("Answer", lines, reached > 0.9), sections, shell("report", folder), record.environment).render()


def _counted(record: WorkRecord) -> str:
    return (
        f"Of 50 × 50 actions, {record.feasible:,} keep the error at or below {100 * record.limit:g} %, and {record.profitable:,} of them make at least "
        f"{record.needed:g} good units an hour."
    )


def ablation_table(record: WorkRecord) -> Table:
    """Return what each arm at the first one's prices earned, beside the first."""
    rows = [
        (
            row.arm.name,
            _differs(row.arm.settings),
            words(row.profit, 2),
            f"{min(row.arm.last.profit):.2f}",
            words(row.error, 2, 100.0),
            f"{np.mean(row.arm.last.speed):.3f}, {np.mean(row.arm.last.care):.3f}",
            words(row.difference, 2) if row.difference else "–",
            "n/a" if row.p is None else f"{row.p:.3f} ({row.adjusted:.3f})",
        )
        for row in standings(record)
    ]
    return Table(
        ("Arm", "Differs in", "Profit, $/h", "Worst seed", "Error, %", "Speed, care", "Against the first", "p (Holm)"), tuple(rows)
    )


def gains_table(record: WorkRecord) -> Table:
    """Return how novelty, and what was foretold from it, go with the gain in marginal product."""
    rows = [(row.arm.name, words(row.foretold, 3), words(row.novel, 3)) for row in standings(record)]
    return Table(("Arm", "Foretold gain", "Novelty"), tuple(rows))


def arms_table(record: WorkRecord) -> Table:
    """Return every arm's prices, its best hour in closed form, and what its run cost."""
    rows = []
    for arm in record.arms:
        best, prices = arm.best, arm.prices
        rows.append(
            (
                arm.name,
                ", ".join(f"{prices[name]:g}" for name in ("price", "damage", "energy", "human_wage")),
                "none" if arm.limit is None else f"{100 * arm.limit:g} %",
                f"{best.profit:.2f} at ({best.speed:.3f}, {best.care:.3f})",
                "n/a" if best.multiplier is None else f"{best.multiplier:.1f}",
                f"{np.mean(arm.last.profit):.2f}",
                f"{arm.hours:,}, {arm.updates:,}",
                f"{arm.clips:,}",
                f"{arm.trainable_parameters:,}",
                f"{arm.cpu_seconds:.1f}",
            )
        )
    heads = (
        "Arm",
        "Price, damage, energy, wage",
        "Limit",
        "Best hour, $/h",
        "λ*",
        "Policy, $/h",
        "Hours, updates",
        "Clips",
        "Parameters",
        "CPU s",
    )
    return Table(heads, tuple(rows))


def _differs(settings: dict[str, Any]) -> str:
    flat = [
        f"{name}.{inner}={value}" if inner else f"{name}={value}"
        for name, said in settings.items()
        for inner, value in (said.items() if isinstance(said, dict) else [("", said)])
    ]
    return ", ".join(flat) or "–"
