"""What a form becomes: an address of an answer, of a job, or the form again with what was typed and what is wrong; by stand-ins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from layerscout.errors import BudgetError, DataError, LayerscoutError, UsageError
from layerscout.service.problems import HttpProblem
from layerscout.service.web.asking import form_view, submit_form
from layerscout.service.web.view import PageView

QUESTION = {"store": "small", "folds": "4"}


def shelved(store_id: str, *names: str, damage: str = "", folder: str | None = "here", rows: int | None = 1234) -> Any:
    entry = SimpleNamespace(names=names, backbone="tiny", rows=rows, damage=damage)
    return SimpleNamespace(id=store_id, entry=entry, root=SimpleNamespace(folder=folder))


class Server:
    """What asking needs of a server, and in ``done`` what it did, in order."""

    def __init__(self, answer: str | None = None, wrong: LayerscoutError | None = None, twin: str = "", stores: tuple[Any, ...] = ()):
        self.done: list[str] = []
        self.answer, self.wrong = answer, wrong
        self.allowance = SimpleNamespace(spend=lambda who: self.done.append(f"{who} spends"))
        self.quotes = SimpleNamespace(quote=self.quote, request=lambda quote, question, who: f"request of {who}")
        self.catalogue = SimpleNamespace(twin_of=lambda word: twin if word == "small" else "", select=lambda: list(stores))
        self.runner: Any = SimpleNamespace(wake=lambda: self.done.append("wakes"))
        self.limits = "limits"
        self.refused: LayerscoutError | None = None

    def quote(self, question: Any) -> Any:
        if self.wrong:
            raise self.wrong
        self.asked = question
        return SimpleNamespace(answer=self.answer, facts={"layers": 3, "rows": 50})

    def taking_jobs(self) -> Any:
        if self.refused:
            raise self.refused
        return SimpleNamespace(submit=self.queued)

    def queued(self, request: str) -> tuple[Any, bool]:
        self.done.append(request)
        return SimpleNamespace(id="j1"), True


def asked(server: Server, given: dict[str, str]) -> tuple[str, PageView | None]:
    return submit_form(server, given, "ada")  # type: ignore[arg-type]


def test_what_was_answered_before_is_shown_and_costs_nobody_anything() -> None:
    server = Server(answer="abc")
    assert asked(server, QUESTION) == ("/rankings/abc", None)
    assert server.done == []


def test_what_was_not_is_queued_once_by_who_asks_and_the_work_begins() -> None:
    server = Server()
    assert asked(server, QUESTION) == ("/jobs/j1", None)
    assert server.done == ["ada spends", "request of ada", "wakes"]
    assert (server.asked.store, server.asked.folds) == ("small", 4)


def test_a_server_that_works_elsewhere_queues_too() -> None:
    server = Server()
    server.runner = None
    assert asked(server, QUESTION)[0] == "/jobs/j1"
    assert server.done == ["ada spends", "request of ada"]


def test_where_no_jobs_are_taken_nothing_is_spent() -> None:
    server = Server()
    server.refused = HttpProblem(503, "no jobs can be taken", "ask whoever runs the server", "data")
    where, view = asked(server, QUESTION)
    assert (where, server.done) == ("", [])
    assert view is not None
    assert (view.status, view.values["wrong"]) == (503, {"": "no jobs can be taken. ask whoever runs the server"})


def test_who_asked_too_often_queues_nothing() -> None:
    server = Server()

    def spend(who: str) -> None:
        raise HttpProblem(429, "too many", "wait a minute")

    server.allowance = SimpleNamespace(spend=spend)
    where, view = asked(server, QUESTION)
    assert (where, server.done, view and view.status) == ("", [], 429)


@pytest.mark.parametrize(
    ("error", "status"),
    [(UsageError("wrong", "right it"), 422), (DataError("wrong", "right it"), 409), (BudgetError("wrong", "right it"), 507)],
)
def test_what_cannot_be_asked_is_the_form_again_with_the_reason_and_what_was_typed(error: LayerscoutError, status: int) -> None:
    where, view = asked(Server(wrong=error), QUESTION)
    assert where == ""
    assert view is not None
    assert (view.status, view.values["wrong"], view.values["quote"], view.values["cost"]) == (status, {"": "wrong. right it"}, None, [])
    typed = {field.name: field.value for field in view.values["fields"]}
    assert (typed["store"], typed["folds"]) == ("small", "4")


@pytest.mark.parametrize("given", [{}, {"store": "../up"}, {"store": "small", "folds": "many"}, {"store": "small", "folds": "-1"}])
def test_a_setting_that_is_wrong_stands_under_its_name_and_nothing_is_asked(given: dict[str, str]) -> None:
    server = Server()
    where, view = asked(server, given)
    assert (where, server.done, hasattr(server, "asked")) == ("", [], False)
    assert view is not None
    assert view.status == 422
    (name,) = view.values["wrong"]
    assert name == ("folds" if "folds" in given else "store")


def shown(server: Server, given: dict[str, str]) -> PageView:
    return form_view(server, given)  # type: ignore[arg-type]


def test_a_form_without_a_store_has_no_cost_and_nothing_wrong() -> None:
    server = Server()
    view = shown(server, {"folds": "many"})
    assert (view.status, view.values["wrong"], view.values["cost"], hasattr(server, "asked")) == (200, {}, [], False)


def test_a_form_with_a_store_shows_what_it_will_cost() -> None:
    view = shown(Server(), QUESTION)
    assert view.status == 200
    assert view.values["quote"].facts == {"layers": 3, "rows": 50}
    assert [figure for figure, _ in view.values["cost"]] != []


def test_a_cost_that_cannot_be_told_is_said_above_the_form() -> None:
    view = shown(Server(wrong=DataError("damaged", "fetch it again")), QUESTION)
    assert (view.status, view.values["wrong"]) == (422, {"": "damaged. fetch it again"})


def test_the_untrained_store_is_offered_unless_one_was_named_or_left_out() -> None:
    def twin(given: dict[str, str]) -> str:
        return next(field.value for field in shown(Server(twin="ls1-twin"), given).values["fields"] if field.name == "twin")

    assert twin({"store": "small"}) == "ls1-twin"
    assert twin({"store": "small", "twin": "own"}) == "own"
    assert twin({"store": "small", "twin": ""}) == ""
    assert twin({"store": "other"}) == ""


def test_only_whole_stores_of_this_machine_are_offered_by_name_model_and_rows() -> None:
    stores = (
        shelved("ls1-" + "0" * 32, "a", "b"),
        shelved("ls1-" + "1" * 32, rows=None),
        shelved("ls1-" + "2" * 32, damage="a file is missing"),
        shelved("ls1-" + "3" * 32, folder=None),
    )
    offered = dict(shown(Server(stores=stores), {}).values["stores"])
    assert list(offered) == [stores[0].id, stores[1].id]
    assert offered[stores[0].id] == "a, b · tiny · 1,234 rows"
    assert offered[stores[1].id].endswith("· tiny · n/a rows")
    many = tuple(shelved(f"ls1-{number:032}") for number in range(600))
    assert len(shown(Server(stores=many), {}).values["stores"]) == 500
