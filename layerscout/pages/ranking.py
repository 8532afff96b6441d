"""A ranking in; what its layers are called, and the figure of their scores by depth out: the same for every stage's page and file."""

from __future__ import annotations

from collections.abc import Sequence

from layerscout.cache.records import Estimate, LayerScore, Ranking, as_table_value
from layerscout.pages.axes import LETTER, shorten
from layerscout.pages.charts import Level, Panel, Plot, Point, Series, as_drawing, draw_plot, tile
from layerscout.pages.drawing import Drawing, Group, Words
from layerscout.pages.palette import Look
from layerscout.pages.rows import NARROW
from layerscout.showing import counted

STORES = ("blue", "green", "purple", "orange", "sky", "ink")  # red is the untrained blocks'
STORE_SHAPES = ("circle", "square", "triangle", "diamond")
TWIN = Look("red", "dashed", "square")
CONTROL_STROKES = ("thin", "dotted")
LOWEST = -0.3  # an R² below this says no more than "useless"; drawing it would flatten everything else
UNTRAINED = " (untrained)"
CONFIRMED = "on held-out episodes"
SHUFFLED = "reward R² with shuffled rewards"


def short_kind(ranking: Ranking) -> str:
    """Return the name of the score that orders, without its version: ``S``, ``S-across``, ``S-skill`` or ``S-ctrl``."""
    return ranking.score_kind.partition("/")[0]


def ordering(ranking: Ranking, layer: LayerScore) -> Estimate | None:
    """Return the score that orders this ranking; of S-ctrl, whose order is by ranks, what the layer has by itself."""
    return layer.ordered_by(ranking.score_kind)


def has_state(ranking: Ranking) -> bool:
    """Whether the dataset has a state that some layer was asked for."""
    return any(layer.targets.get("state") for layer in ranking.layers)


def store_label(ranking: Ranking, store_id: str) -> str:
    """Return what tells a store from the others: its label, else its backbone."""
    found = next((store for store in ranking.stores if store.store_id == store_id), None)
    return (found.label or found.backbone) if found else ranking.backbone


def labelled_name(ranking: Ranking, layer: LayerScore) -> str:
    """Return a layer's name, with its store's label when there are several."""
    return f"{layer.label}: {layer.name}" if len(ranking.stores) > 1 and layer.label else layer.name


def layer_title(ranking: Ranking, layer: LayerScore) -> str:
    """Return a layer's labelled name, and "untrained" for a twin."""
    name = labelled_name(ranking, layer)
    return name + UNTRAINED if layer.role == "twin" else name


def twin_of(ranking: Ranking, layer: LayerScore) -> LayerScore | None:
    """Return the same block of the untrained backbone."""
    return next((one for one in ranking.layers if one.role == "twin" and (one.name, one.label) == (layer.name, layer.label)), None)


def best_twin(ranking: Ranking) -> LayerScore | None:
    """Return the untrained block with the best score: what the winner must be told apart from, whichever block it is."""
    known = [(found.value, one) for one in ranking.layers if one.role == "twin" and (found := ordering(ranking, one)) is not None]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def by_depth(ranking: Ranking, role: str = "layer", store: str | None = None) -> list[LayerScore]:
    """Return the layers of a role, of one store or of all, in forward order."""
    return sorted((one for one in ranking.layers if one.role == role and store in (None, one.store_id)), key=lambda layer: layer.depth)


def stores_of(layers: Sequence[LayerScore]) -> list[str]:
    """Return the stores that layers lie in, each once, in their order."""
    return list(dict.fromkeys(layer.store_id for layer in layers))


def draw_score(ranking: Ranking, width: float) -> Drawing:
    """Draw every store's layers in forward order with intervals, the untrained blocks, the controls, and the confirmed scores."""
    return as_drawing(draw_plot(_score_plot(ranking, width), width, 300 if width >= NARROW else 240), answer_of(ranking))


