"""Names of colours in, their hexadecimal values on a light and on a dark page out: one palette for every figure and page.

The hues are those of Okabe and Ito, which common colour blindnesses tell apart, moved in lightness until each mark stands out
from its page by a contrast of 3 and each text by 4.5 (WCAG 2.2, criteria 1.4.11 and 1.4.3). Colour is for marks only; words are
written in ``ink`` or ``soft``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """One colour on a light page and on a dark one."""

    light: str
    dark: str


SURFACES = {
    "page": Colour("#ffffff", "#16181b"),
    "wash": Colour("#f5f6f8", "#1f2226"),
    "line": Colour("#d9dce0", "#363b41"),
    "ghost": Colour("#c9cdd2", "#4b5158"),
}
INKS = {"ink": Colour("#1d1f21", "#e6e8ea"), "soft": Colour("#555a61", "#a9afb7")}
MARKS = {
    "blue": Colour("#0072b2", "#5cb8f0"),
    "red": Colour("#c44e00", "#ff8f4d"),
    "green": Colour("#00805d", "#2cc79b"),
    "purple": Colour("#b0578f", "#e39cc8"),
    "orange": Colour("#a86f00", "#f0b740"),
    "sky": Colour("#2f8fcb", "#9ad4f7"),
    "grey": Colour("#767676", "#9299a1"),
}
PALETTE = SURFACES | INKS | MARKS

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "falling")


@dataclass(frozen=True)
class Look:
    """How a series is told from the others: by colour, by stroke and by shape, so that two of the three may be lost.

    An empty stroke draws no line, an empty shape no marks; ``hollow`` marks are drawn open.
    """

    colour: str
    stroke: str = "thick"
    shape: str = "circle"
    hollow: bool = False


def css_variables() -> str:
    """Return the style sheet's variables: every colour for a light page, and for a dark one where the reader prefers it."""
    light, dark = (" ".join(f"--{name}: {getattr(colour, scheme)};" for name, colour in PALETTE.items()) for scheme in ("light", "dark"))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
        f"@media print {{ :root {{ color-scheme: light; {light} }} }}"
    )
