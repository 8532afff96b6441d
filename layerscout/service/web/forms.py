"""The probe's settings in, the fields of a form out; and what a form sent, as settings again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import ValidationError

from layerscout.misfits import describe_misfits
from layerscout.service.jobs.question import STORES, ProbeQuestion

FIRST = ("store", "twin", "others", "score", "top_k", "layers", "targets")  # what most people decide; the rest is folded away
WORDS = {
    "store": "Store",
    "twin": "The same model without training",
    "others": "Rank together with",
    "top_k": "Layers to hand to agents",
    "score": "Score that orders",
    "layers": "Only these layers",
    "targets": "Further targets",
    "penalties": "Ridge penalties",
    "max_nonfinite": "Share of rows that may be broken",
}


@dataclass(frozen=True)
class Field:
    """One field of the form: its name, what it is called, one line of help, and what stands in it."""

    name: str
    words: str
    help: str
    value: str
    choices: tuple[str, ...] = ()
    several: bool = False
    usual: str = ""


def fields_of(given: Mapping[str, str]) -> list[Field]:
    """Return every field, filled with what was given or else with the command's defaults."""
    found = []
    for name in sorted(ProbeQuestion.model_fields, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST)):
        setting = ProbeQuestion.model_fields[name]
        kinds = [kind for kind in (get_args(setting.annotation) or (setting.annotation,)) if kind is not NoneType]
        choices = tuple(map(str, get_args(setting.annotation))) if get_origin(setting.annotation) is Literal else ()
        several = "tuple" in str(setting.annotation)
        usual = _written(setting.get_default(call_default_factory=True)) if not setting.is_required() else ""
        words = WORDS.get(name, name.replace("_", " ").capitalize())
        found.append(Field(name, words, f"{(setting.description or '').rstrip('.')}.", given.get(name, usual), choices, several, usual))
        assert kinds, name
    return found


def _written(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(f"{one:g}" if isinstance(one, float) else str(one) for one in value) if isinstance(value, tuple) else str(value)


def read_form(body: bytes) -> dict[str, str]:
    """Return a form's fields; a field that was sent several times is joined by blanks."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=200):
        found[name] = f"{found[name]} {value}".strip() if name in found else value
    return found


def question_of(given: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
    """Return the question that a form asks, or None with what is wrong, by field."""
    said: dict[str, Any] = {}
    for field in fields_of({}):
        text = given.get(field.name, "").strip()
        if text:
            said[field.name] = text.replace(",", " ").split() if field.several else text
    try:
        return ProbeQuestion.model_validate(said), {}
    except ValidationError as error:
        return None, misfits(error.errors())


def misfits(errors: Iterable[Any]) -> dict[str, str]:
    """Return one sentence a setting on what is wrong with it."""
    by_name: dict[str, list[Any]] = {}
    for one in errors:
        by_name.setdefault(str(one["loc"][0]) if one["loc"] else "", []).append(one)
    found = {}
    for name, alike in by_name.items():
        meaning = ProbeQuestion.model_fields[name].description if name in ProbeQuestion.model_fields else None
        found[name] = describe_misfits(alike, f"probe.{name}" if name else "probe", meaning)
        if name in STORES and alike[0]["type"] == "string_pattern_mismatch":
            found[name] = f"setting 'probe.{name}' is not a store's id or name; places and addresses are not taken"
    return found
