"""A record in, its JSON file with a digest out; and back, checked against its fields and its digest."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from layerscout.cache.durable import write_atomic
from layerscout.cache.records.sealing import seal, unseal
from layerscout.errors import DataError, UnsealedFile
from layerscout.misfits import describe_misfit

AGAIN = "run the stage that writes it again"


class Record(BaseModel):
    """Base of all records: immutable, closed to unknown keys, NaN refused (a missing number is None)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(Record):
    """A figure with its 95 % interval. ``low`` and ``high`` are None when no interval can be had."""

    value: float
    low: float | None = None
    high: float | None = None


RecordType = TypeVar("RecordType", bound=Record)


def save(record: Record, path: Path) -> None:
    """Write a record, with the digest of its text as the last member, completely or not at all and forced to disk."""
    write_atomic(path, encode_record(record))


def encode_record(record: Record) -> bytes:
    """Return the text of a record's file; ``load`` compares its digest."""
    return seal(record.model_dump_json(indent=1).encode() + b"\n")


def load(model: type[RecordType], path: Path, *, warn: bool = True) -> RecordType:
    """Read a record.

    Parameters
    ----------
    warn
        Whether to warn of a file without a digest, as earlier versions wrote them.

    Raises
    ------
    DataError
        The file is missing, is not JSON, does not have this record's fields, or not the digest that it states.

    Warns
    -----
    UnsealedFile
        The file states no digest, so a change since it was written would not be noticed.
    """
    text, sealed = unseal(_read(path), str(path), hint=f'{AGAIN}, or take out its last member, "digest", if the change is yours')
    record = validate_record(model, parse_json(text, path), path)
    if warn and not sealed:
        warnings.warn(f"{path} has no digest (an older version wrote it): a damaged figure would not be noticed", UnsealedFile, 2)
    return record


def save_settings(settings: BaseModel, path: Path) -> None:
    """Write the settings that a stage ran with beside its outputs, with a digest, as ``save`` writes records."""
    write_atomic(path, seal(settings.model_dump_json(indent=1).encode() + b"\n"))


def load_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of any keys, such as saved settings, without its digest.

    Raises
    ------
    DataError
        The file is missing, is not a JSON object, or does not have the digest that it states.
    """
    text, _ = unseal(_read(path), str(path), AGAIN)
    content = parse_json(text, path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__}, not an object of settings", hint=AGAIN)
    if "digest" in content:
        raise DataError(f"{path} is damaged: its digest is not the last member", hint=AGAIN)
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"no file {path}", hint="give the path of the file that the earlier stage wrote") from None
    except IsADirectoryError:
        files = ", ".join(sorted(one.name for one in path.glob("*.json"))[:6])
        raise DataError(f"{path} is a folder, expected a file", hint=f"give one of the files in it: {files}" if files else AGAIN) from None


def parse_json(data: bytes, path: Path | str) -> Any:
    """Return what JSON text says.

    Raises
    ------
    DataError
        It is not JSON, or nested deeper than a record ever is; ``path`` names it.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # ValueError: a wrong character, wrong UTF-8, a number of thousands of digits
        raise DataError(f"{path} is not valid JSON: {error}", hint=AGAIN) from None


def validate_record(model: type[RecordType], document: Any, path: Path | str) -> RecordType:
    """Return the record that plain data makes.

    Raises
    ------
    DataError
        It does not have this record's fields; ``path`` names it.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise DataError(f"{path} is not a {model.__name__}: {describe_misfit(error.errors()[0])}", hint=AGAIN) from None


def as_table_value(estimate: Estimate | float | None, digits: int = 3) -> str:
    """Format a figure for a table: "0.412 [0.380, 0.440]", "0.412", or "n/a"."""
    if estimate is None:
        return "n/a"
    if isinstance(estimate, float):
        return f"{estimate:z.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:z.{digits}f}"
    return f"{estimate.value:z.{digits}f} [{estimate.low:z.{digits}f}, {estimate.high:z.{digits}f}]"


def none_if_nan(value: float) -> float | None:
    """Turn NaN and infinities into None, so that no made-up number enters a record."""
    return float(value) if value == value and abs(value) != float("inf") else None
