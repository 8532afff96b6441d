"""What the pages show: every state in an address, every table and figure as a file, strangers' names harmless, damage told."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
from collections import Counter, deque
from itertools import combinations_with_replacement
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from example_records import example_ranking, example_runs, layer_score
from hostile import HOSTILE, check, poisoned
from team import QUICK, Browser, World, rows, served

from layerscout.cache.records import Ranking, load, save
from layerscout.pages.flags import FLAGS
from layerscout.pages.tables import Cell, Column, Table
from layerscout.probe.config import ProbeConfig
from layerscout.probe.ranking.score import order_layers
from layerscout.probe.run import plan, run
from layerscout.service.data.look import look_inside, main_directions, predict
from layerscout.service.data.results import Results
from layerscout.service.web.tables import Address, export_table, sort_order, sorted_view
from layerscout.service.web.view import PageCache


def pairs_of(path: str) -> set[tuple[str, str, str]]:
    """A page's kind with every two of its parameters: tables are sorted each for itself, and all their combinations would be thousands of pages."""
    kind = re.sub(r"[0-9a-f]{32,}", "#", urlsplit(path).path)
    return {(kind, *two) for two in combinations_with_replacement(sorted({"", *parse_qs(urlsplit(path).query)}), 2)}


def test_every_link_of_every_page_leads_somewhere(browser: Browser) -> None:
    seen: set[str] = set()
    todo = deque(["/"])
    times: Counter[tuple[str, str, str]] = Counter()
    while todo:
        path = todo.popleft()
        pairs = pairs_of(path)
        if path in seen or all(times[pair] > 1 for pair in pairs):
            continue
        seen.add(path)
        times.update(pairs)
        answer = browser.client.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 200, (path, answer.text[-600:])
        if answer.headers["content-type"].startswith("text/html"):
            assert str(browser.client.app.state.roots[0].folder) not in answer.text, path
            assert not re.search(r"\b(nan|inf|None|undefined)\b", re.sub(r"<[^>]+>", "", answer.text)), path
            assert re.search(r"<title>[^<]+ · layerscout</title>", answer.text)
            todo += [link.replace("&amp;", "&") for link in re.findall(r'(?:href|src)="(/[^"#]*)', answer.text)]
    assert len(seen) > 50


def test_stores_are_searched_filtered_and_sorted_by_the_address(browser: Browser, world: World) -> None:
    assert len(rows(browser.page("/stores"), "stores")) == 3
    assert [row[2] for row in rows(browser.page("/stores?q=untrained"), "stores")] == ["tiny-untrained"]
    assert [row[0] for row in rows(browser.page("/stores?q=blocks.1+tiny&sort=id:asc"), "stores")] == sorted(
        one[:12] for one in (world.store, world.twin, world.other)
    )
    assert len(rows(browser.page("/stores?filter=rows>100&filter=backbone=tiny"), "stores")) == 2
    page = browser.page("/stores?filter=rows>>lots&q=x")
    assert 'role="alert"' in page
    assert 'value="rows&gt;&gt;lots"' in page  # what was typed stays
    assert 'aria-sort="ascending"' in browser.page("/stores?sort=size:asc")
    assert "No store fits" in browser.page("/stores?q=nothing-of-that-kind")


