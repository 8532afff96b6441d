"""Names and paths from a stranger's files in, paths and documents that do no harm out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from layerscout.errors import DataError

PLACE = re.compile(r"\{(\w+)(?::0?(\d{1,2})d?)?\}")
NUMBER = re.compile(r"(\d+)")
LARGEST_JSON = 2**26  # bytes; the metadata of real datasets has kilobytes
STRANGE = "the source does not look like it was written by its format's own tools; do not trust it"


def path_inside(root: Path, relative: str) -> Path:
    """Return ``root / relative``, which must exist and lie inside ``root``.

    Symbolic links may lead elsewhere inside ``root``, or to the blobs of the Hugging Face cache that ``root`` is a snapshot of.

    Raises
    ------
    DataError
        It is absolute, climbs out, leads out through a link, or does not exist.
    """
    path = Path(relative)
    if path.is_absolute() or ".." in path.parts or "\0" in relative:
        raise DataError(f"{root} names the file '{relative}', which is not inside it", hint=STRANGE)
    target, home = (root / path).resolve(), root.resolve()
    allowed = [home, *([home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [])]
    if not any(target.is_relative_to(folder) for folder in allowed):
        raise DataError(f"{root / path} is a link to {target}, outside the dataset", hint=STRANGE)
    try:
        there = target.exists()
    except OSError as error:  # a name that no file can have
        raise DataError(f"{root} names the file '{relative[:80]}...': {error.strerror}", hint=STRANGE) from None
    if not there:
        raise DataError(f"{root} has no file '{relative}'", hint="the source is incomplete; fetch it again")
    return root / path


def fill_template(template: str, values: dict[str, int | str]) -> str:
    """Fill the places ``{name}`` and ``{name:03d}`` of a path; nothing else of Python's formatting is understood.

    Raises
    ------
    DataError
        The template has other places, braces, or a name that is not known.
    """

    def replace(match: re.Match[str]) -> str:
        value = values.get(match[1])
        if value is None:
            raise DataError(f"the path '{template}' asks for '{match[1]}', known are {', '.join(values)}", hint=STRANGE)
        return str(value).zfill(int(match[2])) if match[2] and isinstance(value, int) else str(value)

    filled = PLACE.sub(replace, template)
    if "{" in filled or "}" in filled:
        raise DataError(f"the path '{template}' has places other than {{name}} and {{name:03d}}", hint=STRANGE)
    return filled


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    DataError
        It is too large, or not a JSON object.
    """
    if path.stat().st_size > LARGEST_JSON:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes, expected at most {LARGEST_JSON:,}", hint=STRANGE)
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}", hint="the source is incomplete; fetch it again") from None
    if not isinstance(document, dict):
        raise DataError(f"{path} holds a {type(document).__name__}, expected an object", hint=STRANGE)
    return document


def natural_order(name: str) -> tuple[tuple[str, int], ...]:
    """Key that sorts frame_2 before frame_10."""
    parts = NUMBER.split(name)
    return tuple((parts[index], int(parts[index + 1]) if index + 1 < len(parts) else -1) for index in range(0, len(parts), 2))


def incomplete(message: str) -> DataError:
    """Return the error of a source that lacks something it says it has."""
    return DataError(message, hint="the source is incomplete; fetch it again")
