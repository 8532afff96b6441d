"""A dataset repository or a bucket of the Hugging Face hub in, files listed, read and sent out: the face of every other place.

Files go in commits of many, because the hub counts commits; what an earlier commit brought is not sent again, and the manifest is in the
last one. The token is the hub library's own (``hf auth login`` or ``HF_TOKEN``); it is asked for by that library alone and kept nowhere.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerscout.cache.files import StoredObject
from layerscout.cache.remote.bucket import BLOCK_BYTES, missing_file_error, too_large_error
from layerscout.errors import DataError, LayerscoutError

FILES_A_COMMIT, BYTES_A_COMMIT = 100, 2**32
ACCESS = "log in with: hf auth login, or set HF_TOKEN; a repository is made by: hf repo create NAME --repo-type dataset"
TRIES = 5  # at the last commit, while others commit to the same repository
MARK = "<!-- written by layerscout store push -->"  # in the repository's own README.md: this one may be written again


@dataclass(frozen=True)
class HubPlace:
    """A place in a dataset repository (its branch main), or in a bucket; paths are relative to ``prefix``."""

    url: str
    kind: str  # "datasets" or "buckets"
    repository: str
    prefix: str
    api: Any = field(repr=False)

    def read(self, path: str, most: int) -> bytes | None:
        """Return a whole file of at most ``most`` bytes, or None when there is none."""
        data = bytearray()
        try:
            for block in self._blocks(path):
                data += block
                if len(data) > most:
                    raise too_large_error(self.url, path, most)
        except FileNotFoundError:
            return None
        return bytes(data)

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes in blocks.

        Raises
        ------
        DataError
            There is no such file, or the hub fails.
        """
        try:
            yield from self._blocks(path)
        except FileNotFoundError:
            raise missing_file_error(self.url, path) from None

    def holds(self, path: str) -> bool:
        """Tell whether the repository lists a file of this name at its revision."""
        return path in self.listed(path.rpartition("/")[0])

    def names(self, path: str) -> list[str]:
        """Return the names of the folders directly under ``path`` in the repository, sorted."""
        found = {one.path for one in self._tree(path, deep=False) if type(one).__name__.endswith("Folder")}
        return sorted(name.rstrip("/").rpartition("/")[2] for name in found)

    def listed(self, path: str) -> dict[str, Any]:
        """Return what the hub tells of every file in a folder and below, by its path at this place."""
        start = len(self.prefix) + 1 if self.prefix else 0
        return {one.path[start:]: one for one in self._tree(path, deep=True) if type(one).__name__.endswith("File")}

    def present(self, folder: str, objects: Sequence[StoredObject], source: Path) -> list[StoredObject]:
        """Return which files of a store are there already: of the same size, and of the same digest where the hub knows one."""
        there = self.listed(folder)
        return [
            item for item in objects if (entry := there.get(f"{folder}/{item.path}")) is not None and _same(entry, item, source / item.path)
        ]

    def send(self, files: Sequence[tuple[str, Path | bytes]], message: str, parent: str | None = None) -> None:
        """Send files in one commit; with ``parent``, only if that is still the last commit."""
        with explained_hub_failures(self.url), silent():
            if self.kind == "buckets":
                self.api.batch_bucket_files(self.repository, add=[(data, self._whole(path)) for path, data in files])
                return
            from huggingface_hub import CommitOperationAdd

            adding = [CommitOperationAdd(self._whole(path), str(data) if isinstance(data, Path) else data) for path, data in files]
            self.api.create_commit(self.repository, adding, commit_message=message, repo_type="dataset", parent_commit=parent)

    def create(self, path: str, data: bytes, beside: Sequence[tuple[str, Path | bytes]] = ()) -> bool:
        """Send a file where there is none yet, with others beside it, in one commit; False when somebody was first.

        A bucket knows no condition: there the last of two who send at the same moment stands.
        """
        for _ in range(TRIES):
            head = self._head()
            if self.read(path, len(data) + BLOCK_BYTES) is not None:
                return False
            try:
                self.send([*beside, (path, data)], f"Publish {path.split('/')[1]}", head)
            except Conflict:
                continue
            return True
        raise DataError(f"{self.url}: others commit to it all the time", hint="run the same command again")

    def _head(self) -> str | None:
        if self.kind == "buckets":
            return None
        with explained_hub_failures(self.url):
            return str(self.api.repo_info(self.repository, repo_type="dataset", revision="main").sha)

    def _whole(self, path: str) -> str:
        return f"{self.prefix}/{path}" if self.prefix else path

    def _tree(self, path: str, deep: bool) -> Iterator[Any]:
        from huggingface_hub.errors import EntryNotFoundError

        where = self._whole(path).rstrip("/")
        try:
            with explained_hub_failures(self.url):
                if self.kind == "buckets":
                    inside = f"{where}/" if where else ""
                    yield from (
                        one for one in self.api.list_bucket_tree(self.repository, inside, recursive=deep) if one.path.startswith(inside)
                    )
                else:
                    yield from self.api.list_repo_tree(self.repository, where or None, recursive=deep, repo_type="dataset")
        except EntryNotFoundError:
            return

    def _blocks(self, path: str) -> Iterator[bytes]:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.errors import EntryNotFoundError
        from huggingface_hub.utils import hf_raise_for_status, http_stream_backoff

        try:
            with explained_hub_failures(self.url):
                if self.kind == "buckets":
                    yield from self._from_bucket(path)
                    return
                address = hf_hub_url(self.repository, self._whole(path), repo_type="dataset", endpoint=self.api.endpoint)
                headers = self.api._build_hf_headers()
                with http_stream_backoff("GET", address, headers=headers, follow_redirects=True) as answer:
                    hf_raise_for_status(answer)
                    yield from answer.iter_bytes(BLOCK_BYTES)
        except EntryNotFoundError:
            raise FileNotFoundError(path) from None

    def _from_bucket(self, path: str) -> Iterator[bytes]:
        with tempfile.TemporaryDirectory() as scratch, silent():
            target = Path(scratch) / "file"
            self.api.download_bucket_files(self.repository, [(self._whole(path), target)], raise_on_missing_files=True)
            with target.open("rb", buffering=0) as file:
                while block := file.read(BLOCK_BYTES):
                    yield block


