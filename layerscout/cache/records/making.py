"""A stage's settings in, the command that means them out; kept beside its results, and read back as nothing but a command of that stage."""

from __future__ import annotations

import shlex
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.errors import shell
from layerscout.settings import Config, command_of
from layerscout.text import visible

COMMAND_NAME = "command.txt"


def save_command(stage: str, config: Config, folder: Path) -> None:
    """Write the command that makes a folder's results beside them; its paths are as they were given."""
    write_atomic(folder / COMMAND_NAME, f"{command_of(stage, config)}\n".encode())


def save_words(folder: Path, *words: object) -> None:
    """Write the command of these words, for what is told by no one stage's settings."""
    write_atomic(folder / COMMAND_NAME, f"{shell(*words)}\n".encode())


def load_command(stage: str, folder: Path) -> str | None:
    """Return the command that made the results in a folder; None where none is kept, or something else stands there."""
    try:
        return safe_command(stage, (folder / COMMAND_NAME).read_text(encoding="utf-8").removesuffix("\n"))
    except (OSError, UnicodeDecodeError):
        return None


def safe_command(stage: str, text: object) -> str | None:
    """Return somebody's command with every word quoted anew, so that a shell does nothing else with it; None if it is not of this stage."""
    if not isinstance(text, str) or text != visible(text):
        return None
    try:
        words = shlex.split(text)
    except ValueError:  # a quotation that does not end
        return None
    expected = ["layerscout", *stage.split()]
    return shlex.join(words) if words[: len(expected)] == expected else None
