"""Laws that hold on every page: headings can be linked, captions stand still, tables and pictures tell readers who cannot see them, and nothing is empty or said twice."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from example_records import example_ranking, example_runs, example_selection
from ranking_by_hand import example
from simulated_study import simulate

from layerscout.cache.records import RunRecord, load, save
from layerscout.probe.page.page import render
from layerscout.report.report import write_report
from layerscout.report.study.page import write_study

VOID = ("meta", "br", "img", "input")
LARGEST = {"probe": 400_000, "report": 1_000_000, "study": 1_000_000}  # bytes
DATA = ("circle", "rect", "path", "polygon", "polyline", "use")


class Seen(HTMLParser):
    """Every element of a page in its order: tag, attributes, what it stands in, and the text directly in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[int] = []
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.inside: list[tuple[int, ...]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        self.inside.append(tuple(self.open))
        self.words.append("")
        if tag not in VOID:
            self.open.append(len(self.tags) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.words[self.open[-1]] += data

    def all(self, *tags: str) -> list[int]:
        return [place for place, tag in enumerate(self.tags) if tag in tags]

    def within(self, place: int, *tags: str) -> bool:
        return any(self.tags[above] in tags for above in self.inside[place])

    def below(self, place: int) -> list[int]:
        return [other for other, above in enumerate(self.inside) if place in above]

    def text(self, place: int) -> str:
        return " ".join(self.words[one] for one in (place, *self.below(place))).strip()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A page of every kind; the small report can neither draw a learning curve nor test its score."""
    folder = tmp_path_factory.mktemp("pages")
    shown = example()
    found = {"probe": render(shown.ranking, shown.evidence, shown.selection, shown.config, shown.identities, "layerscout/Grid-v0")}
    save(example_ranking(), folder / "run" / "probe" / "ranking.json")
    save(example_selection(), folder / "run" / "probe" / "selection.json")
    save(example_runs(), folder / "run" / "train" / "runs.json")
    found["report"] = write_report(folder / "run").read_text(encoding="utf-8")
    found["study"] = write_study(simulate(folder / "tasks", tasks=4, layers=6), folder / "study").read_text(encoding="utf-8")
    (small,) = simulate(folder / "one", tasks=1, layers=3, seeds=2)
    record = load(RunRecord, small / "train" / "runs.json")
    once = tuple(run.model_copy(update={"evaluations": ((400, run.evaluations[-1][1]),) if run.evaluations else ()}) for run in record.runs)
    save(record.model_copy(update={"runs": once}), small / "train" / "runs.json")
    found["small report"] = write_report(small).read_text(encoding="utf-8")
    return found


@pytest.fixture(params=["probe", "report", "study", "small report"])
def page(request: pytest.FixtureRequest, pages: dict[str, str]) -> Seen:
    return Seen(pages[request.param])


def test_every_heading_has_an_id_of_its_own_and_stands_in_the_contents_unless_it_is_folded_away(page: Seen) -> None:
    heads = page.all("h2", "h3")
    ids = [page.attributes[place]["id"] for place in heads]
    assert len(set(ids)) == len(ids) > 3
    (contents,) = [place for place in page.all("nav") if page.attributes[place].get("aria-label") == "Contents"]
    links = [page.attributes[place]["href"] for place in page.below(contents) if page.tags[place] == "a"]
    assert links == [f"#{one}" for one, place in zip(ids, heads, strict=True) if not page.within(place, "details")]


def test_a_table_scrolls_alone_in_a_frame_that_has_a_name_and_can_be_reached_by_the_keyboard(page: Seen) -> None:
    frames = [place for place in page.all("div") if page.attributes[place].get("class") == "scroll"]
    assert len(frames) == len(page.all("table")) > 2
    for place in frames:
        given = page.attributes[place]
        assert (given["tabindex"], given["role"]) == ("0", "region")
        assert given["aria-label"]
        assert not [one for one in page.below(place) if page.tags[one] in ("figcaption", "caption", "p")], "a caption would scroll away"
    assert all(any(page.attributes[above].get("class") == "scroll" for above in page.inside[place]) for place in page.all("table"))


def test_every_row_and_column_is_named_for_who_hears_the_table(page: Seen) -> None:
    assert {page.attributes[place].get("scope") for place in page.all("th")} <= {"row", "col", "colgroup", "rowgroup"}
    for place in page.all("tbody"):
        rows = [one for one in page.below(place) if page.tags[one] == "tr"]
        first = [next(cell for cell in page.below(row) if page.tags[cell] in ("td", "th")) for row in rows]
        assert all(page.attributes[cell].get("scope") == "row" for cell in first)


def test_the_first_column_stays_and_a_heading_that_sorts_says_so(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
        assert re.search(r":first-child \{[^}]*position: sticky; left: 0", style), name
        if 'class="sortable"' in text:
            assert "aria-sort" in text[text.index("<script") :], name


def test_a_picture_has_a_name_that_says_its_answer_and_every_mark_its_value(page: Seen) -> None:
    drawings = page.all("svg")
    assert len(drawings) > 2
    for place in drawings:
        given = page.attributes[place]
        assert given["role"] == "img"
        name = given["aria-label"] or ""
        assert re.search(r"\d|n/a", name), f"no answer: {name}"
        inside = page.below(place)
        if any(page.tags[one] in DATA for one in inside):
            assert [one for one in inside if page.tags[one] == "title" and page.text(one)], f"no values: {name}"


def test_nothing_is_named_twice_over(page: Seen) -> None:
    """As “pixels (pixels)” was."""
    told = [page.words[place] for place in range(len(page.tags))] + [
        value for given in page.attributes for key, value in given.items() if key == "aria-label" and value
    ]
    doubled = [text for text in told if (match := re.search(r"\b([\w.]+) \(([\w.]+)\)", text)) and match[1] == match[2]]
    assert doubled == []


def test_the_foot_says_when_by_whom_of_what_with_which_versions_and_by_which_command(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        seen = Seen(text)
        (foot,) = seen.all("footer")
        told = re.sub(r"\s+", " ", seen.text(foot))
        assert re.search(r"Written on \d{4}-\d\d-\d\d by \S+; dataset: \S+.*; layerscout \S+, Python \S+, numpy \S+", told), name
        command = "probe" if name == "probe" else "report"
        assert f"layerscout {command} " in told, name


def test_a_page_is_light_and_loads_nothing(pages: dict[str, str]) -> None:
    for name, most in LARGEST.items():
        assert len(pages[name].encode()) < most, name
        assert not re.search(r'(?:src|href)="(?!#|data:)', pages[name]), name


def test_a_chapter_that_cannot_say_anything_is_one_sentence(pages: dict[str, str]) -> None:
    """Fewer layers or tasks than can be tested, and a single evaluation, draw nothing."""
    seen = Seen(pages["small report"])
    heads = seen.all("h2")
    (head,) = [place for place in heads if seen.text(place).startswith("Score against return")]
    section = seen.inside[head][-1]
    inside = [place for place in seen.below(section) if place != head and place not in seen.below(head)]
    assert [seen.tags[place] for place in inside] == ["p"]
    assert "takes at least" in seen.text(inside[0])
    assert not [place for place in seen.all("svg") if (seen.attributes[place]["aria-label"] or "").startswith("Learning curves")]
    assert "evaluated once, after" in pages["small report"]
