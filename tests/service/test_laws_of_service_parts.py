"""Kept pages, the form's fields and the words for figures, by themselves."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from layerscout.service import words
from layerscout.service.jobs.question import MOST_VALUES, ProbeQuestion, settings_of
from layerscout.service.jobs.records import JobState
from layerscout.service.web.asking import _called
from layerscout.service.web.forms import FIRST, fields_of, question_of, read_form
from layerscout.service.web.view import PageCache, _shown, assets, environment

# --- kept pages


def test_a_page_is_made_once_though_many_ask_at_once() -> None:
    pages, made, begun, go = PageCache(), [], threading.Event(), threading.Event()

    def make() -> tuple[bytes, int]:
        made.append(1)
        begun.set()
        go.wait(5)
        return b"page", 200

    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(pages.of("key", make))) for _ in range(4)]
    threads[0].start()
    begun.wait(5)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(5)
    assert (found, made) == ([(b"page", 200)] * 4, [1])


def test_a_page_that_could_not_be_made_is_made_for_the_next_who_asks() -> None:
    pages = PageCache()

    def wrong() -> tuple[bytes, int]:
        raise KeyError("x")

    with pytest.raises(KeyError):
        pages.of("key", wrong)
    assert pages.of("key", lambda: (b"refused", 422)) == (b"refused", 422)
    assert pages.get("key") is None
    assert pages.of("key", lambda: (b"good", 200)) == (b"good", 200)
    assert pages.of("key", wrong) == (b"good", 200)


def test_what_was_asked_for_lately_stays_and_counts_once() -> None:
    pages = PageCache(most=40)
    for name in "abc":
        pages.keep(name, b"123456789")
    pages.keep("a", b"123456789")
    assert pages.size == 27
    assert pages.get("a")
    pages.of("b", lambda: pytest.fail("made again"))
    for name in "de":
        pages.keep(name, b"123456789")
    assert [name for name in "abcde" if pages.get(name)] == ["a", "b", "d", "e"]
    assert pages.size == 36


def test_values_are_written_out_and_markup_of_our_own_stays() -> None:
    from markupsafe import Markup

    assert (_shown(None), _shown("a\x1b"), _shown(0), _shown(Markup("<b>\x1b</b>"))) == ("n/a", "a\\x1b", 0, Markup("<b>\x1b</b>"))
    template = environment().from_string("{{ name }}|{{ value }}|{{ size|size }}|{{ text|lines }}")
    shown = template.render(name="<a href=\"'&", value=None, size=1500, text="a\n<b>\x07")
    assert shown == "&lt;a href=&#34;&#39;&amp;|n/a|1.5 kB|a\n&lt;b&gt;\\x07"


def test_a_value_that_a_template_lacks_is_an_error_and_no_empty_spot() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        environment().from_string("{{ nothing }}").render()


def test_the_style_sheet_and_the_script_are_named_by_their_content() -> None:
    digest, files = assets()
    assert len(digest) == 16
    assert {name: kind for name, (kind, _) in files.items()} == {
        "icon.svg": "image/svg+xml",
        "style.css": "text/css; charset=utf-8",
        "script.js": "text/javascript; charset=utf-8",
    }
    assert all(content for _, content in files.values())


# --- the form


def test_every_setting_of_a_question_is_a_field_once_the_first_ones_first() -> None:
    fields = fields_of({})
    assert tuple(field.name for field in fields[: len(FIRST)]) == FIRST
    assert sorted(field.name for field in fields) == sorted(ProbeQuestion.model_fields)
    for field in fields:
        assert field.words[0].isupper()
        assert field.help.endswith(".")
        assert not field.help.endswith("..")
        assert field.value == field.usual
        assert not field.choices or field.usual in field.choices, field.name


def test_a_form_that_nobody_changed_asks_what_the_command_asks() -> None:
    """The defaults, written as text and read again, are the defaults."""
    question, wrong = question_of({field.name: field.value for field in fields_of({})} | {"store": "best"})
    assert wrong == {}
    assert settings_of(question) == settings_of(ProbeQuestion.model_validate({"store": "best"}))
    assert not {"store", "others", "twin"} & set(settings_of(question))


def test_lists_are_parted_by_blanks_and_commas_and_an_empty_field_is_the_default() -> None:
    question, wrong = question_of({"store": " best ", "others": "a,b  c", "penalties": "1e-3, 0.1", "folds": "  ", "twin": ""})
    assert wrong == {}
    assert (question.store, question.others, question.penalties, question.twin) == ("best", ("a", "b", "c"), (0.001, 0.1), None)


def test_everything_that_is_wrong_is_said_once_by_its_field() -> None:
    question, wrong = question_of({"store": "s3://bucket/x", "folds": "2", "penalties": "1 x y", "score": "none", "unknown": "1"})
    assert question is None
    assert set(wrong) == {"store", "folds", "penalties", "score"}
    assert wrong["store"] == "setting 'probe.store' is not a store's id or name; places and addresses are not taken"
    assert "probe.folds" in wrong["folds"]
    assert question_of({})[1].keys() == {"store"}


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "s3://b", "-x", ".x", "a b", "x" * 201, "é", "a\n"])
def test_no_field_takes_a_place(name: str) -> None:
    for field in ("store", "twin"):
        assert field in question_of({"store": "best"} | {field: name})[1] or name == "a b" or name.strip() != name
    assert question_of({"store": "best", "twin": "a/../b"})[0] is None


def test_fields_that_come_several_times_are_one_text() -> None:
    assert read_form(b"a=1&b=x+y&a=2&c=&a=&d=%E2%82%AC&e=%FF") == {"a": "1 2", "b": "x y", "c": "", "d": "€", "e": "\ufffd"}
    assert read_form(b"") == {}


def test_more_values_than_anybody_needs_are_refused_before_anything_is_planned() -> None:
    from layerscout.errors import UsageError
    from layerscout.service.jobs.quotes import Quotes

    quotes = Quotes(SimpleNamespace(find=lambda word: word), SimpleNamespace(), SimpleNamespace(), None, "")  # type: ignore[arg-type]
    question = ProbeQuestion.model_validate({"store": "best", "layers": ["x"] * (MOST_VALUES + 1)})
    with pytest.raises(UsageError, match=f"more than {MOST_VALUES} values"):
        quotes.quote(question)


def test_a_store_in_the_list_of_the_form_is_told_by_its_names_or_its_id() -> None:
    assert _called(("best", "new"), "ls1-" + "0" * 32, "tiny", 1200) == "best, new · tiny · 1,200 rows"
    assert _called((), "ls1-" + "0" * 32, None, None) == "ls1-00000000 · n/a · n/a rows"


# --- words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "n/a"),
        (0.0, "0 s"),
        (89.4, "89 s"),
        (90.0, "2 min"),
        (600.0, "10 min"),
        (5399.0, "90 min"),
        (5400.0, "1.5 h"),
        (360000.0, "100.0 h"),
    ],
)
def test_a_span_of_time_is_said_in_the_unit_that_fits(seconds: float | None, said: str) -> None:
    assert words.duration(seconds) == said


def test_a_moment_is_in_universal_time_and_none_is_no_date() -> None:
    assert words.moment(1_780_000_000.0) == "2026-05-28 20:26 UTC"
    assert (words.day(1_780_000_000.0), words.day(None), words.moment(0)) == ("2026-05-28", "n/a", "n/a")


def test_an_id_is_cut_where_it_is_long_and_a_name_is_not() -> None:
    assert words.short("sha256:" + "ab" * 32) == "ab" * 6
    assert words.short("sha256:short") == "short"
    assert words.short("a-name-of-16-let") == "a-name-of-16-let"
    assert words.short("a-name-of-17-lett") == "a-name-of-17"


def test_only_what_is_known_of_a_cost_is_told_in_the_pages_order() -> None:
    told = words.cost_lines({"seconds": 12, "bytes": 1500, "rows": 20480, "layers": 0, "memory_bytes": None, "else": 1})
    assert told == [
        ("0", "layers, with controls and untrained blocks"),
        ("20,480", "rows of the store"),
        ("1.5 kB", "to read"),
        ("12", "seconds, about"),
    ]
    assert (words.count(None), words.count(1234567)) == ("n/a", "1,234,567")


def test_every_state_of_a_job_has_a_word() -> None:
    assert set(words.STATES) == set(get_args(JobState))
