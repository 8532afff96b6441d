"""A file of users and hashes in; who a token belongs to out. Tokens are never kept, never logged, and compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import stat
from pathlib import Path

from layerscout.cache.durable import write_atomic
from layerscout.errors import DataError, UsageError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LINE = re.compile(rf"({NAME.pattern}) sha256:([0-9a-f]{{64}})")
NOBODY = "0" * 64  # compared with when there is no user, so that it takes as long


class UserTokens:
    """The users of a server. The file is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state: tuple[int, int] | None = None
        self._hashes: dict[str, str] = {}
        self.users()

    def users(self) -> dict[str, str]:
        """Return the hash of every user's token.

        Raises
        ------
        DataError
            The file is missing, others may write to it, or a line of it is no user.
        """
        try:
            about = self.path.stat()
        except OSError:
            raise DataError(f"no file {self.path} of users", hint="layerscout serve token add NAME --token-file FILE") from None
        if (about.st_mtime_ns, about.st_size) != self._state:
            self._hashes = read_users(self.path)
            self._state = about.st_mtime_ns, about.st_size
        return self._hashes

    def owner_of(self, token: str) -> str | None:
        """Return the name of the user whose token it is; every user is compared, whoever it is."""
        digest = hash_of(token)
        found = None
        for name, known in {**self.users(), "": NOBODY}.items():
            if hmac.compare_digest(known.encode(), digest.encode()) and name:
                found = name
        return found


def read_users(path: Path) -> dict[str, str]:
    """Read a file of users, one a line: a name, and the sha256 of a token of 256 random bits."""
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise DataError(f"others may write to {path}, and so let anybody in", hint=f"chmod go-w {path}")
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            match = LINE.fullmatch(line.strip())
            if match is None:
                raise DataError(f"{path}, line {number}, is not NAME sha256:HASH", hint="layerscout serve token add NAME writes such lines")
            found[match[1]] = match[2]
    return found


def hash_of(token: str) -> str:
    """Return the hash of a token. It has 256 random bits, so that a plain digest cannot be searched through."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def add_user(path: Path, name: str) -> str:
    """Give a user a new token, in place of an earlier one, and return it: it is nowhere else.

    Raises
    ------
    UsageError
        The name is not made of letters, digits, ".", "_" and "-".
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' cannot name a user", hint="letters, digits, '.', '_' and '-', beginning with a letter or digit")
    users = read_users(path) if path.exists() else {}
    token = secrets.token_urlsafe(32)
    _write(path, users | {name: hash_of(token)})
    return token


def remove_user(path: Path, name: str) -> bool:
    """Take a user's token away; return False when there is no such user."""
    users = read_users(path) if path.exists() else {}
    if name not in users:
        return False
    _write(path, {user: known for user, known in users.items() if user != name})
    return True


def _write(path: Path, users: dict[str, str]) -> None:
    mask = os.umask(0o077)
    try:
        write_atomic(path, "".join(f"{name} sha256:{known}\n" for name, known in sorted(users.items())).encode())
    finally:
        os.umask(mask)
