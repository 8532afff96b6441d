"""A template's name and its values in, the filled text out."""

from __future__ import annotations

from layerscout import template


def fill(name: str, **values: str) -> str:
    """Fill a template of this package; a place without a value is an error, never an empty spot."""
    return template.fill("layerscout.report", name, **values)
