"""The settings that results were made with and those that are asked for in, what differs between them in words out, and a command that keeps both."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from layerscout.cache.records import load_object
from layerscout.errors import DataError
from layerscout.settings import Config, command_of

SETTINGS_NAME = "settings.json"  # in a folder of results: what they were made with

AConfig = TypeVar("AConfig", bound=Config)


def kept_settings(folder: Path, kind: type[AConfig]) -> AConfig | None:
    """Return the settings that a folder's results were made with, as the data settled them; None where they cannot be read."""
    try:
        return kind.model_validate(load_object(folder / SETTINGS_NAME))
    except (DataError, ValidationError):
        return None


def differing(there: BaseModel, here: BaseModel, aside: Collection[str] = ()) -> list[str]:
    """Return the names of the settings that differ, in their order, but for those ``aside``; a table counts as one."""
    return [name for name in type(here).model_fields if name not in aside and _differ(getattr(there, name), getattr(here, name))]


def told_differences(there: BaseModel, here: BaseModel, names: Collection[str]) -> str:
    """Return what is there and here of each of these settings, of a table only what differs in it: ``dqn.batch is 8 there and 9 here``."""
    return ", ".join(part for name in names for part in _told(name, getattr(there, name), getattr(here, name)))


def elsewhere(stage: str, config: Config) -> str:
    """Return the same command of a stage with an ``--out`` that is free."""
    out: Path = config.out  # type: ignore[attr-defined]
    free = next(place for number in range(2, 1000) if not (place := out.with_name(f"{out.name}-{number}")).exists())
    return command_of(stage, config.model_copy(update={"out": free}))


def _differ(one: object, other: object) -> bool:
    if isinstance(one, BaseModel) and isinstance(other, BaseModel):
        return bool(one.model_dump() != other.model_dump())
    return bool(one != other)


def _told(name: str, there: object, here: object) -> Iterator[str]:
    if isinstance(there, BaseModel) and isinstance(here, BaseModel):
        for part in differing(there, here):
            yield from _told(f"{name}.{part}", getattr(there, part), getattr(here, part))
    elif isinstance(there, dict) and isinstance(here, dict):
        for part in [*there, *(one for one in here if one not in there)]:
            if there.get(part) != here.get(part):
                yield from _told(f"{name}.{part}", there.get(part), here.get(part))
    else:
        yield f"{name} is {_word(there)} there and {_word(here)} here"


def _word(value: object) -> str:
    if value is None or value == ():
        return "not set"
    if isinstance(value, BaseModel):
        return "set"  # a table that is there, beside none
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
