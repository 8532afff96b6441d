"""TOML file + preset + ``--set`` + flags in, one frozen config out; an unknown key is an error with "did you mean"."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from layerscout.errors import DataError, UsageError, shell, suggest
from layerscout.misfits import describe_misfits
from layerscout.paths import expand

# the tables that a settings file may have, beside [presets]
STAGES = ("collect", "import", "pretrain", "extract", "probe", "train", "transfer")
BEGUN = "a file of settings with every setting in it is begun by: layerscout init FOLDER"
METHODS = ("apv", "pvdr")  # of pretraining: tables in the table of that stage


@dataclass(frozen=True)
class Flag:
    """The word of a setting on the command line where it is not the setting's own: ``Annotated[tuple[str, ...], Flag("--layer")]``."""

    word: str


@dataclass(frozen=True)
class Positional:
    """Marks a setting that is given on the command line by its place, without a flag; in the order of the settings."""

    metavar: str


class Config(BaseModel):
    """Base of every stage's settings: immutable, closed to unknown keys and to numbers that are not finite, with one meaning of ``~`` in every path.

    A setting's ``Field(description=...)`` is its help on the command line, where every setting but tables is a flag of its name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _over_its_own_defaults(cls, values: Any) -> Any:
        """Lay what is said of a table over the table's defaults here, which may be others than those of the table elsewhere."""
        if not isinstance(values, dict):
            return values
        tables = {name: field.default for name, field in cls.model_fields.items() if isinstance(field.default, BaseModel)}
        said = {name: values[name] for name in tables if isinstance(values.get(name), dict)}
        return values | {name: merge(tables[name].model_dump(), table) for name, table in said.items()}

    @field_validator("*")
    @classmethod
    def _at_home(cls, value: Any) -> Any:
        return expand(value) if isinstance(value, Path) else value


ConfigType = TypeVar("ConfigType", bound=Config)


def resolve(
    model: type[ConfigType],
    section: str,
    *,
    file: Path | None = None,
    preset: str | None = None,
    assignments: Sequence[str] = (),
    flags: dict[str, Any] | None = None,
    defaults: dict[str, Any] | None = None,
    presets: dict[str, dict[str, dict[str, Any]]] | None = None,
) -> ConfigType:
    """Merge every source of settings into one config; later sources win.

    Order: ``defaults``, the file's ``[section]`` table, the preset (``[presets.NAME.section]`` of the file, or a built-in
    one from ``presets``), ``section.key=value`` assignments (``key=value`` means this section), then flags that are not None.
    What is said for another stage is left to that stage, because one file and one list of assignments may serve several.
    A section may lie in another's table: ``pretrain.apv`` is ``[pretrain.apv]``.

    Raises
    ------
    UsageError
        The file is not TOML, a table, key or preset is unknown, or a value is out of range.
    DataError
        There is no such file.
    """
    document = _stage_tables(expand(file)) if file else {}
    place = section.split(".")
    merged = merge(defaults or {}, _table(document, place))
    if preset is not None:
        known = (presets or {}) | document.get("presets", {})
        if preset not in known:
            hint = f"known presets: {', '.join(known)}" if known else "presets are the [presets.NAME] tables of a file given with --config"
            raise UsageError(f"unknown preset '{preset}'{suggest(preset, known)}", hint=hint)
        merged = merge(merged, _table(known[preset], place))
    for assignment in assignments:
        path, value = _parse_assignment(assignment)
        if len(path) == 1 or path[0] in model.model_fields:
            _assign(merged, path, value, assignment)
        elif path[: len(place)] == place and len(path) > len(place):
            _assign(merged, path[len(place) :], value, assignment)
        elif path[0] not in STAGES:
            near = suggest(path[0], (*STAGES, *model.model_fields))
            raise UsageError(f"--set '{assignment}': unknown stage '{path[0]}'{near}", hint=f"stages: {', '.join(STAGES)}")
    merged |= {key: value for key, value in (flags or {}).items() if value is not None}
    return build(model, merged, section)


