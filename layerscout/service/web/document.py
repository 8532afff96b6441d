"""The API's document in, a page that lists what it describes out."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from layerscout.pages.tables import Cell, Table
from layerscout.service.web.tables import sorted_view
from layerscout.service.web.view import PageView, address_of, respond

ROUTES = APIRouter(include_in_schema=False)


@ROUTES.get("/api")
async def document(request: Request) -> Response:
    """Show the page that lists what programs can ask of the server."""
    described = request.app.openapi()
    rows = tuple(
        (Cell(path), Cell(method.upper()), Cell(route["summary"]), Cell(route["description"]))
        for path, methods in described["paths"].items()
        for method, route in methods.items()
    )
    table = sorted_view("routes", Table(("Path", "Method", "What", "More"), rows, words=True), address_of(request), "Routes of the API")
    return await respond(request, lambda: PageView("For programs", "api.html", {"document": described}, (table,)))
