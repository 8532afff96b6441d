"""A checkpoint's address in, the place that its files are read from out: a folder, the hub, a web server or a bucket."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from layerscout.cache.remote.bucket import ObjectPlace
from layerscout.cache.remote.place import open_place
from layerscout.errors import DataError, UsageError
from layerscout.extract.checkpoints.byte_ranges import BucketSource, FolderSource, Source, WebSource

FORMS = "a folder, a hub id such as zai-org/CogVideoX-2b, https://…, s3://…, gs://… or az://…"


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face hub at one commit; files that were downloaded before are read from the local cache."""

    repository: str
    probe: str  # a small file that the repository has

    @property
    def address(self) -> str:
        return f"{self.repository} of the hub"

    def size(self, path: str) -> int | None:
        source = self._holder(path)
        return source.size(path)

    def read(self, path: str, start: int, stop: int) -> bytes:
        return self._holder(path).read(path, start, stop)

    @cached_property
    def _snapshot(self) -> Path | None:
        """The folder in the cache of what was downloaded last, if anything was."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, self.probe)
        return Path(str(found).removesuffix(self.probe)) if isinstance(found, str) else None

    @cached_property
    def _web(self) -> WebSource:
        from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.utils import build_hf_headers

        commit = self._snapshot.name if self._snapshot else None
        if commit is None:
            try:
                url = hf_hub_url(self.repository, self.probe, endpoint=constants.ENDPOINT)
                commit = get_hf_file_metadata(url, endpoint=constants.ENDPOINT).commit_hash
            except Exception as error:  # what the hub's library throws has no common class
                message = f"could not get {self.repository} from the hub: {type(error).__name__}"
                raise DataError(message, hint="check the id and the network, or give a local folder") from None
        headers = {name: value for name, value in build_hf_headers().items() if name.lower() == "authorization"}
        return WebSource(f"{constants.ENDPOINT}/{self.repository}/resolve/{commit}", headers)

    def _holder(self, path: str) -> Source:
        cached = self._snapshot is not None and (self._snapshot / path).is_file()
        return FolderSource(self._snapshot) if cached and self._snapshot else self._web


def open_source(address: str | Path, probe: str = "model_index.json") -> Source:
    """Open the checkpoint at an address; nothing is read yet.

    Parameters
    ----------
    address
        A folder, a hub id, or an address that begins with https://, http://, s3://, gs:// or az://.
    probe
        A small file that it has, by which a hub id is brought to one commit.

    Raises
    ------
    UsageError
        The address is of another form.
    MissingExtraError
        It is in a bucket, and the package ``obstore`` is not installed.
    """
    text = str(address)
    if text.startswith(("http://", "https://")):
        return WebSource(text.rstrip("/"))
    if "://" in text:
        place: Any = open_place(text)
        return BucketSource(place) if isinstance(place, ObjectPlace) else FolderSource(place.folder)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return FolderSource(folder)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", text):
        raise UsageError(f"no checkpoint folder {text}", hint=FORMS)
    return HubSource(text, probe)
