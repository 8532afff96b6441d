"""A repository of the hub and a revision in, its files with their sizes and digests out: one request, and nothing on the disk.

The hub's own library writes notes of its own into its folder when it asks; a dry run must not, so the one request is made here.
"""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from layerscout.errors import DataError

TIMEOUT = 10.0  # seconds without an answer
LARGEST = 64 * 2**20  # bytes of a listing
NETWORK = "check the id and the network, or give a local folder"


class Unreachable(DataError):
    """The hub could not be reached, so it is not known what a repository holds."""


@dataclass(frozen=True)
class HubFile:
    """A file as the hub lists it; ``sha256`` is None for small files, which are kept in git itself."""

    path: str
    size: int
    sha256: str | None


@dataclass(frozen=True)
class Listing:
    """What the hub says of a repository at one commit: path → size and, for large files, sha256."""

    commit: str
    files: dict[str, HubFile]


def ask_listing(repository: str, revision: str) -> Listing:
    """Ask the hub for the files of a repository.

    Raises
    ------
    Unreachable
        There is no network, or the hub is out of order.
    DataError
        There is no such repository or revision, or it is not for everybody.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise DataError(f"{repository} is no hub id: {' '.join(str(error).split())[:120]}", hint=NETWORK) from None
    if constants.HF_HUB_OFFLINE:
        raise Unreachable(f"could not get {repository} from the hub: HF_HUB_OFFLINE is set", hint=NETWORK)
    url = f"{constants.ENDPOINT}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=entry()), timeout=TIMEOUT) as answer:
            stated: dict[str, Any] = json.loads(answer.read(LARGEST))
        files = [HubFile(item["rfilename"], int(item.get("size") or 0), _sha256(item.get("lfs"))) for item in stated["siblings"]]
        return Listing(str(stated["sha"]), {file.path: file for file in files})
    except urllib.error.HTTPError as error:
        error.close()
        raise refusal(repository, revision, error.code, error.headers.get("X-Error-Code", "")) from None
    except (OSError, http.client.HTTPException) as error:
        why = type(getattr(error, "reason", error)).__name__
        raise Unreachable(f"could not get {repository} from the hub: {why}", hint=NETWORK) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"the hub's listing of {repository} makes no sense: {error!r}", hint=NETWORK) from None


def entry() -> dict[str, str]:
    """Return the header that says who asks, for repositories that are not for everybody."""
    from huggingface_hub import constants, get_token

    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def refusal(repository: str, revision: str, status: int, word: str) -> DataError:
    """Say in one line why the hub does not give a repository; ``word`` is its own name of the reason."""
    if word == "GatedRepo":
        hint = f"accept its terms on its page ({repository}), then: hf auth login"
        return DataError(f"{repository} asks for its terms to be accepted before it is read", hint=hint)
    if word == "RevisionNotFound":
        return DataError(f"{repository} has no revision '{revision}' on the hub", hint="a branch, a tag or a commit: ID@REVISION")
    if word == "RepoNotFound" or status in (401, 404):
        return DataError(f"the hub has no model {repository}, or it is private", hint="check the id; for private ones: hf auth login")
    if status < 500 and status != 429:
        return DataError(f"the hub does not give {repository}: {status}", hint=NETWORK)
    return Unreachable(f"could not get {repository} from the hub: it answers {status}", hint=NETWORK)


def _sha256(lfs: Any) -> str | None:
    found = lfs.get("sha256") if isinstance(lfs, dict) else None
    return found if isinstance(found, str) and re.fullmatch("[0-9a-f]{64}", found) else None
