"""What a person reads of a ranking: the page needs nothing but itself, and every output says the same as the records."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from ranking_by_hand import Example, example

from layerscout.cache.records import Estimate, Ranking
from layerscout.pages.flags import FLAGS, explain_flag
from layerscout.pages.ranking import best_twin
from layerscout.probe.page.diagnostics import FIGURES
from layerscout.probe.page.figure import write_ranking_figures
from layerscout.probe.page.page import render
from layerscout.probe.page.tables import COLUMNS, as_text, layer_csv, layer_markdown, write_ranking_tables
from layerscout.probe.page.wording import reasons, weighted_parts

VOID = ("meta", "br", "link", "img")


class Page(HTMLParser):
    """Checks that every element is closed, and collects what a page refers to, its texts and its table rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(shown: Example, **changes: object) -> str:
    return render(shown.ranking.model_copy(update=changes), shown.evidence, shown.selection, shown.config, shown.identities)


@pytest.mark.parametrize("shown", [example(), example(60), example(6, stores=3), example(rewards=False, confirmed=0)])
def test_the_page_loads_nothing_and_every_picture_is_well_formed(shown: Example) -> None:
    text = page(shown)
    read = Page(text)
    assert all(address.startswith("#") for address in read.addresses)
    assert {address[1:] for address in read.addresses} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert "http" not in text
    assert "@import" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    pictures = re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL)
    small = len(shown.ranking.layers) if len(shown.ranking.candidates) <= 24 else len(shown.ranking.candidates) + 1
    assert len(pictures) == 4 + 2 * small  # score and order twice; eigenvalues and penalties of each layer
    assert len(text.encode()) < 400_000
    for picture in pictures:
        ElementTree.fromstring(picture)
        assert not re.search(r"\b(nan|inf|None)\b", picture)


def test_no_text_of_a_picture_is_below_eleven_pixels() -> None:
    text = page(example())
    sizes = re.findall(r"(?<![\w-])text(?=[ .])[^{}]*\{[^}]*font-size: ([0-9.]+)px", text.partition("</style>")[0])
    assert sizes
    assert min(map(float, sizes)) >= 11
    assert "font-size=" not in text


def test_every_layer_figure_and_raised_flag_is_on_the_page() -> None:
    shown = example()
    text = page(shown)
    words = "".join(Page(text).words)
    body = text[text.index('<h2 id="every-figure">') : text.index('<h2 id="eigenvalues">')]
    for layer in shown.ranking.layers:
        name = f"{layer.name}{' (untrained)' * (layer.role == 'twin')}"
        row = next(part for part in body.split("<tr")[3:] if f'<th scope="row">{name}</th>' in part)
        for column in FIGURES:
            figure = column.figure(layer)
            value = figure.value if isinstance(figure, Estimate) else figure
            wanted = (
                ">n/a<"
                if value is None
                else f">{value:,}<"
                if isinstance(value, int)
                else f">{value:z.3f}<"
                if isinstance(value, float)
                else f">{value}<"
            )
            assert wanted in row, column.name
        assert row.count("<td") == 1 + len(FIGURES) + 2 + 1  # place, targets, flags
    raised = {flag for layer in shown.ranking.layers for flag in layer.flags}
    assert {flag for flag in FLAGS if f"<dt>{flag}</dt>" in text} == raised == {"PERSISTENCE", "REWARD_NULL"}
    assert "pixels 0.060, shuffled up to 0.003" in words
    for told in ("model-0", "ls1-0", "sha256:77", "0.45 · reward R²", "clip", "160 held out", "blocks.5 (ranked)", "sha256:0011aabb"):
        assert told in words


def test_confirmation_stands_beside_the_ranking_and_only_where_there_is_one() -> None:
    part = page(example()).partition('<h2 id="confirmation">')[2].partition("<h2")[0]
    best = example().ranking.candidates[0]
    assert f"{best.score.value:.3f}" in part
    assert f"{best.confirmation.score.value:.3f}" in part
    assert part.partition("<tbody>")[2].count("<tr>") == 2
    assert 'id="confirmation"' not in page(example(confirmed=0))


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (Estimate(value=-0.05, low=-0.09, high=-0.02), " (ahead of the best layer)"),
        (Estimate(value=-0.05), " (ahead of the best layer)"),
        (Estimate(value=0.05, low=-0.01, high=0.1), " (not told apart)"),
        (Estimate(value=0.05, low=0.01, high=0.1), ""),
    ],
)
def test_an_untrained_block_that_is_ahead_or_as_good_is_said_and_the_answer_stays_open(behind: Estimate, said: str) -> None:
    shown = example()
    twin = best_twin(shown.ranking)
    layers = tuple(one.model_copy(update={"behind_best": behind}) if one is twin else one for one in shown.ranking.layers)
    ranking = shown.ranking.model_copy(update={"layers": layers})
    (sentence,) = [part for part in reasons(ranking).split("; ") if part.startswith("best untrained")]
    assert sentence.endswith(f"{said}" if said else "]")
    page = render(ranking, shown.evidence, shown.selection, shown.config, shown.identities)
    assert ('<div class="answer open">' in page) == bool(said)
    assert f"{best_twin(ranking).name} (untrained)" in page[page.index("The order of") :]


