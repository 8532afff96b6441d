"""What the pages show of comparisons, runs, decisions and looks, programs are told too: the same figures, from the same code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from example_records import LEVELS, example_ranking, example_runs, example_selection
from team import Browser, World, live, rows, served

from layerscout.cache.records import ReferenceReturn, save
from layerscout.service.client import Client
from layerscout.service.data.comparing import RankingBeside


def api(browser: Browser, path: str, **parameters: Any) -> Any:
    answer = browser.client.get(f"/api/v1{path}", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def exported(browser: Browser, path: str) -> list[dict[str, Any]]:
    return browser.client.get(path).json()


def test_the_board_is_the_pages(browser: Browser, world: World) -> None:
    told, shown = api(browser, "/board"), rows(browser.page("/board"), "board")
    assert [(one["backbone"], one["layer"], one["verdict"]) for one in told["lines"]] == [(row[0], row[2], row[7]) for row in shown]
    assert [(one["over_untrained"] and f"{one['over_untrained']['value']:.3f}") or "n/a" for one in told["lines"]] == [
        row[3] for row in shown
    ]
    assert world.other in told["waiting"]


def test_a_decision_is_the_pages(browser: Browser) -> None:
    every = api(browser, "/decisions")["decisions"]
    shown = rows(browser.page("/decisions"), "tasks")
    assert [(one["layer"] and f"{one['backbone']}, {one['layer']}") or "not ranked yet" for one in every] == [row[1] for row in shown]
    for one in every:
        told = api(browser, f"/decisions/{one['id']}")
        assert told["brief"] == one
        page = browser.page(f"/decisions/{one['id']}").replace("&#39;", "'")
        assert all(reason["question"] in page and reason["answer"] in page for reason in told["reasons"])
        assert told["how_sure"] in page
        for_it = f"{sum(reason['shown'] for reason in told['reasons'])} of {len(told['reasons'])}" if told["reasons"] else "n/a"
        assert for_it == shown[every.index(one)][4]
        assert told["ranking"] in (told["rankings"] or [None])
        assert all(api(browser, f"/runs/{name}")["brief"]["kind"] == "comparison" for name in told["runs"])
    assert browser.client.get("/api/v1/decisions/" + "f" * 64).status_code == 404


def test_a_choice_below_an_untrained_block_is_not_shown_as_a_sure_one(world: World, tmp_path: Path) -> None:
    """Though it is surely above its own untrained block: the answer is open, and says how many reasons speak against it."""
    from layerscout.cache.records import Estimate
    from layerscout.service.data.judging import BestLayer, TaskDecision

    above, below = Estimate(value=0.03, low=0.01, high=0.05), Estimate(value=-0.05, low=-0.08, high=-0.01)
    facts = {"found": None, "title": "blocks.0", "score": None, "over_pixels": None, "best_untrained": "blocks.2", "over_next": above}
    facts |= {"next": "blocks.1", "tied": (), "p_top": 1.0, "top_k": 2, "flags": (), "environment": ""}

    def decided(over_best: Estimate | None) -> TaskDecision:
        best = BestLayer(over_untrained=above, over_best_untrained=over_best, **facts)
        return TaskDecision("", "", (), (), best, ())

    assert decided(above).sure
    assert not decided(below).sure
    assert decided(below).how_sure == "How sure is that? Of 5 questions below, 2 speak for it, 1 speaks against it."
    assert "speak for it." in decided(above).how_sure
    assert TaskDecision("", "", (), (), None, ()).how_sure == ""


def test_a_layer_that_cannot_be_told_from_the_first_is_named_with_its_own_figures(world: World, tmp_path: Path) -> None:
    """The second may be surely behind, and the third not: its interval is wider."""
    from layerscout.cache.records import Estimate

    first, second, third, *others = example_ranking().layers
    layers = (
        first,
        second.model_copy(update={"behind_best": Estimate(value=0.1, low=0.05, high=0.15)}),
        third.model_copy(update={"behind_best": Estimate(value=0.2, low=-0.1, high=0.5)}),
    )
    here = world.copied(tmp_path)
    save(example_ranking().model_copy(update={"layers": (*layers, *others)}), here.runs / "again" / "ranking.json")
    with served(here.config(runs=(here.runs / "again",))) as browser:
        (one,) = (one for one in api(browser, "/decisions")["decisions"] if one["dataset"] == "sha256:0011aabb")
        (told,) = (one["answer"] for one in api(browser, f"/decisions/{one['id']}")["reasons"] if "ahead of the next" in one["question"])
        assert told.startswith(f"That cannot be told: {third.name} lies behind by 0.200 [-0.100, 0.500]")


def test_scores_of_another_kind_are_not_subtracted() -> None:
    """0.7 of S and 0.7 of S-ctrl have nothing in common but the digits."""
    ranking = example_ranking()
    layers = {layer.name: layer for layer in ranking.candidates}
    mine, theirs = (RankingBeside(None, one, layers, {}) for one in (ranking, ranking.model_copy(update={"score_kind": "S-skill/1"})))  # type: ignore[arg-type]
    assert {mine.above(mine, name) for name in layers} == {0.0}
    assert {theirs.above(mine, name) for name in layers} == {None}
    assert mine.above(mine, "no such layer") is None


def test_rankings_side_by_side_are_the_pages(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    changed = example_ranking().model_copy(update={"weights": (0.0, 1.0, 0.0), "layers": tuple(reversed(example_ranking().layers))})
    save(changed, here.runs / "again" / "ranking.json")
    with served(here.config()) as browser:
        every = api(browser, "/rankings")["rankings"]
        ids = [one["id"] for one in every if one["dataset"] == "sha256:0011aabb"]
        told = api(browser, "/compare", ids=[*ids, here.ranking])
        assert [one["id"] for one in told["rankings"]] == ids
        assert [one["id"] for one in told["refused"]] == [here.ranking]
        assert "scores of different data do not compare" in told["refused"][0]["reason"]
        first, other = list(exported(browser, f"/compare?ids={'+'.join(ids)}&export=scores.json")[0])[1::2][:2]
        for layer, row in zip(told["layers"], exported(browser, f"/compare?ids={'+'.join(ids)}&export=scores.json"), strict=True):
            assert layer["name"] == row["layer"]
            assert [one["score"]["value"] for one in layer["scores"]] == pytest.approx([row[first], row[other]], abs=6e-4)
            assert layer["scores"][1]["difference"] == pytest.approx(
                layer["scores"][1]["score"]["value"] - layer["scores"][0]["score"]["value"]
            )
            assert {one["place"] for one in layer["scores"]} <= set(range(1, 9))
        for words, status in ((["0" * 32, "1" * 32], 404), ([ids[0]], 422), (["../x", ids[0]], 422)):
            assert browser.client.get("/api/v1/compare", params={"ids": words}).status_code == status


def test_runs_have_the_reports_verdict_and_every_arm(browser: Browser) -> None:
    (brief,) = api(browser, "/runs")["runs"]
    told = api(browser, f"/runs/{brief['id']}")
    assert told["brief"] == brief
    (part,) = told["parts"]
    page = browser.page(f"/runs/{brief['id']}").replace("&#39;", "'")
    assert part["sentence"] in page
    shown = {row[0]: row for row in rows(page, "returns-1")}
    assert [one["arm"] for one in part["arms"]] == list(LEVELS)
    assert {one["arm"]: f"{one['mean']:.3f}" for one in part["arms"]} == {name: shown[name][1] for name in LEVELS}
    assert [row[:2] for row in rows(page, "claims-1")] == [[one["statement"], one["outcome"]] for one in part["claims"]]
    assert part["learned"] == "cannot be judged"  # its record is of before references were measured
    assert api(browser, f"/rankings/{told['ranking']}")["dataset_digest"] == "sha256:0011aabb"
    assert browser.client.get("/api/v1/runs/" + "0" * 32).status_code == 404


def test_a_task_that_nobody_learned_is_called_so_on_every_page(world: World, tmp_path: Path) -> None:
    """Not "supported": ahead of controls that learned nothing either."""
    references = tuple(ReferenceReturn(name=name, mean=mean) for name, mean in (("random", -0.4), ("constant", 0.9), ("data", 1.0)))
    save(example_ranking(), tmp_path / "probe" / "ranking.json")
    save(example_selection(), tmp_path / "probe" / "selection.json")
    save(example_runs().model_copy(update={"references": references}), tmp_path / "train" / "runs.json")
    with served(world.config(runs=(tmp_path,))) as browser:
        (brief,) = api(browser, "/runs")["runs"]
        assert brief["verdict"] == "not learned"
        assert rows(browser.page("/board"), "board")[0][7] == "not learned"
        decided = api(browser, f"/decisions/{next(one['id'] for one in api(browser, '/decisions')['decisions'] if one['layer'])}")
        assert (decided["brief"]["verdict"], decided["reasons"][-1]["shown"]) == ("not learned", False)
        (part,) = api(browser, f"/runs/{brief['id']}")["parts"]
        assert part["learned"] == "not learned"
        assert part["learned_why"].removeprefix("n") in browser.page(f"/runs/{brief['id']}").replace("&#39;", "'")


def test_a_look_is_the_pages_and_gives_every_row_when_asked(browser: Browser, world: World) -> None:
    asked = {"layer": "blocks.1", "episode": 2}
    told = api(browser, f"/stores/{world.store}/look", **asked)
    page = exported(browser, f"/stores/{world.store}/look?layer=blocks.1&episode=2&export=steps.json")
    assert [(row["step"], row["reward"]) for row in page] == [
        (step, value if value is None else pytest.approx(value, abs=6e-5)) for step, value in zip(told["steps"], told["true"], strict=True)
    ]
    assert told["r2"] > 0.8
    html = browser.page(f"/stores/{world.store}/look?layer=blocks.1&episode=2")  # what its script says of a step that one scrubs to
    for name, figures in (("true", told["true"]), ("read", told["read"])):
        written = re.findall(f'data-{name}="([^"]*)"', html)[0].split(",")
        assert written == ["" if value is None else f"{value:.4f}" for value in figures]
    assert (told["directions"], told["columns"]) == ([], {})
    whole = api(browser, f"/stores/{world.store}/look", rows=True, **asked)
    assert len(whole["directions"]) == len(whole["columns"]["step"]) == whole["rows"]
    for wrong, status in (({"layer": "nothing"}, 409), ({"episode": 999}, 409), ({"episode": "x"}, 422), ({"target": "nothing"}, 409)):
        assert browser.client.get(f"/api/v1/stores/{world.store}/look", params=wrong).status_code == status


def test_the_client_gives_them_as_records(world: World) -> None:
    with live(world.config()) as url, Client(url) as team:
        assert {one.layer for one in team.board().lines} == {"blocks.1", "blocks.5"}
        task = next(one for one in team.decisions().decisions if one.layer == "blocks.1")
        told = team.decision(task.dataset)
        assert told.brief == task
        assert told.ranking == world.ranking
        assert team.compare([world.ranking, world.ranking[::-1]]).refused[0].id == world.ranking[::-1]
        (brief,) = team.all_runs().runs
        assert team.runs(brief.id).parts[0].best == "blocks.5"
        assert team.look(world.store, "blocks.1", 2, rows=True).directions
