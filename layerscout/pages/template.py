"""A package, a template's name and its values in; the filled text out."""

from __future__ import annotations

import string
from importlib import resources


class Template(string.Template):
    """A template whose places are written ``@{name}``, so that the dollars and braces of formulas and of CSS stay themselves."""

    delimiter = "@"


def read_template(package: str, name: str) -> str:
    """Return a file of a package's folder ``templates`` as text."""
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def fill_template(package: str, name: str, **values: str) -> str:
    """Fill a template of a package; a place without a value is an error, never an empty spot."""
    return Template(read_template(package, name)).substitute(values)
