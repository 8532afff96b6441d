"""Datasets and models in; the page on which to decide, the board, and rankings side by side, out."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from layerscout.pages.ranking import draw_score
from layerscout.pages.tables import Cell, Column, Table
from layerscout.probe.page.diagnostics import figure_cell
from layerscout.service.data.comparing import MOST, RankingBeside, side_by_side
from layerscout.service.data.datasets import dataset_id
from layerscout.service.data.judging import BestLayer, Judge, JudgedRuns
from layerscout.service.jobs.newcomers import unmeasured
from layerscout.service.problems import HttpProblem
from layerscout.service.requests import judge_of, service_of
from layerscout.service.state import ServiceState
from layerscout.service.web.figures import draw_slopes
from layerscout.service.web.ranking_tables import flags_cell
from layerscout.service.web.tables import Address, Linked, sorted_view
from layerscout.service.web.view import FigureView, PageView, address_of, figure_view, respond
from layerscout.service.words import BOARD, SUBMIT, day, short

ROUTES = APIRouter(include_in_schema=False)
SLOPES = "Each layer's place in every ranking. A thick line changes its place, a thin one keeps it."


@ROUTES.get("/board")
async def board(request: Request) -> Response:
    """The best layer of every model on every task."""
    state, judge = service_of(request), judge_of(request)
    return await respond(request, lambda: board_view(judge, address_of(request)), state.version)


@ROUTES.get("/decisions")
async def decisions(request: Request) -> Response:
    """Show the page that lists every dataset with its answer."""
    state, judge = service_of(request), judge_of(request)
    return await respond(request, lambda: tasks_view(judge, address_of(request)), state.version)


@ROUTES.get("/decisions/{digest}")
async def decision(request: Request, digest: str) -> Response:
    """Page of one dataset: which layer to train on, and what that rests on."""
    state, judge = service_of(request), judge_of(request)
    return await respond(request, lambda: task_view(state, judge, address_of(request), digest), state.version)


@ROUTES.get("/compare")
async def compare(request: Request) -> Response:
    """Up to eight rankings side by side."""
    state = service_of(request)
    ids = " ".join(request.query_params.getlist("ids")).replace(",", " ").split()
    if len(request.query_params.getlist("ids")) > 1:  # from checkboxes: one parameter is a shorter address
        return RedirectResponse(f"/compare?ids={'+'.join(ids[: MOST + 1])}", 303)
    return await respond(request, lambda: compare_view(state, address_of(request), ids), state.version)


def board_view(judge: Judge, address: Address) -> PageView:
    """Return the board; its order is the gain over the untrained block, never the score alone."""
    columns = (
        Column("Video model"),
        Column("Task"),
        Column("Best layer"),
        Column("Gain over untrained", "its score minus that of the same block without training, with its 95 % interval"),
        Column("Over pixels", "its score minus that of raw pixels"),
        Column("Score", "compares only layers of one task"),
        Column("Return", "interquartile mean over seeds, where agents were trained on it"),
        Column("Verdict", "whether agents on it beat every control"),
        Column("Date"),
        Column("By", "whose files the store is"),
        Column("Flags", "reasons for doubt"),
    )
    rows = tuple(_board_row(judge, best, runs) for best, runs in judge.board())
    waiting = [
        (one.id, one.entry.backbone or "n/a", one.entry.dataset or "") for one in unmeasured(judge.state.catalogue, judge.state.results)
    ][:50]
    values = {"about": BOARD, "submit": SUBMIT, "waiting": waiting}
    return PageView("Board", "board.html", values, (sorted_view("board", Table(columns, rows), address, "Board"),))


def _board_row(judge: Judge, best: BestLayer, runs: JudgedRuns | None) -> tuple[Cell, ...]:
    found = best.found
    by = judge.owner_of(best)
    return (
        Linked(found.backbone, href=f"/rankings/{found.id}"),
        Linked(best.environment or short(found.dataset), href=f"/decisions/{dataset_id(found.dataset)}"),
        Cell(best.title),
        figure_cell(best.over_untrained),
        figure_cell(best.over_pixels),
        Cell(f"{best.score.value:.3f}" if best.score else "n/a", found.score_kind),
        figure_cell(runs.returned if runs else None),
        Linked(runs.chip, href=f"/runs/{runs.found.id}") if runs else Cell("not trained"),
        Cell(day(found.when), value=found.when),
        Cell(by or "n/a"),
        flags_cell(best.flags),
    )


def tasks_view(judge: Judge, address: Address) -> PageView:
    """Return the page that lists every dataset with the layer to train on and how sure that is."""
    columns = (
        Column("Task"),
        Column("Train on"),
        Column("Gain over untrained"),
        Column("Surely first?", "among the layers of its ranking"),
        Column("Speaks for it", "of the questions that its page asks: training, untrained blocks, pixels, the next layer, agents"),
        Column("Agents"),
        Column("Stores"),
        Column("Rankings"),
    )
    tasks = judge.tasks()
    rows = tuple(
        (
            Linked(task.environment or short(task.dataset), href=f"/decisions/{dataset_id(task.dataset)}"),
            Cell(f"{task.best.found.backbone}, {task.best.title}" if task.best else "not ranked yet"),
            figure_cell(task.best.over_untrained if task.best else None),
            Cell({None: "n/a", False: "no", True: "yes"}[task.best.surely_first if task.best else None]),
            Cell(f"{sum(shown for *_, shown in task.reasons)} of {len(task.reasons)}" if task.reasons else "n/a"),
            Cell(task.runs[0].chip if task.runs else "not trained"),
            Cell(str(len(task.stores))),
            Cell(str(len(task.rankings))),
        )
        for task in tasks
    )
    return PageView(
        "Which layer should I train on?",
        "decisions.html",
        {"tasks": tasks},
        (sorted_view("tasks", Table(columns, rows), address, "Tasks"),),
    )


def task_view(state: ServiceState, judge: Judge, address: Address, digest: str) -> PageView:
    """Return ranking, runs and verdict of one dataset on one screen."""
    dataset = next((one for one in judge.datasets() if dataset_id(one) == digest), None)
    if dataset is None:
        raise HttpProblem(404, f"no dataset {digest[:40]} here", "the first page lists all", "data")
    found = judge.task(dataset)
    figures: tuple[FigureView, ...] = ()
    if found.best is not None:
        shown = state.results.ranking(found.best.found)
        figures = (
            figure_view(
                "score-by-depth", partial(draw_score, shown), "Score by depth with 95 % intervals, untrained blocks and controls.", address
            ),
        )
    frames = [(0, step) for step in (0, 8, 16)] if state.datasets.path(found.dataset) else []
    values: dict[str, Any] = {"task": found, "command": found.command, "digest": digest, "frames": frames}
    title = f"Which layer to train on for {found.environment or 'dataset ' + short(found.dataset)}?"
    return PageView(title, "decision.html", values, (), figures)


def compare_view(state: ServiceState, address: Address, ids: list[str]) -> PageView:
    """Return rankings side by side: every layer's score in each, its difference to the first, and how places change."""
    if len(ids) < 2:
        listed = [one for one in state.results.all().values() if not one.damage]
        return PageView("Compare rankings", "compare.html", {"compared": None, "listed": listed, "ids": ids})
    compared = side_by_side(state.results, ids)
    if not compared.rankings:
        raise HttpProblem(404, "none of these rankings is here", "; ".join(reason for _, reason in compared.refused)[:300], "data")
    first, *others = compared.rankings
    columns = [Column("Layer"), Column(first.title, "score with its 95 % interval, and place")]
    for one in others:
        columns += [Column(one.title, "score with its 95 % interval, and place"), Column("minus the first", "difference of the scores")]
    rows = tuple(
        (Cell(name), _placed(first, name), *(cell for one in others for cell in (_placed(one, name), _apart(first, one, name))))
        for name in compared.names
    )
    values = {"compared": compared, "listed": [], "ids": ids, "same": len({one.ranking.rows for one in compared.rankings}) == 1}
    figures = (figure_view("places", partial(draw_slopes, compared), SLOPES, address),) if others else ()
    table = sorted_view("scores", Table(tuple(columns), rows), address, "Scores side by side")
    return PageView(f"{len(compared.rankings)} rankings side by side", "compare.html", values, (table,), figures)


def _placed(one: RankingBeside, name: str) -> Cell:
    found = one.score(name)
    cell = figure_cell(found)
    if name not in one.places or found is None:
        return cell
    return Cell(cell.text, f"{cell.small}\nplace {one.places[name]}".strip(), found.value)


def _apart(first: RankingBeside, one: RankingBeside, name: str) -> Cell:
    above = one.above(first, name)
    return figure_cell(None) if above is None else Cell(f"{above:+.3f}", value=above)
