"""A value that a setting does not take in, one sentence about it out, in the words of the settings rather than the validator's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from layerscout.errors import suggest

LONGEST = 80  # letters of a value that a message repeats
# kind of misfit → what is expected; {name} is a fact of the misfit
EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "multiple_of": "a multiple of {multiple_of}",
    "finite_number": "a finite number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "none_required": "nothing",
    "datetime_parsing": "a date",
    "datetime_from_date_parsing": "a date",
    "bytes_type": "bytes",
    "string_too_short": "at least {min_length} letters",
    "string_too_long": "at most {max_length} letters",
    "too_long": "at most {max_length} values",
    "too_short": "at least {min_length} values",
    "finite_number_expected": "a finite number",
}


SAID = (  # how the validator says it where no setting is concerned, and how this package does
    (r"Input should be a valid integer\b.*", "expected a whole number"),
    (r"Input should be a valid number\b.*", "expected a number"),
    (r"Input should be greater than or equal to", "expected at least"),
    (r"Input should be less than or equal to", "expected at most"),
    (r"Input should be", "expected"),
)


def in_our_words(message: str) -> str:
    """Return a message of the command line's parser with the validator's sentences in it said as those about settings are."""
    for theirs, ours in SAID:
        message = re.sub(theirs, ours, message)
    return message


def describe_misfits(errors: Sequence[Mapping[str, Any]], where: str, meaning: str | None) -> str:
    """Say in one sentence what a setting is and what it should be.

    Parameters
    ----------
    errors
        The entries of ``ValidationError.errors()`` about one setting: several where it takes values of several kinds.
    where
        The setting's whole name, such as ``train.dqn.lr``.
    meaning
        What the setting is for, told where a value lacks the right form.
    """
    kind, facts, value = errors[0]["type"], errors[0].get("ctx", {}), errors[0].get("input")
    if kind == "value_error":  # one of the settings' own rules, which speaks for itself
        return f"{'setting' if '.' in where else 'settings of'} '{where}': {facts['error']}"
    if kind == "missing":
        return f"setting '{where}' is missing"
    if kind in ("too_short", "too_long"):
        bound = f"at least {facts['min_length']}" if kind == "too_short" else f"at most {facts['max_length']}"
        return f"setting '{where}' has {facts['actual_length']} values, expected {bound}"
    known = [words for error in errors if (words := _expected(error))]
    if not known:
        return f"setting '{where}' is {value!r}, which has the wrong form" + (f": {meaning}" if meaning else "")
    choices = [word for error in errors if error["type"] == "literal_error" for word in _choices(error)]
    return f"setting '{where}' is {value!r}, expected {' or '.join(dict.fromkeys(known))}{suggest(str(value), choices)}"


def describe_misfit(error: Mapping[str, Any]) -> str:
    """Say in one sentence what is wrong with a field of a document: one entry of ``ValidationError.errors()``."""
    where = ".".join(str(part) for part in error["loc"]) or "it"
    kind = error["type"]
    if kind == "missing":
        return f"'{where}' is missing"
    if kind == "extra_forbidden":
        return f"'{where}' is not known"
    if kind in ("value_error", "assertion_error"):
        return f"'{where}': {error['ctx']['error']}"
    found = repr(error.get("input"))
    found = found if len(found) <= LONGEST else f"{found[: LONGEST - 1]}…"
    return f"'{where}' is {found}, expected {_expected(error)}" if _expected(error) else f"'{where}' is {found}, which has the wrong form"


def _expected(error: Mapping[str, Any]) -> str:
    if error["type"] == "literal_error":
        *most, last = _choices(error)
        return f"{', '.join(most)} or {last}" if most else last
    return EXPECTED.get(error["type"], "").format(**error.get("ctx", {}))


def _choices(error: Mapping[str, Any]) -> list[str]:
    words: str = error["ctx"]["expected"].replace("'", "")
    return words.replace(" or ", ", ").split(", ")
