"""An obstore store in, objects listed, read and written out; every failure told in one line with the next step."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerscout.cache.remote.address import VARIABLES
from layerscout.errors import DataError, LayerscoutError

BLOCK_BYTES = 2**20
PART_BYTES = 32 * 2**20  # a larger file is sent in parts of this size, so that memory holds one part a worker
DIGEST_ATTRIBUTE = "sha256"  # metadata of every object that push sends
PANIC = "PanicException"  # of Rust code; each library has a type of its own by this name
ACCESS_HINT = {
    "s3": "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, away from Amazon, AWS_ENDPOINT_URL tell how to get in",
    "gs": "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS names the file with the key",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY tell how to get in",
}


@dataclass(frozen=True)
class ObjectPlace:
    """A place that is a bucket, or what lies in it under a prefix; ``handle`` is an obstore store."""

    url: str
    handle: Any

    def read(self, path: str, most: int) -> bytes | None:
        """Return a whole object of at most ``most`` bytes, or None when there is none."""
        import obstore

        try:
            with explained_failures(self.url):
                found = obstore.get(self.handle, path)
                if found.meta["size"] > most:
                    raise too_large_error(self.url, path, most)
                return bytes(found.bytes())
        except FileNotFoundError:
            return None

    def stream(self, path: str) -> Iterator[Any]:
        """Yield an object's bytes in pieces of at least ``BLOCK_BYTES``.

        Raises
        ------
        DataError
            There is no such object, or the store of objects fails.
        """
        import obstore

        try:
            with explained_failures(self.url):
                yield from obstore.get(self.handle, path).stream(min_chunk_size=BLOCK_BYTES)
        except FileNotFoundError:
            raise missing_file_error(self.url, path) from None

    def holds(self, path: str) -> bool:
        """Tell whether the bucket has an object of this name; asks for its head alone."""
        return self.digest(path) is not None

    def digest(self, path: str) -> str | None:
        """Return the sha256 that the sender noted on an object, "" when there is no note, None when there is no object."""
        import obstore

        try:
            with explained_failures(self.url):
                return str(obstore.get(self.handle, path, options={"head": True}).attributes.get(DIGEST_ATTRIBUTE, ""))
        except FileNotFoundError:
            return None

    def names(self, path: str) -> list[str]:
        """Return the last parts of the prefixes under ``path``, sorted: what would be folders on a disk."""
        import obstore

        with explained_failures(self.url):
            return sorted(prefix.rpartition("/")[2] for prefix in obstore.list_with_delimiter(self.handle, path)["common_prefixes"])

    def sizes(self, path: str) -> dict[str, int]:
        """Return the bytes of every object in a folder and below, by path."""
        import obstore

        with explained_failures(self.url):
            return {item["path"]: item["size"] for batch in obstore.list(self.handle, path) for item in batch}

    def put(self, path: str, source: Path, sha256: str) -> None:
        """Send a file; it appears whole or not at all, and replaces what was there."""
        import obstore

        with explained_failures(self.url):
            note = {DIGEST_ATTRIBUTE: sha256}
            obstore.put(self.handle, path, source, attributes=note, chunk_size=PART_BYTES, max_concurrency=1)

    def create(self, path: str, data: bytes) -> bool:
        """Put an object where there is none yet; False when somebody was first."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with explained_failures(self.url):
                obstore.put(self.handle, path, data, mode="create")
        except AlreadyExistsError:
            return False
        return True

    def delete(self, paths: Sequence[str]) -> None:
        """Delete the objects at these paths; what is gone already is no error."""
        import obstore

        with explained_failures(self.url):
            obstore.delete(self.handle, list(paths))


@contextmanager
def explained_failures(url: str) -> Iterator[None]:
    """Turn what obstore says into one line and a hint; "no such object" and "exists already" are for the caller to judge.

    A panic of its library is no ``Exception``; it is told as one line too.
    """
    from obstore.exceptions import AlreadyExistsError

    try:
        yield
    except (LayerscoutError, AlreadyExistsError):
        raise
    except Exception as error:
        explanation = _explanation(error, url)
        if explanation is None:
            raise
        raise explanation from None
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        cause = str(error).partition("\n")[0][:200]
        message = f"{url}: the library for object stores failed on what it was told: {cause}"
        raise DataError(message, hint=f"check {_told_by(url)}") from None


def _told_by(url: str) -> str:
    """Name the variables that are set and tell how to get in."""
    own = VARIABLES.get(url.partition(":")[0], ())
    return ", ".join(sorted(name for name in os.environ if name.startswith(own))) or "the variables of its kind"


def _explanation(error: Exception, url: str) -> LayerscoutError | None:
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

    scheme, text = url.partition(":")[0], str(error)
    if any(word in text for word in ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")):
        return DataError(f"{url}: there is no such bucket", hint="check the URL, or make the bucket first")
    if isinstance(error, FileNotFoundError) or not isinstance(error, BaseError | ValueError | NotImplementedError | OSError):
        return None
    access = ("169.254.169.254", "metadata.google", "MissingAccount", "TokenRequest")  # where it asks when the environment says nothing
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or any(word in text for word in access):
        return DataError(f"{url}: no access, or no credentials", hint=ACCESS_HINT.get(scheme, "check the credentials"))
    line = text.partition("\n")[0]
    if "Config error" in line or "credential error" in line:
        return DataError(f"{url}: {line.rpartition('error: ')[2][:200]}", hint=f"check {_told_by(url)}")
    asked, cause = re.search(r"https?://[^/ ]+", line), line.rpartition(" - ")[2][:200]
    where = f"{url}, asked at {asked[0]}" if asked else url
    return DataError(f"{where}: {cause}", hint="check the URL and the connection, then run the same command again")


def missing_file_error(url: str, path: str) -> DataError:
    """Make the error for an object that a manifest lists and the bucket lacks; pushing again is the way out."""
    return DataError(f"{url}/{path} is missing", hint="push the store again from where it is whole; that restores what is missing")


def too_large_error(url: str, path: str, most: int) -> DataError:
    """Return the error that a document is larger than any that layerscout writes."""
    return DataError(f"{url}/{path} has more than {most:,} bytes", hint="this is not a file that layerscout wrote")
