"""Rankings and run records in, SVG figures out: pictures that can be read without colour and without a legend box."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from layerscout.cache.records import Arm, Estimate, LayerScore, Ranking, RunRecord
from layerscout.report.figures.drawing import as_svg, label_ends, span
from layerscout.report.figures.palette import BLACK, BLUE, GREEN, GREY, MARKERS, PURPLE, RED, STROKES, STYLE, colour
from layerscout.report.numbers.association import Association
from layerscout.report.numbers.curves import Curve
from layerscout.report.numbers.profiles import common_levels, performance_profile
from layerscout.report.numbers.statistics import bootstrap
from layerscout.report.verdict import final_returns


def band(axes: Axes, layers: Sequence[LayerScore], estimates: Sequence[Estimate | None], shade: str, stroke: str, marker: str) -> None:
    """Draw a figure over depth with its interval; layers without it leave a gap."""
    known = [(layer.depth, estimate) for layer, estimate in zip(layers, estimates, strict=True) if estimate is not None]
    axes.plot(
        [depth for depth, _ in known], [one.value for _, one in known], stroke, color=shade, marker=marker, markersize=5, linewidth=1.8
    )
    for depth, one in known:
        if one.low is not None:
            axes.plot([depth, depth], span(one), color=shade, linewidth=1.4, alpha=0.7, solid_capstyle="butt")


def layer_curve(ranking: Ranking) -> str:
    """Draw the score by depth with intervals, the untrained twin and the pixels, and the score's three parts beside it."""
    layers = sorted(ranking.candidates, key=lambda layer: layer.depth)
    twins = sorted((layer for layer in ranking.layers if layer.role == "twin"), key=lambda layer: layer.depth)
    pixels = [layer for layer in ranking.layers if layer.role == "control"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6))
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1), gridspec_kw={"wspace": 0.62})
        depths = [layer.depth for layer in layers] or [0]
        last, ends = max(depths), []
        for group, shade, stroke, marker, text in ((layers, BLUE, "-", "o", ranking.backbone), (twins, RED, "--", "X", "untrained twin")):
            band(left, group, [layer.score for layer in group], shade, stroke, marker)
            scored = [layer.score.value for layer in group if layer.score is not None]
            ends += [(scored[-1], text, shade)] if scored else []
        for layer in pixels:
            if layer.score is not None:
                left.axhline(layer.score.value, color=GREY, linestyle="--", linewidth=1.4)
                ends.append((layer.score.value, layer.name, GREY))
        parts = (
            ("reward R²", BLUE, "-", "o", [layer.reward_r2 for layer in layers]),
            ("transition R²", GREEN, "-.", "s", [layer.transition_r2 for layer in layers]),
            ("effective rank", PURPLE, ":", "v", [layer.effective_rank for layer in layers]),
            (
                "persistence R²",
                GREY,
                "--",
                "",
                [None if layer.persistence_r2 is None else Estimate(value=layer.persistence_r2) for layer in layers],
            ),
        )
        right_ends = []
        for text, shade, stroke, marker, values in parts:
            band(right, layers, values, shade, stroke, marker)
            known = [value.value for value in values if value is not None]
            right_ends.append((known[-1] if known else 0.0, text if known else f"{text}: n/a", shade))
        for axes, title, texts in ((left, "Score by depth", ends), (right, "What the score is made of", right_ends)):
            axes.set_title(title)
            axes.set_xticks(depths[:: max(1, len(depths) // 10)])
            axes.set_xlabel("depth of the layer (0 = first)")
            axes.set_xlim(min(depths) - 0.25, last + 0.25)
            label_ends(axes, last + 0.25, texts)
        if not any(layer.score for layer in ranking.layers):
            left.set_axis_off()
            left.text(
                0.5,
                0.5,
                "the score is undefined (n/a)\nbecause one of its parts is",
                ha="center",
                va="center",
                transform=left.transAxes,
                color=GREY,
            )
        return as_svg(figure, "layer-curve")


def learning_curves(curves: Sequence[Curve], arms: Sequence[Arm], best: str | None, random_return: float | None, name: str) -> str:
    """Draw each arm's mean over seeds with its bootstrap band; the axis is updates, steps or episodes, as the curves say."""
    of_name = {arm.name: arm for arm in arms}
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 4.2))
        axes = figure.subplots()
        ends, right = [], max((float(curve.x[-1]) for curve in curves), default=1.0)
        for curve in curves:
            arm = of_name[curve.arm]
            shade = colour(arm, best)
            wide = 2.4 if arm.name == best else 1.5
            axes.plot(curve.x, curve.mean, STROKES.get(arm.kind, "-"), color=shade, linewidth=wide, zorder=3 if arm.name == best else 2)
            if curve.low is not None and curve.high is not None:
                axes.fill_between(curve.x, curve.low, curve.high, color=shade, alpha=0.13, linewidth=0)
            ends.append((float(curve.mean[-1]), arm.name, shade))
        if random_return is not None:
            axes.axhline(random_return, color=BLACK, linewidth=1, linestyle=(0, (1, 3)))
            ends.append((random_return, "random policy", BLACK))
        left = min((float(curve.x[0]) for curve in curves), default=0.0)
        axes.set_xlim(left if left < right else 0.0, right)  # a single evaluation has no span of its own
        axes.set_xlabel(curves[0].axis if curves else "")
        axes.set_ylabel("return (mean over seeds)")
        label_ends(axes, right, ends)
        return as_svg(figure, name)


def final_points(record: RunRecord, best: str | None, name: str) -> str:
    """Draw every seed's final return as a point, with each arm's interquartile mean and interval over them."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.9 + 0.42 * len(record.arms)))
        axes = figure.subplots()
        for row, arm in enumerate(record.arms):
            values, shade = final_returns(record, arm.name), colour(arm, best)
            nudge = 0.16 * np.sin(np.arange(len(values)) * 2.4)  # spread equal points a little, the same way every time
            axes.plot(values, row + nudge, MARKERS.get(arm.kind, "o"), color=shade, markersize=5, alpha=0.55, markeredgewidth=0)
            middle = bootstrap([values])
            if middle is not None:
                axes.plot([middle.value], [row], "|", color=BLACK, markersize=15, markeredgewidth=2.2)
                axes.plot(span(middle), [row, row], color=BLACK, linewidth=1.6)
            failed = sum(run.arm == arm.name and run.status == "failed" for run in record.runs)
            if failed:
                axes.annotate(
                    f"{failed} failed",
                    (1, row),
                    (6, 0),
                    xycoords=("axes fraction", "data"),
                    textcoords="offset points",
                    va="center",
                    color=RED,
                )
        if record.random_policy_return is not None:
            axes.axvline(record.random_policy_return, color=BLACK, linewidth=1, linestyle=(0, (1, 3)))
            axes.annotate(
                "random policy",
                (record.random_policy_return, 1),
                (3, 2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=9,
            )
        axes.set_yticks(range(len(record.arms)), [arm.name for arm in record.arms])
        axes.set_ylim(len(record.arms) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("final return: one point a seed; bar: interquartile mean with 95 % interval")
        return as_svg(figure, name)


def profiles(record: RunRecord, best: str | None, name: str) -> str:
    """Draw for each arm which share of its runs ended above every level of return, with its band; the higher curve is better."""
    arms = [(arm, values) for arm in record.arms if len(values := final_returns(record, arm.name))]
    levels = common_levels([values for _, values in arms])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 4.2))
        axes = figure.subplots()
        handles = []
        for arm, values in arms:
            profile, shade, ours = performance_profile([values], levels), colour(arm, best), arm.name == best
            if profile is None:
                continue
            (line,) = axes.plot(
                levels, profile.share, STROKES.get(arm.kind, "-"), color=shade, linewidth=2.4 if ours else 1.5, zorder=3 if ours else 2
            )
            handles.append((line, f"{arm.name} ({arm.kind})"))
            if profile.low is not None and profile.high is not None:
                axes.fill_between(levels, profile.low, profile.high, color=shade, alpha=0.1, linewidth=0)
        axes.set_xlim(levels[0], levels[-1])
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("final return τ")
        axes.set_ylabel("share of runs above τ")
        axes.legend(*zip(*handles, strict=True), loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=9, handlelength=2.6)
        return as_svg(figure, name)


def scatter(
    arms: Sequence[Arm], returns: Sequence[Float[np.ndarray, " seed"]], best: str | None, association: Association | None, name: str
) -> str:
    """Draw score against return, one point a layer, with each return's interval; names stand at the right, joined by a hair line."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 4.2))
        axes = figure.subplots()
        points = []
        for arm, values in zip(arms, returns, strict=True):
            middle, shade = bootstrap([values]), colour(arm, best)
            if middle is None or arm.score is None:
                continue
            axes.plot([arm.score] * 2, span(middle), color=shade, linewidth=1.4)
            axes.plot([arm.score], [middle.value], MARKERS.get(arm.kind, "o"), color=shade, markersize=8)
            points.append((arm.score, middle.value, arm.name, shade))
        axes.margins(x=0.06)
        left, right = axes.get_xlim()
        axes.set_xlim(left, right)
        low, high = axes.get_ylim()
        if low < high:  # of one return without an interval they are equal
            axes.set_ylim(low, high)
        places = label_ends(axes, right, [(height, text, shade) for _, height, text, shade in points])
        for (score, height, _, shade), place in zip(points, places, strict=True):
            axes.plot([score, right], [height, place], color=shade, linewidth=0.6, alpha=0.6, clip_on=False)
        axes.set_xlabel("probe score of the layer")
        axes.set_ylabel("final return (interquartile mean)")
        if association is not None:
            axes.set_title(f"Spearman {association.spearman.value:.2f} [{association.spearman.low:.2f}, {association.spearman.high:.2f}]")
        return as_svg(figure, name)