def test_what_is_undefined_is_said_and_not_drawn_as_a_number() -> None:
    shown = example(rewards=False)
    assert "(reward n/a)" in page(shown)
    assert "all rewards equal 0" in page(shown)
    silent = tuple(layer.model_copy(update={"score": None, "behind_best": None}) for layer in shown.ranking.layers)
    assert "No layer has a score" in page(shown, layers=silent)
    Page(page(shown, layers=silent))
    unmeasured = render(shown.ranking, {}, shown.selection, shown.config, {})
    assert 'id="eigenvalues"' not in unmeasured
    assert '<h2 id="score-by-depth">' in unmeasured


def test_strings_from_files_are_escaped() -> None:
    evil = '"><script>alert(1)</script>&'
    shown = example(3)
    layers = tuple(
        layer.model_copy(update={"name": f"b{evil}", "label": evil, "flags": (evil,), "targets": {evil: None}})
        for layer in shown.ranking.layers
    )
    kept = tuple(store.model_copy(update={"label": evil, "backbone": evil}) for store in (*shown.ranking.stores, *shown.ranking.stores))
    ranking = shown.ranking.model_copy(
        update={"layers": layers, "stores": kept, "notes": (evil,), "backbone": evil, "dataset_digest": evil}
    )
    evidence = {(layer.store_id, layer.role, layer.name): next(iter(shown.evidence.values())) for layer in layers}
    text = render(ranking, evidence, shown.selection, shown.config, {evil: {evil: evil}})
    assert Page(text).tags.count("script") == 1  # the page's own
    assert "<script>alert" not in text


def test_writing_does_not_depend_on_where_or_how_fast_the_probe_ran(tmp_path: Path) -> None:
    shown = example(4)
    elsewhere = shown.config.model_copy(update={"out": tmp_path, "root": tmp_path, "threads": 7})
    written = render(shown.ranking, shown.evidence, shown.selection, elsewhere, shown.identities)
    assert page(shown) == written.replace(f" --out {tmp_path} --root {tmp_path}", "")  # the command says where, and nothing else does
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_ranking_figures(shown.ranking, [tmp_path / folder / f"figure.{kind}" for kind in ("svg", "png")])
    for kind in ("svg", "png"):
        assert (tmp_path / "a" / f"figure.{kind}").read_bytes() == (tmp_path / "b" / f"figure.{kind}").read_bytes()


@pytest.mark.parametrize("kind", ["S/1", "S-skill/1"])
def test_the_parts_that_are_drawn_add_up_to_the_score_that_orders(kind: str) -> None:
    ranking = example().ranking.model_copy(update={"score_kind": kind})
    for layer in ranking.candidates:
        reward = 0.45 * layer.reward_r2.value
        rest = 0.45 * layer.transition_r2.value + 0.1 * 0.2 if kind == "S/1" else 0.45 * layer.transition_skill.value + 0.1 * 0.75
        assert sum(share for _, share in weighted_parts(ranking, layer)) == pytest.approx(reward + rest)
    assert ("log rank 0.750" in reasons(ranking)) == (kind == "S-skill/1")
    affine = ranking.model_copy(update={"normalisation": "affine"})
    assert weighted_parts(affine, ranking.layers[0])[0][1] == pytest.approx(0.45 * (ranking.layers[0].reward_r2.value + 1) / 2)


def rows_of(ranking: Ranking) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(layer_csv(ranking))))


