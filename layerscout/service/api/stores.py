"""Stores over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request

from layerscout import __version__
from layerscout.cache.catalog.details import store_details
from layerscout.service.acts import submit_verification
from layerscout.service.api.common import ANY_STORE, RESPONSES, brief_store, job_view
from layerscout.service.data.catalogue import count_pages, on_page
from layerscout.service.data.verified import kept_verification
from layerscout.service.requests import service_of
from layerscout.service.schemas import Health, JobView, StoreDetails, StoreLayer, StoreList

ROUTES = APIRouter(prefix="/api/v1", tags=["stores"], responses=RESPONSES)
StoreName = Annotated[
    str, Path(description="A store's id, or its name on this server.", pattern=ANY_STORE, examples=["ls1-0123456789abcdef0123456789abcdef"])
]


@ROUTES.get("/health", summary="Is the server there?")
def health(request: Request) -> Health:
    """Tell the version, and whether jobs are taken. Open to everybody."""
    state = service_of(request)
    known = request.state.who != "nobody"
    running = len(state.runner.running) if state.runner else 0
    why = state.why if known else ""
    return Health(
        version=__version__, takes_jobs=state.queue is not None, why=why, stores=len(state.catalogue.all()) if known else 0, running=running
    )


@ROUTES.get("/stores", summary="List and search stores")
def stores(
    request: Request,
    q: Annotated[
        str, Query(max_length=200, description="Words that a store must hold: of ids, names, models, layers.", examples=["tiny"])
    ] = "",
    filter: Annotated[
        list[str] | None, Query(max_length=10, description="Conditions as of `layerscout store ls --filter`.", examples=[["rows>1000"]])
    ] = None,
    sort: Annotated[
        str, Query(max_length=40, description="KEY, KEY:asc or KEY:desc, as of `layerscout store ls --sort`.", examples=["size:desc"])
    ] = "created:desc",
    page: Annotated[int, Query(ge=1, le=1_000_000, description="Which page of fifty.", examples=[1])] = 1,
) -> StoreList:
    """List the stores of all roots."""
    state = service_of(request)
    found = state.catalogue.select(q, filter or (), sort)
    shown = [brief_store(state, one) for one in on_page(found, page)]
    return StoreList(count=len(found), page=page, pages=count_pages(found), stores=shown)


@ROUTES.get("/stores/{store}", summary="Show a store")
def store(request: Request, store: StoreName) -> StoreDetails:
    """Tell everything that is known of a store without reading its numbers."""
    state = service_of(request)
    one = state.catalogue.find(store)
    whole = one.root.folder and not one.entry.damage
    facts: dict[str, Any] = (
        store_details(one.root.folder, one.folder()) if one.root.folder and whole else {"layers": [], "identity": {}, "provenance": {}}
    )
    verified = kept_verification(state.service, one.id)
    return StoreDetails(
        brief=brief_store(state, one),
        layers=[StoreLayer(**{name: layer[name] for name in StoreLayer.model_fields}) for layer in facts["layers"]],
        identity=facts["identity"],
        provenance=facts["provenance"],
        rankings=[found.id for found in state.results.all().values() if one.id in (*found.stores, found.twin)],
        problems=[": ".join(problem) for problem in verified.problems] if verified else [],
    )


@ROUTES.post("/stores/{store}/verify", status_code=202, summary="Verify a store")
def verify(request: Request, store: StoreName) -> JobView:
    """Read every file of a store and compare it with the manifest, as a job."""
    state = service_of(request)
    return job_view(state, submit_verification(state, state.catalogue.find(store).id, request.state.who))
