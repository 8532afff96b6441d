"""All routes of the API in, the OpenAPI document that describes them out: every field with a sentence."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from layerscout import __version__
from layerscout.service.api import deciding, jobs, looking, rankings, runs, stores
from layerscout.service.api.wording import EXAMPLES, FIELDS
from layerscout.service.schemas import ProblemDetails

DOCUMENT = APIRouter(include_in_schema=False)
ALL = (stores.ROUTES, looking.ROUTES, jobs.ROUTES, rankings.ROUTES, deciding.ROUTES, runs.ROUTES, DOCUMENT)
ABOUT = (
    "What a team's pages show, for programs. Errors are problem details (RFC 9457) with the kind, the hint and the exit code of the command line. "
    "Where the server has users, send `Authorization: Bearer TOKEN`."
)


@DOCUMENT.get("/api/v1/openapi.json")
def document(request: Request) -> JSONResponse:
    """Return the OpenAPI document of this server."""
    return JSONResponse(request.app.openapi())


def describe(app: FastAPI) -> None:
    """Have the application describe its API completely."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = whole_document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def whole_document(app: FastAPI) -> dict[str, Any]:
    """Return the document: what FastAPI gathers, with a sentence for every field of the records that the command line shares."""
    found = get_openapi(
        title="layerscout", version=__version__, description=ABOUT, routes=app.routes, summary="Stores, rankings and jobs of a team"
    )
    schemas = found["components"]["schemas"]
    schemas["ProblemDetails"] = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, schema in schemas.items():
        for field, facts in schema.get("properties", {}).items():
            if "description" not in facts:
                facts["description"] = FIELDS.get((name, field)) or FIELDS[("", field)]
        if name in EXAMPLES:
            schema["example"] = EXAMPLES[name]
    found["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "A token that `layerscout serve token add` made."}
    }
    found["security"] = [{}, {"token": []}]
    return found
