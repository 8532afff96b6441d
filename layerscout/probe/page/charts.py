"""A ranking in; the picture of score by depth and the picture of the order with its parts and its doubts out, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from layerscout.cache.records import Estimate, LayerScore, Ranking, as_table_value
from layerscout.probe.page import svg
from layerscout.probe.page.wording import ordering, parts_of, short_kind, store_label, title, twin_of

WIDTH = 1060
STORES = ("blue", "green", "purple", "orange", "sky", "ink")  # red is the untrained blocks'
CONTROL_STROKES = ("", "dotted")


def ends(estimate: Estimate) -> tuple[float, float]:
    """Return the interval's ends; both at the value when there is no interval."""
    return (estimate.value if estimate.low is None else estimate.low), (estimate.value if estimate.high is None else estimate.high)


def score_by_depth(ranking: Ranking) -> str:
    """Draw every store's layers in forward order with intervals, the untrained blocks, the controls, and the confirmed scores."""
    scored = [layer for layer in ranking.layers if ordering(ranking, layer) is not None]
    if not scored:
        return ""
    candidates = sorted(ranking.candidates, key=lambda layer: layer.depth)
    stores = list(dict.fromkeys(layer.store_id for layer in candidates))
    entries = _entries(ranking, stores)
    keys, top = svg.legend(entries, 60, WIDTH - 10, 2)
    top += 8
    x = svg.Scale(candidates[0].depth - 0.5, candidates[-1].depth + 0.5, 60, WIDTH - 12)
    names, below = _names(ranking, candidates, stores, x)
    height = 320
    values = [end for layer in scored for end in ends(_known(ordering(ranking, layer)))]
    values += [end for layer in candidates if (held := _confirmed(layer)) is not None for end in ends(held)]
    y = svg.covering(values, top + height, top)
    parts = [keys, svg.rising_axis(y, 60, WIDTH - 12, f"score {short_kind(ranking)}"), *_controls(ranking, y)]
    twins = _twin_stores(ranking)
    room = (x.stop - x.start) / (x.high - x.low)  # for one depth; what shares it stands side by side, so that no interval hides another
    apart = min(5.0, 0.8 * room / (len(stores) + len(twins)))
    parts += [
        _row(ranking, _of(ranking, "twin", store), x.moved(-apart * place), y, "twin", "square") for place, store in enumerate(twins, 1)
    ]
    for place, store in enumerate(stores):
        own, colour, aside = _of(ranking, "layer", store), STORES[place % len(STORES)], x.moved(apart * place)
        parts.append(_row(ranking, own, aside, y, colour, svg.SHAPES[place % len(svg.SHAPES)]))
        parts += [_held(layer, x.moved(apart * (len(stores) + place)), y, colour) for layer in own if _confirmed(layer) is not None]
    best = ranking.candidates[0]
    if (winner := ordering(ranking, best)) is not None:
        across = x(best.depth) + apart * stores.index(best.store_id)
        parts.append(f'<circle cx="{across:g}" cy="{y(winner.value):g}" r="9" class="ring"/>')
    parts.append(f'<g transform="translate(0 {top + height:g})">{names}</g>')
    label = f"Score by depth of {len(candidates)} layers; best is {title(ranking, best)} with {as_table_value(winner)}"
    return svg.drawing(WIDTH, top + height + below, label, *parts)


def _known(estimate: Estimate | None) -> Estimate:
    assert estimate is not None, "only scored layers are drawn"
    return estimate


def _confirmed(layer: LayerScore) -> Estimate | None:
    return layer.confirmation.score if layer.confirmation else None


def _of(ranking: Ranking, role: str, store: str) -> list[LayerScore]:
    return sorted((layer for layer in ranking.layers if layer.role == role and layer.store_id == store), key=lambda layer: layer.depth)


def _twin_stores(ranking: Ranking) -> list[str]:
    return list(dict.fromkeys(layer.store_id for layer in ranking.layers if layer.role == "twin"))