def draw_score_and_parts(ranking: Ranking, width: float) -> Drawing:
    """Draw the score by depth, and beside or below it what it is made of."""
    wide = width >= NARROW
    best = ranking.candidates[0] if ranking.candidates else None
    title = "Its parts, and those of S" if short_kind(ranking) == "S-ctrl" else "Its parts"
    title += "" if len(ranking.stores) < 2 or best is None else f": {store_label(ranking, best.store_id)}"
    left, right = (width * 0.56, width * 0.44) if wide else (width, width)
    height = 250 if wide else 220
    panels = [
        draw_plot(_score_plot(ranking, left), left - 24, height, "Score by depth"),
        draw_plot(_parts_plot(ranking, right), right, height, title),
    ]
    apart = [panels[0], Panel(24 if wide else 0, 0, ()), panels[1]] if wide else panels
    return as_drawing(tile(apart, 3 if wide else 1), answer_of(ranking))


def draw_file(ranking: Ranking, width: float, formula: str) -> Drawing:
    """Draw the figure that stands in a file of its own: the score and its parts under a line on what was measured."""
    drawing = draw_score_and_parts(ranking, width)
    under = f"{counted(ranking.rows, 'transition')}, {counted(ranking.episodes, 'episode')}. {formula}"
    head = Words(4, 14, shorten(under, int(width / LETTER)), kind="axis")
    body = Group(drawing.items, move=(12, 24))
    return Drawing(drawing.width + 24, drawing.height + 36, drawing.label, (head, body))


def answer_of(ranking: Ranking) -> str:
    """Return in words what the figure of scores shows."""
    scored = [layer for layer in ranking.candidates if ordering(ranking, layer) is not None]
    if not scored:
        return f"Score by depth of {counted(len(ranking.candidates), 'layer')}: n/a for all of them"
    best = scored[0]
    answer = f"Score by depth of {counted(len(ranking.candidates), 'layer')}: {layer_title(ranking, best)} is first with {as_table_value(ordering(ranking, best))}"
    twin = twin_of(ranking, best)
    others = [("the same block untrained", twin)] if twin is not None else []
    highest = best_twin(ranking)
    others += (
        [(f"the best untrained block {labelled_name(ranking, highest)}", highest)] if highest is not None and highest is not twin else []
    )
    others += [(f"the control {labelled_name(ranking, layer)}", layer) for layer in ranking.layers if layer.role == "control"]
    return answer + "".join(f", {name} has {as_table_value(ordering(ranking, layer))}" for name, layer in others)


def _score_plot(ranking: Ranking, width: float) -> Plot:
    candidates = by_depth(ranking)
    stores, twins = stores_of(candidates), stores_of(by_depth(ranking, "twin"))
    depths = sorted({layer.depth for layer in candidates}) or [0]
    room = (width - 70) / (depths[-1] - depths[0] + 1)  # what shares a depth stands side by side: no interval hides another
    apart = min(5.0, 0.8 * room / (len(stores) + len(twins) or 1))
    shown: list[Series] = []
    for place, store in enumerate(twins, 1):
        shown.append(_scores(ranking, by_depth(ranking, "twin", store), TWIN, "same blocks, untrained", -apart * place))
    confirmed: list[Series] = []
    for place, store in enumerate(stores):
        own = by_depth(ranking, "layer", store)
        look = Look(STORES[place % len(STORES)], "thick", STORE_SHAPES[place % len(STORE_SHAPES)])
        shown.append(_scores(ranking, own, look, store_label(ranking, store), apart * place))
        confirmed += _confirmed(ranking, own, "" if confirmed else CONFIRMED, look.colour, apart * (len(stores) + place) + 3)
    return Plot(
        series=(*shown, *confirmed, *_best(ranking, stores, apart)),
        levels=_controls(ranking),
        names=_names(ranking, candidates),
        x_title="depth (block, in forward order)" if len(stores) > 1 else "layer, in forward order",
        y_title=f"score {short_kind(ranking)}",
    )


def _scores(ranking: Ranking, layers: Sequence[LayerScore], look: Look, name: str, shift: float) -> Series:
    points = tuple(_point(layer, ordering(ranking, layer), layer_title(ranking, layer)) for layer in layers)
    return Series(name, look, points, shift)


def _point(layer: LayerScore, estimate: Estimate | None, name: str) -> Point:
    if estimate is None:
        return Point(layer.depth, None)
    return Point(layer.depth, estimate.value, estimate.low, estimate.high, f"{name}: {as_table_value(estimate)}")


