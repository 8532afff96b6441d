"""TOML file + preset + ``--set`` + flags in, one frozen config out; an unknown key is an error with "did you mean"."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from layerscout.errors import DataError, UsageError, suggest


class Config(BaseModel):
    """Base of every stage's settings: immutable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


ConfigType = TypeVar("ConfigType", bound=Config)


def resolve(
    model: type[ConfigType],
    section: str,
    *,
    file: Path | None = None,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    flags: dict[str, Any] | None = None,
) -> ConfigType:
    """Merge every source of settings into one config; later sources win.

    Order: the file's ``[section]`` table, the preset's ``[presets.NAME.section]`` table, ``section.key=value``
    assignments (``key=value`` means this section), then flags that are not None.

    Raises
    ------
    UsageError
        The file is not TOML, a key or preset is unknown, or a value is out of range.
    """
    document = _read_toml(file) if file else {}
    merged: dict[str, Any] = dict(document.get(section, {}))
    if preset is not None:
        presets = document.get("presets", {}) | {}
        if preset not in presets:
            raise UsageError(f"unknown preset '{preset}'{suggest(preset, presets)}", hint=f"presets in {file}: {', '.join(presets) or 'none'}")
        merged |= presets[preset].get(section, {})
    for assignment in assignments:
        path, value = _parse_assignment(assignment)
        if path[0] == section or len(path) == 1:
            _assign(merged, path[1:] if len(path) > 1 else path, value)
    merged |= {key: value for key, value in (flags or {}).items() if value is not None}
    return build(model, merged, section)


def build(model: type[ConfigType], values: dict[str, Any], section: str) -> ConfigType:
    """Validate ``values`` into ``model`` with errors that a person can act on."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([section, *(str(part) for part in first["loc"])])
        if first["type"] == "extra_forbidden":
            known = list(model.model_fields)
            raise UsageError(f"unknown setting '{where}'{suggest(str(first['loc'][-1]), known)}", hint=f"settings of [{section}]: {', '.join(known)}") from None
        raise UsageError(f"setting '{where}': {first['msg']} (got {first.get('input')!r})", hint=f"run layerscout {section} --help") from None


def save(config: Config, path: Path) -> None:
    """Write the resolved settings beside the outputs they produced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config.model_dump_json(indent=2) + "\n")


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise DataError(f"no configuration file {file}", hint="check the path given to --config") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not valid TOML: {error}", hint="see docs/how-to for an example file") from None


def _parse_assignment(text: str) -> tuple[list[str], Any]:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set '{text}' is not of the form a.b=value", hint="example: --set train.steps=20000")
    try:
        return key.split("."), json.loads(raw)
    except json.JSONDecodeError:
        return key.split("."), raw


def _assign(target: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        target = target.setdefault(part, {})
    target[path[-1]] = value
