"""A ranking with its evidence in, one self-contained HTML page out: nothing is loaded, and it reads without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import LayerScore, Ranking, Selection
from layerscout.probe.config import RUN_ONLY, ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.page import diagnostics
from layerscout.probe.page.charts import order_of_layers, score_by_depth
from layerscout.probe.page.diagnostics import Key
from layerscout.probe.page.panels import FAINTEST, LOWEST, Measured, penalty_paths, spectra
from layerscout.probe.page.report import PAGE_NAME
from layerscout.probe.page.svg import number
from layerscout.probe.page.wording import formula, title, why
from layerscout.template import fill


def write_page(
    ranking: Ranking,
    evidence: Mapping[Key, LayerEvidence],
    selection: Selection,
    config: ProbeConfig,
    identities: Mapping[str, Mapping[str, Any]],
    out: Path,
) -> None:
    """Write the page whole or not at all; see ``render``."""
    write_atomic(out / PAGE_NAME, render(ranking, evidence, selection, config, identities).encode())


def render(
    ranking: Ranking,
    evidence: Mapping[Key, LayerEvidence],
    selection: Selection,
    config: ProbeConfig,
    identities: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the page.

    Parameters
    ----------
    ranking, selection
        What the probe found and chose.
    evidence
        What was measured, by (store id, role, layer name). A layer without it has no spectrum and no penalty path.
    config
        The probe's settings; those that change no number are left out.
    identities
        ``identity.json`` of every store, by store id.
    """
    layers = f"{len(ranking.candidates)} layer{'s' if len(ranking.candidates) > 1 else ''}"
    under = f"{layers}, {ranking.rows:,} transitions of {ranking.episodes:,} episodes, {ranking.folds} folds split by episode"
    if ranking.confirmation_episodes:
        under += f"; {ranking.confirmation_episodes:,} more episodes held out for confirmation"
    body = [
        answer(ranking),
        depth_section(ranking),
        order_section(ranking),
        confirmation_section(ranking),
        section("Reasons for doubt", diagnostics.flags_raised(ranking, evidence) or "<p>No flag was raised.</p>"),
        section(
            "Every figure",
            "R² are out of fold and unclipped. Below a figure: its 95 % interval, by leaving out one group of episodes at a time "
            "(shuffled: the range of the shifts). n/a: the data cannot give the figure. A heading sorts, and tells more under the mouse.",
            diagnostics.every_figure(ranking),
        ),
        *evidence_sections(ranking, evidence),
        making_section(ranking, selection, config, identities),
    ]
    named = ", ".join(dict.fromkeys(store.label or store.backbone for store in ranking.stores)) or ranking.backbone
    heading = f"What a linear probe reads from {'each layer of ' if len(ranking.stores) < 2 else 'the layers of '}{named}"
    return fill("layerscout.probe.page", "probe.html", title=escape(heading), under=escape(under), body="\n".join(body))


def section(heading: str, *parts: str) -> str:
    """Return a section; a first part without a tag is its introduction."""
    told = [part if part.startswith("<") else f'<p class="caption">{escape(part)}</p>' for part in parts if part]
    return f"<section><h2>{escape(heading)}</h2>{''.join(told)}</section>"


def answer(ranking: Ranking) -> str:
    """Return the result, first thing on the page."""
    best = ranking.candidates[0]
    notes = "".join(f"<li>{escape(note)}</li>" for note in ranking.notes)
    told = f"<p>{escape(why(ranking)).replace('; ', ';<br>')}.</p>"
    return f'<div class="answer"><b>Best layer: {escape(title(ranking, best))}</b>{told}</div>' + (f"<ul>{notes}</ul>" if notes else "")


def depth_section(ranking: Ranking) -> str:
    """Return the picture of score by depth."""
    picture = score_by_depth(ranking)
    caption = (
        "The score of every layer with its 95 % interval. Compare with the same blocks without training and with the controls: a "
        "layer is worth what it gives above them. The scale does not begin at 0."
    )
    return section("Score by depth", caption, f'<div class="scroll">{picture}</div>' if picture else "<p>No layer has a score.</p>")


