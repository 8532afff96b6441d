"""A drawing in, SVG out: an element for a page, which takes the page's colours, or a file with colours of its own."""

from __future__ import annotations

from collections.abc import Callable

from layerscout.pages.drawing import FACES, PENS, Area, Drawing, DrawingItem, Group, Mark, Shared, Stroke, Words, corners
from layerscout.pages.palette import MARKS, PALETTE
from layerscout.text import html_text

FONT = "system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
Paint = Callable[[str, str | None], str]  # a kind and the colour around it in, attributes out


def element(drawing: Drawing, name: str = "") -> str:
    """Return a drawing as an element of a page: the page's style sheet (`css_rules`) colours it, also in the dark.

    Parameters
    ----------
    drawing
        What to write.
    name
        A class of the element, as ``wide`` or ``narrow``.
    """
    size = f'width="{drawing.width:g}" height="{drawing.height:g}" viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    kind = f' class="{name}"' if name else ""
    writer = _Writer(lambda kind, _: "" if kind == "label" else f' class="{kind}"', lambda colour: f' class="{colour}"')
    return f'<svg{kind} {size} role="img" aria-label="{html_text(drawing.label)}">{writer.all(drawing.items)}</svg>'


def file(drawing: Drawing) -> str:
    """Return a drawing as a file of its own, in light colours on white, without style sheet or variables.

    Not every program that shows SVG knows style sheets, so each element carries its own colours.
    """
    size = f'width="{drawing.width:g}" height="{drawing.height:g}" viewBox="0 0 {drawing.width:g} {drawing.height:g}"'
    ground = f'<rect width="100%" height="100%" fill="{PALETTE["page"].light}"/>'
    body = _Writer(_attributes, lambda colour: "").all(drawing.items)
    font = FONT.replace("'", "")
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{font}">'
    return f"{head}<title>{html_text(drawing.label)}</title>{ground}{body}</svg>\n"


def css_rules() -> str:
    """Return the style sheet's rules for elements: one class a colour, a kind of pen and a kind of words."""
    rules = [f".{name} {{ color: var(--{name}); }}" for name in (*MARKS, "ink", "soft")]
    for name, pen in PENS.items():
        parts = [f"fill: {_variable(pen.fill)}", f"stroke: {_variable(pen.stroke)}"]
        parts += [f"stroke-width: {pen.width:g}"] if pen.stroke else []
        parts += [f"stroke-dasharray: {' '.join(map(_short, pen.dash))}"] if pen.dash else []
        parts += [f"opacity: {pen.opacity:g}"] if pen.opacity < 1 else []
        rules.append(f".{name} {{ {'; '.join(parts)}; }}")
    for name, face in FACES.items():
        weight = " font-weight: 600;" if face.bold else ""
        chosen = "text" if name == "label" else f"text.{name}"  # no ancestor named: what <use> repeats has none
        rules.append(f"{chosen} {{ font-size: {face.size:g}px; fill: var(--{face.colour}); stroke: none;{weight} }}")
    return "\n".join(rules)


def _variable(colour: str | None) -> str:
    return "none" if colour is None else "currentColor" if colour == "current" else f"var(--{colour})"


def _plain(colour: str | None, around: str | None) -> str:
    return "none" if colour is None else PALETTE[(around or "ink") if colour == "current" else colour].light


def _attributes(kind: str, around: str | None) -> str:
    if kind in FACES:
        face = FACES[kind]
        weight = ' font-weight="600"' if face.bold else ""
        return f' font-size="{face.size:g}" fill="{PALETTE[face.colour].light}"{weight}'
    pen = PENS[kind]
    text = f' fill="{_plain(pen.fill, around)}"'
    if pen.stroke:
        text += f' stroke="{_plain(pen.stroke, around)}" stroke-width="{pen.width:g}"'
    if pen.dash:
        text += f' stroke-dasharray="{" ".join(map(_short, pen.dash))}"'
    return text + (f' opacity="{pen.opacity:g}"' if pen.opacity < 1 else "")


class _Writer:
    """Writes items one after another; ``paint`` says how a kind looks, ``tint`` how a group is coloured."""

    def __init__(self, paint: Paint, tint: Callable[[str], str]) -> None:
        self.paint, self.tint = paint, tint
        self.known: set[str] = set()

    def all(self, items: object, colour: str | None = None) -> str:
        return "".join(self.one(item, colour) for item in items)  # type: ignore[attr-defined]

    def one(self, item: DrawingItem, colour: str | None) -> str:
        match item:
            case Stroke(points, kind, hint):
                return _closed("path", f' d="M{_path(points)}"{self.paint(kind, colour)}', hint) if points else ""
            case Area(points, kind, hint):
                return _closed("path", f' d="M{_path(points)}Z"{self.paint(kind, colour)}', hint) if points else ""
            case Mark(shape, x, y, size, kind, hint):
                if shape in ("circle", "ring"):
                    return _closed("circle", f' cx="{_short(x)}" cy="{_short(y)}" r="{size:g}"{self.paint(kind, colour)}', hint)
                return _closed("path", f' d="M{_path(corners(item))}Z"{self.paint(kind, colour)}', hint)
            case Words(x, y, text, anchor, kind, turn):
                end = f' text-anchor="{anchor}"' if anchor != "start" else ""
                rotation = f' transform="rotate({turn:g} {_short(x)} {_short(y)})"' if turn else ""
                return f'<text x="{_short(x)}" y="{_short(y)}"{end}{rotation}{self.paint(kind, colour)}>{html_text(text)}</text>'
            case Group(items, own, move, hint):
                moved = f' transform="translate({_short(move[0])} {_short(move[1])})"' if move != (0.0, 0.0) else ""
                title = f"<title>{html_text(hint)}</title>" if hint else ""
                return f"<g{self.tint(own) if own else ''}{moved}>{title}{self.all(items, own or colour)}</g>"
            case Shared(name, own_item):
                if own_item is None or name in self.known:
                    return f'<use href="#{html_text(name)}"/>'
                self.known.add(name)
                return f'<g id="{html_text(name)}">{self.one(own_item, colour)}</g>'
        raise TypeError(f"{type(item).__name__} cannot be drawn")


def _closed(tag: str, attributes: str, hint: str) -> str:
    return f"<{tag}{attributes}><title>{html_text(hint)}</title></{tag}>" if hint else f"<{tag}{attributes}/>"


def _path(points: object) -> str:
    return " ".join(f"{_short(x)} {_short(y)}" for x, y in points)  # type: ignore[attr-defined]


def _short(value: float) -> str:
    return f"{round(value, 1):g}"
