"""A URL in, files listed, read and written out: one face for S3, Google Cloud, Azure and a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from layerscout.cache.identity import STORE_PREFIX
from layerscout.cache.remote.address import FORMS, SCHEMES, check_address, check_variables
from layerscout.cache.remote.bucket import BLOCK_BYTES, ObjectPlace, explained_failures, missing_file_error, too_large_error
from layerscout.cache.remote.hub import HubPlace, open_hub
from layerscout.errors import MissingExtraError, UsageError, install, shell
from layerscout.paths import require_folder

RETRIES = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
TIMEOUTS = {"connect_timeout": "5s", "timeout": "5m"}  # the second is for one request, that is for one part


@dataclass(frozen=True)
class FolderPlace:
    """A place that is a folder of this or a network file system; paths are relative to it."""

    url: str
    folder: Path

    def read(self, path: str, most: int) -> bytes | None:
        """Return a whole file of at most ``most`` bytes, or None when there is none."""
        try:
            with (self.folder / path).open("rb") as file:
                data = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if len(data) > most:
            raise too_large_error(self.url, path, most)
        return data

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes in blocks of ``BLOCK_BYTES``; a missing file is a DataError."""
        try:
            with (self.folder / path).open("rb", buffering=0) as file:
                while block := file.read(BLOCK_BYTES):
                    yield block
        except (FileNotFoundError, NotADirectoryError):
            raise missing_file_error(self.url, path) from None

    def holds(self, path: str) -> bool:
        """Tell whether ``path`` is a regular file."""
        return (self.folder / path).is_file()

    def names(self, path: str) -> list[str]:
        """Return the names of the folders directly under ``path``, sorted; none where ``path`` is missing.

        Raises
        ------
        DataError
            The place itself is no folder.
        """
        near = self.folder.parent
        known = f"{near} has stores, named by their ids: {shell('store', 'ls', near)}" if (near / "stores").is_dir() else ""
        require_folder(self.folder, known or "check the address")
        folder = self.folder / path
        return sorted(item.name for item in folder.iterdir() if item.is_dir()) if folder.is_dir() else []


Place = FolderPlace | ObjectPlace | HubPlace


def split_url(url: str | Path) -> tuple[str, str | None]:
    """Cut the address of a store into the place and the store id; the id is None when the place alone is meant.

    Raises
    ------
    UsageError
        The address holds a name and password, a query or a fragment.
    """
    check_address(str(url))
    scheme, mark, rest = str(url).partition("://")
    bucket, _, path = rest.partition("/")
    parts = [part for part in path.split("/") if part] if mark else list(Path(url).parts)
    store_id = parts.pop() if parts and parts[-1].startswith(STORE_PREFIX) else None
    if parts and parts[-1] == "stores":
        parts.pop()
    return f"{scheme}://{'/'.join([bucket, *parts])}" if mark else str(Path(*parts)), store_id


def open_place(url: str | Path) -> Place:
    """Open the place at a URL or folder; nothing is read yet.

    Raises
    ------
    UsageError
        The URL is not one of s3://bucket/…, gs://bucket/…, az://container/…, hf://datasets/ORG/NAME, hf://buckets/ORG/NAME, file:///folder; it holds more than a place; or a
        variable of the environment that tells how to get in makes no sense.
    MissingExtraError
        It is not a folder, and the package ``obstore`` is not installed.
    """
    text = str(url)
    check_address(text)
    if "://" not in text:
        return FolderPlace(str(Path(text).absolute()), Path(text).absolute())
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES or bool(parts.netloc) == (parts.scheme == "file"):
        raise UsageError(f"'{text}' is not the URL of a place", hint=FORMS)
    if parts.scheme == "file":
        return FolderPlace(text, Path(unquote(parts.path) or "/"))
    if parts.scheme == "hf":
        if (hub := open_hub(text)) is None:
            raise UsageError(f"'{text}' is not the URL of a place", hint=FORMS)
        return hub
    try:
        from obstore.store import from_url
    except ImportError:
        raise MissingExtraError(f"{text} needs the package obstore", hint=install("remote")) from None
    check_variables(parts.scheme)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
    plain = {"allow_http": True} if parts.scheme == "s3" and endpoint.startswith("http://") else {}
    options: dict[str, Any] = {"client_options": TIMEOUTS | plain, "retry_config": RETRIES}
    with explained_failures(text):
        return ObjectPlace(text, from_url(text, **options))
