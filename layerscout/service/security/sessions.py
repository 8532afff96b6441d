"""A user in, a signed cookie and a form's token out; and back. Nothing is kept on the server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time

COOKIE, LASTS = "layerscout", 12 * 3600  # seconds
FIELD = "csrf"
FORM = re.compile(r"([A-Za-z0-9._-]{1,64})~([0-9]{1,12})~([A-Za-z0-9_-]{16,40})~([A-Za-z0-9_-]{43})")


def new_cookie(secret: bytes, user: str, now: float | None = None) -> str:
    """Return a cookie's value for a user: name, end, something random, and their signature."""
    until = int((time.time() if now is None else now) + LASTS)
    said = f"{user}~{until}~{secrets.token_urlsafe(16)}"
    return f"{said}~{_sign(secret, 'cookie', said)}"


def user_of(secret: bytes, cookie: str, now: float | None = None) -> str | None:
    """Return whose cookie it is; None for one that is forged, damaged or too old."""
    match = FORM.fullmatch(cookie)
    if match is None:
        return None
    said = cookie.rpartition("~")[0]
    good = hmac.compare_digest(match[4], _sign(secret, "cookie", said))
    return match[1] if good and int(match[2]) > (time.time() if now is None else now) else None


def form_token(secret: bytes, cookie: str) -> str:
    """Return what every form of a session carries, which no other site can know."""
    return _sign(secret, "form", cookie)


def fits(secret: bytes, cookie: str, token: str) -> bool:
    """Compare a form's token with the one that the session's cookie gives, in constant time."""
    return hmac.compare_digest(form_token(secret, cookie).encode(), token.encode("utf-8", "replace"))


def _sign(secret: bytes, purpose: str, text: str) -> str:
    digest = hmac.new(secret, f"{purpose}\0{text}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