def test_the_csv_begins_with_the_owners_columns_and_holds_every_figure() -> None:
    ranking = example(stores=2).ranking
    rows = rows_of(ranking)
    targets = [f"target_{name}{end}" for name in ("state", "expert_action") for end in ("", "_low", "_high")]
    assert list(rows[0]) == [*COLUMNS, *targets]
    assert COLUMNS[:5] == ("layer", "reward_r2", "transition_r2", "effective_rank", "composite_score")
    assert len(set(COLUMNS)) == len(COLUMNS)
    for place, (row, layer) in enumerate(zip(rows, ranking.layers, strict=True), 1):
        assert (row["layer"], row["store"], row["label"], row["role"]) == (layer.name, layer.store_id, layer.label, layer.role)
        assert row["rank"] == (str(place) if layer.role == "layer" else "n/a")
        for column, figure in (("composite_score", layer.score), ("skill_score", layer.skill_score), ("behind_best", layer.behind_best)):
            low = {"composite_score": "score_low"}.get(column, f"{column}_low")
            if figure is None:
                assert row[column] == row[low] == "n/a"
            else:
                assert (float(row[column]), float(row[low])) == pytest.approx((figure.value, figure.low), abs=1e-6)
        held = layer.confirmation.score.value if layer.confirmation else None
        assert row["confirmation_score"] == ("n/a" if held is None else str(round(held, 6)))
        assert row["rankme"] == "310.5"
        assert float(row["target_state"]) == pytest.approx(layer.targets["state"].value, abs=1e-6)
        assert row["target_expert_action"] == "n/a"
        assert (row["weights"], row["normalisation"], row["score_kind"], row["method"]) == ("0.45 0.45 0.1", "clip", "S/1", "exact")
    assert {row["reward_r2"] for row in rows_of(example(rewards=False).ranking)} == {"n/a"}


def test_the_markdown_and_the_selected_layer_tell_weights_confirmation_and_method(tmp_path: Path) -> None:
    shown = example()
    sketched = shown.ranking.layers[0].model_copy(update={"method": "sketch", "method_error": 0.0021})
    ranking = shown.ranking.model_copy(update={"layers": (sketched, *shown.ranking.layers[1:])})
    write_ranking_tables(ranking, shown.selection, tmp_path)
    table, selected = ((tmp_path / name).read_text() for name in ("layer_analysis.md", "selected_layer.txt"))
    assert table == layer_markdown(ranking, shown.selection)
    assert "| sketch, error 0.002 |" in table
    assert "## Confirmation" in table
    assert "| 2 | blocks.6 | 0.627 [0.607, 0.647] | 0.025 [0.013, 0.037] | 0.930 |" in table
    assert "0.45 · reward R² + 0.45 · transition R² + 0.1 · effective rank / width" in table
    assert selected.splitlines()[0] == "blocks.5"
    assert reasons(ranking) in selected
    assert "S/1: 0.45 · reward R²" in selected


@pytest.mark.parametrize("shown", [example(), example(60, names="transformer_blocks.{}.attention"), example(5, stores=3)])
def test_the_terminal_is_never_wider_than_120_columns(shown: Example) -> None:
    lines = as_text(shown.ranking).splitlines()
    assert max(map(len, lines)) <= 120
    assert len([line for line in lines if re.match(r"(\d+|control|twin) ", line)]) == len(shown.ranking.layers)
    assert sum(line.startswith("best: ") for line in lines) == 1


def by_control(shown: Example) -> Example:
    """The same layers, ordered by S-ctrl."""
    figures = {"control_score": Estimate(value=0.6, low=0.5, high=0.7), "bits_action": 1.2, "targets": {"state": Estimate(value=0.5)}}
    layers = tuple(one.model_copy(update=figures) for one in shown.ranking.layers)
    return replace(shown, ranking=shown.ranking.model_copy(update={"score_kind": "S-ctrl/1", "layers": layers}))


def test_what_orders_is_left_out_last() -> None:
    """A ranking by S-ctrl has two columns more, and they are no less important for standing in the middle."""
    shown = by_control(example())
    left = [as_text(shown.ranking, room).partition("(no room for: ")[2].partition("; a wider")[0] for room in range(120, 59, -1)]
    order = list(dict.fromkeys(name for one in left for name in " ".join(one.split()).split(", ") if name))
    assert order[:2] == ["rank", "gain"]
    assert "bits" not in order or order.index("bits") > order.index("reward R²")
    assert all(shown.ranking.score_kind.partition("/")[0] in as_text(shown.ranking, room).splitlines()[0] for room in (60, 120))


@pytest.mark.parametrize("room", [60, 80, 100, 140])
@pytest.mark.parametrize("shown", [example(), example(5, stores=3), by_control(example())])
def test_a_table_of_layers_fits_the_terminal_and_says_what_it_left_out(shown: Example, room: int) -> None:
    lines = as_text(shown.ranking, room).splitlines()
    assert max(map(len, lines)) <= max(room, 60)
    head, whole = lines[0], as_text(shown.ranking).splitlines()[0]
    assert head.split()[:2] == ["#", "layer"]
    told = " ".join(" ".join(lines).split())
    for name in ("gain", "transition R²", "behind the best"):
        assert (name in whole) == (name in head or name in told.partition("(no room for: ")[2].partition("; a wider")[0])


def test_flags_have_a_sentence_however_they_are_written() -> None:
    assert explain_flag("reward-null") == explain_flag("REWARD_NULL") == FLAGS["REWARD_NULL"]
    assert "see the reference" in explain_flag("NEW_FLAG")
