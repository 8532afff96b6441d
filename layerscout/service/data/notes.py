"""People's notes on rankings in, one file a ranking out, a line a note; and back."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from layerscout.service.problems import HttpProblem

LONGEST, MOST = 4000, 500  # characters of a note, notes of a ranking
LATEST = 2.5e11  # seconds since 1970: the year 9892, behind which no calendar goes


@dataclass(frozen=True)
class Note:
    """What somebody wrote about a ranking, and when (seconds since 1970). Plain text."""

    who: str
    when: float
    text: str


class Notes:
    """The notes under a folder; without a folder there are none, and none can be written."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def of(self, subject: str) -> list[Note]:
        """Return the notes on a ranking in the order in which they were written; a line that is damaged is left out."""
        found = []
        for line in self._text(subject).splitlines():
            try:
                fields = json.loads(line)
                note = Note(str(fields["who"]), float(fields["when"]), str(fields["text"]))
            except (ValueError, KeyError, TypeError):
                continue
            if 0 <= note.when < LATEST:
                found.append(note)
        return found

    def add(self, subject: str, who: str, text: str) -> Note:
        """Keep a note.

        Raises
        ------
        HttpProblem
            It is empty or too long, there are too many, or nothing can be written here.
        """
        text = text.replace("\r\n", "\n").strip()
        if not text or len(text) > LONGEST:
            raise HttpProblem(422, f"a note has 1 to {LONGEST:,} characters, this one has {len(text):,}")
        if self.folder is None:
            raise HttpProblem(503, "notes cannot be kept: this server may not write in its root", "data")
        if len(self.of(subject)) >= MOST:
            raise HttpProblem(409, f"there are {MOST} notes on this ranking already", kind="data")
        note = Note(who, round(time.time(), 3), text)
        self.folder.mkdir(parents=True, exist_ok=True)
        torn = self._text(subject)[-1:] not in ("", "\n")  # somebody pulled the plug in the middle of the line before
        with self._path(subject).open("a", encoding="utf-8") as file:
            file.write("\n" * torn + json.dumps(asdict(note)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return note

    def version(self, subject: str) -> int:
        """Length of the notes' text on a subject: a number that every new note makes larger."""
        return len(self._text(subject))

    def _path(self, subject: str) -> Path:
        assert self.folder is not None
        assert re.fullmatch(r"[0-9a-f]{32}", subject), "a digest"
        return self.folder / f"{subject}.jsonl"

    def _text(self, subject: str) -> str:
        try:
            return self._path(subject).read_text(encoding="utf-8", errors="replace") if self.folder else ""
        except FileNotFoundError:
            return ""
