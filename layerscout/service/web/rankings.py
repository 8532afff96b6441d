"""Rankings in; their list, the page of one, its notes, and what it hands to training, out."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from markupsafe import Markup

from layerscout.cache.records import Ranking, encode_record
from layerscout.errors import shell
from layerscout.pages.ranking import draw_score, short_kind
from layerscout.pages.tables import Cell, Column, Table
from layerscout.probe.page import diagnostics
from layerscout.probe.page.charts import draw_order
from layerscout.probe.page.page import answer, confirmation_caption, evidence_sections, measured_layers
from layerscout.probe.page.panels import penalty_paths, sheet, spectra
from layerscout.probe.page.wording import formula
from layerscout.service.acts import keep_note
from layerscout.service.data import measured
from layerscout.service.data.datasets import dataset_id
from layerscout.service.data.measured import evidence_of
from layerscout.service.data.results import FoundResult
from layerscout.service.problems import HttpProblem
from layerscout.service.requests import service_of
from layerscout.service.state import ServiceState
from layerscout.service.web import ranking_tables as tables
from layerscout.service.web.forms import read_form
from layerscout.service.web.tables import Address, Linked, plain_view, sorted_view
from layerscout.service.web.view import FigureView, PageView, address_of, figure_view, respond
from layerscout.service.words import PAIRS, VERSIONS, WHAT_IF, WHAT_IF_S, moment, short
from layerscout.text import html_text

ROUTES = APIRouter(include_in_schema=False)
MOST_ROWS = 40  # layers whose order is drawn, and whose every figure stands on the page without being asked for
MOST_DRAWN = 12  # layers whose eigenvalues and penalties are drawn without being asked for
DEPTH = "The score of every layer with its 95 % interval, the same blocks without training, and the controls: a layer is worth what it gives above them."
ORDER = "The parts of each score, then how far a layer lies behind the best one: an interval that holds 0 means that the two cannot be told apart."


@ROUTES.get("/rankings")
async def rankings(request: Request) -> Response:
    """Show the list of rankings."""
    state = service_of(request)
    return await respond(request, lambda: list_view(state, address_of(request)), state.version)


@ROUTES.get("/rankings/{ranking_id}")
async def ranking(request: Request, ranking_id: str) -> Response:
    """Show one ranking with its figures, tables and notes."""
    state = service_of(request)
    return await respond(
        request, lambda: ranking_view(state, address_of(request), ranking_id), lambda: (state.version(), notes_version(state, ranking_id))
    )


@ROUTES.get("/rankings/{ranking_id}/selection.json")
async def selection(request: Request, ranking_id: str) -> Response:
    """Send the selection as the file that ``layerscout train`` takes."""
    state = service_of(request)
    found = await run_in_threadpool(lambda: encode_record(state.results.selection(state.results.find(ranking_id))))
    return Response(found, media_type="application/json", headers={"Content-Disposition": 'attachment; filename="selection.json"'})


@ROUTES.post("/rankings/{ranking_id}/notes")
async def add_note(request: Request, ranking_id: str) -> Response:
    """Keep a note on a ranking, and lead back to the ranking."""
    state, given = service_of(request), read_form(await request.body())
    await run_in_threadpool(keep_note, state, ranking_id, request.state.who, given.get("text", ""))
    return RedirectResponse(f"/rankings/{ranking_id}#notes", 303)


def notes_version(state: ServiceState, ranking_id: str) -> int:
    """Return a number that changes with every note on a ranking."""
    return state.notes.version(state.results.find(ranking_id).id)


def list_view(state: ServiceState, address: Address) -> PageView:
    """Rankings whose names hold every word of the search, newest first, as a table."""
    text = address.get("q").casefold().split()
    found = [one for one in state.results.all().values() if all(word in _words(one) for word in text)]
    columns = (
        Column("Ranking"),
        Column("Video model"),
        Column("Best layer"),
        Column("Score"),
        Column("Layers"),
        Column("Transitions"),
        Column("Dataset"),
    )
    rows = tuple(_row(one) for one in found)
    table = sorted_view("rankings", Table((*columns, Column("Made"), Column("State")), rows), address, "Rankings")
    return PageView("Rankings", "rankings.html", {"text": address.get("q"), "found": len(found)}, (table,))


def _words(one: FoundResult) -> str:
    return " ".join((one.id, one.backbone, one.best, one.dataset, one.score_kind, *one.stores, *one.labels)).casefold()


def _row(one: FoundResult) -> tuple[Cell, ...]:
    return (
        Linked(short(one.id), href=f"/rankings/{one.id}"),
        Cell(", ".join(one.labels) or one.backbone or "n/a"),
        Cell(one.best or "n/a"),
        Cell("n/a" if one.best_score is None else f"{one.best_score:.3f}", one.score_kind),
        Cell(f"{one.layers:,}"),
        Cell(f"{one.rows:,}"),
        Linked(short(one.dataset), href=f"/decisions/{dataset_id(one.dataset)}") if one.dataset else Cell("n/a"),
        Cell(moment(one.when), value=one.when),
        Cell("damaged" if one.damage else "asked here" if one.here else "from the command line"),
    )


def ranking_view(state: ServiceState, address: Address, ranking_id: str) -> PageView:
    """Tables and figures of one ranking; the address may carry other weights and orders."""
    found = state.results.find(ranking_id)
    shown = state.results.ranking(found)
    if not shown.candidates:
        raise HttpProblem(409, "this ranking has no layers", "probe again", "data")
    evidence = evidence_of(found, shown, state.digests())
    weights = measured.read_weights(address.all("w")) or shown.weights
    what_if, data = tables.what_if_table(shown, weights, evidence)
    views = [
        sorted_view("layers", tables.layers_table(shown), address, "The layers in order"),
        sorted_view("what-if", what_if, address, "What if", parameter="whatif", data=data),
        plain_view("scores", tables.versions_table(shown), address, "What every score would choose", VERSIONS),
        plain_view("pairs", tables.pairs_table(shown, evidence), address, "Is one really better than the other?", PAIRS),
        sorted_view("confirmation", diagnostics.confirmed(shown), address, "Confirmation", confirmation_caption(shown), "held"),
        sorted_view("beside", diagnostics.beside_the_score(shown), address, "Measures beside the score", parameter="beside"),
        sorted_view("figures", diagnostics.every_figure(shown), address, "Every figure", parameter="figures"),
    ]
    drawn = _drawn(shown, address)
    panels = _sheets(drawn, evidence, address)
    values: dict[str, Any] = {
        "found": found,
        "known": {one.id for one in state.catalogue.all()},
        "ranking": shown,
        "answer": Markup(answer(shown)),
        "doubts": Markup(diagnostics.flags_raised(shown, evidence)),
        "panels": Markup("".join(evidence_sections(drawn, evidence, lambda name: exports_below(panels[name])))),
        "all_panels": address.get("panels") == "all" or len(shown.candidates) <= MOST_DRAWN,
        "every_figure": address.get("panels") == "all" or len(shown.candidates) <= MOST_ROWS,
        "most": MOST_ROWS,
        "evidence": bool(evidence),
        "formula": formula(shown),
        "weights": weights,
        "asked": bool(address.all("w")),
        "what_if": WHAT_IF_S if short_kind(shown) == "S-ctrl" else WHAT_IF,
        "notes": state.notes.of(ranking_id),
        "command": train_command(state, shown),
        "others": [one for one in state.results.all().values() if one.dataset == found.dataset and one.id != found.id and not one.damage][
            :7
        ],
    }
    figures = (
        *panels.values(),
        figure_view("score-by-depth", partial(draw_score, shown), DEPTH, address),
        figure_view("order", partial(draw_order, _first(shown, MOST_ROWS)), ORDER, address),
    )
    first = shown.candidates[0]
    return PageView(
        f"{', '.join(found.labels)}: {first.name} first of {found.layers} layers", "ranking.html", values, tuple(views), figures
    )


def _first(shown: Ranking, most: int) -> Ranking:
    """Return a ranking with its first candidates only, its controls, and their untrained blocks."""
    if len(shown.candidates) <= most:
        return shown
    names = {layer.name for layer in shown.candidates[:most]}
    kept = [
        *shown.candidates[:most],
        *(layer for layer in shown.layers if layer.role == "control" or (layer.role == "twin" and layer.name in names)),
    ]
    return shown.model_copy(update={"layers": tuple(kept)})


def _drawn(shown: Ranking, address: Address) -> Ranking:
    """Return the layers whose eigenvalues and penalties are drawn: the first ones, unless the address asks for all."""
    if address.get("panels") == "all":
        return shown
    kept = [*shown.candidates[:MOST_DRAWN], *(layer for layer in shown.layers if layer.role == "control")]
    return shown.model_copy(update={"layers": tuple(kept)})


def _sheets(drawn: Ranking, evidence: Any, address: Address) -> dict[str, FigureView]:
    """Return the small pictures together as figures, for their files."""
    candidates, others, _ = measured_layers(drawn, evidence)

    def figure(name: str, draw: Any) -> FigureView:
        return figure_view(name, lambda width: sheet(draw(candidates, others), name.capitalize(), width), "", address)

    return {"eigenvalues": figure("eigenvalues", spectra), "penalties": figure("penalties", penalty_paths)}


def exports_below(view: FigureView) -> str:
    """Return the line with a figure's files, as every figure has it."""
    links = ", ".join(f'<a href="{html_text(href)}" download>{form.upper()}</a>' for form, href in view.exports)
    return f'<p class="exports">Figure as {links}</p>'


def train_command(state: ServiceState, shown: Ranking) -> str:
    """The ``layerscout train`` command for this ranking's selection, with ENVIRONMENT where the dataset names none."""
    return shell("train", state.environment(shown.store_id) or "ENVIRONMENT", "--selection", "selection.json")
