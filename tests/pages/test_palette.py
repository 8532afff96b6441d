"""Every colour can be seen where it stands, on a light page and on a dark one."""

from __future__ import annotations

import pytest

from layerscout.pages.palette import INKS, MARKS, PALETTE, SURFACES, css_variables
from layerscout.pages.svg import css_rules


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_contrast_is_that_of_the_guideline() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#ffffff", "#777777") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("surface", ["page", "wash"])
def test_text_stands_out_by_four_and_a_half_and_marks_by_three(scheme: str, surface: str) -> None:
    ground = getattr(SURFACES[surface], scheme)
    for name, ink in INKS.items():
        assert contrast(getattr(ink, scheme), ground) >= 4.5, name
    for name, mark in MARKS.items():
        assert contrast(getattr(mark, scheme), ground) >= 3, name


def test_the_style_sheet_names_every_colour_for_both_schemes() -> None:
    light, _, dark = css_variables().partition("prefers-color-scheme: dark")
    for name, colour in PALETTE.items():
        assert f"--{name}: {colour.light};" in light
        assert f"--{name}: {colour.dark};" in dark


def test_words_in_figures_are_ink_and_never_small() -> None:
    rules = [rule for rule in css_rules().splitlines() if rule.startswith("text")]
    assert len(rules) == 4
    assert all("fill: var(--ink)" in rule or "fill: var(--soft)" in rule for rule in rules)
    assert min(float(rule.partition("font-size: ")[2].partition("px")[0]) for rule in rules) >= 11
