"""Rankings over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from layerscout.cache.records import Ranking, Selection
from layerscout.service.acts import keep_note
from layerscout.service.api.common import ANY_RESULT, RESPONSES, brief_ranking
from layerscout.service.data import measured
from layerscout.service.data.roots import inside
from layerscout.service.problems import HttpProblem
from layerscout.service.requests import service_of
from layerscout.service.schemas import NoteIn, NoteList, NoteOut, PairList, PairView, RankingList, WhatIfLayer, WhatIfOrder
from layerscout.service.state import ServiceState

ROUTES = APIRouter(prefix="/api/v1", tags=["rankings"], responses=RESPONSES)
RankingId = Annotated[str, Path(description="A ranking's id.", pattern=ANY_RESULT, examples=["6888dfad7491402bdc0454a36a6cb67b"])]
FILES = {
    "ranking.json": "application/json",
    "selection.json": "application/json",
    "layer_analysis.csv": "text/csv",
    "layer_analysis.md": "text/markdown",
    "selected_layer.txt": "text/plain",
    "probe.html": "application/octet-stream",
    "probe.json": "application/json",
    "score_by_depth.svg": "image/svg+xml",
    "score_by_depth.png": "image/png",
}


@ROUTES.get("/rankings", summary="List rankings")
def rankings(
    request: Request,
    dataset: Annotated[str | None, Query(max_length=80, description="Only those of this dataset.", examples=["sha256:8cd4"])] = None,
    store: Annotated[
        str | None, Query(max_length=80, description="Only those that used this store.", examples=["ls1-0123456789abcdef0123456789abcdef"])
    ] = None,
) -> RankingList:
    """List every ranking, of this server's jobs and of the command line."""
    found = service_of(request).results.all().values()
    wanted = [one for one in found if dataset in (None, one.dataset) and (store is None or store in (*one.stores, one.twin))]
    return RankingList(rankings=[brief_ranking(one) for one in wanted])


@ROUTES.get("/rankings/{ranking}", summary="Show a ranking")
def ranking(request: Request, ranking: RankingId) -> Ranking:
    """Return everything that was measured of every layer: the content of ranking.json."""
    return read(service_of(request), ranking)


@ROUTES.get("/rankings/{ranking}/selection", summary="What it hands to training")
def selection(request: Request, ranking: RankingId) -> Selection:
    """Return the layers that agents get, with their controls: the content of selection.json."""
    state = service_of(request)
    return state.results.selection(state.results.find(ranking))


@ROUTES.get("/rankings/{ranking}/what-if", summary="The order under other weights")
def what_if(
    request: Request,
    ranking: RankingId,
    w: Annotated[
        list[str],
        Query(
            min_length=3,
            max_length=3,
            description="Three weights: reward, transition, rank; made to sum to 1.",
            examples=[["0.3", "0.3", "0.4"]],
        ),
    ],
) -> WhatIfOrder:
    """Order the layers by other weights, from what was measured; nothing is measured again."""
    state = service_of(request)
    weights = measured.read_weights(w)
    if weights is None:
        raise HttpProblem(422, f"weights {', '.join(w)[:80]} are not three figures of which one is above 0", "w=0.3&w=0.3&w=0.4")
    shown, evidence = read(state, ranking), evidence_for(state, ranking)
    places = {(layer.store_id, layer.name): place for place, layer in enumerate(shown.candidates, 1)}
    layers = [
        WhatIfLayer(
            layer=one.layer.name,
            store=one.layer.store_id,
            place=one.place,
            place_in_ranking=places[one.layer.store_id, one.layer.name],
            score=one.score.value if one.score else None,
            low=one.score.low if one.score else None,
            high=one.score.high if one.score else None,
        )
        for one in measured.reweighted(shown, weights, evidence)
    ]
    return WhatIfOrder(weights=list(weights), layers=layers)


@ROUTES.get("/rankings/{ranking}/pairs", summary="Is one really better than the other?")
def pairs(request: Request, ranking: RankingId) -> PairList:
    """Compare every two of the first layers by the paired jackknife over episode groups."""
    state = service_of(request)
    shown, evidence = read(state, ranking), evidence_for(state, ranking)
    layers = shown.candidates[: measured.MOST_PAIRS] if evidence else ()
    found = measured.pairs(shown, layers, evidence)
    listed = []
    for row, one in enumerate(layers):
        for column in range(row + 1, len(layers)):
            difference = found[row][column]
            facts = (
                {"difference": difference.value, "low": difference.low, "high": difference.high}
                if difference
                else dict.fromkeys(("difference", "low", "high"))
            )
            listed.append(PairView(one=one.name, other=layers[column].name, **facts))
    return PairList(pairs=listed)


@ROUTES.get("/rankings/{ranking}/notes", summary="Read notes")
def notes(request: Request, ranking: RankingId) -> NoteList:
    """Return what people wrote about a ranking."""
    state = service_of(request)
    state.results.find(ranking)
    return NoteList(notes=[NoteOut(**vars(note)) for note in state.notes.of(ranking)])


@ROUTES.post("/rankings/{ranking}/notes", status_code=201, summary="Write a note")
def add_note(request: Request, ranking: RankingId, note: NoteIn) -> NoteOut:
    """Keep a note on a ranking: plain text."""
    return NoteOut(**vars(keep_note(service_of(request), ranking, request.state.who, note.text)))


FILE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file's bytes.",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in dict.fromkeys(FILES.values())},
    }
}


@ROUTES.get("/rankings/{ranking}/files/{name}", response_class=Response, responses=FILE, summary="Download an output")
def file(
    request: Request,
    ranking: RankingId,
    name: Annotated[str, Path(description=f"One of {', '.join(FILES)}.", max_length=40, examples=["selection.json"])],
) -> Response:
    """Return a file that the command would have written, byte by byte."""
    found = service_of(request).results.find(ranking)
    if name not in FILES or not (found.folder / name).is_file():
        raise HttpProblem(404, f"this ranking has no file '{name[:40]}'", f"files: {', '.join(FILES)}", "data")
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "X-Layerscout-Environment": environment_of(service_of(request), found.stores),
    }
    return Response(inside(found.place, found.folder / name).read_bytes(), media_type=FILES[name], headers=headers)


def environment_of(state: ServiceState, stores: tuple[str, ...]) -> str:
    """Return the environment that ``layerscout train`` would name next, as far as a header can hold it."""
    found = (state.environment(stores[0]) if stores else "") or "ENVIRONMENT"
    return found if found.isascii() and found.isprintable() else "ENVIRONMENT"


def read(state: ServiceState, ranking_id: str) -> Ranking:
    """Return a ranking's record."""
    return state.results.ranking(state.results.find(ranking_id))


def evidence_for(state: ServiceState, ranking_id: str) -> dict[measured.Key, Any]:
    """Return the evidence of a ranking's layers."""
    found = state.results.find(ranking_id)
    return measured.evidence_of(found, state.results.ranking(found), state.digests())
