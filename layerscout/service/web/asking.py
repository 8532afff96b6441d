"""A form in; its cost shown, and a job, or the answer that is there already, out."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from layerscout.errors import LayerscoutError
from layerscout.service.problems import as_problem
from layerscout.service.requests import apart, service_of
from layerscout.service.state import ServiceState
from layerscout.service.web.forms import fields_of, question_of, read_form
from layerscout.service.web.view import PageView, respond
from layerscout.service.words import cost_lines, count, short

ROUTES = APIRouter(include_in_schema=False)


@ROUTES.get("/probe")
async def form(request: Request) -> Response:
    """The form, filled with the defaults and with what the address says; with a store also what it will cost."""
    state = service_of(request)
    given = dict(request.query_params)
    return await respond(request, lambda: form_view(state, given), heavy=True)


@ROUTES.post("/probe")
async def ask(request: Request) -> Response:
    """Submit: to the answer if there is one, else to the job; back to the form when something is wrong."""
    state, given = service_of(request), read_form(await request.body())
    if given.get("act") == "cost":
        return await respond(request, lambda: form_view(state, given), heavy=True)
    where, view = await apart(request, submit_form, state, given, request.state.who)
    if view is not None:
        return await respond(request, lambda: view)
    return RedirectResponse(where, 303)


def submit_form(state: ServiceState, given: dict[str, str], who: str) -> tuple[str, PageView | None]:
    """Submit what a form asks, and return where to go, or the form again with what is wrong."""
    question, wrong = question_of(given)
    if question is None:
        return "", form_view(state, given, wrong)
    try:
        return submit(state, question, who), None
    except LayerscoutError as error:
        return "", form_view(state, given, {"": f"{error}. {error.hint}"}, as_problem(error).status)


def submit(state: ServiceState, question: Any, who: str) -> str:
    """Queue a question, and return the address of its job, or of its answer."""
    quote = state.quotes.quote(question)
    if quote.answer is not None:
        return f"/rankings/{quote.answer}"
    queue = state.taking_jobs()
    state.allowance.spend(who)
    job, _ = queue.submit(state.quotes.request(quote, question, who))
    if state.runner:
        state.runner.wake()
    return f"/jobs/{job.id}"


def form_view(state: ServiceState, given: dict[str, str], wrong: dict[str, str] | None = None, status: int = 422) -> PageView:
    """Return the form with the cost of what it asks; what was typed stays."""
    hint = state.catalogue.twin_of(given.get("store", ""))
    if hint and "twin" not in given:
        given = {**given, "twin": hint}
    question, found = question_of(given) if given.get("store") and not wrong else (None, {})
    wrong, quote = wrong or found, None
    if question is not None:
        try:
            quote = state.quotes.quote(question)
        except LayerscoutError as error:
            wrong = {"": f"{error}. {error.hint}"}
    stores = [
        (one.id, _called(one.entry.names, one.id, one.entry.backbone, one.entry.rows))
        for one in state.catalogue.select()
        if not one.entry.damage and one.root.folder
    ]
    values = {
        "fields": fields_of(given),
        "stores": stores[:500],
        "wrong": wrong,
        "quote": quote,
        "cost": cost_lines(quote.facts) if quote else [],
        "twin_hint": hint,
        "limits": state.limits,
    }
    return PageView("Rank the layers of a store", "probe.html", values, status=status if wrong else 200)


def _called(names: tuple[str, ...], store_id: str, backbone: str | None, rows: int | None) -> str:
    return f"{', '.join(names) or short(store_id)} · {backbone or 'n/a'} · {count(rows)} rows"
