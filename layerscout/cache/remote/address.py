"""A URL and the environment in, nothing or an error that tells no secret out: asked before an address is printed, kept or opened."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from layerscout.errors import UsageError
from layerscout.paths import ADDRESS

SCHEMES = ("s3", "gs", "az", "hf", "file")
FORMS = "s3://bucket/…, gs://bucket/…, az://container/…, hf://datasets/ORG/NAME, hf://buckets/ORG/NAME, file:///folder or a folder"
VARIABLES = {"s3": ("AWS_",), "gs": ("GOOGLE_",), "az": ("AZURE_", "AZURITE_")}  # beginnings of the names of what tells how to get in
ENDPOINT = re.compile(
    r"AWS_(ENDPOINT(_URL(_S3|_STS)?)?|METADATA_ENDPOINT|CONTAINER_CREDENTIALS_FULL_URI)|GOOGLE_BASE_URL|AZURITE_BLOB_STORAGE_URL"
    r"|AZURE_(STORAGE_)?(ENDPOINT|AUTHORITY_HOST)|AZURE_(MSI|IDENTITY)_ENDPOINT"
)
REGION = re.compile(r"AWS_(DEFAULT_)?REGION")
SENT = re.compile(  # in headers and addresses
    r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|CONTAINER_CREDENTIALS_RELATIVE_URI)"
    r"|AZURE_STORAGE_(ACCOUNT_NAME|ACCOUNT_KEY|TOKEN)|AZURE_(STORAGE_)?TENANT_ID"
)
ACCOUNT = "AZURE_STORAGE_ACCOUNT_NAME"  # the beginning of a server's name
PRINTABLE = re.compile(r"[\x21-\x7e]+")  # what a header can hold: no blanks, line breaks or letters beyond ASCII


def check_address(url: str) -> None:
    """Refuse an address that holds more than a place: a name and password, a query, or a fragment. The message repeats none of it.

    Raises
    ------
    UsageError
        It holds a control character; or "@", "?" or "#", or ":" before the first "/" that is no port of a web server, as they stand or as %40; or a stroke
        is missing, so that it would be taken for a folder.
    """
    scheme, mark, rest = url.partition("://")
    if (mark or ADDRESS.match(url)) and not url.isprintable():
        raise UsageError("an address has a line break or another control character", hint=FORMS)
    if not mark:
        if match := ADDRESS.match(url):
            raise UsageError(f"an address that begins with {match[0]} is not the URL of a place: a '/' is missing", hint=FORMS)
        return
    rest = rest if scheme == "file" else unquote(rest)  # names of files may hold any letter, and are spelled so
    host = rest.partition("/")[0]
    ported = scheme in ("http", "https") and re.fullmatch(r"[^:]+:\d{1,5}|\[[0-9a-fA-F:.]+\](:\d{1,5})?", host)
    if any(letter in rest for letter in "@?#") or (":" in host and not ported):
        known = f"{scheme}://…" if scheme in SCHEMES else "the address"
        hint = "keys come from the environment or a credentials file, never from the address, which is printed and kept"
        raise UsageError(f"{known} holds a name, a password, a query or a fragment ('@', ':', '?' or '#')", hint=hint)


def check_variables(scheme: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse variables that the object store's library would crash on; their values are not told.

    Raises
    ------
    UsageError
        A variable has a character that no header can hold, or an endpoint is no http:// or https:// URL.
    """
    for name, value in environment.items():
        if not value or not name.startswith(VARIABLES.get(scheme, ())):
            continue
        if SENT.fullmatch(name) and not PRINTABLE.fullmatch(value):
            message = f"{name} has a blank, a line break or another character that cannot be sent"
            raise UsageError(message, hint=f"set {name} again without it")
        if name == ACCOUNT and not re.fullmatch(r"[A-Za-z0-9-]+", value):
            raise UsageError(
                f"{name} is no name of an account: it may have letters and digits", hint=f"set {name} to the account's name alone"
            )
        if REGION.fullmatch(name) and not re.fullmatch(r"[A-Za-z0-9-]+", value):
            raise UsageError(f"{name} is no region: it may have letters, digits and '-'", hint=f"set {name} to one such as us-east-1")
        if ENDPOINT.fullmatch(name):
            _check_endpoint(name, value)


def _check_endpoint(name: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        whole = PRINTABLE.fullmatch(value) and parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:  # a port that is no number, half a bracket
        whole = None
    if not whole:
        raise UsageError(f"{name} is no address that begins with http:// or https://", hint=f"for example: {name}=http://127.0.0.1:9000")
