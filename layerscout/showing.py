"""A ranking, a record, a store or a plan in, the table that a notebook shows and the frame that pandas takes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from layerscout.errors import MissingExtraError, install
from layerscout.text import html_text

if TYPE_CHECKING:
    import pandas

MOST_ROWS = 40  # that a notebook shows; ``to_frame`` has them all


class Shown:
    """Base of whatever a notebook shows as a table. A subclass says its rows twice: all figures, and what people read first."""

    def frame_rows(self) -> list[dict[str, Any]]:
        """Return every row with every figure under its column's name; a figure that does not exist is None."""
        raise NotImplementedError

    def summary(self) -> tuple[str, Sequence[str], list[Sequence[object]]]:
        """Return one line about the whole, the columns that people read first, and their rows."""
        raise NotImplementedError

    def to_frame(self) -> pandas.DataFrame:
        """Return all rows as a pandas DataFrame.

        Raises
        ------
        MissingExtraError
            pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise MissingExtraError("to_frame makes a pandas DataFrame, and pandas is not installed", hint=install("pandas")) from None
        return pandas.DataFrame(self.frame_rows())

    def _repr_html_(self) -> str:
        line, columns, rows = self.summary()
        head = "".join(f"<th>{html_text(column)}</th>" for column in columns)
        body = "".join(f"<tr>{''.join(f'<td>{html_text(cell)}</td>' for cell in row)}</tr>" for row in rows[:MOST_ROWS])
        rest = f"<p>and {len(rows) - MOST_ROWS} more rows: to_frame() has all</p>" if len(rows) > MOST_ROWS else ""
        return f"<p>{html_text(line)}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


class ShownPlan(Shown):
    """Base of the plans: what ``describe`` tells, one row a fact."""

    def describe(self, measure: bool = False) -> dict[str, Any]:
        """Return what a dry run shows, as plain data; with ``measure`` also the seconds that the work will take."""
        raise NotImplementedError

    def frame_rows(self) -> list[dict[str, Any]]:
        """The facts of ``describe()`` as rows with the columns ``fact`` and ``value``, for a data frame."""
        return [{"fact": key, "value": value} for key, value in self.describe().items()]

    def summary(self) -> tuple[str, Sequence[str], list[Sequence[object]]]:
        """Return a line about the plan and its facts as rows, sizes and times in words."""
        facts: Mapping[str, Any] = self.describe()
        return "what would be done", ("fact", "value"), [(key, readable(key, value)) for key, value in facts.items()]


def flat_record(record: Any, prefix: str = "", leave_out: Sequence[str] = ()) -> dict[str, Any]:
    """Lay a record out as one row of plain values.

    An estimate becomes three columns, ``x``, ``x_low`` and ``x_high``, whether it is there or not; a record inside becomes its
    columns with the field's name before them, and words are joined by spaces. A budget's columns need no prefix.
    """
    row: dict[str, Any] = {}
    for name, field in type(record).model_fields.items():
        value = getattr(record, name)
        if name in leave_out:
            continue
        if isinstance(value, dict):
            row |= {key: part for item, inner in value.items() for key, part in _columns(f"{name.removesuffix('s')}_{item}", inner).items()}
        elif value is None and "layerscout." in str(field.annotation):  # an estimate or a record that is not there
            row |= _three(prefix + name, None) if "Estimate" in str(field.annotation) else {}
        elif isinstance(value, tuple):
            row[prefix + name] = " ".join(map(str, value))
        else:
            row |= _columns(prefix + name, value)
    return row


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None for no values."""
    return sum(values) / len(values) if values else None


def _columns(name: str, value: Any) -> dict[str, Any]:
    fields = set(getattr(type(value), "model_fields", ()))
    if fields == {"value", "low", "high"}:
        return _three(name, value)
    if fields:
        return flat_record(value, "" if name == "budget" else f"{name}_")
    return {name: value}


def _three(name: str, estimate: Any) -> dict[str, float | None]:
    value, low, high = (estimate.value, estimate.low, estimate.high) if estimate else (None, None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def size(count: float) -> str:
    """Bytes for people: 512 B, 1.4 MB, 3.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if round(count, 0 if unit == "B" else 1) < 1000:  # 999.96 kB are 1.0 MB, not 1000.0 kB
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def counted(count: int | None, noun: str) -> str:
    """Return a number with its noun, in the plural where there is not one: "1 store", "3 stores", "1,200 cells", "n/a rows" where it is not known."""
    return f"{'n/a' if count is None else f'{count:,}'} {noun}{'' if count == 1 else 's'}"


def readable(key: str, value: Any) -> str:
    """Return one value for people: bytes with their unit, thousands apart, lists joined."""
    if key == "exists" and not value:  # a name or a path where it is there, whoever tells it
        return "no"
    if "bytes" in key and isinstance(value, int | float):
        return size(value)
    if isinstance(value, list | tuple):
        return ", ".join(" ".join(map(str, one)) if isinstance(one, list | tuple) else str(one) for one in value) or "none"
    if isinstance(value, dict) and not value:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "n/a" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
