"""Stores in; the list of them, the page of one, and frames of its dataset, out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from layerscout.cache.catalog.details import store_details
from layerscout.errors import LayerscoutError, UsageError, shell
from layerscout.pages.tables import Cell, Column, Table, flatten_settings
from layerscout.service.data.catalogue import Shelved, count_pages, on_page
from layerscout.service.data.datasets import dataset_id, film
from layerscout.service.data.verified import KeptVerification, kept_verification
from layerscout.service.requests import service_of
from layerscout.service.state import ServiceState
from layerscout.service.web.tables import Address, Linked, plain_view, presorted_view, sorted_view
from layerscout.service.web.view import PageView, address_of, respond
from layerscout.service.words import day, short
from layerscout.showing import size

ROUTES = APIRouter(include_in_schema=False)
ORDERS = {0: "id", 1: "name", 2: "backbone", 3: "dataset", 4: "layers", 5: "rows", 6: "size", 7: "created"}


@ROUTES.get("/stores")
async def stores(request: Request) -> Response:
    """Show the list of stores."""
    state = service_of(request)
    return await respond(request, lambda: list_view(state, address_of(request)), state.version)


@ROUTES.get("/stores/{store_id}")
async def store(request: Request, store_id: str) -> Response:
    """Show one store with its layers and what was made of it."""
    state = service_of(request)
    return await respond(request, lambda: store_view(state, address_of(request), store_id))


@ROUTES.get("/datasets/{digest}/frames/{episode}/{step}.png")
async def frame(request: Request, digest: str, episode: int, step: int) -> Response:
    """One frame of a dataset as PNG, which a browser may keep for a day: content does not change under a digest."""
    picture = await run_in_threadpool(service_of(request).datasets.picture, f"sha256:{digest}", episode, step)
    return Response(picture, media_type="image/png", headers={"Cache-Control": "private, max-age=86400"})


def list_view(state: ServiceState, address: Address) -> PageView:
    """Return the list: searched, filtered and sorted as the address says, fifty a page."""
    text, order = address.get("q"), address.get("sort", "created:desc")
    filters = tuple(word for word in address.all("filter") if word.strip())
    trouble = ""
    try:
        found = state.catalogue.select(text, filters, order)
    except UsageError as error:  # the form keeps what was typed
        found, trouble = state.catalogue.select(text), f"{error}. {error.hint}"
    page = int(address.get("page", "1")) if address.get("page", "1").isdecimal() else 1
    rows = tuple(_row(state, one) for one in found)
    pages = count_pages(rows)
    page = min(max(1, page), pages)
    shown = tuple(on_page(rows, page))
    columns = (
        Column("Store", "the digest of everything that its numbers were computed from"),
        Column("Names", "what people call it"),
        Column("Video model"),
        Column("Dataset", "the digest of its content"),
        Column("Layers"),
        Column("Rows", "one a frame"),
        Column("Size"),
        Column("Created"),
        Column("By", "whose files they are"),
        Column("Verified", "when every file was last read and compared"),
        Column("State"),
    )
    values: dict[str, Any] = {
        "text": text,
        "filters": filters or ("",),
        "order": order,
        "trouble_here": trouble,
        "page": page,
        "pages": pages,
        "found": len(found),
        "bytes": sum(one.entry.bytes for one in found),
        "places": state.catalogue.troubles,
    }
    table = presorted_view("stores", Table(columns, shown), address, "Stores", ORDERS, order, rows)
    return PageView("Stores", "stores.html", values, (table,))


def _row(state: ServiceState, one: Shelved) -> tuple[Cell, ...]:
    entry, verified = one.entry, kept_verification(state.service, one.id)
    return (
        Linked(short(one.id), href=f"/stores/{one.id}"),
        Cell(", ".join(entry.names) or "–"),
        Cell(entry.backbone or "n/a"),
        Linked(short(entry.dataset), href=f"/decisions/{dataset_id(entry.dataset)}") if entry.dataset else Cell("n/a"),
        Cell("n/a" if entry.layers is None else f"{entry.layers:,}"),
        Cell("n/a" if entry.rows is None else f"{entry.rows:,}"),
        Cell(size(entry.bytes), value=float(entry.bytes)),
        Cell((entry.created or "n/a")[:10]),
        Cell(one.by or "n/a"),
        Cell(day(verified.when) if verified else "never", "with problems" if verified and verified.problems else ""),
        Cell(", ".join(_states(one)), "" if one.root.folder else f"at {one.root.place}"),
    )


def _states(one: Shelved) -> list[str]:
    return [
        *(["pinned"] if one.entry.pinned else []),
        *(["damaged"] if one.entry.damage else []),
        *([] if one.root.folder else ["elsewhere"]),
    ] or ["–"]


def store_view(state: ServiceState, address: Address, store_id: str) -> PageView:
    """Return the page of a store; a damaged one tells which file is damaged."""
    one = state.catalogue.find(store_id)
    title = f"Store {short(one.id)}: {one.entry.backbone or 'damaged'}"
    values: dict[str, Any] = {"one": one, "verified": kept_verification(state.service, one.id), "facts": None, "frames": (), "command": ""}
    values |= {
        "damage": one.entry.damage and state.tidy(one.entry.damage),
        "rankings": (),
        "digest": dataset_id(one.entry.dataset or ""),
    }
    tables = []
    facts: dict[str, Any] | None = None
    if one.root.folder and not one.entry.damage:
        try:
            facts = store_details(one.root.folder, one.folder())
        except LayerscoutError as error:
            values["damage"] = state.tidy(str(error))
    if facts is not None:
        values |= {"facts": facts, "command": _command(facts), "frames": _frames(state, one)}
        tables += [
            sorted_view("layers", _layers(one, facts), address, "Layers"),
            plain_view("identity", _identity(facts), address, "Identity"),
        ]
    used = [found for found in state.results.all().values() if one.id in (*found.stores, found.twin)]
    values["rankings"] = used
    values["runs"] = [found for found in state.experiments.all().values() if found.dataset and found.dataset == one.entry.dataset]
    values["problems"] = _problems(values["verified"])
    return PageView(title, "store.html", values, tuple(tables))


def _layers(one: Shelved, facts: dict[str, Any]) -> Table:
    columns = (Column("Layer"), Column("Depth"), Column("Role"), Column("Width", "features"), Column("Type"), Column("Size"))
    rows = tuple(
        (
            Linked(layer["name"], href=Address(f"/stores/{one.id}/look").changed(layer=layer["name"])),
            Cell(str(layer["depth"])),
            Cell(layer["role"]),
            Cell(f"{layer['width']:,}"),
            Cell(layer["dtype"]),
            Cell(size(layer["bytes"]), value=float(layer["bytes"])),
        )
        for layer in facts["layers"]
    )
    return Table(columns, rows)


def _identity(facts: dict[str, Any]) -> Table:
    stated = {key: value for key, value in facts["identity"].items() if key != "layers"}
    made = {f"provenance: {key}": value for key, value in flatten_settings(facts["provenance"])}
    rows = tuple((key, "n/a" if value is None else str(value)) for key, value in [*flatten_settings(stated), *made.items()])
    return Table(("What", "Which"), rows, words=True)


def _command(facts: dict[str, Any]) -> str:
    provenance = facts["provenance"]
    backbone, data = provenance.get("backbone"), provenance.get("data")
    return shell("extract", backbone, data) if isinstance(backbone, str) and isinstance(data, str) else ""


def _frames(state: ServiceState, one: Shelved) -> list[tuple[int, int]]:
    frames = state.datasets.episodes(one.entry.dataset or "")
    return [(0, step) for step in film(frames[0])] if frames else []


def _problems(found: KeptVerification | None) -> list[str]:
    return [f"{path}: {kind}, {detail}" for path, kind, detail in found.problems] if found else []
