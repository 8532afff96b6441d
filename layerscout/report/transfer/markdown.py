"""A record of students with teachers in; its claims and tables as Markdown out, to be pasted into a text."""

from __future__ import annotations

from layerscout.cache.records.transfer import TransferRecord
from layerscout.pages.tables import Table
from layerscout.report.numbers.savings import targets_of
from layerscout.report.transfer import tables
from layerscout.report.transfer.claims import transfer_claims
from layerscout.text import markdown_text


def transfer_markdown(record: TransferRecord) -> str:
    """Return what was claimed and seen, what each arm saved to every target, teachers, swept settings, the paper's figures beside ours, and notes."""
    claims = Table(("Claim", "Here", "Seen"), tuple((one.statement, one.word, one.sentence) for one in transfer_claims(record)), words=True)
    found = [("What was claimed, and what was seen", claims)]
    found += [(f"To {target:.2f}", tables.savings_table(record, place)) for place, target in enumerate(targets_of(record))]
    found.append(("The teachers", tables.teachers_table(record)))
    for teacher in record.teachers:
        for setting in dict.fromkeys(arm.swept for arm in record.arms if arm.swept and arm.teacher == teacher.name):
            if setting is not None and (table := tables.sweep_table(record, teacher.name, setting)) is not None:
                found.append((f"{setting}, {teacher.name}", table))
    found.append(("The paper's figures beside ours", tables.published_table(record)))
    parts = [f"## {markdown_text(name)}\n\n{table.markdown().strip()}" for name, table in found if table.rows]
    parts += [f"## {name}\n\n" + "\n".join(f"- {markdown_text(line)}" for line in lines) for name, lines in _lines(record) if lines]
    return "\n\n".join(parts) + "\n"


def _lines(record: TransferRecord) -> tuple[tuple[str, tuple[str, ...]], ...]:
    facts = tuple(f"{name}: {value}" for name, value in tables.facts_of(record).items())
    return ("What was compared", facts), ("Notes", record.notes), ("Not in the source", record.unverified)
