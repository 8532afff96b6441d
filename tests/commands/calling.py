"""The ``layerscout`` command, run inside this process exactly as its entry point runs it."""

from __future__ import annotations

import io
import signal
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from layerscout.cli import COMMANDS, PRETRAIN_COMMANDS, SERVE_COMMANDS, STORE_COMMANDS, main


@dataclass(frozen=True)
class Result:
    """What a command printed and how it ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def call(*words: object) -> Result:
    """Run a command; the process that runs the tests keeps its own way with signals."""
    out, err = io.StringIO(), io.StringIO()
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with redirect_stdout(out), redirect_stderr(err):
            main([str(word) for word in words])
    except SystemExit as end:
        return Result(int(end.code or 0), out.getvalue(), err.getvalue())
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    raise AssertionError("the command did not end the process")


def refused(result: Result, code: int, message: str) -> str:
    """Check that a command ended with one line of error and one of advice, and return the advice."""
    assert result.exit_code == code, result.output
    error, hint = result.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: ")
    return hint


HELP = Path(__file__).parent / "help"


def help_of(*words: str) -> str:
    """What ``--help`` prints where no terminal says how wide it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.delenv("TERMINAL_WIDTH", raising=False)
        return call(*words, "--help").stdout


if __name__ == "__main__":
    HELP.mkdir(exist_ok=True)
    groups = {"pretrain": PRETRAIN_COMMANDS, "store": STORE_COMMANDS, "serve": SERVE_COMMANDS}
    for words in (
        (),
        *((name,) for name in COMMANDS),
        *((group,) for group in groups),
        *((group, name) for group in groups for name in groups[group]),
    ):
        (HELP / f"{'-'.join(words) or 'layerscout'}.txt").write_text(help_of(*words))