def _entries(ranking: Ranking, stores: Sequence[str]) -> list[tuple[str, str, str]]:
    stroke = svg.line(-12, 0, 12, 0, "thick")
    entries = []
    for place, store in enumerate(stores):
        shape = svg.mark(svg.SHAPES[place % len(svg.SHAPES)], 0, 0)
        entries.append((STORES[place % len(STORES)], stroke + svg.line(0, -9, 0, 9, "whisker") + shape, store_label(ranking, store)))
    entries.append(("ink", '<circle r="8" class="ring"/>', f"best: {svg.shorten(ranking.candidates[0].name, 24)}"))
    if any(_confirmed(layer) for layer in ranking.candidates):
        entries.append(("ink", svg.mark("diamond", 0, 0, 4, hollow=True), "on held-out episodes"))
    if _twin_stores(ranking):
        entries.append(("twin", svg.line(-12, 0, 12, 0, "dashed") + svg.mark("square", 0, 0), "same blocks, untrained"))
    for place, layer in enumerate(layer for layer in ranking.layers if layer.role == "control"):
        if ordering(ranking, layer) is not None:
            sample = svg.bar(-12, -6, 24, 12, "band") + svg.line(-12, 0, 12, 0, f"control {CONTROL_STROKES[place % 2]}")
            entries.append(("soft", sample, f"control: {title(ranking, layer)}"))
    return entries


def _names(ranking: Ranking, candidates: Sequence[LayerScore], stores: Sequence[str], x: svg.Scale) -> tuple[str, float]:
    """Write the layers' names under the axis, or their depths when several stores share it; return them and their height."""
    shared = len(stores) > 1
    shown = {layer.depth: str(layer.depth) if shared else svg.shorten(layer.name, 22) for layer in candidates}
    step = (x.stop - x.start) / (x.high - x.low)
    longest = max(map(len, shown.values())) * svg.LETTER
    every = max(1, round(15 / step + 0.499))  # names closer than 15 pixels would run into each other
    parts, below = [], 20.0
    for depth, name in shown.items():
        if depth % every:
            continue
        if longest + 8 < step * every:
            parts.append(svg.text(x(depth), 16, name, "middle", "tick"))
        else:
            parts.append(svg.text(x(depth) + 4, 10, name, "end", "tick", -60))
            below = max(below, 0.87 * longest + 18)
    words = "depth (block, in forward order)" if shared else "layer, in forward order"
    parts.append(svg.text((x.start + x.stop) / 2, below + 12, words, "middle", "axis"))
    return "".join(parts), below + 18


def _controls(ranking: Ranking, y: svg.Scale) -> list[str]:
    parts = []
    for place, layer in enumerate(layer for layer in ranking.layers if layer.role == "control"):
        estimate = ordering(ranking, layer)
        if estimate is None:
            continue
        low, high = ends(estimate)
        area = svg.bar(60, y(high), WIDTH - 72, max(y(low) - y(high), 1), "band")
        stroke = svg.line(60, y(estimate.value), WIDTH - 12, y(estimate.value), f"control {CONTROL_STROKES[place % 2]}")
        parts.append(svg.group("soft", area, stroke, hint=f"{title(ranking, layer)}: {as_table_value(estimate)}"))
    return parts


def _row(ranking: Ranking, layers: Sequence[LayerScore], x: svg.Scale, y: svg.Scale, colour: str, shape: str) -> str:
    known = [(layer, estimate) for layer in layers if (estimate := ordering(ranking, layer)) is not None]
    points = [(x(layer.depth), y(estimate.value)) for layer, estimate in known]
    parts = [svg.path(points, "dashed" if colour == "twin" else "thick")]
    for layer, estimate in known:
        low, high = ends(estimate)
        parts.append(svg.line(x(layer.depth), y(low), x(layer.depth), y(high), "whisker"))
        parts.append(svg.mark(shape, x(layer.depth), y(estimate.value), hint=f"{title(ranking, layer)}: {as_table_value(estimate)}"))
    parts += [svg.text(x(layer.depth), y.start - 4, "n/a", "middle", "tick") for layer in layers if ordering(ranking, layer) is None]
    return svg.group(colour, *parts)


def _held(layer: LayerScore, x: svg.Scale, y: svg.Scale, colour: str) -> str:
    estimate = _known(_confirmed(layer))
    low, high = ends(estimate)
    across = x(layer.depth) + 3
    hint = f"{layer.name} on held-out episodes: {as_table_value(estimate)}"
    whisker = svg.line(across, y(low), across, y(high), "thin")
    return svg.group(colour, whisker, svg.mark("diamond", across, y(estimate.value), 4, hint, hollow=True))


