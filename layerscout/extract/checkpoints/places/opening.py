"""A checkpoint's address in, the place that its files are read from out: a folder, the hub, a web server or a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerscout.cache.remote.address import check_address
from layerscout.cache.remote.bucket import ObjectPlace
from layerscout.cache.remote.place import open_place
from layerscout.errors import UsageError
from layerscout.extract.checkpoints.places.byte_ranges import BucketSource, ByteSource, FolderSource, WebSource
from layerscout.extract.checkpoints.places.hub import split_hub_id
from layerscout.paths import expand

FORMS = "a folder, a hub id such as zai-org/CogVideoX-2b, https://…, s3://…, gs://… or az://…"


def open_source(address: str | Path) -> ByteSource:
    """Open the checkpoint at an address; nothing is read yet.

    Parameters
    ----------
    address
        A folder, a hub id (with @REVISION if need be), or an address that begins with https://, http://, s3://, gs:// or az://.

    Raises
    ------
    UsageError
        The address is of another form, or holds more than a place: a name and password, a query, a fragment.
    MissingExtraError
        It is in a bucket, and the package ``obstore`` is not installed.
    """
    text = str(address)
    check_address(text)
    if text.startswith(("http://", "https://")):
        return WebSource(text.rstrip("/"))
    if "://" in text:
        place: Any = open_place(text)
        return BucketSource(place) if isinstance(place, ObjectPlace) else FolderSource(place.folder)
    folder = expand(text)
    if folder.is_dir():
        return FolderSource(folder)
    hub = split_hub_id(text)
    if hub is None:
        raise UsageError(f"no checkpoint folder {text}", hint=FORMS)
    return hub
