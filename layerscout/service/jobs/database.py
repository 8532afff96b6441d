"""A root's folder in, its jobs in SQLite out. Files are the truth: a database that is gone or damaged is made again from them."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layerscout.errors import BudgetError

NAME, VERSION = "service.sqlite", 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id TEXT PRIMARY KEY,               -- digest of the question
  kind TEXT NOT NULL,                -- probe, verify
  question TEXT NOT NULL,            -- its settings, JSON
  about TEXT NOT NULL,               -- what people read: JSON of backbone, stores, layers
  store TEXT NOT NULL,               -- the first store's id
  who TEXT NOT NULL,
  submitted REAL NOT NULL,           -- seconds since 1970, as all times
  state TEXT NOT NULL,               -- queued, running, done, failed, cancelled
  memory INTEGER NOT NULL,           -- bytes it was promised
  attempts INTEGER NOT NULL DEFAULT 0,
  owner TEXT,                        -- host:process:nonce of the server that runs it
  lease REAL,                        -- until when that server is believed to be alive
  started REAL,
  ended REAL,
  cancelling INTEGER NOT NULL DEFAULT 0,
  error TEXT NOT NULL DEFAULT ''     -- JSON of message, hint, kind, exit code
);
CREATE INDEX IF NOT EXISTS waiting ON jobs (state, submitted);
"""


class Database:
    """A connection that notices when its file was deleted or replaced, and sets a damaged one aside.

    Parameters
    ----------
    folder
        The service's folder in a root.
    rebuild
        Fills a new database from the files on disk.
    """

    def __init__(self, folder: Path, rebuild: Callable[[sqlite3.Connection], None]) -> None:
        self.path, self.rebuild = folder / NAME, rebuild
        self.notice = ""  # what happened to an earlier database, for whoever looks after the server
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode = -1

    def rows(self, words: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Return what a SELECT finds, or what a change RETURNs."""
        with self.change() as connection:
            return connection.execute(words, values).fetchall()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside one transaction that other servers wait for.

        Raises
        ------
        BudgetError
            The disk is full.
        """
        with self._lock:
            connection = self._open()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.DatabaseError):
                    self._explain(error)
                raise

    def close(self) -> None:
        """Close SQLite's connection; the next query opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection, self._inode = None, -1

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None and self._inode_now() == self._inode:
            return self._connection
        self.close()
        try:
            self._connection = self._connect()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                self._explain(error)
                raise
            self._set_aside(error)
            self._connection = self._connect()
        self._inode = self._inode_now()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode = WAL")
            if (found := connection.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(f"malformed: {found}")
            connection.execute("BEGIN IMMEDIATE")
            if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                for statement in SCHEMA.split(";"):
                    connection.execute(statement)
                self.rebuild(connection)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        aside = self.path.with_name(f"{NAME}.damaged-{time.time_ns()}")
        for suffix in ("", "-wal", "-shm"):
            path = self.path.with_name(NAME + suffix)
            if path.exists():
                path.rename(aside.with_name(aside.name + suffix))
        self.notice = f"the database was damaged ({error}); it lies aside as {aside.name}, and its jobs were read from the files again"

    def _explain(self, error: sqlite3.DatabaseError) -> None:
        if "full" in str(error) or "disk I/O" in str(error):
            raise BudgetError(f"the database cannot be written: {error}", hint="free some space on the disk of the root") from None
        if "malformed" in str(error) or "not a database" in str(error):
            self._inode = -1  # looked at, and set aside, at the next use

    def _inode_now(self) -> int:
        try:
            return self.path.stat().st_ino
        except OSError:
            return -2
