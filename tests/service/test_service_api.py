"""The API against its own document: every field described, every answer allowed, nothing that ends in a bug."""

from __future__ import annotations

import json
from typing import Any

import hypothesis
import pytest
import schemathesis
from team import BASE, Browser, World, served

from layerscout.service.app import make_app

METHODS = ("get", "post")


@pytest.fixture(scope="module")
def document(world: World) -> dict[str, Any]:
    return make_app(world.config()).inner.openapi()


def test_every_route_field_and_parameter_is_described_with_examples(document: dict[str, Any]) -> None:
    undescribed = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, facts in schema.get("properties", {}).items()
        if not facts.get("description")
    ]
    assert undescribed == []
    assert [name for name, schema in document["components"]["schemas"].items() if not schema.get("description")] == []
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route["summary"], path
            assert route["description"], path
            assert {"400", "401", "403", "404", "413", "421", "422", "429", "500", "503", "507"} <= set(route["responses"]), (path, method)
            for parameter in route.get("parameters", []):
                assert parameter["description"], (path, parameter["name"])
                assert parameter["schema"].get("examples") or any(part.get("examples") for part in parameter["schema"].get("anyOf", [])), (
                    path,
                    parameter["name"],
                )
    own = [
        name
        for name in document["components"]["schemas"]
        if name not in ("Ranking", "LayerScore", "Selection", "Confirmation", "Estimate", "Choice", "RankedStore", "ProbeQuestion")
    ]
    for name in own:
        for field, facts in document["components"]["schemas"][name]["properties"].items():
            assert facts.get("examples") or "$ref" in json.dumps(facts), f"{name}.{field} has no example"


def test_it_is_what_the_server_gives(world: World, document: dict[str, Any]) -> None:
    with served(world.config()) as browser:
        assert browser.client.get("/api/v1/openapi.json").json() == document


def test_schemathesis_finds_no_bug_and_no_status_that_is_not_described(world: World, tmp_path) -> None:
    """Hundreds of requests that the document allows, and that it does not; jobs are refused, so that none is left behind."""
    here = world.copied(tmp_path)
    app = make_app(here.config(memory="1kB", submissions=100_000))
    schema = schemathesis.openapi.from_dict(app.inner.openapi())
    skipped = {"/api/v1/jobs/{job}/events"}  # a stream, which a test of its own reads
    with served(here.config(memory="1kB", submissions=100_000)) as browser:
        for operation in (found.ok() for found in schema.get_all_operations()):
            if operation.path not in skipped:
                ask_about(operation, browser, str(here.root))


def ask_about(operation: Any, browser: Browser, secret: str) -> None:
    """Send a dozen requests to one route."""

    @hypothesis.settings(
        max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        facts = case.as_transport_kwargs(base_url=BASE)
        headers = {name: value for name, value in dict(facts.get("headers") or {}).items() if "schemathesis" not in name.lower()}
        wanted = ("method", "url", "params", "json", "data", "content")
        answer = browser.client.request(**{name: value for name, value in facts.items() if name in wanted}, headers=headers)
        told = (operation.label, answer.status_code, answer.text[:300])
        assert answer.status_code < 500 or answer.status_code in (501, 503, 507), told
        assert str(answer.status_code) in operation.definition.raw["responses"], told
        assert secret not in answer.text, told
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", told
            assert set(answer.json()) == {"type", "title", "status", "detail", "instance", "kind", "hint", "exit_code"}

    ask()


def test_errors_are_problem_details_with_kind_hint_and_exit_code(world: World) -> None:
    with served(world.config()) as browser:
        for path, status, kind, code in (
            ("/api/v1/stores/nobody", 404, "data", 4),
            ("/api/v1/stores?sort=colour", 422, "usage", 2),
            ("/api/v1/nothing", 404, "usage", 2),
        ):
            answer = browser.client.get(path)
            found = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.status_code, found["status"], found["kind"], found["exit_code"]) == (status, status, kind, code)
            assert found["title"]
            assert found["hint"]
            assert found["instance"] == path.partition("?")[0]
        answer = browser.client.post("/api/v1/plans", json={"store": world.store, "folds": 2})
        assert "folds" in answer.json()["detail"]


def test_no_figure_is_nan(world: World) -> None:
    with served(world.config()) as browser:
        for path in (
            f"/api/v1/rankings/{world.ranking}",
            f"/api/v1/rankings/{world.ranking}/pairs",
            "/api/v1/rankings",
            f"/api/v1/rankings/{world.ranking}/what-if?w=1&w=0&w=0",
        ):
            text = browser.client.get(path).text
            json.loads(text, parse_constant=pytest.fail)
        for words in ("w=nan&w=1&w=1", "w=-1&w=1&w=1", "w=0&w=0&w=0", "w=x&w=1&w=1", "w=1e999&w=1&w=1"):
            assert browser.client.get(f"/api/v1/rankings/{world.ranking}/what-if?{words}").status_code == 422
