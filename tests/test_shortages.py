"""What this machine lacks ends a command in one line with the path, exit code 5 and what to do; it is never called a bug or damage."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from layerscout.commands.console import explain
from layerscout.errors import raise_shortage, shortage

ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "quota",
    errno.EFBIG: "ulimit -f",
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "close other programs",
    errno.EAGAIN: "ulimit -u",
    errno.ENOMEM: "ulimit -v",
}


@pytest.mark.parametrize("number", ADVICE, ids=errno.errorcode.get)
def test_a_shortage_is_told_with_its_path_and_what_to_do(number):
    message, hint, *_, code = explain(OSError(number, os.strerror(number), "outputs/data.h5"))
    assert (message, code) == (f"{os.strerror(number)}: outputs/data.h5", 5)
    assert ADVICE[number] in hint
    assert "\n" not in message + hint


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("can't start new thread"), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")],
    ids=str,
)
def test_memory_and_threads_are_shortages_too(error):
    message, hint, *_, code = explain(error)
    assert code == 5
    assert message
    assert "ulimit" in hint


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ENOENT, errno.EROFS], ids=errno.errorcode.get)
def test_another_error_of_the_system_is_about_the_path(number):
    message, *_, code = explain(OSError(number, os.strerror(number), "x"))
    assert (message, code) == (f"{os.strerror(number)}: x", 4)
    assert shortage(OSError(number, "x")) is None


def test_a_folder_where_a_file_belongs_is_called_so():
    error = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), "x")
    message, *_, code = explain(error)
    assert (message, code) == ("x is a folder, expected a file", 4)
    assert shortage(error) is None


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("can't start new thread"), OSError("no number")], ids=repr)
def test_an_error_of_another_kind_is_no_shortage(error):
    assert shortage(error) is None


def test_a_shortage_is_raised_again_with_the_file_and_anything_else_is_left_to_the_caller():
    with pytest.raises(OSError, match="Too many open files") as raised:
        raise_shortage(OSError(errno.EMFILE, "Too many open files"), Path("a/b"))
    assert raised.value.filename == "a/b"
    raise_shortage(OSError(errno.EIO, "Input/output error"), Path("a/b"))
