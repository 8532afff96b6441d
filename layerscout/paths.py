"""A path as somebody wrote it in, the path that is meant out: ``~`` is the home folder wherever a path comes from."""

from __future__ import annotations

import re
from pathlib import Path

from layerscout.errors import DataError, UsageError

ADDRESS = re.compile(r"(s3|gs|az|hf|file|https?|ftp):/", re.IGNORECASE)  # pathlib makes one stroke of two


def expand(path: Path | str) -> Path:
    """Return a path with a leading ``~`` or ``~user`` replaced by that home folder.

    Flags, settings files, ``--set`` and environment variables all go through here, because a shell expands ``~`` only where
    it stands at the beginning of a word.

    Raises
    ------
    UsageError
        There is no such home folder; or it is an address, which would become a folder called ``s3:`` here, and none of it is repeated; or it is
        another option, which somebody said where a path belongs.
    """
    if str(path).startswith("--"):
        raise UsageError(f"{path} stands where a path is expected", hint=f"say the path before {path}, or ./{path} if it is called that")
    if match := ADDRESS.match(str(path)):
        message = f"{match[1].lower()}://… is an address, and a file or folder of this machine is expected"
        raise UsageError(message, hint="bring it here first; a store comes by: layerscout store pull ADDRESS")
    try:
        return Path(path).expanduser()
    except RuntimeError:  # neither HOME nor an entry in the list of users
        raise UsageError(f"{path}: there is no such home folder", hint="write the whole path instead of ~") from None


def require_folder(path: Path, hint: str) -> None:
    """Raise DataError where ``path`` is no folder; the message says whether it is a file or is not there, the hint what to do."""
    if not path.is_dir():
        raise DataError(f"{path} is a file, expected a folder" if path.is_file() else f"no folder {path}", hint=hint)


def expand_word(text: str) -> str:
    """Return a word that may be a name or a path: a leading ``~`` is the home folder, anything else stays as it is."""
    return str(expand(text)) if text.startswith("~") else text
