"""A ranking with its evidence in, one self-contained HTML page out: nothing is loaded, and it reads without a script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import LayerScore, Ranking, Selection
from layerscout.pages.axes import tick_label
from layerscout.pages.page import Page, banner, bullets, commands, folded, paragraph, picture, section, subsection, versions_table
from layerscout.pages.ranking import best_twin, draw_score, layer_title, ordering, short_kind, stores_of, twin_of
from layerscout.pages.tables import facts, flatten_settings
from layerscout.probe.config import RUN_ONLY, ProbeConfig
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.page import diagnostics
from layerscout.probe.page.charts import MOST_NARROW, draw_order
from layerscout.probe.page.diagnostics import Key
from layerscout.probe.page.panels import FAINTEST, LOWEST, Measured, panels, penalty_paths, spectra
from layerscout.probe.page.tables import PAGE_NAME
from layerscout.probe.page.wording import formula, handed_over, reasons, told_of_twin
from layerscout.settings import command_of
from layerscout.showing import counted

MOST_WITH_TWINS = 24  # layers; above, only the best one's untrained block has small pictures, so that a page stays light


def write_page(
    ranking: Ranking,
    evidence: Mapping[Key, LayerEvidence],
    selection: Selection,
    config: ProbeConfig,
    identities: Mapping[str, Mapping[str, Any]],
    out: Path,
    played: str = "",
) -> None:
    """Write the page whole or not at all; see ``render``."""
    write_atomic(out / PAGE_NAME, render(ranking, evidence, selection, config, identities, played).encode())


def render(
    ranking: Ranking,
    evidence: Mapping[Key, LayerEvidence],
    selection: Selection,
    config: ProbeConfig,
    identities: Mapping[str, Mapping[str, Any]],
    played: str = "",
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
    played
        What the dataset was recorded in, where that is known.
    """
    layers = counted(len(ranking.candidates), "layer")
    under = (
        f"{layers}, {counted(ranking.rows, 'transition')} of {counted(ranking.episodes, 'episode')}, {ranking.folds} folds split by episode"
    )
    if ranking.confirmation_episodes:
        under += f"; {ranking.confirmation_episodes:,} more episodes held out for confirmation"
    named = ", ".join(dict.fromkeys(store.label or store.backbone for store in ranking.stores)) or ranking.backbone
    heading = f"What a linear probe reads from {'each layer of ' if len(ranking.stores) < 2 else 'the layers of '}{named}"
    sections = [
        depth_section(ranking),
        order_section(ranking),
        confirmation_section(ranking),
        section("Reasons for doubt", diagnostics.flags_raised(ranking, evidence) or paragraph("No flag was raised.")),
        figures_section(ranking),
        measures_section(ranking),
        *evidence_sections(ranking, evidence),
        making_section(ranking, selection, config, identities),
    ]
    return Page(
        heading,
        under,
        answer(ranking),
        sections,
        probe_command(ranking, config),
        f"{played} ({ranking.dataset_digest[:19]})" if played else ranking.dataset_digest[:19],
    ).render()


def answer(ranking: Ranking) -> str:
    """Banner with the best layer and why it is the best, and the ranking's notes below it."""
    lines = f"{reasons(ranking)}.".split("; ")
    shown = [f"{line};" for line in lines[:-1]] + lines[-1:]
    twin = best_twin(ranking)
    good = twin is None or not told_of_twin(twin.behind_best)  # else training showed nothing that no weights at all show
    return banner(f"Best layer: {layer_title(ranking, ranking.candidates[0])}", shown, good) + bullets(ranking.notes)


def depth_section(ranking: Ranking) -> str:
    """Score over depth for every layer with its interval; a sentence instead where no layer has a score."""
    caption = (
        "The score of every layer with its 95 % interval. Compare with the same blocks without training and with the controls: a "
        "layer is worth what it gives above them. The scale does not begin at 0."
    )
    scored = any(ordering(ranking, layer) is not None for layer in ranking.layers)
    return section("Score by depth", picture(partial(draw_score, ranking), caption) if scored else paragraph("No layer has a score."))


def order_section(ranking: Ranking) -> str:
    """Return the picture of the order, with what the score is made of and how sure the order is."""
    caption = (
        f"{formula(ranking)}. The parts of each score, then how far a layer lies behind the best one, episode group by episode group: an "
        "interval that holds 0 means that the two cannot be told apart."
    )
    if len(ranking.candidates) > MOST_NARROW:
        caption += f" On a narrow screen the first {MOST_NARROW} layers are drawn; the table below has all."
    return section("The order, and how sure it is", picture(partial(draw_order, ranking), caption))


def confirmation_section(ranking: Ranking) -> str:
    """Return the confirmed layers' figures, as ranked and on held-out episodes; nothing without confirmation."""
    table = diagnostics.confirmed(ranking)
    found = table.html("The ranking beside held-out episodes", confirmation_caption(ranking)) if table.rows else ""
    return section("Confirmation", found) if found else ""


def confirmation_caption(ranking: Ranking) -> str:
    """Return what to know before reading the confirmed figures."""
    few = (
        " Bits of action fall most where a layer has few rows a feature: compare them with those of the other layers."
        if short_kind(ranking) == "S-ctrl"
        else ""
    )
    return (
        f"{counted(ranking.confirmation_episodes, 'episode')} had no part in the ranking. The best layers, fitted on all others, reach there what "
        "stands under “held out” (effective rank: of their rows alone). The best of many layers looks a little better in the ranking than "
        f"it is; here it does not.{few}"
    )


