"""Text files are UTF-8 on every machine: nothing in the package leaves an encoding to the machine's settings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import layerscout

PACKAGE = Path(layerscout.__file__).parent


def calls_that_leave_the_encoding_open(source: str) -> Iterator[int]:
    """Yield the line of every call that reads or writes text in whatever encoding the machine prefers."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or any(keyword.arg in ("encoding", None) for keyword in node.keywords):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("read_text", "write_text"):
            yield node.lineno
        elif name == "open" and isinstance(node.func, ast.Name | ast.Attribute):
            owner = getattr(getattr(node.func, "value", None), "id", "")
            words = [word.value for word in (*node.args, *(keyword.value for keyword in node.keywords)) if isinstance(word, ast.Constant)]
            modes = [word for word in words if isinstance(word, str) and word and set(word) <= set("rwaxbt+")]
            text = "b" not in modes[0] if modes else isinstance(node.func, ast.Name)
            if text and owner not in ("av", "tarfile"):
                yield node.lineno


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_text_is_read_or_written_in_the_machines_own_encoding(path):
    assert list(calls_that_leave_the_encoding_open(path.read_text(encoding="utf-8"))) == []


def test_such_a_call_would_be_found():
    source = 'p.read_text()\np.write_text("x")\nopen(p, "w")\np.open("a")\np.open("rb")\np.read_text(encoding="utf-8")\nopen(p, mode="r")\nopen(p)\n'
    assert list(calls_that_leave_the_encoding_open(source)) == [1, 2, 3, 4, 7, 8]
