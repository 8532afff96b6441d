"""What is told of stores: listings, hints, differences, deletions, problems and reports, as text that a person reads."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from layerscout.cache.catalog.comparison import Comparison, LayerDifference
from layerscout.cache.catalog.entries import Entry
from layerscout.cache.catalog.prune import Deletion, Victim
from layerscout.cache.catalog.verification import Problem, Verification
from layerscout.commands.doctor import readable
from layerscout.commands.passport import _cell
from layerscout.commands.stores import text
from layerscout.commands.team.asking import ask_server
from layerscout.commands.words import Sources, setting_parameters
from layerscout.errors import UsageError
from layerscout.probe.config import ProbeConfig
from layerscout.rl.config import TrainConfig
from layerscout.showing import size

IDS = ["ls1-" + letter * 32 for letter in "abc"]


def entry(store_id: str = IDS[0], **more) -> Entry:
    known = {"backbone": "tiny", "rows": 1200, "layers": 7, "created": "2026-01-02T03:04:05+00:00"}
    return Entry(store_id, f"/root/stores/{store_id}", 1_400_000, 0.0, **(known | more))


def test_a_listing_has_a_line_a_store_and_counts_what_it_does_not_show():
    found = [entry(), entry(IDS[1], names=("mine", "too"), pinned=True), entry(IDS[2], mirror_of="s3://b", layers_here=2)]
    lines = text.listing(found, found[:2]).splitlines()
    assert lines[2].split() == [IDS[0][:12], "tiny", "1,200", "7", "1.4", "MB", "2026-01-02", "03:04"]
    assert "mine, too" in lines[3]
    assert lines[3].endswith("pinned")
    assert lines[-1] == "2 of 3: 2 stores and 1 mirror, 4.2 MB"
    assert text.listing(found[:2], found[:1]).splitlines()[-1] == "1 of 2 stores, 2.8 MB"
    whole = text.listing(found, found).splitlines()
    assert whole[-1] == "2 stores and 1 mirror, 4.2 MB"
    assert "2 of 7" in whole[4]
    assert whole[4].endswith("mirror of s3://b")


def test_what_a_damaged_store_cannot_tell_is_not_available():
    shown = [entry(backbone=None, rows=None, layers=None, created=None, damage="no manifest")]
    line = text.listing(shown, shown).splitlines()[2]
    assert line.split().count("n/a") == 4
    assert line.endswith("damaged: no manifest")


def test_a_listing_of_nothing_is_a_count_of_nothing():
    assert text.listing([], []) == "0 stores, 0 B"


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ({"stores": []}, []),
        (
            {"stores": [{"store": "a", "damage": None}, {"store": "b", "damage": "torn"}]},
            ["damaged: b: layerscout store verify b --root /r"],
        ),
        ({"stores": [], "being_written": 1}, ["being written: 1 store"]),
        (
            {"stores": [], "remains": {"count": 2, "bytes": 1500}},
            ["left behind by killed processes: 2 items, 1.5 kB: layerscout store prune --root /r"],
        ),
        ({"stores": [], "remains": {"count": 0, "bytes": 0}, "mirrors": {"count": 0, "bytes": 0}}, []),
        (
            {"stores": [], "mirrors": {"count": 3, "bytes": 2000}},
            [
                "3 mirrors of stores elsewhere, 2.0 kB; those not read for long are deleted by: layerscout store prune --older-than 30d --root /r"
            ],
        ),
        (
            {"stores": [], "dangling_names": ["two words"]},
            ["the name 'two words' leads to no store: layerscout store name --remove 'two words' --root /r"],
        ),
        ({"stores": [], "damaged_names": ["/r/names/x"]}, ["/r/names/x is damaged: delete it and name the store again"]),
    ],
)
def test_everything_beside_whole_stores_is_told_with_its_command(facts, lines):
    assert list(text.hints({"root": "/r"} | facts)) == lines


def test_of_stores_elsewhere_no_root_is_named():
    facts = {"root": "s3://bucket", "stores": [{"store": "b", "damage": "torn"}]}
    assert list(text.hints(facts)) == ["damaged: b: layerscout store verify b"]


def test_a_name_that_would_break_a_line_is_shown_without_breaking_it():
    (line,) = text.hints({"root": "/r", "stores": [], "dangling_names": ["a\nb\x1b[31m"]})
    assert "\n" not in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ({"a": 1, "b": {"c": None, "d": {"e": "x"}}}, ["  a: 1", "  b.c: n/a", "  b.d.e: x"]),
        ({"sizes": {"total_bytes": 1500}}, ["  sizes.total_bytes: 1.5 kB"]),
        ({"empty": {}, "none": []}, ["  empty: none", "  none: none"]),
        ({"on": True, "list": [1, 2]}, ["  on: yes", "  list: 1, 2"]),
        ({1: {2: 3}}, ["  1.2: 3"]),
        ({}, ["  : none"]),
    ],
)
def test_nested_data_is_a_line_a_leaf(value, lines):
    assert list(text.flat(value)) == lines


def difference(name: str, different: int) -> LayerDifference:
    return LayerDifference(name, 4000, different, 0.00123, 0.5, 1.25)


def compared(*layers: LayerDifference, unequal: tuple[str, ...] = ()) -> str:
    return text.differences(Comparison(IDS[0], Path("a"), Path("b"), "x", "y", layers, unequal))


def test_differences_are_told_layer_by_layer_and_at_last_in_a_word():
    same = compared(difference("blocks.0", 0)).splitlines()
    assert same[-1] == "equal to the last bit"
    assert compared(difference("blocks.0", 0), difference("blocks.1", 1)).splitlines()[-1] == "index columns equal"
    lines = compared(difference("blocks.1", 50), unequal=("reward", "step")).splitlines()
    assert lines[2].split() == ["blocks.1", "4,000", "50", "1.25%", "0.00123", "0.5", "1.25"]
    assert lines[-1] == "index columns differ: reward, step"


def victims(count: int) -> tuple[Victim, ...]:
    return tuple(Victim(Path(f"/r/stores/{number}"), "store", 1000, "asked for") for number in range(count))


def test_a_long_deletion_shows_the_first_and_counts_the_rest():
    lines = text.deletion(Deletion(Path("/r"), victims(text.MOST_LINES + 3), (("ls1-a", "is pinned"),), ("ls1-b",))).splitlines()
    assert len([line for line in lines if line.startswith("store ")]) == text.MOST_LINES
    assert lines[-4:] == ["… and 3 more", "stays: ls1-a is pinned", "not there: ls1-b", f"to delete: {text.MOST_LINES + 3} items, 43.0 kB"]
    assert "stores/0" in lines[2]
    assert "… and" not in text.deletion(Deletion(Path("/r"), victims(text.MOST_LINES)))


def test_a_deletion_of_nothing_says_so():
    assert text.deletion(Deletion(Path("/r"), ())) == "to delete: 0 items, 0 B"


def test_problems_are_told_file_by_file_and_whole_stores_in_a_word():
    whole = Verification(IDS[0], Path("a"), 10, 2000, ())
    broken = Verification(IDS[1], Path("b"), 5, 1000, (Problem("c/0", "missing", "it is gone"), Problem("c/1", "damaged", "crc32c")))
    assert text.problems([whole]) == "1 store, 10 files, 2.0 kB: whole"
    lines = text.problems([whole, broken]).splitlines()
    assert lines[-1] == "2 stores, 15 files, 3.0 kB: 2 problems"
    assert lines[2].split() == [IDS[1][:12], "c/0", "missing", "it", "is", "gone"]
    assert text.problems([]) == "0 stores, 0 files, 0 B: whole"


@pytest.mark.parametrize(
    ("key", "value", "cell"),
    [
        ("layer", None, "n/a"),
        ("files", ["a", "b"], "a, b"),
        ("tokens", [4, 16, 16], "4x16x16"),
        ("context_bytes", 1500, "1.5 kB"),
        ("parameters", 12345, "12,345"),
        ("overall_rms", 0.123456, "0.1235"),
        ("here", True, "True"),
        ("block", "blocks.3", "blocks.3"),
    ],
)
def test_a_figure_of_a_passport_is_told_in_its_unit(key, value, cell):
    assert _cell(key, value) == cell


def test_a_bug_report_is_lines_with_what_belongs_together_indented():
    facts = {"python": "3.11", "memory_bytes": 2000, "torch": {"threads": 2, "cuda": False}, "warnings": ["one", "two"], "gl": {}}
    assert readable(facts).splitlines() == [
        "python: 3.11",
        "memory_bytes: 2.0 kB",
        "torch:",
        "  threads: 2",
        "  cuda: no",
        "warning: one",
        "warning: two",
        "gl:",
    ]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (999.4, "999 B"),
        (999.6, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_951, "1.0 MB"),
        (999_960_000, "1.0 GB"),
        (999_999_999_999, "1.0 TB"),
        (999_999_999_999_999, "1000.0 TB"),
    ],
)
def test_a_size_never_shows_a_thousand_of_a_unit_that_has_a_larger_one(count, told):
    assert size(count) == told


# --- words of a command


def test_where_settings_came_from_is_said_again_as_it_was():
    assert Sources().as_words() == []
    said = Sources(Path("a.toml"), "small", ("train.seeds=2", "probe.shifts=3"))
    assert said.as_words() == ["--config", Path("a.toml"), "--preset", "small", "--set", "train.seeds=2", "--set", "probe.shifts=3"]


def test_every_setting_but_a_table_is_a_word_of_the_command():
    words = {parameter.name for parameter in setting_parameters(TrainConfig)}
    tables = {"dqn", "sac", "iql", "ppo", "ridge", "dreamer", "pvdr", "work"}
    assert words == set(TrainConfig.model_fields) - tables
    assert all(parameter.default is None for parameter in setting_parameters(TrainConfig)), "what was not said is no setting"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"threads": 3}, "probe.threads says how this machine works"),
        ({"root": "somewhere"}, "probe.root says how this machine works"),
        ({"store": "here/ls1-a"}, "'here/ls1-a' is a place, and a server knows stores by id and name"),
        ({"twin": "s3://bucket/x"}, "'s3://bucket/x' is a place"),
        ({"others": ["b", "..\\c"]}, "is a place"),
    ],
)
def test_what_only_this_machine_knows_is_not_asked_of_a_server(said, message):
    pytest.importorskip("httpx", reason="runs where the extra [service] is installed")
    config = ProbeConfig.model_validate({"store": "ls1-a"} | said)
    call = SimpleNamespace(dry_run=True, measure=False)
    with pytest.raises(UsageError) as caught:
        ask_server(config, call, "http://nowhere.invalid")
    assert message in str(caught.value)


def test_a_result_that_a_program_reads_is_the_words_that_a_person_reads():
    found = [entry(), entry(IDS[1], names=("mine",))]
    told = json.loads(json.dumps([one.describe() for one in found]))
    shown = text.listing(found, found)
    for one in told:
        assert one["store"][:12] in shown
        assert all(name in shown for name in one["names"])