def order_of_layers(ranking: Ranking) -> str:
    """Draw one line a layer, best first: the parts that add up to its score, its distance from the best, its chance of the top k."""
    rows = [*ranking.candidates, *(layer for layer in ranking.layers if layer.role == "control")]
    rows += [twin] if (twin := twin_of(ranking, ranking.candidates[0])) is not None else []
    tall = 22 if len(rows) <= 24 else 17
    keys, top = svg.legend(_part_entries(ranking), 230, WIDTH - 10, 0)
    top += 22
    bottom = top + tall * len(rows)
    tops = [end for layer in rows if (estimate := ordering(ranking, layer)) is not None for end in (0.0, *ends(estimate))]
    scale = svg.covering([0.0, 0.1, *tops], 230, 560)
    behind = [end for layer in rows if layer.behind_best is not None for end in ends(layer.behind_best)]
    parts = [keys, svg.level_axis(scale, top, bottom, f"score {short_kind(ranking)}", 5)]
    back = svg.covering([0.0, *behind], 680, 930) if behind else None
    if back is not None:
        parts += [svg.level_axis(back, top, bottom, "behind the best (paired)", 5), svg.line(back(0), top, back(0), bottom, "zero")]
    chance = f"in the top {ranking.top_k}" if ranking.top_k else "in the top k"
    if any(layer.p_top_k is not None for layer in rows):
        parts.append(svg.text(WIDTH - 10, top - 8, f"P({chance})", "end", "axis"))
    for place, layer in enumerate(rows):
        parts.append(_order_row(ranking, layer, place, top + tall * place, tall, scale, back))
    label = f"The order of {len(ranking.candidates)} layers with the parts of their scores"
    return svg.drawing(WIDTH, bottom + 38, label, *parts)


def _part_entries(ranking: Ranking) -> list[tuple[str, str, str]]:
    colours = ("green", "blue", "purple")
    named = parts_of(ranking, ranking.candidates[0])
    entries = [(colour, svg.bar(-12, -7, 24, 14, "fill"), words) for colour, (words, _) in zip(colours, named, strict=True)]
    return [*entries, ("ink", svg.line(-10, 0, 10, 0, "whisker"), "95 % interval")]


def _order_row(ranking: Ranking, layer: LayerScore, place: int, top: float, tall: float, scale: svg.Scale, back: svg.Scale | None) -> str:
    middle = top + tall / 2
    ranked = layer.role == "layer"
    name = svg.shorten(title(ranking, layer), 28)
    parts = [svg.text(30, middle + 4, str(place + 1) if ranked else "–", "end", "tick"), svg.text(40, middle + 4, name, kind="name")]
    x = scale(0)
    for colour, (words, share) in zip(("green", "blue", "purple"), parts_of(ranking, layer), strict=True):
        if share is not None:
            wide = scale(share) - scale(0)
            parts.append(svg.group(colour, svg.bar(x, top + 3, wide, tall - 6, "fill"), hint=f"{layer.name}, {words}: {share:.3f}"))
            x += wide
    estimate = ordering(ranking, layer)
    if estimate is not None:
        low, high = ends(estimate)
        parts.append(svg.group("ink", svg.line(scale(low), middle, scale(high), middle, "whisker")))
        missing = "" if layer.reward_r2 is not None else " (reward n/a)"
        parts.append(svg.text(572, middle + 4, f"{estimate.value:.3f}{missing}", kind="figure"))
    else:
        parts.append(svg.text(572, middle + 4, "n/a", kind="figure"))
    if back is not None and layer.behind_best is not None:
        low, high = ends(layer.behind_best)
        hint = f"{layer.name} behind the best: {as_table_value(layer.behind_best)}"
        dot = svg.mark("circle", back(layer.behind_best.value), middle, 3.5, hint)
        parts.append(svg.group("red", svg.line(back(low), middle, back(high), middle, "whisker"), dot))
    elif back is not None and ranked:
        parts.append(svg.text(back(0) + 6, middle + 4, "the best" if place == 0 else "n/a", kind="tick"))
    if layer.p_top_k is not None:
        parts.append(svg.text(WIDTH - 10, middle + 4, f"{layer.p_top_k:.2f}", "end", "figure"))
    return "".join(parts)
