"""A ranking in, the figure of score by depth out: candidates with intervals, their parts, the untrained twin, the controls."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerscout.cache.records import Estimate, LayerScore, Ranking, write_atomic

BLUE, GREEN, ORANGE, PURPLE, GREY = "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#777777"  # told apart by colour-blind eyes too
LOWEST = -0.3  # a R² below this says no more than "useless"; drawing it would flatten everything else


def draw(ranking: Ranking, paths: Sequence[Path]) -> None:
    """Draw the figure once and write it in the format of each path's suffix."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    candidates = sorted(ranking.candidates, key=lambda layer: layer.depth)
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    score, parts = figure.subplots(1, 2)
    _draw_score(score, ranking, candidates)
    _draw_parts(parts, candidates)
    for axes in (score, parts):
        axes.set_xticks([layer.depth for layer in candidates], [layer.name for layer in candidates], rotation=45, ha="right")
        axes.grid(axis="y", color="#e6e6e6")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        # below the axes: anywhere inside, some ranking's curves would run through it
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=3)
    figure.suptitle(f"{ranking.backbone}: {ranking.rows:,} transitions, {ranking.episodes} episodes", fontsize=11)
    with mpl.rc_context({"svg.hashsalt": ranking.store_id}):  # equal rankings give equal files
        for path in paths:
            image = io.BytesIO()
            kind = path.suffix.removeprefix(".")
            figure.savefig(image, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else {"Software": None})
            write_atomic(path, image.getvalue())


def _draw_score(axes: Any, ranking: Ranking, candidates: Sequence[LayerScore]) -> None:
    best = ranking.candidates[0]
    _line(axes, candidates, "score", BLUE, "o-", "score S")
    if best.score is not None:
        axes.plot(
            best.depth, best.score.value, "o", markersize=13, markerfacecolor="none", markeredgecolor=BLUE, label=f"best: {best.name}"
        )
    twins = sorted((layer for layer in ranking.layers if layer.role == "twin"), key=lambda layer: layer.depth)
    if twins:
        _line(axes, twins, "score", ORANGE, "s--", "untrained twin")
    for index, control in enumerate(layer for layer in ranking.layers if layer.role == "control"):
        if control.score is not None:
            axes.axhline(control.score.value, color=GREY, linestyle=(":", "-.")[index % 2], label=f"control: {control.name}")
            if control.score.low is not None:
                axes.axhspan(control.score.low, control.score.high, color=GREY, alpha=0.12, linewidth=0)
    axes.set_title("Score by depth (95 % intervals)", fontsize=10)


def _draw_parts(axes: Any, candidates: Sequence[LayerScore]) -> None:
    _line(axes, candidates, "reward_r2", GREEN, "o-", "reward R²")
    _line(axes, candidates, "transition_r2", BLUE, "s-", "transition R²")
    _line(axes, candidates, "effective_rank", PURPLE, "^-", "effective rank / width")
    known = [layer for layer in candidates if layer.persistence_r2 is not None]
    heights = [max(layer.persistence_r2 or 0.0, LOWEST) for layer in known]
    axes.plot(
        [layer.depth for layer in known], heights, "--", color=BLUE, linewidth=1, alpha=0.6, label=f"persistence R² (cut at {LOWEST})"
    )
    null = [layer.reward_r2_shuffled for layer in candidates]
    if all(estimate is not None for estimate in null):
        low, high = (np.maximum([getattr(estimate, end) for estimate in null], LOWEST) for end in ("low", "high"))
        axes.fill_between([layer.depth for layer in candidates], low, high, color=GREEN, alpha=0.15, linewidth=0, label="shuffled reward")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_title("Its parts", fontsize=10)
    axes.set_ylim(top=1.02)


def _line(axes: Any, layers: Sequence[LayerScore], field: str, colour: str, style: str, label: str) -> None:
    pairs: list[tuple[int, Estimate]] = [(layer.depth, estimate) for layer in layers if (estimate := getattr(layer, field)) is not None]
    if not pairs:
        axes.plot([], [], style, color=colour, label=f"{label}: n/a")
        return
    value = np.maximum([estimate.value for _, estimate in pairs], LOWEST)
    low = np.maximum([estimate.value if estimate.low is None else estimate.low for _, estimate in pairs], LOWEST)
    high = np.maximum([estimate.value if estimate.high is None else estimate.high for _, estimate in pairs], LOWEST)
    axes.errorbar(
        [depth for depth, _ in pairs],
        value,
        yerr=[value - low, high - value],
        fmt=style,
        color=colour,
        markersize=5,
        capsize=3,
        label=label,
    )
