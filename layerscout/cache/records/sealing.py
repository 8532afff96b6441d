"""JSON text in, the same text with its own digest inside out; and back, refused when a single bit of it has changed.

A sealed text is one JSON object whose last member is ``"digest"``: the sha256 of the text without that member, byte for byte. So
anything that changes the text is noticed, even a change that JSON would read as the same value.
"""

from __future__ import annotations

import hashlib
import re

from layerscout.errors import DataError

SEAL = re.compile(rb',\n "digest": "sha256:([0-9a-f]{64})"\n}\n')
UNSEALED = b"\n}\n"  # how a text ends before it is sealed


def seal(text: bytes) -> bytes:
    """Return an object's JSON text, indented by one space and ended by a line break, with its digest as the last member."""
    assert text.endswith(UNSEALED), "an object indented by one space"
    digest = hashlib.sha256(text).hexdigest().encode()
    return text.removesuffix(UNSEALED) + b',\n "digest": "sha256:' + digest + b'"' + UNSEALED


def unseal(data: bytes, what: str, hint: str) -> tuple[bytes, bool]:
    """Return the text that was sealed, and whether there was a seal: a text without one is given back as it is.

    Raises
    ------
    DataError
        The text does not have the digest that it states; ``what`` names it.
    """
    start = data.rfind(b',\n "digest": ')
    match = SEAL.fullmatch(data, start) if start >= 0 else None
    if match is None:
        return data, False  # a damaged seal leaves a member that no record knows, or text that is not JSON
    text = data[:start] + UNSEALED
    if hashlib.sha256(text).hexdigest().encode() != match[1]:
        raise DataError(f"{what} is damaged or was changed by hand: it does not have the digest it states", hint=hint)
    return text, True
