"""Comparisons of agents and studies in; their list and their pages out, with the report's own verdicts, figures and tables."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from layerscout.cache.records import load
from layerscout.cache.records.study import StudyRecord
from layerscout.errors import LayerscoutError
from layerscout.pages.tables import Cell, Column, Table
from layerscout.service.data.experiments import FoundRuns
from layerscout.service.data.judging import Judge, ranking_beside
from layerscout.service.requests import judge_of, service_of
from layerscout.service.state import ServiceState
from layerscout.service.web.tables import Address, Linked, plain_view, sorted_view
from layerscout.service.web.view import PageView, address_of, figure_view, respond
from layerscout.service.words import moment, short

ROUTES = APIRouter(include_in_schema=False)
CAPTIONS = {
    "learning-curves": "Mean return over seeds; the band is a 95 % bootstrap over whole seeds.",
    "final-returns": "Each point is one seed's final return; the bar is the interquartile mean with its 95 % interval.",
    "score-return": "Score against return, with 95 % intervals. The layers were picked by score, so a correlation flatters the score.",
    "profiles": "The share of an arm's runs whose final return lies above τ, with a 95 % band over seeds.",
}


@ROUTES.get("/runs")
async def runs(request: Request) -> Response:
    """Show the list of comparisons and studies."""
    state, judge = service_of(request), judge_of(request)
    return await respond(request, lambda: list_view(state, judge, address_of(request)), state.version)


@ROUTES.get("/runs/{runs_id}")
async def one_run(request: Request, runs_id: str) -> Response:
    """Show one comparison of agents, or one study."""
    state = service_of(request)
    return await respond(request, lambda: runs_view(state, address_of(request), runs_id), state.version)


def list_view(state: ServiceState, judge: Judge, address: Address) -> PageView:
    """Return everything that was trained, with its verdict in two words."""
    columns = (
        Column("Runs"),
        Column("What"),
        Column("Environment or tasks"),
        Column("Mode"),
        Column("Verdict"),
        Column("Arms"),
        Column("Runs"),
        Column("Made"),
    )
    rows = tuple(_row(judge, found) for found in state.experiments.all().values())
    return PageView("Runs", "runs.html", {}, (sorted_view("runs", Table(columns, rows), address, "Runs"),))


def _row(judge: Judge, found: FoundRuns) -> tuple[Cell, ...]:
    judged = judge.runs_of(found) if found.kind == "comparison" else None
    return (
        Linked(short(found.id), href=f"/runs/{found.id}"),
        Cell(found.kind),
        Cell(found.title or "n/a"),
        Cell(found.mode or "–"),
        Cell("damaged" if found.damage else judged.chip if judged else "see its page" if found.kind == "study" else "n/a"),
        Cell(f"{found.arms:,}" if found.arms else "–"),
        Cell(f"{found.runs:,}" if found.runs else "–"),
        Cell(moment(found.when), value=found.when),
    )


def runs_view(state: ServiceState, address: Address, runs_id: str) -> PageView:
    """Return the page of a comparison: one part a post-adapter; or that of a study."""
    found = state.experiments.find(runs_id)
    if found.kind == "study":
        return study_view(found, address)
    from layerscout.report import exhibits
    from layerscout.report.page import gate_sentence

    problem, chapters = "", []
    try:
        chapters = state.experiments.chapters(found)
    except LayerscoutError as error:
        problem = f"{state.tidy(str(error))}. {error.hint}"
    tables, figures, parts = [], [], []
    for place, part in enumerate(chapters, 1):
        drawn = [
            figure_view(name, draw, next((words for kind, words in CAPTIONS.items() if name.startswith(kind)), ""), address)
            for name, draw in part.figures.items()
        ]
        made: list[Any] = [
            sorted_view(
                f"returns-{place}", exhibits.returns_table(part.record), address, "What each arm earned", parameter=f"returns{place}"
            )
        ]
        compared = exhibits.comparison_table(part.verdict, part.record)
        if compared.rows:
            made.append(sorted_view(f"controls-{place}", compared, address, "Against the controls", parameter=f"controls{place}"))
        claims = Table(
            ("Claim", "At 5 %", "Evidence"),
            tuple((one.statement, one.word, one.sentence) for one in part.claims),
            words=True,
        )
        made.append(plain_view(f"claims-{place}", claims, address, "What may be claimed"))
        parts.append(
            {
                "title": part.title,
                "verdict": part.verdict,
                "doubt": gate_sentence(part.gate) if part.gate.learned != "learned" else "",
                "figures": [one.name for one in drawn],
                "tables": [one.name for one in made],
            }
        )
        tables += made
        figures += drawn
    values = {"found": found, "parts": parts, "problem": problem, "beside": ranking_beside(state.results, found)}
    title = f"Agents of {found.title}, {found.mode}" if not found.damage else "Damaged runs"
    return PageView(title, "run.html", values, tuple(tables), tuple(figures))


def study_view(found: FoundRuns, address: Address) -> PageView:
    """Tables of every analysis of a study: what each measure is worth, and each task on its own."""
    from layerscout.report.study import tables as study_tables

    study = load(StudyRecord, found.path, warn=False)
    tables, parts = [], []
    for place, one in enumerate(study.analyses, 1):
        made = [
            sorted_view(
                f"measures-{place}", study_tables.measures_table(one), address, "What every measure is worth", parameter=f"measures{place}"
            ),
            sorted_view(f"tasks-{place}", study_tables.tasks_table(one), address, "Each task on its own", parameter=f"tasks{place}"),
        ]
        tables += made
        parts.append({"title": f"{one.mode}, {one.head}, by {one.metric}", "analysis": one, "tables": [view.name for view in made]})
    return PageView(f"Study of {found.title}", "study.html", {"found": found, "parts": parts}, tuple(tables))
