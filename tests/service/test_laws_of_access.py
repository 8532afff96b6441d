"""Cookies, tokens and allowances, by themselves: when they end, what they hold, and how long one waits."""

from __future__ import annotations

import pytest

from layerscout.service.problems import HttpProblem
from layerscout.service.security import sessions
from layerscout.service.security.limits import Allowance
from layerscout.service.security.tokens import UserTokens, add_user, hash_of, read_users

SECRET = b"k" * 32


def test_a_cookie_ends_on_its_second_and_holds_only_names() -> None:
    cookie = sessions.new_cookie(SECRET, "ada", 1000.0)
    end = 1000 + sessions.LASTS
    assert sessions.user_of(SECRET, cookie, end - 0.001) == "ada"
    assert sessions.user_of(SECRET, cookie, end) is None
    name, until, random, sign = cookie.split("~")
    assert until == str(end)
    for forged in (f"{name}~{end + 1}~{random}~{sign}", f"{name}~{until}~{random[::-1]}~{sign}", f"{cookie}x", f"{cookie}\n", f" {cookie}"):
        assert sessions.user_of(SECRET, forged, 1000.0) is None, forged
    assert sessions.user_of(SECRET, sessions.new_cookie(SECRET, "a b", 1000.0), 1000.0) is None  # though the signature fits


def test_a_forms_token_is_no_cookies_signature() -> None:
    """What a page shows must not let anybody make a cookie."""
    said = f"root~9999999999~{'r' * 22}"
    assert sessions.user_of(SECRET, f"{said}~{sessions.form_token(SECRET, said)}", 0.0) is None


@pytest.mark.usefixtures("_no_waiting_for_the_disk")
def test_a_file_of_users_may_have_remarks_and_empty_lines_and_is_read_again(tmp_path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# who may come in\n\n  ada sha256:{hash_of('one')}  \n", encoding="utf-8")
    file.chmod(0o600)
    tokens = UserTokens(file)
    assert tokens.owner_of("one") == "ada"
    two = add_user(file, "bob")
    assert (tokens.owner_of(two), tokens.owner_of("one"), tokens.owner_of("")) == ("bob", "ada", None)
    assert file.read_text(encoding="utf-8").splitlines() == [f"ada sha256:{hash_of('one')}", f"bob sha256:{hash_of(two)}"]


@pytest.mark.parametrize(
    "line", [b"ada", b"ada sha256:0", b"ada md5:" + b"0" * 64, b"\xff\xfe", b"-ada sha256:" + b"0" * 64, b"ada  sha256:" + b"0" * 64]
)
def test_a_line_that_is_no_user_is_named_by_its_number(tmp_path, line: bytes) -> None:
    from layerscout.errors import DataError

    file = tmp_path / "tokens"
    file.write_bytes(b"# a remark\n" + line + b"\n")
    file.chmod(0o600)
    with pytest.raises(DataError, match="line 2, is not NAME sha256:HASH"):
        read_users(file)


@pytest.mark.parametrize("a_minute", [1, 3, 7, 60, 100_000])
def test_whoever_waits_as_long_as_told_may_submit_again(a_minute: int) -> None:
    allowance = Allowance(a_minute)
    for _ in range(a_minute):
        allowance.spend("ada", 0.0)
    with pytest.raises(HttpProblem, match=f"{a_minute} submissions a minute") as refused:
        allowance.spend("ada", 0.0)
    wait = float(refused.value.headers["Retry-After"])
    assert refused.value.hint == f"try again in {wait:.0f} s"
    assert 1 <= wait <= 60 / a_minute + 1
    allowance.spend("ada", wait)


def test_what_was_not_spent_does_not_pile_up() -> None:
    allowance = Allowance(2)
    allowance.spend("ada", 0.0)
    for _ in range(2):
        allowance.spend("ada", 3600.0)
    with pytest.raises(HttpProblem):
        allowance.spend("ada", 3600.0)
    allowance.spend("bob", 3600.0)