def order_section(ranking: Ranking) -> str:
    """Return the picture of the order, with what the score is made of and how sure the order is."""
    caption = (
        f"{formula(ranking)}. Middle: how far a layer lies behind the best one, episode group by episode group; an interval that "
        "holds 0 means that the two cannot be told apart."
    )
    return section("The order, and how sure it is", caption, f'<div class="scroll">{order_of_layers(ranking)}</div>')


def confirmation_section(ranking: Ranking) -> str:
    """Return the figures of the best layers on episodes that had no part in the ranking."""
    table = diagnostics.confirmed(ranking)
    caption = (
        f"{ranking.confirmation_episodes:,} episodes had no part in the ranking. The best layers, fitted on all others, reach there what "
        "stands under “held out” (effective rank: of their rows alone). The best of many layers looks a little better in the ranking than "
        "it is; here it does not."
    )
    return section("Confirmation", caption, table) if table else ""


def evidence_sections(ranking: Ranking, evidence: Mapping[Key, LayerEvidence]) -> list[str]:
    """Return the small pictures: eigenvalues and penalties of every layer, in forward order; controls and twins folded away."""

    def named(layers: Sequence[LayerScore]) -> list[Measured]:
        pairs = [(layer, evidence.get((layer.store_id, layer.role, layer.name))) for layer in layers]
        return [Measured(title(ranking, layer), layer, measured) for layer, measured in pairs if measured is not None]

    stores = list(dict.fromkeys(layer.store_id for layer in ranking.candidates))
    candidates = named(sorted(ranking.candidates, key=lambda layer: (stores.index(layer.store_id), layer.depth)))
    others = named([layer for layer in ranking.layers if layer.role != "layer"])
    first, second = spectra(candidates, others)
    eigenvalues = (
        "Share of the variance in each direction of the covariance, from the widest to the narrowest, both axes logarithmic, down to "
        f"{number(FAINTEST)}; grey: all layers. A line that falls at once means few directions carry everything."
    )
    penalties = (
        "Mean R² on the validation folds for each penalty: reward (green circles) and transition (blue squares), drawn down to "
        f"{number(LOWEST)}. Filled marks were chosen, larger ones by more folds; the chosen "
        "penalties stand above. A path that still rises at an end asks for a wider grid."
    )
    found = [section("Eigenvalues", eigenvalues, first, folded(second))] if first else []
    paths = penalty_paths(candidates)
    return [*found, section("Penalties", penalties, paths, folded(penalty_paths(others)))] if paths else found


def folded(content: str) -> str:
    """Return the part for controls and twins, folded."""
    return f"<details><summary>Controls and untrained blocks</summary>{content}</details>" if content else ""


def making_section(ranking: Ranking, selection: Selection, config: ProbeConfig, identities: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what was chosen, how it was computed and from what."""
    chosen = ", ".join(f"{choice.layer} ({choice.kind})" for choice in selection.choices)
    settings = config.model_dump(mode="json", exclude=set(RUN_ONLY))
    facts = {
        "score": formula(ranking),
        "normalisation of R²": ranking.normalisation,
        "handed to reinforcement learning": chosen,
        "transitions": f"{ranking.rows:,}",
        "episodes": f"{ranking.episodes:,} in the ranking, {ranking.confirmation_episodes:,} held out",
        "folds, from groups of episodes": f"{ranking.folds}, from {config.groups} groups",
        "dataset": ranking.dataset_digest,
    }
    facts |= {f"store {store.label or store.backbone}": store.store_id for store in ranking.stores} or {"store": ranking.store_id}
    facts |= {"store of the untrained twin": ranking.twin_store_id} if ranking.twin_store_id else {}
    rest = {key: value for key, value in flat(settings) if key != "groups"}
    details = "".join(
        f"<details><summary>Identity of {escape(store)}</summary>{words(dict(flat(identity)))}</details>"
        for store, identity in identities.items()
    )
    return section("How this was made", words(facts), f"<details open><summary>Settings</summary>{words(rest)}</details>", details)


def words(facts: Mapping[str, Any]) -> str:
    """Return names and values as a table of words."""
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return f'<div class="scroll"><table class="words"><tbody>{rows}</tbody></table></div>'


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested settings as dotted names with their values; a list of tables as JSON-like text."""
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        found += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return found