def build(model: type[ConfigType], values: dict[str, Any], section: str) -> ConfigType:
    """Validate ``values`` into ``model`` with errors that a person can act on."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = error.errors()
        # a misspelt key often leaves its right spelling missing: the misspelling is what to tell
        first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
        path, meaning = _place(model, first["loc"])
        where = ".".join([section, *path])
        if first["type"] == "extra_forbidden":
            *parents, key = path
            known = list(_inner(model, parents).model_fields)
            table = ".".join([section, *parents])
            raise UsageError(f"unknown setting '{where}'{suggest(key, known)}", hint=f"settings of [{table}]: {', '.join(known)}") from None
        alike = [one for one in found if _place(model, one["loc"])[0] == path]
        hint = f"layerscout {section.partition('.')[0]} --help"
        raise UsageError(describe_misfits(alike, where, meaning), hint=hint) from None


def command_of(stage: str, config: Config) -> str:
    """Return the command that means these settings, whole: what is not a default is said, so that it can be typed again anywhere."""
    return shell(*stage.split(), *as_words(config))


def as_words(config: Config) -> list[str]:
    """Return settings as the words of a command: places first, then a flag for each setting that is not its default, then tables by ``--set``.

    ``resolve`` of these words gives the same settings again.
    """
    places: list[str] = []
    flags: list[str] = []
    assigned: list[str] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        marks = {type(mark): mark for mark in field.metadata}
        if Positional in marks:
            places += [str(one) for one in (value if isinstance(value, tuple) else (value,))]
        elif field.is_required() or value != field.get_default(call_default_factory=True):
            flag = marks[Flag].word if Flag in marks else f"--{name.replace('_', '-')}"
            if isinstance(value, BaseModel | dict) or value is None or value == () or (isinstance(value, tuple) and _nested(value)):
                assigned += [
                    word for said in _assignments(name, field.get_default(call_default_factory=True), value) for word in ("--set", said)
                ]
            elif isinstance(value, bool):
                flags.append(flag if value else f"--no-{flag[2:]}")
            else:
                flags += [word for one in (value if isinstance(value, tuple) else (value,)) for word in (flag, str(one))]
    return [*places, *flags, *assigned]


def _nested(value: tuple[Any, ...]) -> bool:
    return any(isinstance(one, tuple | dict | BaseModel) for one in value)


def _assignments(path: str, default: Any, value: Any) -> Iterator[str]:
    """Yield ``a.b=value`` for every part of a table that is not the default's."""
    if isinstance(value, BaseModel) and isinstance(default, BaseModel):
        for name in type(value).model_fields:
            if getattr(value, name) != getattr(default, name):
                yield from _assignments(f"{path}.{name}", getattr(default, name), getattr(value, name))
    elif isinstance(value, str) and not _is_json(value):
        yield f"{path}={value}"
    else:
        yield f"{path}={json.dumps(value.model_dump(mode='json') if isinstance(value, BaseModel) else value, default=str)}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def _stage_tables(file: Path) -> dict[str, Any]:
    document = read_toml(file)
    presets = document.get("presets", {})
    check_tables(document, f"{file}", (*STAGES, "presets"))
    check_tables(document.get("pretrain", {}), f"{file} [pretrain]", METHODS)
    check_tables(presets, f"{file} [presets]", presets)
    for name, preset in presets.items():
        check_tables(preset, f"{file} [presets.{name}]", STAGES)
    return document


def read_toml(file: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises
    ------
    UsageError
        It is not TOML.
    DataError
        There is no such file.
    """
    try:
        return tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise DataError(f"no configuration file {file}", hint="check the path; layerscout init begins a study with such a file") from None
    except IsADirectoryError:
        raise DataError(f"{file} is a folder, expected a file of settings", hint="name the file in it, as study.toml") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is no file of settings: it holds other bytes than text in UTF-8", hint=BEGUN) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not valid TOML: {error}", hint=BEGUN) from None


def check_tables(document: dict[str, Any], where: str, known: Iterable[str]) -> None:
    """Refuse a table that no stage would ever look at, and a plain value where a table belongs.

    Raises
    ------
    UsageError
        There is one; ``where`` says in what.
    """
    for name, table in document.items():
        if name not in known:
            raise UsageError(f"{where}: unknown table '{name}'{suggest(name, known)}", hint=f"tables: {', '.join(known)}")
        if not isinstance(table, dict):
            raise UsageError(f"{where}: '{name}' is {table!r}, expected a table", hint=f"write [{name}] on a line of its own")


def _table(document: dict[str, Any], place: Sequence[str]) -> dict[str, Any]:
    """Return the table at a place of a document; empty where there is none."""
    for name in place:
        document = document.get(name, {})
    return document


def _parse_assignment(text: str) -> tuple[list[str], Any]:
    key, equals, raw = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--set '{text}' is not of the form a.b=value", hint="example: --set train.steps=20000")
    try:
        return key.split("."), json.loads(raw)
    except json.JSONDecodeError:
        return key.split("."), raw


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one table of settings over another, table by table."""
    merged = dict(below)
    for key, value in above.items():
        merged[key] = merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged


def _assign(target: dict[str, Any], path: Sequence[str], value: Any, said: str) -> None:
    for depth, part in enumerate(path[:-1]):
        below = target.get(part, {})
        if not isinstance(below, dict):
            raise UsageError(f"--set '{said}': '{'.'.join(path[: depth + 1])}' is {below!r}, not a table", hint="set it without a dot")
        target[part] = dict(below)  # a copy: the tables below may be shared defaults
        target = target[part]
    target[path[-1]] = value


def _place(model: type[BaseModel], location: Sequence[str | int]) -> tuple[list[str], str | None]:
    """Return the names that lead to a setting, without the kinds of value that the validator tried, and what the setting means."""
    path: list[str] = []
    meaning: str | None = None
    inside: type[BaseModel] | None = model
    for part in location:
        if inside is not None:
            field = inside.model_fields.get(str(part))
            meaning = field.description if field else None
            inside = _settings_of(field.annotation) if field else None
            path.append(str(part))
        elif isinstance(part, int):  # an item of a list
            path.append(str(part))
    return path, meaning


def _inner(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    """Follow field names into nested settings, as far as they are models."""
    for name in path:
        field = model.model_fields.get(name)
        below = _settings_of(field.annotation) if field else None
        if below is None:
            break
        model = below
    return model


def _settings_of(annotation: Any) -> type[BaseModel] | None:
    """Return the settings of a table, also of one that may be left out; None of a plain setting."""
    kinds = [annotation, *get_args(annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
