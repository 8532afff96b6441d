"""A layer of a store over HTTP: one episode seen through it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from layerscout.service.api.common import RESPONSES
from layerscout.service.api.stores import StoreName
from layerscout.service.data.look import LayerLook, look_into, none_where_undefined
from layerscout.service.judged import LookView
from layerscout.service.requests import apart, service_of
from layerscout.service.state import ServiceState

ROUTES = APIRouter(prefix="/api/v1", tags=["stores"], responses=RESPONSES)


@ROUTES.get("/stores/{store}/look", summary="Look inside a layer")
async def look(
    request: Request,
    store: StoreName,
    layer: Annotated[str, Query(max_length=200, description="A layer; left out: the first one.", examples=["blocks.5"])] = "",
    episode: Annotated[int, Query(ge=0, le=999_999_999, description="Which episode.", examples=[0])] = 0,
    target: Annotated[str, Query(max_length=200, description="The column to read from the layer.", examples=["reward"])] = "reward",
    rows: Annotated[bool, Query(description="Whether coordinates and columns of every read row are given too.", examples=[False])] = False,
) -> LookView:
    """Tell a target over one episode, what a linear map reads of it from the layer, and the main directions of its features."""
    found: LookView = await apart(request, _look, service_of(request), store, layer, episode, target, rows)
    return found


def _look(state: ServiceState, store: str, layer: str, episode: int, target: str, rows: bool) -> LookView:
    found = look_into(state.catalogue, store, layer, episode, target)
    return LookView(
        store=state.catalogue.find(store).id,
        layer=found.layer,
        episode=found.episode,
        episodes=found.episodes,
        target=found.target,
        targets=list(found.targets),
        steps=list(found.steps),
        true=list(found.true),
        read=list(found.predicted),
        r2=found.r2,
        rows=found.rows,
        shares=list(found.shares),
        **_rows(found, rows),
    )


def _rows(found: LayerLook, wanted: bool) -> dict[str, Any]:
    if not wanted:
        return {"directions": [], "columns": {}}
    return {
        "directions": found.components.tolist(),
        "columns": {name: none_where_undefined(values) for name, values in found.columns.items()},
    }
