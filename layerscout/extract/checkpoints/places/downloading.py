"""Files of a web server in, whole files with the digests that were promised out; what a killed download left is continued."""

from __future__ import annotations

import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from layerscout.errors import DataError
from layerscout.extract.checkpoints.places.byte_ranges import CONNECTION, ENTRY, PAUSE, TIMEOUT, TRIES, WebSource

PARTIAL = ".layerscout.incomplete"  # the file of a download that is not finished, beside its target
BLOCK = 1 << 20  # bytes
FILES = 4  # downloaded side by side


@dataclass(frozen=True)
class Wanted:
    """A file of a server, what it must turn out to be, and where it goes."""

    path: str
    size: int
    sha256: str
    target: Path


def download(source: WebSource, files: Sequence[Wanted], advance: Callable[[int], None]) -> None:
    """Bring files, several side by side; each gets its name when it is whole and has its digest.

    Parameters
    ----------
    advance
        Hears how many bytes came, those of an earlier try included.

    Raises
    ------
    DataError
        The server does not give a file, or gives another one than was promised.
    """
    pool = ThreadPoolExecutor(FILES)
    try:
        for done in as_completed([pool.submit(_bring, source, file, advance) for file in files]):
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _bring(source: WebSource, wanted: Wanted, advance: Callable[[int], None]) -> None:
    wanted.target.parent.mkdir(parents=True, exist_ok=True)
    partial = wanted.target.with_name(wanted.target.name + PARTIAL)
    with partial.open("ab+") as file, _alone(file):
        if wanted.target.exists():  # another process brought it while this one waited
            partial.unlink(missing_ok=True)
            advance(wanted.size)
            return
        digest, here = hashlib.sha256(), 0
        file.seek(0)
        while block := file.read(BLOCK):
            digest.update(block)
            here += len(block)
        advance(min(here, wanted.size))
        failures = 0
        while here < wanted.size:
            try:
                for block in _stream(source, wanted.path, here):
                    file.write(block)
                    digest.update(block)
                    here += len(block)
                    failures = 0
                    advance(len(block))
                failures += here < wanted.size
                why = "the connection ended early"
            except urllib.error.HTTPError as error:
                error.close()
                why = f"{error.code} {error.reason}"
                if error.code in (401, 403):
                    raise DataError(f"could not get {source.address}/{wanted.path}: {why}", hint=ENTRY) from None
                failures += TRIES if error.code < 500 and error.code != 429 else 1
            except (OSError, http.client.HTTPException) as error:
                why, failures = str(getattr(error, "reason", error)), failures + 1
            if failures >= TRIES:
                raise DataError(f"could not get {source.address}/{wanted.path}: {why}", hint=CONNECTION)
            if failures:
                time.sleep(PAUSE * 2 ** (failures - 1))
        if here != wanted.size or digest.hexdigest() != wanted.sha256:
            partial.unlink()
            raise DataError(
                f"{source.address}/{wanted.path} came with sha256 {digest.hexdigest()}, expected {wanted.sha256}",
                hint="run the same command again: the file is downloaded anew",
            )
        file.flush()
        os.fsync(file.fileno())
        partial.replace(wanted.target)


def _stream(source: WebSource, path: str, start: int) -> Iterator[bytes]:
    """Yield a file from a byte on."""
    request = urllib.request.Request(f"{source.address}/{path}", headers={"Range": f"bytes={start}-", "Accept-Encoding": "identity"})
    for name, value in source.secret.items():
        request.add_unredirected_header(name, value)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        if start and answer.status != 206:
            raise DataError(
                f"{source.address}/{path}: the server does not serve byte ranges", hint="download the checkpoint and give the folder"
            )
        while block := answer.read(BLOCK):
            yield block


@contextmanager
def _alone(file: IO[Any]) -> Iterator[None]:
    """Wait until no other process brings the same file; the system lets go of a killed one's hold."""
    try:
        import fcntl
    except ImportError:  # not on this system: two processes would each see the other's bytes as damage, and begin anew
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
