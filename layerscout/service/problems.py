"""An error in; its kind, its HTTP status and its problem details (RFC 9457) out."""

from __future__ import annotations

from typing import Any

from layerscout.errors import BudgetError, DataError, LayerscoutError, MissingExtraError, UsageError, shortage

MEDIA_TYPE = "application/problem+json"
STATUSES = {"usage": 422, "data": 409, "budget": 507, "missing_extra": 501}
TITLES = {
    400: "The request cannot be read",
    401: "Who are you?",
    403: "Refused",
    404: "There is nothing here",
    405: "This cannot be done here",
    409: "The data do not allow it",
    413: "Too much at once",
    415: "Not a form that is understood",
    421: "Not the name of this server",
    422: "A setting is wrong",
    429: "Too many submissions",
    500: "A bug",
    501: "Something optional is not installed",
    503: "No jobs can be taken",
    507: "It does not fit",
}


class HttpProblem(LayerscoutError):
    """What a request is answered with in place of what it asked for. ``kind`` and ``exit_code`` are those of the command line."""

    def __init__(self, status: int, message: str, hint: str = "", kind: str = "usage", headers: dict[str, str] | None = None) -> None:
        super().__init__(message, hint)
        self.status, self.kind, self.headers = status, kind, headers or {}
        self.exit_code = EXIT_CODES.get(kind, 1)


EXIT_CODES = {"usage": 2, "missing_extra": 3, "data": 4, "budget": 5}
ERRORS: dict[str, type[LayerscoutError]] = {
    "usage": UsageError,
    "missing_extra": MissingExtraError,
    "data": DataError,
    "budget": BudgetError,
}


def as_problem(error: Exception) -> HttpProblem:
    """Return the problem that an error is; what nobody foresaw is a bug, and its message stays in the server's log."""
    if isinstance(error, HttpProblem):
        return error
    if isinstance(error, LayerscoutError):
        return HttpProblem(STATUSES.get(error.kind, 500), str(error), error.hint, error.kind)
    if (advice := shortage(error)) is not None:
        message = f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
        return HttpProblem(507, message or "out of memory", advice, "budget")
    return HttpProblem(500, f"this is a bug: {type(error).__name__}", "the server's log has the rest", "bug")


def problem_details(problem: HttpProblem, instance: str) -> dict[str, Any]:
    """The JSON of an error as RFC 9457 has it, with our ``kind``, ``hint`` and ``exit_code`` beside its members."""
    return {
        "type": f"https://github.com/layerscout/layerscout/blob/main/docs/reference/service.md#{problem.kind}",
        "title": TITLES.get(problem.status, "Error"),
        "status": problem.status,
        "detail": str(problem),
        "instance": instance,
        "kind": problem.kind,
        "hint": problem.hint,
        "exit_code": problem.exit_code,
    }


def as_error(details: dict[str, Any]) -> LayerscoutError:
    """Return the error of the command line that a problem document stands for."""
    kind = str(details.get("kind", "error"))
    found = ERRORS.get(kind, LayerscoutError)(
        str(details.get("detail") or details.get("title") or "the server refused"), str(details.get("hint", ""))
    )
    if kind not in ERRORS:
        found.exit_code, found.kind = 1, kind
    return found