def figures_section(ranking: Ranking) -> str:
    """Return the table of everything that was measured."""
    caption = (
        "R² are out of fold and unclipped. Below a figure: its 95 % interval, by leaving out one group of episodes at a time "
        "(shuffled: the range of the shifts). n/a: the data cannot give the figure. A heading sorts."
    )
    return section("Every figure", diagnostics.every_figure(ranking).html("Every figure of every layer", caption))


def measures_section(ranking: Ranking) -> str:
    """Return the table of what stands beside the score, folded; nothing when no measure was taken."""
    table = diagnostics.beside_the_score(ranking)
    caption = (
        "No part of S: each is one more way to ask what a layer tells about acting. Below a figure: its 95 % interval (by chance: the range "
        "of the turned copies). n/a: the data cannot give the figure."
    )
    return section("Beside the score", folded("Measures", table.html("Measures beside the score", caption))) if table.rows else ""


def measured_layers(ranking: Ranking, evidence: Mapping[Key, LayerEvidence]) -> tuple[list[Measured], list[Measured], int]:
    """Return what small pictures show: the candidates in forward order, controls and untrained blocks, and how many of those are left out."""

    def measured(layers: Sequence[LayerScore]) -> list[Measured]:
        pairs = [(layer, evidence.get((layer.store_id, layer.role, layer.name))) for layer in layers]
        return [Measured(layer_title(ranking, layer), layer, found) for layer, found in pairs if found is not None]

    stores = stores_of(ranking.candidates)
    candidates = measured(sorted(ranking.candidates, key=lambda layer: (stores.index(layer.store_id), layer.depth)))
    twin = twin_of(ranking, ranking.candidates[0])
    apart = [layer for layer in ranking.layers if layer.role != "layer"]
    shown = apart if len(candidates) <= MOST_WITH_TWINS else [layer for layer in apart if layer.role == "control" or layer is twin]
    return candidates, measured(shown), len(apart) - len(shown)


def evidence_sections(ranking: Ranking, evidence: Mapping[Key, LayerEvidence], below: Callable[[str], str] = lambda name: "") -> list[str]:
    """Return the small pictures: eigenvalues and penalties of every layer, in forward order; controls and twins folded away.

    Parameters
    ----------
    below
        Gives what stands under the pictures named ``eigenvalues`` and ``penalties``, as HTML.
    """
    candidates, others, left_out = measured_layers(ranking, evidence)
    eigenvalues = (
        "Share of the variance in each direction of the covariance, from the widest to the narrowest, both axes logarithmic, down to "
        f"{tick_label(FAINTEST)}; grey: all layers. A line that falls at once means few directions carry everything."
    )
    penalties = (
        "Mean R² on the validation folds for each penalty: reward (green circles) and transition (blue squares), drawn down to "
        f"{tick_label(LOWEST)}. Marks: penalties that were chosen, larger ones by more folds; they "
        "stand above in figures. A path that still rises at an end asks for a wider grid."
    )
    rest = (
        "Controls and untrained blocks"
        if not left_out
        else f"Controls and the best layer's untrained block ({left_out} others are left out)"
    )
    return [
        section(heading, paragraph(words, "caption"), panels(drawn[:first]), folded(rest, panels(drawn[first:])), below(heading.lower()))
        for heading, words, drawn in (
            ("Eigenvalues", eigenvalues, spectra(candidates, others)),
            ("Penalties", penalties, penalty_paths(candidates, others)),
        )
        if drawn and (first := len(candidates))
    ]


def making_section(ranking: Ranking, selection: Selection, config: ProbeConfig, identities: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what was chosen, how it was computed and from what, with versions and the command."""
    known = {
        "score": formula(ranking),
        "normalisation of R²": ranking.normalisation,
        "handed to reinforcement learning": handed_over(selection),
        "transitions": f"{ranking.rows:,}",
        "episodes": f"{ranking.episodes:,} in the ranking, {ranking.confirmation_episodes:,} held out",
        "folds, from groups of episodes": f"{ranking.folds}, from {config.groups} groups",
        "dataset": ranking.dataset_digest,
    }
    known |= {f"store {store.label or store.backbone}": store.store_id for store in ranking.stores} or {"store": ranking.store_id}
    known |= {"store of the untrained twin": ranking.twin_store_id} if ranking.twin_store_id else {}
    settings = dict(flatten_settings(config.model_dump(mode="json", exclude=set(RUN_ONLY))))
    settings.pop("groups")
    identified = "".join(
        folded(f"Identity of {store}", facts(dict(flatten_settings(identity)), f"Identity of {store}"))
        for store, identity in identities.items()
    )
    return section(
        "How this was made",
        facts(known, "How this was made"),
        subsection("Command", commands([probe_command(ranking, config)])),
        subsection("Settings and identities", folded("Settings", facts(settings, "Settings")), identified),
        subsection("Versions", versions_table().html("Versions", "On the machine that wrote this page.")),
    )


def probe_command(ranking: Ranking, config: ProbeConfig) -> str:
    """Return the command that ranks the same stores, by their ids, with the same settings; how fast is left to the reader."""
    first, *others = [store.store_id for store in ranking.stores] or [ranking.store_id]
    named = {"store": first, "others": tuple(others), "twin": ranking.twin_store_id}
    return command_of("probe", config.model_copy(update=named | {"threads": None, "partials": "auto", "scheduler": None, "shard": None}))