class Conflict(DataError):
    """The hub refused a commit because somebody else committed to the same branch first."""


def open_hub(url: str) -> HubPlace | None:
    """Return the place that ``hf://datasets/ORG/NAME/…`` or ``hf://buckets/ORG/NAME/…`` names; None when the address is neither."""
    from huggingface_hub import HfApi

    kind, _, rest = url.removeprefix("hf://").partition("/")
    parts = [part for part in rest.split("/") if part]
    if kind not in ("datasets", "buckets") or len(parts) < 2:
        return None
    return HubPlace(url, kind, "/".join(parts[:2]), "/".join(parts[2:]), HfApi(library_name="layerscout"))


def batches(items: Sequence[StoredObject]) -> Iterator[list[StoredObject]]:
    """Yield files in groups that a commit takes."""
    group: list[StoredObject] = []
    for item in items:
        if group and (len(group) == FILES_A_COMMIT or sum(one.size for one in group) + item.size > BYTES_A_COMMIT):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


@contextmanager
def silent() -> Iterator[None]:
    """Keep the hub library from drawing its own bars inside the block: what goes on is told by the stage."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    was = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not was:
            enable_progress_bars()


@contextmanager
def explained_hub_failures(url: str) -> Iterator[None]:
    """Turn what the hub's library says into one line and a hint; "no such file" is for the caller to judge. No header is ever repeated."""
    from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    try:
        yield
    except (LayerscoutError, EntryNotFoundError, GeneratorExit):
        raise
    except GatedRepoError:
        raise DataError(f"{url}: access must be asked for on its page first", hint=ACCESS) from None
    except RepositoryNotFoundError:
        raise DataError(f"{url}: there is no such repository, or it is private", hint=ACCESS) from None
    except OfflineModeIsEnabled:
        raise DataError(f"{url}: the hub is switched off by HF_HUB_OFFLINE", hint="unset it, then run the same command again") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (409, 412):
            raise Conflict(f"{url}: somebody else committed at the same time", hint="run the same command again") from None
        if status in (401, 403):
            raise DataError(f"{url}: no access, or a token that may not write", hint=ACCESS) from None
        raise DataError(f"{url}: the hub answered {status}", hint="run the same command again; it continues") from None
    except Exception as error:
        foreign = type(error).__module__.partition(".")[0] in ("httpx", "httpx2", "httpcore", "huggingface_hub")
        if not foreign and not isinstance(error, OSError | RuntimeError | ValueError):  # a bug here, or another version of that library
            raise
        cause = " ".join(str(error.__cause__ or error).split())[:160] if "Bearer" not in str(error) else type(error).__name__
        raise DataError(f"{url} cannot be reached: {cause}", hint="check the connection, then run the same command again") from None


def _same(entry: Any, item: StoredObject, source: Path) -> bool:
    if entry.size != item.size:
        return False
    if (large := getattr(entry, "lfs", None)) is not None:
        return bool(large.sha256 == item.sha256)
    if (blob := getattr(entry, "blob_id", None)) is None:  # a bucket, which tells no digest of ours; a pull compares
        return True
    return bool(blob == hashlib.sha1(f"blob {item.size}\0".encode() + source.read_bytes(), usedforsecurity=False).hexdigest())
