"""A place in, byte ranges of its files out: a folder, a web server, S3, Google Cloud or Azure."""

from __future__ import annotations

import functools
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from layerscout.cache.file_state import FileState
from layerscout.cache.remote.bucket import ObjectPlace, explained_failures
from layerscout.errors import DataError

LARGEST_DOCUMENT = 64 * 2**20  # bytes of a configuration or an index
TRIES = 4
PAUSE = 0.5  # seconds before the second try, doubled for each further one
TIMEOUT = 60.0  # seconds without a byte
ENTRY = "log in (hf auth login for the hub) and accept the terms on its page, or check the address"
CONNECTION = "check the address and the connection, then run the same command again"


class ByteSource(Protocol):
    """Where a checkpoint's files lie; ``path`` is relative to it, with "/" between folders."""

    @property
    def address(self) -> str:
        """The folder, URL or repository as errors name it."""

    def size(self, path: str) -> int | None:
        """Return the bytes of a file, None when there is no such file."""

    def names(self, folder: str) -> list[str] | None:
        """Return the names of the files in a folder ("" for the place itself), None where a place cannot tell."""

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)`` of a file; DataError when they cannot all be had."""

    def read_into(self, path: str, start: int, target: memoryview) -> None:
        """Fill ``target`` with the bytes of a file from ``start`` on; DataError when they cannot all be had."""


@dataclass(frozen=True)
class FolderSource:
    """A folder of this machine. A file that was hashed must still be the same file when it is read (see `digest`)."""

    folder: Path
    hashed: dict[str, FileState] = field(default_factory=dict, repr=False, compare=False)

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def size(self, path: str) -> int | None:
        """Bytes on disk; None for what is not a file."""
        file = self.folder / path
        return file.stat().st_size if file.is_file() else None

    def names(self, folder: str) -> list[str] | None:
        """Names of the files in a folder, sorted; none for a folder that does not exist."""
        place = self.folder / folder
        return sorted(item.name for item in place.iterdir() if item.is_file()) if place.is_dir() else []

    def broken_links(self, folder: str) -> list[str]:
        """Sorted names of symbolic links in a folder whose target is gone, as half a download leaves them."""
        place = self.folder / folder
        return sorted(item.name for item in place.iterdir() if item.is_symlink() and not item.exists()) if place.is_dir() else []

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Read into a buffer of its own; see ``read_into`` for its errors."""
        data = bytearray(stop - start)
        self.read_into(path, start, memoryview(data))
        return bytes(data)

    def read_into(self, path: str, start: int, target: memoryview) -> None:
        """Read until the buffer is full.

        Raises
        ------
        DataError
            The file ends too early, or is not the one that was hashed.
        """
        with (self.folder / path).open("rb", buffering=0) as file:
            file.seek(start)
            done = 0
            while done < len(target) and (count := file.readinto(target[done:])):
                done += count
            self._check(path, file.fileno())
        if done < len(target):
            raise _short(f"{self.folder}/{path}", start, start + len(target))

    def digest(self, path: str) -> bytes:
        """Return the sha256 of a whole file, and remember which file it was of: from now on no other is read in its place.

        Raises
        ------
        DataError
            The file was changed while it was read, or since it was hashed before.
        """
        with (self.folder / path).open("rb", buffering=0) as file:
            state = FileState.of(file.fileno())
            found = _digest(self.folder / path, state)
            self.hashed.setdefault(path, state)
            self._check(path, file.fileno())
        return found

    def _check(self, path: str, descriptor: int) -> None:
        if path in self.hashed and FileState.of(descriptor) != self.hashed[path]:
            raise DataError(f"{self.folder}/{path} was changed since its digest was taken", hint="run the same command again")


