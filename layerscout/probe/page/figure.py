"""A ranking in, the figure of score by depth out: candidates with intervals, their parts, the untrained twin, the controls."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.durable import write_atomic
from layerscout.cache.records import Estimate, LayerScore, Ranking
from layerscout.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY
from layerscout.probe.page.wording import formula, ordering, short_kind, store_label, title

STORES, MARKERS = (BLUE, GREEN, PURPLE, ORANGE, SKY), "osv^D"
LOWEST = -0.3  # a R² below this says no more than "useless"; drawing it would flatten everything else


def draw(ranking: Ranking, paths: Sequence[Path]) -> None:
    """Draw the figure once and write it in the format of each path's suffix."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    candidates = sorted(ranking.candidates, key=lambda layer: layer.depth)
    stores = list(dict.fromkeys(layer.store_id for layer in candidates))
    style: dict[Any, Any] = {
        "svg.hashsalt": ranking.store_id,
        "text.parse_math": False,
    }  # equal rankings give equal files; a dollar is a dollar
    with mpl.rc_context(style):
        figure = Figure(figsize=(10, 5), layout="constrained")
        halves: Any = figure.subfigures(1, 2)
        score, parts = (half.subplots() for half in halves)
        _draw_score(score, ranking, candidates, stores)
        best = ranking.candidates[0]
        _draw_parts(parts, [layer for layer in candidates if layer.store_id == best.store_id])
        parts.set_title(f"Its parts{f': {store_label(ranking, best.store_id)}' if len(stores) > 1 else ''}", fontsize=10)
        for half, axes in zip(halves, (score, parts), strict=True):
            _name_layers(axes, candidates, len(stores) == 1)
            axes.grid(axis="y", color="#e6e6e6")
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            # below the axes: anywhere inside, some ranking's curves would run through it
            half.legend(*axes.get_legend_handles_labels(), fontsize=8, frameon=False, loc="outside lower center", ncols=3)
        figure.suptitle(f"{ranking.rows:,} transitions, {ranking.episodes} episodes. {formula(ranking)}", fontsize=9)
        for path in paths:
            image = io.BytesIO()
            kind = path.suffix.removeprefix(".")
            figure.savefig(image, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {"Software": None})
            write_atomic(path, image.getvalue())


def _name_layers(axes: Any, candidates: Sequence[LayerScore], named: bool) -> None:
    shown = {layer.depth: layer.name if named else str(layer.depth) for layer in candidates}
    every = -(-len(shown) // 20)  # more names than this would run into each other
    chosen = list(shown.items())[::every]
    axes.set_xticks([depth for depth, _ in chosen], [name for _, name in chosen], rotation=45, ha="right", fontsize=8)
    axes.set_xlabel("layer, in forward order" if named else "depth (block, in forward order)")


def _draw_score(axes: Any, ranking: Ranking, candidates: Sequence[LayerScore], stores: Sequence[str]) -> None:
    for place, store in enumerate(stores):
        own = [layer for layer in candidates if layer.store_id == store]
        _line(axes, _pairs(ranking, own), STORES[place % 5], f"{MARKERS[place % 5]}-", store_label(ranking, store))
    best = ranking.candidates[0]
    if (winner := ordering(ranking, best)) is not None:
        axes.plot(
            best.depth,
            winner.value,
            "o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor="black",
            label=f"best: {title(ranking, best)}",
        )
    held = [(layer.depth, layer.confirmation.score) for layer in candidates if layer.confirmation and layer.confirmation.score]
    if held:
        axes.plot([at for at, _ in held], [one.value for _, one in held], "D", color="black", markerfacecolor="none", label="held out")
    twins = sorted((layer for layer in ranking.layers if layer.role == "twin"), key=lambda layer: layer.depth)
    for store in dict.fromkeys(layer.store_id for layer in twins):
        _line(axes, _pairs(ranking, [layer for layer in twins if layer.store_id == store]), RED, "s--", "untrained twin")
    for index, control in enumerate(layer for layer in ranking.layers if layer.role == "control"):
        if (level := ordering(ranking, control)) is not None:
            axes.axhline(level.value, color=GREY, linestyle=(":", "-.")[index % 2], label=f"control: {title(ranking, control)}")
            if level.low is not None:
                axes.axhspan(level.low, level.high, color=GREY, alpha=0.12, linewidth=0)
    axes.set_title("Score by depth (95 % intervals)", fontsize=10)
    axes.set_ylabel(f"score {short_kind(ranking)}")


def _draw_parts(axes: Any, candidates: Sequence[LayerScore]) -> None:
    _line(axes, [(layer.depth, layer.reward_r2) for layer in candidates], GREEN, "o-", "reward R²")
    _line(axes, [(layer.depth, layer.transition_r2) for layer in candidates], BLUE, "s-", "transition R²")
    _line(axes, [(layer.depth, layer.effective_rank) for layer in candidates], PURPLE, "^-", "effective rank / width")
    known = [(layer.depth, max(layer.persistence_r2, LOWEST)) for layer in candidates if layer.persistence_r2 is not None]
    label = f"persistence R² (cut at {LOWEST})"
    axes.plot([at for at, _ in known], [height for _, height in known], "--", color=BLUE, linewidth=1, alpha=0.6, label=label)
    null = [(layer.depth, layer.reward_r2_shuffled) for layer in candidates if layer.reward_r2_shuffled is not None]
    if null:
        low, high = (np.maximum([getattr(estimate, end) for _, estimate in null], LOWEST) for end in ("low", "high"))
        axes.fill_between([at for at, _ in null], low, high, color=GREEN, alpha=0.15, linewidth=0, label="shuffled reward")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_ylabel("R², share")
    axes.set_ylim(top=1.02)


def _pairs(ranking: Ranking, layers: Sequence[LayerScore]) -> list[tuple[int, Estimate | None]]:
    return [(layer.depth, ordering(ranking, layer)) for layer in layers]


def _line(axes: Any, points: Sequence[tuple[int, Estimate | None]], colour: str, style: str, label: str) -> None:
    pairs = [(depth, estimate) for depth, estimate in points if estimate is not None]
    if not pairs:
        axes.plot([], [], style, color=colour, label=f"{label}: n/a")
        return
    value = np.maximum([estimate.value for _, estimate in pairs], LOWEST)
    low = np.maximum([estimate.value if estimate.low is None else estimate.low for _, estimate in pairs], LOWEST)
    high = np.maximum([estimate.value if estimate.high is None else estimate.high for _, estimate in pairs], LOWEST)
    size = 5 if len(pairs) <= 20 else 2.5
    reach = [value - low, high - value]
    axes.errorbar([depth for depth, _ in pairs], value, yerr=reach, fmt=style, color=colour, markersize=size, capsize=size / 2, label=label)