def _confirmed(ranking: Ranking, layers: Sequence[LayerScore], name: str, colour: str, shift: float) -> list[Series]:
    known = [
        (layer, layer.confirmation.score) for layer in layers if layer.confirmation is not None and layer.confirmation.score is not None
    ]
    points = tuple(_point(layer, score, f"{layer_title(ranking, layer)} {CONFIRMED}") for layer, score in known)
    return [Series(name, Look(colour, "", "diamond", hollow=True), points, shift)] if points else []


def _best(ranking: Ranking, stores: Sequence[str], apart: float) -> list[Series]:
    if not ranking.candidates or (winner := ordering(ranking, best := ranking.candidates[0])) is None:
        return []
    point = Point(best.depth, winner.value, hint=f"{layer_title(ranking, best)}: {as_table_value(winner)}")
    return [Series(f"best: {layer_title(ranking, best)}", Look("ink", "", "ring"), (point,), apart * stores.index(best.store_id))]


def _controls(ranking: Ranking) -> tuple[Level, ...]:
    found: list[Level] = []
    for layer in ranking.layers:
        estimate = ordering(ranking, layer)
        if layer.role == "control" and estimate is not None:
            stroke, name = CONTROL_STROKES[len(found) % 2], f"control: {layer_title(ranking, layer)}"
            hint = f"{layer_title(ranking, layer)}: {as_table_value(estimate)}"
            found.append(Level(name, Look("soft", stroke, ""), estimate.value, estimate.low, estimate.high, hint))
    return tuple(found)


def _names(ranking: Ranking, candidates: Sequence[LayerScore]) -> dict[float, str]:
    shared = len(ranking.stores) > 1
    return {float(layer.depth): str(layer.depth) if shared else shorten(layer.name, 22) for layer in candidates}


def _parts_plot(ranking: Ranking, width: float) -> Plot:
    candidates = by_depth(ranking)
    if ranking.candidates:
        candidates = [layer for layer in candidates if layer.store_id == ranking.candidates[0].store_id]
    parts: list[tuple[str, Look, list[Estimate | None]]] = []
    if short_kind(ranking) == "S-ctrl":
        parts.append(("action’s effect", Look("orange", "thick", "diamond"), [_alone(control_shares(layer)[0]) for layer in candidates]))
        if has_state(ranking):
            parts.append(("state R²", Look("sky", "thick", "circle"), [control_shares(layer)[1] for layer in candidates]))
    parts += [
        ("reward R²", Look("green", "thick", "circle"), [layer.reward_r2 for layer in candidates]),
        ("transition R²", Look("blue", "thick", "square"), [layer.transition_r2 for layer in candidates]),
        ("effective rank / width", Look("purple", "thick", "triangle"), [layer.effective_rank for layer in candidates]),
        ("persistence R²", Look("grey", "dashed", ""), [_alone(layer.persistence_r2) for layer in candidates]),
        (SHUFFLED, Look("green", "dotted", ""), [layer.reward_r2_shuffled for layer in candidates]),
    ]
    shown = []
    for name, look, values in parts:
        points = tuple(
            _point(layer, one, f"{layer.name}, {name}") for layer, one in zip(candidates, values, strict=True) if one is not None
        )
        shown.append(Series(name if points else f"{name}: n/a", look, points, band=name == SHUFFLED))
    return Plot(
        series=tuple(shown),
        names=_names(ranking, candidates),
        x_title="layer, in forward order",
        y_title=f"R², share (cut at {LOWEST:g})".replace("-", "−"),
        lowest=LOWEST,
        over=(0.0, 1.0),
    )


def control_shares(layer: LayerScore) -> tuple[float | None, Estimate | None]:
    """Return the two parts of a layer's S-ctrl, each in [0, 1]: the share of the action's effect that stands out, and state R² where it is known.

    The score is their mean, or the first alone.
    """
    state, whole = layer.targets.get("state"), layer.control_score
    if whole is None or state is None:
        return whole.value if whole else None, None
    low, high = (None if end is None else min(max(end, 0.0), 1.0) for end in (state.low, state.high))
    known = Estimate(value=min(max(state.value, 0.0), 1.0), low=low, high=high)
    return 2 * whole.value - known.value, known


def _alone(value: float | None) -> Estimate | None:
    return None if value is None else Estimate(value=value)