@dataclass(frozen=True)
class BucketSource:
    """A checkpoint in S3, Google Cloud or Azure; ``path`` is taken under the place's prefix."""

    place: ObjectPlace

    @property
    def address(self) -> str:
        """The bucket's URL with the prefix, without credentials."""
        return self.place.url

    def size(self, path: str) -> int | None:
        """Bytes of an object, asked for without its content; None where the store has none of that name."""
        import obstore

        try:
            with explained_failures(self.place.url):
                return int(obstore.head(self.place.handle, path)["size"])
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str] | None:
        """Names of the objects directly under a folder, sorted."""
        import obstore

        with explained_failures(self.place.url):
            listed = obstore.list_with_delimiter(self.place.handle, folder or None)["objects"]
        return sorted(str(item["path"]).rpartition("/")[2] for item in listed)

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Fetch one range; an empty one costs no request.

        Raises
        ------
        DataError
            The store answers with fewer bytes, or fails.
        """
        import obstore

        if start == stop:
            return b""
        with explained_failures(self.place.url):
            data = bytes(obstore.get_range(self.place.handle, path, start=start, end=stop))
        return checked(data, f"{self.address}/{path}", start, stop)

    def read_into(self, path: str, start: int, target: memoryview) -> None:
        """Fetch the range and copy it into the buffer."""
        target[:] = self.read(path, start, start + len(target))


@dataclass(frozen=True)
class WebSource:
    """Files under a URL of a server that serves byte ranges; ``secret`` headers go to that server alone, not where it redirects."""

    address: str
    secret: dict[str, str] = field(default_factory=dict, repr=False)

    def size(self, path: str) -> int | None:
        """Bytes of a file, from the answer to a request for its first one; None where the server has none of that name."""
        answer = self._ask(path, 0, 1)
        if answer is None:
            return None
        return int(answer[0].rpartition("/")[2])

    def names(self, folder: str) -> list[str] | None:
        """None: a web server has no list of files."""
        return None

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Fetch one range; an empty one costs no request.

        Raises
        ------
        DataError
            The file is missing, or the server answers with other bytes than those.
        """
        if start == stop:
            return b""
        answer = self._ask(path, start, stop)
        if answer is None:
            raise DataError(f"{self.address}/{path} is missing", hint=CONNECTION)
        return checked(answer[1], f"{self.address}/{path}", start, stop)

    def read_into(self, path: str, start: int, target: memoryview) -> None:
        """Fetch the range and copy it into the buffer."""
        target[:] = self.read(path, start, start + len(target))

    def _ask(self, path: str, start: int, stop: int) -> tuple[str, bytes] | None:
        """Return the range that the server states and its bytes, None when there is no such file; tries again what may pass."""
        url = f"{self.address}/{path}"
        for number in range(TRIES):
            try:
                return self._once(url, start, stop)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 404:
                    return None
                why = f"{error.code} {error.reason}"
                if error.code in (401, 403):
                    raise DataError(f"{url}: {why}", hint=ENTRY) from None
                if error.code < 500 and error.code != 429:
                    break
            except (OSError, http.client.HTTPException) as error:
                why = str(getattr(error, "reason", error))
            if number < TRIES - 1:
                time.sleep(PAUSE * 2**number)
        raise DataError(f"{url}: {why}", hint=CONNECTION)

    def _once(self, url: str, start: int, stop: int) -> tuple[str, bytes]:
        request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"})
        for name, value in self.secret.items():
            request.add_unredirected_header(name, value)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            stated = answer.headers.get("Content-Range", "")
            if answer.status != 206 or not re.fullmatch(rf"bytes {start}-\d+/\d+", stated):
                raise DataError(f"{url}: the server does not serve byte ranges", hint="download the checkpoint and give the folder")
            data: bytes = answer.read(stop - start)
        if len(data) < min(stop, int(stated.rpartition("/")[2])) - start:
            raise http.client.IncompleteRead(data)
        return stated, data


def document(source: ByteSource, path: str) -> bytes | None:
    """Return a whole small file, None when there is no such file.

    Raises
    ------
    DataError
        It is larger than such files are, or cannot be read.
    """
    size = source.size(path)
    if size is None:
        return None
    if size > LARGEST_DOCUMENT:
        raise DataError(f"{source.address}/{path} has {size:,} bytes, more than such a file has", hint="this is not a checkpoint")
    return source.read(path, 0, size)


def checked(data: bytes, where: str, start: int, stop: int) -> bytes:
    """Return the bytes, if they are as many as were asked for."""
    if len(data) != stop - start:
        raise _short(where, start, stop)
    return data


def _short(where: str, start: int, stop: int) -> DataError:
    return DataError(f"{where} ends early: bytes {start:,} to {stop:,} are not all there", hint="download the checkpoint again")


@functools.lru_cache(maxsize=1024)  # a plan, its run and an agent ask for the same tens of gigabytes
def _digest(file: Path, state: FileState) -> bytes:
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").digest()
        if FileState.of(stream.fileno()) != state:
            raise DataError(f"{file} was changed while it was read", hint="run the same command again")
    return found