def test_a_store_tells_what_it_is_and_which_file_of_it_is_damaged(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world.copied(tmp_path)
    with served(here.config()) as browser:
        page = browser.page(f"/stores/{here.store}")
        assert [row[0] for row in rows(page, "layers")] == ["blocks.0", "blocks.1", "blocks.2", "pixels"]
        assert f"/rankings/{here.ranking}" in page
        (here.root / "stores" / here.store / "index" / "reward" / "c" / "0").unlink()
        (here.root / "stores" / here.other / "identity.json").write_text("{}")
        monkeypatch.setattr("layerscout.service.data.catalogue.FRESH_SECONDS", 0.0)  # it looks again at once, not after two seconds
        assert "identity.json" in browser.page(f"/stores/{here.other}")
        assert "damaged" in browser.page("/stores")
        answer = browser.send("/probe", {"store": here.store, "act": "submit", "groups": "6", "folds": "3"})
        assert (answer.status_code, "index/reward/c/0 is missing" in answer.text) == (409, True)
        browser.page("/stores/ls1-" + "0" * 32, 404)


def test_a_link_that_leaves_its_root_is_refused(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    outside = tmp_path / "outside"
    shutil.move(here.root / "stores" / here.other, outside)
    (here.root / "stores" / here.other).symlink_to(outside)
    shutil.move(here.runs / "probe" / "ranking.json", tmp_path / "ranking.json")
    (here.runs / "probe" / "ranking.json").symlink_to(tmp_path / "ranking.json")
    shutil.move(here.runs / "game" / "train" / "runs.json", tmp_path / "runs.json")
    (here.runs / "game" / "train" / "runs.json").symlink_to(tmp_path / "runs.json")
    with served(here.config()) as browser:
        assert "leaves its root" in browser.page(f"/stores/{here.other}")
        assert browser.client.post("/api/v1/plans", json={"store": here.other}).status_code == 409
        assert here.ranking not in browser.page("/rankings")
        assert "damaged" in browser.page("/runs")


def test_the_form_keeps_what_was_typed_and_says_what_is_wrong(browser: Browser, world: World) -> None:
    answer = browser.send("/probe", {"store": world.store, "folds": "2", "groups": "many", "weights": "1 1", "act": "submit"})
    assert answer.status_code == 422
    for words in ("probe.folds", "probe.groups", "probe.weights", 'value="many"', 'value="2"', 'aria-invalid="true"'):
        assert words in answer.text, words
    answer = browser.send("/probe", {"store": "../etc", "act": "submit"})
    assert "not a store&#39;s id or name" in answer.text
    answer = browser.send("/probe", {"store": world.store, "twin": world.other, "act": "submit"})
    assert (answer.status_code, "is of dataset" in answer.text) == (409, True)
    page = browser.page(f"/probe?store={world.store}")
    assert f'value="{world.twin}"' in page  # the untrained twin was found
    assert "rows of the store" in page
    answer = browser.send(
        "/probe", {"store": world.store, "twin": "", "groups": "6", "folds": "3", "shifts": "3", "penalties": "1e-3 1e-1", "act": "submit"}
    )
    assert answer.headers["location"] == f"/rankings/{world.ranking}"  # asked and answered before


def test_a_ranking_is_sorted_by_every_column_and_reweighted_by_its_address(browser: Browser, world: World) -> None:
    place = f"/rankings/{world.ranking}"
    page = browser.page(place)
    assert [row[0] for row in rows(page, "layers")] == ["blocks.1", "blocks.2", "blocks.0", "pixels"]
    links = re.findall(rf'href="({place}\?sort=[^"]+)"', page)
    assert len(links) >= 12
    for link in links:
        for order in (link, link.replace("desc", "asc")):
            shown = rows(browser.page(order.replace("&amp;", "&")), "layers")
            assert sorted(row[0] for row in shown) == sorted(row[0] for row in rows(page, "layers"))
    reward = rows(browser.page(f"{place}?w=1&w=0&w=0"), "what-if")
    figures = [float(row[2]) for row in reward]
    assert figures == sorted(figures, reverse=True)
    assert [row[2] for row in reward] == [row[4] for row in reward]  # the reward's part alone
    assert "What if S ordered" in page
    assert "What if: weights 1.00, 0.00, 0.00" in browser.page(f"{place}?w=5&w=0&w=0")
    for nonsense in ("w=x&w=1&w=1", "w=nan&w=1&w=1", "w=1", "sort=nothing:up", "sort=", "panels=all"):
        assert browser.page(f"{place}?{nonsense}")
    for flag in ("FEW_EPISODES",):
        assert f'tabindex="0">{flag}<span class="said" role="tooltip">{FLAGS[flag][0].upper()}' in page
    assert "surely" in page
    assert "layerscout train" in page
    assert json.loads(browser.client.get(f"{place}/selection.json").content)["choices"][0]["layer"] == "blocks.1"


@pytest.mark.parametrize("kind", ["S", "S-ctrl"])
def test_weights_of_the_ranking_itself_give_its_own_order_and_figures(world: World, tmp_path: Path, kind: str) -> None:
    from layerscout.service.data.measured import evidence_of, pairs, reweighted

    run(plan(ProbeConfig(store=world.store, root=world.root, out=tmp_path / "probe", threads=1, score=kind, **QUICK)))
    results = Results(None, (tmp_path,))
    (found,) = results.all().values()
    ranking = results.ranking(found)
    evidence = evidence_of(found, ranking, {})
    assert len(evidence) == len(ranking.layers)
    again = reweighted(ranking, ranking.weights, evidence)
    assert [one.layer.name for one in again] == [layer.name for layer in order_layers(ranking.candidates, "S")]
    for one in again:
        assert one.score is not None
        assert one.layer.score is not None
        assert (one.score.value, one.score.low, one.score.high) == pytest.approx(
            (one.layer.score.value, one.layer.score.low, one.layer.score.high)
        )
    table = pairs(ranking, ranking.candidates, evidence)
    for place, layer in enumerate(ranking.candidates[1:], 1):
        assert table[0][place] == layer.behind_best  # as the ranking itself has it
        back = table[place][0]
        assert back is not None
        assert layer.behind_best is not None
        assert back.value == pytest.approx(-layer.behind_best.value)


def test_every_table_and_every_figure_is_a_file_too(browser: Browser, world: World) -> None:
    page = browser.page(f"/rankings/{world.ranking}?w=1&w=1&w=1")
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="([^"]*export=[^"]+)"', page)]
    assert {link.rpartition(".")[2] for link in links} == {"csv", "md", "json", "svg", "png"}
    for link in links:
        answer = browser.client.get(link)
        form = link.rpartition(".")[2]
        assert answer.status_code == 200, link
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        if form == "json":
            json.loads(answer.text, parse_constant=lambda word: pytest.fail(word))
        elif form == "csv":
            widths = {len(row) for row in csv.reader(io.StringIO(answer.text))}
            assert len(widths) == 1
        elif form == "png":
            assert answer.content.startswith(b"\x89PNG")
        else:
            assert answer.text.startswith("<svg" if form == "svg" else "|")
    assert browser.client.get(f"/rankings/{world.ranking}?export=../secret.csv").status_code == 404


def test_no_table_and_no_figure_of_any_page_lacks_its_files(browser: Browser, world: World) -> None:
    starts = ["/stores", "/rankings", "/jobs", "/runs", "/board", "/decisions", "/api", f"/stores/{world.store}/look?layer=blocks.1"]
    found = {link for start in starts for link in re.findall(r'href="(/(?:stores|rankings|runs|decisions)/[^"?/]+)"', browser.page(start))}
    game = next(one["id"] for one in browser.client.get("/api/v1/rankings").json()["rankings"] if one["id"] != world.ranking)
    for path in (*starts, *sorted(found), f"/compare?ids={game}+{game[::-1]}", f"/rankings/{world.ranking}?panels=all"):
        page = browser.page(path)
        exports = re.findall(r"export=([^\"&]+)", page)
        assert page.count("<table") == len({name for name in exports if name.endswith(".csv")}), path
        drawn = len(re.findall(r'<svg[^>]*class="wide"', page)) + page.count('<div class="panels">')
        files = {name for name in exports if name.endswith(".svg")}
        assert (drawn >= len(files) > 0) if drawn else not files, path
        assert {name.rpartition(".")[0] for name in exports if name.endswith(".png")} == {name.rpartition(".")[0] for name in files}, path


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_strangers_names_do_nothing_on_any_page(world: World, tmp_path: Path, name: str) -> None:
    runs = tmp_path / "runs"
    name = name.replace("\udc80", "")  # no JSON holds half a letter
    shown = poisoned(load(Ranking, world.runs / "probe" / "ranking.json"), name)
    save(shown, runs / "probe" / "ranking.json")
    save(poisoned(example_ranking(), name), runs / "game" / "probe" / "ranking.json")
    save(poisoned(example_runs(seeds=2), name), runs / "game" / "train" / "runs.json")
    with served(world.config(runs=(runs,))) as browser:
        found = [one["id"] for one in browser.client.get("/api/v1/rankings").json()["rankings"]]
        trained = re.findall(r"/runs/[0-9a-f]{32}", browser.page("/runs"))
        pages = ["/rankings", "/board", "/decisions", *(f"/rankings/{one}" for one in found), *trained, f"/compare?ids={'+'.join(found)}"]
        assert len(found) == 2
        assert trained
        note = browser.client.post(f"/api/v1/rankings/{found[0]}/notes", json={"text": f"{name} and more"})
        assert note.status_code == 201, note.text
        for path in pages:
            check(f"{path}.html", browser.page(path).replace("\u202f", " ").replace("\u00a0", " "))
        for form in ("csv", "md"):
            check(f"layers.{form}", browser.client.get(f"/rankings/{found[0]}?export=layers.{form}").text)
        check("order.svg", browser.client.get(f"/rankings/{found[0]}?export=order.svg").text)
        browser.client.get(f"/rankings/{found[0]}?export=layers.json").json()
        for folder in (world.root / "service" / "notes").glob("*"):
            folder.unlink()


def test_notes_are_kept_with_who_and_when(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    with served(here.config()) as browser:
        place = f"/rankings/{here.ranking}"
        browser.page(place)
        assert browser.send(f"{place}/notes", {"text": "two\nlines <b>"}).headers["location"] == f"{place}#notes"
        page = browser.page(place)  # though it was kept a moment ago
        assert "two\nlines &lt;b&gt;" in page
        assert browser.send(f"{place}/notes", {"text": "  "}).status_code == 422
    with served(here.config()) as browser:
        assert "two\nlines" in browser.page(place)


def test_rankings_of_other_data_are_not_compared(browser: Browser, world: World) -> None:
    every = [one["id"] for one in browser.client.get("/api/v1/rankings").json()["rankings"]]
    game = next(one for one in every if one != world.ranking)
    page = browser.page(f"/compare?ids={world.ranking}+{game}+{'0' * 32}")
    assert "scores of different data do not compare" in page
    assert "no ranking 000" in page
    assert (
        browser.client.get("/compare", params={"ids": [world.ranking, game]}, follow_redirects=False).headers["location"]
        == f"/compare?ids={world.ranking}+{game}"
    )
    browser.page("/compare?ids=x+y", 404)
    assert "Choose two to eight" in browser.page("/compare")


def test_the_board_is_ordered_by_gain_over_untrained_never_by_the_score(world: World, tmp_path: Path) -> None:
    for name, (reward, untrained) in {"high": (0.9, 0.85), "low": (0.4, 0.0), "alone": (0.95, None)}.items():
        layers = [layer_score("blocks.0", "layer", 0, reward, 0.5)]
        layers += [layer_score("blocks.0", "twin", 0, untrained, 0.5)] if untrained is not None else []
        shown = example_ranking().model_copy(update={"backbone": name, "dataset_digest": f"sha256:{name}", "layers": tuple(layers)})
        save(shown, tmp_path / name / "ranking.json")
    with served(world.config(runs=(tmp_path,))) as browser:
        shown = rows(browser.page("/board"), "board")
        assert [row[0] for row in shown] == ["low", "high", "alone"]  # what has no untrained block comes last, though its score is best
        assert [row[3] for row in shown] == ["0.180", "0.022", "n/a"]


def test_the_board_shows_the_verdict_of_agents_and_who_may_still_take_part(browser: Browser, world: World) -> None:
    page = browser.page("/board")
    assert {row[0] + row[2]: row[7] for row in rows(page, "board")} == {"tinyblocks.5": "supported", "tinyblocks.1": "not trained"}
    assert world.other[:12] in page  # not measured yet: it can be asked about


def test_runs_have_the_reports_own_verdict_and_figures(browser: Browser) -> None:
    from layerscout.report.report import judge_record

    link = re.findall(r"/runs/[0-9a-f]{32}", browser.page("/runs"))[0]
    page = browser.page(link)
    assert judge_record(example_runs(), example_ranking()).sentence[:40] in page.replace("&#39;", "'")
    assert page.count("<figure>") >= 3
    assert len(rows(page, "returns-1")) >= len(example_runs().arms)


def test_a_decision_holds_ranking_runs_and_verdict(browser: Browser, world: World) -> None:
    link = re.findall(r'href="(/decisions/[^"]+)"', browser.page(f"/stores/{world.store}"))[0]
    page = browser.page(link)
    assert "Train on blocks.1 of tiny" in page
    for question in (
        "Does training show in it?",
        "Is it more than the picture?",
        "Is it ahead of the next layer?",
        "Did agents learn more on it?",
    ):
        assert question in page
    browser.page("/decisions/" + "f" * 64, 404)


# --- looking inside


def test_a_layer_is_read_only_from_other_episodes(world: World) -> None:
    from layerscout.cache.opening import open_store

    store = open_store(world.root, world.store)
    good, bad = (look_inside(store, layer, 3, "reward") for layer in ("blocks.1", "blocks.0"))
    assert good.r2 is not None
    assert good.r2 > 0.8
    assert bad.r2 is None or bad.r2 < good.r2
    assert len(good.steps) == 10
    assert good.true[-1] is None  # the last frame has no reward
    assert good.components.shape == (good.rows, 2)


def test_the_ridge_of_a_look_is_scikit_learns_and_its_directions_those_of_the_svd() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    for rows_, width in ((200, 5), (80, 150)):
        features = rng.standard_normal((rows_, width)) @ np.diag(1 + np.arange(width) % 3)
        here = np.arange(rows_) >= rows_ - 10
        wanted = features[:, 0] + 0.1 * rng.standard_normal(rows_)
        found = predict(features, wanted, here)
        scaled = (features - features[~here].mean(axis=0)) / features[~here].std(axis=0)
        mean_square = np.linalg.svd(scaled[~here], compute_uv=False) ** 2
        fits = [
            Ridge(alpha=penalty).fit(scaled[~here], wanted[~here]).predict(scaled[here])
            for penalty in 10.0 ** np.arange(-6, 4) * mean_square.mean()
        ]
        assert min(np.abs(fit - found).max() for fit in fits) < 1e-6
        centred = features - features.mean(axis=0)
        points, shares = main_directions(centred)
        singular = np.linalg.svd(centred, compute_uv=False)
        assert shares[0] == pytest.approx(singular[0] ** 2 / np.sum(singular**2), rel=0.02)
        assert abs(np.corrcoef(points.T)[0, 1]) < 0.05
        assert np.all(points[np.abs(points).argmax(axis=0), [0, 1]] > 0)


def test_the_page_of_a_layer_has_frames_where_its_dataset_is_at_hand(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    with served(here.config()) as browser:
        place = f"/stores/{here.store}/look"
        page = browser.page(f"{place}?layer=blocks.1&episode=2&step=4&target=reward&colour=action")
        assert "Step 4: reward was" in page
        assert "not at hand" in page
        assert browser.page(place)
        for wrong, status in (
            ("layer=nothing", 409),
            ("episode=999", 409),
            ("episode=x", 422),
            ("target=nothing", 409),
            ("layer=blocks.0&colour=zzz", 200),
        ):
            browser.page(f"{place}?{wrong}", status)
        vectors = browser.client.get(f"/stores/{here.store}/projector/vectors.tsv?layer=blocks.1").text.splitlines()
        told = browser.client.get(f"/stores/{here.store}/projector/metadata.tsv?layer=blocks.1").text.splitlines()
        assert len(told) == len(vectors) + 1
        assert {len(line.split("\t")) for line in vectors} == {4}
        assert browser.client.get("/datasets/" + "0" * 64 + "/frames/0/0.png").status_code == 404
        assert browser.client.get("/datasets/x/frames/-1/0.png").status_code in (404, 422)


def test_frames_come_only_from_files_under_served_folders(small, tiny_store, tmp_path: Path) -> None:
    from layerscout.service.settings import ServeConfig

    digest = tiny_store.identity["dataset"]["digest"].removeprefix("sha256:")
    with served(ServeConfig(roots=(str(small.root),))) as browser:
        assert browser.client.get(f"/datasets/{digest}/frames/0/0.png").status_code == 404  # though the store tells where they lay
    with served(ServeConfig(roots=(str(small.root),), runs=(small.intercept.parent,))) as browser:
        answer = browser.client.get(f"/datasets/{digest}/frames/0/3.png")
        assert answer.content.startswith(b"\x89PNG")
        assert browser.client.get(f"/datasets/{digest}/frames/0/99999.png").status_code == 404
        assert browser.client.get(f"/datasets/{digest}/frames/99999/0.png").status_code == 404
        page = browser.page(f"/stores/{tiny_store.id}")
        assert page.count("<img") >= 5
        assert browser.page(f"/stores/{tiny_store.id}/look?layer=blocks.3").count("scrub-frame") == 1


# --- small parts


def test_tables_sort_numbers_by_size_words_by_letters_and_nothing_last() -> None:
    cells = ["n/a", "10", "9.5", "−3", "1,000", "–"]
    assert [cells[at] for at in sort_order(cells, True)] == ["1,000", "10", "9.5", "−3", "n/a", "–"]
    assert [["b", "A", "c"][at] for at in sort_order(["b", "A", "c"], False)] == ["A", "b", "c"]
    sized = [Cell("2 kB", value=2000.0), Cell("1 MB", value=1e6)]
    assert sort_order(sized, True) == [1, 0]


def test_an_export_keeps_intervals_apart_and_defuses_formulas() -> None:
    table = Table((Column("Layer"), Column("R²")), ((Cell("=cmd()"), Cell("0.412", "0.380 … 0.440")), (Cell("+1"), Cell("n/a"))))
    view = sorted_view("t", table, Address("/x"), "T")
    lines = list(csv.reader(io.StringIO(export_table(view, "csv").decode())))
    assert lines == [["layer", "r2", "r2-interval"], ["'=cmd()", "0.412", "0.380 … 0.440"], ["1.0", "n/a", "n/a"]]
    assert json.loads(export_table(view, "json")) == [
        {"layer": "=cmd()", "r2": 0.412, "r2-interval": "0.380 … 0.440"},
        {"layer": 1.0, "r2": None, "r2-interval": None},
    ]


def test_an_address_keeps_its_other_parameters() -> None:
    address = Address("/stores", (("q", "a b"), ("filter", "x=1"), ("filter", "y=2"), ("page", "3")))
    assert address.changed(sort="id:asc", page=None) == "/stores?filter=x%3D1&filter=y%3D2&q=a+b&sort=id%3Aasc"
    assert Address("/x", (("b", "1"), ("a", "2"))).changed(b="1") == Address("/x", (("a", "2"), ("b", "1"))).changed(b="1")
    assert address.all("filter") == ("x=1", "y=2")


def test_kept_pages_take_no_more_than_they_may() -> None:
    pages = PageCache(most=1000)
    for number in range(50):
        pages.keep(number, b"x" * 90)
    assert pages.size <= 1000
    assert pages.get(49) is not None
    assert pages.get(0) is None
    pages.keep("huge", b"x" * 900)
    assert pages.get("huge") is None


def test_a_page_that_has_not_changed_is_not_sent_again(browser: Browser) -> None:
    first = browser.client.get("/stores")
    again = browser.client.get("/stores", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_damaged_ranking_is_listed_as_such(world: World, tmp_path: Path) -> None:
    here = world.copied(tmp_path)
    path = here.runs / "probe" / "ranking.json"
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.2", 1))
    os.utime(path)
    with served(here.config()) as browser:
        page = browser.page("/rankings")
        assert "damaged" in page
        link = next(link for link in re.findall(r"/rankings/[0-9a-f]{32}", page) if browser.client.get(link).status_code == 409)
        assert "digest it states" in browser.page(link, 409)
