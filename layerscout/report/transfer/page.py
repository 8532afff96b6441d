"""Records of students with teachers in; transfer.html, which needs nothing else, transfer.md, transfer.csv and the figures out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import load, load_object
from layerscout.cache.records.making import load_command
from layerscout.cache.records.transfer import TRANSFER_NAME, TransferRecord
from layerscout.errors import shell
from layerscout.pages.page import (
    WIDE,
    Page,
    banner,
    bullets,
    commands,
    folded,
    paragraph,
    picture,
    section,
    subsection,
    versions_table,
)
from layerscout.pages.svg import file
from layerscout.pages.tables import Table, as_csv, facts, flatten_settings
from layerscout.report.captions import percent
from layerscout.report.claims import Claim
from layerscout.report.numbers.savings import savings_at, targets_of
from layerscout.report.transfer import figures, tables
from layerscout.report.transfer.claims import transfer_claims
from layerscout.report.transfer.markdown import transfer_markdown
from layerscout.report.transfer.published import SOURCE, published_for
from layerscout.showing import counted

FILES = ("transfer.html", "transfer.md", "transfer.csv")
CAPTIONS = {
    "scores": "Mean return of greedy evaluation episodes after every iteration, the same episodes for all; bands are 95 % bootstraps over seeds.",
    "sampled": "Mean return of the training episodes, with actions as they are drawn. At first the greedy score flatters: a policy that stands still earns more than one that tries.",
    "steps": "The greedy score over environment steps: an iteration in which the teacher plays costs twice the steps.",
    "kept": "Share of the teacher's steps that pass the filter. Nearly all is plain imitation, none leaves kickstarting alone.",
    "sweep": "The last score over values of one setting, with 95 % bootstraps over seeds.",
}
COUNTED = (
    "K: the first iteration at which the mean over seeds and over three evaluations reaches the target, so that one lucky evaluation is no arrival. What was never reached is n/a. Steps "
    "are those of a student and of its teacher's play; the steps that made a teacher stand apart, because all its students share them. Rows of swept settings stand back."
)
KINDS = "A teacher is what it earns in the students' task. How alike both tasks' rewards are says little: it is not used."


def write_transfer(folder: Path) -> Path:
    """Write the page of the record in a folder beside it; return its path.

    Raises
    ------
    DataError
        There is no record, or it is damaged.
    """
    record = load(TransferRecord, folder / TRANSFER_NAME)
    drawn = figures.figures_of(record)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    for name, draw in drawn.items():
        write_atomic(folder / "figures" / f"{name}.svg", file(draw(WIDE)).encode())
    write_atomic(folder / "transfer.md", transfer_markdown(record).encode())
    write_atomic(folder / "transfer.csv", as_csv(*tables.curves_rows(record)).encode())
    settings = folder / "settings.json"
    page = render_transfer(
        record, load_object(settings) if settings.is_file() else {}, shell("report", folder), load_command("transfer", folder)
    )
    write_atomic(folder / "transfer.html", page.encode())
    return folder / "transfer.html"


def render_transfer(record: TransferRecord, settings: dict[str, Any], command: str, making: str | None = None) -> str:
    """Return the page: one sentence a claim first, then tables, curves, the paper's table beside ours, sweeps, and how it was made."""
    claims, targets = transfer_claims(record), targets_of(record)
    teachers = ", ".join(one.name for one in record.teachers) or "none"
    under = f"{counted(len(record.arms), 'arm')} of {counted(record.seeds, 'seed')}, {counted(record.iterations, 'iteration')} in {record.environment}. Teachers: {teachers}."
    sections = [
        _claimed(claims),
        _savings(record, targets),
        _curves(record),
        _sweeps(record),
        _published(record),
        _made(record, settings, making),
    ]
    return Page("What does a teacher save?", under, _answer(record, claims), sections, command, record.environment).render()


def _answer(record: TransferRecord, claims: tuple[Claim, ...]) -> str:
    savings = savings_at(record)
    lines = [
        f"{arm.name}: {percent(one.reduced)} fewer iterations, {percent(one.reduced_steps)} fewer environment steps; last {one.last:.2f}"
        for arm in record.arms
        if arm.kind == "repaint" and arm.swept is None and (one := savings.get(arm.name)) is not None
    ]
    held = sum(claim.supported for claim in claims)
    return banner(
        f"{held} of {len(claims)} claims hold here", lines or ["No arm learned from a teacher by both ways."], held == len(claims)
    )


def _claimed(claims: tuple[Claim, ...]) -> str:
    rows = tuple((claim.statement, claim.word, claim.sentence) for claim in claims)
    return section("What was claimed, and what was seen", Table(("Claim", "Here", "Seen"), rows, words=True).html("Claims")) if rows else ""


def _savings(record: TransferRecord, targets: tuple[float, ...]) -> str:
    found = [
        subsection(
            f"To {target:.2f}{', a further target' if place else ''}",
            tables.savings_table(record, place).html(f"What each arm saved on the way to {target:.2f}", "" if place else COUNTED),
        )
        for place, target in enumerate(targets)
    ]
    teachers = tables.teachers_table(record)
    return section(
        "What each arm saved",
        *found,
        subsection("The teachers", teachers.html("The teachers", KINDS) if teachers.rows else ""),
        subsection("Notes", bullets(record.notes)),
        subsection("Not in the source", bullets(record.unverified)),
    )


def _curves(record: TransferRecord) -> str:
    drawn = figures.figures_of(record)
    shown = [picture(draw, CAPTIONS[name.partition("-")[0]]) for name, draw in drawn.items() if not name.startswith("sweep")]
    return section("How they learned", *shown)


def _sweeps(record: TransferRecord) -> str:
    drawn, parts = figures.figures_of(record), []
    for teacher in record.teachers:
        for setting in dict.fromkeys(arm.swept for arm in record.arms if arm.swept and arm.teacher == teacher.name):
            if setting is not None and (table := tables.sweep_table(record, teacher.name, setting)) is not None:
                figure = drawn.get(figures.sweep_name(record, teacher.name, setting))
                shown = picture(figure, CAPTIONS["sweep"]) if figure else ""
                parts.append(subsection(f"{setting}, {teacher.name}", shown, table.html(f"{setting}, {teacher.name}")))
    return section("What single settings do", *parts) if parts else ""


def _published(record: TransferRecord) -> str:
    beside = tables.published_table(record)
    known = published_for(record.environment, "similar") is not None
    return section(
        "What the paper reports",
        paragraph(SOURCE),
        beside.html("The paper's figures beside ours")
        if beside.rows
        else ""
        if known
        else paragraph("It has no experiment in this environment."),
        folded("The paper's whole table", tables.other_rows().html("The paper's table of experiments")),
    )


def _made(record: TransferRecord, settings: dict[str, Any], making: str | None) -> str:
    rows = tuple((key, str(value)) for key, value in flatten_settings(settings))
    return section(
        "How this was made",
        facts(tables.facts_of(record), "What was compared"),
        subsection("Settings", folded("settings.json", Table(("Setting", "Value"), rows, words=True).html("Settings")) if rows else ""),
        subsection("Command", commands([making]) if making else ""),
        subsection("Versions", versions_table().html("Versions", "On the machine that wrote this page.")),
    )
