"""The evidence of layers in; one small picture a layer out: its eigenvalues, and its R² for every penalty."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from layerscout.cache.records import LayerScore
from layerscout.probe.evidence.evidence import LayerEvidence
from layerscout.probe.page import svg

WIDTH, HEIGHT = 252, 158
LEFT, RIGHT, TOP, BOTTOM = 62, 244, 8, 122
FAINTEST = 1e-6  # shares of variance below this are not drawn
LOWEST = -0.3  # a R² below this says no more than "useless"; drawing it would flatten everything else
GHOSTS = "all-spectra"


class Measured(NamedTuple):
    """A layer under the name that the page gives it, with what was measured."""

    name: str
    layer: LayerScore
    evidence: LayerEvidence


def panel(name: str, note: str, picture: str) -> str:
    """Return one picture under a layer's name, with its figures."""
    return f"<figure><b>{escape(name)}</b><small>{escape(note)}</small>{picture}</figure>"


def thinned(count: int, most: int = 48) -> list[int]:
    """Return at most about ``most`` of the places 0 … count - 1, evenly spread on a logarithmic axis, both ends among them."""
    return sorted({round(count ** (step / (most - 1))) - 1 for step in range(most)}) if count > 1 else list(range(count))


def spectra(candidates: Sequence[Measured], others: Sequence[Measured]) -> tuple[str, str]:
    """Draw each layer's eigenvalue shares on logarithmic axes, over those of all candidates in grey.

    The grey lines are drawn once and repeated by reference, so that sixty layers do not make sixty times sixty lines.

    Returns
    -------
    The panels of the candidates, with the grey lines, and those of the others; empty when no spectrum is known.
    """
    known = [one.evidence for one in (*candidates, *others) if one.evidence.spectrum]
    if not known:
        return "", ""
    x = svg.Scale(1, max(2, *(len(evidence.spectrum) for evidence in known)), LEFT, RIGHT, log=True)
    y = svg.Scale(FAINTEST, 1.0, BOTTOM, TOP, log=True)
    grey = "".join(svg.path(_falling(one.evidence, x, y)) for one in candidates)
    shared = f'<svg class="hidden" aria-hidden="true"><defs><g id="{GHOSTS}" class="ghost">{grey}</g></defs></svg>'
    first, second = ("".join(_spectrum(one, x, y) for one in part) for part in (candidates, others))
    return f'{shared}<div class="panels">{first}</div>', f'<div class="panels">{second}</div>' if second else ""


def _spectrum(one: Measured, x: svg.Scale, y: svg.Scale) -> str:
    name, layer, evidence = one
    axes = svg.rising_axis(y, LEFT, RIGHT, "share", 3) + svg.level_axis(x, TOP, BOTTOM, "eigenvalue number", 4)
    note = f"effective rank {layer.effective_rank.value * layer.width:.1f} of {layer.width:,}"
    own = svg.group("blue", svg.path(_falling(evidence, x, y), "thick"))
    if not evidence.spectrum:
        note, own = "n/a", svg.text((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2, "n/a", "middle")
    return panel(name, note, svg.drawing(WIDTH, HEIGHT, f"{name}: eigenvalue shares, {note}", axes, f'<use href="#{GHOSTS}"/>', own))


def _falling(evidence: LayerEvidence, x: svg.Scale, y: svg.Scale) -> list[tuple[float, float]]:
    places = thinned(sum(share > FAINTEST for share in evidence.spectrum))
    return [(x(place + 1), y(evidence.spectrum[place])) for place in places]


def penalty_paths(layers: Sequence[Measured]) -> str:
    """Draw validation R² against the penalty for reward and transition; the penalties that folds chose are filled."""
    grids = [one.evidence.penalties for one in layers if len(one.evidence.penalties) > 1]
    if not grids:
        return ""
    x = svg.Scale(min(map(min, grids)), max(map(max, grids)), LEFT + 4, RIGHT - 4, log=True)
    y = svg.Scale(LOWEST, 1.0, BOTTOM, TOP)
    parts = []
    for name, _, evidence in layers:
        axes = svg.rising_axis(y, LEFT, RIGHT, "R²", 3) + svg.level_axis(x, TOP, BOTTOM, "penalty / rows", 4)
        drawn = [
            _path(evidence.penalties, values, chosen, x, y, colour, shape)
            for values, chosen, colour, shape in (
                (evidence.reward_path, evidence.reward_penalties, "green", "circle"),
                (evidence.transition_path, evidence.transition_penalties, "blue", "square"),
            )
            if values
        ]
        note = f"reward {_choices(evidence.reward_penalties)} · transition {_choices(evidence.transition_penalties)}"
        parts.append(panel(name, note, svg.drawing(WIDTH, HEIGHT, f"{name}: validation R² by penalty, {note}", axes, *drawn)))
    return f'<div class="panels">{"".join(parts)}</div>'


def _path(
    penalties: Sequence[float],
    values: Sequence[float | None],
    chosen: Sequence[float],
    x: svg.Scale,
    y: svg.Scale,
    colour: str,
    shape: str,
) -> str:
    known = [(penalty, value) for penalty, value in zip(penalties, values, strict=True) if value is not None]
    folds = Counter(chosen)
    marks = []
    for penalty, value in known:
        count = next((count for choice, count in folds.items() if math.isclose(choice, penalty)), 0)
        hint = f"penalty {svg.number(penalty)}: R² {value:.3f}" + (f", chosen by {count} of {len(chosen)} folds" if count else "")
        size = 2.2 if not count else 3 + 2.5 * count / len(chosen)
        marks.append(svg.mark(shape, x(penalty), y(value), size, hint, hollow=not count))
    return svg.group(colour, svg.path([(x(penalty), y(value)) for penalty, value in known], "thick"), *marks)


def _choices(chosen: Sequence[float]) -> str:
    if not chosen:
        return "n/a"
    low, high = min(chosen), max(chosen)
    return svg.number(low) if low == high else f"{svg.number(low)}…{svg.number(high)}"
