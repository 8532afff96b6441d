"""A repository of the Hugging Face hub in; its files at one commit out: their sizes and digests without a download, and the download.

Nothing is written before `HubSource.download`: documents are read into memory, sizes and sha256 come from the hub's own listing.
What lies in the local cache already is read there. Without a connection the cache alone answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from layerscout.errors import DataError
from layerscout.extract.checkpoints.places.byte_ranges import ByteSource, FolderSource, WebSource
from layerscout.extract.checkpoints.places.downloading import Wanted, download
from layerscout.extract.checkpoints.places.listing import NETWORK, HubFile, Listing, Unreachable, ask_listing, entry
from layerscout.progress import SILENT, Reporter

HUB_ID = re.compile(r"([\w-][\w.-]*/[\w.-]+)(?:@([\w./+-]+))?")  # ORGANISATION/NAME or ORGANISATION/NAME@REVISION
COMMIT = re.compile(r"[0-9a-f]{40}")
MAIN = "main"


@dataclass(frozen=True)
class HubSource:
    """A repository at one commit: that of ``revision`` (a branch, a tag, a commit; None is ``main``) when it was first asked for."""

    repository: str
    revision: str | None = None

    @property
    def address(self) -> str:
        """ "owner/name@revision of the hub", as errors name it."""
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.repository}{at} of the hub"

    @cached_property
    def commit(self) -> str:
        """The commit that is read.

        Raises
        ------
        DataError
            The hub does not give it, and the cache does not know it either.
        """
        if COMMIT.fullmatch(self._wanted):
            return self._wanted
        listing, failure = self._asked
        if listing:
            return listing.commit
        reference = self._cache / "refs" / self._wanted
        if reference.is_file():
            return reference.read_text(encoding="utf-8").strip()
        raise failure or self._not_here()

    @property
    def unreachable(self) -> DataError | None:
        """What to say of a file that is missing here, where the hub could not be asked for it."""
        return None if self._listing else self._not_here()

    def size(self, path: str) -> int | None:
        """Bytes of a downloaded file, else what the hub states; None where there is no such file or the hub cannot be asked."""
        here = self._local.size(path)
        if here is not None:
            return here
        listing = self._listing
        return listing.files[path].size if listing and path in listing.files else None

    def names(self, folder: str) -> list[str] | None:
        """Names of downloaded files and of those that the hub lists, sorted, each once."""
        here = set(self._local.names(folder) or ())
        listed = self._listing.files if self._listing else ()
        return sorted(here | {path.rpartition("/")[2] for path in listed if path.rpartition("/")[0] == folder})

    def read(self, path: str, start: int, stop: int) -> bytes:
        """Read from the download where the file is there, else from the hub."""
        return self._holder(path).read(path, start, stop)

    def read_into(self, path: str, start: int, target: memoryview) -> None:
        """Fill the buffer from the download where the file is there, else from the hub."""
        self._holder(path).read_into(path, start, target)

    def digest(self, path: str) -> bytes | None:
        """Return the sha256 of a file: hashed where it is here, as the hub states it where it is not; None where nobody knows it yet.

        Raises
        ------
        DataError
            The file here is not the one that the hub lists.
        """
        stated = self._asked[0].files.get(path) if self._asked[0] else None
        known = bytes.fromhex(stated.sha256) if stated and stated.sha256 else None
        if self._local.size(path) is None:
            return known
        found = self._local.digest(path)
        if known is not None and found != known:
            raise DataError(
                f"{self._local.folder / path} is not the file that the hub lists: sha256 {found.hex()}, expected {known.hex()}",
                hint="delete that file and run the same command again",
            )
        return found

    @property
    def cached(self) -> bool:
        """Whether weights of this revision are in the cache; the hub is not asked."""
        reference = self._cache / "refs" / self._wanted
        commit = (
            self._wanted if COMMIT.fullmatch(self._wanted) else reference.read_text(encoding="utf-8").strip() if reference.is_file() else ""
        )
        return bool(commit) and any((self._cache / "snapshots" / commit).rglob("*.safetensors"))

    @property
    def folder(self) -> Path:
        """The folder in the cache where this commit's files lie, or will lie."""
        return self._cache / "snapshots" / self.commit

    def missing(self, paths: Sequence[str]) -> list[HubFile]:
        """Return those of some files that must be downloaded.

        Raises
        ------
        DataError
            One is not here, and the hub does not list it or cannot be asked.
        """
        absent = [path for path in paths if self._local.size(path) is None]
        if not absent:
            return []
        if self._listing is None:
            raise self._not_here()
        for path in absent:
            if path not in self._listing.files:
                raise DataError(f"{self.address} has no {path}", hint="check the id and its revision")
        return [self._listing.files[path] for path in absent]

    def download(self, paths: Sequence[str], reporter: Reporter = SILENT) -> None:
        """Bring files into the local cache of the hub; what a killed download left is continued.

        Raises
        ------
        BudgetError
            The disk of the cache has no room for them; nothing was written.
        DataError
            The hub does not give them, or the revision moved on since it was first asked for.
        """
        absent = self.missing(paths)
        if not absent:
            return
        import huggingface_hub
        from huggingface_hub import constants

        from layerscout.cache.writing.checks import check_space

        total, blobs = sum(file.size for file in absent), self._cache / "blobs"
        check_space(Path(constants.HF_HUB_CACHE), total, what=self.repository, hint="free some space, or set HF_HUB_CACHE")
        # the library begins a file anew when it is called again: large ones are brought here, under the name that it gives them
        large = [Wanted(file.path, file.size, file.sha256, blobs / file.sha256) for file in absent if file.sha256]
        with reporter.task(f"download {self.repository}", total, "bytes") as task:
            download(self._web, [file for file in large if not file.target.exists()], task.advance)
            try:
                got = huggingface_hub.snapshot_download(
                    self.repository,
                    revision=self._wanted,
                    allow_patterns=[re.sub(r"([*?\[])", r"[\1]", file.path) for file in absent],
                    endpoint=constants.ENDPOINT,
                    cache_dir=constants.HF_HUB_CACHE,
                    tqdm_class=_silent_bar(),
                )
            except Exception as error:  # what the hub's library throws has no common class
                raise Unreachable(f"could not get {self.repository} from the hub: {type(error).__name__}", hint=NETWORK) from error
            task.advance(total - task.done)
        if Path(got).name != self.commit:
            raise DataError(f"{self.address} moved from {self.commit} to {Path(got).name} meanwhile", hint="run the same command again")
        if left := self.missing(paths):
            raise DataError(f"{self.address} did not give {left[0].path}", hint="run the same command again")

    @property
    def _wanted(self) -> str:
        return self.revision or MAIN

    @cached_property
    def _cache(self) -> Path:
        """The repository's folder in the local cache, as the hub's library lays it out."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE).expanduser() / f"models--{self.repository.replace('/', '--')}"

    @cached_property
    def _local(self) -> FolderSource:
        return FolderSource(self.folder)

    @property
    def _listing(self) -> Listing | None:
        """What the hub lists, None where it cannot be asked."""
        return self._asked[0]

    @cached_property
    def _asked(self) -> tuple[Listing | None, DataError | None]:
        """Ask the hub, once: its listing, or why there is none."""
        try:
            return ask_listing(self.repository, self._wanted), None
        except DataError as error:
            return None, error

    @cached_property
    def _web(self) -> WebSource:
        from huggingface_hub import constants

        return WebSource(f"{constants.ENDPOINT}/{self.repository}/resolve/{self.commit}", entry())

    def _holder(self, path: str) -> ByteSource:
        return self._local if self._local.size(path) is not None else self._web

    def _not_here(self) -> DataError:
        failure = self._asked[1]
        if failure is not None and not isinstance(failure, Unreachable):
            return failure
        if COMMIT.fullmatch(self._wanted) or (self._cache / "refs" / self._wanted).is_file():
            return Unreachable(f"the weights of {self.repository} are not in the cache, and the hub is not reachable", hint=NETWORK)
        here = f"revision {self.revision} of {self.repository}" if self.revision else self.repository
        return Unreachable(f"{here} is not in the cache, and the hub is not reachable", hint=NETWORK)


def split_hub_id(text: str) -> HubSource | None:
    """Read ORGANISATION/NAME or ORGANISATION/NAME@REVISION; None when the text is neither."""
    match = HUB_ID.fullmatch(text)
    return HubSource(match[1], match[2]) if match else None


def _silent_bar() -> Any:
    """Return a bar of the hub's library that draws nothing."""
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options | {"disable": True})

    return Silent
