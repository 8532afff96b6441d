"""A layer of a store in; the page on which to look into it, frame by frame, and its rows for a projector, out."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from layerscout.pages.tables import Cell, Column, Table
from layerscout.service.data.datasets import dataset_id
from layerscout.service.data.look import LayerLook, look_into
from layerscout.service.problems import HttpProblem
from layerscout.service.requests import apart, service_of
from layerscout.service.state import ServiceState
from layerscout.service.web.figures import draw_components, draw_episode
from layerscout.service.web.tables import Address, sorted_view
from layerscout.service.web.view import PageView, address_of, figure_view, respond
from layerscout.service.words import short

ROUTES = APIRouter(include_in_schema=False)
EPISODE = "What was, and what a linear map reads from this layer. The map was fitted on other episodes only."
SCATTER = "Rows of several episodes along the two directions in which the layer's features vary most."


@ROUTES.get("/stores/{store_id}/look")
async def look(request: Request, store_id: str) -> Response:
    """Show one episode as a layer sees it."""
    state = service_of(request)
    return await respond(request, lambda: look_view(state, address_of(request), store_id), state.version, heavy=True)


@ROUTES.get("/stores/{store_id}/projector/{name}")
async def projector(request: Request, store_id: str, name: str) -> Response:
    """The sampled rows for TensorBoard's projector: vectors.tsv, and metadata.tsv beside them."""
    state, address = service_of(request), address_of(request)
    text = await apart(request, projector_file, state, address, store_id, name)
    return Response(
        text, media_type="text/tab-separated-values; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def found_look(state: ServiceState, address: Address, store_id: str) -> LayerLook:
    """Return what the address asks to look at; without a choice the first layer, the first episode and its reward."""
    episode = address.get("episode", "0")
    if not episode.isdecimal() or len(episode) > 9:
        raise HttpProblem(422, "an episode is a number")
    return look_into(state.catalogue, store_id, address.get("layer"), int(episode), address.get("target", "reward"))


def look_view(state: ServiceState, address: Address, store_id: str) -> PageView:
    """Return the page: a frame with its step, the target over the episode, and the main directions of the features."""
    found = found_look(state, address, store_id)
    one = state.catalogue.find(store_id)
    steps = found.steps
    wanted = address.get("step", str(steps[0]))
    place = steps.index(int(wanted)) if wanted.isdecimal() and int(wanted) in steps else 0
    column = address.get("colour", "step") if address.get("colour", "step") in found.columns else next(iter(found.columns))
    dataset = one.entry.dataset or ""
    values = {
        "one": one,
        "look": found,
        "place": place,
        "step": steps[place],
        "column": column,
        "columns": list(found.columns),
        "layers": one.layers,
        "pictures": state.datasets.path(dataset) is not None,
        "digest": dataset_id(dataset),
        "was": ",".join("" if value is None else f"{value:.4f}" for value in found.true),
        "read": ",".join("" if value is None else f"{value:.4f}" for value in found.predicted),
    }
    values |= {"before": steps[place - 1] if place else None, "after": steps[place + 1] if place + 1 < len(steps) else None}
    columns = (
        Column("Step"),
        Column(found.target, "what was"),
        Column("Read from the layer", "by a map that was fitted on other episodes"),
    )
    rows = tuple(
        (Cell(str(step)), _figure(true), _figure(read)) for step, true, read in zip(steps, found.true, found.predicted, strict=True)
    )
    figures = (
        figure_view("episode", partial(draw_episode, found, steps[place]), EPISODE, address),
        figure_view("directions", partial(draw_components, found, column), SCATTER, address),
    )
    return PageView(
        f"Inside {found.layer} of {one.entry.backbone or short(one.id)}",
        "look.html",
        values,
        (sorted_view("steps", Table(columns, rows), address, "Steps"),),
        figures,
    )


def _figure(value: float | None) -> Cell:
    return Cell("n/a" if value is None else f"{value:.4f}")


def projector_file(state: ServiceState, address: Address, store_id: str, name: str) -> str:
    """Return the sampled rows' features, or what is known of each row, a line a row."""
    found = found_look(state, address, store_id)
    if name == "vectors.tsv":
        return "\n".join("\t".join(f"{value:.6g}" for value in row) for row in found.features) + "\n"
    if name != "metadata.tsv":
        raise HttpProblem(404, f"there is no '{name[:40]}'", "vectors.tsv or metadata.tsv", "data")
    lines = ["\t".join(found.columns)]
    lines += ["\t".join(f"{values[row]:.6g}" for values in found.columns.values()) for row in range(found.rows)]
    return "\n".join(lines) + "\n"
